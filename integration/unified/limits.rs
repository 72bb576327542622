//! Limits hold: what processes feel, and not only what files say.

use hako_integration::{
    Bundle, Output, Runtime, Value, cgroup_dir, each, is_peer, json, wait_until,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn limited(hako: &Runtime, resources: Value) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources", resources);
    bundle
}

#[test]
fn every_limit_is_in_its_file() {
    let hako = Runtime::new();
    let bundle = limited(
        &hako,
        json!({
            "memory": { "limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB },
            "cpu": { "shares": 512, "quota": 50_000, "period": 200_000 },
            "pids": { "limit": 20 },
            "unified": { "memory.high": "48M", "cgroup.max.depth": "4" },
        }),
    );
    let container = hako.serve(&bundle);
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "59"),
        ("cpu.max", "50000 200000"),
        ("pids.max", "20"),
        ("cgroup.max.depth", "4"),
    ] {
        assert_eq!(bundle.cgroup_file(file), value, "{file}");
    }
    drop(container);
}

#[test]
fn whoever_takes_more_memory_is_killed() {
    let hako = Runtime::new();
    let limits = json!({ "memory": { "limit": 48 * MIB, "swap": 48 * MIB } });
    let bundle = limited(&hako, limits);
    let container = hako.serve(&bundle);
    let seen = container.ask("run /bin/inspector alloc 8 -- run /bin/inspector alloc 100");
    assert_eq!(seen[0]["code"], 0, "{seen:?}");
    assert_eq!(seen[1]["signal"], 9, "{seen:?}");
    assert!(bundle.cgroup_count("memory.events", "oom_kill") >= 1);
    assert_eq!(bundle.cgroup_file("memory.swap.max"), "0");
}

#[test]
fn forks_beyond_the_limit_fail() {
    let hako = Runtime::new();
    let bundle = limited(&hako, json!({ "pids": { "limit": 3 } }));
    let container = hako.serve(&bundle);
    let seen = container.ask("spawn-sleep -- spawn-sleep -- spawn-sleep");
    assert!(seen[1]["child"].is_number(), "{seen:?}");
    assert_eq!(seen[2], json!({ "errno": "EAGAIN" }));

    // None at all is a limit as well; init is there already.
    let bundle = limited(&hako, json!({ "pids": { "limit": 0 } }));
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("pids.max"), "0");
    assert_eq!(container.ask("spawn-sleep")[0], json!({ "errno": "EAGAIN" }));
    drop(container);
    let mut bundle = limited(&hako, json!({ "pids": { "limit": 0 } }));
    bundle.inspector("print ran");
    assert_eq!(hako.run(&bundle).ok().stdout, "ran\n");

    for resources in [json!({ "pids": { "limit": -1 } }), json!({ "pids": {} })] {
        let bundle = limited(&hako, resources);
        let container = hako.serve(&bundle);
        assert_eq!(bundle.cgroup_file("pids.max"), "max");
        drop(container);
    }
}

/// Microseconds of CPU time that a container which never waits gets in some time.
fn time_got(bundle: &Bundle, time: Duration) -> u64 {
    let before = bundle.cgroup_count("cpu.stat", "usage_usec");
    std::thread::sleep(time);
    bundle.cgroup_count("cpu.stat", "usage_usec") - before
}

#[test]
fn time_beyond_the_quota_is_not_given() {
    let hako = Runtime::new();
    let mut bundle = limited(&hako, json!({ "cpu": { "quota": 20_000, "period": 100_000 } }));
    bundle.install_busybox();
    bundle.set("/process/args", ["/bin/busybox", "sh", "-c", "while :; do :; done"]);
    let container = hako.create(&bundle);
    container.start();
    let second = Duration::from_secs(1);
    let limited = time_got(&bundle, second);
    assert!(limited < 400_000, "{limited} µs in a second");
    assert!(bundle.cgroup_count("cpu.stat", "nr_throttled") > 0);
    let _ = container.command(&["update", "--cpu-quota=-1"]).output().ok();
    assert_eq!(bundle.cgroup_file("cpu.max"), "max 100000");
    let free = time_got(&bundle, second);
    assert!(free > limited * 2, "{limited} µs with the limit, {free} µs without");
    let _ = container
        .command(&["update", "--cpu-quota", "10000", "--cpu-period", "50000"])
        .output()
        .ok();
    assert_eq!(bundle.cgroup_file("cpu.max"), "10000 50000");
    let again = time_got(&bundle, second);
    assert!(again * 2 < free, "{again} µs after the update");
}

