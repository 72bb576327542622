//! What: the attributes of the container process, and the steps that set them.

use super::capabilities::{self, CapabilitySets};
use super::labels::{Attribute, Labels};
use super::schedule::{IoPriority, MemoryPolicy, Scheduler};
use crate::seccomp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The container process with nothing left to decide. Saved with the
/// container's state: `exec` starts from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// `argv`
    pub args: Vec<String>,
    /// `KEY=VALUE` pairs, `HOME` not yet added.
    pub env: Vec<String>,
    /// More of them, about the service manager that started hako: for the
    /// container's first process alone.
    #[serde(skip)]
    pub supervision: Vec<String>,
    /// Absolute path in the container.
    pub cwd: PathBuf,
    /// Ids, groups, umask.
    pub user: User,
    /// The five sets.
    pub capabilities: CapabilitySets,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// `no_new_privs` attribute.
    pub no_new_privileges: bool,
    /// Written to `/proc/PID/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// sched_setattr(2)
    pub scheduler: Option<Scheduler>,
    /// ioprio_set(2)
    pub io_priority: Option<IoPriority>,
    /// set_mempolicy(2)
    pub memory_policy: Option<MemoryPolicy>,
    /// personality(2) persona.
    pub personality: Option<u64>,
    /// CPU lists of `execCPUAffinity`: before and after entering the cgroup.
    pub exec_cpu_affinity: (Option<String>, Option<String>),
    /// Name of the container's own session keyring.
    pub session_keyring: Option<String>,
    /// Labels of security modules.
    #[serde(default)]
    pub labels: Labels,
    /// How its filter of system calls is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<seccomp::Setup>,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Initial size of the terminal: columns, rows.
    pub console_size: Option<(u16, u16)>,
}

/// `process.user`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// Supplementary groups; `None` keeps the caller's.
    pub additional_gids: Option<Vec<u32>>,
    /// umask(2)
    pub umask: u32,
}

/// `process.rlimits`, one entry. See getrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` …
    pub name: String,
    /// The kernel's number of it.
    pub resource: u32,
    /// Soft limit; `u64::MAX` is no limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// A step in preparing and executing the process, done by init.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Write `/proc/self/oom_score_adj`.
    OomScoreAdj(i32),
    /// Write a label of a security module.
    Label(Attribute),
    /// Join a new session keyring of this name.
    SessionKeyring(String),
    /// sched_setattr(2)
    Scheduler(Scheduler),
    /// ioprio_set(2)
    IoPriority(IoPriority),
    /// set_mempolicy(2)
    MemoryPolicy(MemoryPolicy),
    /// personality(2)
    Personality(u64),
    /// setrlimit(2)
    Rlimits(Vec<Rlimit>),
    /// Run on these processors only, a list such as `0-3,7`; `None` is all
    /// that the cgroup has.
    Affinity(Option<String>),
    /// Reset dispositions and the mask of signals.
    ResetSignals,
    /// prctl(2) `PR_SET_NO_NEW_PRIVS`
    NoNewPrivileges,
    /// Lower the capability bounding set to this.
    BoundingSet(CapabilitySets),
    /// setgroups(2), setresgid(2), setresuid(2), keeping capabilities.
    User(User),
    /// capset(2) and the ambient set. `until_execve` is a mask of further
    /// capabilities that init needs until execve(2), which looks neither at
    /// permitted nor at effective ones, takes them away.
    Capabilities {
        /// What the configuration says.
        sets: CapabilitySets,
        /// What init needs.
        until_execve: u64,
    },
    /// chdir(2), with the privileges of the runtime; where those do not reach
    /// (a file system of another machine), the user's own are tried later.
    EnterCwd(PathBuf),
    /// Check that the working directory is in the container.
    CheckCwd(PathBuf),
    /// umask(2)
    Umask(u32),
    /// Find the program, so that a missing one is reported by `create`.
    FindExecutable,
    /// execve(2)
    Execute,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::OomScoreAdj(value) => write!(f, "oom_score_adj {value}"),
            Op::Label(attribute) => attribute.fmt(f),
            Op::SessionKeyring(name) => write!(f, "join session keyring {name}"),
            Op::Scheduler(scheduler) => write!(f, "scheduler {scheduler}"),
            Op::IoPriority(priority) => write!(f, "I/O priority {priority}"),
            Op::MemoryPolicy(policy) => write!(f, "memory policy {policy}"),
            Op::Personality(persona) => write!(f, "personality {persona:#x}"),
            Op::Rlimits(limits) => write!(f, "rlimits {}", rlimit_list(limits)),
            Op::Affinity(Some(list)) => write!(f, "run on processors {list}"),
            Op::Affinity(None) => f.write_str("run on all processors of the cgroup"),
            Op::ResetSignals => f.write_str("reset signals"),
            Op::NoNewPrivileges => f.write_str("no_new_privs"),
            Op::BoundingSet(sets) => {
                write!(f, "capability bounding set {}", capabilities::names(sets.bounding))
            }
            Op::User(user) => write!(f, "user {user}"),
            Op::Capabilities { sets, until_execve: 0 } => write!(f, "capabilities {sets}"),
            Op::Capabilities { sets, until_execve } => {
                let more = capabilities::names(*until_execve);
                write!(f, "capabilities {sets}, until execve also [{more}]")
            }
            Op::EnterCwd(path) => write!(f, "change directory to {}", path.display()),
            Op::CheckCwd(_) => f.write_str("check that the working directory is in the container"),
            Op::Umask(mask) => write!(f, "umask {mask:04o}"),
            Op::FindExecutable => f.write_str("find the program"),
            Op::Execute => f.write_str("execute the program"),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)?;
        match &self.additional_gids {
            None => f.write_str(", keeping supplementary groups"),
            Some(gids) if gids.is_empty() => Ok(()),
            Some(gids) => write!(f, " groups {gids:?}"),
        }
    }
}

/// `RLIMIT_NOFILE 1024:4096, …`
pub fn rlimit_list(limits: &[Rlimit]) -> String {
    let shown = |value: u64| match value {
        u64::MAX => "unlimited".to_owned(),
        value => value.to_string(),
    };
    let limits: Vec<_> = limits
        .iter()
        .map(|limit| format!("{} {}:{}", limit.name, shown(limit.soft), shown(limit.hard)))
        .collect();
    limits.join(", ")
}
