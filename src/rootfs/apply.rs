//! How: the steps that assemble the container's file system.

use super::devices::{self, EMPTY_BOTH};
use super::mount::{Prepared, clone_tree};
use super::overlay;
use super::path::{Root, retire};
use super::plan::{Op, RootSource};
use crate::error::{Context, Error, Result};
use crate::sys::{self, MountAttributes};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What init keeps between steps.
#[derive(Debug, Default)]
pub struct Workspace {
    root: Option<Root>,
    /// The first mask of a directory: an empty read-only one.
    empty: Option<OwnedFd>,
    /// The first mask of a file: the host's /dev/null.
    null: Option<OwnedFd>,
}

impl Workspace {
    /// Lets go of all descriptors without closing them one by one.
    pub fn forget(self) {
        self.root
            .map(Root::into_fd)
            .into_iter()
            .chain(self.empty)
            .chain(self.null)
            .for_each(retire);
    }

    /// The container's root.
    ///
    /// # Errors
    /// When no step has opened one: a plan out of order.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::new("the root is not open yet"))
    }
}

impl Op {
    /// Opens what the step needs from the host, before the clone.
    pub fn prepare(&self) -> Result<Prepared> {
        match self {
            Op::Mount(mount) => mount.prepare(),
            Op::AttachRoot(RootSource::Directory(path)) => {
                let directory = open_root_directory(path)?;
                let tree = clone_tree(&directory, true)
                    .os(|| format!("cannot clone the mount of {}", path.display()))?;
                let slave = MountAttributes { propagation: libc::MS_SLAVE, ..Default::default() };
                sys::mount_setattr(tree.as_fd(), c"", true, &slave)
                    .os(|| format!("cannot isolate {}", path.display()))?;
                Ok(Prepared { tree: Some(tree), is_directory: true, ..Default::default() })
            }
            Op::AttachRoot(RootSource::Overlay(asked)) => {
                overlay::create_upper(asked)?;
                Ok(Prepared::default())
            }
            _ => Ok(Prepared::default()),
        }
    }

    /// Does the step, as init.
    pub fn apply(&self, workspace: &mut Workspace, prepared: &mut Prepared) -> Result<()> {
        match self {
            Op::IsolateMounts => set_root_propagation(libc::MS_SLAVE, true),
            Op::AttachRoot(source) => {
                let tree = match (source, prepared.tree.take()) {
                    (RootSource::Directory(_), Some(tree)) => tree,
                    (RootSource::Overlay(asked), _) => overlay::make(asked)?,
                    (RootSource::Directory(path), None) => {
                        return Err(Error::new(format!("{} was not opened", path.display())));
                    }
                };
                attach_root(&tree, source.place())?;
                workspace.root = Some(Root::new(tree));
                Ok(())
            }
            Op::OpenRoot(path) => {
                workspace.root = Some(Root::new(open_root_directory(path)?));
                Ok(())
            }
            Op::RootPropagation(propagation, recursive) => {
                let change = MountAttributes { propagation: *propagation, ..Default::default() };
                sys::mount_setattr(workspace.root()?.as_fd(), c"", *recursive, &change)
                    .os(|| "cannot set the propagation of the root")
            }
            Op::Mount(mount) => mount.apply(workspace.root()?, prepared),
            Op::Devices(devices) => devices::make_all(workspace.root()?, devices),
            Op::DeviceLinks => devices::make_links(workspace.root()?),
            Op::CreateDirectory(path) => workspace.root()?.create_directory(path).map(drop),
            Op::ReadonlyMount(path) => match workspace.root()?.lookup(path)? {
                Some(mount) => make_readonly(mount.as_fd(), false),
                None => Ok(()),
            },
            Op::Mask(path) => mask(workspace, path),
            Op::ReadonlyPath(path) => readonly_path(workspace.root()?, path),
            Op::ReadonlyRoot => make_readonly(workspace.root()?.as_fd(), false),
            Op::Pivot => pivot(workspace.root()?),
            Op::MoveRoot => {
                // What is mounted on the host's root covers it: no way up leads past it.
                let root = workspace.root()?;
                let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                rustix::mount::move_mount(root, "", CWD, "/", from)
                    .os(|| "cannot move the root over the host's")?;
                enter_by_chroot(root)
            }
            Op::Chroot => enter_by_chroot(workspace.root()?),
        }
    }
}

/// The rootfs must be a directory itself: behind a link, an image could have
/// its root anywhere on the host.
fn open_root_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
        let error = Error::os(format!("cannot open rootfs {}", path.display()), errno);
        match errno {
            rustix::io::Errno::NOTDIR if path.is_symlink() => {
                error.hint("root.path must be a directory, not a symbolic link to one")
            }
            rustix::io::Errno::NOENT => error.hint("root.path is relative to the bundle"),
            _ => error,
        }
    })
}

fn set_root_propagation(propagation: u64, recursive: bool) -> Result<()> {
    let change = MountAttributes { propagation, ..Default::default() };
    sys::mount_setattr(CWD, c"/", recursive, &change).os(|| "cannot isolate the mount namespace")
}

