//! Hooks of all six kinds: when, where and how they run.

use hako_integration::{Bundle, Exit, Runtime, Value, each, json, make_executable};
use std::fs;
use std::path::{Path, PathBuf};

/// Each kind with the status that its hooks are told, in the order of a container's life.
const KINDS: [(&str, &str); 6] = [
    ("prestart", "creating"),
    ("createRuntime", "creating"),
    ("createContainer", "creating"),
    ("startContainer", "created"),
    ("poststart", "running"),
    ("poststop", "stopped"),
];

const NAMESPACES: [&str; 6] = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// A hook that runs a few lines of shell.
fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

/// A bundle with a shell inside, and a directory that hooks can write to under
/// the same path everywhere: on the host, before and after the root is changed.
fn with_notes(hako: &Runtime) -> (Bundle, PathBuf) {
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let notes = hako.dir("notes");
    bundle.bind(&notes, notes.to_str().unwrap(), &["bind"]);
    (bundle, notes)
}

fn read(notes: &Path, name: &str) -> Option<String> {
    fs::read_to_string(notes.join(name)).ok()
}

/// What each kind of hook reports about itself, for a container that lived.
fn reports(hako: &Runtime, bundle: &mut Bundle, notes: &Path) -> Vec<Value> {
    let outside = bundle.rootfs("/bin/inspector").display().to_string();
    let dir = notes.display();
    for (kind, _) in KINDS {
        let inspector = if kind == "startContainer" { "/bin/inspector" } else { &outside };
        let hook = shell(&format!("exec {inspector} report -- ls / >{dir}/{kind}"));
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    let command = hako.on_bundle(&["run"], bundle.inspector("sleep 0"));
    let _ = hako.finish(command.env("LEAKED", "from the caller"), bundle).ok();
    let parse = |kind| {
        let text = read(notes, kind).unwrap_or_else(|| panic!("the {kind} hook did not run"));
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut report = lines.next().unwrap();
        report["root"] = lines.next().unwrap();
        report
    };
    KINDS.iter().map(|(kind, _)| parse(kind)).collect()
}

#[test]
fn hooks_run_in_the_listed_order_through_the_whole_life() {
    let hako = Runtime::new();
    let (mut bundle, notes) = with_notes(&hako);
    let dir = notes.display();
    let mut expected = Vec::new();
    for (kind, _) in KINDS {
        for number in ["first", "second"] {
            let hook = shell(&format!("echo {kind} {number} >>{dir}/order"));
            bundle.set(&format!("/hooks/{kind}/-"), hook);
            expected.push(format!("{kind} {number}"));
        }
    }
    let order = || -> Vec<String> {
        read(&notes, "order").unwrap_or_default().lines().map(String::from).collect()
    };
    let container = hako.create(bundle.inspector("serve"));
    assert_eq!(order(), expected[..6], "after create");
    container.start();
    assert_eq!(order(), expected[..10], "after start");
    container.close_stdin();
    assert_eq!(container.wait(), Exit::Code(0));
    assert_eq!(order(), expected[..10], "after the end");
    container.delete();
    assert_eq!(order(), expected, "after delete");
    fs::remove_file(notes.join("order")).unwrap();
    let _ = hako.run(bundle.inspector("sleep 0")).ok();
    assert_eq!(order(), expected, "after run");
}

#[test]
fn hooks_read_the_state_from_their_stdin() {
    let hako = Runtime::new();
    let (mut bundle, notes) = with_notes(&hako);
    for (kind, _) in KINDS {
        let hook = shell(&format!("cat >{}/{kind}", notes.display()));
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
    }
    bundle.set("/annotations", json!({ "key": "value" }));
    let container = hako.serve(&bundle);
    let pid = container.pid();
    container.kill("KILL").wait();
    container.delete();
    each(KINDS, |(kind, status)| {
        let text = read(&notes, kind).expect("the hook ran");
        let state: Value = serde_json::from_str(&text).expect("the state is JSON");
        assert_eq!(state["id"], bundle.id());
        assert_eq!(state["status"], *status);
        assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
        assert_eq!(state["annotations"]["key"], "value");
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
        match *kind {
            "createContainer" | "startContainer" => assert_eq!(state["pid"], 1, "as seen inside"),
            "poststop" => assert!(matches!(state["pid"].as_u64(), None | Some(0)), "{state}"),
            _ => assert_eq!(state["pid"], pid),
        }
    });
}

#[test]
fn hooks_run_in_the_namespaces_of_their_kind() {
    let hako = Runtime::new();
    let (mut bundle, notes) = with_notes(&hako);
    let link = |file| fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap();
    let host = NAMESPACES.map(|file| json!(link(file)));
    let seen = reports(&hako, &mut bundle, &notes);
    let namespaces = |report: &Value| NAMESPACES.map(|file| report["namespaces"][file].clone());
    let inside = namespaces(&seen[3]);
    for (mine, theirs) in inside.iter().zip(&host) {
        assert_ne!(mine, theirs);
    }
    for (report, (kind, _)) in seen.iter().zip(KINDS) {
        let expected = if kind.ends_with("Container") { &inside } else { &host };
        assert_eq!(namespaces(report), *expected, "{kind}");
        // Only startContainer runs after the root was changed.
        let in_the_rootfs = report["root"].as_array().unwrap().contains(&json!("boot"));
        assert_eq!(!in_the_rootfs, kind == "startContainer", "{kind}: {}", report["root"]);
    }
}

#[test]
fn hooks_get_a_clean_start() {
    let hako = Runtime::new();
    let (mut bundle, notes) = with_notes(&hako);
    let seen = reports(&hako, &mut bundle, &notes);
    each(KINDS.iter().enumerate(), |(index, (kind, _))| {
        let report = &seen[*index];
        // Shells themselves add these to an empty environment.
        let of_the_shell = ["PWD=", "OLDPWD=", "SHLVL=", "_=", "PATH=/sbin:/usr/sbin:/bin:"];
        let env = report["env"].as_array().unwrap().iter().filter_map(Value::as_str);
        let env: Vec<&str> =
            env.filter(|var| !of_the_shell.iter().any(|own| var.starts_with(own))).collect();
        assert_eq!(env, [""; 0], "the environment of the caller");
        let open = report["descriptors"].as_array().unwrap();
        let numbers: Vec<&Value> = open.iter().map(|open| &open["fd"]).collect();
        assert_eq!(numbers, [0, 1, 2], "{open:?}");
        assert_eq!(report["signals"]["blocked"], json!([]));
        // posix_spawn(3) of some C libraries ignores two signals that are its own.
        let ignored = report["signals"]["ignored"].as_array().unwrap().iter();
        let ignored = ignored.filter(|name| !name.as_str().unwrap().starts_with("SIGRTMIN+-"));
        assert_eq!(ignored.count(), 0, "{}", report["signals"]);
        assert_eq!(report["attributes"]["parent_death_signal"], 0);
        match *kind {
            // In between, the bundle may be out of sight.
            "createContainer" => {}
            "startContainer" => assert_eq!(report["cwd"], "/"),
            _ => assert_eq!(report["cwd"], bundle.dir().to_str().unwrap()),
        }
    });
}

#[test]
fn arguments_and_environment_are_the_configured_ones() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let script = hako.file("hook.sh", "#!/bin/sh\n(echo \"$#:$*\"; env) >\"${0%.sh}.$KEY\"\n");
    make_executable(&script);
    let rows = [
        json!({ "path": script, "env": ["KEY=without"] }),
        json!({ "path": script, "args": ["name", "a b", "", "$HOME"], "env": ["KEY=with", "X= y "] }),
    ];
    bundle.set("/hooks/createRuntime", rows.to_vec());
    let _ = hako.run(bundle.inspector("sleep 0")).ok();
    let without = fs::read_to_string(hako.scratch().join("hook.without")).unwrap();
    assert_eq!(without.lines().next(), Some("0:"));
    let with = fs::read_to_string(hako.scratch().join("hook.with")).unwrap();
    assert_eq!(with.lines().next(), Some("3:a b  $HOME"));
    assert!(with.contains("\nX= y \n"), "{with}");
}

