//! System calls that the standard library does not offer.

use std::ffi::CString;
use std::io;

/// Turns the C convention (-1 and errno) into a result.
pub fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A path or name for the kernel; text with a NUL byte is refused.
pub fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// `prctl(2)` with plain numbers.
pub fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<libc::c_long> {
    // SAFETY: only options that take and return numbers are used here.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into())
}

/// A `prctl(2)` that writes an int through its first argument.
pub fn prctl_get(option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    // SAFETY: the option writes one int, and `value` is one.
    check(unsafe { libc::prctl(option, &raw mut value, 0, 0, 0) }.into())?;
    Ok(value)
}

/// `lstat(2)` or `stat(2)`.
pub fn stat(path: &str, follow: bool) -> io::Result<libc::stat> {
    let path = c_string(path)?;
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: an all-zero stat is a valid value of that plain C structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with NUL and `stat` is writable for the whole call.
    let result = unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &raw mut stat, flags) };
    check(result.into())?;
    Ok(stat)
}

/// `fstat(2)`: what an open descriptor refers to.
pub fn fstat(fd: i32) -> io::Result<libc::stat> {
    // SAFETY: an all-zero stat is a valid value of that plain C structure.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is writable; a bad descriptor is reported as EBADF.
    check(unsafe { libc::fstat(fd, &raw mut stat) }.into())?;
    Ok(stat)
}

/// `statfs(2)`: file system type and size.
pub fn statfs(path: &str) -> io::Result<libc::statfs> {
    let path = c_string(path)?;
    // SAFETY: an all-zero statfs is a valid value of that plain C structure.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with NUL and `stat` is writable for the whole call.
    check(unsafe { libc::statfs(path.as_ptr(), &raw mut stat) }.into())?;
    Ok(stat)
}

/// The ST_ flags of the mount that holds a path.
pub fn mount_flags(path: &str) -> io::Result<libc::c_ulong> {
    let path = c_string(path)?;
    // SAFETY: an all-zero statvfs is a valid value of that plain C structure.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with NUL and `stat` is writable for the whole call.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) }.into())?;
    Ok(stat.f_flag)
}

/// Any system call by number, with up to six plain numbers as arguments.
pub fn syscall(number: libc::c_long, args: [libc::c_long; 6]) -> io::Result<libc::c_long> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the tests pass numbers only; a bad address comes back as EFAULT.
    check(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}
