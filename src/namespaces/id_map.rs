//! What: the id maps of user namespaces.

use super::helper::Helper;
use super::plan::{CloneSet, Kind};
use super::subordinate::{IdKind, Range, inside};
use crate::error::{Error, name_of};
use crate::host::Maker;
use crate::plan::Compiler;
use crate::process;
use oci_spec::runtime::{Linux, LinuxIdMapping};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

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

    /// One of them.
    pub fn of(&self, kind: IdKind) -> &[IdMapping] {
        match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        }
    }

    /// Whether both maps are empty.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}

/// Maps, and who writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mapping {
    /// What is written.
    pub maps: IdMaps,
    /// newuidmap(1), where the runtime may not write the map itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newuidmap: Option<PathBuf>,
    /// newgidmap(1), likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newgidmap: Option<PathBuf>,
    /// setgroups(2) is given up for ever: only then may a user without privilege
    /// map their own group (user_namespaces(7)).
    pub denies_setgroups: bool,
}

impl From<IdMaps> for Mapping {
    /// Written by the runtime.
    fn from(maps: IdMaps) -> Self {
        Self { maps, newuidmap: None, newgidmap: None, denies_setgroups: false }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |f: &mut fmt::Formatter<'_>, map: &[IdMapping], helper: &Option<PathBuf>| {
            let ranges: Vec<_> = map
                .iter()
                .map(|range| format!("{} -> {} ({})", range.container, range.host, range.size))
                .collect();
            f.write_str(&ranges.join(", "))?;
            helper.as_ref().map_or(Ok(()), |path| write!(f, " by {}", path.display()))
        };
        f.write_str("map users ")?;
        side(f, &self.maps.uids, &self.newuidmap)?;
        f.write_str("; groups ")?;
        side(f, &self.maps.gids, &self.newgidmap)?;
        f.write_str(if self.denies_setgroups { "; deny setgroups" } else { "" })
    }
}

/// Decides who writes the maps. An ordinary user may write a map of their own id
/// alone; for more there are helpers, if the machine gives the user more.
pub fn plan_mapping(linux: &Linux, clone: &CloneSet, compiler: &mut Compiler) -> Option<Mapping> {
    let maps = plan_id_maps(linux, clone, compiler)?;
    let newuidmap = plan_writer(IdKind::User, &maps.uids, compiler);
    let newgidmap = plan_writer(IdKind::Group, &maps.gids, compiler);
    let maps = cut_along_own(&maps, "/linux", true, compiler);
    let denies_setgroups = newgidmap.is_none() && !compiler.host.maps_any(IdKind::Group);
    compiler.denies_setgroups |= denies_setgroups;
    compiler.maps = maps.clone();
    Some(Mapping { maps, newuidmap, newgidmap, denies_setgroups })
}

fn plan_writer(kind: IdKind, map: &[IdMapping], compiler: &mut Compiler) -> Option<PathBuf> {
    if compiler.host.maps_any(kind) || map.is_empty() {
        return None;
    }
    let is_own = |map: &IdMapping| map.host == compiler.host.own_id(kind) && map.size == 1;
    if map.len() == 1 && is_own(&map[0]) {
        return None;
    }
    let account = compiler.host.account();
    let ids = account.ids(kind);
    let pointer = format!("/linux/{}", kind.field());
    let mut faults = Vec::new();
    for (index, map) in map.iter().enumerate().filter(|(_, map)| !ids.allows(map)) {
        let last = (u64::from(map.host) + u64::from(map.size)).saturating_sub(1);
        let message =
            format!("ids {} to {last} of the host are not {}'s to map", map.host, account.name);
        faults
            .push(Error::new(message).at(format!("{pointer}/{index}")).hint(account.remedy(kind)));
    }
    let lack = ids.helper.lack(kind).map(|(reason, remedy)| {
        let message = match ids.helper {
            Helper::Missing => {
                format!("{reason}, and without it a user can map no id but their own")
            }
            _ => reason,
        };
        Error::new(message).hint(format!(
            "{remedy}; or map the own id alone: hako spec --rootless then writes such mappings"
        ))
    });
    faults.extend(lack.map(|fault| fault.at(pointer.as_str())));
    faults.into_iter().for_each(|fault| compiler.fault(fault));
    match &ids.helper {
        Helper::Ready(path) => Some(path.clone()),
        _ => None,
    }
}

