//! Which hook runs, for when hako is killed meanwhile.

use crate::error::{Context, Result};
use crate::unique_pid::UniquePid;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::os::fd::BorrowedFd;

/// The note's name in the state directory.
pub const NAME: &str = "hook";

/// A note of a hook. It goes with its owner, who has waited for the hook.
#[derive(Debug)]
pub struct Note<'d>(BorrowedFd<'d>);

impl<'d> Note<'d> {
    /// Notes a process that exists.
    pub fn of(pid: Pid, directory: BorrowedFd<'d>) -> Result<Self> {
        let process = UniquePid::identify(pid.as_raw_pid())?;
        let noted = match process.note(directory, NAME) {
            // Of one that has ended, and whose hako was killed.
            Err(Errno::EXIST) => {
                forget(directory);
                process.note(directory, NAME)
            }
            noted => noted,
        };
        noted.os(|| "cannot note the hook")?;
        Ok(Self(directory))
    }
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        forget(self.0);
    }
}

fn forget(directory: BorrowedFd) {
    let _ = rustix::fs::unlinkat(directory, NAME, AtFlags::empty());
}

/// Ends the hook that a note in `directory` tells of, with its process group. One
/// that has ended by itself has left behind what it wanted to.
pub fn end_noted(directory: BorrowedFd) -> Result<()> {
    // The group of 1 would be everybody (kill(2)).
    let noted = UniquePid::noted(directory, NAME).filter(|hook| hook.pid > 1);
    let Some(hook) = noted else { return Ok(()) };
    if let Some(pidfd) = hook.open()? {
        if let Some(group) = Pid::from_raw(hook.pid) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    }
    forget(directory);
    Ok(())
}
