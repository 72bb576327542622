//! Limits of the controllers that few kernels have together.

use hako_integration::{Runtime, cgroup_dir, json};

#[test]
fn a_container_stays_on_its_cpus() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/cpu", json!({ "cpus": "1", "mems": "0" }));
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("cpuset.cpus.effective"), "1");
    assert_eq!(bundle.cgroup_file("cpuset.mems.effective"), "0");
    let status = container.ask("read /proc/self/status")[0].as_str().unwrap().to_string();
    assert!(status.contains("Cpus_allowed_list:\t1\n"), "{status}");
    let _ = container.command(&["update", "--cpuset-cpus", "0"]).output().ok();
    let status = container.ask("read /proc/self/status")[0].as_str().unwrap().to_string();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    container.command(&["update", "--cpuset-cpus", "900"]).output().fails("cpuset.cpus");
}

#[test]
fn weights_are_for_all_devices_and_for_some() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/blockIO", json!({ "weight": 500 }));
    bundle.set("/linux/resources/cpu", json!({ "idle": 1 }));
    let container = hako.serve(&bundle);
    let directory = cgroup_dir(bundle.cgroup());
    let expected = if directory.join("io.bfq.weight").exists() {
        ("io.bfq.weight", "default 500")
    } else {
        ("io.weight", "default 4950")
    };
    assert_eq!(bundle.cgroup_file(expected.0), expected.1);
    assert_eq!(bundle.cgroup_file("cpu.idle"), "1");
    let _ = container
        .command(&["update", "--cpu-idle", "0", "--cpu-share", "1024", "--blkio-weight", "1000"])
        .output()
        .ok();
    assert_eq!(
        (bundle.cgroup_file("cpu.idle"), bundle.cgroup_file("cpu.weight")),
        ("0".into(), "100".into())
    );
}

#[test]
fn bursts_and_quotas_change_together() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set(
        "/linux/resources/cpu",
        json!({ "quota": 50_000, "period": 100_000, "burst": 40_000 }),
    );
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("cpu.max.burst"), "40000");
    for (quota, burst) in [("20000", "10000"), ("90000", "80000"), ("90000", "0")] {
        let _ = container
            .command(&["update", "--cpu-quota", quota, "--cpu-burst", burst])
            .output()
            .ok();
        assert_eq!(bundle.cgroup_file("cpu.max"), format!("{quota} 100000"));
        assert_eq!(bundle.cgroup_file("cpu.max.burst"), burst);
    }
}

#[test]
fn huge_pages_are_limited() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle
        .set("/linux/resources/hugepageLimits", json!([{ "pageSize": "2MB", "limit": 4_194_304 }]));
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("hugetlb.2MB.max"), "4194304");
    assert_eq!(bundle.cgroup_file("hugetlb.2MB.rsvd.max"), "4194304");
    // mmap(2) itself fails, and not the first use of a page.
    let map = |size: u64| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        container.ask(&format!("syscall {} 0 {size} {access} {flags} -1 0", libc::SYS_mmap))
    };
    assert!(map(4 << 20)[0].is_number());
    assert_eq!(map(2 << 20), [json!({ "errno": "ENOMEM" })]);
}

#[test]
fn statistics_have_pressure() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let data = container.command(&["events", "--stats"]).output().ok().json()["data"].clone();
    for place in ["cpu", "memory", "blkio"] {
        assert!(data[place]["psi"]["some"]["total"].is_u64(), "{place}: {data}");
    }
    assert!(data["hugetlb"]["2MB"].is_object(), "{data}");
}
