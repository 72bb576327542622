//! A root made by overlayfs: read-only layers below, changes on top.

use super::mount::{configure, with_log};
use super::plan::{Layer, Overlay};
use super::refused::{LET_IN, explain_owner};
use crate::error::{Context, Error, Result};
use crate::namespaces::{self, IdKind};
use rustix::fs::{Access, AtFlags, CWD, Gid, Mode, OFlags, StatVfsMountFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Directories inside the place for changes.
const UPPER: &str = "upper";
const WORK: &str = "work";

/// Creates what overlayfs wants in the directory for changes, and that
/// directory itself, but none above it: a slip of the pen is no wish. The root
/// of the overlay is the upper directory, so a new one looks like the layer
/// below it, which is the first of them. Root of a user namespace has to be able
/// to write to both.
pub fn create_upper(asked: &Overlay) -> Result<()> {
    let Some(changes) = &asked.upper else { return Ok(()) };
    let create = |path: &Path, mode| {
        let is_new = create_directory(path, mode)?;
        Ok((open_directory(CWD, path, OFlags::NOFOLLOW)?, is_new))
    };
    let blame = |error: Error| changes.blame(error);
    create_directory(&changes.path, 0o755).map_err(blame)?;
    let (upper, is_new) = create(&changes.path.join(UPPER), 0o755).map_err(blame)?;
    let (work, _) = create(&changes.path.join(WORK), 0o700).map_err(blame)?;
    if let (true, Some(below)) = (is_new, asked.lower.first()) {
        take_after(&upper, &open_layer(below)?)?;
    }
    if let Some((uid, gid)) = asked.owner {
        let new_upper = if is_new { own(&upper, Some(uid), Some(gid)) } else { Ok(()) };
        new_upper
            .and_then(|()| own(&work, Some(uid), Some(gid)))
            .os(|| format!("cannot give {} to root of the container", changes.path.display()))?;
    }
    Ok(())
}

/// Returns whether it was missing. Init has no umask by now.
fn create_directory(path: &Path, mode: u32) -> Result<bool> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(mode).create(path);
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let missing = path.ancestors().skip(1).filter(|above| !above.exists()).last();
            let missing = missing.unwrap_or(path).display();
            let message = format!("cannot make {}: {missing} does not exist", path.display());
            Err(Error::new(message).hint("make the directories above it first"))
        }
        made => made.map(|()| true).os(|| format!("cannot make {}", path.display())),
    }
}

/// Gives a directory the mode of another, and its owner if that is somebody in the
/// user namespace: otherwise it stays root's of the container.
fn take_after(directory: &OwnedFd, model: impl AsFd) -> Result<()> {
    let message = || "cannot give the overlay's root its owner and mode";
    let stat = rustix::fs::fstat(model).os(message)?;
    let uid = namespaces::known_id(IdKind::User, stat.st_uid);
    let gid = namespaces::known_id(IdKind::Group, stat.st_gid);
    own(directory, uid, gid).os(message)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    rustix::fs::chmod(by_descriptor(directory), mode).os(message)
}

fn own(directory: &OwnedFd, uid: Option<u32>, gid: Option<u32>) -> rustix::io::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    rustix::fs::chownat(directory, "", uid, gid, AtFlags::EMPTY_PATH)
}

