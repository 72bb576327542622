//! The mount option table: what each word in `mounts[].options` means.

use crate::namespaces::{IdMapping, IdMaps};
use rustix::mount::MountFlags;
use serde::Serialize;

/// One option's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Sets these attributes of the mount.
    Set(u64),
    /// Clears these attributes of the mount.
    Clear(u64),
    /// Sets the access time policy, of which a mount has exactly one.
    Atime(u64),
    /// A flag of the superblock: its fsconfig(2) name, and whether it is set.
    Superblock(&'static str, bool),
    /// Propagation type, `MS_*`.
    Propagation(u64),
    /// Bind mount.
    Bind,
    /// Change the mount that is already there.
    Remount,
    /// Fill the tmpfs with what it hides.
    CopyUp,
    /// Map ownership by the mount's mappings, or the container's.
    Idmap,
    /// Mount the source itself if it is a symbolic link.
    SourceNoFollow,
    /// Do not follow a symbolic link at the destination.
    DestinationNoFollow,
    /// Recreate a source that is a symbolic link instead of mounting it.
    CopySymlink,
    /// Nothing: the default, or of no effect on Linux today.
    Nothing,
}

use Meaning::{Atime, Bind, Clear, Idmap, Nothing, Propagation, Remount, Set, Superblock};

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// The field that holds the access time policy.
pub const ATIME_FIELD: u64 = libc::MOUNT_ATTR__ATIME;
const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;

/// Options and their meaning; with an `r` in front, the first group applies to
/// the whole tree (config.md, "Mounts"; mount_setattr(2)).
const RECURSIVE: &[(&str, Meaning)] = &[
    ("ro", Set(RDONLY)),
    ("rw", Clear(RDONLY)),
    ("nosuid", Set(NOSUID)),
    ("suid", Clear(NOSUID)),
    ("nodev", Set(NODEV)),
    ("dev", Clear(NODEV)),
    ("noexec", Set(NOEXEC)),
    ("exec", Clear(NOEXEC)),
    ("nodiratime", Set(NODIRATIME)),
    ("diratime", Clear(NODIRATIME)),
    ("nosymfollow", Set(NOSYMFOLLOW)),
    ("symfollow", Clear(NOSYMFOLLOW)),
    ("relatime", Atime(RELATIME)),
    ("norelatime", Atime(STRICTATIME)),
    ("noatime", Atime(NOATIME)),
    ("atime", Atime(RELATIME)),
    ("strictatime", Atime(STRICTATIME)),
    ("nostrictatime", Atime(RELATIME)),
    ("shared", Propagation(libc::MS_SHARED)),
    ("slave", Propagation(libc::MS_SLAVE)),
    ("private", Propagation(libc::MS_PRIVATE)),
    ("unbindable", Propagation(libc::MS_UNBINDABLE)),
    ("bind", Bind),
    ("idmap", Idmap),
];

/// Options that exist for one mount only.
const SINGLE: &[(&str, Meaning)] = &[
    ("defaults", Nothing),
    ("remount", Remount),
    ("sync", Superblock("sync", true)),
    ("async", Superblock("sync", false)),
    ("dirsync", Superblock("dirsync", true)),
    ("lazytime", Superblock("lazytime", true)),
    ("nolazytime", Superblock("lazytime", false)),
    ("mand", Superblock("mand", true)),
    ("nomand", Superblock("mand", false)),
    // Change counters are always kept, and a mount's kernel messages go to a
    // file descriptor now.
    ("iversion", Nothing),
    ("noiversion", Nothing),
    ("silent", Nothing),
    ("loud", Nothing),
    ("tmpcopyup", Meaning::CopyUp),
    ("src-nofollow", Meaning::SourceNoFollow),
    ("dest-nofollow", Meaning::DestinationNoFollow),
    ("copy-symlink", Meaning::CopySymlink),
];

/// Every option name that is understood, for `features`.
pub fn names() -> Vec<String> {
    let single = SINGLE.iter().map(|(name, _)| (*name).to_owned());
    let both = RECURSIVE.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("r{name}")]);
    let mut names: Vec<String> = single.chain(both).collect();
    names.sort();
    names
}

/// The meaning of a word and whether it applies to the whole tree. `None` is
/// data for the file system.
pub fn meaning(word: &str) -> Option<(Meaning, bool)> {
    let find = |table: &[(&str, Meaning)], word: &str| {
        table.iter().find(|(name, _)| *name == word).map(|(_, meaning)| *meaning)
    };
    find(SINGLE, word)
        .or_else(|| find(RECURSIVE, word))
        .map(|meaning| (meaning, false))
        .or_else(|| Some((find(RECURSIVE, word.strip_prefix('r')?)?, true)))
}

/// Attributes to set and clear, the later option winning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
}

