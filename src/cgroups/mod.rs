//! The container's cgroup: where it is, making it, its limits, ending what is
//! in it.

mod controllers;
mod directory;
mod plan;
mod resources;

pub use controllers::Need;
pub use directory::{CgroupDir, Record};
pub use plan::{Placement, missing_controller, plan, plan_limits};
pub use resources::{Current, IfMissing, Property, PropertyValue, Setting, Table};
