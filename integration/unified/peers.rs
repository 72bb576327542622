//! What tools read from runc they find in hako's output: the same keys, of the same types.

use hako_integration::{Command, Runtime, Value, is_peer, json};

/// Pointers and types of all that a value has.
fn shape(value: &Value, pointer: &str) -> Vec<String> {
    let (kind, below): (_, Vec<(String, &Value)>) = match value {
        Value::Null => ("null", Vec::new()),
        Value::Bool(_) => ("bool", Vec::new()),
        Value::Number(_) => ("number", Vec::new()),
        Value::String(_) => ("string", Vec::new()),
        Value::Array(list) => ("list", list.iter().map(|item| ("-".to_owned(), item)).collect()),
        Value::Object(map) => {
            ("object", map.iter().map(|(key, value)| (key.clone(), value)).collect())
        }
    };
    let mut all = vec![format!("{pointer}: {kind}")];
    all.extend(
        below.into_iter().flat_map(|(key, value)| shape(value, &format!("{pointer}/{key}"))),
    );
    all.sort();
    all.dedup();
    all
}

/// Those that only the first has.
fn lacking(of: &Value, other: &Value) -> Vec<String> {
    let others = shape(other, "");
    shape(of, "").into_iter().filter(|line| !others.contains(line)).collect()
}

/// What is printed of a running container with limits, which has used some of everything.
fn printed(runtime: &Runtime) -> Vec<(&'static str, Value)> {
    let mut bundle = runtime.bundle();
    bundle.set("/annotations", json!({ "org.example.key": "value" }));
    let memory = json!({ "limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20 });
    bundle.set("/linux/resources", json!({ "memory": memory, "pids": { "limit": 20 } }));
    let container = runtime.serve(&bundle);
    let _ = container.ask("alloc 20 -- spawn-sleep -- write /dev/shm/file text");
    let ask = |command: Command| command.output().ok().json();
    vec![
        ("state", ask(container.command(&["state"]))),
        ("events", ask(container.command(&["events", "--stats"]))),
        ("ps", ask(container.command(&["ps", "--format", "json"]))),
        ("list", ask(runtime.command(&["list", "--format", "json"]))),
    ]
}

#[test]
fn what_is_printed_of_a_container_has_the_form_of_runcs() {
    if is_peer() {
        return;
    }
    // One after the other: what is not the peer's is read-only while there is one.
    let ours = printed(&Runtime::new());
    let theirs = printed(&Runtime::peer("runc"));
    for ((command, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        let mut lacking = lacking(theirs, ours);
        // What a disk had to read depends on what was read before.
        lacking.retain(|line| !line.contains("/blkio/"));
        assert!(lacking.is_empty(), "{command}: {lacking:?}\n{ours}\n{theirs}");
    }
}

/// But for the annotations, which are about the program itself.
#[test]
fn features_are_told_in_the_form_of_runcs() {
    if is_peer() {
        return;
    }
    let features = |runtime: Runtime| runtime.bare().arg("features").output().ok().json();
    let ours = features(Runtime::new());
    let theirs = features(Runtime::peer("runc"));
    let mut lacking = lacking(&theirs, &ours);
    lacking.retain(|line| !line.starts_with("/annotations/"));
    assert!(lacking.is_empty(), "{lacking:?}");
    for list in ["/mountOptions", "/hooks", "/linux/namespaces", "/linux/seccomp/actions"] {
        let all = ours.pointer(list).and_then(Value::as_array).unwrap();
        for name in theirs.pointer(list).and_then(Value::as_array).unwrap() {
            assert!(all.contains(name), "{list}: {name}");
        }
    }
}
