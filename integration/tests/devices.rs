//! Device nodes: those every container has, and configured ones.

use hako_integration::{Bundle, Runtime, Value, each, is_peer, json};
use std::fs;

/// Type, mode, owner, group, major, minor of a file inside.
fn node(stat: &Value) -> Value {
    json!([stat["type"], stat["mode"], stat["uid"], stat["gid"], stat["major"], stat["minor"]])
}

fn with_device(hako: &Runtime, device: Value) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/linux/devices/-", device);
    bundle
}

#[test]
fn default_devices_are_there_and_work() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let numbers = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    each(numbers, |(name, major, minor)| {
        let seen = hako.ask(&bundle, &format!("stat /dev/{name}"));
        assert_eq!(node(&seen[0]), json!(["char", 0o666, 0, 0, major, minor]));
    });
    let chain = "write /dev/null x -- read /dev/null -- open /dev/zero read -- write /dev/full x \
                 -- open /dev/urandom read -- open /dev/tty read";
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen[..3], ["ok", "", "ok"]);
    assert_eq!(seen[3], json!({ "errno": "ENOSPC" }));
    assert_eq!(seen[4], "ok");
    assert_eq!(seen[5], json!({ "errno": "ENXIO" }), "there is no terminal");
}

#[test]
fn a_container_has_its_own_terminals() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let chain =
        "follow /dev/ptmx -- open /dev/ptmx read,write -- ls /dev/pts -- stat /dev/pts/ptmx";
    let seen = hako.ask(&bundle, chain);
    assert_eq!(
        (&seen[0]["type"], &seen[0]["major"], &seen[0]["minor"]),
        (&json!("char"), &json!(5), &json!(2))
    );
    assert_eq!(seen[1], "ok");
    assert_eq!(seen[2], json!(["ptmx"]), "none of the host's");
    assert_eq!(
        seen[0]["inode"], seen[3]["inode"],
        "/dev/ptmx is that of the container's own devpts"
    );
}

#[test]
fn the_usual_links_are_there() {
    let hako = Runtime::new();
    let seen = hako.ask(
        &hako.bundle(),
        "stat /dev/fd -- stat /dev/stdin -- stat /dev/stdout -- stat /dev/stderr",
    );
    let targets: Vec<_> = seen.iter().map(|stat| stat["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]);
}

#[test]
fn no_other_device_is_there() {
    let hako = Runtime::new();
    let seen = hako.ask(&hako.bundle(), "ls /dev");
    let names: Vec<_> =
        seen[0].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let known = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    let known: Vec<_> = known.split(' ').collect();
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
}

#[test]
fn configured_devices_have_the_given_type_numbers_mode_and_owner() {
    let rows = [
        (
            json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8 }),
            json!(["char", 0o640, 7, 8, 1, 5]),
        ),
        (
            json!({ "path": "/dev/mine", "type": "u", "major": 1, "minor": 8, "fileMode": 0o666, "uid": 0, "gid": 0 }),
            json!(["char", 0o666, 0, 0, 1, 8]),
        ),
        (
            json!({ "path": "/dev/mine", "type": "b", "major": 7, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 6 }),
            json!(["block", 0o600, 0, 6, 7, 3]),
        ),
        (
            json!({ "path": "/dev/mine", "type": "p", "fileMode": 0o622, "uid": 1, "gid": 2 }),
            json!(["fifo", 0o622, 1, 2, 0, 0]),
        ),
        // Without a mode and an owner: root's, for everyone.
        (
            json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5 }),
            json!(["char", 0o666, 0, 0, 1, 5]),
        ),
        // Large numbers.
        (
            json!({ "path": "/dev/mine", "type": "c", "major": 4000, "minor": 1_000_000, "fileMode": 0o600 }),
            json!(["char", 0o600, 0, 0, 4000, 1_000_000]),
        ),
        (
            json!({ "path": "/dev/deep/down/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o604 }),
            json!(["char", 0o604, 0, 0, 1, 3]),
        ),
        // Anywhere in the container, also below a read-only root.
        (
            json!({ "path": "/opt/new/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o604 }),
            json!(["char", 0o604, 0, 0, 1, 3]),
        ),
    ];
    let hako = Runtime::new();
    each(rows, |(device, expected)| {
        let mut bundle = with_device(&hako, device.clone());
        bundle.inspector(&format!("stat {}", device["path"].as_str().unwrap()));
        // The caller's umask must not take anything away.
        let command = hako.on_bundle(&["run"], &bundle).before("umask 0077");
        let seen = hako.finish(command, &bundle).ok().json();
        assert_eq!(node(&seen), *expected);
    });
}

#[test]
fn a_configured_device_may_be_a_default_one() {
    let hako = Runtime::new();
    let device = json!({
        "path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4,
    });
    let seen = hako.ask(&with_device(&hako, device), "stat /dev/zero");
    assert_eq!(node(&seen[0]), json!(["char", 0o640, 3, 4, 1, 5]));
}

#[test]
fn an_existing_file_that_is_the_device_is_taken() {
    let hako = Runtime::new();
    let bundle =
        with_device(&hako, json!({ "path": "/node", "type": "c", "major": 1, "minor": 5 }));
    for _ in 0..2 {
        // The second time the node is there from the first.
        let seen = hako.ask(&bundle, "stat /node -- open /node read");
        assert_eq!((&seen[0]["type"], &seen[0]["minor"]), (&json!("char"), &json!(5)));
        assert_eq!(seen[1], "ok");
    }
}

#[test]
fn an_existing_file_that_differs_is_refused() {
    let hako = Runtime::new();
    let make = |kind: &'static str, bundle: &Bundle| {
        use rustix::fs::{CWD, FileType, makedev, mknodat};
        let path = bundle.rootfs("/node");
        let node = |kind, numbers| mknodat(CWD, &path, kind, 0o666.into(), numbers).unwrap();
        match kind {
            "file" => fs::write(&path, "mine").unwrap(),
            "directory" => fs::create_dir(&path).unwrap(),
            "other minor" => node(FileType::CharacterDevice, makedev(1, 3)),
            "other major" => node(FileType::CharacterDevice, makedev(5, 5)),
            "block" => node(FileType::BlockDevice, makedev(1, 5)),
            "fifo" => node(FileType::Fifo, 0),
            _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
        }
    };
    each(["file", "directory", "other minor", "other major", "block", "fifo", "link"], |kind| {
        let bundle =
            with_device(&hako, json!({ "path": "/node", "type": "c", "major": 1, "minor": 5 }));
        make(kind, &bundle);
        hako.refuses(&bundle, "/linux/devices/0");
    });
}

#[test]
fn impossible_devices_are_refused() {
    let rows = [
        json!({ "path": "/dev/mine", "type": "x", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/mine", "type": "", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/mine", "type": "char", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/mine", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/mine", "type": "c", "minor": 3 }),
        json!({ "path": "/dev/mine", "type": "c", "major": 1 }),
        json!({ "path": "/dev/mine", "type": "c", "major": -1, "minor": 3 }),
        json!({ "path": "dev/mine", "type": "c", "major": 1, "minor": 3 }),
        json!({ "path": "", "type": "c", "major": 1, "minor": 3 }),
        json!({ "type": "c", "major": 1, "minor": 3 }),
    ];
    let hako = Runtime::new();
    each(rows, |device| {
        hako.refuses(&with_device(&hako, device.clone()), "/linux/devices/0");
    });
}

#[test]
fn without_a_dev_mount_devices_are_made_in_the_root() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.set("/root/readonly", false);
    bundle.set(
        "/linux/devices/-",
        json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5 }),
    );
    let seen = hako
        .ask(&bundle, "stat /dev/null -- stat /dev/mine -- stat /dev/stdin -- write /dev/null x");
    assert_eq!(node(&seen[0]), json!(["char", 0o666, 0, 0, 1, 3]));
    assert_eq!(node(&seen[1]), json!(["char", 0o666, 0, 0, 1, 5]));
    assert_eq!(seen[2]["target"], "/proc/self/fd/0");
    assert_eq!(seen[3], "ok");
}

