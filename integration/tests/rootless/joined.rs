//! Root of a user namespace that somebody else has made: podman's own, that of a
//! pod, rootless docker's. Nothing there needs a capability outside of it.

use super::plan::check;
use hako_integration::{Bundle, Exit, Holder, Runtime, Terminal, each, json, mount_at};
use std::io::Read;
use std::process::{Command, Stdio};

/// What podman asks for: no user namespace, since podman is in one, and a network
/// namespace by its path.
fn like_podman(hako: &Runtime, network: &Holder) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.namespace("network", Some(&network.path("net")));
    bundle
}

#[test]
fn podmans_own_namespace_with_a_network_by_path() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let network = hako.holder().below(&["--net"]);
    let mut bundle = like_podman(&hako, &network);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [7] }));
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ping_group_range": "0 0" }));
    let seen = hako
        .ask(&bundle, "report -- read /proc/sys/net/ipv4/ping_group_range -- ls /sys/class/net");
    assert_eq!(seen[0]["namespaces"]["net"], network.namespace("net"));
    assert_eq!(seen[0]["uid_map"][0], json!([0, hako.user().uid(), 1]));
    assert_eq!((&seen[0]["uid"]["real"], &seen[0]["groups"]), (&json!(1000), &json!([7])));
    assert_eq!(seen[1], "0\t0\n");
    assert_eq!(seen[2], json!(["lo"]));
    assert_eq!(mount_at(&seen[0], "/dev/null")["type"], mount_at(&seen[0], "/dev/zero")["type"]);
}

#[test]
fn all_commands_of_a_namespaces_root() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let network = hako.holder().below(&["--net"]);
    let container = hako.create(&like_podman(&hako, &network));
    assert_eq!(container.status(), "created");
    // In its user namespace, its root may look into everything.
    let seen = &container.exec_and_ask(&["--user", "5:6"], "report")[0];
    assert_eq!(
        (&seen["uid"]["real"], &seen["namespaces"]["net"]),
        (&json!(5), &network.namespace("net"))
    );
    container.start();
    assert_eq!(container.wait(), Exit::Code(0));
    container.delete();
    let container = hako.serve(&like_podman(&hako, &network));
    let init = &container.ask("report")[0];
    let seen = &container.exec_and_ask(&[], "report")[0];
    assert_eq!(seen["namespaces"], init["namespaces"]);
    let mut terminal = Terminal::open();
    let exec = container.exec(&["--tty"], "tty -- print done").on_terminal(&terminal).spawn();
    let text = terminal.read_until("done");
    assert!(exec.finish().code == Some(0) && text.contains("\"tty\":true"), "{text}");
    container.kill("KILL");
    assert_eq!(container.wait(), Exit::Signal(9));
}

/// Init and the bridge speak to the runtime over one connection, and without a cgroup init waits
/// for nobody: it may be done before the bridge has told who init is.
#[test]
fn init_is_announced_before_it_speaks() {
    let hako = Runtime::debug_build().for_user().in_namespaces(&["--mount"]);
    let network = hako.holder().below(&["--net"]);
    let bundle = like_podman(&hako, &network);
    each(1..=6, |step| {
        let create = hako.on_bundle(&["--cgroup-manager=disabled", "create"], &bundle);
        let container =
            hako.make(create.env("HAKO_FAULT", &format!("bridge:{step}:late")), &bundle);
        container.start();
        assert_eq!(container.wait(), Exit::Code(0));
        container.delete();
    });
}

/// dockerd in rootlesskit's namespaces: every container has its own network.
#[test]
fn rootless_dockers_namespaces() {
    let hako = Runtime::as_namespace_root(&["--mount", "--net"]);
    let mut bundle = hako.bundle();
    let rules = json!([{ "allow": false, "access": "rwm" }]);
    bundle.set("/linux/resources/devices", rules);
    let seen = hako.ask(&bundle, "report -- ls /sys/class/net");
    assert_eq!(seen[1], json!(["lo"]));
    assert_eq!(mount_at(&seen[0], "/sys")["type"], "sysfs");
    assert_eq!(mount_at(&seen[0], "/sys/fs/cgroup")["type"], "cgroup2");
    assert_eq!(seen[0]["uid_map"][1][1], hako.user().first_subordinate());
    // And with the engine's network.
    bundle.without_namespace("network");
    let seen = hako.ask(&bundle, "ls /sys/class/net");
    assert_eq!(seen[0], json!(["lo"]));
}

