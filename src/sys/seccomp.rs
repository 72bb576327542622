//! seccomp(2).

use super::result;
use rustix::io::Errno;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// One instruction of a filter: `struct sock_filter` of `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if a condition is true.
    pub jump_true: u8,
    /// Instructions to skip if it is false.
    pub jump_false: u8,
    /// Its operand.
    pub operand: u32,
}

/// Puts a filter over this process, for ever (`SECCOMP_SET_MODE_FILTER`).
/// Returns the listener if `flags` ask for one. Makes no other system call and
/// allocates nothing.
pub fn load_filter(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` describes a slice of instructions that have the layout
    // of sock_filter; the kernel only reads them.
    let returned = result(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::c_ulong::from(flags),
            &raw const program,
        )
    })?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 == 0 {
        return Ok(None);
    }
    // SAFETY: with that flag the call returns a new descriptor.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(returned as RawFd) }))
}
