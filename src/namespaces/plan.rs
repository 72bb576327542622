//! What: which namespaces are made, joined or inherited, and by whom.

use super::id_map::is_mapped;
use super::subordinate::IdKind;
use crate::error::Error;
use crate::host::{Host, Maker};
use crate::plan::{Compiler, ParentOp};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxTimeOffset};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// The eight kinds of namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// user_namespaces(7)
    User,
    /// pid_namespaces(7)
    Pid,
    /// network_namespaces(7)
    Network,
    /// ipc_namespaces(7)
    Ipc,
    /// uts_namespaces(7)
    Uts,
    /// mount_namespaces(7)
    Mount,
    /// cgroup_namespaces(7)
    Cgroup,
    /// time_namespaces(7)
    Time,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] = [
        Kind::User,
        Kind::Pid,
        Kind::Network,
        Kind::Ipc,
        Kind::Uts,
        Kind::Mount,
        Kind::Cgroup,
        Kind::Time,
    ];

    /// Its `CLONE_NEW*` flag.
    pub fn flag(self) -> u64 {
        (match self {
            Kind::User => libc::CLONE_NEWUSER,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Network => libc::CLONE_NEWNET,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Uts => libc::CLONE_NEWUTS,
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Time => libc::CLONE_NEWTIME,
        }) as u64
    }

    /// Its file in `/proc/PID/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Pid => "pid",
            Kind::Network => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Mount => "mnt",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }

    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Network => "network",
            Kind::Mount => "mount",
            other => other.file(),
        }
    }
}

impl From<LinuxNamespaceType> for Kind {
    fn from(kind: LinuxNamespaceType) -> Self {
        match kind {
            LinuxNamespaceType::Mount => Kind::Mount,
            LinuxNamespaceType::Cgroup => Kind::Cgroup,
            LinuxNamespaceType::Uts => Kind::Uts,
            LinuxNamespaceType::Ipc => Kind::Ipc,
            LinuxNamespaceType::User => Kind::User,
            LinuxNamespaceType::Pid => Kind::Pid,
            LinuxNamespaceType::Network => Kind::Network,
            LinuxNamespaceType::Time => Kind::Time,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A namespace to enter by its path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Join {
    /// Its kind, checked against the file.
    pub kind: Kind,
    /// Its file.
    pub path: PathBuf,
    /// Where `config.json` names it.
    pub pointer: String,
}

/// How init is cloned; or, by `exec`, another process of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CloneSet {
    /// Of a container that exists: entered by the runtime before the clone,
    /// through the pidfd of its init.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enter: Vec<Kind>,
    /// Made by clone3 itself.
    pub new: Vec<Kind>,
    /// The network namespace, which takes the kernel longest, is made by the
    /// runtime while init mounts.
    pub network_apart: bool,
    /// Made by init once it is in its user namespace and cgroup.
    pub unshare: Vec<Kind>,
    /// Entered by the runtime before the clone, and left again after it.
    pub join_before: Vec<Join>,
    /// Entered by init: the user namespace, the mount namespace and, without
    /// a user namespace, the cgroup namespace.
    pub join_after: Vec<Join>,
    /// A process in between enters namespaces first and clones init there: a
    /// user namespace, so that init's pid namespace belongs to it, and what the
    /// runtime could not leave again.
    pub bridge: bool,
    /// Entered by that process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub join_bridge: Vec<Join>,
    /// Init makes itself undumpable, instead of the runtime before the clone: its
    /// files in /proc would be root's, and who is not root could not write its id maps.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dumpable: bool,
    /// The time namespace is made by the runtime before the clone, and left again.
    pub time_apart: bool,
    /// Offsets of a new time namespace, written before init is cloned (no user
    /// namespace) or by init.
    pub time_offsets: Vec<TimeOffset>,
}

impl CloneSet {
    /// Whether the container has a namespace of this kind for itself.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
            || self.unshare.contains(&kind)
            || (kind == Kind::Network && self.network_apart)
    }

    /// Every namespace that is joined.
    pub fn joins(&self) -> impl Iterator<Item = &Join> {
        self.join_before.iter().chain(&self.join_bridge).chain(&self.join_after)
    }

    /// The path by which a namespace of this kind is joined.
    pub fn joined(&self, kind: Kind) -> Option<&Join> {
        self.joins().find(|join| join.kind == kind)
    }

    /// Whether the container shares the runtime's namespace of this kind.
    pub fn is_inherited(&self, kind: Kind) -> bool {
        !self.is_new(kind) && self.joined(kind).is_none()
    }

    /// Whether init ends up in another user namespace than the runtime's.
    pub fn has_user_namespace(&self) -> bool {
        !self.is_inherited(Kind::User)
    }
}

/// `linux.timeOffsets`, one clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

/// A host interface that moves into the container (`linux.netDevices`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container; may be a template such as `eth%d`.
    pub container: String,
}