/// Where the kernel denies setgroups(2), the process stays in its maker's groups.
pub fn plan_groups(user: &mut process::User, compiler: &mut Compiler) {
    if !compiler.denies_setgroups {
        return;
    }
    if let Some(highest) = user.additional_gids.iter().flatten().max() {
        let (why, hint) = match compiler.host.denies_setgroups() {
            true => (
                "the user namespace that hako is in denies it",
                "its /proc/self/setgroups says deny: who made it could map no group but their own"
                    .to_owned(),
            ),
            false => (
                "the kernel denies it to who may map no group but their own",
                compiler.host.account().remedy_for(IdKind::Group, *highest),
            ),
        };
        compiler.fault(
            Error::new(format!("supplementary groups cannot be set: {why}"))
                .at("/process/user/additionalGids")
                .hint(hint),
        );
    }
    user.additional_gids = None;
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

/// The same ranges for who is in the user namespace `outer`, and has its ids
/// instead of the host's. `None` if some have no meaning there.
pub fn seen_from(outer: &[IdMapping], maps: &[IdMapping]) -> Option<Vec<IdMapping>> {
    let mut seen = Vec::new();
    for map in maps {
        let mut done = 0;
        while done < map.size {
            let host = map.host.checked_add(done)?;
            let (offset, range) = outer.iter().find_map(|range| {
                let offset = host.checked_sub(range.host).filter(|offset| *offset < range.size)?;
                Some((offset, range))
            })?;
            let size = (map.size - done).min(range.size - offset);
            let container = map.container.checked_add(done)?;
            seen.push(IdMapping { container, host: range.container + offset, size });
            done += size;
        }
    }
    Some(seen)
}

/// The same ids, each range within one line of the map of hako's own user
/// namespace: the kernel takes no other (`map_write`). Ids that are not there are
/// a fault. `pointer` leads to what has uidMappings and gidMappings; `is_list`
/// unless it holds all ranges itself.
pub fn cut_along_own(
    maps: &IdMaps,
    pointer: &str,
    is_list: bool,
    compiler: &mut Compiler,
) -> IdMaps {
    let mut cut = |kind: IdKind, map: &[IdMapping]| {
        let Some(lines) = compiler.host.own_map(kind) else { return map.to_vec() };
        let field = match is_list {
            true => format!("{pointer}/{}", kind.field()),
            false => pointer.to_owned(),
        };
        let same: Vec<_> =
            lines.iter().map(|line| IdMapping { host: line.container, ..*line }).collect();
        let mut ranges = Vec::new();
        for (index, range) in map.iter().enumerate() {
            match seen_from(&same, std::slice::from_ref(range)) {
                Some(parts) => ranges.extend(parts),
                None => {
                    let place = if is_list { format!("{field}/{index}") } else { field.clone() };
                    compiler.fault(missing_ids(kind, *range, lines).at(place));
                    // That it maps nothing would be a second fault of the same cause.
                    ranges.push(*range);
                }
            }
        }
        let taken = capacity(&ranges);
        if map.len() <= capacity(map) && ranges.len() > taken {
            let message = format!(
                "{} ranges, cut along the lines of /proc/self/{}: the kernel takes {taken}",
                ranges.len(),
                kind.map_file()
            );
            compiler.fault(Error::new(message).at(field));
        }
        ranges
    };
    IdMaps { uids: cut(IdKind::User, &maps.uids), gids: cut(IdKind::Group, &maps.gids) }
}

fn missing_ids(kind: IdKind, range: IdMapping, lines: &[IdMapping]) -> Error {
    let wanted = Range { first: range.host, count: range.size };
    Error::new(format!("not all of the ids {wanted} exist in the user namespace that hako is in"))
        .hint(own_map_remedy(kind, lines))
}

/// How to get by with the ids of the user namespace that a process is in.
pub fn own_map_remedy(kind: IdKind, lines: &[IdMapping]) -> String {
    let file = format!("/proc/self/{}", kind.map_file());
    if lines.is_empty() {
        return format!(
            "{file} is empty: enter that namespace as its root (unshare -r), or have whoever made it map ids"
        );
    }
    format!(
        "{file} has {}: choose of these, or have whoever made that namespace map more",
        list(lines)
    )
}

/// The ids inside, as a sentence lists them.
pub fn list(lines: &[IdMapping]) -> String {
    inside(lines).map(|range| range.to_string()).collect::<Vec<_>>().join(", ")
}

/// The maps of a new user namespace, checked.
fn plan_id_maps(linux: &Linux, clone: &CloneSet, compiler: &mut Compiler) -> Option<IdMaps> {
    let mut maps = IdMaps::new(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref());
    if !clone.is_new(Kind::User) {
        // Engines repeat the mappings of a user namespace that they join.
        if !maps.is_empty() && clone.is_inherited(Kind::User) {
            let field = if maps.uids.is_empty() { "gidMappings" } else { "uidMappings" };
            compiler.fault(
                Error::new("uidMappings and gidMappings need a user namespace")
                    .at(format!("/linux/{field}"))
                    .hint("add {\"type\": \"user\"} to linux.namespaces"),
            );
        }
        return None;
    }
    for (list, pointer) in [(&maps.uids, "/linux/uidMappings"), (&maps.gids, "/linux/gidMappings")]
    {
        check_map(list, pointer, true, compiler);
    }
    maps.uids.truncate(LARGEST_MAP);
    maps.gids.truncate(LARGEST_MAP);
    Some(maps)
}

/// Ranges in a map (user_namespaces(7)).
const LARGEST_MAP: usize = 340;

/// How many of these ranges the kernel takes: it reads a map that is no longer than
/// that, and less than a page of text.
pub fn capacity(map: &[IdMapping]) -> usize {
    let page = rustix::param::page_size();
    let mut length = 0;
    let fits = |range: &&IdMapping| {
        length += format!("{} {} {}\n", range.container, range.host, range.size).len();
        length < page
    };
    map.iter().take(LARGEST_MAP).take_while(fits).count()
}

/// A map the kernel will take: not empty, no empty, overflowing or overlapping range.
/// `pointer` is the list of its ranges, or one value that holds them all.
pub fn check_map(map: &[IdMapping], pointer: &str, is_list: bool, compiler: &mut Compiler) {
    if map.is_empty() {
        let hint = match compiler.host.maker() {
            Maker::Root => {
                "for example [{\"containerID\": 0, \"hostID\": 100000, \"size\": 65536}]"
            }
            _ => "hako spec --rootless writes mappings of all the ids that you may map",
        };
        compiler.fault(
            Error::new("a user namespace needs at least one mapping").at(pointer).hint(hint),
        );
    }
    let taken = capacity(map);
    if map.len() > taken {
        let why = if taken < LARGEST_MAP { ", as text of less than a page" } else { "" };
        compiler.fault(
            Error::new(format!("{} ranges: the kernel takes {taken}{why}", map.len())).at(pointer),
        );
    }
    let place = |index: usize| match is_list {
        true => format!("{pointer}/{index}"),
        false => pointer.to_owned(),
    };
    for (index, range) in map.iter().enumerate().take(LARGEST_MAP) {
        let fits = |first: u32| range.size > 0 && first.checked_add(range.size - 1).is_some();
        if !fits(range.container) || !fits(range.host) {
            compiler.fault(
                Error::new(format!(
                    "mapping {} {} {} is empty or exceeds 32 bits",
                    range.container, range.host, range.size
                ))
                .at(place(index)),
            );
        }
        let mut others = map[..index].iter().enumerate();
        let shared = others.find_map(|(other, earlier)| Some((other, overlap(earlier, range)?)));
        if let Some((other, (ids, side))) = shared {
            let earlier = match is_list {
                true => name_of(&place(other)),
                false => format!("range {other}"),
            };
            let message = format!(
                "mapping {} {} {} overlaps {earlier}: both have {ids} of the {side}'s ids",
                range.container, range.host, range.size
            );
            compiler.fault(Error::new(message).at(place(index)));
        }
    }
}

/// Ids that both ranges have, and on which side: the kernel wants one meaning each way.
fn overlap(one: &IdMapping, other: &IdMapping) -> Option<(Range, &'static str)> {
    let common = |first: u32, second: u32| {
        let end = |start: u32, size: u32| u64::from(start) + u64::from(size);
        let start = first.max(second);
        let end = end(first, one.size).min(end(second, other.size));
        let count = u32::try_from(end.checked_sub(u64::from(start))?).ok()?;
        (count > 0).then_some(Range { first: start, count })
    };
    let inside = common(one.container, other.container).map(|ids| (ids, "container"));
    inside.or_else(|| common(one.host, other.host).map(|ids| (ids, "host")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_on_either_side() {
        let map = |container, host, size| IdMapping { container, host, size };
        let shared = |one, other| overlap(&one, &other).map(|(ids, side)| format!("{ids} {side}"));
        for (other, ids) in [
            (map(10, 200, 5), None),
            (map(9, 200, 5), Some("9 container")),
            (map(0, 100, 10), Some("0 to 9 container")),
            (map(50, 105, 100), Some("105 to 109 host")),
            (map(50, 110, u32::MAX), None),
            (map(3, 200, 0), None),
        ] {
            assert_eq!(shared(map(0, 100, 10), other).as_deref(), ids, "{other:?}");
            assert_eq!(shared(other, map(0, 100, 10)).as_deref(), ids, "{other:?}");
        }
    }

    #[test]
    fn ranges_are_seen_from_inside() {
        let map = |container, host, size| IdMapping { container, host, size };
        let outer = [map(0, 1000, 1), map(1, 100_000, 10), map(11, 300_000, 10)];
        assert_eq!(
            seen_from(&outer, &outer),
            Some(vec![map(0, 0, 1), map(1, 1, 10), map(11, 11, 10)])
        );
        let crossing = [map(0, 100_008, 2), map(5, 1000, 1)];
        assert_eq!(seen_from(&outer, &crossing), Some(vec![map(0, 9, 2), map(5, 0, 1)]));
        assert_eq!(seen_from(&outer, &[map(0, 100_008, 3)]), None);
        assert_eq!(seen_from(&outer, &[map(0, 0, 1)]), None);
    }

    #[test]
    fn ranges_are_cut_along_the_lines_of_the_own_map() {
        let map = |container, host, size| IdMapping { container, host, size };
        let host = crate::host::Host::example_of_namespace_root();
        let options = crate::plan::Options::default();
        let mut compiler = Compiler::new(&host, &options);
        let mut cut = |uids: &[IdMapping]| {
            let maps = IdMaps { uids: uids.to_vec(), gids: Vec::new() };
            cut_along_own(&maps, "/linux", true, &mut compiler).uids
        };
        assert_eq!(cut(&[map(0, 0, 100)]), [map(0, 0, 1), map(1, 1, 99)]);
        assert_eq!(cut(&[map(7, 1, 9), map(0, 0, 1)]), [map(7, 1, 9), map(0, 0, 1)]);
        assert_eq!(cut(&[map(0, 65_530, 8)]), [map(0, 65_530, 8)]);
    }
}
