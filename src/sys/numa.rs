//! set_mempolicy(2).

use super::result;
use rustix::io::Errno;

/// Sets the NUMA memory policy of the calling thread. `nodes` is a bit mask,
/// lowest node in the lowest bit of the first word.
pub fn set_mempolicy(mode: i32, nodes: &[libc::c_ulong]) -> Result<(), Errno> {
    let bits = nodes.len() * libc::c_ulong::BITS as usize;
    let (mask, maximum) = if nodes.is_empty() {
        (std::ptr::null(), 0)
    } else {
        // The kernel reads `maximum - 1` bits.
        (nodes.as_ptr(), bits + 1)
    };
    // SAFETY: `mask` is null, or points to `bits` bits that outlive the call.
    result(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, maximum) }).map(drop)
}
