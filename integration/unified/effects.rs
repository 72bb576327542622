//! What else comes of limits: how containers share a machine, and what they
//! see of it.

use hako_integration::{Bundle, Runtime, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const MEBIBYTE: u64 = 1 << 20;

/// `swap` is memory and swap together.
#[test]
fn what_does_not_fit_into_memory_goes_to_swap_as_far_as_allowed() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory", json!({"limit": 32 * MEBIBYTE, "swap": 64 * MEBIBYTE}));
    let container = hako.serve(&bundle);
    assert_eq!(bundle.cgroup_file("memory.swap.max"), (32 * MEBIBYTE).to_string());
    let child = container.ask("run /bin/inspector alloc 48");
    assert_eq!(child[0]["code"], 0, "{child:?}");
    let swapped: u64 = bundle.cgroup_file("memory.swap.peak").parse().unwrap();
    assert!(swapped > 8 * MEBIBYTE, "{swapped} bytes went to swap");
    let child = container.ask("run /bin/inspector alloc 80");
    assert_eq!(child[0]["signal"], 9, "{child:?}");
}

/// A container that wants all of a CPU, always the same one.
fn spinner(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    bundle.set("/process/args", json!(["/bin/busybox", "sh", "-c", "while :; do :; done"]));
    bundle
}

/// The share of one CPU that each of these containers gets within a second.
fn shares<const N: usize>(bundles: [&Bundle; N]) -> [f64; N] {
    let used = || bundles.map(|bundle| bundle.cgroup_count("cpu.stat", "usage_usec"));
    let (before, begin) = (used(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let (after, elapsed) = (used(), begin.elapsed());
    std::array::from_fn(|at| (after[at] - before[at]) as f64 / elapsed.as_micros() as f64)
}

#[test]
fn a_cpu_is_shared_by_weight() {
    let hako = Runtime::new();
    let bundles = [2048, 512].map(|shares| {
        let mut bundle = spinner(&hako);
        bundle.set("/linux/resources/cpu/shares", shares);
        bundle
    });
    let on_one_cpu = |bundle: &Bundle| {
        let pin = "taskset -c -p \"$(taskset -c -p $$ | grep -o '[0-9]*$')\" $$ >&2";
        hako.make(hako.on_bundle(&["create"], bundle).before(pin), bundle)
    };
    let containers = [on_one_cpu(&bundles[0]), on_one_cpu(&bundles[1])];
    for container in &containers {
        container.start();
    }
    let weights = [0, 1].map(|at| bundles[at].cgroup_file("cpu.weight").parse::<f64>().unwrap());
    let [much, little] = shares([&bundles[0], &bundles[1]]);
    let (expected, seen) = (weights[0] / weights[1], much / little);
    assert!(expected > 2.0, "weights {weights:?}");
    assert!(seen > 0.6 * expected && seen < 1.7 * expected, "{seen} times, not {expected}");
}

/// The disk that holds a directory, by the number that `io.max` takes: that of
/// the whole disk.
fn disk_of(path: &Path) -> (u32, u32) {
    let device = rustix::fs::stat(path).unwrap().st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let entry = format!("/sys/dev/block/{major}:{minor}");
    let partition = Path::new(&entry).join("partition").exists();
    let whole = if partition { format!("{entry}/../dev") } else { format!("{entry}/dev") };
    let numbers = fs::read_to_string(whole).expect("the scratch directory is on a disk");
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

#[test]
fn reading_is_throttled() {
    let hako = Runtime::new();
    let (major, minor) = disk_of(hako.scratch());
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    fs::write(bundle.rootfs("data"), vec![1; 4 << 20]).unwrap();
    rustix::fs::sync();
    let read_in = |bundle: &Bundle| {
        let container = hako.serve(bundle);
        let begin = Instant::now();
        let chain = "run /bin/busybox dd if=/data of=/dev/null bs=256k iflag=direct";
        let seen = container.ask(chain);
        assert_eq!(seen[0]["code"], 0, "{seen:?}");
        begin.elapsed()
    };
    let free = read_in(&bundle);
    let limit = json!([{"major": major, "minor": minor, "rate": 2 * MEBIBYTE}]);
    bundle.set("/linux/resources/blockIO/throttleReadBpsDevice", limit);
    let throttled = read_in(&bundle);
    // 4 MiB at 2 MiB/s, of which the kernel lets some through at once.
    assert!(throttled > Duration::from_millis(1200), "{throttled:?}");
    assert!(throttled > 2 * free, "{throttled:?}, and {free:?} without a limit");
}

/// What is inside sees its limits, as a JVM or a Go program does that adapts to
/// them.
#[test]
fn a_container_sees_its_own_limits() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle
        .set("/linux/resources", json!({"pids": {"limit": 9}, "memory": {"limit": 64 * MEBIBYTE}}));
    let chain = "read /sys/fs/cgroup/pids.max -- read /sys/fs/cgroup/memory.max \
                 -- write /sys/fs/cgroup/pids.max 1000";
    let seen = hako.ask(&bundle, chain);
    assert_eq!((&seen[0], &seen[1]), (&json!("9\n"), &json!("67108864\n")));
    assert_eq!(seen[2]["errno"], "EROFS", "{seen:?}");
}
