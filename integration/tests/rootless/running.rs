//! What an ordinary user's container is like inside.

use super::specified;
use hako_integration::{Runtime, User, Value, each, in_set, json, mount_at};
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn what_spec_writes_runs_with_all_ids() {
    let hako = Runtime::as_user();
    let seen = hako.inspect(&specified(&hako));
    let (uid, first) = (hako.user().uid(), hako.user().first_subordinate());
    let map = json!([[0, uid, 1], [1, first, User::SUBORDINATES]]);
    assert_eq!((&seen["uid_map"], &seen["gid_map"]), (&map, &map));
    assert_eq!(seen["setgroups"], "allow");
    assert_eq!(seen["uid"], json!({ "real": 0, "effective": 0, "saved": 0 }));
    assert_eq!(seen["pid"], 1);
}

/// Their own id may be one of those in /etc/subuid, and these more than the kernel
/// takes lines.
#[test]
fn what_spec_writes_is_what_the_kernel_takes() {
    let hako = Runtime::as_user();
    let uid = hako.user().uid();
    let around = format!("hako-user:{}:65536\n", uid - 10);
    hako.bind(&hako.file("subuid", &around), "/etc/subuid".as_ref(), false);
    let first = hako.user().first_subordinate();
    let many: String =
        (0..400).map(|index| format!("hako-user:{}:10\n", first + 20 * index)).collect();
    hako.bind(&hako.file("subgid", &many), "/etc/subgid".as_ref(), false);
    let seen = hako.inspect(&specified(&hako));
    let map = json!([[0, uid, 1], [1, uid - 10, 10], [11, uid + 1, 65_525]]);
    assert_eq!(seen["uid_map"], map);
    let lines = seen["gid_map"].as_array().unwrap();
    assert!((200..=340).contains(&lines.len()), "{}", lines.len());
    // One more is too many.
    let mut bundle = specified(&hako);
    let more: Vec<_> = (0..330)
        .map(|index| json!({ "containerID": 10 * index, "hostID": first + 20 * index, "size": 10 }))
        .collect();
    bundle.set("/linux/gidMappings", more);
    hako.refuses(&bundle, "/linux/gidMappings").fails("330 ranges: the kernel takes 2");
}

#[test]
fn one_id_is_enough_and_its_meaning_is_told() {
    let hako = Runtime::as_lone_user();
    let bundle = hako.bundle();
    let output = hako.command(&["spec", "--rootless"]).current_dir(bundle.dir()).output().ok();
    for words in
        ["one user, root, which is hako-user outside", "supplementary groups cannot", "/etc/subuid"]
    {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
    fs::remove_file(bundle.dir().join("config.json")).unwrap();
    let bundle = specified(&hako);
    let seen = hako.inspect(&bundle);
    let map = json!([[0, hako.user().uid(), 1]]);
    assert_eq!((&seen["uid_map"], &seen["gid_map"]), (&map, &map));
    assert_eq!(seen["setgroups"], "deny");
    // What it means: nobody else can be had.
    let mut bundle = bundle;
    bundle.install_busybox();
    bundle.capabilities(&["CAP_SETUID", "CAP_SETGID"]);
    let seen = hako.ask(&bundle, "run-as 1 /bin/busybox true -- run-as 0 /bin/busybox true");
    assert_eq!(seen[0], json!({ "errno": "EINVAL" }));
    assert_eq!(seen[1]["code"], 0);
}

#[test]
fn groups_alone_can_be_what_is_missing() {
    let hako = Runtime::as_user();
    hako.bind(&hako.file("none", ""), "/etc/subgid".as_ref(), false);
    let bundle = hako.bundle();
    let output = hako.command(&["spec", "--rootless"]).current_dir(bundle.dir()).output().ok();
    for words in ["there is one group, root's, which is that of hako-user", "(/etc/subgid gives"] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
    assert!(!output.stderr.contains("one user"), "{output}");
}

/// Root of a user namespace has the ids of that, whatever /etc/subuid says.
#[test]
fn what_spec_writes_for_a_namespaces_root() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let seen = hako.inspect(&specified(&hako));
    each(["uid_map", "gid_map"], |map| {
        let lines = &seen[map];
        assert_eq!(
            (&lines[0], &lines[1][0], &lines[1][1]),
            (&json!([0, 0, 1]), &json!(1), &json!(1))
        );
    });

    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let hako = Runtime::as_lone_user().launched_by(&unshare);
    let bundle = hako.bundle();
    let output = hako.command(&["spec", "--rootless"]).current_dir(bundle.dir()).output().ok();
    for words in [
        "root, which is root of the user namespace that hako is in: ",
        "(/proc/self/uid_map has 0; ",
    ] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
}