impl Attributes {
    /// Whether there is nothing to change.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn set(&mut self, bits: u64) {
        self.set |= bits;
        self.clear &= !bits;
    }

    fn clear(&mut self, bits: u64) {
        self.clear |= bits;
        self.set &= !bits;
    }

    /// Takes bits back: a later option for the whole tree has the last word.
    fn forget(&mut self, bits: u64) {
        self.set &= !bits;
        self.clear &= !bits;
    }

    /// The access time policy is a field, not a bit: the kernel wants the
    /// whole field cleared before one of its values is set.
    fn atime(&mut self, policy: u64) {
        self.set = (self.set & !ATIME_FIELD) | policy;
        self.clear |= ATIME_FIELD;
    }
}

/// Attributes and superblock flags as mount(2) wants them.
pub fn legacy_flags(attributes: u64, superblock: &[String]) -> MountFlags {
    const ATTRIBUTES: &[(u64, MountFlags)] = &[
        (RDONLY, MountFlags::RDONLY),
        (NOSUID, MountFlags::NOSUID),
        (NODEV, MountFlags::NODEV),
        (NOEXEC, MountFlags::NOEXEC),
        (NODIRATIME, MountFlags::NODIRATIME),
        (NOSYMFOLLOW, MountFlags::from_bits_retain(libc::MS_NOSYMFOLLOW as _)),
        (NOATIME, MountFlags::NOATIME),
        (STRICTATIME, MountFlags::STRICTATIME),
    ];
    const SUPERBLOCK: &[(&str, MountFlags)] = &[
        ("ro", MountFlags::RDONLY),
        ("sync", MountFlags::SYNCHRONOUS),
        ("dirsync", MountFlags::DIRSYNC),
        ("lazytime", MountFlags::LAZYTIME),
        ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
    ];
    let of_mount =
        ATTRIBUTES.iter().filter(|(bit, _)| attributes & bit != 0).map(|(_, flag)| *flag);
    let named = |name: &str| superblock.iter().any(|flag| flag == name);
    let of_superblock = SUPERBLOCK.iter().filter(|(name, _)| named(name)).map(|(_, flag)| *flag);
    of_mount.chain(of_superblock).fold(MountFlags::empty(), |flags, flag| flags | flag)
}

/// All options of one mount, folded in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// For the mount itself.
    pub attributes: Attributes,
    /// For the whole tree.
    pub recursive: Attributes,
    /// Superblock flags, by fsconfig(2) name.
    pub superblock: Vec<&'static str>,
    /// Propagation types in order: `MS_*` and whether recursive.
    pub propagation: Vec<(u64, bool)>,
    /// Bind mount, and whether recursive.
    pub bind: Option<bool>,
    /// Remount.
    pub remount: bool,
    /// tmpcopyup
    pub copy_up: bool,
    /// Idmap: recursive or not, and the mappings given in the option itself.
    pub idmap: Option<(bool, Option<String>)>,
    /// src-nofollow
    pub source_nofollow: bool,
    /// dest-nofollow
    pub destination_nofollow: bool,
    /// copy-symlink
    pub copy_symlink: bool,
    /// Parameters for the file system.
    pub data: Vec<(String, Option<String>)>,
}

/// Folds the options of a mount.
pub fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    for option in options {
        match meaning(option) {
            Some((meaning, recursive)) => parsed.apply(meaning, recursive),
            None => parsed.apply_parameter(option),
        }
    }
    parsed
}

impl Parsed {
    fn apply(&mut self, meaning: Meaning, recursive: bool) {
        if recursive {
            match meaning {
                Set(bits) | Clear(bits) => self.attributes.forget(bits),
                Atime(_) => self.attributes.forget(ATIME_FIELD),
                _ => {}
            }
        }
        let attributes = if recursive { &mut self.recursive } else { &mut self.attributes };
        match meaning {
            Set(bits) => attributes.set(bits),
            Clear(bits) => attributes.clear(bits),
            Atime(policy) => attributes.atime(policy),
            Superblock(name, on) => {
                self.superblock.retain(|other| *other != name);
                if on {
                    self.superblock.push(name);
                }
            }
            Propagation(kind) => self.propagation.push((kind, recursive)),
            Bind => self.bind = Some(recursive || self.bind == Some(true)),
            Remount => self.remount = true,
            Meaning::CopyUp => self.copy_up = true,
            Idmap => self.idmap = Some((recursive, None)),
            Meaning::SourceNoFollow => self.source_nofollow = true,
            Meaning::DestinationNoFollow => self.destination_nofollow = true,
            Meaning::CopySymlink => self.copy_symlink = true,
            Nothing => {}
        }
    }

