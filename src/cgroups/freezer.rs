//! How: stopping all processes of a cgroup, and what is waited for
//! (cgroups(7); the kernel's cgroup-v2.rst, "cgroup.freeze").

use super::directory::is_gone;
use super::{CgroupDir, Driver, Record};
use crate::error::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Seek};

/// How long processes may take to stop or to end.
const TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

impl CgroupDir {
    /// Whether whoever enters it is stopped at once.
    pub fn is_frozen(&self) -> bool {
        self.read("cgroup.events").is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    }
}

impl Record {
    /// Opens the container's cgroup.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn open(&self) -> Result<CgroupDir> {
        if self.placement.driver == Driver::Disabled {
            return Err(Error::new("the container has no cgroup of its own"));
        }
        CgroupDir::open(&self.placement.directory())
    }

    /// Whether the container's processes are stopped.
    pub fn is_frozen(&self) -> bool {
        let Some(_) = &self.made else { return false };
        let file = self.placement.directory().join("cgroup.freeze");
        std::fs::read(file).is_ok_and(|text| text.starts_with(b"1"))
    }

    /// Stops all processes, and waits until they have stopped.
    ///
    /// # Errors
    /// A cgroup that hako did not make is never frozen. If the processes do not
    /// stop in time, they go on.
    pub fn freeze(&self) -> Result<()> {
        let cgroup = self.open()?;
        if self.made.is_none() {
            return Err(Error::new("the container has no cgroup that hako made")
                .hint("freezing another one could stop processes that are not the container's"));
        }
        let frozen = cgroup.switch("1");
        if frozen.is_err() {
            let _ = cgroup.switch("0");
        }
        frozen
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        match self.made {
            Some(_) => self.open()?.switch("0"),
            None => Ok(()),
        }
    }
}

impl CgroupDir {
    fn switch(&self, frozen: &str) -> Result<()> {
        self.write("cgroup.freeze", frozen).os(|| "cannot write cgroup.freeze")?;
        if self.await_event(&format!("frozen {frozen}"))? {
            return Ok(());
        }
        let what = if frozen == "1" { "stop" } else { "go on" };
        Err(Error::new(format!("processes in the cgroup do not {what}"))
            .hint("they are stuck in the kernel; see the stack files of the pids in cgroup.procs"))
    }

    /// Waits, not for ever, until cgroup.events has this line, or the cgroup is
    /// gone. Every change of the file raises POLLPRI.
    pub(super) fn await_event(&self, line: &str) -> Result<bool> {
        let message = || "cannot read cgroup.events";
        let mut events = match self.open_file("cgroup.events") {
            Err(error) if is_gone(error.errno) => return Ok(true),
            opened => File::from(opened?),
        };
        loop {
            let mut text = String::new();
            let read = events.rewind().and_then(|()| events.read_to_string(&mut text));
            if matches!(&read, Err(error) if is_gone(error.raw_os_error())) {
                return Ok(true);
            }
            read.os(message)?;
            if text.lines().any(|present| present == line) {
                return Ok(true);
            }
            match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&TIMEOUT)) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::os("cannot wait for cgroup.events", errno)),
            }
        }
    }
}
