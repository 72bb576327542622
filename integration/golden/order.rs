//! What must be true of every plan, whatever the configuration: the order that
//! security and the kernel ask for. Golden plans, generated ones and fuzzed
//! ones are all held to it.

use hako::hooks::Kind as Hook;
use hako::host::Maker;
use hako::namespaces::Op as Namespace;
use hako::plan::{ChildOp as C, ParentOp as P, Plan, Step};
use hako::process::Op as Process;
use hako::protocol::Message;
use hako::rootfs::Op as Rootfs;
use hako::seccomp::Op as Seccomp;
use hako::terminal::Op as Terminal;
use std::fmt::Display;

/// Whether a step is of some kind.
type Is<O = C> = fn(&O) -> bool;

/// Every step like the first comes before every step like the second, and why.
type Rule<O> = (Is<O>, Is<O>, &'static str);

macro_rules! is {
    ($($pattern:tt)+) => { |op| matches!(op, $($pattern)+) };
}

const ROOT: Is = is!(C::Rootfs(Rootfs::AttachRoot(_) | Rootfs::OpenRoot(_)));
const TREE: Is = is!(C::Rootfs(
    Rootfs::Mount(_) | Rootfs::CreateDirectory(_) | Rootfs::Devices(_) | Rootfs::DeviceLinks
));
const COVER: Is =
    is!(C::Rootfs(Rootfs::Mask(_) | Rootfs::ReadonlyPath(_) | Rootfs::ReadonlyMount(_)));
const ENTER: Is = is!(C::Rootfs(Rootfs::Pivot | Rootfs::MoveRoot | Rootfs::Chroot));
const MOUNTED: Is = is!(C::Send(Message::Mounted));
const CREATED: Is = is!(C::Send(Message::Created));
const STARTED: Is = is!(C::Gate | C::Receive(Message::Start));
const EXECUTE: Is = is!(C::Process(Process::Execute));
const SECCOMP: Is = is!(C::Seccomp(_));
const ANY: Is = |op| !SECCOMP(op) && !EXECUTE(op);
const HOST_PROC: Is = is!(C::Namespace(Namespace::Sysctl { .. } | Namespace::TimeOffsets(_))
    | C::Process(Process::OomScoreAdj(_) | Process::Label(_)));

/// What the process that becomes the container's init does.
const CHILD: &[Rule<C>] = &[
    (
        is!(C::Receive(Message::Placed)),
        is!(C::Namespace(_) | C::Rootfs(_) | C::Receive(Message::Mapped)),
        "all that init uses counts in its cgroup, and that is the root of its cgroup namespace",
    ),
    (is!(C::Receive(Message::Mapped)), is!(C::Namespace(_)), "ids mean nothing before the maps"),
    (
        is!(C::Namespace(Namespace::BecomeUser { .. })),
        is!(C::Namespace(Namespace::Unshare(_))),
        "namespaces belong to the user namespace in which they are made",
    ),
    (
        is!(C::Namespace(Namespace::Join(_) | Namespace::Unshare(_))),
        is!(C::Namespace(
            Namespace::TimeOffsets(_)
                | Namespace::Loopback
                | Namespace::Hostname(_)
                | Namespace::Domainname(_)
                | Namespace::Sysctl { .. }
        )),
        "names and parameters belong to the container's namespaces, not to the host's",
    ),
    (
        is!(C::Namespace(Namespace::Join(_) | Namespace::Unshare(_))),
        ROOT,
        "the root belongs to the container's namespaces",
    ),
    (is!(C::Process(Process::ResetSignals)), ROOT, "what the caller blocked stays outside"),
    (HOST_PROC, ENTER, "files of /proc are the host's, not those of an image"),
    (is!(C::Namespace(_)), MOUNTED, "hooks of the runtime see finished namespaces"),
    (is!(C::Rootfs(Rootfs::IsolateMounts)), ROOT, "no mount may reach the host"),
    (
        is!(C::Rootfs(Rootfs::IsolateMounts)),
        is!(C::OpenSources),
        "copies of the host's mounts must not lead back to the host",
    ),
    (is!(C::OpenSources), ROOT, "sources are the host's, not the container's"),
    (
        is!(C::Namespace(Namespace::Undumpable)),
        MOUNTED,
        "nobody whom hooks may let in looks into init",
    ),
    (is!(C::Namespace(Namespace::Undumpable)), ENTER, "nor anybody in the container"),
    (ROOT, TREE, "mounts are looked up in the root"),
    (TREE, is!(C::Terminal(Terminal::Open { .. })), "the terminal comes from the devpts mounted"),
    (TREE, MOUNTED, "hooks of the runtime see the finished tree"),
    (
        MOUNTED,
        is!(C::Hooks(Hook::CreateContainer)),
        "createContainer hooks come after createRuntime's",
    ),
    (is!(C::Hooks(Hook::CreateContainer)), COVER, "hooks may still change the tree"),
    (is!(C::Terminal(Terminal::Open { .. })), COVER, "/dev is still written to"),
    (TREE, COVER, "a later mount would uncover it"),
    (COVER, is!(C::Rootfs(Rootfs::ReadonlyRoot)), "mount points of masks may be missing"),
    (is!(C::Rootfs(Rootfs::ReadonlyRoot)), ENTER, "nothing of the container runs before it"),
    (
        is!(C::Hooks(Hook::CreateContainer)),
        is!(C::Process(Process::Label(_))),
        "programs of the host do not get labels of the container",
    ),
    (
        is!(C::Process(Process::Label(_))),
        is!(C::Process(Process::SessionKeyring(_) | Process::NoNewPrivileges)),
        "keys have labels, and no_new_privs keeps labels as they are",
    ),
    (COVER, ENTER, "nothing of the container runs before it"),
    (
        is!(C::Terminal(Terminal::Session)),
        is!(C::Terminal(Terminal::Attach)),
        "a session's leader gets the terminal",
    ),
    (
        is!(C::Process(
            Process::SessionKeyring(_)
                | Process::Scheduler(_)
                | Process::IoPriority(_)
                | Process::MemoryPolicy(_)
                | Process::Rlimits(_)
                | Process::EnterCwd(_)
        )),
        is!(C::Process(Process::BoundingSet(_) | Process::User(_) | Process::Capabilities { .. })),
        "privilege is needed for it",
    ),
    (ENTER, is!(C::Process(Process::EnterCwd(_))), "it is a directory of the container"),
    (
        is!(C::Process(Process::BoundingSet(_))),
        is!(C::Process(Process::User(_))),
        "lowering it takes CAP_SETPCAP",
    ),
    (
        is!(C::Process(Process::User(_))),
        is!(C::Process(Process::Capabilities { .. })),
        "changing ids takes capabilities and clears them",
    ),
    (
        is!(C::Process(Process::Capabilities { .. })),
        is!(C::Process(Process::NoNewPrivileges | Process::FindExecutable | Process::CheckCwd(_))),
        "the process's own privileges decide",
    ),
    (
        is!(C::Process(Process::EnterCwd(_))),
        is!(C::Process(Process::CheckCwd(_))),
        "it is checked where it was entered",
    ),
    (
        is!(C::Rootfs(_) | C::Terminal(_)),
        is!(C::LetGo),
        "nothing of the runtime's is needed any more",
    ),
    (
        is!(C::LetGo),
        is!(C::Process(Process::Rlimits(_))),
        "a low number of files must not hinder init",
    ),
    (is!(C::LetGo), STARTED, "a waiting container holds nothing of the host's"),
    (
        is!(C::Process(Process::FindExecutable | Process::NoNewPrivileges) | C::LetGo),
        CREATED,
        "a created container has nothing left to fail but its start",
    ),
    (CREATED, STARTED, "started is what has been created"),
    (STARTED, is!(C::Hooks(Hook::StartContainer)), "they are part of start"),
    (is!(C::Hooks(Hook::StartContainer)), EXECUTE, "they run before the program"),
    (ANY, SECCOMP, "what comes after it must be allowed by the profile"),
    (is!(C::Seccomp(Seccomp::Load(_))), is!(C::Seccomp(Seccomp::HandOver)), "no listener before"),
];

/// What the runtime does meanwhile.
const PARENT: &[Rule<P>] = &[
    (
        is!(P::MakeScope(_) | P::EnterCgroup),
        is!(P::Send(_) | P::MapIds(_)),
        "init does nothing before it is in its cgroup",
    ),
    (
        is!(P::MapIds(_)),
        is!(P::Send(Message::Mapped)),
        "maps are written before they are announced",
    ),
    (
        is!(P::Receive(Message::Mounted)),
        is!(P::MoveInterface(_) | P::Hooks(_)),
        "the namespaces are made by init",
    ),
    (
        is!(P::NoteInit),
        is!(P::Receive(_) | P::ReceiveTerminal | P::Hooks(_) | P::MakeScope(_) | P::Announce),
        "who ends a container half made ends its init",
    ),
    (is!(P::Limit(_) | P::Devices(_)), is!(P::Hooks(_)), "hooks see the limits"),
    (
        is!(P::Limit(_) | P::Devices(_) | P::OwnCgroup(_) | P::JoinResctrl(_)),
        is!(P::Receive(Message::Mounted | Message::Created)),
        "the rest of the container's set-up is limited, and init does not wait for it",
    ),
    (is!(P::Hooks(Hook::Prestart)), is!(P::Hooks(Hook::CreateRuntime)), "config.md says so"),
    (is!(P::Hooks(_)), is!(P::Send(Message::Continue)), "init waits for them"),
    (
        is!(P::MapIds(_)
            | P::OomScoreAdj(_)
            | P::Rlimits(_)
            | P::Limit(_)
            | P::Devices(_)
            | P::MoveInterface(_)
            | P::Hooks(_)
            | P::ReceiveTerminal
            | P::Receive(_)),
        is!(P::Announce),
        "who waits for the pid file finds a created container",
    ),
    (is!(P::Announce), is!(P::Send(Message::Start)), "the program may end at once"),
    (is!(P::ConnectAgent(_)), is!(P::Send(Message::Start)), "nothing runs without the agent"),
    (is!(P::Send(Message::Start)), is!(P::PassListener), "it is the last that init does"),
];

/// Steps that every init has exactly once.
const ONCE: &[(Is, &str)] = &[
    (ROOT, "root"),
    (ENTER, "entry of the root"),
    (is!(C::Process(Process::ResetSignals)), "signals"),
    (is!(C::Terminal(Terminal::Session)), "session"),
    (is!(C::Process(Process::BoundingSet(_))), "bounding set"),
    (is!(C::Process(Process::User(_))), "user"),
    (is!(C::Process(Process::Capabilities { .. })), "capabilities"),
    (is!(C::Process(Process::EnterCwd(_))), "working directory"),
    (is!(C::Process(Process::CheckCwd(_))), "check of the working directory"),
    (is!(C::Process(Process::Umask(_))), "umask"),
    (is!(C::LetGo), "letting go"),
    (STARTED, "gate or start"),
    (EXECUTE, "execution"),
];

/// Panics with the reason if `plan` breaks a rule.
pub fn check(plan: &Plan) {
    check_rules(&plan.child, CHILD, plan);
    check_rules(&plan.parent, PARENT, plan);
    for (is, what) in ONCE {
        let count = plan.child.iter().filter(|step| is(&step.op)).count();
        assert_eq!(count, 1, "{what}\n{plan}");
    }
    assert!(plan.child.last().is_some_and(|step| EXECUTE(&step.op)), "execution is last\n{plan}");
    check_protocol(plan);
    check_mount_order(plan);
    check_devices(plan);
    check_user_namespace(plan);
    for pointer in pointers(&plan.child).chain(pointers(&plan.parent)) {
        assert!(pointer.starts_with('/'), "pointer {pointer:?}\n{plan}");
    }
}

fn check_rules<O: Display>(steps: &[Step<O>], rules: &[Rule<O>], plan: &Plan) {
    for (before, after, reason) in rules {
        let last = steps.iter().rposition(|step| before(&step.op));
        let first = steps.iter().position(|step| after(&step.op));
        if let (Some(last), Some(first)) = (last, first) {
            let (early, late) = (&steps[first].op, &steps[last].op);
            assert!(last < first, "`{late}` comes after `{early}`, but {reason}\n{plan}");
        }
    }
}

fn pointers<O>(steps: &[Step<O>]) -> impl Iterator<Item = &str> {
    steps.iter().filter_map(|step| step.pointer.as_deref())
}

/// Who says something.
#[derive(Debug, PartialEq)]
enum From {
    Child,
    Parent,
}

/// Both sides agree on every message and its turn, so that neither waits for
/// what the other does not say.
fn check_protocol(plan: &Plan) {
    let child: Vec<_> = plan
        .child
        .iter()
        .filter_map(|step| match step.op {
            C::Send(message) => Some((From::Child, message)),
            C::Receive(message) => Some((From::Parent, message)),
            _ => None,
        })
        .collect();
    let parent: Vec<_> = plan
        .parent
        .iter()
        .filter_map(|step| match step.op {
            P::Send(message) => Some((From::Parent, message)),
            P::Receive(message) => Some((From::Child, message)),
            P::ReceiveTerminal => Some((From::Child, Message::Terminal)),
            _ => None,
        })
        .collect();
    assert_eq!(child, parent, "the two sides of the protocol\n{plan}");
    let announced = plan.parent.iter().filter(|step| step.op == P::Announce).count();
    assert_eq!(announced, 1, "announcement\n{plan}");
    let said = |message| child.iter().any(|(_, other)| *other == message);
    let gate = plan.child.iter().any(|step| step.op == C::Gate);
    assert_eq!(said(Message::Start), !gate, "start\n{plan}");
    if let Some(index) = plan.child.iter().position(|step| MOUNTED(&step.op)) {
        let next = plan.child.get(index + 1).map(|step| &step.op);
        let waits = matches!(next, Some(C::Receive(Message::Continue)));
        assert!(waits, "what the runtime does with the finished tree is waited for\n{plan}");
    }
    let is_limit = |step: &Step<P>| matches!(step.op, P::Limit(_));
    if let Some(last) = plan.parent.iter().rposition(is_limit) {
        let is_word = |step: &Step<P>| matches!(step.op, P::Send(_) | P::SendNetwork);
        let waits = plan.parent[last..].iter().any(is_word);
        assert!(waits, "an init that cannot live with its limits is never ready\n{plan}");
    }
    // The runtime finishes the network that it makes while init goes on.
    let child_has = |is: Is| plan.child.iter().any(|step| is(&step.op));
    if child_has(is!(C::EnterNetwork)) && child_has(is!(C::Hooks(Hook::CreateContainer))) {
        assert!(said(Message::Mounted), "hooks see a finished network\n{plan}");
    }
    // Limits that the parent sets must find an init that has nothing left to do.
    let by_parent =
        plan.parent.iter().any(|step| matches!(step.op, P::Rlimits(_) | P::OomScoreAdj(_)));
    // With hooks of its creation, others are told that it is being created until then.
    let hooks = child_has(is!(C::Hooks(Hook::CreateContainer)));
    assert_eq!(said(Message::Created), gate || by_parent || hooks, "created\n{plan}");
}

/// The kernel stacks mounts in the order in which config.json lists them. Only
/// the one for a supervisor's socket is not in that list.
fn check_mount_order(plan: &Plan) {
    let is_notify =
        |step: &&Step<C>| step.pointer.is_none() && step.op.to_string() == "mount /run/notify";
    let is_mount: Is = is!(C::Rootfs(Rootfs::Mount(_)));
    let indices: Vec<usize> = plan
        .child
        .iter()
        .filter(|step| is_mount(&step.op) && !is_notify(step))
        .map(|step| {
            step.pointer
                .as_deref()
                .and_then(|pointer| pointer.strip_prefix("/mounts/")?.parse().ok())
                .unwrap_or_else(|| panic!("`{}` has no index in its pointer\n{plan}", step.op))
        })
        .collect();
    assert!(indices.is_sorted_by(|a, b| a < b), "mounts in the order {indices:?}\n{plan}");
}

/// Devices are on top of what is mounted, or nothing is mounted near them.
fn check_devices(plan: &Plan) {
    let is_devices = |step: &Step<C>| matches!(step.op, C::Rootfs(Rootfs::Devices(_)));
    let Some(at) = plan.child.iter().position(is_devices) else { return };
    let C::Rootfs(Rootfs::Devices(devices)) = &plan.child[at].op else { return };
    for step in &plan.child[at..] {
        let C::Rootfs(Rootfs::Mount(mount)) = &step.op else { continue };
        for device in devices {
            let (path, place) = (&device.path, &mount.destination);
            let is_near = path.starts_with(place) || place.starts_with(path);
            assert!(!is_near, "`{}` comes after {device}\n{plan}", step.op);
        }
    }
}

/// The root of a new user namespace has no privilege on the host: what needs
/// it is the parent's, and only then.
fn check_user_namespace(plan: &Plan) {
    let parent = |is: Is<P>| plan.parent.iter().any(|step| is(&step.op));
    let child = |is: Is| plan.child.iter().any(|step| is(&step.op));
    // Nor has a runtime that has none itself.
    let inside = plan.clone.has_user_namespace() && plan.maker != Maker::User;
    let by_bridge = plan.bridge.iter().any(|step| matches!(step.op, C::Process(_)));
    for (wanted, by_parent, by_child, what) in [
        (
            plan.process.oom_score_adj.is_some(),
            parent(is!(P::OomScoreAdj(_))),
            child(is!(C::Process(Process::OomScoreAdj(_)))) || by_bridge,
            "oom_score_adj",
        ),
        (
            !plan.process.rlimits.is_empty(),
            parent(is!(P::Rlimits(_))),
            child(is!(C::Process(Process::Rlimits(_)))),
            "rlimits",
        ),
    ] {
        let expected = (wanted && inside, wanted && !inside);
        assert_eq!((by_parent, by_child), expected, "{what} (by parent, by child)\n{plan}");
    }
    let mapped = parent(is!(P::MapIds(_)));
    let told = parent(is!(P::Send(Message::Mapped)));
    let made = plan.clone.is_new(hako::namespaces::Kind::User);
    assert_eq!((mapped, told), (made, made), "id maps\n{plan}");
    let inside = plan.clone.has_user_namespace();
    assert!(inside || !child(is!(C::Namespace(Namespace::BecomeUser { .. }))), "\n{plan}");
    // The bridge is for entering namespaces, and nothing of init's is left to it.
    assert_eq!(plan.clone.bridge, !plan.bridge.is_empty(), "a bridge\n{plan}");
    let shields =
        |steps: &[Step<C>]| steps.iter().any(|step| step.op == C::Namespace(Namespace::Undumpable));
    let shielded = shields(&plan.child) || shields(&plan.bridge);
    assert_eq!(plan.clone.dumpable, shielded, "somebody makes init undumpable\n{plan}");
}
