//! The ids that an ordinary user may map into a user namespace: their own, and
//! those that subuid(5) and subgid(5) give them, through newuidmap(1) and
//! newgidmap(1).

use super::helper::{Caller, Helper, remedy_for_nobody};
use super::id_map::{IdMapping, capacity, is_mapped, own_map_remedy};
use crate::user::{self, Login};
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// Consecutive ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Range {
    /// From the first to the one before `end`; `None` if there are none. The last
    /// number of 32 bits is no id.
    fn between(first: u64, end: u64) -> Option<Self> {
        let (first, end) = (u32::try_from(first).ok()?, end.min(u64::from(u32::MAX)) as u32);
        let count = end.checked_sub(first).filter(|count| *count > 0)?;
        Some(Self { first, count })
    }

    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }

    /// What both have.
    fn common(self, other: Self) -> Option<Self> {
        Self::between(u64::from(self.first.max(other.first)), self.end().min(other.end()))
    }

    /// What is left and right of an id.
    fn without(self, id: u32) -> impl Iterator<Item = Self> {
        let id = u64::from(id);
        let first = u64::from(self.first);
        let left = Self::between(first, self.end().min(id));
        let right = Self::between(first.max(id + 1), self.end());
        left.into_iter().chain(right)
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

/// Who knows a user's further ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file, which everybody may read.
    File,
    /// The file, but it is not the user's to read.
    Unreadable,
    /// Something else (`subid:` in nsswitch.conf(5)).
    Elsewhere,
}

/// What the machine lets one kind of a user's ids be mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subordinates {
    /// The user's own id.
    pub own: u32,
    /// More of them, as far as hako knows.
    pub ranges: Vec<Range>,
    /// Where these are from: but for a file that can be read, only the helper
    /// knows all of them.
    pub source: Source,
    /// The map of the user namespace that hako is in, where not all ids exist.
    pub lines: Option<Vec<IdMapping>>,
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
    /// passwd(5) has no such user, nor can anything else.
    pub is_nobody: bool,
    /// The first of [`MORE`] ids that, of both kinds, are nobody's.
    pub free: Option<u32>,
}

/// How many ids a user is given at a time.
const MORE: u32 = 65_536;

impl Account {
    /// Looks the user up, in a user namespace with these maps of users and groups.
    pub fn probe(uid: u32, gid: u32, maps: [Option<&[IdMapping]>; 2]) -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let nsswitch = read("/etc/nsswitch.conf");
        let login = user::login(uid);
        let name =
            login.as_ref().map_or_else(|| uid.to_string(), |Login { name, .. }| name.clone());
        let caller = Caller {
            uid,
            gid,
            login: login.as_ref(),
            is_nobody: login.is_none() && !is_elsewhere(&nsswitch, "passwd:"),
            is_namespaced: maps[IdKind::User as usize].is_some(),
        };
        let files = [IdKind::User, IdKind::Group].map(|kind| std::fs::read_to_string(kind.file()));
        let of = |kind: IdKind, own: u32| {
            let text = &files[kind as usize];
            let source = match text {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => Source::Unreadable,
                _ if is_elsewhere(&nsswitch, "subid:") => Source::Elsewhere,
                _ => Source::File,
            };
            Subordinates {
                own,
                ranges: text.as_ref().map(|text| ranges(text, &name, uid)).unwrap_or_default(),
                source,
                lines: maps[kind as usize].map(<[IdMapping]>::to_vec),
                helper: Helper::find(kind, &caller),
            }
        };
        let (users, groups) = (of(IdKind::User, uid), of(IdKind::Group, gid));
        let is_known = [&users, &groups].iter().all(|ids| ids.source != Source::Unreadable);
        let texts = files.map(Result::unwrap_or_default);
        let free = is_known.then(|| find_free(&texts)).flatten();
        Self { users, groups, is_nobody: caller.is_nobody, free, name }
    }

    /// A made-up user: 1000, called web, with 65536 further ids.
    pub fn example() -> Self {
        let of = |kind: IdKind| Subordinates {
            own: 1000,
            ranges: vec![Range { first: 100_000, count: MORE }],
            source: Source::File,
            lines: None,
            helper: Helper::Ready(Path::new("/usr/bin").join(kind.helper())),
        };
        let (users, groups) = (of(IdKind::User), of(IdKind::Group));
        Self { name: "web".to_owned(), users, groups, is_nobody: false, free: Some(165_536) }
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
        let map = map_from_root(ids.own, &ids.existing());
        (map.len() > 1 && matches!(ids.helper, Helper::Ready(_))).then_some(map)
    }

    /// How to have this id in a container.
    pub fn remedy_for(&self, kind: IdKind, id: u32) -> String {
        match self.full_map(kind).is_some_and(|map| is_mapped(&map, id)) {
            true => "the mappings are for less than you have: hako spec --rootless writes mappings of all your ids".to_owned(),
            false => self.remedy(kind),
        }
    }

    /// Why there are no more ids of this kind, and how to get some.
    pub fn remedy(&self, kind: IdKind) -> String {
        let (reason, remedy) = self.shortage(kind);
        format!("{reason}; {remedy}")
    }

    /// The same in two parts.
    pub fn shortage(&self, kind: IdKind) -> (String, String) {
        let (ids, file, name, word) = (self.ids(kind), kind.file(), &self.name, kind.word());
        let by_hand = "write mappings of these ids by hand";
        let reason = match (ids.source, ids.ranges.as_slice()) {
            (Source::Unreadable, _) => {
                let reason = format!(
                    "{name} may not read {file}, and hako cannot tell which {word} ids it gives them"
                );
                return (reason, format!("as root: chmod 644 {file}; or {by_hand}"));
            }
            (Source::Elsewhere, _) => {
                let reason = format!(
                    "nsswitch.conf has the {word} ids given by something that only {} can ask",
                    kind.helper()
                );
                return (reason, by_hand.to_owned());
            }
            (Source::File, []) => format!("{file} gives {name} no {word} ids"),
            (Source::File, ranges) => {
                let list: Vec<_> = ranges.iter().map(Range::to_string).collect();
                format!("{file} gives {name} the {word} ids {}", list.join(", "))
            }
        };
        if self.is_nobody {
            let reason = format!(
                "{reason}, who has no line in /etc/passwd, which newuidmap and usermod need"
            );
            return (reason, remedy_for_nobody(self.users.own));
        }
        if let Some(lines) = &ids.lines {
            let reason = format!("{reason}, but hako is in a user namespace");
            return (reason, own_map_remedy(kind, lines));
        }
        let range = self.free.map_or_else(
            || "FIRST-LAST".to_owned(),
            |first| format!("{first}-{}", u64::from(first) + u64::from(MORE) - 1),
        );
        let remedy = format!(
            "for more, as root, with a range that nobody else has: usermod --add-subuids {range} --add-subgids {range} {name}; then write the mappings anew, as hako spec --rootless does where there is no config.json yet"
        );
        (reason, remedy)
    }
}

