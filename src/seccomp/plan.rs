//! What: the profile, with every default filled in.

use super::agent::Agent;
use super::architecture;
use crate::config::Spec;
use crate::error::Error;
use crate::plan::Compiler;
use libseccomp::ScmpSyscall;
use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// `linux.seccomp`, as far as it decides what the filter does. All of it is
/// in the key under which a compiled filter is cached.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Architectures that this machine's kernel can run, its own first.
    pub architectures: Vec<oci::Arch>,
    /// What happens to calls that no rule is about.
    pub default: Action,
    /// What happens to others.
    pub rules: Vec<Rule>,
    /// Calls that are newer than all in the profile are not known (`ENOSYS`),
    /// instead of refused: programs then try an older one.
    pub newer_unknown: bool,
}

/// How a filter is loaded: what `exec` has to know besides the filter itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// Flags of seccomp(2).
    pub flags: Flags,
    /// Who decides about calls with [`Action::Notify`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
}

/// Flags of seccomp(2), as the kernel takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub u32);

/// Some system calls, and what happens to them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Names of the calls.
    pub names: Vec<String>,
    /// What happens to them.
    pub action: Action,
    /// If all of these hold. One call's arguments are compared once at most.
    pub conditions: Vec<Condition>,
}

/// What the kernel does with a system call, mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Executes it.
    Allow,
    /// Executes it and notes it in the audit log.
    Log,
    /// Tells a tracer, with this number; without one, `ENOSYS`.
    Trace(u16),
    /// Asks the agent.
    Notify,
    /// Returns this error number.
    Errno(u16),
    /// Sends `SIGSYS`.
    Trap,
    /// Kills the thread.
    KillThread,
    /// Kills the process.
    KillProcess,
}

/// A comparison of an argument with a number, both of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u32,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: u64,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    /// argument ≠ value
    NotEqual,
    /// argument < value
    Less,
    /// argument ≤ value
    LessOrEqual,
    /// argument = value
    Equal,
    /// argument ≥ value
    GreaterOrEqual,
    /// argument > value
    Greater,
    /// argument & mask = value
    MaskedEqual(u64),
}

/// A step of init.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Load the filter: from here on it decides.
    Load(Flags),
    /// Let the runtime take the listener.
    HandOver,
}

/// Annotation with which a profile that names unknown calls is a fault.
pub const FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";

/// Highest error number that a system call can return (`MAX_ERRNO`).
const HIGHEST_ERRNO: u32 = 4095;
const EPERM: u16 = libc::EPERM as u16;
const ENOSYS: u16 = libc::ENOSYS as u16;

const TSYNC: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC as u32;
const LOG: u32 = libc::SECCOMP_FILTER_FLAG_LOG as u32;
const SPEC_ALLOW: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
const TSYNC_ESRCH: u32 = libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32;
const WAIT_KILLABLE_RECV: u32 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;

/// Refuses calls that libseccomp does not know, where the annotation asks for that.
pub fn plan_strictness(spec: &Spec, profile: &Profile, compiler: &mut Compiler) {
    let value = spec.annotations.as_ref().and_then(|annotations| annotations.get(FAIL_UNKNOWN));
    if value.is_none_or(|value| value == "0") {
        return;
    }
    for name in profile.unknown_names() {
        compiler.fault(
            Error::new(format!("there is no system call {name:?}"))
                .at("/linux/seccomp/syscalls")
                .hint(format!("without the annotation {FAIL_UNKNOWN} it is ignored")),
        );
    }
}

/// Resolves `linux.seccomp`, collecting every fault.
pub fn plan(seccomp: &oci::LinuxSeccomp, compiler: &mut Compiler) -> (Profile, Setup) {
    let default = plan_action(
        seccomp.default_action(),
        seccomp.default_errno_ret(),
        "/linux/seccomp/defaultErrnoRet",
        compiler,
    );
    if default == Action::Notify {
        compiler.fault(
            Error::new("SCMP_ACT_NOTIFY cannot be the default action: the agent would have to allow the runtime's own calls to reach it")
                .at("/linux/seccomp/defaultAction"),
        );
    }
    let mut rules = Vec::new();
    for (index, syscall) in seccomp.syscalls().iter().flatten().enumerate() {
        let pointer = format!("/linux/seccomp/syscalls/{index}");
        plan_rule(syscall, &pointer, &mut rules, compiler);
    }
    let agent = plan_agent(seccomp, &rules, compiler);
    let profile = Profile {
        architectures: plan_architectures(seccomp, compiler),
        default,
        rules,
        newer_unknown: default.refuses() && default != Action::Errno(ENOSYS),
    };
    (profile, Setup { flags: plan_flags(seccomp, agent.is_some()), agent })
}

