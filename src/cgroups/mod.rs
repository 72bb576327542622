//! The container's cgroup: where it is, making it, its limits, ending what is
//! in it.

mod controllers;
mod devices;
mod directory;
mod freezer;
mod oom;
mod ownership;
mod plan;
mod resources;
mod stats;
pub mod systemd;

pub use controllers::{Need, controllers_at, explain_type};
pub use devices::{Access, Devices, Instruction, Kind, Rule};
pub use directory::{CgroupDir, Record};
pub use ownership::{is_managed, plan_owner};
pub use plan::{
    Driver, Manager, Placement, delegation_remedy, delegation_remedy_for, missing_controller, plan,
    plan_devices, plan_limits,
};
pub use resources::{Current, IfMissing, Setting, Table};
pub use stats::{Stats, memory_events};
