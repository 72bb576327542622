//! One hook: started, waited for, judged.

use super::ending::Ending;
use super::note::Note;
use super::{Hook, Site};
use crate::error::{Context, Error, Result};
use crate::process::{explain, ignored_signals};
use crate::protocol::{Message, Socket};
use crate::sys::{self, Clone3, Cloned, Execution};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitIdStatus};
use std::ffi::{CString, NulError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// How much of a hook's standard error is kept for the report: the end of it.
const TAIL: usize = 4096;

/// Runs a hook to its end, or to that which hako is asked for.
pub fn run(hook: &Hook, site: &Site, ending: Option<&Ending>) -> Result<()> {
    let path = hook.path.display();
    let input = state_file(site.state_json).os(|| format!("{path}: cannot store the state"))?;
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).os(|| format!("{path}: cannot make a pipe"))?;
    rustix::io::ioctl_fionbio(&reader, true).os(|| format!("{path}: cannot set up a pipe"))?;
    let null = null_device();
    let output = null.as_ref().map_or(writer.as_fd(), AsFd::as_fd);
    let started = Instant::now();
    let child = spawn(hook, site, [input.as_fd(), output, writer.as_fd()])?;
    drop((input, null, writer));
    let mut running = Running { child, reader: Some(reader), tail: Vec::new(), cut: false, ending };
    let end =
        running.wait(started, hook.timeout).os(|| format!("{path}: cannot learn how it ended"))?;
    running.judge(end, started.elapsed(), hook)
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

/// A hook that has been started. The note goes when the hook does.
struct Child<'a> {
    pid: Pid,
    pidfd: OwnedFd,
    _note: Option<Note<'a>>,
}

/// Starts the hook in a session of its own, with default signals and
/// nothing open but `stdio`; every other descriptor of ours closes on exec.
fn spawn<'a>(hook: &Hook, site: &Site<'a>, stdio: [BorrowedFd; 3]) -> Result<Child<'a>> {
    let shown = hook.path.display();
    let execution = lay_out(hook).map_err(|_| Error::new(format!("{shown}: NUL byte in it")))?;
    let (socket, told) = Socket::pair()?;
    let ignored = ignored_signals();
    let cloned = sys::clone3(&Clone3::default());
    match cloned.os(|| format!("{shown}: cannot make a process"))? {
        Cloned::Child => {
            drop(socket);
            let error = become_hook(&execution, hook, site, stdio, ignored, &told);
            told.send_failure(&error);
            sys::exit_now(1)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(told);
            let Some(pid) = Pid::from_raw(pid) else {
                return Err(Error::new(format!("{shown}: it has no pid")));
            };
            let go_on = || {
                let note = site.noted_in.map(|directory| Note::of(pid, directory)).transpose()?;
                socket.send(Message::Continue)?;
                socket.wait_for_execution()?;
                Ok(note)
            };
            match go_on() {
                Ok(note) => Ok(Child { pid, pidfd, _note: note }),
                Err(error) => {
                    // It waits for the word that has not been given.
                    drop(socket);
                    let _ = sys::reap(pidfd.as_fd());
                    Err(error)
                }
            }
        }
    }
}

fn lay_out(hook: &Hook) -> Result<Execution, NulError> {
    let strings = |list: &[String]| -> Result<Vec<CString>, NulError> {
        list.iter().map(|string| CString::new(string.as_str())).collect()
    };
    let path = CString::new(hook.path.as_os_str().as_bytes())?;
    Ok(Execution::new(path, strings(&hook.args)?, strings(&hook.env)?))
}

/// What the new process does. Returns only on failure.
fn become_hook(
    execution: &Execution,
    hook: &Hook,
    site: &Site,
    stdio: [BorrowedFd; 3],
    ignored: u64,
    told: &Socket,
) -> Error {
    let shown = hook.path.display();
    let prepare = || {
        // In a session without a terminal nothing stops for want of the foreground.
        rustix::process::setsid()?;
        rustix::stdio::dup2_stdin(stdio[0])?;
        rustix::stdio::dup2_stdout(stdio[1])?;
        rustix::stdio::dup2_stderr(stdio[2])?;
        sys::reset_signals(ignored)
    };
    let enter = || match rustix::process::chdir(site.directory) {
        // An engine may have removed the bundle, and hooks have to clean up behind it.
        Err(Errno::NOENT | Errno::NOTDIR) => rustix::process::chdir("/"),
        entered => entered,
    };
    // Init ends all of a pid namespace, but not of one that is not its own.
    if site.noted_in.is_none() && rustix::process::getppid() != Some(Pid::INIT) {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    }
    // Before anything is done that lasts, hako knows of this process, or is no more.
    let prepared = told
        .wait()
        .and_then(|()| prepare().os(|| format!("{shown}: cannot prepare to start it")))
        .and_then(|()| {
            enter().os(|| format!("{shown}: cannot enter directory {}", site.directory.display()))
        });
    match prepared {
        Ok(()) => explain(execution.execute().raw_os_error(), &hook.path, &shown.to_string()),
        Err(error) => error,
    }
}

/// A hook on its way.
struct Running<'a> {
    child: Child<'a>,
    /// Its standard error, until that ends.
    reader: Option<OwnedFd>,
    /// The last of what it said there.
    tail: Vec<u8>,
    /// Whether that is not all.
    cut: bool,
    /// Ask hako to end, and so the hook.
    ending: Option<&'a Ending>,
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

impl Running<'_> {
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
                    self.ending.into_iter().for_each(Ending::hear);
                    return Ok(End::Interrupted);
                }
                Event::Other => {}
            }
        }
    }

    /// Waits until something happens.
    fn poll(&self, left: Option<Duration>) -> Result<Event, Errno> {
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::new(&self.child.pidfd, PollFlags::IN)];
        fds.extend(self.ending.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(self.reader.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let happened = |index: usize| !fds[index].revents().is_empty();
        Ok(match () {
            () if happened(0) => Event::Ended,
            () if self.ending.is_some() && happened(1) => Event::Interrupted,
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
        let _ = rustix::process::kill_process_group(self.child.pid, Signal::KILL);
        // It may have left the group.
        let _ = rustix::process::pidfd_send_signal(&self.child.pidfd, Signal::KILL);
    }

    fn reap(&mut self) -> Result<WaitIdStatus, Errno> {
        let status = sys::reap(self.child.pidfd.as_fd())?;
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
                (None, Some(number)) => format!("killed by {} {elapsed}", sys::signal_name(number)),
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
