//! What the standard library lacks: waiting with a limit, signals, and namespaces.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, wait};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

/// Waits until a descriptor can be read, or is at its end. A pidfd can be read when its process
/// has ended.
pub fn readable_within(fd: impl AsFd, limit: Duration) -> bool {
    any_readable_within(&[fd.as_fd()], limit)
}

/// Waits until one of several descriptors can be read.
fn any_readable_within(fds: &[BorrowedFd], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut fds: Vec<PollFd> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return false };
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// Waits for a child process; `None` when it has not ended in time.
pub fn ended_within(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    if readable_within(&pidfd, limit) { child.wait().map(Some) } else { Ok(None) }
}

/// The signals that ask a program to end.
const ENDING: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Signals that ask this program to end, as something to wait for instead of its sudden end.
#[derive(Debug)]
pub struct Interrupts(OwnedFd);

impl Interrupts {
    /// Takes the signals from now on, in this thread and in those that it starts. The programs that
    /// they start inherit it, until they [`stop_taking_interrupts`]. What `nohup` ignores stays ignored.
    pub fn take() -> io::Result<Self> {
        let set = signal_set(ENDING.into_iter().filter(|signal| !is_ignored(*signal)));
        // SAFETY: it reads a valid set; the old one is not asked for.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, null_mut()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: it reads a valid set, and makes a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Whether one has arrived that nobody has asked for with [`Self::signal`].
    pub fn arrived(&self) -> bool {
        readable_within(&self.0, Duration::ZERO)
    }

    /// The number of the signal that has arrived.
    pub fn signal(&self) -> Option<u8> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        rustix::io::read(&self.0, &mut info).ok()?;
        // It begins with the number, which is small.
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        number.try_into().ok()
    }

    /// Waits for a child process; `None` when it has not ended in time, or before a signal.
    pub fn or_end(&self, child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
        let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        any_readable_within(&[pidfd.as_fd(), self.0.as_fd()], limit);
        child.try_wait()
    }
}

/// Lets the signals that [`Interrupts::take`] took in a parent process do again what they do.
pub fn stop_taking_interrupts() {
    let set = signal_set(ENDING.into_iter());
    // SAFETY: it reads a valid set; the old one is not asked for. The arguments cannot be wrong.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, null_mut()) };
}

fn signal_set(signals: impl Iterator<Item = libc::c_int>) -> libc::sigset_t {
    // SAFETY: a set is plain numbers, and sigemptyset makes a valid one of any.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        signals.for_each(|signal| {
            libc::sigaddset(&raw mut set, signal);
        });
        set
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: an action is plain numbers; without a new one it is only asked for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It has ended, and somebody else knows how.
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal(signal) => write!(out, "signal {signal}"),
            Self::Unknown => out.write_str("an unknown end"),
        }
    }
}

/// Waits for a process that became a child of this one when its parent ended, and reaps it. Others
/// that end are reaped as well: an init is not gone before all of its pid namespace are.
pub fn orphan_ended_within(pid: Pid, limit: Duration) -> Option<Exit> {
    const SLICE: Duration = Duration::from_millis(20);
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Some(Exit::Unknown) };
    let deadline = Instant::now() + limit;
    loop {
        let ended = readable_within(&pidfd, SLICE);
        while let Ok(Some((child, status))) = wait(WaitOptions::NOHANG) {
            if child == pid {
                let code = status.exit_status().map(Exit::Code);
                let exit = code.or(status.terminating_signal().map(Exit::Signal));
                return Some(exit.unwrap_or(Exit::Unknown));
            }
        }
        if ended {
            return Some(Exit::Unknown);
        }
        if Instant::now() > deadline {
            return None;
        }
    }
}

/// Reaps every child that has ended already.
pub fn reap_all() {
    while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
}

/// Leaves namespaces of this process for new ones.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags in use here are those of namespaces. They leave the memory and the
    // descriptors of the process as they are.
    Ok(unsafe { unshare_unsafe(flags) }?)
}
