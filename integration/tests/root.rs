//! The container's root is the top of all it can reach, however it was made.

use hako_integration::{Runtime, Value, each, json, wait_until};

/// `/`, and what is above it: the kernel says that is `/`, too. The mounts on it.
const QUESTION: &str = "ls / -- ls /.. -- ls /../.. -- read /proc/self/mountinfo";

#[track_caller]
fn judge(seen: &[Value]) {
    let root = &seen[0];
    let names: Vec<&str> = root.as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert!(names.contains(&"mark") && !names.contains(&"boot"), "{names:?}");
    assert_eq!((&seen[1], &seen[2]), (root, root));
    let mounts = seen[3].as_str().unwrap();
    let on_root = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count();
    assert_eq!(on_root, 1, "{mounts}");
}

/// Of the program, and of one that `exec` puts beside it: setns(2) makes whatever is topmost in a
/// mount namespace the root.
#[test]
fn nothing_is_above_it() {
    let hako = Runtime::new();
    let directory = format!("--overlay={}", hako.scratch().join("changes").display());
    let covered =
        "exec unshare --mount sh -c 'mount --bind / / && exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    let ways: [(&[&str], &str); 6] = [
        (&[], ":"),
        (&["--overlay"], ":"),
        (&[&directory], ":"),
        (&["--no-pivot"], ":"),
        (&[], covered),
        (&["--overlay"], covered),
    ];
    each(ways, |(options, before)| {
        // The kernel makes no user namespace for who is below another root.
        let user_namespaces: &[bool] = if before == &covered { &[false] } else { &[false, true] };
        for in_user_namespace in user_namespaces {
            let mut bundle = hako.bundle();
            bundle.inspector("serve").write("/mark", "");
            if *in_user_namespace {
                bundle.user_namespace(100_000);
            }
            let words = [&["create"], *options].concat();
            let container = hako.make(hako.on_bundle(&words, &bundle).before(before), &bundle);
            container.start();
            container.await_greeting();
            judge(
                &QUESTION
                    .split(" -- ")
                    .map(|word| container.ask(word)[0].clone())
                    .collect::<Vec<_>>(),
            );
            judge(&container.exec_and_ask(&[], QUESTION));
        }
    });
}

/// While hooks run, the root of init is the host's still.
#[test]
fn exec_waits_until_it_is_made() {
    let hako = Runtime::new();
    each(["prestart", "createRuntime", "createContainer"], |kind| {
        let mut bundle = hako.bundle();
        bundle.inspector("sleep 1000").write("/mark", "");
        let begun = hako.scratch().join(format!("{kind}.begun"));
        let script = format!("touch {}; sleep 2", begun.display());
        bundle.set(
            &format!("/hooks/{kind}"),
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]),
        );
        let running = hako.foreground(&bundle);
        wait_until("the hook", || begun.exists());
        let exec = hako.command(&["exec", bundle.id(), "/bin/inspector", "ls", "/"]).output().ok();
        let names: Vec<String> = serde_json::from_str(&exec.stdout).unwrap();
        let has = |name: &str| names.iter().any(|other| other == name);
        assert!(has("mark") && !has("boot"), "{names:?}");
        let _ = hako.command(&["kill", bundle.id(), "KILL"]).output().ok();
        let _ = running.finish();
    });
}

#[test]
fn until_its_hooks_have_run_it_is_being_created() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let begun = hako.scratch().join("begun");
    let script = format!("touch {}; sleep 4", begun.display());
    bundle
        .set("/hooks/createRuntime", json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
    let create = hako.on_bundle(&["create"], &bundle).spawn();
    wait_until("the hook", || begun.exists());
    let state = || hako.command(&["state", bundle.id()]).output().ok().json();
    assert_eq!(state()["status"], "creating");
    let _ = create.finish().ok();
    assert_eq!(state()["status"], "created");
    let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
}

#[test]
fn a_path_that_is_the_root_is_read_only() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/root/readonly", false).set("/linux/readonlyPaths", json!(["/"]));
    let seen = hako.ask(&bundle, "write /new text");
    assert_eq!(seen[0]["errno"], "EROFS");
}