/// A step in setting up namespaces, done by init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Enter a namespace by the descriptor the runtime opened.
    Join(Join),
    /// Let nobody look into this process (prctl(2), `PR_SET_DUMPABLE`).
    Undumpable,
    /// Enter namespaces of a container through the pidfd of its init.
    Enter(Vec<Kind>),
    /// Become this user and group of the user namespace.
    BecomeUser {
        /// User id inside.
        uid: u32,
        /// Group id inside.
        gid: u32,
        /// Stay in the caller's groups: wanted, or all that the kernel allows.
        keep_groups: bool,
    },
    /// Leave the runtime's namespaces of these kinds.
    Unshare(Vec<Kind>),
    /// Write the offsets of the time namespace just unshared.
    TimeOffsets(Vec<TimeOffset>),
    /// Bring the loopback interface up.
    Loopback,
    /// sethostname(2)
    Hostname(String),
    /// setdomainname(2)
    Domainname(String),
    /// Write a namespaced kernel parameter.
    Sysctl {
        /// Path below `/proc/sys`.
        path: String,
        /// What to write.
        value: String,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Join(join) => write!(f, "join {} namespace {}", join.kind, join.path.display()),
            Op::Undumpable => f.write_str("make the process undumpable"),
            Op::Enter(kinds) => write!(f, "enter the container's namespaces: {}", names(kinds)),
            Op::BecomeUser { uid, gid, keep_groups } => {
                write!(f, "become {uid}:{gid} of the user namespace")?;
                f.write_str(if *keep_groups { ", keeping supplementary groups" } else { "" })
            }
            Op::Unshare(kinds) => write!(f, "new namespaces: {}", names(kinds)),
            Op::TimeOffsets(offsets) => write!(f, "time offsets {}", offset_list(offsets)),
            Op::Loopback => f.write_str("bring loopback up"),
            Op::Hostname(name) => write!(f, "hostname {name}"),
            Op::Domainname(name) => write!(f, "domainname {name}"),
            Op::Sysctl { path, value } => write!(f, "sysctl {path} = {value}"),
        }
    }
}

