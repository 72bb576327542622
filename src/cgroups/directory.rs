//! How: making, emptying and removing a cgroup.

use super::controllers::explain_type;
use super::oom::Slice;
use super::systemd::{Scope, Unit};
use super::{Driver, Placement};
use crate::error::{Context, Error, Result};
use rustix::fs::{Access, CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The container's cgroup.
#[derive(Debug)]
pub struct CgroupDir {
    fd: OwnedFd,
    /// Who knows what happened in it when it is gone.
    pub(super) slice: Option<Slice>,
}

/// A cgroup as the state file remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it is.
    #[serde(flatten)]
    pub placement: Placement,
    /// The topmost directory that hako makes for it; `None` if it is there
    /// already. Nothing else is ever killed or removed.
    pub made: Option<PathBuf>,
}

impl Record {
    /// Finds out what would have to be made, so that it can be remembered
    /// before it is.
    pub fn foresee(placement: &Placement) -> Self {
        let path = placement.directory();
        let missing =
            |path: &Path| matches!(rustix::fs::access(path, Access::EXISTS), Err(Errno::NOENT));
        let made = match placement.driver {
            Driver::Cgroupfs => path
                .ancestors()
                .take_while(|ancestor| *ancestor != placement.hierarchy && missing(ancestor))
                .last(),
            // Slices above it are systemd's own.
            Driver::Systemd(_) => Some(path.as_path()).filter(|path| missing(path)),
            Driver::Disabled => None,
        };
        Self { placement: placement.clone(), made: made.map(Path::to_owned) }
    }

    /// Makes the cgroup, or takes an existing one that is empty; `None` where
    /// init is to be cloned into the cgroup that hako is in.
    ///
    /// # Errors
    /// A cgroup with processes or that is frozen belongs to somebody else.
    pub fn create(&self) -> Result<Option<CgroupDir>> {
        match self.placement.driver {
            Driver::Cgroupfs => self.make().map(Some),
            // Made when there is a process to be in it.
            Driver::Systemd(_) if self.made.is_some() => Ok(None),
            Driver::Systemd(_) => Err(self.refuse_existing()),
            Driver::Disabled => Ok(None),
        }
    }

    /// Has systemd make the cgroup, with init in it.
    ///
    /// # Errors
    /// With `EEXIST` if somebody else has a unit of this name.
    pub fn place(&self, scope: &Scope, pid: i32) -> Result<CgroupDir> {
        scope.make(pid, &self.placement.path)?;
        CgroupDir::open(&self.placement.directory()).map(CgroupDir::watched)
    }

    /// Moves a process into the container's cgroup.
    pub fn take_in(&self, cgroup: &CgroupDir, pid: i32) -> Result<()> {
        match cgroup.write("cgroup.procs", &pid.to_string()) {
            Err(Errno::OPNOTSUPP) => Err(explain_type(&self.placement)),
            written => written.os(|| "cannot move init into its cgroup"),
        }
    }

    /// Has systemd move a process into the container's unit, to where `cgroup` is.
    pub fn attach(&self, unit: &Unit, cgroup: &CgroupDir, pid: i32) -> Result<()> {
        let link = format!("/proc/self/fd/{}", cgroup.as_fd().as_raw_fd());
        let place = std::fs::read_link(link).os(|| "cannot look up the cgroup")?;
        let below = place.strip_prefix(self.placement.directory()).unwrap_or(Path::new(""));
        unit.attach(pid, &self.placement.path, below)
    }

    fn refuse_existing(&self) -> Error {
        let path = self.placement.directory();
        Error::new(format!("container's cgroup is there already: {}", path.display()))
            .at("/linux/cgroupsPath")
            .hint("another container or service uses this cgroup; choose another cgroupsPath")
    }

    fn make(&self) -> Result<CgroupDir> {
        let path = self.placement.directory();
        if self.made.is_some() {
            make_directories(&self.placement.hierarchy, &path)?;
        }
        let cgroup = CgroupDir::open(&path)?;
        if self.made.is_none() {
            cgroup.refuse_foreign(&path)?;
        }
        Ok(cgroup)
    }
}

