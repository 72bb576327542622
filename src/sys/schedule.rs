//! sched_setattr(2) and ioprio_set(2).

use super::result;
use rustix::io::Errno;

/// The kernel's `struct sched_attr`, first published size.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct SchedulerAttributes {
    /// Size of this structure; set by [`sched_setattr`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Static priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub period: u64,
    /// Utilisation clamp, 0 to 1024.
    pub util_min: u32,
    /// Utilisation clamp, 0 to 1024.
    pub util_max: u32,
}

/// Sets the scheduling policy of the calling thread.
pub fn sched_setattr(attributes: &SchedulerAttributes) -> Result<(), Errno> {
    let sized = SchedulerAttributes {
        size: std::mem::size_of::<SchedulerAttributes>() as u32,
        ..*attributes
    };
    // SAFETY: `sized` has the kernel's layout and its own size in it.
    result(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const sized, 0) }).map(drop)
}

/// Sets the I/O scheduling class (1 real time, 2 best effort, 3 idle) and
/// priority (0 to 7) of the calling thread.
pub fn ioprio_set(class: u32, priority: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let value = (class << IOPRIO_CLASS_SHIFT) | priority;
    // SAFETY: takes integers only.
    result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) }).map(drop)
}

/// Restricts the calling thread to the processors of a bit mask
/// (sched_setaffinity(2)). Those that do not exist are ignored.
///
/// # Errors
/// `EINVAL` if none of them is there, or the cgroup has none of them.
pub fn sched_setaffinity(mask: &[libc::c_ulong]) -> Result<(), Errno> {
    // SAFETY: `mask` outlives the call, and its length in bytes is given.
    result(unsafe {
        libc::syscall(libc::SYS_sched_setaffinity, 0, std::mem::size_of_val(mask), mask.as_ptr())
    })
    .map(drop)
}
