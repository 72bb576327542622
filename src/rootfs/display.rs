//! Plans for people to read.

use super::plan::{Op, Overlay, RootSource};
use super::plan_mount::{Mount, MountKind};
use std::fmt;

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::IsolateMounts => f.write_str("isolate mounts"),
            Op::AttachRoot(source) => write!(f, "attach rootfs {source}"),
            Op::OpenRoot(path) => write!(f, "open rootfs {}", path.display()),
            Op::RootPropagation(kind, recursive) => {
                write!(f, "make rootfs {}", propagation(*kind, *recursive))
            }
            Op::Mount(mount) => write!(f, "mount {}", mount.destination.display()),
            Op::Devices(devices) => {
                let names: Vec<_> =
                    devices.iter().map(|device| device.path.display().to_string()).collect();
                write!(f, "make devices {}", names.join(" "))
            }
            Op::DeviceLinks => f.write_str("make links in /dev"),
            Op::CreateDirectory(path) => write!(f, "create {}", path.display()),
            Op::ReadonlyMount(path) | Op::ReadonlyPath(path) => {
                write!(f, "make {} read-only", path.display())
            }
            Op::Mask(path) => write!(f, "mask {}", path.display()),
            Op::ReadonlyRoot => f.write_str("make rootfs read-only"),
            Op::Pivot => f.write_str("pivot_root"),
            Op::MoveRoot => f.write_str("move rootfs over the host's root and chroot"),
            Op::Chroot => f.write_str("chroot"),
        }
    }
}

impl fmt::Display for RootSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootSource::Directory(path) => write!(f, "{}", path.display()),
            RootSource::Overlay(Overlay { lower, upper, .. }) => {
                let lower: Vec<_> =
                    lower.iter().map(|layer| layer.path.display().to_string()).collect();
                write!(f, "{} under ", lower.join(":"))?;
                match upper {
                    Some(upper) => write!(f, "{}", upper.path.display()),
                    None => f.write_str("a tmpfs"),
                }
            }
        }
    }
}

impl Mount {
    /// What the step's one line does not say: source, attributes, data.
    pub fn details(&self) -> String {
        let mut words = vec![match &self.kind {
            MountKind::Bind { source, recursive: true, .. } => {
                format!("rbind of {}", source.display())
            }
            MountKind::Bind { source, .. } => format!("bind of {}", source.display()),
            MountKind::New { filesystem, .. } => filesystem.clone(),
            MountKind::Remount { .. } => "remount".to_owned(),
        }];
        words.extend(attributes(self.attributes.set, self.attributes.clear, ""));
        words.extend(attributes(self.recursive.set, self.recursive.clear, "r"));
        words.extend(
            self.propagation.iter().map(|(kind, recursive)| propagation(*kind, *recursive)),
        );
        if let MountKind::New { superblock, data, .. }
        | MountKind::Remount { superblock, data, .. } = &self.kind
        {
            words.extend(superblock.iter().filter(|flag| *flag != "ro").cloned());
            words.extend(data.iter().map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            }));
        }
        if self.idmap.is_some() {
            words.push("idmapped".to_owned());
        }
        if self.copy_up {
            words.push("filled with what it hides".to_owned());
        }
        words.join(", ")
    }
}

fn propagation(kind: u64, recursive: bool) -> String {
    let name = match kind {
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_UNBINDABLE => "unbindable",
        _ => "private",
    };
    format!("{}{name}", if recursive { "r" } else { "" })
}

/// Attribute bits as the options that set or clear them.
fn attributes(set: u64, clear: u64, prefix: &str) -> Vec<String> {
    const NAMES: &[(u64, &str, &str)] = &[
        (libc::MOUNT_ATTR_RDONLY, "ro", "rw"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid", "suid"),
        (libc::MOUNT_ATTR_NODEV, "nodev", "dev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec", "exec"),
        (libc::MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
        (libc::MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let mut words: Vec<String> = NAMES
        .iter()
        .filter_map(|(bit, on, off)| match (set & bit != 0, clear & bit != 0) {
            (true, _) => Some(format!("{prefix}{on}")),
            (_, true) => Some(format!("{prefix}{off}")),
            _ => None,
        })
        .collect();
    if clear & super::options::ATIME_FIELD != 0 {
        let policy = match set & super::options::ATIME_FIELD {
            libc::MOUNT_ATTR_NOATIME => "noatime",
            libc::MOUNT_ATTR_STRICTATIME => "strictatime",
            _ => "relatime",
        };
        words.push(format!("{prefix}{policy}"));
    }
    words
}
