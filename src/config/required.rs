//! Required numbers. The types read a missing number as 0, which is a device,
//! a limit or an id like any other.

use crate::error::Error;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// The parts of a configuration in which numbers are required.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(rename = "root")]
    _root: Option<Object>,
    #[serde(rename = "hooks")]
    _hooks: Option<Object>,
    process: Option<Process>,
    mounts: Option<Vec<Mount>>,
    #[serde(borrow)]
    linux: Option<Linux<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    rlimits: Option<Vec<Rlimit>>,
    io_priority: Option<IoPriority>,
}

#[derive(Deserialize)]
struct Rlimit {
    soft: Option<IgnoredAny>,
    hard: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct IoPriority {
    class: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    uid_mappings: Option<Vec<Mapping>>,
    gid_mappings: Option<Vec<Mapping>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    uid_mappings: Option<Vec<Mapping>>,
    gid_mappings: Option<Vec<Mapping>>,
    #[serde(borrow)]
    devices: Option<Vec<Device<'a>>>,
    resources: Option<Resources>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    devices: Option<Vec<Rule>>,
    pids: Option<Pids>,
    #[serde(rename = "blockIO")]
    block_io: Option<BlockIo>,
    hugepage_limits: Option<Vec<Limit>>,
}

#[derive(Deserialize)]
struct Rule {
    allow: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Pids {
    limit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockIo {
    weight_device: Option<Vec<Throttle>>,
    throttle_read_bps_device: Option<Vec<Throttle>>,
    throttle_write_bps_device: Option<Vec<Throttle>>,
    #[serde(rename = "throttleReadIOPSDevice")]
    throttle_read_iops_device: Option<Vec<Throttle>>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    throttle_write_iops_device: Option<Vec<Throttle>>,
}

#[derive(Deserialize)]
struct Throttle {
    major: Option<IgnoredAny>,
    minor: Option<IgnoredAny>,
    rate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "containerID")]
    container: Option<IgnoredAny>,
    #[serde(rename = "hostID")]
    host: Option<IgnoredAny>,
    size: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Device<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
    major: Option<IgnoredAny>,
    minor: Option<IgnoredAny>,
}

/// An object, whatever is in it. The types would take a list of values in the
/// order of their fields.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Object)
    }
}

/// Everything that `bytes`, a configuration the types have taken, leaves out.
pub fn missing(bytes: &[u8]) -> Missing {
    let mut missing = Missing::default();
    let document: Document = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(error) => {
            missing.faults.push(super::wrong_value(bytes, &error));
            return missing;
        }
    };
    if let Some(process) = &document.process {
        for (index, limit) in process.rlimits.iter().flatten().enumerate() {
            let pointer = format!("/process/rlimits/{index}");
            missing.require(&pointer, &[("soft", &limit.soft), ("hard", &limit.hard)]);
        }
        if let Some(priority) = &process.io_priority {
            missing.require("/process/ioPriority", &[("class", &priority.class)]);
        }
    }
    for (index, mount) in document.mounts.iter().flatten().enumerate() {
        missing.require_mappings(&mount.uid_mappings, &format!("/mounts/{index}/uidMappings"));
        missing.require_mappings(&mount.gid_mappings, &format!("/mounts/{index}/gidMappings"));
    }
    if let Some(linux) = &document.linux {
        missing.require_mappings(&linux.uid_mappings, "/linux/uidMappings");
        missing.require_mappings(&linux.gid_mappings, "/linux/gidMappings");
        for (index, device) in linux.devices.iter().flatten().enumerate() {
            if device.kind.as_deref() != Some("p") {
                let pointer = format!("/linux/devices/{index}");
                missing.require(&pointer, &[("major", &device.major), ("minor", &device.minor)]);
            }
        }
        if let Some(resources) = &linux.resources {
            missing.require_resources(resources, "/linux/resources");
        }
    }
    missing
}

/// The same for `linux.resources` on its own.
pub fn missing_in_resources(bytes: &[u8]) -> Missing {
    let mut missing = Missing::default();
    match serde_json::from_slice(bytes) {
        Ok(resources) => missing.require_resources(&resources, ""),
        Err(error) => missing.faults.push(super::wrong_value(bytes, &error)),
    }
    missing
}

/// What is left out.
#[derive(Debug, Default)]
pub struct Missing {
    /// What is required.
    pub faults: Vec<Error>,
    /// A limit of processes: its absence means none, not 0.
    pub pids_limit: bool,
}

impl Missing {
    fn require(&mut self, pointer: &str, fields: &[(&str, &Option<IgnoredAny>)]) {
        for (name, _) in fields.iter().filter(|(_, value)| value.is_none()) {
            self.faults.push(Error::new(format!("{name} is missing")).at(pointer));
        }
    }

    fn require_resources(&mut self, resources: &Resources, base: &str) {
        self.pids_limit = resources.pids.as_ref().is_some_and(|pids| pids.limit.is_none());
        for (index, rule) in resources.devices.iter().flatten().enumerate() {
            self.require(&format!("{base}/devices/{index}"), &[("allow", &rule.allow)]);
        }
        for (index, limit) in resources.hugepage_limits.iter().flatten().enumerate() {
            self.require(&format!("{base}/hugepageLimits/{index}"), &[("limit", &limit.limit)]);
        }
        let Some(io) = &resources.block_io else { return };
        for (index, device) in io.weight_device.iter().flatten().enumerate() {
            let pointer = format!("{base}/blockIO/weightDevice/{index}");
            self.require(&pointer, &[("major", &device.major), ("minor", &device.minor)]);
        }
        for (name, list) in [
            ("throttleReadBpsDevice", &io.throttle_read_bps_device),
            ("throttleWriteBpsDevice", &io.throttle_write_bps_device),
            ("throttleReadIOPSDevice", &io.throttle_read_iops_device),
            ("throttleWriteIOPSDevice", &io.throttle_write_iops_device),
        ] {
            for (index, device) in list.iter().flatten().enumerate() {
                let fields =
                    [("major", &device.major), ("minor", &device.minor), ("rate", &device.rate)];
                self.require(&format!("{base}/blockIO/{name}/{index}"), &fields);
            }
        }
    }

    fn require_mappings(&mut self, mappings: &Option<Vec<Mapping>>, pointer: &str) {
        for (index, mapping) in mappings.iter().flatten().enumerate() {
            let fields = [
                ("containerID", &mapping.container),
                ("hostID", &mapping.host),
                ("size", &mapping.size),
            ];
            self.require(&format!("{pointer}/{index}"), &fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_number_is_not_zero() {
        let config = br#"{
            "process": {"rlimits": [{"type": "RLIMIT_CORE", "hard": 0}]},
            "linux": {"devices": [
                {"path": "/dev/a", "type": "c", "major": 1},
                {"path": "/dev/b", "type": "p"}
            ]}
        }"#;
        let pointers: Vec<_> = missing(config)
            .faults
            .into_iter()
            .map(|fault| (fault.message, fault.pointer.unwrap()))
            .collect();
        let expected = [
            ("soft is missing".to_owned(), "/process/rlimits/0".to_owned()),
            ("minor is missing".to_owned(), "/linux/devices/0".to_owned()),
        ];
        assert_eq!(pointers, expected);
    }
}