impl Record {
    /// Opens the cgroup for another process of the container: one `below` the
    /// container's; else the container's own; or that of its init, if it has
    /// moved, because a cgroup that has controllers enabled for its children
    /// takes no processes (cgroups(7), "no internal processes"). `None` where
    /// nobody places the container's processes.
    pub fn enter(&self, below: Option<&Path>, init: i32) -> Result<Option<CgroupDir>> {
        match (&self.placement.driver, below) {
            (Driver::Disabled, None) => Ok(None),
            (Driver::Disabled, Some(_)) => {
                Err(Error::new("the container has no cgroup of its own to look for --cgroup in"))
            }
            _ => self.enter_own(below, init).map(Some),
        }
    }

    fn enter_own(&self, below: Option<&Path>, init: i32) -> Result<CgroupDir> {
        let own = self.placement.directory();
        if let Some(below) = below {
            if below.components().any(|part| part == std::path::Component::ParentDir) {
                return Err(Error::new(format!("--cgroup {} contains \"..\"", below.display())));
            }
            return CgroupDir::open(&own.join(below.strip_prefix("/").unwrap_or(below)));
        }
        let cgroup = CgroupDir::open(&own)?;
        if cgroup.read("cgroup.subtree_control")?.trim().is_empty() {
            return Ok(cgroup);
        }
        let path = format!("/proc/{init}/cgroup");
        let text = std::fs::read_to_string(&path).os(|| format!("cannot read {path}"))?;
        let present = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        match Path::new(present).strip_prefix(&self.placement.path) {
            Ok(below) => CgroupDir::open(&own.join(below)),
            Err(_) => Ok(cgroup),
        }
    }
}

impl CgroupDir {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .os(|| format!("cannot open cgroup {}", path.display()))?;
        Ok(Self { fd, slice: None })
    }

    fn refuse_foreign(&self, path: &Path) -> Result<()> {
        let events = self.read("cgroup.events")?;
        if events.lines().any(|line| line == "populated 1") {
            return Err(Error::new(format!("container's cgroup is not empty: {}", path.display()))
                .hint(
                    "another container or service uses this cgroup; choose another cgroupsPath",
                ));
        }
        if events.lines().any(|line| line == "frozen 1")
            || self.read("cgroup.freeze")?.trim() == "1"
        {
            return Err(Error::new(format!(
                "container's cgroup unexpectedly frozen: {}",
                path.display()
            ))
            .hint("write 0 to its cgroup.freeze, or choose another cgroupsPath"));
        }
        Ok(())
    }
}

impl AsFd for CgroupDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes `path`, which was missing, and what is missing above it.
fn make_directories(hierarchy: &Path, path: &Path) -> Result<()> {
    // A parent may vanish in between, when another container's removal tidies up.
    const ATTEMPTS: usize = 16;
    for _ in 0..ATTEMPTS {
        match mkdir(path) {
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(creation_refused(path, errno)),
            Ok(()) => return Ok(()),
        }
        for ancestor in ancestors_below(hierarchy, path) {
            match mkdir(ancestor) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(creation_refused(ancestor, errno)),
            }
        }
    }
    Err(creation_refused(path, Errno::NOENT))
}

/// Directories between the hierarchy and the cgroup, topmost first.
pub(super) fn ancestors_below<'a>(hierarchy: &Path, path: &'a Path) -> Vec<&'a Path> {
    let mut list: Vec<&Path> =
        path.ancestors().skip(1).take_while(|ancestor| *ancestor != hierarchy).collect();
    list.reverse();
    list
}

fn mkdir(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755))
}