/// The block device that a directory is on.
fn device_of(path: &Path) -> (u32, u32) {
    let device = rustix::fs::stat(path).unwrap().st_dev;
    (rustix::fs::major(device), rustix::fs::minor(device))
}

#[test]
fn writing_is_as_slow_as_asked_for() {
    let hako = Runtime::new();
    let (major, minor) = device_of(hako.scratch());
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let directory = hako.dir("written");
    bundle.bind(&directory, "/data", &["bind", "rw"]);
    let script = "dd if=/dev/zero of=/data/file bs=1M count=3 oflag=direct 2>/dev/null && sync";
    bundle.set("/process/args", ["/bin/busybox", "sh", "-c", script]);
    let time = |bundle: &Bundle| {
        let start = Instant::now();
        let _ = hako.run(bundle).ok();
        start.elapsed()
    };
    let free = time(&bundle);
    let rate = json!([{ "major": major, "minor": minor, "rate": MIB }]);
    bundle.set("/linux/resources/blockIO/throttleWriteBpsDevice", rate);
    let limited = time(&bundle);
    assert!(limited > free + Duration::from_millis(1500), "{free:?} without, {limited:?} with");
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let hako = Runtime::new();
    let rate = json!([{ "major": 250, "minor": 77, "rate": 1_000_000 }]);
    let bundle = limited(&hako, json!({ "blockIO": { "throttleReadIOPSDevice": rate } }));
    hako.run(&bundle).fails("io.max");
}

#[test]
fn controllers_are_enabled_on_the_way_down() {
    let hako = Runtime::new();
    let mut bundle = limited(&hako, json!({ "memory": { "limit": 64 * MIB } }));
    let path = format!("{}/deep/deeper", bundle.cgroup());
    bundle.set("/linux/cgroupsPath", path);
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("memory.max"), "67108864");
    let controllers = bundle.cgroup_file("cgroup.controllers");
    for controller in ["cpu", "io", "memory", "pids"] {
        assert!(controllers.contains(controller), "accounting of {controller}: {controllers}");
    }
    drop(container);
    let _ = fs::remove_dir(cgroup_dir(bundle.cgroup()).parent().unwrap());
}

#[test]
fn a_parent_that_does_not_delegate_is_named() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let mut bundle = limited(&hako, json!({ "memory": { "limit": 64 * MIB } }));
    let parent = bundle.cgroup().to_string();
    let directory = cgroup_dir(&parent);
    fs::create_dir_all(&directory).unwrap();
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(directory.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    bundle.set("/linux/cgroupsPath", format!("{parent}/child"));
    let output = hako.on_bundle(&["run"], &bundle).output();
    output.fails(&format!("{} does not delegate the memory controller", directory.display()));
    output.refuses("/linux/resources/memory/limit");
    // Without a limit it is no matter.
    bundle.remove("/linux/resources").inspector("print ran");
    assert_eq!(hako.on_bundle(&["run"], &bundle).output().ok().stdout, "ran\n");
    stranger.kill().unwrap();
    let _ = stranger.wait();
    wait_until("the cgroup can be removed", || fs::remove_dir(&directory).is_ok());
}

#[test]
fn limits_are_updated() {
    let hako = Runtime::new();
    let bundle = limited(&hako, json!({ "memory": { "limit": 64 * MIB, "swap": 96 * MIB } }));
    let container = hako.serve(&bundle);
    let rows: [(&[&str], &str, &str); 10] = [
        (&["--memory", "60M"], "memory.max", "62914560"),
        (&[], "memory.swap.max", "37748736"),
        (&["--memory-swap", "70M"], "memory.swap.max", "10485760"),
        (&["--memory-reservation", "1m"], "memory.low", "1048576"),
        (&["--cpu-share", "2048"], "cpu.weight", "174"),
        (&["--cpu-period", "50000"], "cpu.max", "max 50000"),
        (&["--cpu-quota", "5000"], "cpu.max", "5000 50000"),
        (&["--pids-limit", "7"], "pids.max", "7"),
        (&["--memory", "-1"], "memory.max", "max"),
        (&["--pids-limit", "-1"], "pids.max", "max"),
    ];
    for (options, file, value) in rows {
        let words: Vec<&str> = ["update"].iter().chain(options).copied().collect();
        let _ = container.command(&words).output().ok();
        assert_eq!(bundle.cgroup_file(file), value, "{options:?}");
    }
    container
        .command(&["update", "--memory", "64M", "--memory-swap", "1M"])
        .output()
        .fails("memory");
    assert_eq!(bundle.cgroup_file("memory.max"), "max", "a failed update changes nothing");
}

