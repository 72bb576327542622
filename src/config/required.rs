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

/// Everything required that `bytes`, a configuration the types have taken,
/// leaves out.
pub fn missing(bytes: &[u8]) -> Vec<Error> {
    let document: Document = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(error) => return vec![super::wrong_value(bytes, &error)],
    };
    let mut missing = Missing::default();
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
    }
    missing.faults
}

#[derive(Default)]
struct Missing {
    faults: Vec<Error>,
}

impl Missing {
    fn require(&mut self, pointer: &str, fields: &[(&str, &Option<IgnoredAny>)]) {
        for (name, _) in fields.iter().filter(|(_, value)| value.is_none()) {
            self.faults.push(Error::new(format!("{name} is missing")).at(pointer));
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