/// As those do that bring graphics cards into a container.
#[test]
fn what_a_hook_mounts_below_the_root_is_there_in_the_container() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let mnt = bundle.mkdir("/mnt");
    let mount = format!("mount -t tmpfs tmpfs {0} && echo made >{0}/note", mnt.display());
    let enter = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | head -n 1); \
         exec nsenter --target $pid --mount sh -c '{mount}'"
    );
    each(
        [("createContainer", &mount), ("createRuntime", &enter), ("prestart", &enter)],
        |(kind, script)| {
            let mut bundle = bundle.clone();
            bundle.set(&format!("/hooks/{kind}"), json!([shell(script)]));
            assert_eq!(hako.ask(&bundle, "read /mnt/note")[0], "made\n");
            assert_eq!(fs::read_dir(&mnt).unwrap().count(), 0, "the host sees it as well");
        },
    );
}

/// The network is set up by entering it: what BuildKit does.
#[test]
fn a_hook_can_configure_the_network_of_the_container() {
    let hako = Runtime::new();
    each(["prestart", "createRuntime"], |kind| {
        let mut bundle = hako.bundle();
        let script = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | head -n 1); \
                      exec nsenter --target $pid --net ip address add 10.9.8.7/24 dev lo";
        bundle.set(&format!("/hooks/{kind}"), json!([shell(script)]));
        let addresses = &hako.inspect(&bundle)["interfaces"]["lo"]["addresses"];
        assert!(addresses.as_array().unwrap().contains(&json!("10.9.8.7")), "{addresses}");
    });
}