/// Maps in which root is the own id, if that is one of these, and what comes after
/// it are the others. No longer than the kernel takes.
pub fn map_from_root(own: u32, ids: &[Range]) -> Vec<IdMapping> {
    let own_first = Range { first: own, count: 1 };
    let others = ids.iter().flat_map(|range| range.without(own));
    let has_own = ids.iter().any(|range| range.common(own_first).is_some());
    let ranges = has_own.then_some(own_first).into_iter().chain(others);
    let mut next = 0;
    let sized = ranges.map(|range| {
        let size = range.count.min(u32::MAX - next);
        let container = next;
        next += size;
        IdMapping { container, host: range.first, size }
    });
    let mut map: Vec<_> = sized.filter(|range| range.size > 0).collect();
    map.truncate(capacity(&map));
    map
}

impl Subordinates {
    /// The own id and the further ones, as far as they exist in the user namespace
    /// that hako is in: each range within one line of its map.
    fn existing(&self) -> Vec<Range> {
        let own = Range { first: self.own, count: 1 };
        let all = std::iter::once(own).chain(self.ranges.iter().copied());
        match &self.lines {
            None => all.collect(),
            Some(lines) => all
                .flat_map(|range| inside(lines).filter_map(move |line| line.common(range)))
                .collect(),
        }
    }