/// The user keeps their number inside, as with podman's keep-id; root is somebody
/// else, or nobody.
#[test]
fn the_own_id_can_be_any_inside() {
    let hako = Runtime::as_lone_user();
    let mut bundle = hako.bundle();
    let uid = hako.user().uid();
    let map = json!([{ "containerID": 1000, "hostID": uid, "size": 1 }]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).set("/root/readonly", false);
    let seen = hako.ask(&bundle, "report -- write /made x -- stat /made -- open /dev/null write");
    assert_eq!(seen[0]["uid_map"], json!([[1000, uid, 1]]));
    assert_eq!((&seen[2]["uid"], &seen[2]["gid"]), (&json!(1000), &json!(1000)));
    assert_eq!(seen[3], "ok");

    let hako = Runtime::as_user();
    let first = hako.user().first_subordinate();
    let mut bundle = hako.bundle();
    let map = json!([
        { "containerID": 0, "hostID": first, "size": 1000 },
        { "containerID": 1000, "hostID": uid, "size": 1 },
        { "containerID": 1001, "hostID": first + 1000, "size": 64000 },
    ]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).set("/root/readonly", false);
    let container = hako.serve(&bundle);
    let seen = container.ask("report -- write /made x -- stat /made");
    assert_eq!(seen[0]["uid_map"][1], json!([1000, uid, 1]));
    assert_eq!(seen[2]["uid"], 1000);
    let seen = &container.exec_and_ask(&["--user", "0:0"], "report")[0];
    assert_eq!(seen["uid"]["real"], 0);
    assert_eq!(fs::metadata(bundle.rootfs("/made")).unwrap().uid(), uid);
}

#[test]
fn supplementary_groups_are_set_where_they_may_be() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 10] }));
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["groups"], json!([5, 10]));
    assert_eq!((&seen["uid"]["real"], &seen["gid"]["real"]), (&json!(1000), &json!(1001)));

    let hako = Runtime::as_lone_user();
    let mut bundle = hako.bundle();
    bundle.set("/process/user/additionalGids", json!([0]));
    hako.refuses(&bundle, "/process/user/additionalGids").fails("the kernel denies it");
}

/// Files belong to whom the mapping says, on both sides.
#[test]
fn files_are_the_users_outside() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/root/readonly", false).capabilities(&["CAP_CHOWN", "CAP_FOWNER"]);
    let chain = "write /made x -- write /given x -- chown /given 33 44 -- stat /given";
    let seen = hako.ask(&bundle, chain);
    assert_eq!((&seen[3]["uid"], &seen[3]["gid"]), (&json!(33), &json!(44)));
    let owner = |name: &str| {
        let metadata = fs::metadata(bundle.rootfs(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    let (uid, first) = (hako.user().uid(), hako.user().first_subordinate());
    assert_eq!(owner("/made"), (uid, uid));
    assert_eq!(owner("/given"), (first + 32, first + 43));
    assert_eq!(hako.user().foreign_files(bundle.dir()), [""; 0]);
}

#[test]
fn devices_are_the_hosts_and_work() {
    for world in [Runtime::as_user, Runtime::as_lone_user] {
        let hako = world();
        let chain = "write /dev/null x -- open /dev/zero read -- open /dev/full read \
                     -- open /dev/urandom read -- stat /dev/null -- mknod /dev/own c 1 3 -- report";
        let mut bundle = hako.bundle();
        bundle.capabilities(&["CAP_MKNOD"]);
        let seen = hako.ask(&bundle, chain);
        assert_eq!(seen[..4], ["ok", "ok", "ok", "ok"]);
        assert_eq!((&seen[4]["major"], &seen[4]["minor"]), (&json!(1), &json!(3)));
        assert_eq!(seen[5], json!({ "errno": "EPERM" }));
        for device in ["null", "zero", "full", "random", "urandom", "tty"] {
            let mount = mount_at(&seen[6], &format!("/dev/{device}"));
            assert_ne!(mount["type"], "tmpfs", "{device} is bound");
        }
    }
}

#[test]
fn a_device_is_found_by_its_numbers() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    let device = |path: &str, kind: &str, major: u32, minor: u32| json!([{ "path": path, "type": kind, "major": major, "minor": minor }]);
    let number =
        |seen: &Value| [seen["type"].clone(), seen["major"].clone(), seen["minor"].clone()];
    // Not there, there as something else, and in a directory of its own on the host.
    for (path, major, minor) in
        [("/dev/inside", 1, 3), ("/dev/kmsg", 1, 5), ("/dev/tunnel", 10, 200)]
    {
        bundle.set("/linux/devices", device(path, "c", major, minor));
        let seen = hako.ask(&bundle, &format!("stat {path}"));
        assert_eq!(number(&seen[0]), [json!("char"), json!(major), json!(minor)], "{path}");
    }
    // No node of the host's is bound in the place of another.
    for (path, kind, major, minor) in [("/dev/kmsg", "c", 1, 250), ("/dev/loop0", "b", 250, 77)] {
        bundle.set("/linux/devices", device(path, kind, major, minor));
        let output = hako.refuses(&bundle, "/linux/devices/0");
        output.fails(&format!("the host has no node of the device {kind} {major}:{minor}"));
    }
}

#[test]
fn rules_about_devices_are_told_not_to_be_enforced() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    let rules = json!([{ "allow": false, "access": "rwm" },
                       { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }]);
    bundle.set("/linux/resources/devices", rules);
    let output = hako.run(&bundle).ok();
    assert!(output.stderr.contains("linux.resources.devices: not enforced"), "{output}");
}

