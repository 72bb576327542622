//! What: the way into the namespaces, of init and of those who come later.

use super::id_map::{IdMapping, IdMaps, is_mapped};
use super::plan::{CloneSet, Kind, Op};
use crate::plan::{ChildOp, Compiler, ParentOp, Step};
use crate::process;
use crate::protocol::Message;
use crate::rootfs;
use serde::{Deserialize, Serialize};

/// What the process in between does before it clones init: it enters namespaces.
pub fn plan_bridge(clone: &CloneSet, process: &process::Process, compiler: &mut Compiler) {
    if clone.bridge && clone.dumpable {
        plan_early_shield(process, compiler);
    }
    for join in &clone.join_bridge {
        let op = ChildOp::Namespace(Op::Join(join.clone()));
        compiler.bridge.push(Step { pointer: Some(join.pointer.clone()), op });
    }
}

/// Before it enters anything: whom it meets there may not look into it, and an
/// ordinary user may change little of a process that others may not look into.
fn plan_early_shield(process: &process::Process, compiler: &mut Compiler) {
    if let Some(value) = process.oom_score_adj {
        let op = ChildOp::Process(process::Op::OomScoreAdj(value));
        compiler.bridge.push(Step { pointer: Some("/process/oomScoreAdj".into()), op });
    }
    compiler.bridge.push(Step { pointer: None, op: ChildOp::Namespace(Op::Undumpable) });
}

/// Of init itself, where it is alone in its namespaces until then: as soon as
/// nobody has to write its files in /proc any more.
pub fn plan_shield(clone: &CloneSet, compiler: &mut Compiler) {
    if clone.dumpable && !clone.bridge {
        compiler.child(ChildOp::Namespace(Op::Undumpable));
    }
}

/// Init's first steps: into its user namespace, and out of the rest.
pub fn plan_entry(
    clone: &CloneSet,
    maps: Option<&IdMaps>,
    user: &process::User,
    compiler: &mut Compiler,
) {
    for join in &clone.join_after {
        compiler.child_at(join.pointer.clone(), ChildOp::Namespace(Op::Join(join.clone())));
    }
    if let Some((uid, gid)) = user_inside(clone, maps, user) {
        let keep_groups = user.additional_gids.is_none();
        compiler.child(ChildOp::Namespace(Op::BecomeUser { uid, gid, keep_groups }));
    }
    let by_init = |kind: &Kind| *kind != Kind::Time || !clone.time_apart;
    let unshared: Vec<Kind> = clone.unshare.iter().copied().filter(by_init).collect();
    if !unshared.is_empty() {
        let has_time = unshared.contains(&Kind::Time);
        compiler.child(ChildOp::Namespace(Op::Unshare(unshared)));
        if has_time && !clone.time_offsets.is_empty() {
            plan_time_offsets(clone, compiler);
        }
    }
    if clone.network_apart {
        compiler.parent(ParentOp::SendNetwork);
    } else if clone.is_new(Kind::Network) {
        compiler.child(ChildOp::Namespace(Op::Loopback));
    }
}

/// Who may not be looked into does not own its files in /proc either: the
/// runtime writes there for it.
fn plan_time_offsets(clone: &CloneSet, compiler: &mut Compiler) {
    let (pointer, offsets) = ("/linux/timeOffsets", clone.time_offsets.clone());
    if clone.dumpable || !clone.has_user_namespace() {
        compiler.child_at(pointer, ChildOp::Namespace(Op::TimeOffsets(offsets)));
        return;
    }
    compiler.child(ChildOp::Send(Message::TimeApart));
    compiler.parent(ParentOp::Receive(Message::TimeApart));
    compiler.parent_at(pointer, ParentOp::TimeOffsets(offsets));
    compiler.parent(ParentOp::Send(Message::Timed));
    compiler.child(ChildOp::Receive(Message::Timed));
}

/// Who init is while it sets things up in a user namespace: root, or the
/// process's user where 0 is not mapped.
fn user_inside(
    clone: &CloneSet,
    maps: Option<&IdMaps>,
    user: &process::User,
) -> Option<(u32, u32)> {
    let mapped = |list: fn(&IdMaps) -> &Vec<IdMapping>, id| {
        maps.is_none_or(|maps| is_mapped(list(maps), id))
    };
    clone.has_user_namespace().then(|| {
        (
            if mapped(|maps| &maps.uids, 0) { 0 } else { user.uid },
            if mapped(|maps| &maps.gids, 0) { 0 } else { user.gid },
        )
    })
}

