//! The ids that an ordinary user may map into a user namespace: their own, and
//! those that subuid(5) and subgid(5) give them, through newuidmap(1) and
//! newgidmap(1).

use super::id_map::{IdMapping, is_mapped};
use crate::user;
use rustix::fs::StatVfsMountFlags;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Consecutive ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Range {
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{} to {}", self.first, self.end().saturating_sub(1)),
        }
    }
}

/// One of the two kinds of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// Users.
    User,
    /// Groups.
    Group,
}

impl IdKind {
    /// The file that gives such ids to users.
    pub fn file(self) -> &'static str {
        match self {
            IdKind::User => "/etc/subuid",
            IdKind::Group => "/etc/subgid",
        }
    }

    /// The program that writes a map of such ids.
    pub fn helper(self) -> &'static str {
        match self {
            IdKind::User => "newuidmap",
            IdKind::Group => "newgidmap",
        }
    }

    /// The map of such ids of a process's user namespace, in /proc/PID.
    pub fn map_file(self) -> &'static str {
        match self {
            IdKind::User => "uid_map",
            IdKind::Group => "gid_map",
        }
    }

    /// The list of ranges in `config.json`.
    pub fn field(self) -> &'static str {
        match self {
            IdKind::User => "uidMappings",
            IdKind::Group => "gidMappings",
        }
    }

    /// As a sentence calls it.
    pub fn word(self) -> &'static str {
        match self {
            IdKind::User => "user",
            IdKind::Group => "group",
        }
    }

    /// Number of the capability that maps any id: CAP_SETUID, CAP_SETGID.
    fn capability(self) -> u8 {
        match self {
            IdKind::User => 7,
            IdKind::Group => 6,
        }
    }
}

/// A program with more privilege than its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Helper {
    /// It can be used.
    Ready(PathBuf),
    /// It is not installed.
    Missing,
    /// It is there, but would run without privilege.
    Powerless {
        /// Where it is.
        path: PathBuf,
        /// Why, as the end of a sentence.
        reason: &'static str,
        /// What to do about it.
        remedy: String,
    },
}

/// What the machine lets one kind of a user's ids be mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subordinates {
    /// The user's own id.
    pub own: u32,
    /// More of them.
    pub ranges: Vec<Range>,
    /// Who writes their map.
    pub helper: Helper,
}

/// An ordinary user, as the machine knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name, or else the number.
    pub name: String,
    /// User ids.
    pub users: Subordinates,
    /// Group ids.
    pub groups: Subordinates,
    /// The ids may be given by something else than files (`subid:` in
    /// nsswitch.conf(5)): only the helpers know them.
    pub elsewhere: bool,
    /// From here on, both kinds of ids are nobody's.
    pub free: u32,
}

impl Account {
    /// Looks the user up.
    pub fn probe(uid: u32, gid: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let name = user::login_name(uid).unwrap_or_else(|| uid.to_string());
        let of = |kind: IdKind, own: u32| Subordinates {
            own,
            ranges: ranges(&read(kind.file()), &name, uid),
            helper: find_helper(kind),
        };
        Self {
            users: of(IdKind::User, uid),
            groups: of(IdKind::Group, gid),
            elsewhere: is_elsewhere(&read("/etc/nsswitch.conf")),
            free: free_from(&[read(IdKind::User.file()), read(IdKind::Group.file())]),
            name,
        }
    }

    /// A made-up user: 1000, called web, with 65536 further ids.
    pub fn example() -> Self {
        let of = |kind: IdKind| Subordinates {
            own: 1000,
            ranges: vec![Range { first: 100_000, count: 65_536 }],
            helper: Helper::Ready(Path::new("/usr/bin").join(kind.helper())),
        };
        let (users, groups) = (of(IdKind::User), of(IdKind::Group));
        Self { name: "web".to_owned(), users, groups, elsewhere: false, free: 165_536 }
    }

    /// One kind of ids.
    pub fn ids(&self, kind: IdKind) -> &Subordinates {
        match kind {
            IdKind::User => &self.users,
            IdKind::Group => &self.groups,
        }
    }

    /// Maps with as many ids as the user may have: root inside is the user, and
    /// what comes after it are the other ids. `None` if there is only the user.
    pub fn full_map(&self, kind: IdKind) -> Option<Vec<IdMapping>> {
        let ids = self.ids(kind);
        if ids.ranges.is_empty() || !matches!(ids.helper, Helper::Ready(_)) {
            return None;
        }
        let mut map = vec![IdMapping { container: 0, host: ids.own, size: 1 }];
        let mut next: u32 = 1;
        for range in &ids.ranges {
            let size = range.count.min(u32::MAX - next);
            map.push(IdMapping { container: next, host: range.first, size });
            next = next.saturating_add(size);
        }
        Some(map)
    }

    /// How to have this id in a container.
    pub fn remedy_for(&self, kind: IdKind, id: u32) -> String {
        match self.full_map(kind).is_some_and(|map| is_mapped(&map, id)) {
            true => "the mappings are for less than you have: hako spec --rootless writes mappings of all your ids".to_owned(),
            false => self.remedy(kind),
        }
    }

    /// How to get more ids.
    pub fn remedy(&self, kind: IdKind) -> String {
        let (file, name) = (kind.file(), &self.name);
        let given = match self.ids(kind).ranges.as_slice() {
            [] => format!("{file} gives {name} no {} ids", kind.word()),
            ranges => {
                let list: Vec<_> = ranges.iter().map(Range::to_string).collect();
                format!("{file} gives {name} the {} ids {}", kind.word(), list.join(", "))
            }
        };
        let range = format!("{}-{}", self.free, u64::from(self.free) + 65_535);
        format!(
            "{given}; for more, as root, with a range that nobody else has: usermod --add-subuids {range} --add-subgids {range} {name}; then write the mappings anew, as hako spec --rootless does where there is no config.json yet"
        )
    }
}

