//! What the types take for something else. They read a missing number as 0,
//! which is a device, a limit or an id like any other; and a list of values, in
//! the order of their fields, as an object.

use crate::error::{Error, name_of};
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// The parts of a configuration that are looked at.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(rename = "root")]
    _root: Option<Object>,
    #[serde(rename = "hooks")]
    _hooks: Option<Object<Hooks>>,
    process: Option<Object<Process>>,
    mounts: Option<Vec<Object<Mount>>>,
    #[serde(borrow)]
    linux: Option<Object<Linux<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hooks {
    #[serde(rename = "prestart")]
    _prestart: Option<Vec<Object>>,
    #[serde(rename = "createRuntime")]
    _create_runtime: Option<Vec<Object>>,
    #[serde(rename = "createContainer")]
    _create_container: Option<Vec<Object>>,
    #[serde(rename = "startContainer")]
    _start_container: Option<Vec<Object>>,
    #[serde(rename = "poststart")]
    _poststart: Option<Vec<Object>>,
    #[serde(rename = "poststop")]
    _poststop: Option<Vec<Object>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    #[serde(rename = "user")]
    _user: Option<Object>,
    #[serde(rename = "capabilities")]
    _capabilities: Option<Object>,
    #[serde(rename = "scheduler")]
    _scheduler: Option<Object>,
    #[serde(rename = "execCPUAffinity")]
    _exec_cpu_affinity: Option<Object>,
    terminal: Option<bool>,
    console_size: Option<Object<ConsoleSize>>,
    rlimits: Option<Vec<Object<Rlimit>>>,
    io_priority: Option<Object<IoPriority>>,
}

#[derive(Deserialize)]
struct ConsoleSize {
    height: Option<IgnoredAny>,
    width: Option<IgnoredAny>,
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
    uid_mappings: Option<Vec<Object<Mapping>>>,
    gid_mappings: Option<Vec<Object<Mapping>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    uid_mappings: Option<Vec<Object<Mapping>>>,
    gid_mappings: Option<Vec<Object<Mapping>>>,
    #[serde(borrow)]
    devices: Option<Vec<Object<Device<'a>>>>,
    resources: Option<Object<Resources>>,
    #[serde(rename = "namespaces")]
    _namespaces: Option<Vec<Object>>,
    #[serde(rename = "seccomp")]
    _seccomp: Option<Object>,
    #[serde(rename = "intelRdt")]
    _intel_rdt: Option<Object>,
    #[serde(rename = "memoryPolicy")]
    _memory_policy: Option<Object>,
    #[serde(rename = "personality")]
    _personality: Option<Object>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    devices: Option<Vec<Object<Rule>>>,
    #[serde(rename = "memory")]
    _memory: Option<Object>,
    #[serde(rename = "cpu")]
    _cpu: Option<Object>,
    #[serde(rename = "network")]
    _network: Option<Object>,
    pids: Option<Object<Pids>>,
    #[serde(rename = "blockIO")]
    block_io: Option<Object<BlockIo>>,
    hugepage_limits: Option<Vec<Object<Limit>>>,
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
    weight_device: Option<Vec<Object<Throttle>>>,
    throttle_read_bps_device: Option<Vec<Object<Throttle>>>,
    throttle_write_bps_device: Option<Vec<Object<Throttle>>>,
    #[serde(rename = "throttleReadIOPSDevice")]
    throttle_read_iops_device: Option<Vec<Object<Throttle>>>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    throttle_write_iops_device: Option<Vec<Object<Throttle>>>,
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

/// An object, and no list; by default, whatever is in it.
struct Object<T = IgnoredAny>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

impl<T> Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Everything that `bytes`, a configuration the types have taken, leaves out.
///
/// # Errors
/// A list in the place of an object.
pub fn missing(bytes: &[u8]) -> crate::error::Result<Missing> {
    let mut missing = Missing::default();
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| super::wrong_value(bytes, &error))?;
    if let Some(process) = &document.process {
        for (index, limit) in process.rlimits.iter().flatten().enumerate() {
            let pointer = format!("/process/rlimits/{index}");
            missing.require(&pointer, &[("soft", &limit.soft), ("hard", &limit.hard)]);
        }
        if let Some(priority) = &process.io_priority {
            missing.require("/process/ioPriority", &[("class", &priority.class)]);
        }
        // Without a terminal it is ignored (config.md, "Process").
        if let (Some(true), Some(size)) = (process.terminal, &process.console_size) {
            let fields = [("height", &size.height), ("width", &size.width)];
            missing.require("/process/consoleSize", &fields);
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
    Ok(missing)
}

/// The same for `linux.resources` on its own.
pub fn missing_in_resources(bytes: &[u8]) -> crate::error::Result<Missing> {
    let resources: Object<Resources> =
        serde_json::from_slice(bytes).map_err(|error| super::wrong_value(bytes, &error))?;
    let mut missing = Missing::default();
    missing.require_resources(&resources, "");
    Ok(missing)
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
            let missing = name_of(&format!("{pointer}/{name}"));
            self.faults.push(Error::new(format!("{missing} is missing")).at(pointer));
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

    fn require_mappings(&mut self, mappings: &Option<Vec<Object<Mapping>>>, pointer: &str) {
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
            .unwrap()
            .faults
            .into_iter()
            .map(|fault| (fault.message, fault.pointer.unwrap()))
            .collect();
        let expected = [
            ("process.rlimits[0].soft is missing".to_owned(), "/process/rlimits/0".to_owned()),
            ("linux.devices[0].minor is missing".to_owned(), "/linux/devices/0".to_owned()),
        ];
        assert_eq!(pointers, expected);
    }
}
