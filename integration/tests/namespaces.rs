//! Namespaces: new, joined and inherited ones, told apart by their inodes.

use hako_integration::{Bundle, Runtime, Value, each, json};
use std::fs;
use std::time::Duration;

/// Each kind: its name in config.json, and its file in /proc/PID/ns.
const KINDS: [(&str, &str); 7] = [
    ("mount", "mnt"),
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

/// `type:[inode]` of a namespace of this process's thread.
fn outside(file: &str) -> String {
    link("thread-self", file)
}

fn link(process: &str, file: &str) -> String {
    let link = fs::read_link(format!("/proc/{process}/ns/{file}")).expect("a namespace");
    link.to_string_lossy().into_owned()
}

/// A bundle with no namespaces but these.
fn only(hako: &Runtime, kinds: &[&str]) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/linux/namespaces", json!([]));
    for kind in kinds {
        bundle.namespace(kind, None);
    }
    if !kinds.contains(&"uts") {
        bundle.remove("/hostname");
    }
    bundle
}

/// Versions of peers that know no time namespace fail in that row.
#[test]
fn a_listed_namespace_is_new_and_all_others_are_inherited() {
    let hako = Runtime::new();
    each(KINDS, |(kind, _)| {
        let seen = hako.inspect(&only(&hako, &["mount", kind]));
        for (other, file) in KINDS {
            let new = other == *kind || other == "mount";
            assert_eq!(seen["namespaces"][file] != outside(file), new, "{other}");
        }
        assert_eq!(seen["namespaces"]["user"], outside("user"));
        assert_eq!(seen["pid"] == 1, *kind == "pid");
    });
}

#[test]
fn all_namespaces_can_be_new_in_any_order() {
    let hako = Runtime::new();
    each([false, true], |reversed| {
        let mut kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        if *reversed {
            kinds.reverse();
        }
        let seen = hako.inspect(&only(&hako, &kinds));
        for (_, file) in KINDS {
            assert_ne!(seen["namespaces"][file], outside(file));
        }
        // Children must not end up in yet another one.
        for file in ["pid", "time"] {
            let children = format!("{file}_for_children");
            assert_eq!(seen["namespaces"][&children], seen["namespaces"][file]);
        }
    });
}

#[test]
fn a_new_network_namespace_has_a_loopback_interface_that_is_up() {
    let hako = Runtime::new();
    let interfaces = &hako.inspect(&hako.bundle())["interfaces"];
    assert_eq!(interfaces["lo"]["up"], true);
    assert!(interfaces["lo"]["addresses"].as_array().unwrap().contains(&json!("127.0.0.1")));
    assert_eq!(interfaces.as_object().unwrap().len(), 1, "{interfaces}");
}

#[test]
fn a_namespace_is_joined_by_its_path() {
    let hako = Runtime::new();
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    let host = hako.serve(&only(&hako, &kinds));
    let joinable = KINDS.iter().filter(|(kind, _)| *kind != "mount");
    each(joinable, |(kind, file)| {
        let path = format!("/proc/{}/ns/{file}", host.pid());
        let mut bundle = only(&hako, &["mount"]);
        bundle.namespace(kind, Some(&path));
        let seen = hako.inspect(&bundle);
        assert_eq!(seen["namespaces"][file], link(&host.pid().to_string(), file));
        for (other, other_file) in KINDS {
            let inherited = other != *kind && other != "mount";
            assert_eq!(seen["namespaces"][other_file] == outside(other_file), inherited, "{other}");
        }
        assert_eq!(host.ask("syscall getpid"), [1], "the owner of the namespace is alive");
    });
}

/// What engines call a pod: one container lends its namespaces to others.
#[test]
fn a_container_can_share_the_world_of_another() {
    let hako = Runtime::new();
    let host = hako.serve(hako.bundle().set("/hostname", "pod"));
    let mut bundle = hako.bundle();
    bundle.remove("/hostname");
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
        bundle.namespace(kind, Some(&format!("/proc/{}/ns/{file}", host.pid())));
    }
    let guest = hako.serve(&bundle);
    let seen = guest.ask("report").swap_remove(0);
    assert_eq!(seen["names"]["hostname"], "pod");
    assert_ne!(seen["pid"], 1);
    assert_eq!(host.ask(&format!("read /proc/{}/comm", seen["pid"])), ["inspector\n"]);
    let _ = guest.command(&["delete", "--force"]).output().ok();
    assert_eq!(host.ask("syscall getpid"), [1], "the owner of the namespaces is alive");
}

