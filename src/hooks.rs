//! Hooks: programs of the container's owner that run at the turning points of
//! its life, with its state on their standard input.

use crate::error::{Context, Error, Result};
use crate::plan::Compiler;
use crate::process::explain;
use crate::sys;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_spec::runtime::{Hook as SpecHook, Hooks as SpecHooks};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitIdStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much of a hook's standard error is kept for the report: the end of it.
const TAIL: usize = 4096;

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Deprecated form of `CreateRuntime`, and before it.
    Prestart,
    /// On the host, when the namespaces exist, before the root is changed.
    CreateRuntime,
    /// In the container's namespaces, before the root is changed.
    CreateContainer,
    /// In the container, before its program is executed.
    StartContainer,
    /// On the host, after the container's program was executed.
    Poststart,
    /// On the host, after the container was deleted.
    Poststop,
}

impl Kind {
    /// Every kind, in the order in which they run.
    pub const ALL: [Kind; 6] = [
        Kind::Prestart,
        Kind::CreateRuntime,
        Kind::CreateContainer,
        Kind::StartContainer,
        Kind::Poststart,
        Kind::Poststop,
    ];

    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Prestart => "prestart",
            Kind::CreateRuntime => "createRuntime",
            Kind::CreateContainer => "createContainer",
            Kind::StartContainer => "startContainer",
            Kind::Poststart => "poststart",
            Kind::Poststop => "poststop",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Absolute path, in the mount namespace and under the root it runs with.
    pub path: PathBuf,
    /// Its arguments, `argv[0]` included.
    pub args: Vec<String>,
    /// Its whole environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// After how many seconds it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// All hooks of a container, in the order in which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hooks(BTreeMap<Kind, Vec<Hook>>);

impl Hooks {
    /// The hooks of one kind.
    pub fn of(&self, kind: Kind) -> &[Hook] {
        self.0.get(&kind).map_or(&[], Vec::as_slice)
    }
}

/// Resolves the `hooks` of a configuration; faults go to `compiler`.
pub fn plan(spec_hooks: Option<&SpecHooks>, compiler: &mut Compiler) -> Hooks {
    resolve(spec_hooks, &mut |fault| compiler.fault(fault))
}

fn resolve(spec_hooks: Option<&SpecHooks>, fault: &mut impl FnMut(Error)) -> Hooks {
    let Some(spec) = spec_hooks else {
        return Hooks::default();
    };
    let all = [
        (Kind::Prestart, spec.prestart()),
        (Kind::CreateRuntime, spec.create_runtime()),
        (Kind::CreateContainer, spec.create_container()),
        (Kind::StartContainer, spec.start_container()),
        (Kind::Poststart, spec.poststart()),
        (Kind::Poststop, spec.poststop()),
    ];
    let mut hooks = BTreeMap::new();
    for (kind, list) in all {
        let list = list.iter().flatten().enumerate();
        let resolved: Vec<Hook> = list
            .map(|(index, hook)| resolve_one(hook, &format!("/hooks/{kind}/{index}"), fault))
            .collect();
        if !resolved.is_empty() {
            hooks.insert(kind, resolved);
        }
    }
    Hooks(hooks)
}

fn resolve_one(hook: &SpecHook, pointer: &str, fault: &mut impl FnMut(Error)) -> Hook {
    let mut blame = |what: String, key: &str| {
        fault(Error::new(what).at(format!("{pointer}/{key}")));
    };
    let path = hook.path().clone();
    let shown = path.to_string_lossy().into_owned();
    if !path.is_absolute() {
        blame(format!("hook path {shown:?} is not absolute"), "path");
    }
    if shown.contains('\0') {
        blame(format!("hook path {shown:?} contains a NUL byte"), "path");
    }
    let mut args = hook.args().clone().unwrap_or_default();
    let env = hook.env().clone().unwrap_or_default();
    for (key, list) in [("args", &args), ("env", &env)] {
        for (index, value) in list.iter().enumerate() {
            let key = format!("{key}/{index}");
            if value.contains('\0') {
                blame(format!("{value:?} contains a NUL byte"), &key);
            }
            if key.starts_with("env") && value.find('=').unwrap_or(0) == 0 {
                blame(format!("{value:?} is not NAME=VALUE"), &key);
            }
        }
    }
    if args.is_empty() {
        args.push(shown);
    }
    let timeout = hook.timeout().and_then(|seconds| {
        let valid = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        if valid.is_none() {
            blame(
                format!("hook timeout {seconds} is not a number of seconds from 1 to {}", u32::MAX),
                "timeout",
            );
        }
        valid
    });
    Hook { path, args, env, timeout }
}

/// Runs the hooks of one kind, one after the other, and stops at the first
/// that fails. `state_json` is the container's state; the hooks start in
/// `directory`: on the host that is the bundle, in the container `/`.
///
/// # Errors
/// `error running createRuntime hook #0: PATH: exit status 3 after 12 ms, stderr: "…"`
pub fn run(hooks: &Hooks, kind: Kind, state_json: &[u8], directory: &Path) -> Result<()> {
    let signals = match hooks.of(kind) {
        [] => None,
        _ => ending_signals(),
    };
    outcomes(hooks, kind, state_json, directory, signals.as_ref()).collect()
}

/// Those that ask hako to end. They are seen here where they are blocked, as by
/// `run`, and left for whoever waits for them.
fn ending_signals() -> Option<SignalFd> {
    let mut set = SigSet::empty();
    set.add(nix::sys::signal::Signal::SIGINT);
    set.add(nix::sys::signal::Signal::SIGTERM);
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok()
}

/// Runs all hooks of one kind, whichever of them fail, and returns the failures:
/// of a `poststop` hook they are no more than warnings.
pub fn run_all_warn(hooks: &Hooks, kind: Kind, state_json: &[u8], directory: &Path) -> Vec<Error> {
    outcomes(hooks, kind, state_json, directory, None).filter_map(Result::err).collect()
}

/// Runs one hook for each item that is asked for.
fn outcomes(
    hooks: &Hooks,
    kind: Kind,
    state_json: &[u8],
    directory: &Path,
    signals: Option<&SignalFd>,
) -> impl Iterator<Item = Result<()>> {
    let list = hooks.of(kind).iter().enumerate();
    list.map(move |(index, hook)| {
        run_one(hook, state_json, directory, signals).map_err(|error| {
            error
                .at(format!("/hooks/{kind}/{index}"))
                .within(format!("error running {kind} hook #{index}"))
        })
    })
}

fn run_one(
    hook: &Hook,
    state_json: &[u8],
    directory: &Path,
    signals: Option<&SignalFd>,
) -> Result<()> {
    let path = hook.path.display();
    let input = state_file(state_json).os(|| format!("{path}: cannot store the state"))?;
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).os(|| format!("{path}: cannot make a pipe"))?;
    rustix::io::ioctl_fionbio(&reader, true).os(|| format!("{path}: cannot set up a pipe"))?;
    let null = null_device();
    let output = null.as_ref().map_or(writer.as_fd(), AsFd::as_fd);
    let started = Instant::now();
    let pid = spawn(hook, directory, [input.as_fd(), output, writer.as_fd()])?;
    drop((input, null, writer));
    Running::new(pid, reader, signals)
        .and_then(|mut running| {
            let end = running.wait(started, hook.timeout)?;
            Ok(running.judge(end, started.elapsed(), hook))
        })
        .os(|| format!("{path}: cannot learn how it ended"))?
}

