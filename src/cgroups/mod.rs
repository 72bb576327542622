//! The container's cgroup: where it is, making it, ending what is in it.

mod directory;
mod plan;

pub use directory::{CgroupDir, Record};
pub use plan::{Placement, plan};