/// Of one who could map no group but their own, and gave setgroups up for that.
#[test]
fn a_namespace_that_denies_setgroups() {
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let hako = Runtime::as_lone_user().launched_by(&unshare);
    let mut bundle = hako.bundle();
    bundle.without_namespace("user");
    bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    let mut nested = bundle.clone();
    nested.namespace("user", None);
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    nested.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    each([bundle, nested], |bundle| {
        let seen = hako.inspect(bundle);
        assert_eq!((&seen["setgroups"], &seen["groups"]), (&json!("deny"), &json!([])));
        let mut bundle = bundle.clone();
        bundle.set("/process/user/additionalGids", json!([0]));
        let output = hako.refuses(&bundle, "/process/user/additionalGids");
        output.fails("the user namespace that hako is in denies it");
    });
}

/// Only the kernel knows it of a namespace that is joined.
#[test]
fn a_joined_namespace_that_denies_setgroups() {
    let hako = Runtime::as_lone_user();
    let first = hako.serve(&hako.bundle());
    let mut bundle = hako.bundle();
    bundle.namespace("user", Some(&format!("/proc/{}/ns/user", first.pid())));
    let second = hako.serve(&bundle);
    for seen in [second.ask("report"), second.exec_and_ask(&[], "report")] {
        assert_eq!((&seen[0]["setgroups"], &seen[0]["groups"]), (&json!("deny"), &json!([])));
    }
}

#[test]
fn groups_in_a_joined_namespace_that_denies_setgroups() {
    let hako = Runtime::as_lone_user();
    let first = hako.serve(&hako.bundle());
    let mut bundle = hako.bundle();
    bundle.namespace("user", Some(&format!("/proc/{}/ns/user", first.pid())));
    bundle.set("/process/user/additionalGids", json!([0]));
    let output = hako.refuses(&bundle, "/process/user/additionalGids");
    output.fails("cannot set supplementary groups: the user namespace denies it");
    assert!(output.stderr.contains("hint: leave them out"), "{output}");
}

#[test]
fn a_joined_namespace_without_maps() {
    let hako = Runtime::as_lone_user();
    let uid = hako.user().uid().to_string();
    let mut holder = Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "unshare", "--user"])
        .args(["sh", "-c", "echo ready; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    holder.stdout.take().unwrap().read_exact(&mut [0; 6]).unwrap();
    let mut bundle = hako.bundle();
    bundle.namespace("user", Some(&format!("/proc/{}/ns/user", holder.id())));
    let output = hako.run(&bundle);
    holder.kill().unwrap();
    holder.wait().unwrap();
    output.fails("cannot set supplementary groups: the user namespace maps no group");
    assert!(output.stderr.contains("hint: have whoever made that namespace"), "{output}");
    assert!(!output.stderr.contains("keep_original_groups"), "{output}");
}

#[test]
fn the_user_namespace_that_hako_is_in() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let mut bundle = hako.bundle();
    bundle.namespace("user", Some("/proc/self/ns/user"));
    let output = hako.run(&bundle);
    output.fails("cannot enter user namespace /proc/self/ns/user");
    assert!(output.stderr.contains("hint: that is the one hako is in: leave it out"), "{output}");
}

