//! ioctl_ns(2), the loopback interface, setdomainname(2).

use super::result;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The `CLONE_NEW*` flag of the namespace behind `fd` (`NS_GET_NSTYPE`).
///
/// # Errors
/// `ENOTTY` when `fd` is no namespace.
pub fn namespace_type(fd: BorrowedFd) -> Result<u64, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this ioctl takes no argument.
    let kind = result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) }.into())?;
    Ok(kind as u64)
}

/// The user namespace that the namespace behind `fd` belongs to (`NS_GET_USERNS`).
///
/// # Errors
/// `EPERM` when that is neither the caller's own nor one below it.
pub fn owning_user_namespace(fd: BorrowedFd) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: this ioctl takes no argument.
    let owner = result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_USERNS as _) }.into())?;
    // SAFETY: the kernel has just made this descriptor for the caller.
    Ok(unsafe { OwnedFd::from_raw_fd(owner as i32) })
}

/// Brings the network interface `name` of the current network namespace up
/// (netdevice(7), `SIOCSIFFLAGS`).
pub fn interface_up(socket: BorrowedFd, name: &str) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain old data for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let space = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..space].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: `request` is a valid ifreq that outlives the call.
    result(
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) }
            .into(),
    )
    .map(drop)
}

/// Sets the NIS domain name of the current UTS namespace.
pub fn set_domainname(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: pointer and length describe `name`.
    result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}
