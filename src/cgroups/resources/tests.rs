use super::*;
use crate::cgroups::CgroupDir;
use serde_json::{Value, json};

fn table(resources: Value, current: Current) -> Table {
    let resources: LinuxResources = serde_json::from_value(resources).unwrap();
    Table::new(&resources, &current, "/linux/resources")
}

fn new(resources: Value) -> Table {
    table(resources, Current::default())
}

/// `file value` of each setting of a table without faults.
fn lines(table: &Table) -> Vec<String> {
    assert_eq!(table.faults, []);
    table.settings.iter().map(|setting| format!("{} {}", setting.file, setting.value)).collect()
}

fn fault(table: &Table) -> (&str, &str) {
    assert_eq!(table.faults.len(), 1, "{table:?}");
    let fault = &table.faults[0];
    (fault.message.as_str(), fault.pointer.as_deref().unwrap())
}

#[test]
fn memory_limits() {
    for (memory, expected) in [
        (json!({}), &[][..]),
        (json!({"limit": 0, "swap": 0}), &[]),
        (json!({"limit": 64}), &["memory.max 64"]),
        (json!({"limit": 64, "swap": 100}), &["memory.swap.max 36", "memory.max 64"]),
        (json!({"limit": 64, "swap": 64}), &["memory.swap.max 0", "memory.max 64"]),
        (json!({"limit": 64, "swap": -1}), &["memory.swap.max max", "memory.max 64"]),
        (json!({"limit": -1}), &["memory.swap.max max", "memory.max max"]),
        (json!({"reservation": 9, "limit": 64}), &["memory.max 64", "memory.low 9"]),
    ] {
        assert_eq!(lines(&new(json!({ "memory": memory }))), expected, "{memory}");
    }
    for (memory, pointer) in [
        (json!({"limit": 64, "swap": 63}), "/linux/resources/memory/swap"),
        (json!({"swap": 64}), "/linux/resources/memory/swap"),
        (json!({"limit": -1, "swap": 64}), "/linux/resources/memory/swap"),
        (json!({"limit": -2}), "/linux/resources/memory/limit"),
        (json!({"disableOOMKiller": true}), "/linux/resources/memory/disableOOMKiller"),
        (json!({"swappiness": 60}), "/linux/resources/memory/swappiness"),
    ] {
        assert_eq!(fault(&new(json!({ "memory": memory }))).1, pointer, "{memory}");
    }
    let old =
        json!({"memory": {"kernel": 1, "kernelTCP": 1, "swappiness": 0, "useHierarchy": true}});
    let old = new(old);
    assert_eq!((lines(&old).len(), old.warnings.len()), (0, 3), "{old:?}");
}

#[test]
fn a_new_memory_limit_keeps_the_total() {
    let current = Current { memory: Some(64), swap: Some(36), ..Current::default() };
    let updated = |memory: Value| table(json!({ "memory": memory }), current);
    assert_eq!(lines(&updated(json!({"limit": 70}))), ["memory.swap.max 30", "memory.max 70"]);
    assert_eq!(lines(&updated(json!({"swap": 80}))), ["memory.swap.max 16"]);
    assert_eq!(lines(&updated(json!({"reservation": 5}))), ["memory.low 5"]);
    assert_eq!(fault(&updated(json!({"limit": 101}))).1, "/linux/resources/memory/limit");
    let unlimited = Current { memory: Some(64), swap: None, ..Current::default() };
    assert_eq!(lines(&table(json!({"memory": {"limit": 70}}), unlimited)), ["memory.max 70"]);
}

#[test]
fn processor_time() {
    for (cpu, expected) in [
        (json!({}), &[][..]),
        (json!({"shares": 1024}), &["cpu.weight 100"]),
        (json!({"shares": 0, "quota": 0, "period": 0}), &[]),
        (json!({"quota": 50_000}), &["cpu.max 50000 100000"]),
        (json!({"quota": -1}), &["cpu.max max 100000"]),
        (json!({"period": 1000}), &["cpu.max max 1000"]),
        (json!({"quota": 5, "period": 1000, "burst": 4}), &["cpu.max 5 1000", "cpu.max.burst 4"]),
        (json!({"idle": 1, "shares": 5}), &["cpu.idle 1"]),
        (json!({"idle": 0, "shares": 1024}), &["cpu.idle 0", "cpu.weight 100"]),
        (json!({"cpus": "0-3,7", "mems": "0"}), &["cpuset.cpus 0-3,7", "cpuset.mems 0"]),
        (json!({"cpus": "", "realtimeRuntime": 0, "realtimePeriod": 0}), &[]),
    ] {
        assert_eq!(lines(&new(json!({ "cpu": cpu }))), expected, "{cpu}");
    }
    for (cpu, field) in [
        (json!({"quota": 5, "burst": 6}), "burst"),
        (json!({"idle": 2}), "idle"),
        (json!({"cpus": "0\n1"}), "cpus"),
        (json!({"realtimeRuntime": 1}), "realtimeRuntime"),
    ] {
        let pointer = format!("/linux/resources/cpu/{field}");
        assert_eq!(fault(&new(json!({ "cpu": cpu }))).1, pointer, "{cpu}");
    }
}

