//! What: one entry of `mounts`.

use super::options::{self, Attributes, Parsed};
use super::plan::clean;
use crate::cgroups::{Driver, Placement};
use crate::error::{Error, name_of};
use crate::host::Maker;
use crate::namespaces::{self, CloneSet, IdKind, IdMapping, IdMaps, Kind};
use crate::notify;
use crate::plan::Compiler;
use crate::weaken::{Defence, lacks};
use oci_spec::runtime::{Linux, Mount as SpecMount};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// One entry of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path in the container.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of everything in the tree.
    pub recursive: Attributes,
    /// Propagation types, in order: `MS_*`, recursive.
    pub propagation: Vec<(u64, bool)>,
    /// Ownership mapping.
    pub idmap: Option<Idmap>,
    /// Fill the tmpfs with what it hides.
    pub copy_up: bool,
    /// Do not follow a symbolic link at the destination.
    pub destination_nofollow: bool,
}

impl Mount {
    /// It becomes read-only when it is filled.
    pub fn be_writable_at_first(&mut self) {
        self.attributes.set &= !libc::MOUNT_ATTR_RDONLY;
        if let MountKind::New { superblock, .. } = &mut self.kind {
            superblock.retain(|flag| flag != "ro");
        }
    }
}

/// An idmapped mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Idmap {
    /// The mapping.
    pub maps: IdMaps,
    /// The whole tree.
    pub recursive: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum MountKind {
    /// Part of the host's file system.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Mount the source itself if it is a symbolic link.
        nofollow: bool,
        /// Recreate a source that is a symbolic link.
        copy_symlink: bool,
    },
    /// A file system of its own.
    New {
        /// `proc`, `tmpfs`, …
        filesystem: String,
        /// The device, or a name shown in mountinfo.
        source: String,
        /// Superblock flags.
        superblock: Vec<String>,
        /// Parameters.
        data: Vec<(String, Option<String>)>,
    },
    /// A change of what is mounted at the destination.
    Remount {
        /// Superblock flags.
        superblock: Vec<String>,
        /// Parameters.
        data: Vec<(String, Option<String>)>,
        /// Leave the superblock alone (`bind,remount`).
        mount_only: bool,
    },
}

/// Resolves one entry of `mounts`. `None` if its faults leave nothing to plan.
pub fn plan_mount(
    mount: &SpecMount,
    pointer: &str,
    linux: &Linux,
    clone: &CloneSet,
    cgroup: &Placement,
    compiler: &mut Compiler,
) -> Option<Mount> {
    let no_options = Vec::new();
    let words = mount.options().as_ref().unwrap_or(&no_options);
    compiler.refuse_nul(&format!("{pointer}/options"), words);
    let source = mount.source().clone().unwrap_or_default();
    for (field, value) in [
        ("destination", mount.destination().to_string_lossy()),
        ("source", source.to_string_lossy()),
        ("type", mount.typ().as_deref().unwrap_or_default().into()),
    ] {
        compiler.refuse_nul_at(&format!("{pointer}/{field}"), &value);
    }
    let parsed = options::parse(words);
    if mount.destination().as_os_str().is_empty() {
        let pointer = format!("{pointer}/destination");
        compiler.fault(Error::new(format!("{} is empty", name_of(&pointer))).at(pointer));
    }
    let destination = clean(mount.destination());
    check_destination(
        &destination,
        mount.typ().as_deref(),
        parsed.bind.is_some(),
        pointer,
        compiler,
    );
    let idmap = plan_idmap(mount, &parsed, linux, clone, pointer, compiler);
    let mut kind = plan_kind(mount, &parsed, &source, clone, cgroup, pointer, compiler)?;
    if let (MountKind::New { data, .. }, None) = (&kind, &idmap) {
        refuse_unmapped_owners(data, pointer, compiler);
    }
    label_files(&mut kind, linux);
    let (attributes, recursive) = restrict(mount, &kind, &parsed, compiler);
    if matches!(kind, MountKind::Bind { .. }) && !parsed.data.is_empty() {
        let names: Vec<_> = parsed.data.iter().map(|(key, _)| key.as_str()).collect();
        compiler.warn(format!("{pointer}: ignoring {} on a bind mount", names.join(", ")));
    }
    if parsed.copy_up && mount.typ().as_deref() != Some("tmpfs") {
        compiler.fault(Error::new("tmpcopyup needs type tmpfs").at(format!("{pointer}/options")));
    }
    let inherited = match kind {
        MountKind::Bind { .. } => bind_propagation(linux),
        _ => None,
    };
    Some(Mount {
        destination,
        kind,
        attributes,
        recursive,
        propagation: fold_propagation(inherited.into_iter().chain(parsed.propagation)),
        idmap,
        copy_up: parsed.copy_up,
        destination_nofollow: parsed.destination_nofollow,
    })
}