#[test]
fn a_limit_below_the_usage_is_refused_when_asked_to_check() {
    let hako = Runtime::new();
    let bundle = limited(&hako, json!({ "memory": { "limit": 128 * MIB } }));
    let container = hako.serve(&bundle);
    let _ = container.ask("alloc 40");
    let file =
        hako.file("resources.json", r#"{"memory": {"limit": 8388608, "checkBeforeUpdate": true}}"#);
    let update = hako.command(&["update", "-r"]).arg(&file).arg(container.id());
    update.output().fails("memory");
    assert_eq!(bundle.cgroup_file("memory.max"), (128 * MIB).to_string());
    assert_eq!(container.ask("syscall getpid")[0], 1, "it was killed");
}

#[test]
fn events_tell_when_memory_ran_out() {
    let hako = Runtime::new();
    let bundle = limited(&hako, json!({ "memory": { "limit": 48 * MIB, "swap": 48 * MIB } }));
    let container = hako.serve(&bundle);
    let events = container.command(&["events", "--interval", "60s"]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    let seen = container.ask("run /bin/inspector alloc 100");
    assert_eq!(seen[0]["signal"], 9, "{seen:?}");
    events.wait_for("\"oom\"");
    container.kill("KILL");
    let _ = events.finish().ok();
}

#[test]
fn statistics_count() {
    let hako = Runtime::new();
    let bundle = limited(&hako, json!({ "memory": { "limit": 64 * MIB }, "pids": { "limit": 9 } }));
    let container = hako.serve(&bundle);
    let _ = container.ask("alloc 20 -- spawn-sleep");
    let data = container.command(&["events", "--stats"]).output().ok().json()["data"].clone();
    assert_eq!(data["pids"], json!({ "current": 2, "limit": 9 }));
    assert_eq!(data["memory"]["usage"]["limit"], 64 * MIB);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 20 * MIB, "{data}");
    assert!(data["memory"]["raw"]["anon"].as_u64().unwrap() > 20 * MIB, "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
}

/// `create` fails, and so does `run`. If nothing was left to do for `run` but
/// to wait when the kernel killed init, its exit code is that of the signal.
#[track_caller]
pub fn cannot_live_with(limit: u64, hako: &Runtime, bundle: &Bundle) {
    let create = hako.on_bundle(&["create"], bundle).output();
    create.refuses("/linux/resources/memory/limit");
    blames_the_limit(&create, limit);
    let run = hako.run(bundle);
    if run.code != Some(137) {
        run.refuses("/linux/resources/memory/limit");
    }
    blames_the_limit(&run, limit);
}

/// Which limit, what was counted, and what would be enough.
#[track_caller]
pub fn blames_the_limit(output: &Output, limit: u64) {
    let kib = limit / 1024;
    for part in [
        &format!("memory limit of {kib} KiB is too low"),
        &format!("memory.max {limit}, memory.events counted oom_kill "),
        "it takes about 1024 KiB to start a container",
    ] {
        assert!(output.stderr.contains(part), "{part}: {output}");
    }
}

/// Not even an init that only waits fits into one page, unless it may be swapped
/// out.
#[test]
fn an_init_that_cannot_live_with_its_limit_is_explained() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    // With a network of its own, init hears from the runtime before it is ready; else of its limits alone.
    each([true, false], |network| {
        let mut bundle = limited(&hako, json!({ "memory": { "limit": 4096, "swap": 4096 } }));
        if !network {
            bundle.without_namespace("network");
        }
        cannot_live_with(4096, &hako, &bundle);
    });
}

/// A created container may live with a limit with which it cannot be started:
/// the environment of the program is copied before that takes init's place.
#[test]
fn a_start_that_cannot_live_with_its_limit_is_explained() {
    if is_peer() {
        return;
    }
    let mut hakos = vec![Runtime::new(), Runtime::with_systemd()];
    for hako in hakos.drain(..) {
        let mut bundle =
            limited(&hako, json!({ "memory": { "limit": 64 * MIB, "swap": 64 * MIB } }));
        let variables = (0..15).map(|number| format!("V{number}={}", "x".repeat(100_000)));
        bundle.set("/process/env", variables.collect::<Vec<_>>());
        let container = hako.create(&bundle);
        let limit = bundle.cgroup_file("memory.current").parse::<u64>().unwrap() + MIB / 2;
        let limit_text = limit.to_string();
        let update = ["update", "--memory", &limit_text, "--memory-swap", &limit_text];
        let _ = container.command(&update).output().ok();
        let start = container.command(&["start"]).output();
        start.refuses("/linux/resources/memory/limit");
        blames_the_limit(&start, limit);
        assert_eq!(container.status(), "stopped");
    }
}

/// Init may live with a limit that is too low for the program. It is over then
/// when the program is executed, or when it needs more.
#[test]
fn a_program_that_cannot_live_with_its_limit_is_explained() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    each([2 * MIB, 16 * MIB], |limit| {
        let mut bundle = limited(&hako, json!({ "memory": { "limit": limit, "swap": limit } }));
        bundle.inspector("alloc 64");
        let output = hako.run(&bundle);
        assert_eq!(output.code, Some(137), "{output}");
        blames_the_limit(&output, *limit);
    });
}