/// A file with the state in it. Not a pipe: a hook need not read it.
fn state_file(state_json: &[u8]) -> Result<OwnedFd, Errno> {
    let create = |flags| rustix::fs::memfd_create("state", MemfdFlags::CLOEXEC | flags);
    // Hosts may insist on the flag, kernels before 6.3 do not know it.
    let file = match create(MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => create(MemfdFlags::empty())?,
        other => other?,
    };
    let mut rest = state_json;
    while !rest.is_empty() {
        let written = rustix::io::pwrite(&file, rest, (state_json.len() - rest.len()) as u64)?;
        rest = &rest[written..];
    }
    Ok(file)
}

/// `/dev/null`, if it is what it is called: inside a container anything may be.
fn null_device() -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open("/dev/null", flags | OFlags::NOCTTY, Mode::empty()).ok()?;
    let status = rustix::fs::fstat(&file).ok()?;
    let genuine = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice
        && status.st_rdev == rustix::fs::makedev(1, 3);
    genuine.then_some(file)
}

/// Starts the hook in a process group of its own, with default signals and
/// nothing open but `stdio`; every other descriptor of ours closes on exec.
fn spawn(hook: &Hook, directory: &Path, stdio: [BorrowedFd; 3]) -> Result<Pid> {
    let shown = hook.path.display();
    let strings = |list: &[String]| list.iter().map(|s| CString::new(s.as_str())).collect();
    let [args, env]: [Result<Vec<CString>, NulError>; 2] =
        [strings(&hook.args), strings(&hook.env)];
    let (Ok(path), Ok(args), Ok(env)) = (CString::new(hook.path.as_os_str().as_bytes()), args, env)
    else {
        return Err(Error::new(format!("{shown}: NUL byte in its arguments")));
    };
    let prepare = || {
        sys::keep_exit_statuses()?;
        let mut actions = PosixSpawnFileActions::init()?;
        for (number, fd) in stdio.iter().enumerate() {
            actions.add_dup2(fd.as_raw_fd(), number as i32)?;
        }
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
        attributes.set_sigdefault(&SigSet::all())?;
        attributes.set_sigmask(&SigSet::empty())?;
        Ok::<_, nix::errno::Errno>((actions, attributes))
    };
    let (actions, attributes) = prepare().os(|| format!("{shown}: cannot prepare to start it"))?;
    // In a new user namespace the caller's directory may be closed to us. Then
    // nothing relative to it is left to do either.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let here = rustix::fs::open(".", flags, Mode::empty()).ok();
    rustix::process::chdir(directory)
        .os(|| format!("{shown}: cannot enter directory {}", directory.display()))?;
    let spawned = posix_spawn(path.as_c_str(), &actions, &attributes, &args, &env);
    if let Some(here) = here {
        rustix::process::fchdir(here).os(|| "cannot return to the working directory")?;
    }
    let pid = spawned.map_err(|errno| explain(errno as i32, &hook.path, &shown.to_string()))?;
    Pid::from_raw(pid.as_raw()).ok_or_else(|| Error::new(format!("{shown}: it has no pid")))
}

