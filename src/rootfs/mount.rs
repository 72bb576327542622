//! How: one mount, from its source to its place in the container.
//!
//! Bind mounts are opened, and given all their attributes, by the runtime
//! before the clone: it can reach sources that a user namespace's root cannot,
//! and a missing source costs no container. New file systems are made by init,
//! so that they belong to its namespaces: with one mount(2) where nothing has to
//! happen in between. Any other mount is finished while it is still detached;
//! attaching it is the last thing that happens.

use super::copyup;
use super::devices::EMPTY_BOTH;
use super::options::{self, Attributes};
use super::path::{Root, is_on, retire};
use super::plan_mount::{Mount, MountKind};
use super::refused::{
    attributes_refused, clone_refused, explain_foreign, explain_id, explain_unseen, idmap_refused,
    unknown_filesystem,
};
use crate::error::{Context, Error, Result};
use crate::namespaces::{self, IdKind};
use crate::sys::{self, MountAttributes};
use crate::weaken::{Defence, lacks};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, OpenTreeFlags};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What the runtime opened for a step before the clone.
#[derive(Debug, Default)]
pub struct Prepared {
    /// A detached mount.
    pub tree: Option<OwnedFd>,
    /// Whether its root is a directory.
    pub is_directory: bool,
    /// Target of a symbolic link that is to be recreated.
    pub link: Option<PathBuf>,
    /// A user namespace with the ownership mapping of an idmapped mount.
    pub idmap: Option<OwnedFd>,
}

/// mount(2) takes one page of data, and cuts the rest off.
const LONGEST_DATA: usize = 4000;

