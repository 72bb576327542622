//! A root made by overlayfs: read-only layers below, changes on top.

use super::mount::{configure, with_log};
use super::plan::{Layer, Overlay};
use crate::error::{Context, Error, Result};
use rustix::fs::{CWD, Gid, Mode, OFlags, StatVfsMountFlags, Uid};
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
    create_directory(&changes.path).map_err(|error| changes.blame(error))?;
    let upper = changes.path.join(UPPER);
    let is_new = !upper.exists();
    for path in [&upper, &changes.path.join(WORK)] {
        create_directory(path).map_err(|error| changes.blame(error))?;
    }
    if let (true, Some(below)) = (is_new, asked.lower.first()) {
        let directory = std::fs::File::open(&upper).os(|| "cannot open the upper directory")?;
        take_after(&directory, &open_layer(below)?)?;
    }
    if let Some((uid, gid)) = asked.owner {
        let own = |path: &Path| std::os::unix::fs::chown(path, Some(uid), Some(gid));
        let new_upper = if is_new { own(&upper) } else { Ok(()) };
        new_upper
            .and_then(|()| own(&changes.path.join(WORK)))
            .os(|| format!("cannot give {} to root of the container", changes.path.display()))?;
    }
    Ok(())
}

fn create_directory(path: &Path) -> Result<()> {
    let made = std::fs::create_dir(path);
    match made {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let missing = path.ancestors().skip(1).filter(|above| !above.exists()).last();
            let missing = missing.unwrap_or(path).display();
            let message = format!("cannot make {}: {missing} does not exist", path.display());
            Err(Error::new(message).hint("make the directories above it first"))
        }
        made => made.os(|| format!("cannot make {}", path.display())),
    }
}

/// Gives a directory the owner and mode of another.
fn take_after(directory: impl AsFd, model: impl AsFd) -> Result<()> {
    let message = || "cannot give the overlay's root its owner and mode";
    let stat = rustix::fs::fstat(model).os(message)?;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&directory, Some(owner.0), Some(owner.1)).os(message)?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(stat.st_mode & 0o7777)).os(message)
}

/// Makes the overlay. Returns the detached mount.
pub fn make(asked: &Overlay) -> Result<OwnedFd> {
    let changes = match (&asked.upper, asked.lower.first()) {
        (Some(directory), _) => open_layer(directory)?,
        (None, Some(lower)) => tmpfs(lower)?,
        (None, None) => return Err(Error::new("an overlay needs a lower directory")),
    };
    let upper = open_directory(&changes, Path::new(UPPER))?;
    let work = open_directory(&changes, Path::new(WORK))?;
    let layers: Vec<OwnedFd> = asked.lower.iter().map(open_layer).collect::<Result<_>>()?;
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
    open_directory(CWD, &layer.path).map_err(|error| layer.blame(error))
}

fn open_directory(at: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
        .os(|| format!("cannot open overlay directory {}", path.display()))
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
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = rustix::fs::openat(&mount, UPPER, flags, Mode::empty()).os(message)?;
    take_after(&upper, open_layer(lower)?)?;
    Ok(mount)
}