/// The directory of the notify socket, bound into the container.
pub fn notify_mount(directory: &Path, linux: &Linux) -> Mount {
    let words = ["nosuid", "nodev", "noexec"].map(str::to_owned);
    Mount {
        destination: PathBuf::from(notify::MOUNT_POINT),
        kind: MountKind::Bind {
            source: directory.to_owned(),
            recursive: false,
            nofollow: true,
            copy_symlink: false,
        },
        attributes: options::parse(&words).attributes,
        recursive: Attributes::default(),
        propagation: bind_propagation(linux).into_iter().collect(),
        idmap: None,
        copy_up: false,
        destination_nofollow: false,
    }
}

/// What a bind mount gets before its own options: it follows the host's mounts
/// without leading them, unless the whole container is to share them.
fn bind_propagation(linux: &Linux) -> Option<(u64, bool)> {
    let word = linux.rootfs_propagation().as_deref().unwrap_or("");
    match word.trim_start_matches('r') {
        "shared" => None,
        "private" | "unbindable" => Some((libc::MS_PRIVATE, true)),
        _ => Some((libc::MS_SLAVE, true)),
    }
}

/// Drops changes that a later one undoes. Shared does not undo slave: a mount
/// can be both.
fn fold_propagation(changes: impl Iterator<Item = (u64, bool)>) -> Vec<(u64, bool)> {
    changes.fold(Vec::new(), |mut kept, (kind, recursive)| {
        if recursive && kind != libc::MS_SHARED {
            kept.clear();
        }
        kept.push((kind, recursive));
        kept
    })
}

fn plan_kind(
    mount: &SpecMount,
    parsed: &Parsed,
    source: &Path,
    clone: &CloneSet,
    cgroup: &Placement,
    pointer: &str,
    compiler: &mut Compiler,
) -> Option<MountKind> {
    let mut superblock: Vec<String> =
        parsed.superblock.iter().map(|flag| (*flag).to_owned()).collect();
    let readonly = parsed.attributes.set & libc::MOUNT_ATTR_RDONLY != 0;
    if readonly && !parsed.copy_up && mount.destination() != Path::new("/dev") {
        superblock.push("ro".to_owned());
    }
    if parsed.remount {
        return Some(MountKind::Remount {
            superblock,
            data: parsed.data.clone(),
            mount_only: parsed.bind.is_some(),
        });
    }
    if let Some(recursive) = parsed.bind {
        if source.as_os_str().is_empty() {
            compiler
                .fault(Error::new("a bind mount needs a source").at(format!("{pointer}/source")));
        }
        return Some(MountKind::Bind {
            source: compiler.options.bundle.join(source),
            recursive,
            nofollow: parsed.source_nofollow || parsed.copy_symlink,
            copy_symlink: parsed.copy_symlink,
        });
    }
    match mount.typ().as_deref().unwrap_or("") {
        kind @ ("" | "bind" | "none") => {
            let error = Error::new(format!("mount type {kind:?} is no file system"));
            compiler.fault(
                error
                    .at(format!("{pointer}/type"))
                    .hint("a bind mount needs the option \"bind\" or \"rbind\""),
            );
            None
        }
        // It shows a network namespace, to whose owner alone the kernel lets it
        // be mounted. What is there already is bound.
        "sysfs" if is_network_foreign(clone, compiler) => Some(bind("/sys".into(), true)),
        // The host's hierarchy: mounting it anew outside a cgroup namespace
        // would reset the options of the host's own mount.
        "cgroup" | "cgroup2" if !clone.is_new(Kind::Cgroup) => {
            let missing = compiler.host.cgroup_hierarchy().err();
            if let Some(error) = missing.filter(|_| cgroup.driver == Driver::Disabled) {
                compiler.fault(error.at(pointer));
            }
            // What is mounted below may not be uncovered in a user namespace.
            let recursive = compiler.host.maker() != Maker::Root;
            Some(bind(cgroup.hierarchy.clone(), recursive))
        }
        "cgroup" | "cgroup2" => Some(MountKind::New {
            filesystem: "cgroup2".to_owned(),
            source: "cgroup".to_owned(),
            superblock,
            data: Vec::new(),
        }),
        filesystem => Some(MountKind::New {
            filesystem: filesystem.to_owned(),
            source: match source.to_string_lossy() {
                name if name.is_empty() => filesystem.to_owned(),
                name => name.into_owned(),
            },
            superblock,
            data: parsed.data.clone(),
        }),
    }
}