    /// Whether a range of the host is the user's to map.
    pub fn allows(&self, map: &IdMapping) -> bool {
        let wanted = Range { first: map.host, count: map.size };
        (map.host == self.own && map.size == 1)
            || self.source != Source::File
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

/// The ids of each line of a map.
pub fn inside(lines: &[IdMapping]) -> impl Iterator<Item = Range> {
    lines.iter().map(|line| Range { first: line.container, count: line.size })
}

/// `NAME:FIRST:COUNT`, with a login name or the number of the user.
fn parse(line: &str) -> Option<(&str, Range)> {
    let [owner, first, count] = line.trim().split(':').collect::<Vec<_>>()[..] else {
        return None;
    };
    let (first, count): (u64, u64) = (first.parse().ok()?, count.parse().ok()?);
    Some((owner, Range::between(first, first.checked_add(count)?)?))
}

/// What such lines give a user; neighbours are one range, as for newuidmap.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let is_theirs = |owner: &str| owner == name || owner.parse() == Ok(uid);
    let theirs = text.lines().filter_map(parse).filter(|(owner, _)| is_theirs(owner));
    let mut found: Vec<Range> = theirs.map(|(_, range)| range).collect();
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

/// The first of [`MORE`] ids that these files give to nobody: behind all that they
/// give, or else between; and where useradd(8) begins at the earliest.
fn find_free(files: &[String]) -> Option<u32> {
    let given: Vec<Range> = files
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| Some(parse(line)?.1))
        .collect();
    let mut ends: Vec<u64> = given.iter().map(|range| range.end()).chain([100_000]).collect();
    ends.sort_unstable();
    let behind = ends.last().copied();
    let ends = ends.into_iter().filter(|end| *end >= 100_000);
    behind.into_iter().chain(ends).find_map(|end| {
        let free = Range::between(end, end + u64::from(MORE)).filter(|free| free.count == MORE)?;
        given.iter().all(|range| range.common(free).is_none()).then_some(free.first)
    })
}

/// Whether nsswitch.conf(5) has a database in something else than files. What
/// systemd has besides are users that it makes up.
fn is_elsewhere(nsswitch: &str, database: &str) -> bool {
    let sources = nsswitch.lines().find_map(|line| line.trim().strip_prefix(database));
    let mut sources = sources.unwrap_or_default().split_whitespace();
    sources.any(|source| !matches!(source, "files" | "compat" | "systemd"))
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
        // The last number of 32 bits is no id.
        let all = ranges("web:0:4294967296\n", "web", 1000);
        assert_eq!(all, [range(0, u32::MAX)]);
        assert_eq!(ranges("web:4294901760:65536\n", "web", 1), [range(4_294_901_760, 65_535)]);
    }

    #[test]
    fn free_ids_are_behind_all_or_between() {
        let free = |text: &str| find_free(&["bad\n".to_owned(), text.to_owned()]);
        assert_eq!(free(""), Some(100_000));
        assert_eq!(free("a:100000:65536\nb:400000:65536\n"), Some(465_536));
        assert_eq!(free("a:100000:65536\nb:4294902300:64995\n"), Some(165_536));
        assert_eq!(free("a:150000:10\nb:4294901760:65536\n"), Some(150_010));
        assert_eq!(free("a:0:4294967295\n"), None);
    }

    #[test]
    fn the_full_map_is_one_that_the_kernel_and_newuidmap_take() {
        let map = |container, host, size| IdMapping { container, host, size };
        let of = |text: &str, lines: Option<&[IdMapping]>| {
            let mut account = Account::example();
            account.users.ranges = ranges(text, "web", 1000);
            account.users.lines = lines.map(<[IdMapping]>::to_vec);
            account.full_map(IdKind::User)
        };
        // The own id is in the range, or is all of it.
        assert_eq!(
            of("web:999:10", None),
            Some(vec![map(0, 1000, 1), map(1, 999, 1), map(2, 1001, 8)])
        );
        assert_eq!(of("web:1000:65536", None), Some(vec![map(0, 1000, 1), map(1, 1001, 65_535)]));
        assert_eq!(of("web:1000:1", None), None);
        assert_eq!(
            of("web:0:4294967295", None),
            Some(vec![map(0, 1000, 1), map(1, 0, 1000), map(1001, 1001, u32::MAX - 1001)])
        );
        let many: String =
            (0..400).map(|index| format!("web:{}:10\n", 100_000 + 20 * index)).collect();
        let long = of(&many, None).unwrap();
        assert!((200..400).contains(&long.len()) && capacity(&long) == long.len());
        // In a user namespace that has other ids.
        let lines = [map(0, 1500, 1), map(1, 500_000, 65_536)];
        assert_eq!(of("web:100000:65536", Some(&lines)), None);
        assert_eq!(
            of("web:60000:10000", Some(&lines)),
            Some(vec![map(0, 1000, 1), map(1, 60_000, 5537)])
        );
    }

    #[test]
    fn only_own_and_subordinate_ids_may_be_mapped() {
        let ids = Subordinates {
            own: 1000,
            ranges: vec![Range { first: 100_000, count: 10 }],
            source: Source::File,
            lines: None,
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
        let text = "passwd: files sss\nsubid: files\n";
        assert!(!is_elsewhere(text, "subid:"));
        assert!(is_elsewhere(text, "passwd:"));
        assert!(is_elsewhere("subid: sss\n", "subid:"));
        assert!(!is_elsewhere("passwd: files systemd\n", "passwd:"));
        assert!(!is_elsewhere("", "subid:"));
    }
}
