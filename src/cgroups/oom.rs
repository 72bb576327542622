//! How: what the kernel did to a container that needs more memory than it has.

use super::{CgroupDir, Driver, Record, memory_events};
use crate::error::Error;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What init and its preparation of the container take in KiB, rounded up: a
/// little of hako's own memory, page tables, and what the kernel keeps of
/// mounts and namespaces.
const INIT_KIB: u64 = 1024;

const EVENTS: &str = "memory.events";
const KILLS: &str = "oom_kill";

/// What is left to ask when systemd has removed a scope because nothing is left
/// in it: the cgroup above, which counts the kills in all below, and whether
/// the container's own has counted anything.
#[derive(Debug)]
pub(super) struct Slice {
    events: OwnedFd,
    /// Kills before the container could be one.
    kills: u64,
    /// An inotify(7) that knows of every change of the container's own count,
    /// also when that is gone. Else the kill may be one of a neighbour's.
    own: OwnedFd,
    /// What `memory.max` of the container was by then.
    limit: String,
}

impl Record {
    /// Opens the container's cgroup, if that may be gone by the time at which
    /// it is asked what happened in it.
    pub fn watch(&self) -> Option<CgroupDir> {
        match self.placement.driver {
            Driver::Systemd(_) => self.open().ok().map(CgroupDir::watched),
            Driver::Cgroupfs | Driver::Disabled => None,
        }
    }

    /// Which limit is too low, if the kernel has killed in the container's
    /// cgroup. `watched` is that cgroup if it was opened before.
    pub fn explain_kill(&self, watched: Option<&CgroupDir>) -> Option<Error> {
        // What another one's cgroup has counted may be old.
        self.made.as_ref()?;
        match watched {
            Some(cgroup) => cgroup.explain_kill(),
            None => self.open().ok()?.explain_kill(),
        }
    }

    /// A process that the kernel has killed says nothing itself: the limit is
    /// to blame for an error without another reason.
    #[must_use]
    pub fn blame_limit(&self, error: Error, watched: Option<&CgroupDir>) -> Error {
        let is_silent = matches!(error.errno, None | Some(libc::ENOMEM)) && error.pointer.is_none();
        match is_silent.then(|| self.explain_kill(watched)).flatten() {
            Some(reason) => reason.within(error.message),
            None => error,
        }
    }
}

impl CgroupDir {
    /// With the cgroup above as a witness, as far as there is one.
    pub(super) fn watched(mut self) -> Self {
        self.slice = self.find_slice();
        self
    }

    fn find_slice(&self) -> Option<Slice> {
        let events = self.open_above(EVENTS)?;
        let kills = count_kills(&events)?;
        Some(Slice { events, kills, own: self.watch_own()?, limit: self.read("memory.max").ok()? })
    }

    fn watch_own(&self) -> Option<OwnedFd> {
        let own = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let path = format!("/proc/self/fd/{}/{EVENTS}", self.as_fd().as_raw_fd());
        inotify::add_watch(&own, path, WatchFlags::MODIFY).ok()?;
        Some(own)
    }

    fn open_above(&self, file: &str) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(self, format!("../{file}"), flags, Mode::empty()).ok()
    }

    /// Which limit is too low, if the kernel has killed for want of memory.
    pub fn explain_kill(&self) -> Option<Error> {
        let (limit, kills) = match (self.read("memory.max"), self.read(EVENTS)) {
            (Ok(limit), Ok(events)) => (limit, memory_events(&events, KILLS)),
            _ => {
                let slice = self.slice.as_ref()?;
                let kills = count_kills(&slice.events)?.saturating_sub(slice.kills);
                (slice.limit.clone(), if kills > 0 && slice.is_concerned() { kills } else { 0 })
            }
        };
        (kills > 0).then(|| low_limit(limit.trim(), kills))
    }
}

impl Slice {
    /// Whether memory was ever short in the container itself. The kernel tells
    /// so a little later.
    fn is_concerned(&self) -> bool {
        const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = poll(&mut [PollFd::new(&self.own, PollFlags::IN)], Some(&MOMENT));
        let mut buffer = [std::mem::MaybeUninit::uninit(); 256];
        let mut events = inotify::Reader::new(&self.own, &mut buffer);
        // The first is a change, or else that the file is gone.
        events.next().is_ok_and(|event| event.events().contains(inotify::ReadFlags::MODIFY))
    }
}

/// The kills that an open memory.events counts by now.
fn count_kills(events: &OwnedFd) -> Option<u64> {
    let mut text = [0; 512];
    let length = rustix::io::pread(events, &mut text, 0).ok()?;
    Some(memory_events(&String::from_utf8_lossy(&text[..length]), KILLS))
}

fn low_limit(limit: &str, kills: u64) -> Error {
    let what = match limit.parse::<u64>() {
        Ok(limit) => format!("its memory limit of {} KiB is too low", limit / 1024),
        Err(_) => "a cgroup above it has no memory left".to_owned(),
    };
    let error =
        Error::new(format!("{what} (memory.max {limit}, {EVENTS} counted {KILLS} {kills})"));
    error.at("/linux/resources/memory/limit").hint(format!(
        "it takes about {INIT_KIB} KiB to start a container; its program needs its own memory besides"
    ))
}
