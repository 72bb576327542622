//! Limits: `linux.resources` becomes files of cgroup v2.

use super::cgroups::expect_file;
use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    Stop, Verdict, ensure, expect, fail, skip,
};
use crate::context::Context;
use crate::host::{needs_controller, needs_file, needs_no_controller};
use serde_json::{Value, json};
use std::fs;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "resources.memory-limit",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("memory")?;
            limits(cx, "memory", json!({ "limit": 64 << 20 }), &[("memory.max", "67108864")])
        },
    },
    Case {
        id: "resources.memory-reservation",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("memory")?;
            let config = json!({ "limit": 64 << 20, "reservation": 32 << 20 });
            limits(cx, "memory", config, &[("memory.low", "33554432")])
        },
    },
    Case {
        id: "resources.memory-swap",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("memory")?;
            needs_file("/proc/swaps", "the kernel has no swap")?;
            // It is memory and swap together; cgroup v2 wants swap alone.
            let config = json!({ "limit": 64 << 20, "swap": 96 << 20 });
            limits(
                cx,
                "memory",
                config,
                &[("memory.max", "67108864"), ("memory.swap.max", "33554432")],
            )
        },
    },
    Case {
        id: "resources.memory-unlimited",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("memory")?;
            limits(cx, "memory", json!({ "limit": -1 }), &[("memory.max", "max")])
        },
    },
    Case {
        id: "resources.memory-is-limited",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("memory")?;
            cx.bundle
                .set("/linux/resources/memory", json!({ "limit": 32 << 20, "swap": 32 << 20 }));
            cx.bundle.inspector("alloc 256");
            let ran = cx.run()?;
            expect("the end of a process that takes 256 MiB", ran.exit.to_string(), "signal 9")
        },
    },
    Case {
        id: "resources.memory-check-before-update",
        level: Must,
        refs: &["config-linux.md:466"],
        run: |cx| {
            needs_controller("memory")?;
            let container = cx.serve()?;
            let update = json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } });
            let file = cx.host_file("update", &update.to_string())?;
            let command = cx.runtime.command(&["update", "--resources"]).arg(file);
            command.id(container.id()).output()?.fails()?;
            container.expect_status("running")?;
            container.end()
        },
    },
    Case {
        id: "resources.cpu-quota",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("cpu")?;
            let config = json!({ "quota": 20_000, "period": 50_000 });
            limits(cx, "cpu", config, &[("cpu.max", "20000 50000")])
        },
    },
    Case {
        id: "resources.cpu-burst",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("cpu")?;
            let config = json!({ "quota": 20_000, "period": 50_000, "burst": 10_000 });
            limits(cx, "cpu", config, &[("cpu.max.burst", "10000")])
        },
    },
    Case {
        id: "resources.cpu-burst-above-quota",
        level: Must,
        refs: &["config-linux.md:494", "config-linux.md:496"],
        run: |cx| {
            // It binds the author. An error, or the kernel's own: never a burst above the quota.
            needs_controller("cpu")?;
            let config = json!({ "quota": 20_000, "period": 50_000, "burst": 40_000 });
            cx.bundle.set("/linux/resources/cpu", config);
            let (_, container) = cx.try_create()?;
            let Some(container) = container else { return Ok(()) };
            let burst = fs::read_to_string(cx.cgroup().join("cpu.max.burst"))?;
            ensure(burst.trim() != "40000", "no burst above the quota", burst.trim())?;
            container.force_delete()
        },
    },
    Case {
        id: "resources.cpu-shares",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("cpu")?;
            // The default of one is the default of the other; how runtimes convert has changed.
            limits(cx, "cpu", json!({ "shares": 2 }), &[("cpu.weight", "1")])?;
            limits(cx, "cpu", json!({ "shares": 262_144 }), &[("cpu.weight", "10000")])
        },
    },
    Case {
        id: "resources.cpu-idle",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("cpu")?;
            limits(cx, "cpu", json!({ "idle": 1 }), &[("cpu.idle", "1")])
        },
    },
    Case {
        id: "resources.cpuset",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("cpuset")?;
            let config = json!({ "cpus": "0", "mems": "0" });
            limits(cx, "cpu", config, &[("cpuset.cpus", "0"), ("cpuset.mems", "0")])
        },
    },
    Case {
        id: "resources.pids",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("pids")?;
            limits(cx, "pids", json!({ "limit": 77 }), &[("pids.max", "77")])?;
            limits(cx, "pids", json!({ "limit": -1 }), &[("pids.max", "max")])
        },
    },
    Case {
        id: "resources.pids-zero",
        level: Should,
        refs: &["config-linux.md:671"],
        run: |cx| {
            needs_controller("pids")?;
            // Set before or after the container's process is in the cgroup: it stays 0.
            cx.bundle.set("/linux/resources/pids/limit", 0);
            let (output, container) = cx.try_create()?;
            let Some(container) = container else {
                return Err(fail("a container with pids.max 0", output.ending()));
            };
            expect_file(cx, "pids.max", "0")?;
            container.force_delete()
        },
    },
    Case {
        id: "resources.block-io-weight",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("io")?;
            let dir = cx.make_cgroup("probe")?;
            fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+io")?;
            let path = dir.join("io.weight");
            needs_file(&path.to_string_lossy(), "the kernel has no io.weight")?;
            limits(cx, "blockIO", json!({ "weight": 1000 }), &[("io.weight", "default 10000")])
        },
    },
    Case {
        id: "resources.block-io-weight-device-without-weight",
        level: Must,
        refs: &["config-linux.md:538", "config-linux.md:533"],
        run: |cx| {
            let config = json!({ "weightDevice": [{ "major": 8, "minor": 0 }] });
            cx.bundle.set("/linux/resources/blockIO", config);
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.block-io-throttle",
        level: Must,
        refs: &[
            "config-linux.md:542",
            "config-linux.md:544",
            "config-linux.md:548",
            "config-linux.md:550",
        ],
        run: |cx| {
            needs_controller("io")?;
            let (major, minor) = block_device()?;
            let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
            let config = json!({
                "throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
                "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400),
            });
            let wanted = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400");
            limits(cx, "blockIO", config, &[("io.max", &wanted)])
        },
    },
    Case {
        id: "resources.block-io-empty",
        level: Engine,
        refs: &[],
        run: |cx| {
            // dockerd sends it with every container.
            cx.bundle.set("/linux/resources/blockIO", json!({}));
            cx.run().map(drop)
        },
    },
    Case {
        id: "resources.huge-pages",
        level: Must,
        refs: &["config-linux.md:608", "config-linux.md:614"],
        run: |cx| {
            needs_controller("hugetlb")?;
            needs_file("/sys/kernel/mm/hugepages/hugepages-2048kB", "there are no 2 MB pages")?;
            let config = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
            limits(cx, "hugepageLimits", config, &[("hugetlb.2MB.max", "4194304")])
        },
    },
    Case {
        id: "resources.huge-page-reservations",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs_controller("hugetlb")?;
            needs_file("/sys/kernel/mm/hugepages/hugepages-2048kB", "there are no 2 MB pages")?;
            let config = json!([{ "pageSize": "2MB", "limit": 4 << 20 }]);
            limits(cx, "hugepageLimits", config, &[("hugetlb.2MB.rsvd.max", "4194304")])
        },
    },
    Case {
        id: "resources.huge-page-size-unknown",
        level: Must,
        refs: &["config.md:760", "config-linux.md:608"],
        run: |cx| {
            let config = json!([{ "pageSize": "3MB", "limit": 4 << 20 }]);
            cx.bundle.set("/linux/resources/hugepageLimits", config);
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.rdma-entry-without-a-limit",
        level: Must,
        refs: &["config-linux.md:692"],
        run: |cx| {
            cx.bundle.set("/linux/resources/rdma", json!({ "mlx5_1": {} }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.unified-known-file",
        level: Must,
        refs: &["config-linux.md:717"],
        run: |cx| {
            needs_controller("hugetlb")?;
            needs_file("/sys/kernel/mm/hugepages/hugepages-2048kB", "there are no 2 MB pages")?;
            let config = json!({ "hugetlb.2MB.max": "2097152" });
            limits(cx, "unified", config, &[("hugetlb.2MB.max", "2097152")])
        },
    },
    Case {
        id: "resources.unified-enables-the-controller",
        level: Must,
        refs: &["config-linux.md:717"],
        run: |cx| {
            needs_controller("pids")?;
            limits(cx, "unified", json!({ "pids.max": "55" }), &[("pids.max", "55")])
        },
    },
    Case {
        id: "resources.unified-any-file",
        level: Must,
        refs: &["config-linux.md:719"],
        run: |cx| {
            let files = [("cgroup.max.depth", "7"), ("cgroup.max.descendants", "9")];
            limits(cx, "unified", json!({ files[0].0: "7", files[1].0: "9" }), &files)
        },
    },
    Case {
        id: "resources.unified-absent-controller",
        level: Must,
        refs: &["config-linux.md:721"],
        run: |cx| {
            cx.bundle.set("/linux/resources/unified", json!({ "nosuch.max": "1" }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.unified-stays-in-the-cgroup",
        level: Engine,
        refs: &[],
        run: |cx| {
            let config = json!({ "../cgroup.max.depth": "7" });
            cx.bundle.set("/linux/resources/unified", config);
            let (_, container) = cx.try_create()?;
            let above = fs::read_to_string("/sys/fs/cgroup/cgroup.max.depth").unwrap_or_default();
            ensure(above.trim() != "7", "the cgroup above unchanged", "it was written to")?;
            container.map_or(Ok(()), |container| container.force_delete())
        },
    },
    Case {
        id: "resources.v1-memory-without-a-counterpart",
        level: Must,
        refs: &["config-linux.md:734"],
        run: |cx| {
            needs_controller("memory")?;
            cx.bundle.set("/linux/resources/memory", json!({ "swappiness": 10 }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.v1-network-without-a-counterpart",
        level: Must,
        refs: &["config-linux.md:734"],
        run: |cx| {
            cx.bundle.set("/linux/resources/network", json!({ "classID": 1_048_577 }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.limit-without-its-controller",
        level: Must,
        refs: &["runtime.md:116", "config.md:760"],
        run: |cx| {
            needs_no_controller("memory")?;
            cx.bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20 }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "resources.devices-in-order",
        level: Must,
        refs: &["config-linux.md:405", "config-linux.md:409"],
        run: |cx| {
            // A later entry wins. No driver has these numbers: what is allowed fails otherwise.
            devices(
                cx,
                json!([
                    { "allow": false, "access": "rwm" },
                    { "allow": true, "type": "c", "major": 10, "minor": 77, "access": "rwm" },
                    { "allow": false, "type": "c", "major": 10, "minor": 77, "access": "r" },
                    { "allow": false, "type": "c", "major": 10, "minor": 78, "access": "rwm" },
                    { "allow": true, "type": "c", "major": 10, "minor": 78, "access": "rwm" },
                ]),
            );
            let seen = cx.ask("mknod /tmp/one c 10 77 -- open /tmp/one read -- mknod /tmp/two c 10 78 -- open /tmp/two read")?;
            expect("mknod", [&seen[0], &seen[2]], ["ok", "ok"])?;
            expect("allowed, then denied", &seen[1]["errno"], "EPERM")?;
            ensure(seen[3]["errno"] != "EPERM", "denied, then allowed", &seen[3])
        },
    },
    Case {
        id: "resources.devices-access",
        level: Engine,
        refs: &[],
        run: |cx| {
            devices(
                cx,
                json!([
                    { "allow": false, "access": "rwm" },
                    { "allow": true, "type": "c", "major": 10, "minor": 77, "access": "rm" },
                ]),
            );
            let seen =
                cx.ask("mknod /tmp/one c 10 77 -- open /tmp/one read -- open /tmp/one write")?;
            expect("mknod", &seen[0], "ok")?;
            ensure(seen[1]["errno"] != "EPERM", "reading allowed", &seen[1])?;
            expect("writing", &seen[2]["errno"], "EPERM")
        },
    },
    Case {
        id: "resources.devices-denied-keep-the-defaults",
        level: Engine,
        refs: &[],
        run: |cx| {
            devices(cx, json!([{ "allow": false, "access": "rwm" }]));
            let seen =
                cx.ask("write /dev/null x -- open /dev/zero read -- open /dev/ptmx read,write")?;
            expect("default devices", seen, ["ok", "ok", "ok"])
        },
    },
];

/// Sets one object of the resources and looks at files of a created container's cgroup.
fn limits(cx: &mut Context, name: &str, config: Value, files: &[(&str, &str)]) -> Verdict {
    cx.bundle.set(&format!("/linux/resources/{name}"), config);
    let container = cx.create()?;
    files.iter().try_for_each(|(file, wanted)| expect_file(cx, file, wanted))?;
    container.force_delete()
}

/// The numbers of any disk.
fn block_device() -> Result<(u32, u32), Stop> {
    let disks = fs::read_dir("/sys/block")?.flatten();
    let mut numbers = disks.filter_map(|disk| {
        let text = fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    // Loop and RAM disks may not take limits.
    let found = numbers.find(|(major, _)| ![1, 7].contains(major));
    found.ok_or_else(|| skip("the host has no disk"))
}

fn devices(cx: &mut Context, rules: Value) {
    cx.bundle.set("/linux/resources/devices", rules).capabilities(&["CAP_MKNOD"]);
}
