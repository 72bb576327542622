//! `update`, `ps` and `events`, as far as any host can show them. Limits that hold are in `limits.rs`.

use hako_integration::{Container, Output, Runtime, Value, each, has_controller, is_peer, json};
use std::fs;
use std::process::Stdio;

/// `update -r -` with this on standard input.
fn update(hako: &Runtime, container: &Container, text: &str) -> Output {
    let file = hako.file("resources.json", text);
    let stdin = fs::File::open(file).unwrap();
    container.command(&["update", "--resources=-"]).stdin(Stdio::from(stdin)).output()
}

#[test]
fn an_empty_update_changes_nothing() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/unified", json!({ "cgroup.max.depth": "5" }));
    let container = hako.serve(&bundle);
    for text in ["{}", "{\"memory\": {}, \"cpu\": {}, \"blockIO\": {}, \"pids\": {}}", " {}\n"] {
        let output = update(&hako, &container, text).ok();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    }
    let _ = container.command(&["update"]).output().ok();
    assert_eq!(bundle.cgroup_file("cgroup.max.depth"), "5");
}

#[test]
fn limits_of_a_running_container_change() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let _ = update(&hako, &container, r#"{"unified": {"cgroup.max.depth": "4"}}"#).ok();
    assert_eq!(bundle.cgroup_file("cgroup.max.depth"), "4");
    let file = hako.file("other.json", r#"{"unified": {"cgroup.max.descendants": "6"}}"#);
    let _ = hako.command(&["update", "-r"]).arg(&file).arg(container.id()).output().ok();
    assert_eq!(bundle.cgroup_file("cgroup.max.descendants"), "6");
    assert_eq!(bundle.cgroup_file("cgroup.max.depth"), "4", "others stay");
    if has_controller("hugetlb") {
        let text = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]}"#;
        let _ = update(&hako, &container, text).ok();
        assert_eq!(bundle.cgroup_file("hugetlb.2MB.max"), "2097152");
    }
}