/// The kernel gives a new sysfs only to whom the network belongs.
#[test]
fn sysfs_is_mounted_or_bound_as_the_network_allows() {
    let hako = Runtime::as_user();
    let own = hako.ask(&hako.bundle(), "ls /sys/class/net -- open /sys/x create,write -- report");
    assert_eq!(own[0], json!(["lo"]));
    assert_eq!(own[1], json!({ "errno": "EROFS" }));
    let mut bundle = hako.bundle();
    bundle.without_namespace("network");
    let host = hako.ask(&bundle, "ls /sys/class/net -- open /sys/x create,write -- report");
    let mut interfaces: Vec<_> = fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    interfaces.sort();
    assert_eq!(host[0], json!(interfaces));
    assert_eq!(host[1], json!({ "errno": "EROFS" }));
    for seen in [&own[2], &host[2]] {
        let mount = mount_at(seen, "/sys");
        assert_eq!(mount["type"], "sysfs");
        assert!(in_set(&mount["options"], "ro"), "{mount}");
    }
}

#[test]
fn cgroups_are_seen_as_the_namespace_allows() {
    let hako = Runtime::as_user();
    let seen = hako.ask(&hako.bundle(), "report -- open /sys/fs/cgroup/x create,write");
    assert_eq!(mount_at(&seen[0], "/sys/fs/cgroup")["type"], "cgroup2");
    assert!(seen[0]["cgroup"].as_str().unwrap().ends_with("0::/"), "{}", seen[0]["cgroup"]);
    assert_eq!(seen[1], json!({ "errno": "EROFS" }));
    // Without a cgroup namespace it is the host's, read-only whatever is asked for.
    let mut bundle = hako.bundle();
    bundle.without_namespace("cgroup");
    bundle.set("/mounts/6/options", ["rw", "nosuid"]);
    let seen = hako.ask(&bundle, "open /sys/fs/cgroup/x create,write -- ls /sys/fs/cgroup");
    assert_eq!(seen[0], json!({ "errno": "EROFS" }));
    assert!(in_set(&seen[1], "cgroup.procs"), "{}", seen[1]);
}

/// All eight kinds belong to the user.
#[test]
fn every_namespace_can_be_had() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.namespace("time", None).set("/linux/timeOffsets/boottime/secs", 1_000_000);
    bundle
        .set("/linux/sysctl", json!({ "kernel.shm_rmid_forced": "1", "net.ipv4.ip_forward": "1" }));
    let seen = hako.ask(
        &bundle,
        "report -- read /proc/sys/net/ipv4/ip_forward -- read /proc/sys/kernel/shm_rmid_forced",
    );
    for file in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let outside = fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap();
        assert_ne!(seen[0]["namespaces"][file], json!(outside), "{file}");
    }
    assert_eq!(seen[0]["names"]["hostname"], "hako-test");
    assert_eq!(seen[1..], ["1\n", "1\n"]);
    assert!(seen[0]["clocks"]["boottime"].as_f64().unwrap() > 1_000_000.0, "{}", seen[0]["clocks"]);
}

