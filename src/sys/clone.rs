//! clone3(2).

use super::result;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What to clone.
#[derive(Debug, Default)]
pub struct Clone3<'fd> {
    /// `CLONE_NEW*` and `CLONE_PARENT`.
    pub flags: u64,
    /// Place the child in this cgroup from its first instruction on.
    pub cgroup: Option<BorrowedFd<'fd>>,
}

/// Which side of the clone one is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The calling process, with the child's pid in the caller's pid namespace.
    Parent {
        /// Pid of the child.
        pid: i32,
        /// A descriptor for it, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Clones the calling process, copying its memory like fork(2).
///
/// # Errors
/// As clone3(2): `EPERM` without privilege for a namespace, `ENOSPC` past a
/// `/proc/sys/user/max_*_namespaces` limit, `EBUSY` for a cgroup that has
/// controllers enabled for its children.
pub fn clone3(request: &Clone3) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is plain old data for which all zeroes is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = request.flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    if request.flags & libc::CLONE_PARENT as u64 == 0 {
        // A sibling's end is announced like its sister's.
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = request.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: neither CLONE_VM nor a stack is requested, so the child runs on a
    // private copy of this memory; hako is single-threaded, so no lock is held
    // by a thread that does not exist in the child. `args` and `pidfd` outlive
    // the call.
    let pid = result(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor, owned by nobody else, in `pidfd`.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent { pid: pid as i32, pidfd })
}

/// Not in every libc's headers as an unsigned constant.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