#[test]
fn hooks_of_create_see_a_finished_network() {
    each(["prestart", "createRuntime", "createContainer"], |kind| {
        let hako = Runtime::new();
        let (mut bundle, notes) = with_notes(&hako);
        let enter = match *kind {
            "createContainer" => "",
            // In the runtime's namespaces.
            _ => {
                "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' | head -n 1); nsenter --target $pid --net "
            }
        };
        let script = format!("{enter}ip -o link show lo");
        let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        let hook = shell(&format!("export {path}; {script} >{}/lo", notes.display()));
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
        let _ = hako.run(bundle.inspector("sleep 0")).ok();
        let seen = read(&notes, "lo").unwrap_or_default();
        assert!(seen.contains("LOOPBACK,UP"), "{seen:?}");
    });
}

#[test]
fn what_hooks_print_does_not_mix_with_the_output_of_the_container() {
    let hako = Runtime::new();
    let (mut bundle, _) = with_notes(&hako);
    for (kind, _) in KINDS {
        bundle.set(&format!("/hooks/{kind}"), json!([shell("echo out; echo err >&2")]));
    }
    let output = hako.run(bundle.inspector("print mine")).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("mine\n", ""));
}

/// Neither a hook that leaves a large state unread nor one that prints a lot
/// may bring everything to a halt.
#[test]
fn hooks_need_not_read_and_may_print_much() {
    let hako = Runtime::new();
    let (mut bundle, notes) = with_notes(&hako);
    bundle.set("/annotations", json!({ "large": "x".repeat(300_000) }));
    for (kind, _) in KINDS {
        let noisy = format!(
            "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done >&2; echo >{}/{kind}",
            notes.display()
        );
        bundle.set(&format!("/hooks/{kind}"), json!([shell("exit 0"), shell(&noisy)]));
    }
    let _ = hako.run(bundle.inspector("sleep 0")).ok();
    for (kind, _) in KINDS {
        assert!(notes.join(kind).exists(), "the {kind} hook did not run to its end");
    }
}

#[test]
fn the_container_is_gone_when_poststop_runs() {
    let hako = Runtime::new();
    let (mut bundle, notes) = with_notes(&hako);
    let cgroup = hako_integration::cgroup_dir(bundle.cgroup());
    let script = format!("ls -d {} >{}/left 2>&1", cgroup.display(), notes.display());
    bundle.set("/hooks/poststop", json!([shell(&format!("{script}; true"))]));
    let _ = hako.run(bundle.inspector("sleep 0")).ok();
    let left = read(&notes, "left").expect("the hook ran");
    assert!(left.contains("No such file"), "{left}");
}

#[test]
fn poststop_runs_however_the_container_is_deleted() {
    let hako = Runtime::new();
    each(["created", "running", "stopped"], |status| {
        let (mut bundle, notes) = with_notes(&hako);
        let note = notes.join(format!("after-{status}"));
        bundle.set("/hooks/poststop", json!([shell(&format!("echo x >>{}", note.display()))]));
        let container = hako.create(bundle.inspector("serve"));
        if *status != "created" {
            container.start();
        }
        if *status == "stopped" {
            container.kill("KILL").wait();
        }
        let _ = container.command(&["delete", "--force"]).output().ok();
        assert_eq!(fs::read_to_string(&note).ok().as_deref(), Some("x\n"), "once");
    });
}

#[test]
fn impossible_hooks_are_refused() {
    let hako = Runtime::new();
    let rows = [
        (json!({ "path": "bin/true" }), "/0/path"),
        (json!({ "path": "./true" }), "/0/path"),
        (json!({ "path": "" }), "/0/path"),
        (json!({ "args": ["true"] }), "/0"),
        (json!({ "path": "/bin/true", "timeout": 0 }), "/0/timeout"),
        (json!({ "path": "/bin/true", "timeout": -1 }), "/0/timeout"),
        (json!({ "path": "/bin/true", "timeout": "1" }), "/0/timeout"),
        (json!({ "path": "/bin/true", "args": "true" }), "/0/args"),
        (json!({ "path": "/bin/true", "args": ["a\0b"] }), "/0"),
        (json!({ "path": "/bin/tr\0ue" }), "/0/path"),
        (json!({ "path": "/bin/true", "env": ["X=\0"] }), "/0"),
        (json!("/bin/true"), "/0"),
    ];
    for (kind, _) in KINDS {
        each(&rows, |(hook, place)| {
            let mut bundle = hako.bundle();
            bundle.set(&format!("/hooks/{kind}"), json!([hook]));
            hako.refuses(&bundle, &format!("/hooks/{kind}{place}"));
        });
    }
}
