//! keyctl(2).

use super::result;
use rustix::io::Errno;
use std::ffi::CStr;

/// Leaves the caller's session keyring for the one of this name, which is made
/// if there is none (`KEYCTL_JOIN_SESSION_KEYRING`). Other processes of its
/// owner may search it, and so join it by its name (`KEYCTL_SETPERM`).
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    const KEYCTL_SETPERM: libc::c_int = 5;
    /// Everything to who possesses it; to its owner to view, read, search, link.
    const PERMISSIONS: libc::c_ulong = 0x3f1b_0000;
    let join = |name: *const libc::c_char| {
        // SAFETY: a name is a C string that outlives the call, or null for none.
        result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) })
    };
    let keyring = match join(name.as_ptr())? {
        // It is the caller's: of an outer container of this name.
        0 => join(std::ptr::null())?,
        keyring => keyring,
    };
    // SAFETY: numbers only.
    result(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, keyring, PERMISSIONS) })
        .map(drop)
}
