//! The container process: its attributes and its execution.

mod apply;
mod attributes;
mod capabilities;
mod diagnose;
mod elf;
mod exec;
mod labels;
mod plan;
mod schedule;

pub use apply::{
    Preparation, denies_setgroups, ignored_signals, set_groups, set_oom_score_adj, set_rlimits,
};
pub use attributes::{Op, Process, Rlimit, User, rlimit_list};
pub use capabilities::{CapabilitySets, capability_names, own_permitted};
pub use diagnose::{explain, find_executable};
pub use exec::{Changes, plan_changed, plan_described};
pub use labels::{plan_labels, plan_selinux};
pub use plan::{
    KEEP_GROUPS, plan_attributes, plan_by_parent, plan_early, plan_no_process, plan_process,
};
pub use schedule::{MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES};
