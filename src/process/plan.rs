//! What: the attributes of the container process, resolved.

use super::capabilities::{self, CapabilitySets};
use super::labels::{self, Attribute, Labels};
use super::schedule::{IoPriority, MemoryPolicy, Scheduler, plan_affinity};
use crate::config;
use crate::error::Error;
use crate::notify;
use crate::plan::{ChildOp, Compiler, ParentOp};
use crate::seccomp;
use oci_spec::runtime as oci;
use rustix::thread::CapabilitySet;
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

/// Execution domains of personality(2).
const PER_LINUX: u64 = 0x0000;
const PER_LINUX32: u64 = 0x0008;

/// Annotation that keeps the caller's supplementary groups.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// The mask a process gets when the configuration names none.
const DEFAULT_UMASK: u32 = 0o022;

/// Resolves `process`, collecting every fault.
pub fn plan_process(
    spec: &config::Spec,
    process: &config::Process,
    compiler: &mut Compiler,
) -> Process {
    let keep_groups = spec
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.get(KEEP_GROUPS).is_some_and(|value| value == "1"));
    let linux = spec.linux.as_ref();
    let args = process.args.clone().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        compiler.fault(Error::new("process.args names no program").at("/process/args"));
    }
    compiler.refuse_nul("/process/args", &args);
    let affinity = process.exec_cpu_affinity.as_ref();
    Process {
        args,
        env: plan_env(process, compiler),
        supervision: plan_supervision(compiler),
        cwd: plan_cwd(process, compiler),
        user: plan_user(&process.user, keep_groups, compiler),
        capabilities: capabilities::plan(process.capabilities.as_ref(), compiler),
        rlimits: plan_rlimits(process, compiler),
        no_new_privileges: process.no_new_privileges.unwrap_or(false),
        oom_score_adj: plan_oom_score_adj(process, compiler),
        scheduler: process.scheduler.as_ref().map(|scheduler| Scheduler::plan(scheduler, compiler)),
        io_priority: process
            .io_priority
            .as_ref()
            .map(|priority| IoPriority::plan(priority, compiler)),
        memory_policy: linux
            .and_then(|linux| linux.memory_policy().as_ref())
            .map(|policy| MemoryPolicy::plan(policy, compiler)),
        personality: linux
            .and_then(|linux| linux.personality().as_ref())
            .map(|personality| plan_personality(personality, compiler)),
        exec_cpu_affinity: (
            plan_affinity(affinity.and_then(|cpus| cpus.initial.as_deref()), "initial", compiler),
            plan_affinity(affinity.and_then(|cpus| cpus.last.as_deref()), "final", compiler),
        ),
        session_keyring: session_keyring(compiler),
        labels: labels::plan(process, compiler),
        seccomp: None,
        terminal: process.terminal.unwrap_or(false),
        console_size: plan_console_size(process, compiler),
    }
}

/// Without `process`, a container can be created, but not started (config.md).
pub fn plan_no_process(compiler: &mut Compiler) -> Process {
    if compiler.options.run {
        compiler.fault(Error::new("process is missing").at("/process"));
    }
    Process {
        args: Vec::new(),
        env: Vec::new(),
        supervision: Vec::new(),
        cwd: PathBuf::from("/"),
        user: User { uid: 0, gid: 0, additional_gids: Some(Vec::new()), umask: DEFAULT_UMASK },
        capabilities: CapabilitySets::default(),
        rlimits: Vec::new(),
        no_new_privileges: false,
        oom_score_adj: None,
        scheduler: None,
        io_priority: None,
        memory_policy: None,
        personality: None,
        exec_cpu_affinity: (None, None),
        session_keyring: session_keyring(compiler),
        labels: Labels::default(),
        seccomp: None,
        terminal: false,
        console_size: None,
    }
}

fn session_keyring(compiler: &Compiler) -> Option<String> {
    (!compiler.options.no_new_keyring).then(|| format!("_ses.{}", compiler.options.id))
}

fn plan_env(process: &config::Process, compiler: &mut Compiler) -> Vec<String> {
    let env = process.env.clone().unwrap_or_default();
    compiler.refuse_nul("/process/env", &env);
    for (index, variable) in env.iter().enumerate() {
        if variable.find('=').is_none_or(|position| position == 0) {
            compiler.fault(
                Error::new(format!("environment variable {variable:?} is not KEY=VALUE"))
                    .at(format!("/process/env/{index}")),
            );
        }
    }
    env
}

