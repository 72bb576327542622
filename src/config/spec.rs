//! The outermost objects of `config.json`; what they hold is oci-spec's.
//!
//! oci-spec's own outermost types check `execCPUAffinity` with a regular
//! expression, whose engine would be a sixth of hako, require `user`, and take
//! apart the sections of other platforms.

use oci_spec::runtime::{
    Box as ConsoleSize, Hooks, Linux, LinuxCapabilities, LinuxIOPriority, Mount, PosixRlimit, Root,
    Scheduler, User,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::path::PathBuf;

/// `config.json` (config.md), without the sections of other platforms.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification it was written for.
    #[serde(default)]
    pub oci_version: String,
    /// The container's root file system.
    pub root: Option<Root>,
    /// Further mounts, in their order.
    pub mounts: Option<Vec<Mount>>,
    /// The container's process; `start` requires it.
    pub process: Option<Process>,
    /// Its name in its UTS namespace.
    pub hostname: Option<String>,
    /// The NIS domain in its UTS namespace.
    pub domainname: Option<String>,
    /// Programs to run at points of the lifecycle.
    pub hooks: Option<Hooks>,
    /// Free-form metadata.
    pub annotations: Option<HashMap<String, String>>,
    /// Everything that only Linux has; present after [`super::parse`].
    pub linux: Option<Linux>,
    #[serde(rename = "solaris")]
    _solaris: Option<IgnoredAny>,
    #[serde(rename = "windows")]
    _windows: Option<IgnoredAny>,
    #[serde(rename = "vm")]
    _vm: Option<IgnoredAny>,
    #[serde(rename = "zos")]
    _zos: Option<IgnoredAny>,
}

/// `process` (config.md, "Process"): a container's first, or one of `exec`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a terminal.
    pub terminal: Option<bool>,
    /// The terminal's size, in characters.
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as: root, unless told otherwise.
    #[serde(default)]
    pub user: User,
    /// The program and its arguments.
    pub args: Option<Vec<String>>,
    /// Its environment, `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Its working directory, an absolute path in the container.
    #[serde(default)]
    pub cwd: PathBuf,
    /// Its five sets of capabilities.
    pub capabilities: Option<LinuxCapabilities>,
    /// Its resource limits (setrlimit(2)).
    pub rlimits: Option<Vec<PosixRlimit>>,
    /// Whether execve(2) may give it privileges.
    pub no_new_privileges: Option<bool>,
    /// Its AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// Its SELinux label.
    pub selinux_label: Option<String>,
    /// How soon the OOM killer takes it, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Its scheduling policy (sched_setattr(2)).
    pub scheduler: Option<Scheduler>,
    /// Its I/O priority (ioprio_set(2)).
    pub io_priority: Option<LinuxIOPriority>,
    /// The processors of processes that `exec` adds.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
    #[serde(rename = "commandLine")]
    _command_line: Option<IgnoredAny>,
}

/// Lists of processors such as `0-3,7`.
#[derive(Debug, Deserialize)]
pub struct ExecCpuAffinity {
    /// Before it enters the container's cgroup.
    pub initial: Option<String>,
    /// After that.
    #[serde(rename = "final")]
    pub last: Option<String>,
}
