//! How: entering, making and setting up namespaces.

use super::id_map::{IdMapping, IdMaps, Mapping};
use super::plan::{Join, Kind, Op, TimeOffset};
use super::refused::{explain, id_refused};
use super::subordinate::IdKind;
use crate::error::{Context, Error, Result};
use crate::process;
use crate::sys::{self, Clone3, Cloned};
use crate::weaken::{Defence, lacks};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `nsfs` (statfs(2)).
const NSFS_MAGIC: i64 = 0x6e73_6673;

impl Join {
    /// Opens the namespace and checks that it is one of the right kind.
    pub fn open(&self) -> Result<OwnedFd> {
        let path = self.path.display();
        // Not every path in a configuration leads to a namespace: a FIFO must
        // not block, a terminal must not become ours.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|errno| {
            let error = Error::os(format!("cannot open {} namespace {path}", self.kind), errno);
            match errno {
                rustix::io::Errno::ACCESS => error.hint("below /proc/PID namespaces are open to those who may look into that process only"),
                _ => error,
            }
        })?;
        let wrong =
            |what: String| Error::new(format!("{path} is {what}, not a {} namespace", self.kind));
        let on = rustix::fs::fstatfs(&fd).os(|| format!("cannot examine {path}"))?;
        if on.f_type as i64 != NSFS_MAGIC {
            return Err(wrong("no namespace".into()));
        }
        let found = sys::namespace_type(fd.as_fd()).os(|| format!("cannot examine {path}"))?;
        if found != self.kind.flag() {
            let kind = Kind::ALL.into_iter().find(|kind| kind.flag() == found);
            return Err(wrong(
                kind.map_or("another kind".into(), |kind| format!("a {kind} namespace")),
            ));
        }
        Ok(fd)
    }

    fn enter(&self, fd: &OwnedFd) -> Result<()> {
        setns(fd, flag(self.kind)).map_err(|errno| {
            let message = format!("cannot enter {} namespace {}", self.kind, self.path.display());
            let error = Error::os(message, errno);
            match errno {
                nix::errno::Errno::EPERM => error.hint("that takes privilege over it: it must belong to hako's user namespace, to the one that is entered, or to one below them"),
                nix::errno::Errno::EINVAL if self.kind == Kind::User => {
                    error.hint("that is the one hako is in: leave it out of linux.namespaces")
                }
                _ => error,
            }
        })
    }
}

/// Namespaces the runtime has entered for the time of the clone. Dropping it
/// leads back, so that nothing later happens in the wrong place.
#[derive(Debug, Default)]
pub struct Visit {
    home: Vec<(Kind, OwnedFd)>,
}

impl Visit {
    /// Enters the namespace behind `fd`.
    pub fn enter(&mut self, join: &Join, fd: &OwnedFd) -> Result<()> {
        self.remember(join.kind)?;
        join.enter(fd)
    }

    /// Enters namespaces of the container whose init `pidfd` is.
    pub fn enter_container(&mut self, pidfd: &OwnedFd, kinds: &[Kind]) -> Result<()> {
        for kind in kinds {
            self.remember(*kind)?;
        }
        enter_container(pidfd, kinds)
    }

    /// Makes a time namespace for children, with its offsets.
    pub fn unshare_time(&mut self, offsets: &[TimeOffset]) -> Result<()> {
        self.remember(Kind::Time)?;
        unshare(flag(Kind::Time)).os(|| "cannot make a time namespace")?;
        write_time_offsets(None, offsets)
    }

    /// Makes a network namespace, has it sent to who waits for it, brings its
    /// loopback interface up and comes back.
    pub fn make_network(send: impl FnOnce(BorrowedFd) -> Result<()>) -> Result<()> {
        let mut visit = Self::default();
        visit.remember(Kind::Network)?;
        unshare(flag(Kind::Network)).os(|| "cannot make a network namespace")?;
        send(open_own(Kind::Network)?.as_fd())?;
        loopback_up()?;
        visit.leave()
    }

    /// Enters the network namespace of a process.
    pub fn enter_network_of(&mut self, pid: i32) -> Result<()> {
        let path = format!("/proc/{pid}/ns/net");
        let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .os(|| format!("cannot open {path}"))?;
        self.remember(Kind::Network)?;
        enter_network(&namespace)
    }

    fn remember(&mut self, kind: Kind) -> Result<()> {
        self.home.push((kind, open_own(kind)?));
        Ok(())
    }

