//! Signal state at the start of a container process.

use nix::sys::signal::SigSet;
use rustix::io::Errno;

/// Gives every signal in `ignored` (bit n - 1 is signal n) its default
/// disposition and unblocks all: neither Rust's ignored SIGPIPE nor anything
/// the caller had reaches the container. Handlers end with execve anyway.
pub fn reset_signals(ignored: u64) -> Result<(), Errno> {
    for signal in (1..=64).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
        // Refused for signals that cannot be ignored and those that libc keeps
        // to itself: they need no reset.
        // SAFETY: installs no handler, so no code of ours can run on a signal.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    SigSet::empty().thread_set_mask().map_err(|errno| Errno::from_raw_os_error(errno as i32))
}
