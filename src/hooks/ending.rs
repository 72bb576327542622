//! Signals that ask hako to end while hooks run.

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

/// Hears SIGINT and SIGTERM, which it holds back: a hook is to end with hako, and what
/// is half made is to be taken back before.
pub struct Ending {
    signals: SignalFd,
    before: SigSet,
    heard: Cell<bool>,
}

impl Ending {
    /// Begins to hold them back; `None` where that is impossible.
    pub fn listen() -> Option<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&set, flags).ok()?;
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        Some(Self { signals, before, heard: Cell::new(false) })
    }

    /// One has come: hako ends by itself now. It is left for whoever else waits for it.
    pub fn hear(&self) {
        self.heard.set(true);
    }

    /// None that has come counts.
    pub fn forget(&self) {
        while matches!(self.signals.read_signal(), Ok(Some(_))) {}
        self.heard.set(false);
    }
}

impl AsFd for Ending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.heard.get() {
            let _ = self.before.thread_set_mask();
        }
    }
}