#[test]
fn device_rules_change_without_a_gap_and_only_when_asked_for() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    let container = hako.serve(&bundle);
    let seen = container.ask("mknod /dev/k c 1 11 -- open /dev/k read");
    assert_eq!(seen[1], json!({ "errno": "EPERM" }));
    if is_peer() {
        return;
    }
    let allow = r#"{"devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
    let _ = update(&hako, &container, allow).ok();
    assert_eq!(container.ask("open /dev/k read")[0], "ok");
    let _ = update(&hako, &container, r#"{"unified": {"cgroup.max.depth": "4"}}"#).ok();
    assert_eq!(container.ask("open /dev/k read")[0], "ok", "an unrelated update");
    let _ = update(&hako, &container, r#"{"devices": [{"allow": true}]}"#).ok();
    assert_eq!(container.ask("open /dev/k write")[0], "ok");
    let _ = update(&hako, &container, r#"{"devices": [{"allow": false}]}"#).ok();
    assert_eq!(container.ask("open /dev/k read")[0], json!({ "errno": "EPERM" }));
    assert_eq!(container.ask("open /dev/null write")[0], "ok");
}

/// A program that tries all the time gets in at none.
#[test]
fn there_is_no_moment_without_device_rules() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    let script = "mknod /dev/k c 1 11; echo begun; while :; do true </dev/k && echo opened; done";
    bundle.set("/process/args", ["/bin/busybox", "sh", "-c", script]);
    let container = hako.create(&bundle);
    container.start();
    container.wait_for("begun");
    let denying = r#"{"devices": [{"allow": false, "type": "c", "major": 1, "minor": 11}, {"allow": true, "type": "c", "major": 10, "access": "r"}]}"#;
    for _ in 0..40 {
        let _ = update(&hako, &container, denying).ok();
    }
    assert_eq!(container.stdout(), "begun\n");
    // It would be noticed.
    let _ = update(&hako, &container, r#"{"devices": [{"allow": true}]}"#).ok();
    container.wait_for("opened");
}

#[test]
fn a_failed_update_changes_nothing() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let before = bundle.cgroup_file("cgroup.max.depth");
    let rows = [
        ("", ""),
        ("[]", "object"),
        ("{", "JSON"),
        ("{} {}", "JSON"),
        (r#"{"pids": {"limit": "many"}}"#, "limit"),
        (r#"{"hugepageLimits": [{"pageSize": "2MB"}]}"#, "limit is missing"),
        (r#"{"unified": {"../cgroup.max.depth": "1"}}"#, "no file of a cgroup"),
        (r#"{"unified": {"cgroup.max.depth": "9", "cgroup.nosuch": "1"}}"#, "cgroup.nosuch"),
        (r#"{"memory": {"limit": 100000000, "swap": 1}}"#, "memory"),
        (r#"{"cpu": {"quota": 10000, "burst": 20000}}"#, "burst"),
    ];
    each(rows, |(text, expected)| {
        update(&hako, &container, text).fails(expected);
        assert_eq!(bundle.cgroup_file("cgroup.max.depth"), before);
    });
    for (option, value) in [("--memory", "much"), ("--pids-limit", "x"), ("--blkio-weight", "5")] {
        container.command(&["update", option, value]).output().fails("");
    }
    let missing = hako.scratch().join("nosuch");
    hako.command(&["update", "-r"]).arg(&missing).arg(container.id()).output().fails("nosuch");
}

#[test]
fn a_missing_controller_is_an_error_of_update_too() {
    if is_peer() || has_controller("memory") {
        return;
    }
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    container.command(&["update", "--memory", "64M"]).output().fails("memory controller");
    let _ = container.command(&["update", "--memory=-1", "--pids-limit", "-1"]).output().ok();
}

#[test]
fn what_is_obsolete_is_ignored() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let output = container.command(&["update", "--kernel-memory", "1M"]).output().ok();
    assert!(output.stderr.contains("kernel-memory"), "{output}");
}

#[test]
fn only_a_container_that_runs_is_updated() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("exit 0");
    let container = hako.create(&bundle);
    let _ = update(&hako, &container, "{}").ok();
    container.start();
    let _ = container.wait();
    update(&hako, &container, r#"{"unified": {"cgroup.max.depth": "4"}}"#).fails("not running");
}

#[test]
fn ps_lists_the_processes_of_the_container() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let _ = container.ask("spawn-sleep");
    let pids = container.command(&["ps", "--format", "json"]).output().ok().json();
    let pids: Vec<u64> = pids.as_array().unwrap().iter().map(|pid| pid.as_u64().unwrap()).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(pids.contains(&u64::from(container.pid())));
    let lines = |output: Output, column: &str| -> Vec<u64> {
        let mut lines = output.stdout.lines();
        let heading = lines.next().unwrap().to_string();
        let column = heading.split_whitespace().position(|title| title == column).unwrap();
        lines.map(|line| line.split_whitespace().nth(column).unwrap().parse().unwrap()).collect()
    };
    let mut expected = pids.clone();
    expected.sort_unstable();
    let rows: [&[&str]; 4] = [&[], &["-ef"], &["aux"], &["-eo", "user,pid,comm"]];
    for options in rows {
        let mut seen = lines(container.command(&["ps"]).args(options).output().ok(), "PID");
        seen.sort_unstable();
        assert_eq!(seen, expected, "{options:?}");
    }
    container.command(&["ps"]).args(["-eo", "user"]).output().fails("PID");
    container.command(&["ps"]).args(["--nosuch-option"]).output().fails("ps");
    container.kill("KILL").wait();
    assert_eq!(container.command(&["ps", "--format", "json"]).output().ok().stdout, "[]\n");
}

#[test]
fn statistics_have_the_fields_that_engines_read() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let output = container.command(&["events", "--stats"]).output().ok();
    assert_eq!(output.stdout.lines().count(), 1);
    let event: Value = output.json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id())));
    let data = &event["data"];
    assert_eq!(data["pids"]["current"], 1, "also without the controller");
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|time| time > 0), "{event}");
    for pointer in [
        "/cpu/usage/kernel",
        "/cpu/usage/user",
        "/memory/usage/limit",
        "/memory/usage/failcnt",
        "/memory/swap/limit",
        "/memory/kernel/limit",
        "/memory/kernelTCP/limit",
        "/pids",
        "/blkio",
        "/hugetlb",
        "/intel_rdt",
    ] {
        assert!(data.pointer(pointer).is_some(), "{pointer}: {event}");
    }
}

#[test]
fn events_come_at_every_interval_and_end_with_the_container() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let events = container.command(&["events", "--interval", "100ms"]).spawn();
    events.wait_for("\"stats\"");
    container.kill("KILL");
    let output = events.finish().ok();
    assert!(output.stdout.lines().count() >= 1);
    for line in output.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["type"], "stats");
    }
    container.command(&["events", "--stats"]).output().fails("is not running");
    container.command(&["events", "--interval", "0s"]).output().fails("greater than 0");
}
