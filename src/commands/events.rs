//! `hako events`: statistics of a container, and when it runs out of memory.

use super::Session;
use crate::cgroups::{CgroupDir, memory_events};
use crate::cli;
use crate::error::{Context, Error, Result};
use crate::state::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::io::{Read, Seek, Write};
use std::time::Instant;

/// Prints one JSON object a line: statistics at every interval, and `oom` when
/// the kernel has ended a process for want of memory. Ends with the container.
pub fn run(session: &Session, args: &cli::Events) -> Result<()> {
    let container = session.container(&args.id)?;
    if container.status() == Status::Stopped {
        return Err(Error::new(format!("container with id {} is not running", args.id)));
    }
    let cgroup = container.record.cgroup.open().map_err(|error| container.explain_cgroup(error))?;
    if args.stats {
        return print_stats(&args.id, &cgroup);
    }
    let mut memory = Watched::open(&cgroup, "memory.events").ok();
    let mut processes = Watched::open(&cgroup, "cgroup.events")?;
    let mut kills = memory.as_mut().map_or(0, Watched::kills);
    let mut next = Instant::now() + args.interval;
    loop {
        let mut waiting = vec![PollFd::new(&processes.file, PollFlags::PRI)];
        waiting.extend(memory.as_ref().map(|memory| PollFd::new(&memory.file, PollFlags::PRI)));
        let left = next.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("cannot wait for the container", errno)),
        }
        let now = memory.as_mut().map_or(0, Watched::kills);
        for _ in kills..now {
            print(&json!({ "type": "oom", "id": args.id }))?;
        }
        kills = now.max(kills);
        if !processes.read().lines().any(|line| line == "populated 1") {
            return Ok(());
        }
        if Instant::now() >= next {
            print_stats(&args.id, &cgroup)?;
            next = Instant::now() + args.interval;
        }
    }
}

/// A file whose changes raise POLLPRI.
struct Watched {
    file: std::fs::File,
}

impl Watched {
    fn open(cgroup: &CgroupDir, name: &str) -> Result<Self> {
        Ok(Self { file: cgroup.open_file(name)?.into() })
    }

    /// Its text; none when the cgroup is gone.
    fn read(&mut self) -> String {
        let mut text = String::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_string(&mut text));
        if read.is_ok() { text } else { String::new() }
    }

    fn kills(&mut self) -> u64 {
        memory_events(&self.read(), "oom_kill")
    }
}

fn print_stats(id: &str, cgroup: &CgroupDir) -> Result<()> {
    print(&json!({ "type": "stats", "id": id, "data": cgroup.stats()? }))
}

fn print(event: &Value) -> Result<()> {
    let mut output = std::io::stdout();
    let written = output.write_all(format!("{event}\n").as_bytes()).and_then(|()| output.flush());
    written.os(|| "cannot write to standard output")
}