/// The kernel takes no range of ids that reaches over two lines of the map around
/// it, and an engine's begins with one for its user alone.
#[test]
fn ranges_that_reach_over_lines_of_the_engines_map() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let mut bundle = hako.bundle();
    bundle.namespace("user", None);
    let maps = |size: u32| json!([{ "containerID": 0, "hostID": 0, "size": size }]);
    bundle.set("/linux/uidMappings", maps(1000)).set("/linux/gidMappings", maps(500));
    bundle.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9] }));
    let plan = hako.on_bundle(&["explain"], &bundle).output().ok().stdout;
    let written = "map users 0 -> 0 (1), 1 -> 1 (999); groups 0 -> 0 (1), 1 -> 1 (499)";
    assert!(plan.contains(written), "{plan}");
    let container = hako.serve(&bundle);
    let [init, later] =
        [container.ask("report"), container.exec_and_ask(&["--user", "7:8"], "report")];
    each([&init[0], &later[0]], |seen| {
        assert_eq!(seen["uid_map"], json!([[0, 0, 1], [1, 1, 999]]));
        assert_eq!(seen["gid_map"], json!([[0, 0, 1], [1, 1, 499]]));
        assert_eq!((&seen["uid"]["real"], &seen["groups"]), (&json!(7), &json!([9])));
    });
    container.kill("KILL");
    container.wait();
    container.delete();

    // What there is not, is not mapped. Versions of unshare(1) differ by one in what they map.
    bundle.set("/linux/uidMappings", maps(65_538));
    let output = hako.refuses(&bundle, "/linux/uidMappings/0");
    assert!(output.stderr.contains("not all of the ids 0 to 65537 exist"), "{output}");
    assert!(output.stderr.contains("/proc/self/uid_map has 0, 1 to 655"), "{output}");
    assert_eq!(output.stderr.matches("not all of the ids").count(), 1, "{output}");
    assert!(!output.stderr.contains("is not mapped"), "one fault, told once: {output}");
}

/// The same for the ownership of a mount.
#[test]
fn ownership_over_lines_of_the_engines_map() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let mut bundle = hako.bundle();
    let maps = json!([{ "containerID": 1000, "hostID": 0, "size": 10 }]);
    let idmapped = json!({ "destination": "/mapped", "type": "tmpfs", "source": "tmpfs",
        "options": ["idmap", "uid=1000", "gid=1005"], "uidMappings": maps, "gidMappings": maps });
    let pointer = bundle.mount(idmapped);
    let seen = hako.ask(&bundle, "stat /mapped");
    assert_eq!((&seen[0]["uid"], &seen[0]["gid"]), (&json!(0), &json!(5)));
    bundle.set(&format!("{pointer}/gidMappings/0/size"), 70_000);
    let output = hako.refuses(&bundle, &format!("{pointer}/gidMappings/0"));
    assert!(output.stderr.contains("/proc/self/gid_map has 0, 1 to 655"), "{output}");
}

/// A pod whose members share a user namespace below the engine's: the first
/// container has made it, the others join by its process.
#[test]
fn a_pod_with_a_user_namespace_of_its_own() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let mut bundle = hako.bundle();
    bundle.user_namespace(hako.user().first_subordinate());
    let maps = json!([{ "containerID": 0, "hostID": 1, "size": 1000 }]);
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps.clone());
    let infra = hako.serve(&bundle);
    let first = &infra.ask("report")[0];
    assert_eq!(first["uid_map"], json!([[0, 1, 1000]]));
    let mut member = hako.bundle();
    member.user_namespace(hako.user().first_subordinate());
    member.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    for (kind, file) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        member.namespace(kind, Some(&format!("/proc/{}/ns/{file}", infra.pid())));
    }
    member.remove("/hostname");
    member.set("/process/user/uid", 7);
    let container = hako.serve(&member);
    let seen = &container.ask("report")[0];
    for file in ["user", "net", "ipc", "uts"] {
        assert_eq!(seen["namespaces"][file], first["namespaces"][file], "{file}");
    }
    for file in ["pid", "mnt", "cgroup"] {
        assert_ne!(seen["namespaces"][file], first["namespaces"][file], "{file}");
    }
    assert_eq!((&seen["pid"], &seen["uid"]["real"]), (&json!(1), &json!(7)));
    assert_eq!(seen["names"]["hostname"], first["names"]["hostname"]);
    let executed = &container.exec_and_ask(&[], "report")[0];
    assert_eq!(executed["namespaces"], seen["namespaces"]);
    assert_eq!(executed["uid"]["real"], 7);
}

