//! The host is what these tests take for granted.

use hako_integration::{Runtime, cgroup_dir};
use std::fs;
use std::path::Path;

#[test]
fn the_hierarchy_is_unified_and_has_the_controllers() {
    let _hako = Runtime::new();
    assert_eq!(cgroup_dir("/"), Path::new("/sys/fs/cgroup/"));
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    for needed in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.split_whitespace().any(|one| one == needed), "{controllers}");
    }
}

#[test]
fn systemd_is_the_first_process() {
    assert_eq!(fs::read_to_string("/proc/1/comm").unwrap(), "systemd\n");
    assert!(Path::new("/run/systemd/private").exists());
}

#[test]
fn a_container_is_placed_in_its_cgroup() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(own, format!("0::{}\n", bundle.cgroup()));
}
