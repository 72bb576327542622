//! User namespaces made by root: ids inside and outside, and what works in spite of them.

use hako_integration::{Bundle, Runtime, Value, cgroup_dir, each, in_set, json, mount_at};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

/// The first id on the host of the usual mapping.
const FIRST: u32 = 100_000;

fn mapped(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.user_namespace(FIRST);
    bundle
}

#[test]
fn ids_are_shifted_on_the_way_in_and_out() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    bundle.set("/root/readonly", false);
    let shared = hako.dir("shared");
    for (name, owner) in
        [("root-of-host", 0), ("root", FIRST), ("user", FIRST + 1000), ("nobody", 99_999)]
    {
        let file = hako.file(&format!("shared/{name}"), "");
        chown(file, Some(owner), Some(owner)).unwrap();
    }
    chown(&shared, Some(FIRST), Some(FIRST)).unwrap();
    bundle.bind(&shared, "/shared", &["bind"]);
    bundle.capabilities(&["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    let container = hako.serve(&bundle);
    const OVERFLOW: u32 = 65534;
    let owners = [("root-of-host", OVERFLOW), ("root", 0), ("user", 1000), ("nobody", OVERFLOW)];
    for (name, owner) in owners {
        let seen = container.ask(&format!("stat /shared/{name}"));
        assert_eq!((&seen[0]["uid"], &seen[0]["gid"]), (&json!(owner), &json!(owner)), "{name}");
    }
    let made =
        container.ask("write /shared/new x -- write /shared/given x -- chown /shared/given 33 44");
    assert_eq!(made, ["ok", "ok", "ok"]);
    let of =
        |name: &str| fs::metadata(shared.join(name)).map(|meta| (meta.uid(), meta.gid())).unwrap();
    assert_eq!(of("new"), (FIRST, FIRST));
    assert_eq!(of("given"), (FIRST + 33, FIRST + 44));
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
    assert!(status.contains(&format!("Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}\n")), "{status}");
}

#[test]
fn several_mappings_are_all_applied() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    let uids = json!([
        { "containerID": 0, "hostID": FIRST, "size": 1 },
        { "containerID": 1, "hostID": 200_000, "size": 999 },
        { "containerID": 1000, "hostID": 1000, "size": 1 },
        { "containerID": 70_000, "hostID": 300_000, "size": 5 },
    ]);
    let gids = json!([
        { "containerID": 0, "hostID": FIRST, "size": 10 },
        { "containerID": 1000, "hostID": 400_000, "size": 10 },
    ]);
    bundle.set("/linux/uidMappings", uids).set("/linux/gidMappings", gids);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1003, "additionalGids": [5, 1009] }));
    let seen = hako.inspect(&bundle);
    let expected = json!([[0, FIRST, 1], [1, 200_000, 999], [1000, 1000, 1], [70_000, 300_000, 5]]);
    assert_eq!(seen["uid_map"], expected);
    assert_eq!(seen["gid_map"], json!([[0, FIRST, 10], [1000, 400_000, 10]]));
    let user = json!({ "real": 1000, "effective": 1000, "saved": 1000 });
    let group = json!({ "real": 1003, "effective": 1003, "saved": 1003 });
    assert_eq!((&seen["uid"], &seen["gid"]), (&user, &group));
    assert_eq!(seen["groups"], json!([5, 1009]));
}

/// The kernel takes 340, but no more than a page of text.
#[test]
fn hundreds_of_mappings_are_no_limit() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    let maps: Vec<Value> =
        (0..250).map(|n| json!({ "containerID": n, "hostID": FIRST + n * 2, "size": 1 })).collect();
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["uid_map"].as_array().unwrap().len(), 250);
    assert_eq!(seen["uid_map"][249], json!([249, FIRST + 498, 1]));
}

/// Such a process owns nothing but what its one id owns.
#[test]
fn a_namespace_without_a_root_runs() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.user_namespace(FIRST);
    let map = json!([{ "containerID": 1000, "hostID": FIRST, "size": 1 }]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    // The group 5 of terminals is not mapped either.
    bundle.set("/mounts/2/options", ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]);
    let seen = hako.inspect(&bundle);
    assert_eq!((&seen["uid"]["real"], &seen["gid"]["real"]), (&json!(1000), &json!(1000)));
    assert_eq!(seen["uid_map"], json!([[1000, FIRST, 1]]));
}

