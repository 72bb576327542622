//! State files that are damaged or lie: nothing is trusted that cannot be checked.

use hako_integration::{Exit, Runtime, Value, each, is_peer, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The file in which hako and its peers keep a container's state.
fn state_file(hako: &Runtime, id: &str) -> PathBuf {
    let dir = hako.root().join(id);
    ["state.json", "status"]
        .map(|name| dir.join(name))
        .into_iter()
        .find(|path| path.exists())
        .expect("a state file")
}

const DAMAGES: [&str; 12] = [
    "truncated",
    "empty",
    "garbage",
    "an empty object",
    "an array",
    "other types",
    "another version",
    "10 MB",
    "deeply nested",
    "a directory",
    "a FIFO",
    "missing",
];

fn damage(hako: &Runtime, path: &PathBuf, kind: &str) {
    let text = fs::read_to_string(path).unwrap();
    fs::remove_file(path).unwrap();
    let content = match kind {
        "truncated" => text[..text.len() / 2].to_string(),
        "empty" => String::new(),
        "garbage" => "\u{0}\u{1}garbage{{".to_string(),
        "an empty object" => "{}".to_string(),
        "an array" => "[1, 2, 3]".to_string(),
        "other types" => numbers_to_words(serde_json(&text)).to_string(),
        "another version" => text.replacen(":1,", ":4096,", 1).replacen(": 1,", ": 4096,", 1),
        "10 MB" => format!("{text}{}", " ".repeat(10 << 20)) + "x",
        "deeply nested" => "[".repeat(1 << 20),
        "a directory" => {
            fs::create_dir_all(path.join("inner")).unwrap();
            return;
        }
        "a FIFO" => {
            let fifo = hako.fifo("fifo");
            fs::rename(fifo, path).unwrap();
            return;
        }
        _ => return,
    };
    fs::write(path, content).unwrap();
}

fn serde_json(text: &str) -> Value {
    text.parse().expect("state is JSON")
}

fn numbers_to_words(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.to_string()),
        Value::Array(list) => list.into_iter().map(numbers_to_words).collect(),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (key, numbers_to_words(value))).collect(),
        ),
        other => other,
    }
}

/// The harness verifies that state, cgroup and process are really gone. The
/// peers either refuse for ever or leave the container running.
#[test]
fn delete_by_force_removes_containers_with_a_damaged_state() {
    let hako = Runtime::new();
    each(DAMAGES, |kind| {
        let container = hako.serve(&hako.bundle());
        damage(&hako, &state_file(&hako, container.id()), kind);
        let command = container.command(&["delete", "--force"]).timeout(Duration::from_secs(5));
        let _ = command.output().ok();
        assert_eq!(container.wait(), Exit::Signal(9));
    });
}

/// Nothing else leads to its process then.
#[test]
fn delete_by_force_ends_an_init_without_a_cgroup() {
    if is_peer() {
        return; // They cannot do without.
    }
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.remove("/linux/cgroupsPath").inspector("sleep 1000");
    let create = hako.on_bundle(&["--cgroup-manager", "disabled", "create"], &bundle);
    let container = hako.make(create, &bundle);
    container.start();
    damage(&hako, &state_file(&hako, container.id()), "empty");
    let output = container.command(&["delete", "--force"]).output().ok();
    assert_eq!(container.wait(), Exit::Signal(9));
    hako.verify_gone(&bundle, &output);
}

/// With a wrong `--root`, an id can be the name of any directory. The peers
/// remove it with everything in it.
#[test]
fn directories_that_are_no_containers_are_left_alone() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let precious = [hako.file("host/etc/passwd", "root"), hako.file("host/etc/cgroup", "mine")];
    let command = hako.bare().arg("--root").arg(hako.scratch().join("host"));
    let output = command.args(["delete", "--force", "etc"]).output();
    output.fails("/host/etc is no container's directory: ");
    each(precious, |file| assert!(file.exists()));
}

#[test]
fn other_commands_say_that_the_state_is_damaged() {
    let hako = Runtime::new();
    each(DAMAGES.iter().filter(|kind| **kind != "another version"), |kind| {
        let container = hako.serve(&hako.bundle());
        damage(&hako, &state_file(&hako, container.id()), kind);
        for verb in ["state", "start", "kill", "delete"] {
            let output = container.command(&[verb]).timeout(Duration::from_secs(5)).output();
            output.fails("");
            assert_eq!(output.stdout, "");
            assert!(output.elapsed < Duration::from_secs(1), "{output}");
            assert!(output.stderr.len() < 4096, "{} bytes of explanation", output.stderr.len());
        }
        assert_eq!(container.ask("syscall getpid"), [1], "the container is disturbed");
    });
}

