//! What: the container's file system, mount by mount.

use super::devices::{self, Device};
use super::options;
use super::plan_mount::{Mount, MountKind, depends_on_network, notify_mount, plan_mount};
use crate::cgroups::Placement;
use crate::config::Spec;
use crate::error::Error;
use crate::host::Maker;
use crate::namespaces::{self, CloneSet, IdMapping, Kind};
use crate::plan::{ChildOp, Compiler};
use oci_spec::runtime::Linux;
use serde::Serialize;
use std::path::{Component, Path, PathBuf};

/// How the root of the container's file system comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RootSource {
    /// The bundle's directory with everything mounted below it.
    Directory(PathBuf),
    /// Directories on top of each other.
    Overlay(Overlay),
}

/// An overlay: lower directories and a place for changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overlay {
    /// Never written to; topmost first.
    pub lower: Vec<Layer>,
    /// `None` is a tmpfs that dies with the container.
    pub upper: Option<Layer>,
    /// Keep overlayfs's marks in `user.` attributes, which the root of a
    /// user namespace may write.
    pub user_xattr: bool,
    /// Who is root in a user namespace of the container's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

/// A directory of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// Who asked for it: a JSON pointer, or an option.
    pub place: String,
}

impl Layer {
    /// Places an error about this directory.
    pub fn blame(&self, error: Error) -> Error {
        match self.place.starts_with('/') {
            true => error.at(self.place.clone()),
            false => error.within(self.place.clone()),
        }
    }
}