#[test]
fn every_namespace_belongs_to_the_new_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    bundle.namespace("time", None);
    bundle.capabilities(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT"]);
    bundle.install_busybox();
    bundle.mkdir("/mnt");
    let chain = "mount tmpfs /mnt tmpfs -- run /bin/busybox hostname changed \
                 -- run /bin/busybox ip link set lo down -- report";
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen[0], "ok");
    assert_eq!((&seen[1]["code"], &seen[2]["code"]), (&json!(0), &json!(0)), "{seen:?}");
    assert_eq!(seen[3]["names"]["hostname"], "changed");
    for file in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"] {
        let outside = fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap();
        assert_ne!(seen[3]["namespaces"][file], json!(outside), "{file}");
    }
}

#[test]
fn the_default_file_systems_are_there() {
    let hako = Runtime::new();
    let seen = hako
        .ask(&mapped(&hako), "report -- ls /sys/class/net -- open /sys/fs/cgroup/x create,write");
    let types = [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/sys/fs/cgroup", "cgroup2"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
    ];
    for (target, kind) in types {
        assert_eq!(mount_at(&seen[0], target)["type"], kind, "{target}");
    }
    assert!(in_set(&mount_at(&seen[0], "/sys")["options"], "ro"));
    // The network namespace's own sysfs, not the host's.
    assert_eq!(seen[1], json!(["lo"]));
    assert_eq!(seen[2], json!({ "errno": "EROFS" }));
}

/// Nodes cannot be made in a user namespace; the host's are bound.
#[test]
fn devices_are_there_and_work() {
    let hako = Runtime::new();
    let bundle = mapped(&hako);
    let rows = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    let stats = rows.map(|(name, ..)| format!("follow /dev/{name}")).join(" -- ");
    let chain = format!(
        "{stats} -- write /dev/null x -- write /dev/full x -- stat /dev/ptmx -- stat /dev/fd"
    );
    let seen = hako.ask(&bundle, &chain);
    for ((name, major, minor), stat) in rows.iter().zip(&seen) {
        assert_eq!(stat["type"], "char", "{name}");
        assert_eq!((&stat["major"], &stat["minor"]), (&json!(major), &json!(minor)), "{name}");
    }
    assert_eq!(seen[6..8], [json!("ok"), json!({ "errno": "ENOSPC" })]);
    assert_eq!((&seen[8]["type"], &seen[9]["type"]), (&json!("symlink"), &json!("symlink")));
}

#[test]
fn a_device_of_the_host_is_bound() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    let device =
        |path: &str, minor: u32| json!({ "type": "c", "path": path, "major": 1, "minor": minor });
    bundle.set("/linux/devices", json!([device("/dev/kmsg", 11)]));
    let seen = hako.ask(&bundle, "stat /dev/kmsg");
    assert_eq!(
        (&seen[0]["type"], &seen[0]["major"], &seen[0]["minor"]),
        (&json!("char"), &json!(1), &json!(11))
    );
}

#[test]
fn groups_of_the_caller_are_dropped() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    bundle.inspector("report");
    let command = hako.on_bundle(&["run"], &bundle);
    let command = command.before("exec setpriv --groups 4,24,46 \"$0\" \"$@\"");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!((&seen["groups"], &seen["setgroups"]), (&json!([]), &json!("allow")));
}

/// In the namespace nobody has the privilege any more to do so.
#[test]
fn limits_and_scores_are_set_from_outside() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    bundle.set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 900, "hard": 1000 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]),
    );
    bundle.set("/process/oomScoreAdj", 321).inspector("report");
    let command = hako.on_bundle(&["run"], &bundle).before("ulimit -S -n 100");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!({ "soft": 900, "hard": 1000 }));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"], json!({ "soft": 0, "hard": 0 }));
    assert_eq!(seen["oom_score_adj"], 321);
}

#[test]
fn capabilities_are_those_of_the_namespace() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    // Among them one that the caller may lack: the namespace grants it anew.
    bundle.capabilities(&["CAP_SYS_RESOURCE", "CAP_SYS_ADMIN"]).inspector("report");
    let output = hako.run(&bundle).ok();
    let expected = format!("{:016x}", (1_u64 << 24) | (1 << 21));
    assert_eq!(output.json()["capabilities"]["effective"], expected);
    assert_eq!(output.stderr, "", "nothing to be warned about");
}