#[test]
fn the_list_shows_the_others() {
    let hako = Runtime::new();
    let sound = hako.serve(&hako.bundle());
    each(DAMAGES, |kind| {
        let container = hako.serve(&hako.bundle());
        damage(&hako, &state_file(&hako, container.id()), kind);
        for words in [&["list"][..], &["list", "--format", "json"], &["list", "-q"]] {
            let output = hako.command(words).timeout(Duration::from_secs(5)).output().ok();
            assert!(output.stdout.contains(sound.id()), "{output}");
            assert!(output.elapsed < Duration::from_secs(1), "{output}");
        }
    });
}

/// What lies in the state directory and is no container disturbs nobody.
#[test]
fn strange_entries_in_the_root_are_passed_over() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    fs::write(hako.root().join("a-file"), "").unwrap();
    fs::create_dir(hako.root().join(".hidden")).unwrap();
    std::os::unix::fs::symlink("/", hako.root().join("a-link")).unwrap();
    std::os::unix::fs::symlink("nowhere", hako.root().join("dangling")).unwrap();
    let list = hako.command(&["list", "-f", "json"]).output().ok().json();
    let ids: Vec<&Value> = list.as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [container.id()]);
}

/// A link that stands where a container's directory would be must not lead away.
#[test]
fn a_link_in_the_root_is_not_followed() {
    let hako = Runtime::new();
    fs::create_dir_all(hako.root()).unwrap();
    let precious = hako.file("precious/state.json", "{}");
    std::os::unix::fs::symlink(precious.parent().unwrap(), hako.root().join("link")).unwrap();
    for words in [&["delete", "link"][..], &["delete", "--force", "link"], &["state", "link"]] {
        let _ = hako.command(words).output();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "{}");
    }
    let mut bundle = hako.bundle();
    bundle.inspector("exit 0").save();
    let create =
        hako.command(&["create", "--bundle", bundle.dir().to_str().unwrap(), "link"]).output();
    create.fails("link");
    assert_eq!(fs::read_dir(precious.parent().unwrap()).unwrap().count(), 1);
}

/// Replaces a number wherever it stands.
fn replace(value: &mut Value, number: u32, by: u32) {
    match value {
        Value::Number(found) if found.as_u64() == Some(number.into()) => *value = json!(by),
        Value::Array(list) => list.iter_mut().for_each(|item| replace(item, number, by)),
        Value::Object(fields) => fields.values_mut().for_each(|item| replace(item, number, by)),
        _ => {}
    }
}

/// Process ids are used again. A process is known by its start time as well.
#[test]
fn a_stranger_with_the_same_process_id_is_left_alone() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let file = state_file(&hako, container.id());
    // The kernel tells start times in ticks of ten milliseconds, and a pid comes again much later.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut state = serde_json(&fs::read_to_string(&file).unwrap());
    let before = state.clone();
    replace(&mut state, container.pid(), stranger.id());
    assert_ne!(state, before, "the state does not name the process");
    fs::write(&file, state.to_string()).unwrap();
    let status = container.command(&["state"]).output();
    let kill = container.command(&["kill"]).arg("KILL").output();
    let all = container.command(&["kill", "--all"]).arg("TERM").output();
    let deletion = container.command(&["delete", "--force"]).output();
    let alive = stranger.try_wait().unwrap().is_none();
    let _ = stranger.kill();
    let _ = stranger.wait();
    assert!(alive, "the stranger is dead\n{status}{kill}{all}{deletion}");
    assert_eq!(status.ok().json()["status"], "stopped");
    kill.fails("");
}

#[test]
fn nobody_else_can_read_or_change_the_state() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.make(hako.on_bundle(&["create"], &bundle).before("umask 0"), &bundle);
    let mode = |path: PathBuf| {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        (path, mode & 0o777)
    };
    assert_eq!(mode(hako.root().to_path_buf()).1, 0o700);
    let dir = hako.root().join(container.id());
    assert_eq!(mode(dir.clone()).1 & 0o077, 0);
    let entries = fs::read_dir(dir).unwrap().flatten();
    for file in entries.map(|entry| entry.path()).filter(|path| path.is_file()) {
        let (path, mode) = mode(file);
        assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}", path.display());
    }
}