#[test]
fn what_is_said_to_be_enough_is_enough() {
    let hako = Runtime::new();
    let limit = MIB;
    let bundle = limited(&hako, json!({ "memory": { "limit": limit, "swap": limit } }));
    let container = hako.create(&bundle);
    println!("a created container has used {} bytes", bundle.cgroup_file("memory.peak"));
    assert_eq!(container.status(), "created");
}

/// `unified` says the last word.
#[test]
fn unified_values_win() {
    let hako = Runtime::new();
    let bundle = limited(
        &hako,
        json!({
            "memory": { "limit": 64 * MIB },
            "cpu": { "shares": 1024 },
            "unified": { "memory.max": "32M", "cpu.weight": "7", "memory.oom.group": "1" },
        }),
    );
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("memory.max"), "33554432");
    assert_eq!(bundle.cgroup_file("cpu.weight"), "7");
    assert_eq!(bundle.cgroup_file("memory.oom.group"), "1");
    drop(container);
}

fn owner(path: &PathBuf) -> (u32, u32) {
    let stat = rustix::fs::stat(path).unwrap();
    (stat.st_uid, stat.st_gid)
}

/// The specification's rules for delegation (config-linux.md, "Cgroup ownership").
#[test]
fn a_cgroup_that_the_container_may_write_is_its_own() {
    owned_cgroups(&Runtime::new());
}

#[test]
fn a_scope_that_the_container_may_write_is_its_own() {
    owned_cgroups(&Runtime::with_systemd());
}

fn owned_cgroups(hako: &Runtime) {
    let first = 100_000;
    let cgroup_mount = |options: &[&str]| json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options });
    let rows = [
        (cgroup_mount(&["nosuid", "noexec", "nodev"]), true, true),
        (cgroup_mount(&["nosuid", "noexec", "nodev", "ro"]), true, false),
        (cgroup_mount(&["nosuid", "noexec", "nodev"]), false, false),
    ];
    each(rows, |(mount, namespace, owned)| {
        let mut bundle = hako.bundle();
        bundle.user_namespace(first);
        let index = bundle
            .get("/mounts")
            .as_array()
            .unwrap()
            .iter()
            .position(|mount| mount["destination"] == "/sys/fs/cgroup");
        bundle.set(&format!("/mounts/{}", index.unwrap()), mount.clone());
        if !namespace {
            bundle.without_namespace("cgroup");
        }
        let container = hako.serve(&bundle);
        let directory = cgroup_dir(bundle.cgroup());
        let expected = if *owned { first } else { 0 };
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            assert_eq!(owner(&directory.join(file)).0, expected, "{file}");
        }
        // Never what would lift the container's own limits.
        for file in ["memory.max", "pids.max", "cpu.max"] {
            assert_eq!(owner(&directory.join(file)).0, 0, "{file}");
        }
        let seen =
            container.ask("mkdir /sys/fs/cgroup/child -- write /sys/fs/cgroup/memory.max max");
        assert_eq!(seen[0] == "ok", *owned, "{seen:?}");
        assert_ne!(seen[1], "ok");
    });
}
