//! Placing containers with systemd.
//!
//! systemd makes the cgroup, as a transient scope, and moves init into it;
//! hako asks for that and checks it. What is in the cgroup then (files without
//! a property, devices, freezing, ending) is the same as without systemd.

mod address;
mod annotation;
mod bus;
mod manager;
mod plan;
mod scope;
mod unit;
mod value;
mod wire;

pub use address::Instance;
pub use annotation::PREFIX as PROPERTY_ANNOTATION;
pub use plan::{plan, plan_attachment};
pub use scope::{Facts, Scope, is_booted};
pub use unit::Unit;
pub use value::{Property, Value};