/// Makes the overlay. Returns the detached mount.
pub fn make(asked: &Overlay) -> Result<OwnedFd> {
    let changes = match (&asked.upper, asked.lower.first()) {
        (Some(directory), _) => open_layer(directory)?,
        (None, Some(lower)) => tmpfs(lower)?,
        (None, None) => return Err(Error::new("an overlay needs a lower directory")),
    };
    let upper = open_directory(&changes, Path::new(UPPER), OFlags::NOFOLLOW)?;
    let work = open_directory(&changes, Path::new(WORK), OFlags::NOFOLLOW)?;
    let layers: Vec<OwnedFd> = asked.lower.iter().map(open_lower).collect::<Result<_>>()?;
    let context =
        rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
            Error::os("cannot mount overlay", errno)
                .hint("load the kernel module: modprobe overlay")
        })?;
    set_layers(&context, &layers)?;
    configure(&context, "upperdir", Some(&by_descriptor(&upper)))?;
    configure(&context, "workdir", Some(&by_descriptor(&work)))?;
    if asked.user_xattr {
        configure(&context, "userxattr", None)?;
    }
    rustix::mount::fsconfig_create(&context)
        .map_err(|errno| with_log(&context, "cannot mount overlay".to_owned(), errno))?;
    let overlay =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(|errno| {
                with_log(&context, "cannot make the overlay mount".to_owned(), errno)
            })?;
    if asked.upper.is_none() {
        // The overlay keeps it alive.
        rustix::mount::unmount(by_descriptor(&changes), UnmountFlags::DETACH)
            .os(|| "cannot detach the tmpfs for changes")?;
    }
    let stat = rustix::fs::fstatvfs(&overlay).os(|| "cannot examine the overlay")?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Error::new("the overlay takes no changes: overlayfs cannot write to its directories")
            .hint("the kernel's log says why; can root of the container write to the directory for changes?"));
    }
    Ok(overlay)
}

/// Gives the layers one by one, or in one list to kernels before 6.5.
fn set_layers(context: &OwnedFd, layers: &[OwnedFd]) -> Result<()> {
    let paths: Vec<String> = layers.iter().map(by_descriptor).collect();
    for (index, path) in paths.iter().enumerate() {
        match rustix::mount::fsconfig_set_string(context, "lowerdir+", path.as_str()) {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => {
                return configure(context, "lowerdir", Some(&paths.join(":")));
            }
            Err(errno) => {
                return Err(with_log(context, format!("layer {index} was refused"), errno));
            }
        }
    }
    Ok(())
}

/// A path of a fixed length, whatever the directory is called: overlayfs takes
/// only strings, shorter than 256 bytes and without colons.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open_layer(layer: &Layer) -> Result<OwnedFd> {
    open_directory(CWD, &layer.path, OFlags::empty()).map_err(|error| layer.blame(error))
}

/// A layer that may not be passed would be found out by whoever looks anything up.
fn open_lower(layer: &Layer) -> Result<OwnedFd> {
    let directory = open_layer(layer)?;
    let passed = rustix::fs::accessat(&directory, ".", Access::EXEC_OK, AtFlags::empty());
    passed.map_err(|errno| {
        let error = Error::os(format!("cannot look into {}", layer.path.display()), errno);
        layer.blame(explain_owner(error, &directory, LET_IN))
    })?;
    Ok(directory)
}

/// With `NOFOLLOW` for what hako makes: a symbolic link in its place would have the
/// container write to any directory of the host's.
fn open_directory(at: impl AsFd, path: &Path, further: OFlags) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | further;
    rustix::fs::openat(at, path, flags, Mode::empty()).map_err(|errno| {
        let error = Error::os(format!("cannot open overlay directory {}", path.display()), errno);
        match errno {
            Errno::NOTDIR if further.contains(OFlags::NOFOLLOW) => {
                error.hint("it must be a directory, and no symbolic link to one: remove it")
            }
            _ => error,
        }
    })
}

/// A tmpfs for changes, attached on "/" for as long as the overlay is made:
/// overlayfs before 6.15 does not take layers from detached mounts.
fn tmpfs(lower: &Layer) -> Result<OwnedFd> {
    let message = || "cannot make a tmpfs for changes";
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).os(message)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0755").os(message)?;
    rustix::mount::fsconfig_create(&context).os(message)?;
    let mount =
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .os(message)?;
    rustix::mount::move_mount(&mount, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .os(message)?;
    for name in [UPPER, WORK] {
        rustix::fs::mkdirat(&mount, name, Mode::from_raw_mode(0o755)).os(message)?;
    }
    let upper = open_directory(&mount, Path::new(UPPER), OFlags::NOFOLLOW)?;
    take_after(&upper, open_layer(lower)?)?;
    Ok(mount)
}