#[test]
fn a_mount_namespace_is_joined_by_its_path() {
    let hako = Runtime::new();
    let mut holder = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sleep", "60"])
        .spawn()
        .expect("unshare starts");
    let pid = holder.id().to_string();
    while link(&pid, "mnt") == outside("mnt") {
        std::thread::sleep(Duration::from_millis(2));
    }
    let theirs = link(&pid, "mnt");
    // Mounts of the container would be mounts of whoever owns the namespace.
    let mut bundle = without_mounts(&hako);
    bundle.namespace("mount", Some(&format!("/proc/{pid}/ns/mnt"))).inspector("serve");
    let created = hako.on_bundle(&["create"], &bundle).output();
    let state = hako.command(&["state", bundle.id()]).output();
    let joined = state.json()["pid"].as_u64().map(|pid| link(&pid.to_string(), "mnt"));
    let _ = hako.command(&["delete", "--force", bundle.id()]).output();
    holder.kill().expect("the holder is there");
    holder.wait().expect("the holder ends");
    let _ = created.ok();
    assert_eq!(joined, Some(theirs));
}

#[test]
fn a_user_namespace_is_joined_by_its_path() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let host = hako.serve(bundle.user_namespace(100_000));
    let path = format!("/proc/{}/ns/user", host.pid());
    let rows = [("pid", true), ("pid", false), ("network", true), ("network", false)];
    each(rows, |(own, repeats_the_mappings)| {
        let mut bundle = hako.bundle();
        bundle.user_namespace(100_000).namespace("user", Some(&path));
        if !repeats_the_mappings {
            bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
        }
        // One of the two belongs to the joined user namespace, the other is new.
        for (kind, file) in [("pid", "pid"), ("network", "net")] {
            let joined = format!("/proc/{}/ns/{file}", host.pid());
            bundle.namespace(kind, (kind != *own).then_some(&joined));
        }
        let seen = hako.inspect(&bundle);
        let theirs = |file| link(&host.pid().to_string(), file);
        assert_eq!(seen["namespaces"]["user"], theirs("user"));
        assert_eq!(seen["namespaces"]["pid"] == theirs("pid"), *own != "pid");
        assert_eq!(seen["namespaces"]["net"] == theirs("net"), *own != "network");
        assert_eq!(seen["uid_map"], json!([[0, 100_000, 65536]]));
        assert_eq!(seen["uid"]["effective"], 0);
        assert_eq!(seen["pid"] == 1, *own == "pid");
        assert_eq!(host.ask("syscall getpid"), [1], "the owner of the namespace is alive");
    });
}

#[test]
fn paths_that_are_no_such_namespace_are_refused_at_once() {
    let hako = Runtime::new();
    let dir = hako.dir("paths");
    let fifo = hako.fifo("paths/fifo");
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    let file = hako.file("paths/file", "");
    let named = |path: &std::path::Path| path.display().to_string();
    let paths = [
        "/proc/self/ns/ipc".to_string(),
        "/proc/self/ns".to_string(),
        "/dev/null".to_string(),
        "/dev/zero".to_string(),
        "proc/self/ns/net".to_string(),
        "./net".to_string(),
        named(&fifo),
        named(&dir.join("socket")),
        named(&dir.join("missing")),
        named(&dir),
        named(&file),
    ];
    each(paths, |path| {
        let mut bundle = hako.bundle();
        bundle.namespace("network", Some(path));
        let last = bundle.get("/linux/namespaces").as_array().unwrap().len() - 1;
        let output = hako.refuses(&bundle, &format!("/linux/namespaces/{last}/path"));
        assert!(output.elapsed < Duration::from_secs(1), "{output}");
    });
}

/// A namespace's file may itself be a bind mount, as `ip netns` makes them.
#[test]
fn a_bind_mounted_namespace_is_joined() {
    let hako = Runtime::new();
    let place = hako.file("netns", "");
    let holder = hako.serve(&hako.bundle());
    let net = format!("/proc/{}/ns/net", holder.pid());
    hako.bind(net.as_ref(), &place, false);
    let expected = link(&holder.pid().to_string(), "net");
    drop(holder);
    let mut bundle = hako.bundle();
    bundle.namespace("network", place.to_str());
    assert_eq!(hako.inspect(&bundle)["namespaces"]["net"], expected);
}

#[test]
fn a_kind_listed_twice_is_refused() {
    let hako = Runtime::new();
    let rows = [
        json!([{ "type": "mount" }, { "type": "pid" }, { "type": "pid" }]),
        json!([{ "type": "mount" }, { "type": "ipc", "path": "/proc/self/ns/ipc" }, { "type": "ipc" }]),
        json!([{ "type": "mount" }, { "type": "mount" }]),
    ];
    each(rows, |namespaces| {
        let mut bundle = hako.bundle();
        bundle.remove("/hostname");
        bundle.set("/linux/namespaces", namespaces.clone());
        hako.refuses(&bundle, "/linux/namespaces");
    });
}