impl Subordinates {
    /// Whether a range of the host is the user's to map.
    pub fn allows(&self, map: &IdMapping) -> bool {
        let wanted = Range { first: map.host, count: map.size };
        (map.host == self.own && map.size == 1)
            || self
                .ranges
                .iter()
                .any(|range| range.first <= wanted.first && wanted.end() <= range.end())
    }
}

/// Whether a process with these capabilities may map ids of this kind as it likes.
pub fn maps_any(capabilities: u64, kind: IdKind) -> bool {
    capabilities & (1 << kind.capability()) != 0
}

/// `NAME:FIRST:COUNT`, with a login name or the number of the user; neighbours
/// are one range, as for newuidmap.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let parse = |line: &str| {
        let [owner, first, count] = line.trim().split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let is_theirs = owner == name || owner.parse() == Ok(uid);
        let range = Range { first: first.parse().ok()?, count: count.parse().ok()? };
        (is_theirs && range.count > 0 && range.end() <= u64::from(u32::MAX)).then_some(range)
    };
    let mut found: Vec<Range> = text.lines().filter_map(parse).collect();
    found.sort_by_key(|range| range.first);
    let mut joined: Vec<Range> = Vec::new();
    for range in found {
        match joined.last_mut() {
            Some(last) if u64::from(range.first) <= last.end() => {
                last.count = (range.end().max(last.end()) - u64::from(last.first)) as u32;
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// The first id behind all ranges of these files, and where useradd(8) begins at
/// the earliest.
fn free_from(files: &[String]) -> u32 {
    let end = |line: &str| {
        let mut fields = line.trim().split(':').skip(1).map(str::parse::<u32>);
        let (first, count) = (fields.next()?.ok()?, fields.next()?.ok()?);
        first.checked_add(count)
    };
    files.iter().flat_map(|text| text.lines()).filter_map(end).max().unwrap_or(0).max(100_000)
}

fn is_elsewhere(nsswitch: &str) -> bool {
    let sources = nsswitch.lines().find_map(|line| line.trim().strip_prefix("subid:"));
    sources.is_some_and(|sources| sources.split_whitespace().any(|source| source != "files"))
}

fn find_helper(kind: IdKind) -> Helper {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
    let directories = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(standard);
    let found = directories.map(|dir| dir.join(kind.helper())).find(|path| path.is_file());
    found.map_or(Helper::Missing, examine)
}

/// Either setuid, or with a capability of the file's (capabilities(7)).
fn examine(path: PathBuf) -> Helper {
    const SETUID: u32 = 0o4000;
    let metadata = std::fs::metadata(&path);
    let is_roots = metadata.as_ref().is_ok_and(|metadata| metadata.uid() == 0);
    let by_mode = is_roots && metadata.is_ok_and(|metadata| metadata.mode() & SETUID != 0);
    let powerless = |path, reason, remedy| Helper::Powerless { path, reason, remedy };
    if !by_mode && !has_file_capabilities(&path) {
        let install = "install the package uidmap (shadow-utils) again";
        let remedy = match is_roots {
            true => format!("as root: chmod u+s {}, or {install}", path.display()),
            // Whoever can write to it would be root.
            false => format!("it is not root's: put another one before it in PATH, or {install}"),
        };
        return powerless(path, "is neither setuid root nor has capabilities of its own", remedy);
    }
    let on = rustix::fs::statvfs(&path).map(|fs| fs.f_flag);
    if on.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOSUID)) {
        return powerless(
            path,
            "is on a file system that is mounted nosuid",
            "as root: mount -o remount,suid the file system it is on".to_owned(),
        );
    }
    if rustix::thread::no_new_privs().unwrap_or(false) {
        return powerless(
            path,
            "gets no privilege, since hako was started with no_new_privs",
            "start hako without no_new_privs (NoNewPrivileges= of systemd, setpriv --no-new-privs), or map the own id alone".to_owned(),
        );
    }
    Helper::Ready(path)
}

fn has_file_capabilities(path: &Path) -> bool {
    rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64][..]).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_user() {
        let text = "web:100000:65536\n# comment\n1000:300000:10\nother:200000:5\nweb:165536:4\nbad\nweb:x:1\nweb:7:0\n";
        let found = ranges(text, "web", 1000);
        let range = |first, count| Range { first, count };
        assert_eq!(found, [range(100_000, 65_540), range(300_000, 10)]);
        assert_eq!(ranges(text, "nobody", 5), []);
        assert_eq!(free_from(&[text.to_owned(), "web:400000:65536".to_owned()]), 465_536);
        assert_eq!(free_from(&[String::new()]), 100_000);
    }

    #[test]
    fn only_own_and_subordinate_ids_may_be_mapped() {
        let ids = Subordinates {
            own: 1000,
            ranges: vec![Range { first: 100_000, count: 10 }],
            helper: Helper::Missing,
        };
        let map = |host, size| IdMapping { container: 0, host, size };
        for (host, size, allowed) in [
            (1000, 1, true),
            (1000, 2, false),
            (100_000, 10, true),
            (100_001, 10, false),
            (0, 1, false),
        ] {
            assert_eq!(ids.allows(&map(host, size)), allowed, "{host} {size}");
        }
    }

    #[test]
    fn other_sources_of_ids_are_noticed() {
        assert!(!is_elsewhere("passwd: files sss\nsubid: files\n"));
        assert!(is_elsewhere("subid: sss\n"));
        assert!(!is_elsewhere(""));
    }
}
