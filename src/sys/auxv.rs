//! getauxval(3).

use std::ffi::CStr;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// The descriptor that this process was executed from, if that was done by
/// descriptor and left it open: the kernel then names the program `/dev/fd/N`
/// (`AT_EXECFN`).
///
/// To be called once, before hako opens anything itself.
pub fn executed_descriptor() -> Option<OwnedFd> {
    // SAFETY: takes an integer.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return None;
    }
    // SAFETY: the kernel put a C string there that lives as long as the process.
    let name = unsafe { CStr::from_ptr(name) };
    let number: RawFd = name.to_str().ok()?.strip_prefix("/dev/fd/")?.parse().ok()?;
    // SAFETY: takes integers only.
    let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    // SAFETY: open (just checked) since before main, and nothing else in this
    // process claims descriptors it did not open itself.
    is_open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this process was executed as root (`AT_EUID`), without a system call.
pub fn is_executed_by_root() -> bool {
    // SAFETY: takes an integer.
    unsafe { libc::getauxval(libc::AT_EUID) == 0 }
}
