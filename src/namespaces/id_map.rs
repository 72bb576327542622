//! What: the id maps of user namespaces.

use super::plan::{CloneSet, Kind};
use crate::error::Error;
use crate::plan::Compiler;
use oci_spec::runtime::{Linux, LinuxIdMapping};
use serde::{Deserialize, Serialize};

/// One line of uid_map or gid_map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdMapping {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// Both maps of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMaps {
    /// uid_map
    pub uids: Vec<IdMapping>,
    /// gid_map
    pub gids: Vec<IdMapping>,
}

impl IdMaps {
    /// From the configuration's form.
    pub fn new(uids: Option<&Vec<LinuxIdMapping>>, gids: Option<&Vec<LinuxIdMapping>>) -> Self {
        let convert = |maps: Option<&Vec<LinuxIdMapping>>| {
            maps.into_iter()
                .flatten()
                .map(|map| IdMapping {
                    container: map.container_id(),
                    host: map.host_id(),
                    size: map.size(),
                })
                .collect()
        };
        Self { uids: convert(uids), gids: convert(gids) }
    }

    /// Whether both maps are empty.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}

/// Whether `maps` gives the container's `id` a meaning.
pub fn is_mapped(maps: &[IdMapping], id: u32) -> bool {
    to_host(maps, id).is_some()
}

/// What the container's `id` is outside its user namespace.
pub fn to_host(maps: &[IdMapping], id: u32) -> Option<u32> {
    maps.iter().find_map(|map| {
        let offset = id.checked_sub(map.container).filter(|offset| *offset < map.size)?;
        map.host.checked_add(offset)
    })
}

/// The maps of a new user namespace, checked.
pub fn plan_id_maps(linux: &Linux, clone: &CloneSet, compiler: &mut Compiler) -> Option<IdMaps> {
    let maps = IdMaps::new(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref());
    if !clone.is_new(Kind::User) {
        // Engines repeat the mappings of a user namespace that they join.
        if !maps.is_empty() && clone.is_inherited(Kind::User) {
            compiler.fault(
                Error::new("uidMappings and gidMappings need a user namespace")
                    .at("/linux/uidMappings")
                    .hint("add {\"type\": \"user\"} to linux.namespaces"),
            );
        }
        return None;
    }
    for (list, pointer) in [(&maps.uids, "/linux/uidMappings"), (&maps.gids, "/linux/gidMappings")]
    {
        check_map(list, pointer, true, compiler);
    }
    Some(maps)
}

/// A map the kernel will take: not empty, no empty or overflowing range.
/// `pointer` is the list of its ranges, or one value that holds them all.
pub fn check_map(map: &[IdMapping], pointer: &str, is_list: bool, compiler: &mut Compiler) {
    if map.is_empty() {
        compiler.fault(
            Error::new("a user namespace needs at least one mapping")
                .at(pointer)
                .hint("for example [{\"containerID\": 0, \"hostID\": 100000, \"size\": 65536}]"),
        );
    }
    for (index, range) in map.iter().enumerate() {
        let fits = |first: u32| range.size > 0 && first.checked_add(range.size - 1).is_some();
        if !fits(range.container) || !fits(range.host) {
            compiler.fault(
                Error::new(format!(
                    "mapping {} {} {} is empty or exceeds 32 bits",
                    range.container, range.host, range.size
                ))
                .at(if is_list {
                    format!("{pointer}/{index}")
                } else {
                    pointer.to_owned()
                }),
            );
        }
    }
}