impl RootSource {
    /// The bundle's own directory.
    pub fn place(&self) -> &Path {
        match self {
            RootSource::Directory(path) => path,
            RootSource::Overlay(overlay) => {
                overlay.lower.last().map_or(Path::new("/"), |layer| &layer.path)
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
    /// Move the root over the host's and chroot(2) into it, for hosts whose
    /// root cannot be pivoted.
    MoveRoot,
    /// chroot(2), in a mount namespace that is not the container's.
    Chroot,
}

/// What of the tree is left to do once the runtime's hooks have seen it.
pub struct Tree {
    /// Mounts that are to be read-only, but filled before.
    filled: Vec<PathBuf>,
    readonly_root: bool,
    masked: Vec<PathBuf>,
    readonly: Vec<PathBuf>,
    entry: Op,
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
        filled: Vec::new(),
        readonly_root: spec.root.as_ref().is_some_and(|root| root.readonly().unwrap_or(false)),
        masked,
        readonly,
        entry: match (clone.is_new(Kind::Mount), compiler.options.no_pivot) {
            (true, false) => Op::Pivot,
            (true, true) => Op::MoveRoot,
            (false, _) => Op::Chroot,
        },
        late_propagation: propagation.filter(|(kind, _)| *kind == libc::MS_SHARED),
    };
    if clone.is_new(Kind::Mount) {
        compiler.child(ChildOp::Rootfs(Op::IsolateMounts));
        if !compiler.host.owns(Kind::Mount) {
            compiler.child(ChildOp::OpenSources);
        }
        match &root {
            // Each of its directories knows its own place.
            RootSource::Overlay(_) => compiler.child(ChildOp::Rootfs(Op::AttachRoot(root))),
            RootSource::Directory(_) => {
                compiler.child_at("/root/path", ChildOp::Rootfs(Op::AttachRoot(root)));
            }
        }
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
    let (mounts, own_dev) = plan_mounts(spec, linux, clone, cgroup, &mut tree, compiler);
    let devices = plan_devices(linux, clone, own_dev, compiler);
    place_mounts(mounts, devices, spec, linux, clone, compiler);
    tree
}

/// All mounts, in their order, and where they are asked for. Whether /dev is hako's
/// to fill.
fn plan_mounts(
    spec: &Spec,
    linux: &Linux,
    clone: &CloneSet,
    cgroup: &Placement,
    tree: &mut Tree,
    compiler: &mut Compiler,
) -> (Vec<(String, Mount)>, bool) {
    let mut own_dev = true;
    let mut mounts = Vec::new();
    for (index, mount) in spec.mounts.iter().flatten().enumerate() {
        let pointer = format!("/mounts/{index}");
        let Some(mut planned) = plan_mount(mount, &pointer, linux, clone, cgroup, compiler) else {
            continue;
        };
        let is_dev = planned.destination == Path::new("/dev");
        if is_dev {
            own_dev = !matches!(planned.kind, MountKind::Bind { .. });
        }
        let is_readonly = planned.attributes.set & libc::MOUNT_ATTR_RDONLY != 0;
        if is_readonly && ((is_dev && own_dev) || is_filled(&planned, index, spec)) {
            planned.be_writable_at_first();
            tree.filled.push(planned.destination.clone());
        }
        mounts.push((pointer, planned));
    }
    (mounts, own_dev)
}

/// Whether later mounts need mount points in a new tmpfs. One that is itself
/// mounted on again is theirs to decide.
fn is_filled(mount: &Mount, index: usize, spec: &Spec) -> bool {
    if !matches!(&mount.kind, MountKind::New { filesystem, .. } if filesystem == "tmpfs") {
        return false;
    }
    let later =
        spec.mounts.iter().flatten().skip(index + 1).map(|later| clean(later.destination()));
    let (mut has_below, mut has_same) = (false, false);
    for destination in later.filter(|destination| destination.starts_with(&mount.destination)) {
        let is_same = destination == mount.destination;
        has_same |= is_same;
        has_below |= !is_same;
    }
    has_below && !has_same
}

/// What hako puts into /dev.
fn plan_devices(
    linux: &Linux,
    clone: &CloneSet,
    own_dev: bool,
    compiler: &mut Compiler,
) -> Option<Vec<Device>> {
    let devices = devices::plan(linux, compiler);
    if clone.is_inherited(Kind::Mount) {
        // A directory that is used as it is.
        return None;
    }
    if !own_dev && linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        compiler.warn("ignoring linux.devices: /dev is a bind mount");
    }
    own_dev.then_some(devices)
}

/// The order of mounts and devices. Devices come last, so that they are on top of what
/// is mounted; but while init waits for its network namespace it can as well make
/// them, if no later mount is near them.
fn place_mounts(
    mut mounts: Vec<(String, Mount)>,
    mut devices: Option<Vec<Device>>,
    spec: &Spec,
    linux: &Linux,
    clone: &CloneSet,
    compiler: &mut Compiler,
) {
    let waits = mounts.iter().position(|(_, mount)| depends_on_network(mount));
    let late = mounts.split_off(waits.unwrap_or(mounts.len()));
    let place = |mounts: Vec<(String, Mount)>, compiler: &mut Compiler| {
        for (pointer, mount) in mounts {
            compiler.child_at(pointer, ChildOp::Rootfs(Op::Mount(Box::new(mount))));
        }
    };
    let fill = |devices: Option<Vec<Device>>, compiler: &mut Compiler| {
        if let Some(devices) = devices {
            compiler.child_at("/linux/devices", ChildOp::Rootfs(Op::Devices(devices)));
            compiler.child(ChildOp::Rootfs(Op::DeviceLinks));
        }
    };
    let are_apart = |devices: &mut Vec<Device>| {
        devices::are_apart(devices, late.iter().map(|(_, mount)| mount.destination.as_path()))
    };
    place(mounts, compiler);
    if clone.network_apart {
        fill(devices.take_if(are_apart), compiler);
    }
    namespaces::plan_network_entry(clone, compiler);
    place(late, compiler);
    if let Some(directory) = &compiler.options.notify {
        // Last: whatever the configuration has at /run, the service finds it.
        let mount = notify_mount(directory, linux);
        compiler.child(ChildOp::Rootfs(Op::Mount(Box::new(mount))));
    }
    if let Some(process) =
        spec.process.as_ref().filter(|process| process.cwd.as_path() != Path::new("/"))
    {
        let cwd = clean(&process.cwd);
        compiler.child_at("/process/cwd", ChildOp::Rootfs(Op::CreateDirectory(cwd)));
    }
    fill(devices, compiler);
}

/// From the finished tree into it.
pub fn plan_entry(tree: &Tree, compiler: &mut Compiler) {
    for mount in &tree.filled {
        compiler.child(ChildOp::Rootfs(Op::ReadonlyMount(mount.clone())));
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
    compiler.child(ChildOp::Rootfs(tree.entry.clone()));
    // pivot_root(2) refuses a shared root.
    if let Some((kind, recursive)) = tree.late_propagation {
        compiler.child_at(
            "/linux/rootfsPropagation",
            ChildOp::Rootfs(Op::RootPropagation(kind, recursive)),
        );
    }
}

/// Annotation that asks for an overlay, for engines that cannot pass flags.
pub const OVERLAY_ANNOTATION: &str = "org.hako.overlay";
/// Annotation with its further read-only layers.
pub const OVERLAY_LOWER_ANNOTATION: &str = "org.hako.overlay.lower";

fn plan_root(spec: &Spec, compiler: &mut Compiler) -> RootSource {
    let path = match &spec.root {
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
    compiler.refuse_nul_at("/root/path", &path.to_string_lossy());
    let bundle = &compiler.options.bundle;
    let path = bundle.join(path);
    let annotation = |name| spec.annotations.as_ref().and_then(|all| all.get(name));
    for name in [OVERLAY_ANNOTATION, OVERLAY_LOWER_ANNOTATION] {
        let value = annotation(name).map_or("", String::as_str);
        compiler.refuse_nul_at(&format!("/annotations/{name}"), value);
    }
    let layer = |path: &Path, place: &str| Layer { path: bundle.join(path), place: place.into() };
    let (upper, mut lower) = match (&compiler.options.overlay, annotation(OVERLAY_ANNOTATION)) {
        (None, None) => {
            if annotation(OVERLAY_LOWER_ANNOTATION).is_some() {
                compiler.fault(
                    Error::new(format!("further layers need the annotation {OVERLAY_ANNOTATION}"))
                        .at(format!("/annotations/{OVERLAY_LOWER_ANNOTATION}")),
                );
            }
            return RootSource::Directory(path);
        }
        (Some(request), _) => (
            request.directory.as_ref().map(|directory| layer(directory, "--overlay")),
            request.lower.iter().map(|lower| layer(lower, "--overlay-lower")).collect(),
        ),
        (None, Some(directory)) => {
            let place = format!("/annotations/{OVERLAY_ANNOTATION}");
            let named = Some(directory).filter(|name| !matches!(name.as_str(), "" | "tmpfs"));
            (named.map(|directory| layer(Path::new(directory), &place)), Vec::new())
        }
    };
    if let Some(list) = annotation(OVERLAY_LOWER_ANNOTATION) {
        let place = format!("/annotations/{OVERLAY_LOWER_ANNOTATION}");
        let paths = list.split(':').filter(|path| !path.is_empty());
        lower.extend(paths.map(|path| layer(Path::new(path), &place)));
    }
    lower.push(layer(&path, "/root/path"));
    refuse_too_many(&lower, compiler);
    // An ordinary user's directories are root's in the container already.
    let is_root = compiler.host.maker() != Maker::User;
    let root_of = |map: &[IdMapping]| namespaces::to_host(map, 0).filter(|_| is_root);
    let maps = &compiler.maps;
    RootSource::Overlay(Overlay {
        lower,
        upper,
        user_xattr: compiler.in_user_namespace(),
        owner: root_of(&maps.uids).zip(root_of(&maps.gids)),
    })
}

/// How many lower layers overlayfs takes (`OVL_MAX_STACK`).
const MOST_LAYERS: usize = 500;

fn refuse_too_many(lower: &[Layer], compiler: &mut Compiler) {
    let count = lower.len();
    if let Some(first) = lower.first().filter(|_| count > MOST_LAYERS) {
        let error = format!("{count} layers are more than overlayfs takes: {MOST_LAYERS}");
        compiler.fault(first.blame(Error::new(error)));
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
    let annotation = format!("/annotations/{OVERLAY_ANNOTATION}");
    let overlay = if compiler.options.overlay.is_some() { "/root" } else { &annotation };
    let wants = [
        (tree.readonly_root, "a read-only root", "/root/readonly"),
        (matches!(root, RootSource::Overlay(_)), "an overlay", overlay),
        (propagation, "rootfsPropagation", "/linux/rootfsPropagation"),
    ];
    refuse_mounts(&wants, compiler);
}

/// Without a mount namespace, what is mounted is mounted on the host.
fn refuse_host_mounts(spec: &Spec, tree: &Tree, compiler: &mut Compiler) {
    let mounts = spec.mounts.as_ref().is_some_and(|mounts| !mounts.is_empty());
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
