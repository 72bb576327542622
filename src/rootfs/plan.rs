//! What: the container's file system, mount by mount.

use super::devices::{self, Device};
use super::options::{self, Attributes, Parsed};
use crate::cgroups::Placement;
use crate::error::Error;
use crate::namespaces::{self, CloneSet, IdMaps, Kind};
use crate::plan::{ChildOp, Compiler};
use oci_spec::runtime::{Linux, Mount as SpecMount, Spec};
use serde::Serialize;
use std::path::{Component, Path, PathBuf};

/// How the root of the container's file system comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RootSource {
    /// The bundle's directory with everything mounted below it.
    Directory(PathBuf),
    /// An overlay: lower directories, topmost first, and a place for changes.
    Overlay {
        /// Never written to.
        lower: Vec<PathBuf>,
        /// `None` is a tmpfs that dies with the container.
        upper: Option<PathBuf>,
        /// Keep overlayfs's marks in `user.` attributes, which the root of a
        /// user namespace may write.
        user_xattr: bool,
    },
}

impl RootSource {
    /// The bundle's own directory.
    pub fn place(&self) -> &Path {
        match self {
            RootSource::Directory(path) => path,
            RootSource::Overlay { lower, .. } => {
                lower.last().map_or(Path::new("/"), PathBuf::as_path)
            }
        }
    }
}

/// `--overlay[=DIR]`, `--overlay-lower`, or the annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayRequest {
    /// Where changes go; `None` is a tmpfs.
    pub directory: Option<PathBuf>,
    /// Further lower directories, topmost first, above the bundle's rootfs.
    pub lower: Vec<PathBuf>,
}

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

/// A step in assembling the container's file system, done by init.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Cut the mount namespace off from the host's: nothing mounted in the
    /// container reaches the host.
    IsolateMounts,
    /// Put the root in place; every later path is looked up inside it.
    AttachRoot(RootSource),
    /// Use a directory as the root, without a mount namespace.
    OpenRoot(PathBuf),
    /// Propagation of the root: `MS_*`, recursive.
    RootPropagation(u64, bool),
    /// Mount.
    Mount(Box<Mount>),
    /// Make device nodes.
    Devices(Vec<Device>),
    /// `/dev/fd`, `/dev/stdin` …
    DeviceLinks,
    /// Make the working directory, if it is missing.
    CreateDirectory(PathBuf),
    /// Make a mount read-only that had to be written to first.
    ReadonlyMount(PathBuf),
    /// Hide a path.
    Mask(PathBuf),
    /// Make a path and all mounts below it read-only.
    ReadonlyPath(PathBuf),
    /// Make the root read-only.
    ReadonlyRoot,
    /// pivot_root(2), and let go of the host's file system.
    Pivot,
    /// chroot(2), for hosts whose root cannot be pivoted.
    Chroot,
}

/// Whether hako makes `/dev` itself.
pub struct Tree {
    readonly_dev: bool,
    readonly_root: bool,
    masked: Vec<PathBuf>,
    readonly: Vec<PathBuf>,
    pivot: bool,
    late_propagation: Option<(u64, bool)>,
}

/// Up to the point where the runtime's hooks see the finished tree.
pub fn plan_tree(
    spec: &Spec,
    linux: &Linux,
    clone: &CloneSet,
    cgroup: &Placement,
    compiler: &mut Compiler,
) -> Tree {
    let root = plan_root(spec, compiler);
    let masked = plan_paths(linux.masked_paths().as_ref(), "/linux/maskedPaths", compiler);
    let readonly = plan_paths(linux.readonly_paths().as_ref(), "/linux/readonlyPaths", compiler);
    let propagation = plan_propagation(linux, compiler);
    let mut tree = Tree {
        readonly_dev: false,
        readonly_root: spec.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)),
        masked,
        readonly,
        pivot: !compiler.options.no_pivot && clone.is_new(Kind::Mount),
        late_propagation: propagation.filter(|(kind, _)| *kind == libc::MS_SHARED),
    };
    if clone.is_new(Kind::Mount) {
        compiler.child(ChildOp::Rootfs(Op::IsolateMounts));
        compiler.child_at("/root/path", ChildOp::Rootfs(Op::AttachRoot(root)));
        if let Some((kind, recursive)) = propagation.filter(|(kind, _)| *kind != libc::MS_SHARED) {
            let op = Op::RootPropagation(kind, recursive);
            compiler.child_at("/linux/rootfsPropagation", ChildOp::Rootfs(op));
        }
    } else {
        refuse_root_changes(&tree, &root, propagation.is_some(), compiler);
        if clone.is_inherited(Kind::Mount) {
            refuse_host_mounts(spec, &tree, compiler);
        }
        if let RootSource::Directory(path) = root {
            compiler.child_at("/root/path", ChildOp::Rootfs(Op::OpenRoot(path)));
        }
    }
    let mut own_dev = true;
    let mut has_network = false;
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let pointer = format!("/mounts/{index}");
        let Some(mut planned) = plan_mount(mount, &pointer, linux, clone, cgroup, compiler) else {
            continue;
        };
        if planned.destination == Path::new("/dev") {
            own_dev = !matches!(planned.kind, MountKind::Bind { .. });
            if own_dev && planned.attributes.set & libc::MOUNT_ATTR_RDONLY != 0 {
                planned.attributes.set &= !libc::MOUNT_ATTR_RDONLY;
                tree.readonly_dev = true;
            }
        }
        if !has_network && depends_on_network(&planned) {
            namespaces::plan_network_entry(clone, compiler);
            has_network = true;
        }
        compiler.child_at(pointer, ChildOp::Rootfs(Op::Mount(Box::new(planned))));
    }
    if !has_network {
        namespaces::plan_network_entry(clone, compiler);
    }
    if let Some(process) =
        spec.process().as_ref().filter(|process| process.cwd().as_path() != Path::new("/"))
    {
        let cwd = clean(process.cwd());
        compiler.child_at("/process/cwd", ChildOp::Rootfs(Op::CreateDirectory(cwd)));
    }
    let devices = devices::plan(linux, compiler);
    if clone.is_inherited(Kind::Mount) {
        // A directory that is used as it is.
    } else if own_dev {
        compiler.child_at("/linux/devices", ChildOp::Rootfs(Op::Devices(devices)));
        compiler.child(ChildOp::Rootfs(Op::DeviceLinks));
    } else if linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        compiler.warn("ignoring linux.devices: /dev is a bind mount");
    }
    tree
}

