//! A process by its pid and its start time.

use crate::error::{Error, Result};
use crate::stat;
use procfs::process::Stat;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::ParseIntError;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::str::FromStr;

/// Identifies a process across reuse of its pid. As text: both numbers, with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UniquePid {
    /// In the pid namespace hako was in.
    pub pid: i32,
    /// In clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

impl fmt::Display for UniquePid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pid, self.start_time)
    }
}

impl FromStr for UniquePid {
    type Err = ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseIntError> {
        let (pid, start_time) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { pid: pid.parse()?, start_time: start_time.parse()? })
    }
}

impl UniquePid {
    /// Identifies a process that is known to exist.
    pub fn identify(pid: i32) -> Result<Self> {
        let stat = stat::of(pid).ok_or_else(|| Error::new(format!("process {pid} is gone")))?;
        Ok(Self { pid, start_time: stat.starttime })
    }

    /// Notes the process in a directory: a link of that name, which leads nowhere.
    ///
    /// # Errors
    /// `EEXIST` when one is noted there.
    pub fn note(&self, directory: BorrowedFd, name: &str) -> Result<(), Errno> {
        rustix::fs::symlinkat(self.to_string(), directory, name)
    }

    /// The process that is noted there.
    pub fn noted(directory: BorrowedFd, name: &str) -> Option<Self> {
        let target = rustix::fs::readlinkat(directory, name, Vec::new()).ok()?;
        target.to_str().ok()?.parse().ok()
    }

    /// Whether this very process still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        self.stat().is_some()
    }

    /// What the kernel says of it, as long as it runs.
    pub fn stat(&self) -> Option<Stat> {
        stat::of(self.pid).filter(|stat| {
            stat.starttime == self.start_time && !matches!(stat.state, 'Z' | 'X' | 'x')
        })
    }

    /// Pids of every process in its pid namespace.
    pub fn neighbours(&self) -> Vec<i32> {
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = namespace(self.pid).filter(|_| self.is_alive()) else { return Vec::new() };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| namespace(*pid).as_ref() == Some(&own)).collect()
    }

    /// A descriptor for this very process; `None` if it has ended.
    pub fn open(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            // Checked after opening: the descriptor cannot change its process.
            Ok(fd) => Ok(self.is_alive().then_some(fd)),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => Err(Error::os(format!("cannot open process {}", self.pid), errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let pid = std::process::id() as i32;
        let own = UniquePid::identify(pid).unwrap();
        assert!(own.is_alive());
        assert_eq!(own.to_string().parse(), Ok(own));
        assert!(!UniquePid { start_time: own.start_time + 1, ..own }.is_alive());
    }
}
