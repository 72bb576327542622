//! Limits are systemd's, too: what systemd does not know of, it would undo.

use super::{assert_gone, property, systemctl, unit};
use crate::limits::{blames_the_limit, cannot_live_with};
use hako_integration::{Runtime, cgroup_dir, json, wait_until};
use rustix::process::Signal;

#[test]
fn limits_are_properties_and_files() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20, "reservation": 32 << 20},
            "cpu": {"shares": 512, "quota": 34_000, "period": 100_000},
            "pids": {"limit": 20},
            "unified": {"memory.high": "50331648", "cpu.max.burst": "1000"},
        }),
    );
    let container = hako.create(&bundle);
    let unit = unit(&bundle);
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("MemoryLow", "33554432"),
        ("MemoryHigh", "50331648"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "340ms"),
        ("TasksMax", "20"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    let files = [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "59"),
        ("cpu.max", "34000 100000"),
        ("cpu.max.burst", "1000"),
        ("pids.max", "20"),
    ];
    for (name, value) in files {
        assert_eq!(bundle.cgroup_file(name), value, "{name}");
    }
    systemctl(&["daemon-reload"]);
    container.start();
    for (name, value) in files {
        assert_eq!(bundle.cgroup_file(name), value, "{name} after daemon-reload");
    }
}

#[test]
fn device_rules_survive_a_reload_of_systemd() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_MKNOD"]);
    bundle.set(
        "/linux/resources/devices",
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]),
    );
    let container = hako.serve(&bundle);
    let unit = unit(&bundle);
    assert_eq!(property(&unit, "DevicePolicy"), "strict");
    let allowed = property(&unit, "DeviceAllow");
    assert!(allowed.contains("/dev/char/1:11 r"), "{allowed}");
    let nodes = "mknod /dev/allowed c 1 11 -- mknod /dev/denied c 1 4";
    container.ask(nodes);
    for when in ["at first", "after daemon-reload"] {
        let seen = container.ask("open /dev/allowed read -- open /dev/denied read");
        assert_eq!(seen[1]["errno"], "EPERM", "{when}: {seen:?}");
        assert_ne!(seen[0]["errno"], "EPERM", "{when}: {seen:?}");
        systemctl(&["daemon-reload"]);
    }
    systemctl(&["set-property", "--runtime", &unit, "MemoryMax=1G"]);
    let seen = container.ask("open /dev/denied read");
    assert_eq!(seen[0]["errno"], "EPERM", "after set-property: {seen:?}");
}

#[test]
fn a_limit_of_no_processes_is_the_kernels() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/pids/limit", 0);
    let _container = hako.create(&bundle);
    assert_eq!(bundle.cgroup_file("pids.max"), "0");
}

#[test]
fn a_container_over_its_memory_is_killed_and_can_be_deleted() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    bundle.inspector("alloc 64");
    let output = hako.run(&bundle);
    assert_eq!(output.code, Some(137), "{output}");
    blames_the_limit(&output, 16 << 20);
    assert_gone(&unit(&bundle));

    // The same when systemd has removed the scope before hako gets to look.
    bundle.inspector("print ready -- cat -- alloc 64");
    let mut running = hako.foreground(&bundle);
    running.wait_for("ready");
    running.signal(Signal::STOP);
    drop(running.take_stdin());
    wait_until("the scope is gone", || !cgroup_dir(bundle.cgroup()).exists());
    running.signal(Signal::CONT);
    blames_the_limit(&running.finish(), 16 << 20);
}

/// systemd removes the scope as soon as nothing lives in it, and with it what
/// the kernel has counted there.
#[test]
fn an_init_that_cannot_live_with_its_limit_is_explained() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory", json!({"limit": 4096, "swap": 4096}));
    cannot_live_with(4096, &hako, &bundle);
    assert_gone(&unit(&bundle));
}

/// Neighbours in a slice count together, and are told apart all the same.
#[test]
fn a_neighbour_that_ran_out_of_memory_is_not_confused_with_it() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory/limit", 64 << 20);
    let running = hako.foreground(bundle.inspector("print ready -- sleep 1000"));
    running.wait_for("ready");

    let mut neighbour = hako.bundle();
    neighbour.set("/linux/resources/memory", json!({"limit": 16 << 20, "swap": 16 << 20}));
    neighbour.inspector("alloc 64");
    blames_the_limit(&hako.run(&neighbour), 16 << 20);

    // hako gets to look when systemd has removed the scope.
    running.signal(Signal::STOP);
    let _ = hako.command(&["kill", bundle.id(), "KILL"]).output().ok();
    wait_until("the scope is gone", || !cgroup_dir(bundle.cgroup()).exists());
    running.signal(Signal::CONT);
    let output = running.finish();
    assert_eq!(output.code, Some(137), "{output}");
    assert!(!output.stderr.contains("limit"), "{output}");
}