/// Whether a file system shows the network namespace it is mounted in, as sysfs
/// does. Those that are known not to can be mounted before it exists.
fn depends_on_network(mount: &Mount) -> bool {
    const INDEPENDENT: &[&str] = &["proc", "tmpfs", "devpts", "mqueue", "cgroup2"];
    match &mount.kind {
        MountKind::New { filesystem, .. } => !INDEPENDENT.contains(&filesystem.as_str()),
        MountKind::Bind { .. } | MountKind::Remount { .. } => false,
    }
}

/// From the finished tree into it.
pub fn plan_entry(tree: &Tree, compiler: &mut Compiler) {
    if tree.readonly_dev {
        compiler.child(ChildOp::Rootfs(Op::ReadonlyMount("/dev".into())));
    }
    for (index, path) in tree.readonly.iter().enumerate() {
        compiler.child_at(
            format!("/linux/readonlyPaths/{index}"),
            ChildOp::Rootfs(Op::ReadonlyPath(path.clone())),
        );
    }
    for (index, path) in tree.masked.iter().enumerate() {
        compiler.child_at(
            format!("/linux/maskedPaths/{index}"),
            ChildOp::Rootfs(Op::Mask(path.clone())),
        );
    }
    if tree.readonly_root {
        compiler.child_at("/root/readonly", ChildOp::Rootfs(Op::ReadonlyRoot));
    }
    compiler.child(ChildOp::Rootfs(if tree.pivot { Op::Pivot } else { Op::Chroot }));
    // pivot_root(2) refuses a shared root.
    if let Some((kind, recursive)) = tree.late_propagation {
        compiler.child_at(
            "/linux/rootfsPropagation",
            ChildOp::Rootfs(Op::RootPropagation(kind, recursive)),
        );
    }
}

/// Annotations that ask for an overlay, for engines that cannot pass flags.
const OVERLAY: &str = "org.hako.overlay";
const OVERLAY_LOWER: &str = "org.hako.overlay.lower";

fn plan_root(spec: &Spec, compiler: &mut Compiler) -> RootSource {
    let path = match spec.root() {
        None => {
            compiler.fault(Error::new("root is missing").at("/root"));
            PathBuf::new()
        }
        Some(root) if root.path().as_os_str().is_empty() => {
            compiler.fault(Error::new("root.path is missing").at("/root/path"));
            PathBuf::new()
        }
        Some(root) => root.path().clone(),
    };
    compiler.refuse_nul("/root/path", [path.to_string_lossy()]);
    let bundle = &compiler.options.bundle;
    let path = bundle.join(path);
    let annotation = |name| spec.annotations().as_ref().and_then(|all| all.get(name));
    let request = compiler.options.overlay.clone().or_else(|| {
        annotation(OVERLAY).map(|directory| OverlayRequest {
            directory: Some(directory)
                .filter(|directory| !directory.is_empty() && *directory != "tmpfs")
                .map(PathBuf::from),
            lower: Vec::new(),
        })
    });
    let Some(mut request) = request else {
        return RootSource::Directory(path);
    };
    if let Some(lower) = annotation(OVERLAY_LOWER) {
        request.lower.extend(lower.split(':').filter(|lower| !lower.is_empty()).map(PathBuf::from));
    }
    let mut lower: Vec<PathBuf> = request.lower.iter().map(|lower| bundle.join(lower)).collect();
    lower.push(path);
    RootSource::Overlay {
        lower,
        upper: request.directory.map(|directory| bundle.join(directory)),
        user_xattr: compiler.in_user_namespace(),
    }
}