/// A directory of the host's.
fn bind(source: PathBuf, recursive: bool) -> MountKind {
    MountKind::Bind { source, recursive, nofollow: false, copy_symlink: false }
}

/// Whether the container's network belongs to another user namespace than that
/// of its init.
fn is_network_foreign(clone: &CloneSet, compiler: &Compiler) -> bool {
    let is_outer = clone.has_user_namespace() || !compiler.host.owns(Kind::Network);
    clone.is_inherited(Kind::Network) && is_outer
}

/// The attributes of a mount, of itself and of its tree. What is bound in place of
/// a new sysfs or cgroup2 is everybody's and stays read-only, except for root.
fn restrict(
    mount: &SpecMount,
    kind: &MountKind,
    parsed: &Parsed,
    compiler: &Compiler,
) -> (Attributes, Attributes) {
    let is_instead = matches!(kind, MountKind::Bind { .. }) && parsed.bind.is_none();
    if is_instead && lacks(Defence::BoundOptions) {
        return <(Attributes, Attributes)>::default();
    }
    let (mut own, mut tree) = (parsed.attributes, parsed.recursive);
    let is_replaced = match mount.typ().as_deref() {
        Some("sysfs") => true,
        Some("cgroup" | "cgroup2") => compiler.host.maker() != Maker::Root,
        _ => false,
    };
    if is_replaced && is_instead {
        own.clear &= !libc::MOUNT_ATTR_RDONLY;
        tree.clear &= !libc::MOUNT_ATTR_RDONLY;
        tree.set |= libc::MOUNT_ATTR_RDONLY;
    }
    (own, tree)
}

/// Who is to own a new file system has to be somebody in the user namespace.
fn refuse_unmapped_owners(
    data: &[(String, Option<String>)],
    pointer: &str,
    compiler: &mut Compiler,
) {
    for (key, value) in data {
        let kind = match key.as_str() {
            "uid" => IdKind::User,
            "gid" => IdKind::Group,
            _ => continue,
        };
        if let Some(id) = value.as_deref().and_then(|value| value.parse().ok()) {
            compiler.refuse_unmapped(kind, id, format!("{pointer}/options"));
        }
    }
}

/// Gives the files of a new file system the container's SELinux label.
fn label_files(kind: &mut MountKind, linux: &Linux) {
    // The host's policy labels what shows the kernel.
    const OF_THE_KERNEL: &[&str] = &["proc", "sysfs", "cgroup2", "mqueue"];
    let label = linux.mount_label().as_deref().filter(|label| !label.is_empty());
    let (Some(label), MountKind::New { filesystem, data, .. }) = (label, kind) else { return };
    let labelled = data.iter().any(|(key, _)| key == "context");
    if !labelled && !OF_THE_KERNEL.contains(&filesystem.as_str()) {
        data.push(("context".to_owned(), Some(label.to_owned())));
    }
}

