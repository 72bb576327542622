//! stub
use crate::error::{Context, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
/// x
pub struct Foreground {}
impl Foreground {
    /// x
    pub fn new(_s: bool) -> Result<Self> { Ok(Self {}) }
    /// x
    pub fn wait(self, _pid: i32, pidfd: BorrowedFd, _t: Option<OwnedFd>) -> Result<i32> {
        let s = rustix::process::waitid(rustix::process::WaitId::PidFd(pidfd), rustix::process::WaitIdOptions::EXITED).os(|| "wait")?;
        Ok(s.and_then(|s| s.exit_status().or(s.terminating_signal().map(|s| s + 128))).unwrap_or(0))
    }
}
