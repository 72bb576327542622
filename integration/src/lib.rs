//! The harness of hako's black-box tests.
//!
//! A test makes a [`Runtime`] (a state directory, a cgroup and a mount
//! namespace of its own), takes a [`Bundle`] from it, edits the bundle's
//! config.json, runs it, and judges what the inspector saw inside. When the
//! last handle is dropped the harness verifies that nothing is left.

#![deny(missing_docs)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod agent;
mod binaries;
mod bundle;
mod command;
mod container;
mod holder;
mod host;
mod leftovers;
mod output;
mod rows;
mod runtime;
mod scratch;
mod seen;
mod terminal;
mod user;

pub use agent::{Agent, Asked, Told};
pub use binaries::{copy_program, make_executable};
pub use bundle::Bundle;
pub use command::{Command, Running, wait_until};
pub use container::{Container, Exit, reap};
pub use holder::Holder;
pub use host::{cgroup_dir, enter_private_network, has_controller, is_peer};
pub use output::Output;
pub use rows::each;
pub use runtime::Runtime;
pub use seen::{find_mount, in_set, mount_at};
pub use serde_json::{Value, json};
pub use terminal::{ConsoleSocket, Terminal};
pub use user::User;