/// The user themself, who is root nowhere yet, joins what is theirs: by a process
/// in between, since nobody without privilege comes back from a namespace.
#[test]
fn a_user_joins_namespaces_of_their_own() {
    let hako = Runtime::as_user();
    let holder = Holder::new(hako.user(), &["--net", "--ipc"]);
    let mut bundle = hako.bundle();
    bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    bundle.namespace("user", Some(&holder.path("user")));
    bundle.namespace("network", Some(&holder.path("net")));
    bundle.namespace("ipc", Some(&holder.path("ipc")));
    bundle.set("/process/user", json!({ "uid": 3, "gid": 4 }));
    let plan = hako.on_bundle(&["explain"], &bundle).output().ok();
    assert!(plan.stdout.contains("process in between, which clones init"), "{plan}");
    let container = hako.serve(&bundle);
    let seen = &container.ask("report")[0];
    for file in ["user", "net", "ipc"] {
        assert_eq!(seen["namespaces"][file], holder.namespace(file), "{file}");
    }
    assert_eq!((&seen["pid"], &seen["uid"]["real"]), (&json!(1), &json!(3)));
    let executed = &container.exec_and_ask(&["--user", "9"], "report")[0];
    assert_eq!(executed["namespaces"], seen["namespaces"]);
    assert_eq!(executed["uid"]["real"], 9);
    container.kill("KILL");
    assert_eq!(container.wait(), Exit::Signal(9));
}

/// What a namespace that is joined maps, only the kernel knows; the namespace that hako is in
/// can be read.
#[test]
fn ids_that_somebody_elses_namespace_does_not_map() {
    let hako = Runtime::as_user();
    let holder = Holder::new(hako.user(), &[]);
    let mut bundle = hako.bundle();
    bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    bundle.namespace("user", Some(&holder.path("user")));
    bundle.remove("/mounts/2/options/5");
    let engine = Runtime::as_namespace_root(&["--mount"]);
    let rows = [
        ("uid", json!(70_000), "", "user"),
        ("gid", json!(70_001), "", "group"),
        ("additionalGids", json!([0, 70_002]), "/1", "group"),
    ];
    let container = hako.serve(&bundle);
    let output = container.exec(&["--user", "70000"], "report").output();
    let words = "cannot change to user 70000, which is not mapped in the user namespace";
    assert!(output.code == Some(255) && output.stderr.contains(words), "{output}");
    drop(container);
    each(rows, |(field, value, part, kind)| {
        let pointer = format!("/process/user/{field}");
        let mut joined = bundle.clone();
        joined.set(&pointer, value.clone());
        let output = hako.refuses(&joined, &format!("{pointer}{part}"));
        output.fails("which is not mapped in the user namespace");
        let map = if *kind == "user" { "uid_map" } else { "gid_map" };
        let hint = format!("hint: /proc/self/{map} has 0, 1 to 655");
        assert!(output.stderr.contains(&hint), "{output}");

        let mut inherited = engine.bundle();
        inherited.set(&pointer, value.clone());
        let output = engine.refuses(&inherited, &format!("{pointer}{part}"));
        output.fails("is not mapped in the user namespace that hako is in");
        assert!(output.stderr.contains(&hint), "{output}");
    });
}

/// The pid namespace of another container, as `docker run --pid=container:X` has it.
#[test]
fn a_pid_namespace_is_joined() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let first = hako.serve(&hako.bundle());
    let mut bundle = hako.bundle();
    bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid())));
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["namespaces"]["pid"], first.ask("report")[0]["namespaces"]["pid"]);
    assert_ne!(seen["pid"], 1);
}

#[test]
fn nothing_forbidden_is_tried() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let network = hako.holder().below(&["--net"]);
    check(&hako, &like_podman(&hako, &network));
    let hako = Runtime::as_namespace_root(&["--mount", "--net"]);
    check(&hako, &hako.bundle());
    let hako = Runtime::as_user();
    let holder = Holder::new(hako.user(), &["--net"]);
    let mut bundle = hako.bundle();
    bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    bundle.namespace("user", Some(&holder.path("user")));
    bundle.namespace("network", Some(&holder.path("net")));
    check(&hako, &bundle);
}
