//! The container's cgroup: where it is, making it, its limits, ending what is
//! in it.

mod controllers;
mod devices;
mod directory;
mod plan;
mod resources;
pub mod systemd;

pub use controllers::Need;
pub use devices::{Access, Devices, Kind, Rule};
pub use directory::{CgroupDir, Record};
pub use plan::{Driver, Manager, Placement, missing_controller, plan, plan_devices, plan_limits};
pub use resources::{Current, IfMissing, Setting, Table};
