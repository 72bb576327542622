//! hako (箱): an OCI low-level runtime.
//!
//! The way through the code is the way of a container: [`config`] reads the
//! bundle, [`plan`] decides everything, [`spawn`] clones, [`init`] walks the
//! plan inside, [`state`] remembers. `docs/architecture.md` tells the story.

#![deny(unsafe_code)]
#![warn(missing_docs)]
// They panic where nobody listens.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod cgroups;
pub mod cli;
pub mod commands;
pub mod config;
pub mod criu;
pub mod error;
pub mod fault;
pub mod foreground;
pub mod gate;
pub mod hooks;
pub mod host;
pub mod init;
pub mod namespaces;
pub mod notify;
pub mod plan;
pub mod process;
pub mod protocol;
pub mod report;
pub mod resctrl;
pub mod rootfs;
pub mod seal;
pub mod seccomp;
pub mod spawn;
pub mod stat;
pub mod state;
#[allow(unsafe_code)]
pub mod sys;
pub mod terminal;
pub mod unique_pid;
pub mod user;
pub mod weaken;

/// Version of the runtime specification that is implemented.
pub const SPEC_VERSION: &str = "1.3.0";