    fn apply_parameter(&mut self, option: &str) {
        match option.split_once('=') {
            Some(("idmap" | "ridmap", maps)) => {
                self.idmap = Some((option.starts_with('r'), Some(maps.to_owned())));
            }
            // mount(8) takes several as one, unless the comma belongs to a value.
            _ if option.contains(',') && !option.contains(['"', '\\']) => {
                option.split(',').for_each(|one| self.apply_parameter(one));
            }
            Some((key, value)) => self.data.push((key.to_owned(), Some(value.to_owned()))),
            None if option.is_empty() => {}
            None => self.data.push((option.to_owned(), None)),
        }
    }
}

/// `uids=0-1000-1#1000-2000-5;gids=0-1000-1`: ranges container-host-size,
/// separated by `#`, as crun writes them. After an `@` the second number is an
/// id in the container's user namespace, which maps it by `namespace`.
///
/// # Errors
/// A sentence about what is malformed.
pub fn parse_idmap(text: &str, namespace: &IdMaps) -> Result<IdMaps, String> {
    let mut maps = IdMaps::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (kind, ranges) = part
            .split_once('=')
            .ok_or_else(|| format!("idmap: {part:?} is not uids=… or gids=…"))?;
        let (list, outer) = match kind {
            "uids" => (&mut maps.uids, &namespace.uids),
            "gids" => (&mut maps.gids, &namespace.gids),
            _ => return Err(format!("idmap: {kind:?} is neither uids nor gids")),
        };
        for range in ranges.split('#') {
            let (relative, plain) = match range.strip_prefix('@') {
                Some(plain) => (true, plain),
                None => (false, range),
            };
            let numbers: Vec<Option<u32>> =
                plain.split('-').map(|number| number.parse().ok()).collect();
            let [Some(container), Some(host), Some(size)] = numbers[..] else {
                return Err(format!("idmap: {range:?} is not CONTAINER-HOST-SIZE"));
            };
            let host = if relative { translate(outer, host, size)? } else { host };
            list.push(IdMapping { container, host, size });
        }
    }
    Ok(maps)
}

/// The host's first id for a range of ids of a user namespace.
fn translate(maps: &[IdMapping], first: u32, size: u32) -> Result<u32, String> {
    maps.iter()
        .find_map(|map| {
            let offset = first.checked_sub(map.container)?;
            let inside = offset.checked_add(size).is_some_and(|end| end <= map.size);
            if inside { map.host.checked_add(offset) } else { None }
        })
        .ok_or_else(|| format!("idmap: {size} ids from {first} on are not mapped in the container"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Parsed {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        super::parse(&options)
    }

    #[test]
    fn the_later_option_wins() {
        assert_eq!(parse(&["ro", "rw"]).attributes, Attributes { set: 0, clear: RDONLY });
        assert_eq!(parse(&["suid", "nosuid"]).attributes, Attributes { set: NOSUID, clear: 0 });
        assert_eq!(parse(&["noatime", "strictatime"]).attributes.set, STRICTATIME);
        assert_eq!(parse(&["sync", "async"]).superblock, Vec::<&str>::new());
    }

    #[test]
    fn an_r_in_front_means_the_whole_tree() {
        let parsed = parse(&["rbind", "rro", "rrelatime", "rw"]);
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.recursive.set, RDONLY | RELATIME);
        assert_eq!(parsed.attributes.clear, RDONLY);
        assert_eq!(meaning("rrw"), Some((Clear(RDONLY), true)));
        assert_eq!(meaning("remount"), Some((Remount, false)));
    }

    #[test]
    fn other_words_are_data() {
        let parsed = parse(&["size=64k", "nr_inodes"]);
        let expected =
            [("size".to_owned(), Some("64k".to_owned())), ("nr_inodes".to_owned(), None)];
        assert_eq!(parsed.data, expected);
        assert_eq!(parse(&["size=64k,nr_inodes"]).data, expected);
        assert_eq!(parse(&["context=\"a,b\""]).data.len(), 1);
    }

    #[test]
    fn idmap_ranges_are_read() {
        let text = parse(&["idmap=uids=0-1000-1#5-6-7;gids=@0-9-1"]).idmap.unwrap().1.unwrap();
        let outer = [IdMapping { container: 0, host: 100_000, size: 10 }];
        let namespace = IdMaps { uids: outer.to_vec(), gids: outer.to_vec() };
        let maps = parse_idmap(&text, &namespace).unwrap();
        assert_eq!(maps.uids[1], IdMapping { container: 5, host: 6, size: 7 });
        assert_eq!(maps.gids, [IdMapping { container: 0, host: 100_009, size: 1 }]);
        for bad in ["uids=0-1", "uids=@0-9-2", "uids=a-b-c", "pids=0-0-1", "x"] {
            assert!(parse_idmap(bad, &namespace).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_option_for_the_tree_wins_too() {
        let parsed = parse(&["noatime", "ro", "rrelatime", "rrw"]);
        assert!(parsed.attributes.is_empty());
        assert_eq!(parsed.recursive.clear, RDONLY | ATIME_FIELD);
    }
}
