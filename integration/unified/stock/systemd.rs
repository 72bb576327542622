//! Properties for what few kernels have controllers for.

use crate::systemd::{property, systemctl, unit};
use hako_integration::{Runtime, json};

#[test]
fn cpusets_and_weights_are_properties_and_files() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set(
        "/linux/resources",
        json!({
            "cpu": {"cpus": "1", "mems": "0"},
            "blockIO": {"weight": 500},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        }),
    );
    let container = hako.serve(&bundle);
    let unit = unit(&bundle);
    let check = |cpus: &str, weight: &str, when: &str| {
        for (name, value) in
            [("AllowedCPUs", cpus), ("AllowedMemoryNodes", "0"), ("IOWeight", weight)]
        {
            assert_eq!(property(&unit, name), value, "{name} {when}");
        }
        for (name, value) in [
            ("cpuset.cpus", cpus),
            ("cpuset.mems", "0"),
            ("io.weight", &format!("default {weight}")),
            // systemd has no word for these.
            ("hugetlb.2MB.max", "4194304"),
            ("hugetlb.2MB.rsvd.max", "4194304"),
        ] {
            assert_eq!(bundle.cgroup_file(name), value, "{name} {when}");
        }
    };
    check("1", "4950", "at first");
    systemctl(&["daemon-reload"]);
    check("1", "4950", "after daemon-reload");
    let update = ["update", "--cpuset-cpus", "0", "--blkio-weight", "1000"];
    let _ = container.command(&update).output().ok();
    check("0", "10000", "after an update");
    systemctl(&["daemon-reload"]);
    check("0", "10000", "after an update and daemon-reload");
}