#[test]
fn the_cgroup_stays_with_the_host() {
    let hako = Runtime::new();
    let bundle = mapped(&hako);
    let container = hako.serve(&bundle);
    let procs = fs::read_to_string(cgroup_dir(bundle.cgroup()).join("cgroup.procs")).unwrap();
    assert_eq!(procs.trim(), container.pid().to_string());
    assert_eq!(
        container.ask("read /proc/self/cgroup")[0].as_str().map(|text| text.contains("0::/\n")),
        Some(true)
    );
}

#[test]
fn hooks_of_the_container_run_in_its_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = mapped(&hako);
    let notes = hako.dir("notes");
    fs::set_permissions(&notes, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    for kind in ["createRuntime", "createContainer"] {
        let script =
            format!("cat /proc/self/uid_map >{}/{kind}; id -u >>{0}/{kind}", notes.display());
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }]);
        bundle.set(&format!("/hooks/{kind}"), hook);
    }
    let _ = hako.run(bundle.inspector("sleep 0")).ok();
    let words = |kind: &str| -> Vec<u32> {
        let text = fs::read_to_string(notes.join(kind)).unwrap();
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    assert_eq!(words("createRuntime"), [0, 0, u32::MAX, 0]);
    assert_eq!(words("createContainer"), [0, FIRST, 65536, 0]);
}

#[test]
fn ids_without_a_mapping_are_refused_with_a_hint() {
    let hako = Runtime::new();
    let rows = [
        ("/process/user/uid", json!(65536), "/process/user/uid"),
        ("/process/user/gid", json!(70_000), "/process/user/gid"),
        ("/process/user/additionalGids", json!([0, 4_000_000]), "/process/user/additionalGids/1"),
    ];
    each(rows, |(pointer, value, place)| {
        let mut bundle = mapped(&hako);
        bundle.set(pointer, value.clone());
        let output = hako.refuses(&bundle, place);
        output.fails("not mapped");
        output.fails("hint: ");
    });
}

#[test]
fn impossible_mappings_are_refused() {
    let hako = Runtime::new();
    let map = |inside: u64, outside: u64, size: u64| json!({ "containerID": inside, "hostID": outside, "size": size });
    let rows = [
        ("none", json!([])),
        ("no ids", json!([map(0, 100_000, 0)])),
        ("more than there are", json!([map(0, 100_000, 4_294_967_295)])),
        ("overlapping inside", json!([map(0, 100_000, 10), map(5, 200_000, 10)])),
        ("overlapping outside", json!([map(0, 100_000, 10), map(10, 100_005, 10)])),
        ("negative", json!([{ "containerID": -1, "hostID": 1, "size": 1 }])),
        ("incomplete", json!([{ "containerID": 0, "size": 1 }])),
        ("too many", (0..341).map(|n| map(n, 100_000 + 2 * n, 1)).collect::<Value>()),
    ];
    each(rows, |(_, maps)| {
        for pointer in ["/linux/uidMappings", "/linux/gidMappings"] {
            let mut bundle = mapped(&hako);
            bundle.set(pointer, maps.clone());
            hako.refuses(&bundle, pointer);
        }
    });
    let mut without = mapped(&hako);
    without.remove("/linux/uidMappings").remove("/linux/gidMappings");
    hako.refuses(&without, "/linux/uidMappings");
    let mut one_sided = mapped(&hako);
    hako.refuses(one_sided.remove("/linux/gidMappings"), "/linux/gidMappings");
    let mut useless = mapped(&hako);
    hako.refuses(useless.without_namespace("user"), "/linux/uidMappings");
}

/// The container's root is nobody in particular on the host.
#[test]
fn a_root_closed_to_the_container_is_an_error_that_says_so() {
    let hako = Runtime::new();
    let bundle = mapped(&hako);
    fs::set_permissions(bundle.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let output = hako.run(&bundle);
    match output.code {
        // Who opens the root before entering the namespace may well succeed.
        Some(0) => assert_eq!(output.json()["uid_map"], json!([[0, FIRST, 65536]])),
        _ => output.fails("permission denied"),
    }
}