/// Attaches the root where the bundle has it: hooks mount below that path what
/// is to be seen in the container. Root of a user namespace may not be able to
/// reach it; then on top of the host's "/" in init's private mount namespace.
/// Absolute paths lead to the host until the pivot either way, because a
/// process's root directory stays below what is mounted over it.
fn attach_root(tree: &OwnedFd, place: &Path) -> Result<()> {
    let attach = |path: &Path| {
        let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(tree, "", CWD, path, from)
    };
    match attach(place) {
        Err(rustix::io::Errno::ACCESS) => attach(Path::new("/")),
        result => result,
    }
    .os(|| "cannot attach the root")
}

/// Hides a path: a file behind /dev/null, a directory behind an empty one. All
/// covers of a kind are clones of the first; it stays attached, because letting
/// go of a detached mount makes the kernel wait.
fn mask(workspace: &mut Workspace, path: &Path) -> Result<()> {
    let Some(target) = workspace.root()?.lookup(path)? else {
        return Ok(());
    };
    let stat = rustix::fs::fstat(&target).os(|| format!("cannot examine {}", path.display()))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    let first = if is_directory { &mut workspace.empty } else { &mut workspace.null };
    let cover = match first {
        Some(first) => clone_tree(first, false).os(|| "cannot clone a cover")?,
        None if is_directory => empty_directory()?,
        None => {
            let null = host_null()?;
            let cover = clone_tree(&null, false).os(|| "cannot clone /dev/null of the host")?;
            retire(null);
            cover
        }
    };
    rustix::mount::move_mount(&cover, "", &target, "", EMPTY_BOTH)
        .os(|| format!("cannot cover {}", path.display()))?;
    match first {
        Some(_) => retire(cover),
        None => *first = Some(cover),
    }
    retire(target);
    Ok(())
}

fn empty_directory() -> Result<OwnedFd> {
    let message = || "cannot make an empty directory for masked paths";
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).os(message)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "0555").os(message)?;
    rustix::mount::fsconfig_set_flag(&context, "ro").os(message)?;
    rustix::mount::fsconfig_create(&context).os(message)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).os(message)
}

/// The host's /dev/null, verified: an image's own could be anything.
fn host_null() -> Result<OwnedFd> {
    let null = rustix::fs::open(
        "/dev/null",
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .os(|| "cannot open /dev/null of the host")?;
    let stat = rustix::fs::fstat(&null).os(|| "cannot examine /dev/null of the host")?;
    let is_null = FileType::from_raw_mode(stat.st_mode).is_char_device()
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    is_null
        .then_some(null)
        .ok_or_else(|| Error::new("/dev/null of the host is not the null device"))
}

/// Makes a path read-only, and everything mounted below it.
fn readonly_path(root: &Root, path: &Path) -> Result<()> {
    if path == Path::new("/") {
        // Nothing can be put over the root that a process has already.
        return make_readonly(root.as_fd(), true);
    }
    let Some(target) = root.lookup(path)? else {
        return Ok(());
    };
    let tree =
        clone_tree(&target, true).os(|| format!("cannot clone the mount of {}", path.display()))?;
    make_readonly(tree.as_fd(), true)?;
    rustix::mount::move_mount(&tree, "", &target, "", EMPTY_BOTH)
        .os(|| format!("cannot attach it at {}", path.display()))?;
    retire(tree);
    retire(target);
    Ok(())
}

fn make_readonly(mount: BorrowedFd, recursive: bool) -> Result<()> {
    let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    sys::mount_setattr(mount, c"", recursive, &readonly).os(|| "cannot make it read-only")
}

/// Exchanges the host's root for the container's, and unmounts the host's, with
/// whatever covers it: after pivot_root(2) they are on top of the new root, and
/// unmounting "." takes the topmost.
fn pivot(root: &Root) -> Result<()> {
    let host = mount_id("/");
    rustix::process::fchdir(root).os(|| "cannot enter the root")?;
    rustix::process::pivot_root(".", ".").map_err(|errno| {
        let error = Error::os("cannot pivot into the root", errno);
        match errno {
            rustix::io::Errno::INVAL => {
                error.hint("on a host that runs from an initramfs, use --no-pivot")
            }
            _ => error,
        }
    })?;
    loop {
        let topmost = mount_id("..");
        rustix::mount::unmount(".", UnmountFlags::DETACH).os(|| "cannot detach the host's root")?;
        if topmost == host {
            return Ok(());
        }
    }
}

/// Identifies the mount that a path leads to; not where statx(2) is denied, as
/// some sandboxes do.
fn mount_id(path: &str) -> Option<u64> {
    rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)
        .map(|stat| stat.stx_mnt_id)
        .ok()
}

fn enter_by_chroot(root: &Root) -> Result<()> {
    rustix::process::fchdir(root).os(|| "cannot enter the root")?;
    rustix::process::chroot(".").os(|| "cannot change the root")
}
