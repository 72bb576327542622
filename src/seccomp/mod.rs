//! Which system calls a container may make: `linux.seccomp` (seccomp(2)).
//!
//! [`Profile`] is what the configuration means. The runtime turns it into a
//! [`Filter`], a program of the kernel's, before the clone, or takes one that
//! it made before from the cache. Init loads it with one system call, after
//! which it makes one more: execve.

mod agent;
mod architecture;
mod assembler;
mod cache;
mod calls;
mod compile;
mod filter;
mod generate;
mod plan;
mod program;
mod vocabulary;

pub use agent::{Agent, Connection, Subject};
pub use architecture::native;
pub use compile::compile;
pub use filter::{Filter, NAME as FILTER};
pub use plan::{
    Action, Condition, FAIL_UNKNOWN, Flags, Op, Operator, Profile, Rule, Setup, plan,
    plan_strictness,
};
pub use program::Program;
pub use vocabulary::{ACTIONS, FLAGS, OPERATORS, architectures};

/// Version of the libseccomp that is linked in: `2.5.4`.
pub fn library_version() -> String {
    libseccomp::ScmpVersion::current().map_or_else(
        |_| "unknown".to_owned(),
        |version| format!("{}.{}.{}", version.major, version.minor, version.micro),
    )
}

#[cfg(test)]
mod tests;