impl Mount {
    /// Opens what the mount needs from the host.
    pub fn prepare(&self) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        if let Some(idmap) = &self.idmap {
            prepared.idmap = Some(namespaces::user_namespace_for(&idmap.maps)?);
        }
        if let MountKind::Bind { source, recursive, nofollow, copy_symlink } = &self.kind {
            let opened = open_source(source, *nofollow)?;
            let stat = rustix::fs::fstat(&opened)
                .os(|| format!("cannot examine source {}", source.display()))?;
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            if *copy_symlink && kind.is_symlink() {
                let target = rustix::fs::readlinkat(&opened, "", Vec::new())
                    .os(|| format!("cannot read link {}", source.display()))?;
                prepared.link = Some(PathBuf::from(OsString::from_vec(target.into_bytes())));
                return Ok(prepared);
            }
            if self.destination == Path::new("/proc") && !is_on(&opened, libc::PROC_SUPER_MAGIC)? {
                return Err(Error::new(format!("source {} is no procfs", source.display()))
                    .hint("only a procfs may be mounted on /proc"));
            }
            prepared.is_directory = kind.is_dir();
            let tree = clone_tree(&opened, *recursive)
                .map_err(|errno| clone_refused(source, *recursive, errno))?;
            self.set_attributes(tree.as_fd(), prepared.idmap.as_ref(), source)?;
            prepared.tree = Some(tree);
        }
        if let (MountKind::New { .. }, Some(idmap)) = (&self.kind, &prepared.idmap) {
            // Mapping takes privilege over both the file system and the map.
            let tree = self.make_new(None)?;
            let mapped = MountAttributes { idmap: Some(idmap.as_fd()), ..Default::default() };
            sys::mount_setattr(tree.as_fd(), c"", false, &mapped)
                .map_err(|errno| idmap_refused(&tree, errno))?;
            prepared.tree = Some(tree);
        }
        Ok(prepared)
    }

    /// Makes the mount and puts it in its place.
    pub fn apply(&self, root: &Root, prepared: &mut Prepared) -> Result<()> {
        if let Some(target) = &prepared.link {
            return self.copy_link(root, target);
        }
        match &self.kind {
            MountKind::Bind { source, .. } => {
                let Some(tree) = prepared.tree.take() else {
                    return Err(Error::new(format!("source {} was not opened", source.display())));
                };
                let target = self.target(root, prepared.is_directory)?;
                self.attach(tree, target)
            }
            MountKind::New { .. } => {
                let target = self.target(root, true)?;
                let tree = match prepared.tree.take() {
                    Some(tree) => tree,
                    None if self.mount_at_once(&target)? => {
                        retire(target);
                        return Ok(());
                    }
                    None => self.make_new(Some(&target))?,
                };
                self.finish_new(tree, target)
            }
            MountKind::Remount { superblock, data, mount_only } => {
                let target = self.target(root, true)?;
                if !mount_only {
                    reconfigure(&target, superblock, data)?;
                }
                self.set_attributes(target.as_fd(), None, &self.destination)
            }
        }
    }

    /// Mounts with one mount(2) where nothing has to happen in between. False
    /// if it was refused: the longer way finds out why.
    fn mount_at_once(&self, target: &OwnedFd) -> Result<bool> {
        let MountKind::New { filesystem, source, superblock, data } = &self.kind else {
            return Ok(false);
        };
        let mut options: Vec<String> = data
            .iter()
            .map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            })
            .collect();
        let plain = options.iter().all(|option| !option.contains(','));
        if !plain || self.copy_up || self.idmap.is_some() || !self.propagation.is_empty() {
            return Ok(false);
        }
        if self.wants_mode_of_target() {
            options.push(format!("mode={}", permissions(target)?));
        }
        let flags = options::legacy_flags(self.new_attributes(), superblock);
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        let data = CString::new(options.join(",")).unwrap_or_default();
        if data.as_bytes().len() > LONGEST_DATA {
            return Ok(false);
        }
        let data = (!options.is_empty()).then_some(data.as_c_str());
        let mounted = rustix::mount::mount(source, &path, filesystem, flags, data);
        Ok(mounted.is_ok())
    }

    /// A tmpfs takes the mode of the directory it covers, unless told otherwise.
    fn wants_mode_of_target(&self) -> bool {
        matches!(&self.kind, MountKind::New { filesystem, .. } if filesystem == "tmpfs")
            && !self.is_given("mode")
    }

    /// Whether a parameter of the new file system is among the options.
    fn is_given(&self, parameter: &str) -> bool {
        matches!(&self.kind, MountKind::New { data, .. } if data.iter().any(|(key, _)| key == parameter))
    }

    /// A file system of its own, still detached.
    fn make_new(&self, target: Option<&OwnedFd>) -> Result<OwnedFd> {
        let MountKind::New { filesystem, source, superblock, data } = &self.kind else {
            return Err(Error::new("not a new file system"));
        };
        let context = rustix::mount::fsopen(filesystem.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| unknown_filesystem(filesystem, errno))?;
        configure(&context, "source", Some(source))?;
        for flag in superblock {
            configure(&context, flag, None)?;
        }
        for (key, value) in data {
            configure(&context, key, value.as_deref())?;
        }
        if let Some(target) = target.filter(|_| self.wants_mode_of_target()) {
            configure(&context, "mode", Some(&permissions(target)?))?;
        }
        rustix::mount::fsconfig_create(&context)
            .map_err(|errno| with_log(&context, format!("cannot mount {filesystem}"), errno))
            .map_err(|error| explain_foreign(error, filesystem))?;
        let set = self.new_attributes() & !self.late_attributes();
        let tree = rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(set as u32),
        )
        .map_err(|errno| with_log(&context, format!("cannot mount {filesystem}"), errno))
        .map_err(|error| explain_unseen(error, filesystem))?;
        retire(context);
        Ok(tree)
    }

    fn finish_new(&self, tree: OwnedFd, target: OwnedFd) -> Result<()> {
        if self.copy_up {
            copyup::copy_tree(target.as_fd(), tree.as_fd(), |key| self.is_given(key))?;
        }
        for (propagation, recursive) in &self.propagation {
            change(
                tree.as_fd(),
                *recursive,
                &MountAttributes { propagation: *propagation, ..Default::default() },
            )?;
        }
        let late = self.late_attributes();
        if late != 0 {
            change(tree.as_fd(), false, &MountAttributes { set: late, ..Default::default() })?;
        }
        self.attach(tree, target)
    }

    /// A new mount has one layer: what is for the tree is for it, too.
    fn new_attributes(&self) -> u64 {
        (self.recursive.set & !self.attributes.clear) | self.attributes.set
    }

    /// What is to be filled cannot be read-only yet.
    fn late_attributes(&self) -> u64 {
        if self.copy_up { self.new_attributes() & libc::MOUNT_ATTR_RDONLY } else { 0 }
    }

    /// Where the mount goes, created if it is missing.
    fn target(&self, root: &Root, directory: bool) -> Result<OwnedFd> {
        let pseudo = matches!(&self.kind, MountKind::New { filesystem, .. } if filesystem == "proc" || filesystem == "sysfs");
        if pseudo && !lacks(Defence::Procfs) {
            root.leave();
            return self.target_without_links(root);
        }
        match self.existing_target(root)? {
            Some(existing) => {
                self.refuse_procfs(&existing)?;
                root.leave();
                Ok(existing)
            }
            // Nothing can be made in a procfs.
            None if directory => {
                let made = root.make_directory(&self.destination)?;
                if self.wants_mode_of_target() {
                    // As the kernel makes a tmpfs, now and when the directory is found again.
                    let path = format!("/proc/self/fd/{}", made.as_raw_fd());
                    rustix::fs::chmod(path, Mode::from_raw_mode(0o1777))
                        .os(|| format!("cannot set the mode of {}", self.destination.display()))?;
                }
                Ok(made)
            }
            None => root.make_file(&self.destination),
        }
    }

    fn existing_target(&self, root: &Root) -> Result<Option<OwnedFd>> {
        if self.destination_nofollow {
            let (parent, name) = root.create_parent(&self.destination)?;
            let existing = root.lookup_in(&parent, &name)?;
            if existing.is_some() {
                return Ok(existing);
            }
        }
        root.lookup(&self.destination)
    }

    /// A link of the image would put procfs or sysfs somewhere else, and what
    /// hako later hides in /proc would not be there. What it makes itself is
    /// looked up again: the link may have come meanwhile.
    fn target_without_links(&self, root: &Root) -> Result<OwnedFd> {
        let destination = &self.destination;
        let refused = |error: Error| match error.errno {
            Some(libc::ELOOP) => Error::new(format!(
                "{} must be mounted on ordinary directory, not through a symbolic link",
                destination.display()
            )),
            _ => error,
        };
        if let Some(target) = root.lookup_without_links(destination).map_err(refused)? {
            return Ok(target);
        }
        retire(root.make_directory(destination)?);
        root.lookup_without_links(destination).map_err(refused)?.ok_or_else(|| {
            Error::os(
                format!("cannot open {} in the container", destination.display()),
                Errno::NOENT,
            )
        })
    }

    /// A link of the image can lead any destination into /proc.
    fn refuse_procfs(&self, target: &OwnedFd) -> Result<()> {
        if lacks(Defence::Procfs) || self.destination.starts_with("/proc") {
            return Ok(());
        }
        if is_on(target, libc::PROC_SUPER_MAGIC)? {
            return Err(Error::new(format!(
                "{} leads into /proc, where nothing may be mounted",
                self.destination.display()
            )));
        }
        Ok(())
    }

    fn attach(&self, tree: OwnedFd, target: OwnedFd) -> Result<()> {
        rustix::mount::move_mount(&tree, "", &target, "", EMPTY_BOTH).map_err(
            |errno| match errno {
                Errno::INVAL | Errno::NOTDIR if is_directory(&tree) != is_directory(&target) => {
                    Error::os(self.describe_mismatch(&tree, &target), Errno::NOTDIR).hint(
                        "a directory can be mounted onto a directory only, and a file onto a file",
                    )
                }
                errno => {
                    Error::os(format!("cannot attach it at {}", self.destination.display()), errno)
                }
            },
        )?;
        retire(tree);
        retire(target);
        Ok(())
    }

    fn describe_mismatch(&self, tree: &OwnedFd, target: &OwnedFd) -> String {
        let kind = |fd: &OwnedFd| if is_directory(fd) { "a directory" } else { "a file" };
        let source = match &self.kind {
            MountKind::Bind { source, .. } => source.display().to_string(),
            _ => "the file system".to_owned(),
        };
        format!(
            "source {source} is {}, destination {} is {}",
            kind(tree),
            self.destination.display(),
            kind(target)
        )
    }

    fn set_attributes(
        &self,
        tree: BorrowedFd,
        idmap: Option<&OwnedFd>,
        source: &Path,
    ) -> Result<()> {
        if let (Some(namespace), Some(idmap)) = (idmap, &self.idmap) {
            let change = MountAttributes { idmap: Some(namespace.as_fd()), ..Default::default() };
            sys::mount_setattr(tree, c"", idmap.recursive, &change)
                .map_err(|errno| idmap_refused(tree, errno))?;
        }
        let explain = |wanted, recursive| {
            move |errno| attributes_refused(tree, source, wanted, recursive, errno)
        };
        for (propagation, recursive) in &self.propagation {
            let propagation = MountAttributes { propagation: *propagation, ..Default::default() };
            sys::mount_setattr(tree, c"", *recursive, &propagation)
                .map_err(explain(Attributes::default(), *recursive))?;
        }
        for (attributes, recursive) in [(self.recursive, true), (self.attributes, false)] {
            if attributes.is_empty() {
                continue;
            }
            let change = MountAttributes {
                set: attributes.set,
                clear: attributes.clear,
                ..Default::default()
            };
            sys::mount_setattr(tree, c"", recursive, &change)
                .map_err(explain(attributes, recursive))?;
        }
        Ok(())
    }

    fn copy_link(&self, root: &Root, target: &Path) -> Result<()> {
        let (parent, name) = root.create_parent(&self.destination)?;
        match rustix::fs::symlinkat(target, &parent, &name) {
            Err(Errno::EXIST) => {
                let existing = rustix::fs::readlinkat(&parent, &name, Vec::new()).os(|| {
                    format!("{} exists and is no symbolic link", self.destination.display())
                })?;
                if existing.as_bytes() == target.as_os_str().as_encoded_bytes() {
                    return Ok(());
                }
                Err(Error::new(format!(
                    "{} is a symbolic link to something else",
                    self.destination.display()
                )))
            }
            result => result.os(|| format!("cannot make link {}", self.destination.display())),
        }
    }
}