#[test]
fn bandwidth_is_updated_in_an_order_the_kernel_takes() {
    let current = Current { quota: Some(50_000), period: 20_000, ..Current::default() };
    for (cpu, expected) in [
        (json!({"period": 1000}), &["cpu.max 50000 1000"][..]),
        (json!({"quota": 60_000}), &["cpu.max 60000 20000"]),
        (json!({"quota": 10, "burst": 5}), &["cpu.max.burst 5", "cpu.max 10 20000"]),
        (
            json!({"quota": 90_000, "burst": 80_000}),
            &["cpu.max 90000 20000", "cpu.max.burst 80000"],
        ),
    ] {
        assert_eq!(lines(&table(json!({ "cpu": cpu }), current)), expected, "{cpu}");
    }
}

#[test]
fn block_devices() {
    let io = json!({
        "weight": 1000,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
    });
    let io = new(json!({ "blockIO": io }));
    assert_eq!(
        lines(&io),
        [
            "io.bfq.weight 1000",
            "io.bfq.weight 8:0 10",
            "io.max 8:16 rbps=600",
            "io.max 8:16 wiops=max"
        ]
    );
    let others: Vec<_> =
        io.settings[..2].iter().map(|setting| setting.if_missing.clone()).collect();
    let other = |value: &str| IfMissing::Write { file: "io.weight".into(), value: value.into() };
    assert_eq!(others, [other("10000"), other("8:0 1")]);
    for (io, field) in [
        (json!({"weight": 9}), "weight"),
        (json!({"leafWeight": 10}), "leafWeight"),
        (json!({"weightDevice": [{"major": 8, "minor": 0}]}), "weightDevice/0"),
        (
            json!({"throttleReadBpsDevice": [{"major": -8, "minor": 0, "rate": 1}]}),
            "throttleReadBpsDevice/0",
        ),
    ] {
        let pointer = format!("/linux/resources/blockIO/{field}");
        assert_eq!(fault(&new(json!({ "blockIO": io }))).1, pointer, "{io}");
    }
}

#[test]
fn other_controllers() {
    let table = new(json!({
        "pids": {"limit": 0},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"b": {"hcaObjects": 1}, "a": {"hcaHandles": 3, "hcaObjects": 9}},
        "network": {"classID": 0, "priorities": []},
    }));
    assert_eq!(
        lines(&table),
        [
            "pids.max 0",
            "hugetlb.2MB.max 4096",
            "hugetlb.2MB.rsvd.max 4096",
            "rdma.max a hca_handle=3 hca_object=9",
            "rdma.max b hca_object=1"
        ]
    );
    assert_eq!(lines(&new(json!({"pids": {"limit": -1}}))), ["pids.max max"]);
    for (resources, field) in [
        (json!({"hugepageLimits": [{"pageSize": "2mb", "limit": 1}]}), "hugepageLimits/0"),
        (json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}), "hugepageLimits/0"),
        (json!({"hugepageLimits": [{"pageSize": "MB", "limit": 1}]}), "hugepageLimits/0"),
        (json!({"rdma": {"a/b": {}}}), "rdma/a~1b"),
        (json!({"network": {"classID": 1}}), "network/classID"),
        (json!({"network": {"priorities": [{"name": "a", "priority": 1}]}}), "network/priorities"),
    ] {
        let pointer = format!("/linux/resources/{field}");
        assert_eq!(fault(&new(resources.clone())).1, pointer, "{resources}");
    }
}

