//! Copies the content of a directory of the image into the file system that is
//! about to hide it (mount option `tmpcopyup`).
//!
//! The source is hostile: no link is followed, nothing but directories and
//! regular files is opened, and everything happens on descriptors.

use crate::error::{Context, Error, Result};
use rustix::buffer::spare_capacity;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Statx, StatxAttributes, StatxFlags,
    StatxTimestamp, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How deep directories may nest: each level holds two descriptors.
const DEEPEST: usize = 256;
/// How much is read at once from a file that sendfile(2) cannot read.
const CHUNK: usize = 64 * 1024;
/// Longest value of an extended attribute, and longest list of their names.
const XATTR_MAX: usize = 64 * 1024;

/// Copies everything in directory `from` into the empty, writable directory
/// `to`, which gets the mode, owner, times and extended attributes of `from`;
/// but what its mount was `given` (`mode`, `uid`, `gid`) stays.
///
/// Sockets and mount points are left out, and so are device nodes without the
/// privilege to make them. Owners and extended attributes that cannot be set
/// are not; holes stay holes; hard links become files of their own.
///
/// # Errors
/// `ENOSPC` when `to` is too small, and whatever reading and writing says.
pub fn copy_tree(from: BorrowedFd, to: BorrowedFd, given: impl Fn(&str) -> bool) -> Result<()> {
    let top = open_directory(from, c".")
        .and_then(|from| Level::top(from, open_directory(to, c".")?, given))
        .os(|| "cannot open the directory to copy")?;
    let mut levels = vec![top];
    while let Some(level) = levels.last_mut() {
        match level.step() {
            Ok(Step::Copied) => {}
            Ok(Step::Entered(inner)) if levels.len() < DEEPEST => levels.push(*inner),
            Ok(Step::Entered(inner)) => {
                let path = path(&levels, &inner.name);
                return Err(Error::new(format!(
                    "cannot copy {path:?}: directories are nested more than {DEEPEST} deep"
                )));
            }
            Ok(Step::Finished) => drop(levels.pop()),
            Err((name, errno)) => {
                let path = path(&levels, &name);
                return Err(Error::os(format!("cannot copy {path:?}"), errno));
            }
        }
    }
    Ok(())
}

/// Where `name` of the innermost level is, seen from the top.
fn path(levels: &[Level], name: &CStr) -> String {
    let outer = levels.iter().skip(1).map(|level| level.name.as_c_str());
    let parts: Vec<_> = outer.chain([name]).map(CStr::to_string_lossy).collect();
    parts.join("/")
}

/// A directory that is being copied.
struct Level {
    entries: Dir,
    to: OwnedFd,
    status: Statx,
    name: CString,
}

/// What became of one entry.
enum Step {
    /// It is copied, or left out.
    Copied,
    /// It is a directory.
    Entered(Box<Level>),
    /// There are no more.
    Finished,
}

impl Level {
    fn new(from: OwnedFd, to: OwnedFd, name: CString) -> Result<Self, Errno> {
        Ok(Self {
            status: status(from.as_fd(), c"", AtFlags::EMPTY_PATH)?,
            entries: Dir::new(from)?,
            to,
            name,
        })
    }

    fn top(from: OwnedFd, to: OwnedFd, given: impl Fn(&str) -> bool) -> Result<Self, Errno> {
        let own = status(to.as_fd(), c"", AtFlags::EMPTY_PATH)?;
        let mut level = Self::new(from, to, CString::default())?;
        if given("mode") {
            level.status.stx_mode = own.stx_mode;
        }
        if given("uid") {
            level.status.stx_uid = own.stx_uid;
        }
        if given("gid") {
            level.status.stx_gid = own.stx_gid;
        }
        Ok(level)
    }

    /// Copies the next entry; an error comes with its name.
    fn step(&mut self) -> Result<Step, (CString, Errno)> {
        let unnamed = |errno| (CString::default(), errno);
        let Some(entry) = self.entries.next() else {
            return self.finish().map(|()| Step::Finished).map_err(unnamed);
        };
        let entry = entry.map_err(unnamed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            return Ok(Step::Copied);
        }
        self.copy(name).map_err(|errno| (name.to_owned(), errno))
    }

