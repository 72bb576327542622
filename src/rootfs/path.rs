//! Paths inside the container's root. The image is hostile: every path is
//! resolved by the kernel below the root (openat2(2), `RESOLVE_IN_ROOT`), and
//! what is then done is done to the descriptor, never to the path again.
//!
//! The pathrs crate does the same for kernels without openat2. hako's floor
//! has it, so this needs one system call per look-up and no procfs.

use super::refused::{LET_IN, explain_owner};
use crate::error::{Context, Error, Result};
use crate::weaken::{Defence, lacks};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Symbolic links followed while creating a path, as in the kernel.
const LINK_LIMIT: usize = 40;

/// The container's root directory.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// A directory in which something was made, for what is made beside it.
    near: RefCell<Option<(PathBuf, OwnedFd)>>,
}

impl Root {
    /// A directory that becomes the root.
    pub fn new(fd: OwnedFd) -> Self {
        Root { fd, near: RefCell::default() }
    }

    /// The descriptor of the root.
    pub fn into_fd(self) -> OwnedFd {
        self.leave();
        self.fd
    }

    /// Does something in a directory, which is made if it is missing. It stays
    /// open for what is done there next.
    pub fn within<T>(&self, path: &Path, act: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let directory = match self.take_near(path) {
            Some(directory) => directory,
            None => self.create_directory(path)?,
        };
        let done = act(&directory);
        self.stay(path, directory);
        done
    }

    /// Forgets the directory that stayed open: a mount may cover it.
    pub fn leave(&self) {
        self.near.take().into_iter().for_each(|(_, directory)| retire(directory));
    }

    fn stay(&self, path: &Path, directory: OwnedFd) {
        self.leave();
        self.near.replace(Some((path.to_owned(), directory)));
    }

    fn take_near(&self, path: &Path) -> Option<OwnedFd> {
        let (near, directory) = self.near.take()?;
        if near == path {
            return Some(directory);
        }
        self.stay(&near, directory);
        None
    }

