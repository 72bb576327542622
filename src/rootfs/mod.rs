//! The container's file system: mounts, devices, masks, overlay, pivot.

mod apply;
mod copyup;
mod devices;
mod display;
mod mount;
mod mountinfo;
mod options;
mod overlay;
mod path;
mod plan;
mod plan_mount;
mod refused;

pub use apply::Workspace;
pub use devices::EMPTY_BOTH;
pub use mount::{Prepared, clone_tree};
pub use mountinfo::Mounted;
pub use options::names as mount_options;
pub use path::{Root, is_on};
pub use plan::{
    OVERLAY_ANNOTATION, OVERLAY_LOWER_ANNOTATION, Op, Overlay, OverlayRequest, RootSource, Tree,
    plan_entry, plan_tree,
};
pub use plan_mount::{Mount, MountKind};
