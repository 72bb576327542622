//! A container's directory below the root: its files, its lock, its end.

use super::{Record, Status, check_id, parse};
use crate::cgroups::{self, Driver};
use crate::error::{Context, Error, Result};
use crate::gate;
use crate::hooks;
use crate::notify;
use crate::seccomp;
use crate::stat;
use crate::unique_pid::UniquePid;
use crate::user;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "state.json";
const TEMPORARY: &str = "state.json.new";
/// A link to the cgroup, for when the record cannot be read.
const CGROUP: &str = "cgroup";
/// A link that names the unit, if systemd makes the cgroup.
const UNIT: &str = "unit";
/// A link that names init, where no cgroup leads to it.
const INIT: &str = "init";
/// All that hako puts into a container's directory.
const OWN: [&str; 10] = [
    FILE,
    TEMPORARY,
    CGROUP,
    UNIT,
    gate::NAME,
    gate::UNFINISHED,
    seccomp::FILTER,
    notify::DIRECTORY,
    hooks::NOTE,
    INIT,
];
/// Files that not every container has: a filter, a unit, a gate that nobody went through, a record
/// half written, notes of a hook and of init.
const SOMETIMES: [&str; 7] =
    [seccomp::FILTER, UNIT, gate::NAME, gate::UNFINISHED, TEMPORARY, hooks::NOTE, INIT];
/// A state file is a few kilobytes; anything much larger is not one.
const LARGEST: u64 = 4 << 20;

/// What there is to say of an id that nobody has.
pub const NO_CONTAINER: &str = "container does not exist";

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
            errno => {
                let what = format!("cannot make state directory {}", path.display());
                let error = Error::os(what, errno);
                match path.ancestors().skip(1).find(|above| above.exists()) {
                    Some(file) if errno == Errno::NOTDIR => error.hint(format!(
                        "{} is no directory: remove it, or use --root",
                        file.display()
                    )),
                    _ => error,
                }
            }
        })?;
        Self::open_path(path)
    }

    /// Opens the directory of an existing container.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        Self::open_path(root.join(id)).map_err(|error| match error.errno {
            Some(libc::ENOENT) => Error::new(NO_CONTAINER),
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
        self.lock_with(timeout, || Ok(()))
    }

    /// The same, and does something before each attempt.
    pub fn lock_with(
        &self,
        timeout: Duration,
        mut before: impl FnMut() -> Result<()>,
    ) -> Result<Lock<'_>> {
        let deadline = Instant::now() + timeout;
        loop {
            before()?;
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

    /// Takes over a lock that was left on.
    pub fn locked(&self) -> Lock<'_> {
        Lock(self)
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
                    Errno::NOENT if self.is_removed() => Error::new(NO_CONTAINER),
                    Errno::NOENT => Error::new(
                        "container is still being created, or its creation was interrupted",
                    )
                    .hint("hako delete --force removes what is left of it"),
                    errno => Error::os(format!("cannot open {}", path.display()), errno),
                },
            )?;
        let stat = rustix::fs::fstat(&fd).os(|| format!("cannot examine {}", path.display()))?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(damaged(Error::new("it is not a state file")));
        }
        if stat.st_size as u64 > LARGEST {
            return Err(damaged(Error::new("it is too large")));
        }
        let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
        std::fs::File::from(fd)
            .take(stat.st_size as u64)
            .read_to_end(&mut bytes)
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

    /// Notes, apart from the record, which process init is.
    pub fn note_init(&self, init: &UniquePid) -> Result<()> {
        init.note(self.as_fd(), INIT).os(|| "cannot note init")
    }

    /// The init that was noted.
    pub fn noted_init(&self) -> Option<UniquePid> {
        UniquePid::noted(self.as_fd(), INIT)
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
        let Some(init) = record.init else { return Status::Creating };
        match init.stat() {
            None => Status::Stopped,
            Some(_) if record.cgroup.is_frozen() => Status::Paused,
            // A `start` that was killed leaves the gate of a program that runs.
            Some(stat) if !stat::has_never_executed(&stat) || record.restored => Status::Running,
            Some(_) if self.has(gate::UNFINISHED) => Status::Creating,
            Some(_) => Status::Created,
        }
    }

    /// Says, in place of an unfinished gate, that the container is being created: for
    /// a container without one, if somebody may want to know meanwhile.
    pub fn begin(&self) -> Result<()> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, gate::UNFINISHED, flags, Mode::from_raw_mode(0o600))
            .map(drop)
            .os(|| "cannot say that the container is being created")
    }

    /// It has been created.
    pub fn finish(&self) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, gate::UNFINISHED, rustix::fs::AtFlags::empty())
            .os(|| "cannot say that the container has been created")
    }

    /// The container has been created: `start` may come.
    pub fn finish_gate(&self) -> Result<()> {
        rustix::fs::renameat(&self.fd, gate::UNFINISHED, &self.fd, gate::NAME)
            .os(|| "cannot finish the start gate")
    }

    /// Whether init still waits for `start`.
    pub fn has_gate(&self) -> bool {
        self.has(gate::NAME)
    }

    /// Whether somebody has deleted the container, and the directory is no longer there.
    fn is_removed(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whose it is: root's if that cannot be found out.
    pub fn owner(&self) -> u32 {
        rustix::fs::fstat(&self.fd).map_or(0, |stat| stat.st_uid)
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
        let entries = match std::fs::read_dir(&self.path) {
            // Somebody else has removed it, as they should.
            Err(_) if self.is_removed() => return Ok(()),
            entries => entries.os(|| format!("cannot read {shown}"))?,
        };
        let mut names = entries.flatten().map(|entry| entry.file_name());
        match names.find(|name| OWN.iter().all(|own| name != own)) {
            None => Ok(()),
            Some(name) => Err(Error::new(format!(
                "{shown} is no container's directory: {name:?} in it is not hako's"
            ))
            .hint("is --root the right one?")),
        }
    }

    /// Removes the directory: the id is free again.
    pub fn remove(&self) -> Result<()> {
        let remove = |files: &[&str]| {
            for file in files {
                let _ = rustix::fs::unlinkat(&self.fd, *file, rustix::fs::AtFlags::empty());
            }
            rustix::fs::rmdir(&self.path)
        };
        match remove(&[CGROUP, FILE]).or_else(|_| remove(&SOMETIMES)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // A directory for sd_notify, or what is not hako's.
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
        // Sticky: what is not may be cleaned away in a user's runtime directory.
        .mode(0o1700)
        .create(root)
        .os(|| format!("cannot make state directory {}", root.display()))
        .map_err(|error| match error.errno {
            Some(libc::EACCES) => error.hint(user::RUNTIME_DIR_REMEDY),
            _ => error,
        })
}