    /// Goes back to where the runtime came from.
    pub fn leave(&mut self) -> Result<()> {
        while let Some((kind, fd)) = self.home.pop() {
            setns(&fd, flag(kind)).os(|| format!("cannot return to the own {kind} namespace"))?;
        }
        Ok(())
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

/// The namespace this process is in.
fn open_own(kind: Kind) -> Result<OwnedFd> {
    let path = format!("/proc/self/ns/{}", kind.file());
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .os(|| format!("cannot open {path}"))
}

/// Whether this process's namespace of this kind belongs to its user namespace,
/// or to one below it.
pub fn is_own(kind: Kind) -> bool {
    open_own(kind).is_ok_and(|fd| sys::owning_user_namespace(fd.as_fd()).is_ok())
}

/// Whether a process is in another namespace of this kind than hako.
pub fn has_own(pid: i32, kind: Kind) -> bool {
    let link = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{}", kind.file()));
    matches!((link("self"), link(&pid.to_string())), (Ok(own), Ok(other)) if own != other)
}

/// Enters the network namespace that the runtime made.
pub fn enter_network(namespace: &OwnedFd) -> Result<()> {
    setns(namespace, flag(Kind::Network)).os(|| "cannot enter the network namespace")
}

/// Enters namespaces of the container whose init `pidfd` is.
fn enter_container(pidfd: &OwnedFd, kinds: &[Kind]) -> Result<()> {
    setns(pidfd, flags(kinds)).map_err(|errno| {
        let error = Error::os(format!("cannot enter {}", super::names(kinds)), errno);
        match errno {
            nix::errno::Errno::ESRCH => error.hint("the container has just ended"),
            // The container may be of any other; which one, only its makers know.
            nix::errno::Errno::EPERM if !crate::host::Host::default().is_in_initial_user_namespace() => error.hint("hako is in a user namespace: it can enter the containers of that one, and none made outside of it; leave it, or enter the one that the container was made in"),
            nix::errno::Errno::EPERM => error.hint("only root may enter a container whose first process cannot be looked into, as when its program may not be read"),
            _ => error,
        }
    })
}

fn flags(kinds: &[Kind]) -> CloneFlags {
    kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | flag(*kind))
}

fn flag(kind: Kind) -> CloneFlags {
    CloneFlags::from_bits_retain(kind.flag() as i32)
}

impl Op {
    /// Does the step, as init. `namespace` is what [`Join::open`] returned, or
    /// a pidfd of the container to enter.
    pub fn apply(&self, namespace: Option<&OwnedFd>) -> Result<()> {
        match self {
            Op::Enter(kinds) => match namespace {
                Some(pidfd) => enter_container(pidfd, kinds),
                None => Err(Error::new("there is no container to enter")),
            },
            Op::Join(join) => {
                let Some(fd) = namespace else {
                    return Err(Error::new(format!("{} was not opened", join.path.display())));
                };
                join.enter(fd)
            }
            Op::Undumpable => make_undumpable(),
            Op::BecomeUser { uid, gid, keep_groups } => become_user(*uid, *gid, *keep_groups),
            Op::Unshare(kinds) => unshare(flags(kinds))
                .map_err(|errno| explain(Error::os("cannot make the namespaces", errno), kinds)),
            Op::TimeOffsets(offsets) => write_time_offsets(None, offsets),
            Op::Loopback => loopback_up(),
            Op::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .os(|| format!("cannot set hostname {name}")),
            Op::Domainname(name) => {
                sys::set_domainname(name.as_bytes()).os(|| format!("cannot set domainname {name}"))
            }
            Op::Sysctl { path, value } => write_sysctl(path, value),
        }
    }
}

/// Lets no other process look into this one and its descriptors.
pub fn make_undumpable() -> Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if lacks(Defence::Undumpable) {
        return Ok(());
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).os(|| "cannot make the process undumpable")
}

/// Without supplementary groups, where the namespace allows dropping them.
fn become_user(uid: u32, gid: u32, keep_groups: bool) -> Result<()> {
    use rustix::fs::{Gid, Uid};
    if !keep_groups {
        process::set_groups(&[])?;
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid)
        .map_err(|errno| id_refused(IdKind::Group, gid.as_raw(), errno))?;
    set_thread_res_uid(uid, uid, uid).map_err(|errno| id_refused(IdKind::User, uid.as_raw(), errno))
}

/// Sets the clocks of the time namespace that the next child of process `pid`,
/// or of this one, will be in.
pub fn write_time_offsets(pid: Option<i32>, offsets: &[TimeOffset]) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let text: String = offsets
        .iter()
        .map(|offset| format!("{} {} {}\n", offset.clock, offset.secs, offset.nanosecs))
        .collect();
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    write_file(&Path::new("/proc").join(process).join("timens_offsets"), &text)
}

fn loopback_up() -> Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let message = || "cannot bring the loopback interface up";
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .os(message)?;
    sys::interface_up(socket.as_fd(), "lo").os(message)
}

