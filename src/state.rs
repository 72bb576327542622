//! What is remembered of a container between commands.
//!
//! `ROOT/ID/state.json` says everything `start`, `kill`, `delete` and `exec`
//! need; none of them reads config.json again. A status is never stored: it is
//! derived from the process and the gate. A process is known by its pid and
//! its start time, so that a pid used again is not mistaken for it.

use crate::cgroups::{self, Driver};
use crate::config;
use crate::error::{Context, Error, Result};
use crate::gate;
use crate::hooks::Hooks;
use crate::namespaces::Entry;
use crate::notify;
use crate::plan::Identity;
use crate::process::Process;
use crate::resctrl;
use crate::seccomp;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "state.json";
const TEMPORARY: &str = "state.json.new";
/// A link to the cgroup, for when the record cannot be read.
const CGROUP: &str = "cgroup";
/// A link that names the unit, if systemd makes the cgroup.
const UNIT: &str = "unit";
/// All that hako puts into a container's directory.
const OWN: [&str; 7] =
    [FILE, TEMPORARY, CGROUP, UNIT, gate::NAME, seccomp::FILTER, notify::DIRECTORY];
/// A state file is a few kilobytes; anything much larger is not one.
const LARGEST: u64 = 4 << 20;

/// Contents of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Format version.
    pub version: u32,
    /// Id, bundle, annotations.
    pub identity: Identity,
    /// Absolute path of the root directory.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// User id of who created it.
    pub owner: u32,
    /// Its first process, once there is one.
    pub init: Option<InitProcess>,
    /// Its cgroup.
    pub cgroup: cgroups::Record,
    /// Its share of caches and bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<resctrl::Record>,
    /// Whether the container has a pid namespace of its own, whose end ends
    /// every process in it.
    pub own_pid_namespace: bool,
    /// How further processes get into its namespaces.
    pub entry: Entry,
    /// The resolved process.
    pub process: Process,
    /// Hooks still to run.
    pub hooks: Hooks,
}

impl Record {
    /// Version of the file's format.
    pub const VERSION: u32 = 1;
}

/// Identifies a process across reuse of its pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitProcess {
    /// In the pid namespace hako was in.
    pub pid: i32,
    /// In clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

/// Where a container is in its life (runtime.md, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `create` has not finished.
    Creating,
    /// Waits for `start`.
    Created,
    /// Runs the program.
    Running,
    /// Has its processes stopped by `pause`.
    Paused,
    /// Has no process any more.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

impl InitProcess {
    /// Identifies a process that is known to exist.
    pub fn identify(pid: i32) -> Result<Self> {
        let stat = process_stat(pid).ok_or_else(|| Error::new(format!("process {pid} is gone")))?;
        Ok(Self { pid, start_time: stat.starttime })
    }

    /// Whether this very process still runs; a zombie does not.
    pub fn is_alive(&self) -> bool {
        process_stat(self.pid).is_some_and(|stat| {
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

/// Whether a process, also one that has ended, never executed a program since
/// it was cloned (`PF_FORKNOEXEC`, which execve(2) clears before it closes
/// descriptors). Unknown, so not, when nothing is left of it.
pub fn is_unexecuted(pid: i32) -> bool {
    const PF_FORKNOEXEC: u32 = 0x40;
    process_stat(pid).is_some_and(|stat| stat.flags & PF_FORKNOEXEC != 0)
}

fn process_stat(pid: i32) -> Option<procfs::process::Stat> {
    let mut buffer = [0; 1024];
    let file = rustix::fs::open(
        format!("/proc/{pid}/stat"),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let length = rustix::io::read(file, &mut buffer).ok()?;
    procfs::FromRead::from_read(&buffer[..length]).ok()
}

/// A container's directory.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    fd: OwnedFd,
}

/// Held while a command changes a container. Released when dropped, also by a
/// process that is killed.
#[derive(Debug)]
pub struct Lock<'d>(&'d StateDir);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0.fd, FlockOperation::Unlock);
    }
}

impl StateDir {
    /// Reserves an id by making its directory.
    pub fn create(root: &Path, id: &str) -> Result<Self> {
        let path = root.join(id);
        let private = Mode::from_raw_mode(0o700);
        let make = || rustix::fs::mkdirat(CWD, &path, private);
        let made = match make() {
            Err(Errno::NOENT) => {
                make_root(root)?;
                make()
            }
            made => made,
        };
        made.map_err(|errno| match errno {
            Errno::EXIST => Error::new(format!("container with id {id} already exists"))
                .hint("choose another id, or delete that container first"),
            errno => Error::os(format!("cannot make state directory {}", path.display()), errno),
        })?;
        Self::open_path(path)
    }