#[test]
fn unknown_kinds_are_refused() {
    let hako = Runtime::new();
    each([json!("net"), json!("PID"), json!(""), json!(5), json!(null)], |kind| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/namespaces/-", json!({ "type": kind }));
        hako.refuses(&bundle, "/linux/namespaces/6");
    });
}

#[test]
fn clocks_are_moved_by_the_time_offsets() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.namespace("time", None);
    bundle.set(
        "/linux/timeOffsets",
        json!({
            "monotonic": { "secs": 172_800, "nanosecs": 7 },
            "boottime": { "secs": 604_800 },
        }),
    );
    // The inspector runs on the host as well.
    let host = std::process::Command::new(bundle.rootfs("/bin/inspector")).output().unwrap();
    let host: Value = serde_json::from_slice(&host.stdout).unwrap();
    let seen = hako.inspect(&bundle);
    for (clock, offset) in [("monotonic", 172_800), ("boottime", 604_800)] {
        let [inside, outside] = [&seen, &host].map(|report| report["clocks"][clock].as_i64());
        let moved = inside.unwrap() - outside.unwrap();
        assert!((offset..offset + 60).contains(&moved), "{clock} has moved by {moved}");
    }
    assert_eq!(offsets(&seen), [["monotonic", "172800", "7"], ["boottime", "604800", "0"]]);
}

#[test]
fn time_offsets_may_be_negative_or_absent() {
    let hako = Runtime::new();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 3.0, "the host has just been started");
    let rows = [
        (json!({ "boottime": { "secs": -2 } }), [["monotonic", "0", "0"], ["boottime", "-2", "0"]]),
        (json!({}), [["monotonic", "0", "0"], ["boottime", "0", "0"]]),
    ];
    each(rows, |(configured, expected)| {
        let mut bundle = hako.bundle();
        bundle.namespace("time", None).set("/linux/timeOffsets", configured.clone());
        assert_eq!(offsets(&hako.inspect(&bundle)), *expected);
        // Init does not own its files in /proc, then.
        bundle.user_namespace(100_000);
        assert_eq!(offsets(&hako.inspect(&bundle)), *expected);
    });
}

/// It has its own.
#[test]
fn a_joined_time_namespace_gets_no_offsets() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.namespace("time", Some("/proc/self/ns/time"));
    bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 1 } }));
    hako.refuses(&bundle, "/linux/timeOffsets");
}

/// The rows of /proc/self/timens_offsets.
fn offsets(seen: &Value) -> Vec<Vec<String>> {
    let text = seen["clocks"]["offsets"].as_str().expect("time namespaces");
    text.lines().map(|line| line.split_whitespace().map(String::from).collect()).collect()
}

#[test]
fn impossible_time_offsets_are_refused() {
    let hako = Runtime::new();
    let rows = [
        (true, json!({ "realtime": { "secs": 1 } })),
        (true, json!({ "boottime": { "secs": -999_999_999_999_i64 } })),
        (true, json!({ "boottime": { "secs": 1, "nanosecs": 1_000_000_000 } })),
        (true, json!({ "boottime": { "secs": "1" } })),
        (false, json!({ "boottime": { "secs": 1 } })),
    ];
    each(rows, |(namespace, offsets)| {
        let mut bundle = hako.bundle();
        if *namespace {
            bundle.namespace("time", None);
        }
        bundle.set("/linux/timeOffsets", offsets.clone());
        hako.refuses(&bundle, "/linux/timeOffsets");
    });
}

/// With the host's mount namespace a mount would be one on the host.
#[test]
fn without_a_mount_namespace_whatever_mounts_is_refused() {
    let hako = Runtime::new();
    let mount = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    let rows = [
        ("/mounts", mount),
        ("/linux/maskedPaths", json!(["/bin"])),
        ("/linux/readonlyPaths", json!(["/bin"])),
        ("/root/readonly", json!(true)),
        ("/linux/rootfsPropagation", json!("shared")),
    ];
    each(rows, |(pointer, value)| {
        let mut bundle = without_mounts(&hako);
        bundle.set(pointer, value.clone());
        let before = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        hako.run(&bundle).fails("mount");
        assert_eq!(fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), before);
    });
}

#[test]
fn without_a_mount_namespace_the_root_is_changed() {
    let hako = Runtime::new();
    let bundle = without_mounts(&hako);
    bundle.write("/mark", "mine");
    let before = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let container = hako.serve(&bundle);
    assert_eq!(
        container.ask("read /mark -- read /../mark -- read /proc/version")[..2],
        ["mine", "mine"]
    );
    assert_eq!(link(&container.pid().to_string(), "mnt"), outside("mnt"));
    assert_eq!(fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), before);
}

fn without_mounts(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.without_namespace("mount");
    for pointer in ["/mounts", "/linux/maskedPaths", "/linux/readonlyPaths", "/root/readonly"] {
        bundle.remove(pointer);
    }
    bundle
}