fn plan_action(
    action: oci::LinuxSeccompAction,
    errno: Option<u32>,
    pointer: &str,
    compiler: &mut Compiler,
) -> Action {
    use oci::LinuxSeccompAction as A;
    let highest = match action {
        A::ScmpActErrno => Some(HIGHEST_ERRNO),
        A::ScmpActTrace => Some(u32::from(u16::MAX)),
        _ => None,
    };
    match (errno, highest) {
        (Some(_), None) => compiler.fault(
            Error::new(format!("{action} takes no error number"))
                .at(pointer)
                .hint("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"),
        ),
        (Some(errno), Some(highest)) if errno > highest => compiler.fault(
            Error::new(format!("{errno} is no error number: the highest is {highest}")).at(pointer),
        ),
        _ => {}
    }
    let number = errno.and_then(|errno| u16::try_from(errno).ok()).unwrap_or(EPERM);
    match action {
        A::ScmpActKill | A::ScmpActKillThread => Action::KillThread,
        A::ScmpActKillProcess => Action::KillProcess,
        A::ScmpActTrap => Action::Trap,
        A::ScmpActErrno => Action::Errno(number),
        A::ScmpActNotify => Action::Notify,
        A::ScmpActTrace => Action::Trace(number),
        A::ScmpActLog => Action::Log,
        A::ScmpActAllow => Action::Allow,
    }
}

fn plan_rule(
    syscall: &oci::LinuxSyscall,
    pointer: &str,
    rules: &mut Vec<Rule>,
    compiler: &mut Compiler,
) {
    let names = syscall.names().clone();
    if names.is_empty() {
        compiler.fault(Error::new("names no system call").at(format!("{pointer}/names")));
    }
    compiler.refuse_nul(&format!("{pointer}/names"), &names);
    let errno = format!("{pointer}/errnoRet");
    let action = plan_action(syscall.action(), syscall.errno_ret(), &errno, compiler);
    if action == Action::Notify && names.iter().any(|name| name == "write") {
        compiler.fault(
            Error::new(
                "SCMP_ACT_NOTIFY cannot be used for write: the runtime needs it to reach the agent",
            )
            .at(format!("{pointer}/action")),
        );
    }
    let conditions: Vec<_> = syscall
        .args()
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, arg)| plan_condition(arg, &format!("{pointer}/args/{index}"), compiler))
        .collect();
    let mut seen = BTreeSet::new();
    let repeated = conditions.iter().any(|condition| !seen.insert(condition.argument));
    if repeated {
        // Engines write it so, and all runtimes understand: any of them.
        for condition in conditions {
            rules.push(Rule { names: names.clone(), action, conditions: vec![condition] });
        }
    } else {
        rules.push(Rule { names, action, conditions });
    }
}

fn plan_condition(arg: &oci::LinuxSeccompArg, pointer: &str, compiler: &mut Compiler) -> Condition {
    use oci::LinuxSeccompOperator as O;
    if arg.index() > 5 {
        compiler.fault(
            Error::new(format!("a system call has arguments 0 to 5, not {}", arg.index()))
                .at(format!("{pointer}/index")),
        );
    }
    let (operator, value) = match arg.op() {
        O::ScmpCmpNe => (Operator::NotEqual, arg.value()),
        O::ScmpCmpLt => (Operator::Less, arg.value()),
        O::ScmpCmpLe => (Operator::LessOrEqual, arg.value()),
        O::ScmpCmpEq => (Operator::Equal, arg.value()),
        O::ScmpCmpGe => (Operator::GreaterOrEqual, arg.value()),
        O::ScmpCmpGt => (Operator::Greater, arg.value()),
        O::ScmpCmpMaskedEq => {
            (Operator::MaskedEqual(arg.value()), arg.value_two().unwrap_or_default())
        }
    };
    Condition { argument: arg.index() as u32, operator, value }
}

fn plan_agent(
    seccomp: &oci::LinuxSeccomp,
    rules: &[Rule],
    compiler: &mut Compiler,
) -> Option<Agent> {
    let path = seccomp.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = seccomp.listener_metadata().clone().filter(|metadata| !metadata.is_empty());
    if path.is_none() && metadata.is_some() {
        compiler.fault(
            Error::new("listenerMetadata is for an agent at listenerPath, which is not set")
                .at("/linux/seccomp/listenerMetadata"),
        );
    }
    if !rules.iter().any(|rule| rule.action == Action::Notify) {
        // The specification has the path ignored then.
        return None;
    }
    let Some(path) = path else {
        compiler.fault(
            Error::new("SCMP_ACT_NOTIFY needs an agent at listenerPath, which is not set")
                .at("/linux/seccomp/listenerPath"),
        );
        return None;
    };
    compiler.refuse_nul_at("/linux/seccomp/listenerPath", &path.to_string_lossy());
    if !path.is_absolute() {
        compiler.fault(
            Error::new(format!("listenerPath {} is not absolute", path.display()))
                .at("/linux/seccomp/listenerPath"),
        );
    }
    Some(Agent { path: path.clone(), metadata })
}