/// What systemd's sd_notify(3) and sd_listen_fds(3) look for.
fn plan_supervision(compiler: &Compiler) -> Vec<String> {
    let mut variables = Vec::new();
    if compiler.options.notify.is_some() {
        let (directory, socket) = (notify::MOUNT_POINT, notify::SOCKET);
        variables.push(format!("{}={directory}/{socket}", notify::VARIABLE));
    }
    if compiler.options.listen_fds > 0 {
        variables.push(format!("LISTEN_FDS={}", compiler.options.listen_fds));
        variables.push("LISTEN_PID=1".to_owned());
    }
    variables
}

fn plan_cwd(process: &config::Process, compiler: &mut Compiler) -> PathBuf {
    let cwd = &process.cwd;
    if !cwd.is_absolute() {
        let fault = match cwd.as_os_str().is_empty() {
            true => "process.cwd is missing".to_owned(),
            false => format!("process.cwd {:?} is not an absolute path", cwd.display()),
        };
        compiler.fault(Error::new(fault).at("/process/cwd"));
    }
    compiler.refuse_nul_at("/process/cwd", &cwd.to_string_lossy());
    cwd.clone()
}

fn plan_user(user: &oci::User, keep_groups: bool, compiler: &mut Compiler) -> User {
    let gids = user.additional_gids().clone().unwrap_or_default();
    // To the kernel, -1 means "leave unchanged": the process would start as root.
    let mut refuse = |id: u32, pointer: String| {
        if id == u32::MAX {
            compiler
                .fault(Error::new(format!("id {id} is not a valid user or group id")).at(pointer));
        }
    };
    refuse(user.uid(), "/process/user/uid".into());
    refuse(user.gid(), "/process/user/gid".into());
    for (index, gid) in gids.iter().enumerate() {
        refuse(*gid, format!("/process/user/additionalGids/{index}"));
    }
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        compiler
            .fault(Error::new(format!("umask {umask:#o} exceeds 0777")).at("/process/user/umask"));
    }
    User {
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: (!keep_groups).then_some(gids),
        umask,
    }
}

fn plan_rlimits(process: &config::Process, compiler: &mut Compiler) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for (index, limit) in process.rlimits.iter().flatten().enumerate() {
        let name = limit.typ().to_string();
        let pointer = format!("/process/rlimits/{index}");
        if limits.iter().any(|earlier| earlier.name == name) {
            compiler.fault(Error::new(format!("{name} is set twice")).at(pointer.clone()));
        }
        if limit.soft() > limit.hard() {
            compiler.fault(
                Error::new(format!(
                    "{name}: soft limit {} exceeds hard limit {}",
                    limit.soft(),
                    limit.hard()
                ))
                .at(pointer),
            );
        }
        limits.push(Rlimit {
            resource: resource(limit.typ()),
            name,
            soft: limit.soft(),
            hard: limit.hard(),
        });
    }
    limits
}