#[test]
fn unified_replaces_the_others() {
    let table = new(json!({
        "memory": {"limit": 64},
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "unified": {"memory.max": "1M", "memory.high": "2M", "io.max": "8:0 rbps=2\n8:16 wbps=3", "cgroup.max.depth": "2"},
    }));
    assert_eq!(
        lines(&table),
        [
            "io.max 8:0 rbps=1",
            "cgroup.max.depth 2",
            "io.max 8:0 rbps=2",
            "io.max 8:16 wbps=3",
            "memory.high 2M",
            "memory.max 1M"
        ]
    );
    let controllers: Vec<_> = table.settings.iter().map(Setting::controller).collect();
    let (io, memory) = (Some("io"), Some("memory"));
    assert_eq!(controllers, [io, None, io, io, memory, memory]);
    for name in ["../memory.max", "a/b.c", "", "memory", ".max", "memory.", "cgroup.procs", "a..b"]
    {
        let refused = new(json!({"unified": {name: "1"}}));
        assert_eq!(fault(&refused).1, format!("/linux/resources/unified/{}", key(name)));
    }
}

#[test]
fn defaults_are_known_as_such() {
    let table = new(json!({
        "memory": {"limit": -1}, "cpu": {"shares": 1024, "quota": -1, "idle": 0, "burst": 0},
        "pids": {"limit": -1}, "hugepageLimits": [{"pageSize": "2MB", "limit": -1}],
    }));
    assert!(table.settings.iter().all(|setting| setting.is_default), "{table:?}");
    let table = new(json!({"memory": {"limit": 1}, "cpu": {"shares": 512}, "pids": {"limit": 0}}));
    assert!(table.settings.iter().all(|setting| !setting.is_default), "{table:?}");
}

#[test]
fn systemd_has_names_for_them() {
    for (resources, expected) in [
        (
            json!({"memory": {"limit": 64, "swap": -1}, "pids": {"limit": 5}}),
            &["MemorySwapMax=infinity", "MemoryMax=64", "TasksMax=5"][..],
        ),
        (
            json!({"cpu": {"quota": 33_333, "cpus": "0,9-10"}}),
            &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=340000", "AllowedCPUs=0 9 10"],
        ),
        (
            json!({"blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}}),
            &["IOWeight=1", "IOReadBandwidthMax=/dev/block/8:0 5"],
        ),
        (json!({"cpu": {"idle": 1}}), &["CPUWeight=0"]),
        (json!({"pids": {"limit": 0}}), &[]),
        (json!({"unified": {"memory.high": "max", "memory.peak": "1"}}), &["MemoryHigh=infinity"]),
    ] {
        let settings = new(resources).settings;
        let properties = settings.iter().flat_map(Setting::properties);
        let shown: Vec<_> = properties.map(|property| property.to_string()).collect();
        assert_eq!(shown, expected);
    }
}

/// A directory in the place of a cgroup whose kernel has these files.
fn written(resources: Value, files: &[&str]) -> Vec<(String, Vec<String>)> {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(directory.path().join(file), "").unwrap();
    }
    let cgroup = CgroupDir::open(directory.path()).unwrap();
    let mut seen: Vec<_> = files.iter().map(|file| ((*file).to_owned(), Vec::new())).collect();
    for setting in new(resources).settings {
        cgroup.set(&setting).unwrap();
        for (file, writes) in &mut seen {
            let path = directory.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, "").unwrap();
            writes.extend(Some(text).filter(|text| !text.is_empty()));
        }
    }
    seen
}

/// What hardly any machine has: each line reaches its file in a write of its own.
#[test]
fn weights_of_bfq_and_rdma_are_written_line_by_line() {
    let io = json!({ "blockIO": {
        "weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
    }});
    let lines = |file: &str, lines: &[&str]| {
        (file.to_owned(), lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        written(io.clone(), &["io.bfq.weight", "io.weight"]),
        [lines("io.bfq.weight", &["500", "8:0 10"]), lines("io.weight", &[])]
    );
    assert_eq!(written(io, &["io.weight"]), [lines("io.weight", &["4950", "8:0 1"])]);
    let rdma = json!({ "rdma": {
        "mlx5_0": {"hcaHandles": 3, "hcaObjects": 10_000}, "mlx5_1": {"hcaObjects": 7},
    }});
    assert_eq!(
        written(rdma, &["rdma.max"]),
        [lines("rdma.max", &["mlx5_0 hca_handle=3 hca_object=10000", "mlx5_1 hca_object=7"])]
    );
}
