//! Signals to and exit statuses of other processes.

use super::result;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends `signal`, real-time ones included, to the process behind `pidfd`
/// (pidfd_send_signal(2)).
///
/// # Errors
/// `ESRCH` when the process is gone, `EPERM` when it belongs to somebody else.
pub fn pidfd_send_signal(pidfd: BorrowedFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: a null siginfo makes the kernel fill it in as kill(2) does; the
    // other arguments are integers.
    result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// Waits until a child has ended, and has the kernel forget it (waitid(2)). Returns
/// how it ended.
///
/// # Errors
/// `ECHILD` when it is no child of this process, or was reaped already.
pub fn reap(pidfd: BorrowedFd) -> Result<WaitIdStatus, Errno> {
    let wait = || rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
    rustix::io::retry_on_intr(wait)?.ok_or(Errno::CHILD)
}

/// Gives SIGCHLD its default disposition. A caller that ignored it would make
/// the kernel reap our children itself, and their exit statuses would be lost.
pub(super) fn keep_exit_statuses() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: installs no handler, so no code of ours can run on a signal.
    unsafe { sigaction(Signal::SIGCHLD, &default) }.map(drop)
}
