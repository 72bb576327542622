//! Namespaces: which are made, joined or inherited, and what they contain.

mod address;
mod apply;
mod entry;
mod helper;
mod id_map;
mod interface;
mod names;
mod netlink;
mod plan;
mod refused;
mod subordinate;

pub use apply::{
    Visit, enter_network, has_own, is_own, known_id, make_undumpable, own_map, user_namespace_for,
    write_id_maps, write_time_offsets,
};
pub use entry::{Entry, plan_bridge, plan_entry, plan_network_entry, plan_shield};
pub use id_map::{
    IdMapping, IdMaps, Mapping, check_map, cut_along_own, is_mapped, list, own_map_remedy,
    plan_groups, plan_mapping, seen_from, to_host,
};
pub use interface::{Moved, move_interface};
pub use names::plan_names;
pub use plan::{
    CloneSet, Interface, Join, Kind, Op, TimeOffset, names, needs_root, offset_list, plan_clone,
    plan_interfaces,
};
pub use refused::{clone_refused, id_refused};
pub use subordinate::{Account, IdKind, inside, map_from_root, maps_any};