#[test]
fn of_two_devices_with_one_path_the_last_is_made() {
    let hako = Runtime::new();
    let device = |minor| json!({ "path": "/dev/x", "type": "c", "major": 1, "minor": minor });
    let mut bundle = with_device(&hako, device(5));
    bundle.set("/linux/devices/-", device(3)).inspector("stat /dev/x");
    let output = hako.run(&bundle).ok();
    assert_eq!(node(&output.values()[0]), json!(["char", 0o666, 0, 0, 1, 3]));
    let warning = "/linux/devices/0: /dev/x is made as /linux/devices/1 says";
    assert!(is_peer() || output.stderr.contains(warning), "{output}");
}

/// `-v /dev:/dev`: whoever binds a directory there wants just that, and the
/// host's must not be changed.
#[test]
fn a_bound_dev_is_left_alone() {
    let hako = Runtime::new();
    let source = hako.dir("host-dev");
    // Peers open /dev/null themselves.
    fs::write(source.join("null"), "").unwrap();
    hako.bind("/dev/null".as_ref(), &source.join("null"), false);
    let mut bundle = hako.bundle();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.bind(&source, "/dev", &["rbind"]);
    assert_eq!(hako.ask(&bundle, "ls /dev")[0], json!(["null"]));
    let count = fs::read_dir(&source).unwrap().count();
    assert_eq!(count, 1, "the host's directory is changed");
}

#[test]
fn devices_in_a_user_namespace_work() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    // Where mknod is not allowed the host's own node must serve.
    let device = json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 });
    bundle.set("/linux/devices/-", device);
    let seen = hako.ask(&bundle, "stat /dev/null -- write /dev/null x -- stat /dev/kmsg");
    assert_eq!((&seen[0]["major"], &seen[0]["minor"]), (&json!(1), &json!(3)));
    assert_eq!(seen[1], "ok");
    assert_eq!((&seen[2]["major"], &seen[2]["minor"]), (&json!(1), &json!(11)));
}
