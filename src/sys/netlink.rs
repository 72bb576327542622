//! netlink(7) socket options.

use super::result;
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Asks the kernel to explain its refusals on `socket` in words
/// (`NETLINK_EXT_ACK`).
pub fn netlink_explain(socket: BorrowedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is the integer `on`, which outlives the call.
    result(
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_EXT_ACK,
                (&raw const on).cast(),
                std::mem::size_of_val(&on) as libc::socklen_t,
            )
        }
        .into(),
    )
    .map(drop)
}
