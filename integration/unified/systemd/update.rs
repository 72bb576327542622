//! Changes to a running container.

use super::{property, systemctl, unit};
use hako_integration::{Runtime, json};

#[test]
fn systemd_learns_of_an_update() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory/limit", 64 << 20);
    let container = hako.serve(&bundle);
    let update = |args: &[&str]| {
        let _ = container.command(&["update"]).args(args).output().ok();
    };
    update(&["--memory", "134217728", "--pids-limit", "30", "--cpu-quota", "33333"]);
    let unit = unit(&bundle);
    for (name, value) in
        [("MemoryMax", "134217728"), ("TasksMax", "30"), ("CPUQuotaPerSecUSec", "340ms")]
    {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    // systemd has whole percent, the kernel what was asked for.
    assert_eq!(bundle.cgroup_file("cpu.max"), "33333 100000");
    systemctl(&["daemon-reload"]);
    assert_eq!(bundle.cgroup_file("memory.max"), "134217728");
    assert_eq!(bundle.cgroup_file("pids.max"), "30");
}

#[test]
fn an_update_that_the_kernel_refuses_does_not_reach_systemd() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory/limit", 64 << 20);
    let container = hako.serve(&bundle);
    let resources = json!({"memory": {"limit": 32 << 20}, "unified": {"memory.high": "nonsense"}});
    let resources = hako.file("resources.json", &resources.to_string());
    let refused = container.command(&["update"]).arg("--resources").arg(&resources);
    assert_eq!(refused.output().code, Some(1));
    assert_eq!(property(&unit(&bundle), "MemoryMax"), (64 << 20).to_string());
    assert_eq!(bundle.cgroup_file("memory.max"), (64 << 20).to_string());
}

#[test]
fn a_paused_container_can_be_deleted() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let _ = container.command(&["pause"]).output().ok();
    assert_eq!(bundle.cgroup_file("cgroup.events"), "populated 1\nfrozen 1");
    drop(container);
    super::assert_gone(&unit(&bundle));
}