    /// Opens the directory of an existing container.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        Self::open_path(root.join(id)).map_err(|error| match error.errno {
            Some(libc::ENOENT) => Error::new("container does not exist"),
            _ => error,
        })
    }

    fn open_path(path: PathBuf) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())
            .os(|| format!("cannot open state directory {}", path.display()))?;
        Ok(Self { path, fd })
    }

    /// Waits, but not for ever, until no other command changes the container.
    pub fn lock(&self, timeout: Duration) -> Result<Lock<'_>> {
        let deadline = Instant::now() + timeout;
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(self)),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::new("container is in use by another hako command")
                        .hint("it may be waiting for a hook; kill that command first"));
                }
                Err(errno) => return Err(Error::os("cannot lock the state directory", errno)),
            }
        }
    }

    /// Reads the record.
    pub fn load(&self) -> Result<Record> {
        let path = self.path.join(FILE);
        let damaged = |reason: Error| {
            let shown = path.display().to_string();
            let message = format!("{shown} is damaged: {}", reason.message);
            Error { message, ..reason }
                .in_document(&shown, "")
                .hint("hako delete --force removes the container and what can still be found of it")
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(&self.fd, FILE, flags, Mode::empty()).map_err(
                |errno| match errno {
                    Errno::NOENT => Error::new(
                        "container is still being created, or its creation was interrupted",
                    )
                    .hint("hako delete --force removes what is left of it"),
                    errno => Error::os(format!("cannot open {}", path.display()), errno),
                },
            )?;
        let stat = rustix::fs::fstat(&fd).os(|| format!("cannot examine {}", path.display()))?;
        if stat.st_size as u64 > LARGEST
            || !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
        {
            return Err(damaged(Error::new("it is not a state file")));
        }
        let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
        std::io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes)
            .os(|| format!("cannot read {}", path.display()))?;
        parse(&bytes).map_err(damaged)
    }

    /// Writes the record: whole, or not at all.
    pub fn save(&self, record: &Record) -> Result<()> {
        let message = || format!("cannot write {}", self.path.join(FILE).display());
        let bytes = serde_json::to_vec(record)
            .map_err(|error| Error::new(format!("{}: {error}", message())))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, TEMPORARY, flags, Mode::from_raw_mode(0o600))
            .os(message)?;
        std::io::Write::write_all(&mut std::fs::File::from(fd), &bytes).os(message)?;
        rustix::fs::renameat(&self.fd, TEMPORARY, &self.fd, FILE).os(message)
    }

    /// Notes, apart from the record, which cgroup will be made for the container.
    pub fn note_cgroup(&self, placement: &cgroups::Placement) -> Result<()> {
        let message = || "cannot note the cgroup";
        if let Driver::Systemd(unit) = &placement.driver {
            rustix::fs::symlinkat(unit.to_string(), &self.fd, UNIT).os(message)?;
        }
        rustix::fs::symlinkat(placement.directory(), &self.fd, CGROUP).os(message)
    }

    /// The cgroup that was noted.
    pub fn noted_cgroup(&self) -> Option<cgroups::Placement> {
        let read = |name| {
            let target = rustix::fs::readlinkat(&self.fd, name, Vec::new()).ok()?;
            target.into_string().ok()
        };
        let path = Path::new("/").join(read(CGROUP)?.trim_start_matches('/'));
        let unit = read(UNIT).and_then(|unit| unit.parse().ok());
        let driver = unit.map_or(Driver::Cgroupfs, Driver::Systemd);
        Some(cgroups::Placement { hierarchy: PathBuf::from("/"), path, driver })
    }

    /// Where the container is in its life.
    pub fn status(&self, record: &Record) -> Status {
        match record.init {
            Some(init) if !init.is_alive() => Status::Stopped,
            Some(_) if record.cgroup.is_frozen() => Status::Paused,
            Some(_) if self.has_gate() => Status::Created,
            Some(_) => Status::Running,
            None => Status::Creating,
        }
    }

    /// Whether init still waits for `start`.
    pub fn has_gate(&self) -> bool {
        self.has(gate::NAME)
    }

    /// Whether there is a record, readable or not.
    pub fn has_record(&self) -> bool {
        self.has(FILE)
    }

    fn has(&self, name: &str) -> bool {
        let (exists, flags) = (rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty());
        rustix::fs::accessat(&self.fd, name, exists, flags).is_ok()
    }

    /// Takes the gate away: the container has been started.
    pub fn remove_gate(&self) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, gate::NAME, rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::os("cannot remove the start gate", errno)),
        }
    }

    /// Makes sure that this is a container's directory and not just any that an
    /// id and a wrong `--root` lead to.
    ///
    /// # Errors
    /// It holds something that hako does not make.
    pub fn check_own(&self) -> Result<()> {
        let shown = self.path.display();
        let entries = std::fs::read_dir(&self.path).os(|| format!("cannot read {shown}"))?;
        let mut names = entries.flatten().map(|entry| entry.file_name());
        match names.find(|name| OWN.iter().all(|own| name != own)) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!(
                "{shown} is no container's directory: {name:?} in it is not hako's"
            ))
            .hint("is --root the right one? Nothing has been removed")),
        }
    }

    /// Removes the directory: the id is free again.
    pub fn remove(&self) -> Result<()> {
        for name in [CGROUP, FILE] {
            let _ = rustix::fs::unlinkat(&self.fd, name, rustix::fs::AtFlags::empty());
        }
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // A filter, a unit, a gate that nobody went through, or a record half
            // written.
            Err(_) => self.check_own().and_then(|()| {
                std::fs::remove_dir_all(&self.path)
                    .os(|| format!("cannot remove state directory {}", self.path.display()))
            }),
        }
    }
}