/// `rootfsPropagation`, as `MS_*` and whether recursive.
fn plan_propagation(linux: &Linux, compiler: &mut Compiler) -> Option<(u64, bool)> {
    let word = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty())?;
    match options::meaning(word) {
        Some((options::Meaning::Propagation(kind), recursive)) => Some((kind, recursive)),
        _ => {
            compiler.fault(
                Error::new(format!("rootfsPropagation {word:?} is not a propagation type"))
                    .at("/linux/rootfsPropagation")
                    .hint(
                        "shared, slave, private or unbindable, or one of them with an r in front",
                    ),
            );
            None
        }
    }
}

fn plan_paths(paths: Option<&Vec<String>>, pointer: &str, compiler: &mut Compiler) -> Vec<PathBuf> {
    let mut planned = Vec::new();
    for (index, path) in paths.into_iter().flatten().enumerate() {
        if !path.starts_with('/') {
            compiler.fault(
                Error::new(format!("path {path:?} is not absolute"))
                    .at(format!("{pointer}/{index}")),
            );
        }
        planned.push(PathBuf::from(path));
    }
    compiler.refuse_nul(pointer, paths.into_iter().flatten());
    planned
}

/// A root that is a directory of somebody else's mount namespace is not
/// hako's to change.
fn refuse_root_changes(tree: &Tree, root: &RootSource, propagation: bool, compiler: &mut Compiler) {
    let wants = [
        (tree.readonly_root, "a read-only root", "/root/readonly"),
        (matches!(root, RootSource::Overlay { .. }), "an overlay", "/root"),
        (propagation, "rootfsPropagation", "/linux/rootfsPropagation"),
    ];
    refuse_mounts(&wants, compiler);
}

/// Without a mount namespace, what is mounted is mounted on the host.
fn refuse_host_mounts(spec: &Spec, tree: &Tree, compiler: &mut Compiler) {
    let mounts = spec.mounts().as_ref().is_some_and(|mounts| !mounts.is_empty());
    let wants = [
        (mounts, "mounts", "/mounts"),
        (!tree.masked.is_empty(), "maskedPaths", "/linux/maskedPaths"),
        (!tree.readonly.is_empty(), "readonlyPaths", "/linux/readonlyPaths"),
    ];
    refuse_mounts(&wants, compiler);
}

fn refuse_mounts(wants: &[(bool, &str, &str)], compiler: &mut Compiler) {
    for (_, what, pointer) in wants.iter().filter(|(wanted, ..)| *wanted) {
        compiler.fault(
            Error::new(format!("{what}: not without a mount namespace of the container's own, it would change the host"))
                .at(*pointer)
                .hint(crate::plan::needs_namespace(Kind::Mount)),
        );
    }
}

fn plan_mount(
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
    compiler.refuse_nul(pointer, [mount.destination().to_string_lossy(), source.to_string_lossy()]);
    let parsed = options::parse(words);
    let destination = clean(mount.destination());
    check_destination(
        &destination,
        mount.typ().as_deref(),
        parsed.bind.is_some(),
        pointer,
        compiler,
    );
    let idmap = plan_idmap(mount, &parsed, linux, clone, pointer, compiler);
    let kind = plan_kind(mount, &parsed, &source, clone, cgroup, pointer, compiler)?;
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
        attributes: parsed.attributes,
        recursive: parsed.recursive,
        propagation: fold_propagation(inherited.into_iter().chain(parsed.propagation)),
        idmap,
        copy_up: parsed.copy_up,
        destination_nofollow: parsed.destination_nofollow,
    })
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
        // The host's hierarchy: mounting it anew outside a cgroup namespace
        // would reset the options of the host's own mount.
        "cgroup" | "cgroup2" if !clone.is_new(Kind::Cgroup) => Some(MountKind::Bind {
            source: cgroup.hierarchy.clone(),
            recursive: false,
            nofollow: false,
            copy_symlink: false,
        }),
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
        namespace
    } else {
        namespaces::check_map(&maps.uids, &format!("{pointer}/uidMappings"), compiler);
        namespaces::check_map(&maps.gids, &format!("{pointer}/gidMappings"), compiler);
        maps
    };
    if parsed.remount {
        compiler.fault(Error::new("a remount cannot change ownership mappings").at(pointer));
    }
    Some(Idmap { maps, recursive })
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
    if !allowed {
        compiler.fault(
            Error::new(format!("{} cannot be mounted: it is inside /proc", destination.display()))
                .at(format!("{pointer}/destination")),
        );
    }
}

/// An absolute path without `.`, `..` and doubled slashes. Going up past the
/// root stays there, as it does in the container.
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}
