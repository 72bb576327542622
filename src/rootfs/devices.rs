//! Device nodes and the links in `/dev`.

use super::mount::clone_tree;
use super::path::Root;
use super::refused::explain_id;
use crate::error::{Context, Error, Result};
use crate::host::Maker;
use crate::namespaces::IdKind;
use crate::plan::Compiler;
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::MoveMountFlags;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Path in the container.
    pub path: PathBuf,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Device number.
    pub major: u32,
    /// Device number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
    /// Bind the host's node instead of making one: mknod(2) is not for user
    /// namespaces, the container's own or the one that hako is in.
    pub bind: bool,
    /// Where `config.json` lists it; `None` for default devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
}

impl Device {
    fn is(&self, kind: char, major: u32, minor: u32) -> bool {
        (self.kind, self.major, self.minor) == (kind, major, minor)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}:{}", self.path.display(), self.kind, self.major, self.minor)
    }
}

/// config-linux.md, "Default Devices". `console` and `ptmx` come with the
/// terminal and devpts.
const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The default devices, then those of the configuration, which may replace them.
pub fn plan(linux: &Linux, compiler: &mut Compiler) -> Vec<Device> {
    let bind = compiler.in_user_namespace() || compiler.host.maker() != Maker::Root;
    let mut devices: Vec<Device> = DEFAULT
        .iter()
        .map(|(path, major, minor)| Device {
            path: path.into(),
            kind: 'c',
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            bind,
            pointer: None,
        })
        .collect();
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let pointer = format!("/linux/devices/{index}");
        let Some(planned) = plan_device(device, pointer, bind, compiler) else {
            continue;
        };
        let default = DEFAULT.iter().find(|(path, ..)| planned.path == Path::new(path));
        if default.is_some_and(|(_, major, minor)| !planned.is('c', *major, *minor)) {
            let error = Error::new(format!("{planned} would not be the default device"));
            compiler.fault(error.at(format!("/linux/devices/{index}/path")));
        }
        devices.push(planned);
    }
    // The same path twice: the configuration's last word counts.
    let mut later: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
    devices.reverse();
    devices.retain(|device| {
        let replaced_by = later.get(&device.path).cloned().flatten();
        if let (Some(pointer), Some(by)) = (&device.pointer, replaced_by) {
            compiler.warn(format!("{pointer}: {} is made as {by} says", device.path.display()));
        }
        later.insert(device.path.clone(), device.pointer.clone()).is_none()
    });
    devices.reverse();
    devices
}

fn plan_device(
    device: &LinuxDevice,
    pointer: String,
    bind: bool,
    compiler: &mut Compiler,
) -> Option<Device> {
    let path = device.path();
    if !path.is_absolute() {
        compiler.fault(
            Error::new(format!("device path {:?} is not absolute", path.display()))
                .at(format!("{pointer}/path")),
        );
    }
    compiler.refuse_nul_at(&format!("{pointer}/path"), &path.to_string_lossy());
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::P => 'p',
        LinuxDeviceType::A => {
            compiler.fault(
                Error::new("device type \"a\" is for cgroup rules only")
                    .at(format!("{pointer}/type")),
            );
            return None;
        }
    };
    let mut number = |value: i64, field: &str, bits: u32| {
        let number = u32::try_from(value).ok().filter(|number| number >> bits == 0);
        number.unwrap_or_else(|| {
            let largest = (1 << bits) - 1;
            compiler.fault(
                Error::new(format!("device number {value} is out of range: 0 to {largest}"))
                    .at(format!("{pointer}/{field}")),
            );
            0
        })
    };
    let (major, minor) = match kind {
        'p' => (0, 0),
        // As many bits as the kernel keeps; the rest would make it another device.
        _ => (number(device.major(), "major", 12), number(device.minor(), "minor", 20)),
    };
    let ids = [(IdKind::User, device.uid(), "uid"), (IdKind::Group, device.gid(), "gid")];
    for (owner, id, field) in ids {
        // What is bound keeps its owner.
        if let (Some(id), 'p') = (id, kind) {
            compiler.refuse_unmapped(owner, id, format!("{pointer}/{field}"));
        }
        // To the kernel it means "leave unchanged".
        if id == Some(u32::MAX) {
            compiler.fault(
                Error::new(format!("{field} {} is no id", u32::MAX))
                    .at(format!("{pointer}/{field}")),
            );
        }
    }
    Some(Device {
        path: super::plan::clean(path),
        kind,
        major,
        minor,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        bind: bind && kind != 'p',
        pointer: Some(pointer),
    })
}

/// Makes device nodes below the container's root.
pub fn make_all(root: &Root, devices: &[Device]) -> Result<()> {
    devices.iter().try_for_each(|device| {
        let directory = device.path.parent().unwrap_or(Path::new("/"));
        root.within(directory, |parent| make(root, parent, device)).map_err(|error| {
            match &device.pointer {
                Some(pointer) => error.at(pointer.clone()),
                None => error,
            }
        })
    })
}

