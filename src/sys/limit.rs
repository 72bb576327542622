//! prlimit(2) by the kernel's numbers, which are what state files hold.

use super::result;
use rustix::io::Errno;
use rustix::process::Pid;

/// Sets a resource limit of a process; `None` is this one.
pub fn prlimit(pid: Option<Pid>, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: `limit` outlives the call, and no old value is asked for.
    result(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    })
    .map(drop)
}
