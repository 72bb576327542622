//! Names of signals, and their state at the start of a container process.

use nix::sys::signal::{SigSet, Signal};
use rustix::io::Errno;

/// Gives every signal in `ignored` (bit n - 1 is signal n) its default
/// disposition and unblocks all: nothing the caller had ignored or blocked
/// reaches the container. Handlers end with execve anyway.
pub fn reset_signals(ignored: u64) -> Result<(), Errno> {
    for signal in (1..=64).filter(|signal| ignored & (1 << (signal - 1)) != 0) {
        // The system call itself: libc keeps two signals from its callers.
        // SAFETY: an all-zero kernel sigaction means SIG_DFL on every
        // architecture, and no handler is installed. Refusals (KILL, STOP) are
        // for signals that cannot be ignored in the first place.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8,
            )
        };
    }
    SigSet::empty().thread_set_mask().map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// At least as large as any architecture's `struct sigaction`.
const DEFAULT: [u64; 8] = [0; 8];

/// As people know it: `SIGSEGV`.
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}
