//! Who gets how much of a disk: a null_blk(4)-like disk of the test's own, as
//! slow as it wants: slower than those who read from it, whatever else the
//! machine does.

use super::host;
use hako_integration::{Bundle, Container, Runtime, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DISKS: &str = "/sys/kernel/config/nullb";

/// A disk without content, which is gone when it is dropped.
struct Disk {
    directory: PathBuf,
    queue: PathBuf,
    major: u32,
    minor: u32,
}

impl Disk {
    /// Takes `nanoseconds` for each request, one at a time.
    fn new(hako: &Runtime, nanoseconds: u32) -> Self {
        host("modprobe", &["null_blk", "nr_devices=0"]);
        if !Path::new(DISKS).exists() {
            host("mount", &["-t", "configfs", "configfs", "/sys/kernel/config"]);
        }
        let name = hako.scratch().file_name().unwrap().to_str().unwrap();
        let directory = Path::new(DISKS).join(name);
        fs::create_dir(&directory).unwrap();
        for (attribute, value) in [
            ("size", 64),
            ("irqmode", 2),
            ("completion_nsec", nanoseconds),
            ("hw_queue_depth", 1),
            ("submit_queues", 1),
            ("power", 1),
        ] {
            fs::write(directory.join(attribute), value.to_string()).expect(attribute);
        }
        let block = Path::new("/sys/block").join(name);
        let numbers = fs::read_to_string(block.join("dev")).unwrap();
        let (major, minor) = numbers.trim().split_once(':').unwrap();
        let (major, minor) = (major.parse().unwrap(), minor.parse().unwrap());
        Self { directory, queue: block.join("queue"), major, minor }
    }

    fn name(&self) -> String {
        format!("{}:{}", self.major, self.minor)
    }

    /// The scheduler that knows weights, in its plainest form.
    fn schedule_fairly(&self) {
        host("modprobe", &["bfq"]);
        for (file, value) in
            [("scheduler", "bfq"), ("iosched/low_latency", "0"), ("iosched/strict_guarantees", "1")]
        {
            fs::write(self.queue.join(file), value).expect(file);
        }
    }

    /// Forty requests a second for all, and weights for who gets them.
    fn price_requests(&self) {
        let price =
            "rbps=1000000000 rseqiops=40 rrandiops=40 wbps=1000000000 wseqiops=40 wrandiops=40";
        for (file, value) in [
            ("io.cost.model", format!("ctrl=user model=linear {price}")),
            ("io.cost.qos", "enable=1 ctrl=user min=100.00 max=100.00".to_owned()),
        ] {
            let file = Path::new("/sys/fs/cgroup").join(file);
            fs::write(&file, format!("{} {value}", self.name())).expect("io.cost");
        }
    }

    /// A container that does nothing but read from the disk, and always waits for it: while one
    /// of its readers has an answer, others have none.
    fn reader(&self, hako: &Runtime, weights: Value) -> Bundle {
        let mut bundle = hako.bundle();
        bundle.install_busybox();
        let (major, minor) = (self.major, self.minor);
        let node = json!({ "path": "/dev/disk", "type": "b", "major": major, "minor": minor });
        let rule =
            json!({ "allow": true, "type": "b", "major": major, "minor": minor, "access": "r" });
        bundle.set("/linux/devices", json!([node]));
        bundle.set("/linux/resources", json!({ "devices": [rule], "blockIO": weights }));
        let script = "for reader in 1 2 3 4; do dd if=/dev/disk of=/dev/null bs=4k iflag=direct & done; wait";
        bundle.set("/process/args", json!(["/bin/busybox", "sh", "-c", script]));
        bundle
    }

    fn weight(&self, weight: u16) -> Value {
        json!({ "weightDevice": [{ "major": self.major, "minor": self.minor, "weight": weight }] })
    }

    /// How many times as much one container gets as the other, when both are under way. Looked at
    /// again while it is not `enough`: readers that a busy machine stops are slower than the disk,
    /// and then each gets what it asks for.
    fn ratio(&self, bundles: [&Bundle; 2], enough: f64) -> f64 {
        let mut ratio = 0.0;
        for _ in 0..4 {
            let _ = self.next_requests(80, bundles);
            let [much, little] = self.next_requests(120, bundles).map(|count| count as f64);
            println!("{much} requests and {little}");
            ratio = much / little;
            if ratio > enough {
                break;
            }
        }
        ratio
    }

    /// Whose the next requests are: a few seconds, and more on a machine that is busy.
    fn next_requests(&self, all: u64, bundles: [&Bundle; 2]) -> [u64; 2] {
        let requests = || bundles.map(|bundle| self.requests(bundle));
        let (before, mut since) = (requests(), [0, 0]);
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(100));
            let now = requests();
            since = [now[0] - before[0], now[1] - before[1]];
            if since[0] + since[1] >= all {
                break;
            }
        }
        since
    }

    fn requests(&self, bundle: &Bundle) -> u64 {
        let (text, name) = (bundle.cgroup_file("io.stat"), self.name());
        let line = text.lines().find(|line| line.split(' ').next() == Some(&name));
        let words = line.unwrap_or_default().split(' ');
        let count = words.filter_map(|word| word.strip_prefix("rios=")).next();
        count.map_or(0, |count| count.parse().unwrap())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::write("/sys/fs/cgroup/io.cost.qos", format!("{} enable=0", self.name()));
        fs::write(self.directory.join("power"), "0").expect("power");
        fs::remove_dir(&self.directory).expect("the disk");
    }
}