/// `pid, network, mount`
pub fn names(kinds: &[Kind]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

/// As a plan shows them.
pub fn offset_list(offsets: &[TimeOffset]) -> String {
    let clocks: Vec<_> = offsets
        .iter()
        .map(|offset| format!("{} {}.{:09}", offset.clock, offset.secs, offset.nanosecs))
        .collect();
    clocks.join(", ")
}

/// Why a user without privilege cannot make the container: all that they need
/// comes from a user namespace.
pub fn needs_root(linux: &Linux, host: &Host) -> Option<Error> {
    let mut kinds = linux.namespaces().iter().flatten().map(|namespace| namespace.typ());
    let has_user = kinds.any(|kind| kind == LinuxNamespaceType::User);
    let (who, remedy) = match host.own_id(IdKind::User) {
        0 => (
            "root without CAP_SYS_ADMIN",
            "give the container that hako is in --privileged, or --cap-add SYS_ADMIN",
        ),
        _ => ("an ordinary user", "run hako as root"),
    };
    (host.maker() == Maker::User && !has_user).then(|| {
        Error::new(format!("{who} can make containers only with a user namespace"))
            .at("/linux/namespaces")
            .hint(format!("hako spec --rootless writes such a configuration: a namespace {{\"type\": \"user\"}}, uidMappings and gidMappings; or {remedy}"))
    })
}

/// Decides who makes or enters which namespace.
pub fn plan_clone(linux: &Linux, compiler: &mut Compiler) -> CloneSet {
    let mut new = Vec::new();
    let mut joins = Vec::new();
    let mut seen = Vec::new();
    for (index, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let pointer = format!("/linux/namespaces/{index}");
        let kind = Kind::from(namespace.typ());
        if seen.contains(&kind) {
            compiler.fault(Error::new(format!("the {kind} namespace is listed twice")).at(pointer));
            continue;
        }
        seen.push(kind);
        match namespace.path() {
            // An empty path is how some tools write "new".
            None => new.push(kind),
            Some(path) if path.as_os_str().is_empty() => new.push(kind),
            Some(path) if path.is_relative() => compiler.fault(
                Error::new(format!("{kind} namespace path {} is not absolute", path.display()))
                    .at(pointer + "/path"),
            ),
            Some(path) => joins.push(Join { kind, path: path.clone(), pointer: pointer + "/path" }),
        }
    }
    let user = UserNamespace {
        new: new.contains(&Kind::User),
        joined: joins.iter().any(|join| join.kind == Kind::User),
    };
    let offsets = plan_time_offsets(linux.time_offsets().as_ref(), &new, compiler);
    CloneSet { time_offsets: offsets, ..distribute(new, joins, user, compiler.host) }
}

/// What there is of a user namespace of the container's own.
#[derive(Debug, Clone, Copy)]
struct UserNamespace {
    new: bool,
    joined: bool,
}

/// Who makes and enters what.
fn distribute(new: Vec<Kind>, joins: Vec<Join>, user: UserNamespace, host: &Host) -> CloneSet {
    let own_user = user.new || user.joined;
    // Nobody can clone into a cgroup out of sight of his own namespace
    // (nsdelegate in cgroups(7)), but a user namespace's root could not enter.
    let by_init = |kind| match kind {
        Kind::User | Kind::Mount => true,
        Kind::Cgroup => !own_user,
        _ => false,
    };
    let (mut join_after, mut join_before): (Vec<_>, Vec<_>) =
        joins.into_iter().partition(|join| by_init(join.kind));
    // Namespaces made before the user namespace is entered would belong to the
    // runtime's one, and init could not use them. The cgroup namespace's root
    // is the cgroup of its maker; the time namespace needs its offsets first.
    let at_clone = |kind: &Kind| match kind {
        Kind::User => true,
        Kind::Pid => true,
        Kind::Cgroup | Kind::Time => false,
        _ => !own_user,
    };
    let (mut at_clone, unshare): (Vec<_>, Vec<_>) = new.into_iter().partition(at_clone);
    // Whoever makes it owns it: only without a user namespace is that the same.
    // And the runtime has to come back from it.
    let network_apart = !own_user && at_clone.contains(&Kind::Network) && host.owns(Kind::Network);
    at_clone.retain(|kind| !network_apart || *kind != Kind::Network);
    let mut join_bridge = Vec::new();
    if join_before.iter().any(|join| !host.owns(join.kind)) {
        join_bridge = std::mem::take(&mut join_before);
    }
    let bridge = !join_bridge.is_empty() || (user.joined && at_clone.contains(&Kind::Pid));
    if bridge {
        let (entered, later): (Vec<_>, Vec<_>) =
            join_after.into_iter().partition(|join| join.kind == Kind::User);
        join_after = later;
        // Privilege over the others is the maker's own; an ordinary user has
        // none before.
        match host.maker() {
            Maker::User => join_bridge.splice(0..0, entered).for_each(drop),
            Maker::Root | Maker::NamespaceRoot => join_bridge.extend(entered),
        }
    }
    // Nobody but init is in new namespaces: there it may be looked into until it has its maps.
    let is_alone = join_before.is_empty() && join_after.is_empty();
    let lines = host.own_map(IdKind::User);
    let without_root = lines.is_some_and(|lines| !is_mapped(lines, 0));
    CloneSet {
        network_apart,
        time_apart: !own_user && unshare.contains(&Kind::Time) && host.owns(Kind::Time),
        bridge,
        join_bridge,
        new: at_clone,
        unshare,
        join_before,
        join_after,
        dumpable: host.maker() == Maker::User || (without_root && own_user && is_alone),
        ..CloneSet::default()
    }
}

fn plan_time_offsets(
    offsets: Option<&std::collections::HashMap<String, LinuxTimeOffset>>,
    new: &[Kind],
    compiler: &mut Compiler,
) -> Vec<TimeOffset> {
    let sorted: BTreeMap<_, _> = offsets.into_iter().flatten().collect();
    if !sorted.is_empty() && !new.contains(&Kind::Time) {
        compiler.fault(
            Error::new("timeOffsets need a new time namespace")
                .at("/linux/timeOffsets")
                .hint("add {\"type\": \"time\"}, without a path, to linux.namespaces"),
        );
    }
    let mut planned = Vec::new();
    for (clock, offset) in sorted {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            compiler.fault(
                Error::new(format!("unknown clock {clock:?}"))
                    .at(format!("/linux/timeOffsets/{}", Compiler::escape(clock)))
                    .hint("time namespaces have the clocks monotonic and boottime"),
            );
        }
        planned.push(TimeOffset {
            clock: clock.clone(),
            secs: offset.secs().unwrap_or(0),
            nanosecs: offset.nanosecs().unwrap_or(0),
        });
    }
    planned
}

