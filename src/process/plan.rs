//! What: those attributes resolved, and the order of their steps.

use super::attributes::{Op, Process, Rlimit, User};
use super::capabilities::{self, CapabilitySets};
use super::labels::{self, Labels};
use super::schedule::{IoPriority, MemoryPolicy, Scheduler, plan_affinity};
use crate::config;
use crate::error::Error;
use crate::notify;
use crate::plan::{ChildOp, Compiler, ParentOp};
use oci_spec::runtime as oci;
use rustix::thread::CapabilitySet;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Execution domains of personality(2).
const PER_LINUX: u64 = 0x0000;
const PER_LINUX32: u64 = 0x0008;

/// `NGROUPS_MAX`
const MOST_GROUPS: usize = 65536;

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
    last_of_each(&env)
}

/// Of variables with one name the last is left: in which order they are looked
/// through differs from one program to the next.
fn last_of_each(env: &[String]) -> Vec<String> {
    let mut names = BTreeSet::new();
    let named = env.iter().rev().map(|variable| (variable.split('=').next(), variable));
    let mut kept: Vec<String> = named
        .filter(|(name, _)| names.insert(*name))
        .map(|(_, variable)| variable.clone())
        .collect();
    kept.reverse();
    kept
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
    if gids.len() > MOST_GROUPS {
        let message = format!("{} groups: the kernel takes {MOST_GROUPS} at most", gids.len());
        compiler.fault(Error::new(message).at("/process/user/additionalGids"));
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