/// Processes of other architectures than this machine's cannot exist here, so
/// no filter has to know their calls.
fn plan_architectures(seccomp: &oci::LinuxSeccomp, compiler: &Compiler) -> Vec<oci::Arch> {
    let native = compiler.host.architecture();
    let mut architectures = vec![native];
    for arch in seccomp.architectures().iter().flatten().copied() {
        if !architectures.contains(&arch) && architecture::can_run(native, arch) {
            architectures.push(arch);
        }
    }
    architectures
}

fn plan_flags(seccomp: &oci::LinuxSeccomp, listener: bool) -> Flags {
    use oci::LinuxSeccompFilterFlag as F;
    let mut flags = 0;
    for flag in seccomp.flags().iter().flatten() {
        flags |= match flag {
            F::SeccompFilterFlagTsync => TSYNC,
            F::SeccompFilterFlagLog => LOG,
            F::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            // The kernel refuses it where nothing is to be received.
            F::SeccompFilterFlagWaitKillableRecv if listener => WAIT_KILLABLE_RECV,
            F::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    if listener {
        flags |= NEW_LISTENER;
        if flags & TSYNC != 0 {
            // One return value cannot be a descriptor and a thread's id.
            flags |= TSYNC_ESRCH;
        }
    }
    Flags(flags)
}

impl Action {
    /// Whether the call is not made, and nobody can decide otherwise.
    pub fn refuses(self) -> bool {
        matches!(self, Action::Errno(_) | Action::Trap | Action::KillThread | Action::KillProcess)
    }

    /// What the filter returns for it (`linux/seccomp.h`).
    pub fn value(self) -> u32 {
        match self {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Log => libc::SECCOMP_RET_LOG,
            Action::Trace(number) => libc::SECCOMP_RET_TRACE | u32::from(number),
            Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Action::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
            Action::Trap => libc::SECCOMP_RET_TRAP,
            Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

impl Profile {
    /// What happens to calls that are newer than all in the profile.
    pub const NEWER: Action = Action::Errno(ENOSYS);

    /// Names that libseccomp does not know: they are newer than it, or wrong.
    fn unknown_names(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let names = self.rules.iter().flat_map(|rule| &rule.names).map(String::as_str);
        names.filter(|name| ScmpSyscall::from_name(name).is_err() && seen.insert(*name)).collect()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Allow => f.write_str("allow"),
            Action::Log => f.write_str("log"),
            Action::Trace(number) => write!(f, "trace {number}"),
            Action::Notify => f.write_str("notify"),
            Action::Errno(number) => write!(f, "errno {number}"),
            Action::Trap => f.write_str("trap"),
            Action::KillThread => f.write_str("kill thread"),
            Action::KillProcess => f.write_str("kill process"),
        }
    }
}

impl fmt::Display for Profile {
    /// `errno 1, but 364 calls by 13 rules; newer calls: errno 38; for x86_64, x86, x32`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: usize = self.rules.iter().map(|rule| rule.names.len()).sum();
        write!(f, "{}, but {names} calls by {} rules", self.default, self.rules.len())?;
        if self.newer_unknown {
            write!(f, "; newer calls {}", Self::NEWER)?;
        }
        let architectures: Vec<String> =
            self.architectures.iter().map(|arch| architecture::short_name(*arch)).collect();
        write!(f, "; for {}", architectures.join(", "))?;
        match self.unknown_names()[..] {
            [] => Ok(()),
            ref unknown => write!(f, "; ignored as unknown: {}", unknown.join(", ")),
        }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u32, &str); 6] = [
            (TSYNC, "tsync"),
            (LOG, "log"),
            (SPEC_ALLOW, "spec-allow"),
            (NEW_LISTENER, "new-listener"),
            (TSYNC_ESRCH, "tsync-esrch"),
            (WAIT_KILLABLE_RECV, "wait-killable-recv"),
        ];
        let names: Vec<&str> =
            NAMES.into_iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| name).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Load(Flags(0)) => f.write_str("load the seccomp filter"),
            Op::Load(flags) => write!(f, "load the seccomp filter: {flags}"),
            Op::HandOver => f.write_str("-> Listener, <- Continue"),
        }
    }
}