fn resource(kind: oci::PosixRlimitType) -> u32 {
    use oci::PosixRlimitType as Type;
    match kind {
        Type::RlimitCpu => libc::RLIMIT_CPU,
        Type::RlimitFsize => libc::RLIMIT_FSIZE,
        Type::RlimitData => libc::RLIMIT_DATA,
        Type::RlimitStack => libc::RLIMIT_STACK,
        Type::RlimitCore => libc::RLIMIT_CORE,
        Type::RlimitRss => libc::RLIMIT_RSS,
        Type::RlimitNproc => libc::RLIMIT_NPROC,
        Type::RlimitNofile => libc::RLIMIT_NOFILE,
        Type::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        Type::RlimitAs => libc::RLIMIT_AS,
        Type::RlimitLocks => libc::RLIMIT_LOCKS,
        Type::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        Type::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        Type::RlimitNice => libc::RLIMIT_NICE,
        Type::RlimitRtprio => libc::RLIMIT_RTPRIO,
        Type::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

fn plan_oom_score_adj(process: &config::Process, compiler: &mut Compiler) -> Option<i32> {
    let value = process.oom_score_adj?;
    if !(-1000..=1000).contains(&value) {
        compiler.fault(
            Error::new(format!("oomScoreAdj {value} is not between -1000 and 1000"))
                .at("/process/oomScoreAdj"),
        );
    }
    Some(value)
}

fn plan_personality(personality: &oci::LinuxPersonality, compiler: &mut Compiler) -> u64 {
    // The specification defines no flags so far.
    if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        compiler.fault(
            Error::new("personality flags are not defined by the specification")
                .at("/linux/personality/flags"),
        );
    }
    match personality.domain() {
        oci::LinuxPersonalityDomain::PerLinux => PER_LINUX,
        oci::LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }
}

fn plan_console_size(process: &config::Process, compiler: &mut Compiler) -> Option<(u16, u16)> {
    let size = process.console_size?;
    if !process.terminal.unwrap_or(false) {
        return None;
    }
    match (u16::try_from(size.width()), u16::try_from(size.height())) {
        (Ok(0), Ok(0)) => None,
        (Ok(width), Ok(height)) => Some((width, height)),
        _ => {
            compiler.fault(
                Error::new(format!("console size {}x{} is too large", size.width(), size.height()))
                    .at("/process/consoleSize"),
            );
            None
        }
    }
}

/// Init's first steps, while /proc is still the host's.
pub fn plan_early(process: &Process, compiler: &mut Compiler) {
    compiler.child(ChildOp::Process(Op::ResetSignals));
    let is_set = compiler.runtime_is_stronger
        || compiler
            .bridge
            .iter()
            .any(|step| matches!(step.op, ChildOp::Process(Op::OomScoreAdj(_))));
    if let Some(value) = process.oom_score_adj.filter(|_| !is_set) {
        compiler.child_at("/process/oomScoreAdj", ChildOp::Process(Op::OomScoreAdj(value)));
    }
}

/// In a user namespace of its own, init has lost the privileges that only the
/// initial one grants: the runtime sets these attributes in its place, when
/// init has nothing left to do that a low limit could hinder. Whether there
/// are any.
pub fn plan_by_parent(process: &Process, compiler: &mut Compiler) -> bool {
    if !compiler.runtime_is_stronger {
        return false;
    }
    if let Some(value) = process.oom_score_adj {
        compiler.parent_at("/process/oomScoreAdj", ParentOp::OomScoreAdj(value));
    }
    if !process.rlimits.is_empty() {
        compiler.parent_at("/process/rlimits", ParentOp::Rlimits(process.rlimits.clone()));
    }
    process.oom_score_adj.is_some() || !process.rlimits.is_empty()
}

/// Init's steps after the container's root has been entered, up to, but
/// without, the gate and execve.
pub fn plan_attributes(process: &Process, compiler: &mut Compiler) {
    let until_execve = capabilities_of_init(process, compiler);
    let by_init = !compiler.runtime_is_stronger;
    let mut step = |pointer: &str, op: Op| compiler.child_at(pointer, ChildOp::Process(op));
    if let Some(name) = &process.session_keyring {
        step("", Op::SessionKeyring(name.clone()));
    }
    if let Some(scheduler) = &process.scheduler {
        step("/process/scheduler", Op::Scheduler(scheduler.clone()));
    }
    if let Some(priority) = &process.io_priority {
        step("/process/ioPriority", Op::IoPriority(priority.clone()));
    }
    if let Some(policy) = &process.memory_policy {
        step("/linux/memoryPolicy", Op::MemoryPolicy(policy.clone()));
    }
    if let Some(persona) = process.personality {
        step("/linux/personality", Op::Personality(persona));
    }
    if by_init && !process.rlimits.is_empty() {
        step("/process/rlimits", Op::Rlimits(process.rlimits.clone()));
    }
    step("/process/cwd", Op::EnterCwd(process.cwd.clone()));
    step("/process/capabilities", Op::BoundingSet(process.capabilities));
    step("/process/user", Op::User(process.user.clone()));
    step("/process/capabilities", Op::Capabilities { sets: process.capabilities, until_execve });
    step("/process/cwd", Op::CheckCwd(process.cwd.clone()));
    step("/process/user/umask", Op::Umask(process.user.umask));
    if process.no_new_privileges {
        step("/process/noNewPrivileges", Op::NoNewPrivileges);
    }
    if !process.args.is_empty() {
        step("/process/args/0", Op::FindExecutable);
    }
}

/// Loading a filter takes CAP_SYS_ADMIN, unless no_new_privs is set.
fn capabilities_of_init(process: &Process, compiler: &Compiler) -> u64 {
    let filtered = process.seccomp.is_some() && !process.no_new_privileges;
    let needed = CapabilitySet::SYS_ADMIN.bits() & !process.capabilities.effective;
    if filtered { needed & compiler.grantable_capabilities() } else { 0 }
}