/// How another process gets into the namespaces of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Those that are not the runtime's.
    pub kinds: Vec<Kind>,
    /// Who it becomes first in the user namespace, if there is one.
    pub user: Option<(u32, u32)>,
    /// It stays in the caller's groups.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_groups: bool,
    /// The ids there are in the user namespace; none where hako does not know.
    #[serde(default, skip_serializing_if = "IdMaps::is_empty")]
    pub maps: IdMaps,
    /// The kernel denies setgroups(2) in the user namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denies_setgroups: bool,
    /// By a process in between, because the runtime could not come back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bridge: bool,
}

impl Entry {
    /// The way into what `clone` makes.
    pub fn into(
        clone: &CloneSet,
        maps: Option<&IdMaps>,
        process: &process::Process,
        compiler: &Compiler,
    ) -> Self {
        let user = &process.user;
        Self {
            kinds: Kind::ALL.into_iter().filter(|kind| !clone.is_inherited(*kind)).collect(),
            user: user_inside(clone, maps, user),
            keep_groups: user.additional_gids.is_none(),
            maps: maps.cloned().unwrap_or_default(),
            denies_setgroups: compiler.denies_setgroups,
            bridge: !compiler.host.owns(Kind::Pid),
        }
    }

    /// What the process in between does: it enters all at once, so that its
    /// present privileges count for each, but not what [`is_late`].
    pub fn plan_bridge(&self, process: &process::Process, compiler: &mut Compiler) {
        if !self.bridge {
            return;
        }
        plan_early_shield(process, compiler);
        let early = self.of(|kind| !is_late(kind));
        if !early.is_empty() {
            let op = ChildOp::Namespace(Op::Enter(early));
            compiler.bridge.push(Step { pointer: None, op });
        }
    }

    /// Enters the container whose init is `pid`. First what the runtime's own
    /// privileges may be needed for, then the user namespace; the mount
    /// namespace belongs to that. Into a pid namespace come only children.
    pub fn plan(&self, pid: i32, compiler: &mut Compiler) -> CloneSet {
        let clone = CloneSet {
            bridge: self.bridge,
            dumpable: self.bridge,
            enter: if self.bridge { Vec::new() } else { self.of(|kind| kind == Kind::Pid) },
            ..CloneSet::default()
        };
        let is_inner = |kind| matches!(kind, Kind::User | Kind::Mount);
        let steps = match self.bridge {
            true => [self.of(is_late), Vec::new()],
            false => [self.of(|kind| kind != Kind::Pid && !is_inner(kind)), self.of(is_inner)],
        };
        for kinds in steps.into_iter().filter(|kinds| !kinds.is_empty()) {
            compiler.child(ChildOp::Namespace(Op::Enter(kinds)));
        }
        if let Some((uid, gid)) = self.user {
            let keep_groups = self.keep_groups;
            compiler.child(ChildOp::Namespace(Op::BecomeUser { uid, gid, keep_groups }));
        }
        if !self.kinds.contains(&Kind::Mount) {
            // The dot makes it the directory that the link in procfs leads to.
            let root = format!("/proc/{pid}/root/.").into();
            compiler.child(ChildOp::Rootfs(rootfs::Op::OpenRoot(root)));
            compiler.child(ChildOp::Rootfs(rootfs::Op::Chroot));
        }
        clone
    }

    fn of(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Kind> {
        self.kinds.iter().copied().filter(|kind| wanted(*kind)).collect()
    }
}

/// Nobody can clone into a cgroup that he does not see from his own namespace,
/// and what init does first needs the host's /proc.
fn is_late(kind: Kind) -> bool {
    matches!(kind, Kind::Cgroup | Kind::Mount)
}

/// Init enters the network namespace that the runtime has made meanwhile.
pub fn plan_network_entry(clone: &CloneSet, compiler: &mut Compiler) {
    if clone.network_apart {
        compiler.child(ChildOp::EnterNetwork);
    }
}