/// Writes through the host's procfs, which the container has no influence on
/// yet; it shows the parameters of the writer's namespaces.
fn write_sysctl(path: &str, value: &str) -> Result<()> {
    let root = rustix::fs::openat(CWD, "/proc/sys", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .os(|| "cannot open /proc/sys")?;
    let file = rustix::fs::openat2(
        &root,
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|errno| {
        let error = Error::os(format!("cannot open /proc/sys/{path}"), errno);
        match errno {
            rustix::io::Errno::ACCESS if path == "kernel/domainname" => {
                error.hint("only root of the machine may write to it: use the field domainname")
            }
            _ => error,
        }
    })?;
    rustix::io::write(&file, value.as_bytes())
        .map(drop)
        .os(|| format!("cannot write {value:?} to /proc/sys/{path}"))
}

/// The map of this process's user namespace, line by line. Where procfs hides it,
/// the kernel alone can tell which ids there are.
pub fn own_map(kind: IdKind) -> Vec<IdMapping> {
    let text = std::fs::read_to_string(Path::new("/proc/self").join(kind.map_file()));
    text.map_or_else(
        |_| vec![IdMapping { container: 0, host: 0, size: u32::MAX }],
        |text| text.lines().filter_map(read_line).collect(),
    )
}

/// An id that stat(2) has told this process, unless it may stand for one that the
/// user namespace does not map: those all look alike (user_namespaces(7)).
pub fn known_id(kind: IdKind, id: u32) -> Option<u32> {
    let file = match kind {
        IdKind::User => "/proc/sys/kernel/overflowuid",
        IdKind::Group => "/proc/sys/kernel/overflowgid",
    };
    let text = std::fs::read_to_string(file).ok();
    let overflow = text.and_then(|text| text.trim().parse().ok()).unwrap_or(65_534);
    (id != overflow || maps_all(&own_map(kind))).then_some(id)
}

fn maps_all(map: &[IdMapping]) -> bool {
    map.iter().map(|range| u64::from(range.size)).sum::<u64>() == u64::from(u32::MAX)
}

fn read_line(line: &str) -> Option<IdMapping> {
    let mut numbers = line.split_whitespace().map(|number| number.parse().ok());
    let mut next = || numbers.next().flatten();
    Some(IdMapping { container: next()?, host: next()?, size: next()? })
}

/// Writes uid_map and gid_map of a process in a new user namespace. Each takes
/// exactly one write (user_namespaces(7)).
pub fn write_id_maps(pid: i32, mapping: &Mapping) -> Result<()> {
    if mapping.denies_setgroups {
        write_file(&PathBuf::from(format!("/proc/{pid}/setgroups")), "deny")?;
    }
    let IdMaps { uids, gids } = &mapping.maps;
    for (file, map, helper) in
        [("uid_map", uids, &mapping.newuidmap), ("gid_map", gids, &mapping.newgidmap)]
    {
        let written = match helper {
            Some(helper) => write_by_helper(helper, pid, map),
            None => write_id_map(&PathBuf::from(format!("/proc/{pid}/{file}")), map),
        };
        // Below /linux or below the mount, as the caller knows.
        written.map_err(|error| error.at(file.replace("_map", "Mappings")))?;
    }
    Ok(())
}

fn write_id_map(path: &Path, map: &[IdMapping]) -> Result<()> {
    write_file(path, &map_text(map)).map_err(|error| match error.errno {
        Some(libc::EINVAL) => error.hint("ranges must not overlap, and at most 340 are allowed"),
        Some(libc::EPERM) => error.hint(
            "the host ids must be mapped in hako's own user namespace; id 0 takes CAP_SETFCAP",
        ),
        _ => error,
    })
}

/// newuidmap(1), newgidmap(1)
fn write_by_helper(helper: &Path, pid: i32, map: &[IdMapping]) -> Result<()> {
    let ids = map.iter().flat_map(|range| [range.container, range.host, range.size]);
    let output = std::process::Command::new(helper)
        .arg(pid.to_string())
        .args(ids.map(|id| id.to_string()))
        .stdin(std::process::Stdio::null())
        .output()
        .os(|| format!("cannot execute {}", helper.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = format!("{} failed: {}", helper.display(), said.trim());
    Err(Error::new(message).hint("it maps the own id, the ids in /etc/subuid and /etc/subgid, and nothing for a group other than the user's first one"))
}

fn map_text(map: &[IdMapping]) -> String {
    map.iter().map(|range| format!("{} {} {}\n", range.container, range.host, range.size)).collect()
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .os(|| format!("cannot write {text:?} to {}", path.display()))
}

/// The pid under which /proc has a process: init, in its own pid namespace, knows
/// another one.
fn pid_in_proc(pidfd: &OwnedFd, pid: i32) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).os(|| format!("cannot read {path}"))?;
    let field = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    Ok(field.unwrap_or(pid))
}

/// A user namespace that exists only for its maps, as idmapped mounts want
/// them (mount_setattr(2)). The process that made it ends with this call.
pub fn user_namespace_for(maps: &IdMaps) -> Result<OwnedFd> {
    let (wait, release) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).os(|| "cannot make a pipe")?;
    let request = Clone3 { flags: Kind::User.flag(), cgroup: None };
    let cloned = sys::clone3(&request).os(|| "cannot make a user namespace");
    match cloned.map_err(|error| explain(error, &[Kind::User]))? {
        Cloned::Child => {
            drop(release);
            let _ = rustix::io::read(&wait, &mut [0; 1]);
            sys::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(wait);
            let namespace = pid_in_proc(&pidfd, pid).and_then(|pid| {
                write_id_maps(pid, &maps.clone().into())?;
                let path = format!("/proc/{pid}/ns/user");
                rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .os(|| format!("cannot open {path}"))
            });
            drop(release);
            let _ = sys::reap(pidfd.as_fd());
            namespace
        }
    }
}