fn start<'r>(hako: &'r Runtime, bundles: [&Bundle; 2]) -> [Container<'r>; 2] {
    let containers = bundles.map(|bundle| hako.create(bundle));
    for container in &containers {
        container.start();
    }
    containers
}

#[test]
fn a_disk_is_shared_by_weight_where_bfq_schedules() {
    for hako in [Runtime::new(), Runtime::with_systemd()] {
        let disk = Disk::new(&hako, 25_000_000);
        disk.schedule_fairly();
        let (much, little) =
            (disk.reader(&hako, disk.weight(800)), disk.reader(&hako, json!({ "weight": 100 })));
        let bundles = [&much, &little];
        let containers = start(&hako, bundles);
        assert_eq!(much.cgroup_file("io.bfq.weight"), format!("default 100\n{} 800", disk.name()));
        assert_eq!(little.cgroup_file("io.bfq.weight"), "default 100");
        let ratio = disk.ratio(bundles, 2.0);
        assert!(ratio > 2.0, "{ratio}");
        let equal = json!({ "blockIO": disk.weight(100) });
        let file = hako.file("equal.json", &equal.to_string());
        let update = hako.command(&["update", "--resources"]).arg(&file);
        let _ = update.arg(containers[0].id()).output().ok();
        assert_eq!(much.cgroup_file("io.bfq.weight"), format!("default 100\n{} 100", disk.name()));
    }
}

/// The module bfq may be there, and this disk have another scheduler.
#[test]
fn a_disk_is_shared_by_weight_where_requests_have_a_price() {
    host("modprobe", &["bfq"]);
    let hako = Runtime::new();
    let disk = Disk::new(&hako, 10_000);
    disk.price_requests();
    let bundles = [500, 100].map(|weight| disk.reader(&hako, disk.weight(weight)));
    let bundles = [&bundles[0], &bundles[1]];
    let _containers = start(&hako, bundles);
    for (bundle, weight) in bundles.into_iter().zip([4950, 910]) {
        let expected = format!("default 100\n{} {weight}", disk.name());
        assert_eq!(bundle.cgroup_file("io.weight"), expected);
    }
    let ratio = disk.ratio(bundles, 2.5);
    assert!(ratio > 2.5, "{ratio}");
}

#[test]
fn a_weight_that_nothing_heeds_is_an_error() {
    host("modprobe", &["bfq"]);
    let hako = Runtime::new();
    let disk = Disk::new(&hako, 10_000);
    let bundle = disk.reader(&hako, disk.weight(500));
    let refused = hako.on_bundle(&["create"], &bundle).output();
    refused.refuses("/linux/resources/blockIO/weightDevice/0");
    refused.fails("scheduler bfq");
}