    fn copy(&self, name: &CStr) -> Result<Step, Errno> {
        let from = self.entries.fd()?;
        let to = self.to.as_fd();
        let status = status(from, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?;
        // Not by device number: overlayfs gives its files those of its layers.
        if status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(Step::Copied);
        }
        match FileType::from_raw_mode(status.stx_mode.into()) {
            FileType::Directory => {
                rustix::fs::mkdirat(to, name, Mode::RWXU)?;
                let from = open_directory(from, name)?;
                let level = Level::new(from, open_directory(to, name)?, name.to_owned())?;
                return Ok(Step::Entered(Box::new(level)));
            }
            FileType::RegularFile => copy_file(from, to, name)?,
            FileType::Symlink => copy_link(from, to, name, &status)?,
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                copy_node(to, name, &status)?;
            }
            _ => {}
        }
        Ok(Step::Copied)
    }

    /// The directory's own attributes, which copying into it has changed.
    fn finish(&self) -> Result<(), Errno> {
        copy_attributes(self.entries.fd()?, self.to.as_fd(), &self.status)
    }
}

fn open_directory(parent: BorrowedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn status(directory: BorrowedFd, name: &CStr, flags: AtFlags) -> Result<Statx, Errno> {
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

fn copy_file(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> Result<(), Errno> {
    // Neither of them waits or acts, should it be no regular file any more.
    let harmless = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | harmless;
    let from = rustix::fs::openat(from, name, flags, Mode::empty())?;
    let status = status(from.as_fd(), c"", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(status.stx_mode.into()) != FileType::RegularFile {
        return Err(Errno::STALE);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    copy_data(from.as_fd(), to.as_fd(), status.stx_size)?;
    copy_attributes(from.as_fd(), to.as_fd(), &status)
}

/// Copies the first `size` bytes, and no holes: a sparse file of the image may
/// claim to be larger than the machine's memory.
fn copy_data(from: BorrowedFd, to: BorrowedFd, size: u64) -> Result<(), Errno> {
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => position,
            Err(errno) => return Err(errno),
        };
        let end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
            Ok(end) if end > start => end.min(size),
            _ => size,
        };
        copy_range(from, to, start, end)?;
        position = end;
    }
    rustix::fs::ftruncate(to, size)
}

fn copy_range(from: BorrowedFd, to: BorrowedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut position = start;
    rustix::fs::seek(to, SeekFrom::Start(start))?;
    while position < end {
        let length = usize::try_from(end - position).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(to, from, Some(&mut position), length) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::INVAL | Errno::NOSYS) => return read_and_write(from, to, position, end),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn read_and_write(from: BorrowedFd, to: BorrowedFd, start: u64, end: u64) -> Result<(), Errno> {
    let mut position = start;
    let mut buffer = vec![0; CHUNK];
    while position < end {
        let wanted = usize::try_from(end - position).map_or(CHUNK, |left| left.min(CHUNK));
        let read = rustix::io::pread(from, &mut buffer[..wanted], position)?;
        let mut written = 0;
        while written < read {
            let place = position + written as u64;
            written += rustix::io::pwrite(to, &buffer[written..read], place)?;
        }
        if read == 0 {
            break;
        }
        position += read as u64;
    }
    Ok(())
}

fn copy_link(from: BorrowedFd, to: BorrowedFd, name: &CStr, status: &Statx) -> Result<(), Errno> {
    let target = rustix::fs::readlinkat(from, name, Vec::new())?;
    rustix::fs::symlinkat(&target, to, name)?;
    let (owner, group) = ids(status);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    tolerate(rustix::fs::chownat(to, name, owner, group, flags))?;
    rustix::fs::utimensat(to, name, &times(status), flags)
}

fn copy_node(to: BorrowedFd, name: &CStr, status: &Statx) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(status.stx_mode.into());
    let device = rustix::fs::makedev(status.stx_rdev_major, status.stx_rdev_minor);
    match rustix::fs::mknodat(to, name, kind, Mode::empty(), device) {
        Err(Errno::PERM) => return Ok(()),
        other => other?,
    }
    let (owner, group) = ids(status);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let owned = tolerate(rustix::fs::chownat(to, name, owner, group, flags))?;
    // Does follow links, but this one was made here a moment ago.
    rustix::fs::chmodat(to, name, mode(status, owned), AtFlags::empty())?;
    rustix::fs::utimensat(to, name, &times(status), flags)
}

fn copy_attributes(from: BorrowedFd, to: BorrowedFd, status: &Statx) -> Result<(), Errno> {
    let (owner, group) = ids(status);
    // In this order: changing the owner clears set-id bits and file
    // capabilities, and everything but the times changes the times.
    let owned = tolerate(rustix::fs::fchown(to, owner, group))?;
    rustix::fs::fchmod(to, mode(status, owned))?;
    copy_xattrs(from, to);
    rustix::fs::futimens(to, &times(status))
}

/// Best effort: not every file system takes every attribute, nor every user.
fn copy_xattrs(from: BorrowedFd, to: BorrowedFd) {
    let mut names = Vec::with_capacity(XATTR_MAX);
    if rustix::fs::flistxattr(from, spare_capacity(&mut names)).is_err() {
        return;
    }
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let mut value = Vec::with_capacity(XATTR_MAX);
        if rustix::fs::fgetxattr(from, name, spare_capacity(&mut value)).is_ok() {
            let _ = rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty());
        }
    }
}

