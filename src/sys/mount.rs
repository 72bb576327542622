//! mount_setattr(2).

use super::result;
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Changes to make to a mount. Zero and `None` mean "leave as it is".
#[derive(Debug, Default, Clone, Copy)]
pub struct MountAttributes<'fd> {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
    /// Map file ownership through this user namespace.
    pub idmap: Option<BorrowedFd<'fd>>,
}

/// Changes the mount behind `fd`, and with `recursive` every mount below it.
///
/// # Errors
/// As mount_setattr(2): `EINVAL` for a file system that cannot be idmapped or a
/// mount already idmapped, `EPERM` for an attribute locked by an outer user
/// namespace.
pub fn mount_setattr(
    fd: BorrowedFd,
    path: &CStr,
    recursive: bool,
    change: &MountAttributes,
) -> Result<(), Errno> {
    let mut attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    if let Some(namespace) = change.idmap {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = namespace.as_raw_fd() as u64;
    }
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` and `attr` outlive the call; the size is that of `attr`.
    result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
