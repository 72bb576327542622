//! Checkpoint and restore, which criu does (criu(8)): what it is told about a
//! container, and how.
//!
//! criu writes down a tree of processes with their namespaces and mounts, and
//! makes them again. What is not the container's own, it has to be told:
//! [`Outside`] remembers it, and `mounts` finds where it is.

mod images;
mod mounts;
mod outside;
mod readonly;
mod root;
pub mod rpc;
mod stdio;
mod wire;
mod worker;

pub use images::Images;
pub use mounts::{Mount, mounts_of, mounts_of_plan};
pub use outside::{Outside, obstacle_to_restore};
pub use readonly::{hide_in as hide_readonly_root, make_root_readonly};
pub use root::RootMount;
pub use stdio::Stdio;
pub use wire::Message;
pub use worker::{Launch, Worker, find};

use crate::namespaces::Kind;

/// How criu calls an external namespace of this kind, in an image and when it
/// gets it back; `None` where it has no word for one.
pub fn external_namespace(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::Network => Some(("net", "extRootNetNS")),
        Kind::Pid => Some(("pid", "extRootPidNS")),
        _ => None,
    }
}