fn creation_refused(path: &Path, errno: Errno) -> Error {
    let error = Error::os(format!("cannot create cgroup {}", path.display()), errno);
    match errno {
        Errno::ACCESS | Errno::PERM => error.hint("the parent cgroup must be writable: delegate it to this user, run as root, or leave out whichever of cgroupsPath, --cgroup-manager and --rootless=false is given, so that hako looks for a place"),
        Errno::ROFS => error.hint("the hierarchy is mounted read-only, as engines do in containers: the outer one needs --privileged; or use --cgroup-manager=disabled"),
        Errno::AGAIN => {
            error.hint("cgroup.max.descendants or cgroup.max.depth of a parent is reached")
        }
        _ => error,
    }
}

impl Record {
    /// Ends every process in the cgroup and removes it, if hako made it.
    /// A cgroup that is already gone is fine.
    pub fn destroy(&self) -> Result<()> {
        let path = self.placement.directory();
        let Some(made) = &self.made else {
            if self.placement.driver == Driver::Cgroupfs {
                give_back(&path);
            }
            return Ok(());
        };
        if let Driver::Systemd(unit) = &self.placement.driver {
            kill(&path)?;
            let stopped = unit.stop();
            // Without its cgroup it ends by itself: nothing is left either way.
            return remove_tree(&path).map_err(|error| stopped.err().unwrap_or(error));
        }
        match rustix::fs::rmdir(&path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => {
                kill(&path)?;
                remove_tree(&path)?;
            }
        }
        // Parents made for this container, unless others use them by now.
        for parent in path.ancestors().skip(1).take_while(|parent| parent.starts_with(made)) {
            if rustix::fs::rmdir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sends SIGKILL to every process in the cgroup, if hako made it.
    pub fn kill_all(&self) -> Result<()> {
        match &self.made {
            Some(_) => write_kill(&self.placement.directory()),
            None => Ok(()),
        }
    }

    /// Pids of all processes in the cgroup and below it.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut pids = Vec::new();
        let mut directories = vec![self.placement.directory()];
        while let Some(directory) = directories.pop() {
            directories.extend(children(&directory));
            let path = directory.join("cgroup.procs");
            let text = match std::fs::read_to_string(&path) {
                // A cgroup that is gone has no processes.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text.os(|| format!("cannot read {}", path.display()))?,
            };
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        Ok(pids)
    }
}

/// Leaves a cgroup that was there before without hako's device rules: whoever
/// uses it next has others. As far as that is possible; they deny, and do not
/// allow.
fn give_back(path: &Path) {
    let Ok(cgroup) = CgroupDir::open(path) else { return };
    let is_populated = |events: String| events.lines().any(|line| line == "populated 1");
    if cgroup.read("cgroup.events").is_ok_and(|events| !is_populated(events)) {
        let _ = cgroup.forget_devices();
    }
}

fn write_kill(path: &Path) -> Result<()> {
    let file = path.join("cgroup.kill");
    match std::fs::write(&file, "1") {
        Err(error) if is_gone(error.raw_os_error()) && !path.exists() => Ok(()),
        result => result.os(|| format!("cannot write {}", file.display())),
    }
}

/// systemd removes a cgroup of its own as soon as it is empty. Files of it that
/// are still open are dead then.
pub(super) fn is_gone(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENOENT | libc::ENODEV))
}

/// Kills everything in the cgroup and waits until it is gone.
fn kill(path: &Path) -> Result<()> {
    let Ok(cgroup) = CgroupDir::open(path) else { return Ok(()) };
    write_kill(path)?;
    if cgroup.await_event("populated 0")? {
        return Ok(());
    }
    Err(Error::new(format!("processes in cgroup {} do not end", path.display()))
        .hint("they are stuck in the kernel; see the stack files of the pids in cgroup.procs"))
}

/// Removes the cgroup after those that the container made below it.
fn remove_tree(path: &Path) -> Result<()> {
    let mut order = vec![path.to_owned()];
    let mut next = 0;
    while let Some(directory) = order.get(next) {
        let below = children(directory);
        order.extend(below);
        next += 1;
    }
    for directory in order.iter().rev() {
        match rustix::fs::rmdir(directory) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                return Err(Error::os(
                    format!("cannot remove cgroup {}", directory.display()),
                    errno,
                ));
            }
        }
    }
    Ok(())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