/// `linux.netDevices`: moved by the runtime, which alone sees both namespaces.
pub fn plan_interfaces(linux: &Linux, clone: &CloneSet, compiler: &mut Compiler) {
    let devices: BTreeMap<_, _> = linux.net_devices().iter().flatten().collect();
    if !devices.is_empty() && clone.is_inherited(Kind::Network) {
        compiler.fault(
            Error::new("netDevices need a network namespace other than the runtime's")
                .at("/linux/netDevices")
                .hint("add {\"type\": \"network\"} to linux.namespaces"),
        );
    }
    if !devices.is_empty() && !compiler.host.owns(Kind::Network) {
        compiler.fault(
            Error::new("moving interfaces takes privilege over the network they are in, which an ordinary user has not got")
                .at("/linux/netDevices")
                .hint("run hako as root; or have a program such as pasta or slirp4netns connect the container"),
        );
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (host, device) in devices {
        let container = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(host);
        let pointer = format!("/linux/netDevices/{}", crate::plan::Compiler::escape(host));
        for name in [host.as_str(), container] {
            if let Err(reason) = check_interface_name(name) {
                compiler.fault(
                    Error::new(format!("interface name {name:?} {reason}")).at(pointer.clone()),
                );
            }
        }
        if !names.insert(container) && !container.contains('%') {
            compiler.fault(
                Error::new(format!("two interfaces are called {container} in the container"))
                    .at(pointer.clone()),
            );
        }
        compiler.parent_at(
            pointer,
            ParentOp::MoveInterface(Interface {
                host: host.clone(),
                container: container.to_owned(),
            }),
        );
    }
}

/// The kernel's rules for interface names (`dev_valid_name`), plus one `%d`.
fn check_interface_name(name: &str) -> Result<(), &'static str> {
    const LONGEST: usize = 15;
    if name.is_empty() || name == "." || name == ".." {
        return Err("is not a name");
    }
    if name.len() > LONGEST {
        return Err("is longer than 15 bytes");
    }
    if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        return Err("contains a character that is not allowed");
    }
    if name.contains('%') && (name.matches('%').count() != 1 || !name.contains("%d")) {
        return Err("is not a template: one %d is allowed");
    }
    Ok(())
}
