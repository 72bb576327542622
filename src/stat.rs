//! What the kernel says of a process (`/proc/PID/stat`).

use procfs::FromRead;
use procfs::process::Stat;
use rustix::fs::{Mode, OFlags};

/// When a process ended that [`is_unexecuted`].
pub const UNEXECUTED: &str = "before it executed the program";

/// Set by clone(2); execve(2) clears it before it closes descriptors.
const PF_FORKNOEXEC: u32 = 0x40;

/// Whether a process, also one that has ended, never executed a program since
/// it was cloned. Unknown, so not, when nothing is left of it.
pub fn is_unexecuted(pid: i32) -> bool {
    of(pid).is_some_and(|stat| has_never_executed(&stat))
}

/// The same of one that has been looked at.
pub fn has_never_executed(stat: &Stat) -> bool {
    stat.flags & PF_FORKNOEXEC != 0
}

/// All of it; `None` when there is no such process.
pub fn of(pid: i32) -> Option<Stat> {
    let mut buffer = [0; 1024];
    let path = format!("/proc/{pid}/stat");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let length = rustix::io::read(file, &mut buffer).ok()?;
    Stat::from_read(&buffer[..length]).ok()
}