#[test]
fn an_overlay_is_the_users() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/root/readonly", false).inspector("write /new x -- write /bin/inspector y");
    let changes = hako.dir("home/changes");
    hako.user().own(&changes);
    let command = hako.on_bundle(&["run"], &bundle).arg(format!("--overlay={}", changes.display()));
    let output = hako.finish(command, &bundle).ok();
    assert_eq!(output.values()[0], "ok");
    assert!(!bundle.rootfs("/new").exists());
    assert_eq!(hako.user().foreign_files(&changes), [""; 0]);
}

/// `auto` is what `true` is to a user; `false` insists on what only root has.
#[test]
fn the_option_rootless() {
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    each(["--rootless=true", "--rootless=auto", "--rootless"], |option| {
        let output = hako.finish(hako.on_bundle(&[option, "run"], &bundle), &bundle).ok();
        assert_eq!(output.json()["pid"], 1);
    });
    hako.finish(hako.on_bundle(&["--rootless=false", "run"], &bundle), &bundle).fails("cgroup");
}

/// Hooks run as the user, who gets the state on stdin.
#[test]
fn hooks_are_the_users() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    let file = hako.user().home().join("hook");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("{{ id -u; cat; }} >{}", file.display())] }]);
    bundle.set("/hooks/createRuntime", hook);
    let _ = hako.inspect(&bundle);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&format!("{}\n", hako.user().uid())), "{text}");
    assert!(text.contains(bundle.id()), "{text}");
}

/// A filter is loaded whoever the process is, and `exec` has it, too.
#[test]
fn a_filter_restricts_the_container_and_exec() {
    let hako = Runtime::as_user();
    for (uid, no_new_privileges) in [(0, true), (0, false), (1000, false)] {
        let mut bundle = hako.bundle();
        bundle.set("/process/user/uid", uid);
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        let rule =
            json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 });
        let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        bundle.set("/linux/seccomp", filter);
        let container = hako.serve(&bundle);
        let refused = json!({ "errno": "ENOSYS" });
        assert_eq!(container.ask("mkdir /dev/shm/x")[0], refused, "{uid} {no_new_privileges}");
        assert_eq!(container.exec_and_ask(&[], "mkdir /dev/shm/x")[0], refused);
    }
}

#[test]
fn limits_of_the_caller_are_the_most_there_is() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle
        .set("/process/rlimits/0", json!({ "type": "RLIMIT_NOFILE", "soft": 4096, "hard": 4096 }));
    let command = hako.on_bundle(&["run"], &bundle).before("ulimit -n 2048");
    let output = hako.finish(command, &bundle);
    output.refuses("/process/rlimits");
    assert!(
        output.stderr.contains("hint: raising a hard limit needs CAP_SYS_RESOURCE"),
        "{output}"
    );
    let command = hako.on_bundle(&["run"], &bundle).before("ulimit -n 8192");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"]["hard"], 4096);
}

/// What only root of the machine has the privilege for.
#[test]
fn what_takes_more_privilege_is_refused_with_the_reason() {
    let hako = Runtime::as_user();
    let roots = format!("/proc/{}/ns/net", std::process::id());
    let open = hako.file("network", "");
    hako.bind("/proc/thread-self/ns/net".as_ref(), &open, false);
    let fifo = json!({ "policy": "SCHED_FIFO", "priority": 5 });
    let real_time = json!({ "class": "IOPRIO_CLASS_RT", "priority": 1 });
    let network = |path: &str| {
        json!([{ "type": "user" }, { "type": "mount" }, { "type": "pid" },
                                      { "type": "network", "path": path }])
    };
    let rows = [
        ("/process/scheduler", fifo, "take CAP_SYS_NICE on the machine"),
        ("/process/ioPriority", real_time, "take CAP_SYS_NICE on the machine"),
        ("/linux/netDevices", json!({ "lo": {} }), "takes privilege over the network they are in"),
        ("/linux/namespaces", network(&roots), "open to those who may look into that process only"),
        ("/linux/namespaces", network(open.to_str().unwrap()), "that takes privilege over it"),
    ];
    each(rows, |(place, value, words)| {
        let mut bundle = hako.bundle();
        if *place == "/linux/namespaces" {
            bundle.set("/mounts", json!([])).remove("/hostname");
        }
        bundle.set(place, value.clone());
        let output = hako.refuses(&bundle, place);
        assert!(output.stderr.contains(words), "{words}: {output}");
    });
}