fn plan_idmap(
    mount: &SpecMount,
    parsed: &Parsed,
    linux: &Linux,
    clone: &CloneSet,
    pointer: &str,
    compiler: &mut Compiler,
) -> Option<Idmap> {
    let listed = IdMaps::new(mount.uid_mappings().as_ref(), mount.gid_mappings().as_ref());
    let (recursive, inline) = match (&parsed.idmap, listed.is_empty()) {
        (None, true) => return None,
        // Mappings without the option mean "idmap", says config.md.
        (None, false) => (false, None),
        (Some((recursive, inline)), _) => (*recursive, inline.clone()),
    };
    let namespace = IdMaps::new(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref());
    let inline = inline.map(|text| options::parse_idmap(&text, &namespace)).transpose();
    let is_inline = matches!(inline, Ok(Some(_)));
    let maps = match inline {
        Ok(inline) => inline.unwrap_or(listed),
        Err(reason) => {
            compiler.fault(Error::new(reason).at(format!("{pointer}/options")));
            return None;
        }
    };
    let maps = if maps.is_empty() {
        if !clone.is_new(Kind::User) {
            compiler.fault(
                Error::new(
                    "an idmapped mount needs uidMappings and gidMappings, or a new user namespace",
                )
                .at(pointer),
            );
        }
        compiler.maps.clone()
    } else {
        for (map, field) in [(&maps.uids, "uidMappings"), (&maps.gids, "gidMappings")] {
            let place = if is_inline { "options" } else { field };
            namespaces::check_map(map, &format!("{pointer}/{place}"), !is_inline, compiler);
        }
        match compiler.host.owns(Kind::Mount) || clone.is_inherited(Kind::User) {
            true if is_inline => {
                let place = format!("{pointer}/options");
                namespaces::cut_along_own(&maps, &place, false, compiler)
            }
            true => namespaces::cut_along_own(&maps, pointer, true, compiler),
            false => maps,
        }
    };
    if parsed.remount {
        compiler.fault(Error::new("a remount cannot change ownership mappings").at(pointer));
    }
    Some(Idmap { maps: seen_by_maker(maps, clone, pointer, compiler), recursive })
}

/// A user without privilege has the mount made by init, who knows no ids but those
/// of its user namespace.
fn seen_by_maker(maps: IdMaps, clone: &CloneSet, pointer: &str, compiler: &mut Compiler) -> IdMaps {
    if compiler.host.owns(Kind::Mount) || !clone.is_new(Kind::User) {
        return maps;
    }
    let namespace = compiler.maps.clone();
    let mut seen = |map: &[IdMapping], outer: &[IdMapping], field: &str| {
        namespaces::seen_from(outer, map).unwrap_or_else(|| {
            let error = Error::new("the container has not got all of these ids of the host");
            let hint = format!("an ordinary user can map ownership to ids in linux.{field} only");
            compiler.fault(error.at(format!("{pointer}/{field}")).hint(hint));
            Vec::new()
        })
    };
    IdMaps {
        uids: seen(&maps.uids, &namespace.uids, "uidMappings"),
        gids: seen(&maps.gids, &namespace.gids, "gidMappings"),
    }
}

/// Files of lxcfs that may be mounted over their counterparts in /proc.
const LXCFS: &[&str] = &[
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "pressure/cpu",
    "pressure/io",
    "pressure/memory",
    "slabinfo",
    "stat",
    "swaps",
    "sys/kernel/ns_last_pid",
    "uptime",
    "version",
];

/// Nothing but procfs over /proc: labels and sysctls are written through it.
fn check_destination(
    destination: &Path,
    filesystem: Option<&str>,
    bind: bool,
    pointer: &str,
    compiler: &mut Compiler,
) {
    if destination == Path::new("/") {
        compiler.fault(
            Error::new("a mount over / would hide the container's root")
                .at(format!("{pointer}/destination")),
        );
    }
    let Ok(below) = destination.strip_prefix("/proc") else {
        return;
    };
    let allowed = if below.as_os_str().is_empty() {
        // Containers in the host's pid namespace get the host's /proc; that a
        // bind mount's source is one is checked when it is opened.
        filesystem == Some("proc") || bind
    } else {
        LXCFS.iter().any(|file| below == Path::new(file))
    };
    if !allowed && !lacks(Defence::Procfs) {
        let message = match below.as_os_str().is_empty() {
            true => "nothing but type proc can be mounted at /proc".to_owned(),
            false => format!("{} cannot be mounted: it is inside /proc", destination.display()),
        };
        compiler.fault(Error::new(message).at(format!("{pointer}/destination")));
    }
}

/// Whether a file system shows the network namespace it is mounted in, as sysfs
/// does. Those that are known not to can be mounted before it exists.
pub fn depends_on_network(mount: &Mount) -> bool {
    const INDEPENDENT: &[&str] = &["proc", "tmpfs", "devpts", "mqueue", "cgroup2"];
    match &mount.kind {
        MountKind::New { filesystem, .. } => !INDEPENDENT.contains(&filesystem.as_str()),
        MountKind::Bind { .. } | MountKind::Remount { .. } => false,
    }
}