fn make(root: &Root, parent: &OwnedFd, device: &Device) -> Result<()> {
    let Some(name) = device.path.file_name() else {
        return Err(Error::new(format!("{} is not a device path", device.path.display())));
    };
    if device.bind {
        return match root.lookup_in(parent, name)? {
            Some(existing) => accept_existing(device, &existing),
            None => bind_from_host(root, device),
        };
    }
    let kind = match device.kind {
        'c' => FileType::CharacterDevice,
        'b' => FileType::BlockDevice,
        _ => FileType::Fifo,
    };
    let mode = Mode::from_raw_mode(device.mode);
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(parent, name, kind, mode, number) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            return match root.lookup_in(parent, name)? {
                Some(existing) => accept_existing(device, &existing),
                None => Err(Error::new(format!("cannot make device {device}: it vanished"))),
            };
        }
        Err(errno) => return Err(Error::os(format!("cannot make device {device}"), errno)),
    }
    if (device.uid, device.gid) != (0, 0) {
        let owner = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(parent, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| {
                let what = format!("cannot give device {device} to {}:{}", device.uid, device.gid);
                let error = explain_id(Error::os(what, errno), IdKind::User, device.uid);
                explain_id(error, IdKind::Group, device.gid)
            })?;
    }
    Ok(())
}

/// A node that is already in the image is fine if it is the same device.
fn accept_existing(device: &Device, existing: &OwnedFd) -> Result<()> {
    let stat =
        rustix::fs::fstat(existing).os(|| format!("cannot examine {}", device.path.display()))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        _ => '-',
    };
    let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if kind == device.kind && (kind == 'p' || number == (device.major, device.minor)) {
        return Ok(());
    }
    Err(Error::new(format!(
        "cannot make device {device}: the path exists in the container and is something else"
    ))
    .hint("remove the file from the rootfs, or the device from linux.devices"))
}

/// Binds the host's node.
fn bind_from_host(root: &Root, device: &Device) -> Result<()> {
    let host = find_on_host(device)?;
    let tree = clone_tree(&host, false)
        .os(|| format!("cannot clone {} of the host", device.path.display()))?;
    let target = root.create_file(&device.path)?;
    rustix::mount::move_mount(&tree, "", &target, "", EMPTY_BOTH)
        .os(|| format!("cannot bind device {}", device.path.display()))
}

/// The host's node, verified by its number: at the same path or, for one that is
/// called otherwise inside, where the kernel has it in /dev.
fn find_on_host(device: &Device) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = |place: &Path| {
        let node = rustix::fs::open(place, flags, Mode::empty()).ok()?;
        accept_existing(device, &node).is_ok().then_some(node)
    };
    let by_kernel = || open(&Path::new("/dev").join(kernel_name(device)?));
    open(&device.path).or_else(by_kernel).ok_or_else(|| {
        let Device { kind, major, minor, .. } = device;
        Error::new(format!("the host has no node of the device {kind} {major}:{minor}"))
            .hint("nodes cannot be made in a user namespace, only bound: as root of the machine, mknod it at the same path")
    })
}

/// What the kernel calls a device in devtmpfs (sysfs(5)).
fn kernel_name(device: &Device) -> Option<String> {
    let directory = if device.kind == 'b' { "block" } else { "char" };
    let path = format!("/sys/dev/{directory}/{}:{}/uevent", device.major, device.minor);
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(str::to_owned)
}

/// `move_mount` flags for two descriptors and no paths.
pub const EMPTY_BOTH: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Links every container has in `/dev`.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Whether nothing that is mounted there covers one of these devices or of the links,
/// or is on top of one.
pub fn are_apart<'a>(devices: &[Device], mut destinations: impl Iterator<Item = &'a Path>) -> bool {
    let links: Vec<_> = LINKS.iter().map(|(_, name)| Path::new("/dev").join(name)).collect();
    let made: Vec<_> = devices.iter().map(|device| &device.path).chain(&links).collect();
    destinations.all(|destination| {
        made.iter().all(|path| !path.starts_with(destination) && !destination.starts_with(path))
    })
}

/// Makes the links.
pub fn make_links(root: &Root) -> Result<()> {
    root.within(Path::new("/dev"), |dev| {
        LINKS.iter().try_for_each(|(target, name)| {
            match rustix::fs::symlinkat(*target, dev, *name) {
                Err(rustix::io::Errno::EXIST) if *name == "ptmx" => replace_ptmx(dev),
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                refused => refused.os(|| format!("cannot link /dev/{name} to {target}")),
            }
        })
    })
}

/// A ptmx of the image would open terminals of another devpts instance.
fn replace_ptmx(dev: &OwnedFd) -> Result<()> {
    rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty())
        .os(|| "cannot remove /dev/ptmx of the image")?;
    rustix::fs::symlinkat("pts/ptmx", dev, "ptmx").os(|| "cannot link /dev/ptmx to pts/ptmx")
}
