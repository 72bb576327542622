//! Namespaces: which are made, joined or inherited, and what they contain.

mod address;
mod apply;
mod id_map;
mod interface;
mod names;
mod netlink;
mod plan;

pub use apply::{Visit, enter_network, user_namespace_for, write_id_maps};
pub use id_map::{IdMapping, IdMaps, check_map, is_mapped, plan_id_maps, to_host};
pub use interface::{Moved, move_interface};
pub use names::plan_names;
pub use plan::{
    CloneSet, Entry, Interface, Join, Kind, Op, TimeOffset, names, plan_clone, plan_entry,
    plan_interfaces, plan_network_entry,
};
