//! Why a mount is refused, and what to do about it.

use super::mountinfo::Mounted;
use super::options::{ATIME_FIELD, Attributes};
use crate::error::Error;
use crate::namespaces::{self, IdKind, Kind};
use crate::plan::needs_namespace;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

fn mount_table() -> Vec<Mounted> {
    Mounted::all_of("self").unwrap_or_default()
}

fn below<'t>(table: &'t [Mounted], place: &Path) -> Vec<&'t Path> {
    let inside = |mount: &&Mounted| mount.point != place && mount.point.starts_with(place);
    let mut list: Vec<&Path> =
        table.iter().filter(inside).map(|mount| mount.point.as_path()).collect();
    list.dedup();
    list
}

/// `/proc/acpi, /proc/kcore and 3 more`
fn some_of(places: &[&Path]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> =
        places.iter().take(SHOWN).map(|place| place.display().to_string()).collect();
    match places.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A file system that could not be made.
pub fn unknown_filesystem(name: &str, errno: Errno) -> Error {
    let error = Error::os(format!("cannot mount {name}"), errno);
    match errno {
        Errno::NODEV => error
            .hint(format!("the running kernel has no file system {name:?}; see /proc/filesystems")),
        _ => explain_foreign(error, name),
    }
}

/// An owner that the user namespace does not know.
pub fn explain_id(error: Error, kind: IdKind, id: u32) -> Error {
    let map = namespaces::own_map(kind);
    if namespaces::is_mapped(&map, id) {
        return error;
    }
    let what = format!("{} id {id} is not mapped in the user namespace", kind.word());
    let message = format!("{}, since {what}", error.message);
    Error { message, ..error }.hint(namespaces::own_map_remedy(kind, &map))
}

/// Other file systems that root of any user namespace may make (`FS_USERNS_MOUNT`).
const ANYBODYS: [&str; 8] =
    ["tmpfs", "devpts", "overlay", "fuse", "ramfs", "cgroup2", "binder", "bpf"];

/// A new file system that takes privilege over the namespace it shows, or over the
/// machine (`mount_capable` in the kernel).
pub fn explain_foreign(error: Error, filesystem: &str) -> Error {
    if error.errno != Some(libc::EPERM) {
        return error;
    }
    let (kind, remedy) = match filesystem {
        "proc" => (Kind::Pid, "bind the host's: type bind, source /proc, options rbind"),
        "sysfs" => (Kind::Network, "bind the host's: type bind, source /sys, options rbind and ro"),
        "mqueue" => (Kind::Ipc, "leave the mount out"),
        name if ANYBODYS.contains(&name) => return error,
        name => {
            return error.hint(format!(
                "in a user namespace the kernel makes no {name}: have root of the machine mount it, and bind it here"
            ));
        }
    };
    if namespaces::is_own(kind) {
        return error;
    }
    let message = format!(
        "cannot mount {filesystem}, since it shows the {kind} namespace, which belongs to another user namespace than the container's"
    );
    let hint = format!("{}, without a path; or {remedy}", needs_namespace(kind));
    Error { message, ..error }.hint(hint)
}

/// Directories that the kernel keeps for other file systems: covering them hides
/// nothing.
const MOUNT_POINTS: [&str; 13] = [
    "/proc/sys/fs/binfmt_misc",
    "/proc/fs/nfsd",
    "/sys/fs/cgroup",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/fs/fuse/connections",
    "/sys/fs/selinux",
    "/sys/fs/smackfs",
    "/sys/firmware/efi/efivars",
    "/sys/kernel/config",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// A new procfs or sysfs that the kernel keeps from a user namespace, because of
/// what covers the one that is there (`mount_too_revealing` in the kernel).
pub fn explain_unseen(error: Error, filesystem: &str) -> Error {
    let is_hidden = error.errno == Some(libc::EPERM) && matches!(filesystem, "proc" | "sysfs");
    if !is_hidden {
        return error;
    }
    let table = mount_table();
    let there = table.iter().find(|mount| mount.filesystem == filesystem);
    let Some(there) = there else {
        let reason =
            format!("cannot mount {filesystem}, since none is to be seen around the container");
        return Error { message: reason, ..error };
    };
    let mut covered = below(&table, &there.point);
    covered.retain(|place| !MOUNT_POINTS.iter().any(|point| place.starts_with(point)));
    let place = there.point.display();
    let message = match covered.as_slice() {
        [] => format!(
            "cannot mount {filesystem}, since the kernel makes none in a user namespace that could do more than {place}"
        ),
        covered => format!(
            "cannot mount {filesystem}, since in a user namespace the kernel makes none where parts of {place} are covered: {}",
            some_of(covered)
        ),
    };
    let outer = "the container that hako is in needs all of it: docker run --security-opt systempaths=unconfined, podman run --security-opt unmask=ALL, procMount: Unmasked in Kubernetes; or --privileged";
    Error { message, ..error }.hint(match covered.is_empty() {
        true => "if that is read-only, mount it with the option ro",
        false => outer,
    })
}

/// A mount whose files' owners cannot be mapped.
pub fn idmap_refused(tree: impl AsFd, errno: Errno) -> Error {
    let magic = rustix::fs::fstatfs(tree).map_or(0, |statfs| statfs.f_type);
    let error =
        Error::os(format!("cannot map ownership on this file system (magic {magic:#x})"), errno);
    match errno {
        Errno::INVAL => error.hint("the running kernel cannot idmap this file system; ext4, xfs, btrfs and tmpfs can since 5.12, 5.12, 5.15 and 6.3"),
        Errno::PERM => error.hint("that takes privilege over the file system: in a user namespace only new ones can be mapped, such as a tmpfs; a bind mount takes root of the machine"),
        _ => error,
    }
}

/// A directory that cannot be bound.
pub fn clone_refused(source: &Path, recursive: bool, errno: Errno) -> Error {
    let error = Error::os(format!("cannot clone the mount of {}", source.display()), errno);
    if errno != Errno::INVAL {
        return error;
    }
    let table = mount_table();
    let covered = below(&table, &source.canonicalize().unwrap_or_else(|_| source.to_owned()));
    match covered.as_slice() {
        covered @ [_, ..] if !recursive => Error {
            message: format!(
                "cannot bind {} without what is mounted in it, which a user namespace may not uncover: {}",
                source.display(),
                some_of(covered)
            ),
            ..error
        }
        .hint("use the option rbind instead of bind"),
        _ => error.hint("an unbindable mount cannot be bound"),
    }
}

/// What a mount can be bound to keep: how it shows, the attribute, its word and the
/// word of its opposite.
const LOCKABLE: [(StatVfsMountFlags, u64, &str, &str); 4] = [
    (StatVfsMountFlags::RDONLY, libc::MOUNT_ATTR_RDONLY, "ro", "rw"),
    (StatVfsMountFlags::NOSUID, libc::MOUNT_ATTR_NOSUID, "nosuid", "suid"),
    (StatVfsMountFlags::NODEV, libc::MOUNT_ATTR_NODEV, "nodev", "dev"),
    (StatVfsMountFlags::NOEXEC, libc::MOUNT_ATTR_NOEXEC, "noexec", "exec"),
];

/// What a mount is and what is wanted instead, where it may be bound to stay as it
/// is. How it keeps access times is locked as a whole, and nothing may be added.
fn contradictions(
    present: StatVfsMountFlags,
    wanted: Attributes,
) -> Vec<(&'static str, &'static str)> {
    let taken = LOCKABLE
        .iter()
        .filter(|(flag, attribute, ..)| present.contains(*flag) && wanted.clear & attribute != 0)
        .map(|(_, _, word, opposite)| (*word, *opposite));
    let policy = match present {
        flags if flags.contains(StatVfsMountFlags::NOATIME) => "noatime",
        flags if flags.contains(StatVfsMountFlags::RELATIME) => "relatime",
        _ => "strictatime",
    };
    let asked_policy = match wanted.set & ATIME_FIELD {
        _ if wanted.clear & ATIME_FIELD == 0 => policy,
        libc::MOUNT_ATTR_NOATIME => "noatime",
        libc::MOUNT_ATTR_STRICTATIME => "strictatime",
        _ => "relatime",
    };
    let word = |is_set| if is_set { "nodiratime" } else { "diratime" };
    let directories = word(present.contains(StatVfsMountFlags::NODIRATIME));
    let asked_directories = match libc::MOUNT_ATTR_NODIRATIME {
        bit if wanted.set & bit != 0 => word(true),
        bit if wanted.clear & bit != 0 => word(false),
        _ => directories,
    };
    let times = [(policy, asked_policy), (directories, asked_directories)];
    taken.chain(times.into_iter().filter(|(kept, asked)| kept != asked)).collect()
}

/// Attributes that cannot be changed: those a mount came with into a user
/// namespace are locked (mount_namespaces(7)).
pub fn attributes_refused(
    mount: BorrowedFd,
    source: &Path,
    wanted: Attributes,
    recursive: bool,
    errno: Errno,
) -> Error {
    let source = source.display();
    let error = Error::os(format!("cannot change the mount attributes of {source}"), errno);
    if errno != Errno::PERM {
        return error;
    }
    let present = rustix::fs::fstatvfs(mount).map_or(StatVfsMountFlags::empty(), |fs| fs.f_flag);
    let (kept, asked): (Vec<&str>, Vec<&str>) = contradictions(present, wanted).into_iter().unzip();
    if kept.is_empty() {
        return match recursive {
            true => error.hint("what is mounted below it came with attributes that are locked in a user namespace: leave out the options that would take them away"),
            false => error.hint("what it came with into a user namespace is locked"),
        };
    }
    let letter = if recursive { "r" } else { "" };
    let options: Vec<String> = asked.iter().map(|word| format!("{letter}{word}")).collect();
    let asked = asked.join(",");
    Error {
        message: format!(
            "cannot make {source} {asked}: it is mounted {}, and what it came with into a user namespace is locked",
            kept.join(",")
        ),
        ..error
    }
    .hint(format!("leave {} out of the options, or have it mounted {asked} outside", options.join(", ")))
}

/// Remedy for a directory that may not be passed.
pub const LET_IN: &str = "have it given to you (chown -R), or let others into it (chmod o+x)";

/// A directory that may not be passed, or written to, because it is somebody's whom
/// the user namespace does not map: root of it has no privilege there.
pub fn explain_owner(error: Error, directory: impl AsFd, remedy: &str) -> Error {
    let is_foreign = |stat: rustix::fs::Stat| {
        namespaces::known_id(IdKind::User, stat.st_uid).is_none()
            || namespaces::known_id(IdKind::Group, stat.st_gid).is_none()
    };
    match error.errno {
        Some(libc::EACCES) if rustix::fs::fstat(directory).is_ok_and(is_foreign) => {
            error.hint(format!(
                "the rootfs belongs to somebody whom the user namespace does not map (ls -ldn shows whom): {remedy}"
            ))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mount_is_bound_to_stay() {
        use libc::{MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NODIRATIME as NODIRATIME};
        let relatime = StatVfsMountFlags::RELATIME | StatVfsMountFlags::RDONLY;
        let wanted = |set, clear| Attributes { set, clear };
        for (present, wanted, expected) in [
            (relatime, wanted(NOATIME, ATIME_FIELD), &[("relatime", "noatime")][..]),
            (relatime, wanted(0, ATIME_FIELD), &[]),
            (relatime, wanted(NODIRATIME, 0), &[("diratime", "nodiratime")]),
            (relatime, wanted(0, libc::MOUNT_ATTR_RDONLY), &[("ro", "rw")]),
            (StatVfsMountFlags::NOATIME, wanted(0, ATIME_FIELD), &[("noatime", "relatime")]),
            (StatVfsMountFlags::NODIRATIME, wanted(0, NODIRATIME), &[("nodiratime", "diratime")]),
            (
                StatVfsMountFlags::empty(),
                wanted(NOATIME, ATIME_FIELD),
                &[("strictatime", "noatime")],
            ),
            (StatVfsMountFlags::NODIRATIME, wanted(NODIRATIME | libc::MOUNT_ATTR_RDONLY, 0), &[]),
        ] {
            assert_eq!(contradictions(present, wanted), expected, "{present:?} {wanted:?}");
        }
    }

    #[test]
    fn what_covers_a_directory_is_found() {
        let text = "21 1 0:5 / /proc rw shared:5 - proc proc rw\n\
                    22 21 0:5 /sys /proc/sys ro - proc proc rw\n\
                    23 21 0:9 / /proc/acpi ro - tmpfs tmpfs ro\n\
                    24 1 0:6 / /process\\040x rw - tmpfs t rw\n";
        let table: Vec<Mounted> =
            text.lines().filter_map(|line| Mounted::parse(line.as_bytes())).collect();
        let covered = below(&table, Path::new("/proc"));
        assert_eq!(covered, [Path::new("/proc/sys"), Path::new("/proc/acpi")]);
        assert_eq!(table[3].point, Path::new("/process x"));
        assert_eq!(some_of(&covered), "/proc/sys, /proc/acpi");
        let many = ["/a", "/b", "/c", "/d"].map(Path::new);
        assert_eq!(some_of(&many), "/a, /b, /c and 1 more");
    }
}