impl AsFd for StateDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Reads a record from bytes.
///
/// # Errors
/// A sentence on what is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Record> {
    let record: Record = config::decode(bytes, "it", &mut Vec::new())?;
    if record.version != Record::VERSION {
        let message = format!("format {} is not {}", record.version, Record::VERSION);
        return Err(Error::new(message).at("/version"));
    }
    Ok(record)
}

/// Ids of all containers below `root`, sorted.
pub fn list(root: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(root).os(|| format!("cannot read {}", root.display()))?;
    let mut ids: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| check_id(name).is_ok())
        .collect();
    ids.sort();
    Ok(ids)
}

fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .os(|| format!("cannot make state directory {}", root.display()))
}

/// Longest container id.
const LONGEST_ID: usize = 255;

/// Ids become file names: letters, digits and `_+.-`, a letter or digit first.
pub fn check_id(id: &str) -> Result<()> {
    let mut bytes = id.bytes();
    let valid = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte))
        && id.len() <= LONGEST_ID;
    valid.then_some(()).ok_or_else(|| {
        Error::new(format!("invalid container id {:?}", id.chars().take(64).collect::<String>()))
            .hint("letters, digits and _ + . - are allowed, a letter or digit first, 255 at most")
    })
}

/// State of a container as the specification shows it to hooks and callers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> ContainerState<'a> {
    /// The state of `identity`.
    pub fn new(identity: &'a Identity, status: &'a str, pid: Option<i32>) -> Self {
        Self {
            oci_version: &identity.oci_version,
            id: &identity.id,
            status,
            pid,
            bundle: &identity.bundle,
            annotations: &identity.annotations,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Now, as RFC 3339 in UTC with nanoseconds.
pub fn timestamp() -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    let (year, month, day) = civil_date(days as i64);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        now.subsec_nanos()
    )
}

/// Days since 1970 to year, month, day in the Gregorian calendar. Years start
/// in March here, which puts the leap day at the end of one.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_and_nothing_else() {
        for good in ["a", "web-1", "A.b_c+d", "0"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", ".a", "a/b", "a b", "a\n", "ä", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_are_gregorian() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(11_016), (2000, 2, 29));
        assert_eq!(civil_date(20_514), (2026, 3, 2));
    }

    #[test]
    fn damaged_records_are_refused() {
        for bytes in ["", "{}", "{\"version\": 2}", "[]"] {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    #[test]
    fn a_process_is_known_by_its_start_time() {
        let pid = std::process::id() as i32;
        let own = InitProcess::identify(pid).unwrap();
        assert!(own.is_alive());
        assert!(!InitProcess { start_time: own.start_time + 1, ..own }.is_alive());
    }
}