/// A hook on its way.
struct Running<'a> {
    pid: Pid,
    pidfd: OwnedFd,
    /// Its standard error, until that ends.
    reader: Option<OwnedFd>,
    /// The last of what it said there.
    tail: Vec<u8>,
    /// Whether that is not all.
    cut: bool,
    /// Ask hako to end, and so the hook.
    signals: Option<&'a SignalFd>,
}

/// How a hook ended.
enum End {
    Itself(WaitIdStatus),
    TimedOut(u32),
    Interrupted,
}

/// What a hook is waited for until.
#[derive(PartialEq, Eq)]
enum Event {
    Ended,
    Interrupted,
    Other,
}

impl<'a> Running<'a> {
    fn new(pid: Pid, reader: OwnedFd, signals: Option<&'a SignalFd>) -> Result<Self, Errno> {
        let opened = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        if opened.is_err() {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        Ok(Self {
            pid,
            pidfd: opened?,
            reader: Some(reader),
            tail: Vec::new(),
            cut: false,
            signals,
        })
    }

    /// Waits for the hook, not for what it left running, and reads what it
    /// says meanwhile, so that it never waits for us.
    fn wait(&mut self, started: Instant, timeout: Option<u32>) -> Result<End, Errno> {
        let limit = timeout.map(|seconds| Duration::from_secs(seconds.into()));
        loop {
            let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
            if left == Some(Duration::ZERO) {
                self.kill();
                self.reap()?;
                return Ok(End::TimedOut(timeout.unwrap_or(0)));
            }
            let event = self.poll(left)?;
            self.read();
            match event {
                Event::Ended => return self.reap().map(End::Itself),
                Event::Interrupted => {
                    self.kill();
                    self.reap()?;
                    return Ok(End::Interrupted);
                }
                Event::Other => {}
            }
        }
    }

    /// Waits until something happens.
    fn poll(&self, left: Option<Duration>) -> Result<Event, Errno> {
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        fds.extend(self.signals.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.reader.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let happened = |index: usize| !fds[index].revents().is_empty();
        Ok(match () {
            () if happened(0) => Event::Ended,
            () if self.signals.is_some() && happened(1) => Event::Interrupted,
            () => Event::Other,
        })
    }

    /// Reads what is there, and no more than a pipe holds: a process that the
    /// hook left behind may go on writing for ever.
    fn read(&mut self) {
        let mut buffer = [0; TAIL];
        for _ in 0..16 {
            let Some(reader) = &self.reader else { return };
            match rustix::io::read(reader, &mut buffer) {
                Ok(0) => self.reader = None,
                Ok(count) => self.tail.extend_from_slice(&buffer[..count]),
                Err(_) => return,
            }
            let excess = self.tail.len().saturating_sub(TAIL);
            self.cut |= excess > 0;
            self.tail.drain(..excess);
        }
    }

    /// Ends the hook and its process group. It is not reaped yet, so the
    /// number of the group is still its own.
    fn kill(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        // It may have left the group.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    fn reap(&mut self) -> Result<WaitIdStatus, Errno> {
        let status = sys::reap(self.pidfd.as_fd())?;
        self.read();
        Ok(status)
    }

    fn judge(&self, end: End, elapsed: Duration, hook: &Hook) -> Result<()> {
        let elapsed = format!("after {} ms", elapsed.as_millis());
        let verdict = match end {
            End::Interrupted => format!("killed {elapsed}: hako was told to end"),
            End::TimedOut(limit) => format!("killed {elapsed}: its timeout is {limit} s"),
            End::Itself(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(0), _) => return Ok(()),
                (Some(code), _) => format!("exit status {code} {elapsed}"),
                (None, Some(number)) => format!("killed by {} {elapsed}", signal_name(number)),
                (None, None) => format!("ended in an unknown way {elapsed}"),
            },
        };
        let mut message = format!("{}: {verdict}", hook.path.display());
        let said = String::from_utf8_lossy(&self.tail);
        if !said.trim_end().is_empty() {
            let dots = if self.cut { "…" } else { "" };
            let said = format!("{dots}{}", said.trim_end());
            message = format!("{message}, stderr: {said:?}");
        }
        Err(Error::new(message))
    }
}

/// `SIGSEGV`
fn signal_name(number: i32) -> String {
    nix::sys::signal::Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

#[cfg(test)]
mod tests;