fn is_directory(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Opens the source of a bind mount, as a path. Other than open(2), open_tree(2)
/// makes what is mounted on demand be mounted.
fn open_source(source: &Path, nofollow: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if nofollow {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    rustix::mount::open_tree(CWD, source, flags).map_err(|errno| {
        let error = Error::os(format!("cannot open source {}", source.display()), errno);
        match errno {
            Errno::NOENT => error.hint("a bind source must exist on the host before create"),
            _ => error,
        }
        .at("source")
    })
}

/// A detached copy of the mount behind `fd`, with what is below it if `recursive`.
pub fn clone_tree(fd: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, "", flags)
}

fn permissions(directory: &OwnedFd) -> Result<String> {
    let stat = rustix::fs::fstat(directory).os(|| "cannot examine the mount point")?;
    Ok(format!("{:o}", stat.st_mode & 0o7777))
}

/// fsconfig(2) takes strings of less than 256 bytes.
const LONGEST_VALUE: usize = 255;

/// The beginning of a value: a list of layers fills a screen.
fn shown(value: &str) -> String {
    match value.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// In characters.
const LONGEST_SHOWN: usize = 100;

/// Sets one parameter of a file system context.
pub fn configure(context: &OwnedFd, key: &str, value: Option<&str>) -> Result<()> {
    let set = |key: &str, value: Option<&str>| match value {
        Some(value) => rustix::mount::fsconfig_set_string(context, key, value),
        None => rustix::mount::fsconfig_set_flag(context, key),
    };
    let result = match value {
        // A list of layers is given one by one.
        Some(layers) if key == "lowerdir" && layers.len() > LONGEST_VALUE => {
            layers.split(':').try_for_each(|layer| set("lowerdir+", Some(layer)))
        }
        value => set(key, value),
    };
    result.map_err(|errno| {
        let option = value.map_or(key.to_owned(), |value| format!("{key}={}", shown(value)));
        let error = with_log(context, format!("option {option} was refused"), errno);
        match (key, value) {
            (_, Some(value)) if value.len() > LONGEST_VALUE => {
                error.hint("mount option values are limited to 255 bytes")
            }
            ("uid" | "gid", Some(value)) => {
                let kind = if key == "uid" { IdKind::User } else { IdKind::Group };
                match value.parse() {
                    Ok(id) => explain_id(error, kind, id),
                    Err(_) => error,
                }
            }
            _ => error,
        }
    })
}

fn reconfigure(
    target: &OwnedFd,
    superblock: &[String],
    data: &[(String, Option<String>)],
) -> Result<()> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context =
        rustix::mount::fspick(target, "", flags).os(|| "cannot remount what is no mount")?;
    for flag in superblock {
        configure(&context, flag, None)?;
    }
    for (key, value) in data {
        configure(&context, key, value.as_deref())?;
    }
    rustix::mount::fsconfig_reconfigure(&context)
        .map_err(|errno| with_log(&context, "cannot remount".to_owned(), errno))
}

fn change(tree: BorrowedFd, recursive: bool, change: &MountAttributes) -> Result<()> {
    sys::mount_setattr(tree, c"", recursive, change).os(|| "cannot change mount attributes")
}

/// The kernel explains itself through the context: `e tmpfs: Bad value for 'size'`.
pub fn with_log(context: &OwnedFd, message: String, errno: Errno) -> Error {
    let mut reasons = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        reasons.push(line.trim().trim_start_matches(['e', 'w', 'i']).trim_start().to_owned());
    }
    if reasons.is_empty() {
        Error::os(message, errno)
    } else {
        Error::os(format!("{message} ({})", reasons.join("; ")), errno)
    }
}