    /// Opens what is at `path` as `O_PATH`; `None` if there is nothing.
    pub fn lookup(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.open_path(path, ResolveFlags::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.unreachable(path, errno)),
        }
    }

    /// Opens `path`, which no symbolic link may be part of.
    pub fn lookup_without_links(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.open_path(path, ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.unreachable(path, errno)),
        }
    }

    /// Opens `path` for `flags`.
    pub fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.openat2(path, flags, ResolveFlags::empty())
    }

    /// The entry `name` of the directory `parent`, not following it.
    pub fn lookup_in(&self, parent: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>> {
        match rustix::fs::openat(
            parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(in_container(Path::new(name), errno)),
        }
    }

    /// Opens the directory `path`, creating what is missing of it (mode 0755).
    pub fn create_directory(&self, path: &Path) -> Result<OwnedFd> {
        match self.lookup(path)? {
            Some(fd) => Ok(fd),
            None => self.make_directory(path),
        }
    }

    /// Opens the file `path`, creating an empty one (mode 0644), with its
    /// directory, if there is nothing.
    pub fn create_file(&self, path: &Path) -> Result<OwnedFd> {
        match self.lookup(path)? {
            Some(fd) => Ok(fd),
            None => self.make_file(path),
        }
    }

    /// Creates a directory that is known to be missing.
    pub fn make_directory(&self, path: &Path) -> Result<OwnedFd> {
        self.create(path, &mut 0)
    }

    /// Creates a file that is known to be missing.
    pub fn make_file(&self, path: &Path) -> Result<OwnedFd> {
        // A dangling link: the file belongs where it points to.
        let path = &self.follow_dangling(path)?;
        let (parent, name) = self.create_parent(path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o644))
            .map_err(|errno| not_writable(&parent, path, errno))?;
        // O_PATH, as for files that were there.
        self.lookup(path)?.ok_or_else(|| creation(path, Errno::NOENT))
    }

    /// The directory that holds `path`, created if missing, and the last name.
    pub fn create_parent(&self, path: &Path) -> Result<(OwnedFd, OsString)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(format!("{} is the root itself", path.display())));
        };
        Ok((self.create_directory(parent)?, name.to_owned()))
    }

    /// Creates a path that is known to be missing, from the deepest directory
    /// that is there.
    fn create(&self, path: &Path, links: &mut usize) -> Result<OwnedFd> {
        let mut missing = Vec::new();
        let mut present = path;
        let mut directory = loop {
            let (Some(parent), Some(name)) = (present.parent(), present.file_name()) else {
                return Err(creation(path, Errno::NOENT));
            };
            missing.push((present, name));
            present = parent;
            if let Some(directory) = self.take_near(parent) {
                break directory;
            }
            match self.open_path(parent, ResolveFlags::empty()) {
                Ok(fd) => break fd,
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(creation(path, errno)),
            }
        };
        for (step, name) in missing.into_iter().rev() {
            let created = self.create_component(&directory, name, step, links)?;
            let parent = std::mem::replace(&mut directory, created);
            self.stay(step.parent().unwrap_or(Path::new("/")), parent);
        }
        Ok(directory)
    }

    fn create_component(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        step: &Path,
        links: &mut usize,
    ) -> Result<OwnedFd> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name, flags, Mode::empty())
                    .map_err(|errno| creation(step, errno))
            }
            // A dangling link: create its target.
            Err(Errno::EXIST) => {
                *links += 1;
                if *links > LINK_LIMIT {
                    return Err(creation(step, Errno::LOOP));
                }
                let target = rustix::fs::readlinkat(parent, name, Vec::new())
                    .map_err(|e| creation(step, e))?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                let target =
                    super::plan::clean(&step.parent().unwrap_or(Path::new("/")).join(target));
                match self.lookup(&target)? {
                    Some(fd) => Ok(fd),
                    None => self.create(&target, links),
                }
            }
            Err(errno) => Err(not_writable(parent, step, errno)),
        }
    }

    /// Where a path ends whose last component may be a dangling symbolic link.
    fn follow_dangling(&self, path: &Path) -> Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..LINK_LIMIT {
            let (parent, name) = self.create_parent(&path)?;
            match rustix::fs::readlinkat(&parent, &name, Vec::new()) {
                Ok(target) => {
                    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    path =
                        super::plan::clean(&path.parent().unwrap_or(Path::new("/")).join(target));
                }
                Err(Errno::NOENT | Errno::INVAL) => return Ok(path),
                Err(errno) => return Err(creation(&path, errno)),
            }
        }
        Err(creation(&path, Errno::LOOP))
    }

    fn unreachable(&self, path: &Path, errno: Errno) -> Error {
        explain_owner(in_container(path, errno), self, LET_IN)
    }

    fn open_path(&self, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        self.openat2(path, OFlags::PATH, resolve)
    }

    fn openat2(
        &self,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> rustix::io::Result<OwnedFd> {
        if lacks(Defence::Rooted) {
            let below = path.strip_prefix("/").unwrap_or(path);
            let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            return rustix::fs::openat(&self.fd, below, flags | OFlags::CLOEXEC, Mode::empty());
        }
        // The kernel gives up with EAGAIN when a rename races with "..".
        let mut attempts = 0;
        loop {
            let opened = rustix::fs::openat2(
                &self.fd,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            );
            match opened {
                Err(Errno::AGAIN | Errno::INTR) if attempts < 128 => attempts += 1,
                other => return other,
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets go of a descriptor without closing it. Init closes everything with one
/// system call when the container has been created; only when there are very
/// many of them are they closed one by one.
pub fn retire(fd: OwnedFd) {
    const FEW: i32 = 128;
    if fd.as_raw_fd() < FEW {
        std::mem::forget(fd);
    }
}

fn in_container(path: &Path, errno: Errno) -> Error {
    Error::os(format!("cannot open {} in the container", path.display()), errno)
}

fn creation(path: &Path, errno: Errno) -> Error {
    Error::os(format!("cannot create {} in the container", path.display()), errno)
}

fn not_writable(parent: &OwnedFd, path: &Path, errno: Errno) -> Error {
    explain_owner(
        creation(path, errno),
        parent,
        "have it given to you (chown -R), or use --overlay",
    )
}

/// Whether `fd` is on the file system with this statfs(2) magic number.
pub fn is_on(fd: impl AsFd, magic: i64) -> Result<bool> {
    let statfs = rustix::fs::fstatfs(fd).os(|| "cannot examine a file system")?;
    Ok(statfs.f_type as i64 == magic)
}
