//! The host is what these tests take for granted.

use std::fs;
use std::path::Path;

#[test]
fn the_kernel_is_that_of_a_distribution() {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    for needed in ["cpuset", "hugetlb", "rdma"] {
        assert!(controllers.split_whitespace().any(|one| one == needed), "{controllers}");
    }
    assert!(Path::new("/proc/pressure/memory").exists(), "pressure information");
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap();
    assert!(modules.split(',').any(|one| one == "apparmor"), "{modules}");
    assert!(std::thread::available_parallelism().unwrap().get() > 1, "more than one CPU");
}
