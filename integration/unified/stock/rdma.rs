//! Handles of RDMA devices: of one that is a network interface in disguise.

use super::host;
use hako_integration::{Bundle, Runtime, json};
use std::fs;

/// A device of RDMA over an interface without a network, until it is dropped.
struct Device {
    name: String,
    interface: String,
}

impl Device {
    fn new() -> Self {
        for module in ["rdma_rxe", "ib_uverbs", "dummy"] {
            host("modprobe", &[module]);
        }
        let number = std::process::id();
        let (name, interface) = (format!("hakorxe{number}"), format!("hako{number}"));
        host("ip", &["link", "add", &interface, "type", "dummy"]);
        host("ip", &["link", "set", &interface, "up"]);
        host("rdma", &["link", "add", &name, "type", "rxe", "netdev", &interface]);
        Self { name, interface }
    }

    /// Numbers of the node through which programs open it.
    fn node(&self) -> (u32, u32) {
        let verbs = "/sys/class/infiniband_verbs";
        let found = fs::read_dir(verbs).unwrap().flatten().find(|entry| {
            let device = fs::read_to_string(entry.path().join("ibdev")).unwrap_or_default();
            device.trim() == self.name
        });
        let entry = found.expect("the device is open to programs");
        let numbers = fs::read_to_string(entry.path().join("dev")).unwrap();
        let (major, minor) = numbers.trim().split_once(':').unwrap();
        (major.parse().unwrap(), minor.parse().unwrap())
    }

    fn user(&self, hako: &Runtime, handles: u32) -> Bundle {
        let (major, minor) = self.node();
        let mut bundle = hako.bundle();
        let node = json!({ "path": "/dev/verbs", "type": "c", "major": major, "minor": minor });
        let rule =
            json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rw" });
        bundle.set("/linux/devices", json!([node]));
        let limits = json!({ &self.name: { "hcaHandles": handles, "hcaObjects": 2000 } });
        bundle.set("/linux/resources", json!({ "devices": [rule], "rdma": limits }));
        bundle
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        host("rdma", &["link", "delete", &self.name]);
        host("ip", &["link", "delete", &self.interface]);
    }
}

#[test]
fn a_container_gets_no_more_handles_than_its_limit() {
    let device = Device::new();
    for hako in [Runtime::new(), Runtime::with_systemd()] {
        let bundle = device.user(&hako, 0);
        let container = hako.serve(&bundle);
        let limit = |handles: u32| format!("{} hca_handle={handles} hca_object=2000", device.name);
        assert_eq!(bundle.cgroup_file("rdma.max"), limit(0));
        assert_eq!(container.ask("verbs /dev/verbs"), [json!({ "errno": "EAGAIN" })]);

        let more = json!({ "rdma": { &device.name: { "hcaHandles": 2 } } });
        let file = hako.file("more.json", &more.to_string());
        let update = hako.command(&["update", "--resources"]).arg(&file);
        let _ = update.arg(container.id()).output().ok();
        assert_eq!(bundle.cgroup_file("rdma.max"), limit(2));
        assert_eq!(container.ask("verbs /dev/verbs"), ["ok"]);
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/rdma", json!({ "hakonone": { "hcaHandles": 1 } }));
    let refused = hako.on_bundle(&["create"], &bundle).output();
    refused.refuses("/linux/resources/rdma/hakonone");
    refused.fails("there is no such device");
}
