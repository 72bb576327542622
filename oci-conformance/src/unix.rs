//! What the standard library lacks: waiting with a limit, and namespaces.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, wait};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Waits until a descriptor can be read, or is at its end. A pidfd can be read when its process
/// has ended.
pub fn readable_within(fd: impl AsFd, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
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
