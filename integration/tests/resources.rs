//! `linux.resources` as far as any host can show it: what needs no controller, what is refused.
//! Limits that hold are in `limits.rs`.

use hako_integration::{Runtime, Value, cgroup_dir, each, has_controller, is_peer, json};
use std::fs;

#[test]
fn core_files_take_unified_values() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let unified = json!({ "cgroup.max.depth": "3", "cgroup.max.descendants": "7\n" });
    bundle.set("/linux/resources/unified", unified);
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("cgroup.max.depth"), "3");
    assert_eq!(bundle.cgroup_file("cgroup.max.descendants"), "7");
    drop(container);
}

#[test]
fn what_asks_for_nothing_needs_no_controller() {
    let hako = Runtime::new();
    let rows: Vec<Value> = vec![
        json!({}),
        json!({ "memory": {}, "cpu": {}, "pids": {}, "blockIO": {}, "network": {}, "rdma": {} }),
        json!({ "memory": { "limit": -1, "swap": -1, "disableOOMKiller": false } }),
        json!({ "memory": { "limit": 0 }, "cpu": { "shares": 0, "quota": 0, "cpus": "" } }),
        json!({ "cpu": { "shares": 1024 }, "pids": { "limit": -1 } }),
        json!({ "cpu": { "quota": -1, "idle": 0, "burst": 0 } }),
        json!({ "hugepageLimits": [], "unified": {}, "devices": [] }),
    ];
    each(rows, |resources| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/resources", resources.clone()).inspector("print ran");
        assert_eq!(hako.run(&bundle).ok().stdout, "ran\n");
    });
}

#[test]
fn a_missing_controller_is_an_error_that_says_who_has_it() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let held = fs::read_to_string("/proc/self/cgroup").unwrap();
    let rows = [
        ("memory", "/memory/limit", json!(67_108_864)),
        ("pids", "/pids/limit", json!(0)),
        ("cpu", "/cpu/shares", json!(512)),
        ("io", "/blockIO/weight", json!(500)),
        ("cpuset", "/cpu/cpus", json!("0")),
        ("memory", "/unified/memory.high", json!("1M")),
        ("nosuch", "/unified/nosuch.max", json!("1")),
    ];
    each(rows, |(controller, field, value)| {
        if has_controller(controller) {
            return;
        }
        let mut bundle = hako.bundle();
        let pointer = format!("/linux/resources{field}");
        bundle.set(&pointer, value.clone());
        let name = if *controller == "io" { "blkio" } else { *controller };
        let is_held = held.lines().any(|line| line.split(':').nth(1) == Some(name));
        let expected = if is_held { "cgroup v1 holds" } else { "has no" };
        let output = hako.refuses(&bundle, &pointer);
        output.fails(&format!("{controller} controller"));
        output.fails(expected);
    });
}

#[test]
fn pages_of_any_size_are_limited() {
    if !has_controller("hugetlb") {
        return;
    }
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle
        .set("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 4_194_304 }]));
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("hugetlb.2MB.max"), "4194304");
    assert_eq!(bundle.cgroup_file("hugetlb.2MB.rsvd.max"), "4194304");
    drop(container);

    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/unified", json!({ "hugetlb.2MB.max": "2097152" }));
    bundle
        .set("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 4_194_304 }]));
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("hugetlb.2MB.max"), "2097152", "unified replaces it");
    drop(container);
}

#[test]
fn what_cannot_be_set_is_an_error_and_leaves_nothing() {
    let hako = Runtime::new();
    let rows = [
        (
            "hugetlb",
            "/hugepageLimits/-",
            json!({ "pageSize": "3MB", "limit": 1 }),
            "hugetlb.3MB.max",
        ),
        ("hugetlb", "/unified/hugetlb.2MB.max", json!("many"), "hugetlb.2MB.max"),
        ("hugetlb", "/unified/hugetlb.nosuch", json!("1"), "hugetlb.nosuch"),
        ("", "/unified/cgroup.max.depth", json!("deep"), "cgroup.max.depth"),
        ("", "/unified/cgroup.nosuch", json!("1"), "cgroup.nosuch"),
    ];
    each(rows, |(controller, field, value, file)| {
        if !controller.is_empty() && !has_controller(controller) {
            return;
        }
        let mut bundle = hako.bundle();
        bundle.set(&format!("/linux/resources{field}"), value.clone());
        hako.run(&bundle).fails(file);
    });
}

#[test]
fn unified_stays_in_the_cgroup() {
    let hako = Runtime::new();
    let parent = cgroup_dir(hako.bundle().cgroup()).parent().unwrap().to_path_buf();
    let keys = ["../cgroup.max.depth", "..", "a/../../cgroup.max.depth", "/cgroup.max.depth"];
    each(keys, |key| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/resources/unified", json!({ *key: "3" }));
        hako.run(&bundle).fails("");
        if let Ok(depth) = fs::read_to_string(parent.join("cgroup.max.depth")) {
            assert_eq!(depth.trim(), "max");
        }
    });
}

#[test]
fn what_only_cgroup_v1_had_is_refused_or_warned_about() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let refused = [
        ("/memory/disableOOMKiller", json!(true)),
        ("/memory/swappiness", json!(60)),
        ("/cpu/realtimeRuntime", json!(950_000)),
        ("/blockIO/leafWeight", json!(10)),
        ("/network/classID", json!(1_048_577)),
    ];
    each(refused, |(field, value)| {
        let mut bundle = hako.bundle();
        let pointer = format!("/linux/resources{field}");
        bundle.set(&pointer, value.clone());
        hako.refuses(&bundle, &pointer).fails("cgroup v2");
    });
    each([("kernel", 50), ("kernelTCP", 50), ("swappiness", 0)], |(field, value)| {
        let mut bundle = hako.bundle();
        bundle.set(&format!("/linux/resources/memory/{field}"), *value).inspector("print ran");
        let output = hako.run(&bundle).ok();
        assert_eq!(output.stdout, "ran\n");
        assert!(output.stderr.contains(&format!("memory.{field}: ignored")), "{output}");
    });
}

#[test]
fn shares_of_caches_need_resctrl() {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        return;
    }
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/intelRdt", json!({ "closID": "x" }));
    let output = hako.run(&bundle);
    output.fails("");
    if !is_peer() {
        output.fails("resctrl is not mounted");
        output.refuses("/linux/intelRdt");
    }
    let container = hako.serve(&hako.bundle());
    container.command(&["update", "--l3-cache-schema", "L3:0=f"]).output().fails("");
}