fn ids(status: &Statx) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(status.stx_uid)), Some(Gid::from_raw(status.stx_gid)))
}

/// Permission bits. A program that did not get its owner must not run with the
/// rights of the one that it got instead.
fn mode(status: &Statx, owned: bool) -> Mode {
    let mode = Mode::from_raw_mode((status.stx_mode & 0o7777).into());
    if owned { mode } else { mode.difference(Mode::SUID | Mode::SGID) }
}

fn times(status: &Statx) -> Timestamps {
    let timespec =
        |time: StatxTimestamp| Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec.into() };
    Timestamps {
        last_access: timespec(status.stx_atime),
        last_modification: timespec(status.stx_mtime),
    }
}

/// Whether a change of owner was possible: in a user namespace some ids are
/// not mapped, and a plain user may give nothing away.
fn tolerate(result: Result<(), Errno>) -> Result<bool, Errno> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::PERM | Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    /// Copies what `fill` puts into a directory, and hands both to `check`.
    fn copied(fill: impl FnOnce(&Path), check: impl FnOnce(&Path, &Path, Result<()>)) {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fill(from.path());
        let [source, target] = [&from, &to].map(|path| fs::File::open(path.path()).unwrap());
        let result = copy_tree(source.as_fd(), target.as_fd(), |_| false);
        check(from.path(), to.path(), result);
    }

    #[test]
    fn copies_files_with_their_attributes() {
        let fill = |from: &Path| {
            fs::create_dir_all(from.join("a/b")).unwrap();
            fs::write(from.join("a/b/f"), b"text").unwrap();
            fs::set_permissions(from.join("a/b/f"), fs::Permissions::from_mode(0o4751)).unwrap();
            let value = b"value";
            let flags = XattrFlags::empty();
            rustix::fs::setxattr(from.join("a/b/f"), "user.test", value, flags).unwrap();
            fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1500)).unwrap();
            fs::set_permissions(from, fs::Permissions::from_mode(0o751)).unwrap();
            symlink("/etc/passwd", from.join("link")).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, from.join("fifo"), FileType::Fifo, Mode::RWXU, 0)
                .unwrap();
        };
        copied(fill, |from, to, result| {
            result.unwrap();
            assert_eq!(fs::read(to.join("a/b/f")).unwrap(), b"text");
            for name in ["", "a", "a/b", "a/b/f", "link", "fifo"] {
                let [one, two] = [from, to].map(|top| top.join(name).symlink_metadata().unwrap());
                assert_eq!(one.mode(), two.mode(), "{name}");
                assert_eq!((one.uid(), one.gid()), (two.uid(), two.gid()), "{name}");
                assert_eq!(one.mtime_nsec(), two.mtime_nsec(), "{name}");
            }
            let target = fs::read_link(to.join("link")).unwrap();
            assert_eq!(target, Path::new("/etc/passwd"));
            let mut value = [0; 16];
            let read = rustix::fs::getxattr(to.join("a/b/f"), "user.test", &mut value[..]);
            assert_eq!(read, Ok(5));
        });
    }

    #[test]
    fn holes_stay_holes() {
        let fill = |from: &Path| {
            let file = fs::File::create(from.join("f")).unwrap();
            file.write_all_at(b"x", 1 << 40).unwrap();
            file.set_len(1 << 41).unwrap();
        };
        copied(fill, |_, to, result| {
            result.unwrap();
            let file = fs::File::open(to.join("f")).unwrap();
            assert_eq!(file.metadata().unwrap().len(), 1 << 41);
            assert!(file.metadata().unwrap().blocks() < 1024);
            let mut byte = [0];
            file.read_exact_at(&mut byte, 1 << 40).unwrap();
            assert_eq!(byte, *b"x");
        });
    }

    #[test]
    fn large_files_are_whole() {
        let bytes: Vec<u8> = (0..3_000_001u32).map(|n| (n % 251) as u8).collect();
        let fill = |from: &Path| fs::write(from.join("f"), &bytes).unwrap();
        copied(fill, |from, to, result| {
            result.unwrap();
            assert!(fs::read(to.join("f")).unwrap() == bytes);
            let [source, target] = [from, to].map(|top| top.join("f"));
            let source = fs::File::open(source).unwrap();
            let target = fs::File::create(target).unwrap();
            read_and_write(source.as_fd(), target.as_fd(), 0, bytes.len() as u64).unwrap();
            assert!(fs::read(to.join("f")).unwrap() == bytes);
        });
    }

    #[test]
    fn sockets_are_left_out() {
        let fill = |from: &Path| {
            std::os::unix::net::UnixListener::bind(from.join("s")).unwrap();
            fs::write(from.join("t"), b"").unwrap();
        };
        copied(fill, |_, to, result| {
            result.unwrap();
            assert!(!to.join("s").exists() && to.join("t").exists());
        });
    }

    #[test]
    fn depth_is_limited() {
        let fill = |from: &Path| {
            let mut directory: OwnedFd = fs::File::open(from).unwrap().into();
            for _ in 0..2000 {
                rustix::fs::mkdirat(&directory, c"d", Mode::RWXU).unwrap();
                directory = open_directory(directory.as_fd(), c"d").unwrap();
            }
        };
        copied(fill, |_, _, result| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("nested more than 256"), "{error}");
        });
    }

    #[test]
    fn mounts_are_left_out() {
        use nix::sched::{CloneFlags, unshare};
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        let test = || {
            if unshare(CloneFlags::CLONE_NEWNS).is_err() {
                return;
            }
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            let fill = |from: &Path| {
                fs::create_dir(from.join("m")).unwrap();
                mount("t", from.join("m"), "tmpfs", MountFlags::empty(), None).unwrap();
                fs::write(from.join("f"), b"").unwrap();
                rustix::mount::mount_bind("/etc/passwd", from.join("f")).unwrap();
                fs::write(from.join("g"), b"").unwrap();
            };
            copied(fill, |from, to, result| {
                result.unwrap();
                let exist = ["m", "f", "g"].map(|name| to.join(name).exists());
                assert_eq!(exist, [false, false, true]);
                for name in ["m", "f"] {
                    let flags = rustix::mount::UnmountFlags::DETACH;
                    rustix::mount::unmount(from.join(name), flags).unwrap();
                }
            });
        };
        std::thread::spawn(test).join().unwrap();
    }
}
