//! What of a container is not its own, so that criu does not save it but gets it
//! again.

use crate::error::Error;
use crate::namespaces::Kind;
use crate::notify;
use crate::plan::{ChildOp, ParentOp, Plan};
use crate::rootfs::{MountKind, Op, Overlay, RootSource};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What checkpoint has to know of a container besides its state. It is kept with
/// that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outside {
    /// Where the host's files are mounted: destinations, as they are configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<PathBuf>,
    /// Namespaces that were joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Kind>,
    /// Why the container cannot be made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
}

impl Outside {
    /// What a plan takes from outside.
    pub fn of(plan: &Plan) -> Self {
        let mounts =
            planned_mounts(plan).filter(|mount| matches!(mount.kind, MountKind::Bind { .. }));
        Self {
            mounts: mounts.map(|mount| mount.destination.clone()).collect(),
            namespaces: plan.clone.joins().map(|join| join.kind).collect(),
            obstacle: obstacle(plan).map(str::to_owned),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// All mounts of a plan.
pub fn planned_mounts(plan: &Plan) -> impl Iterator<Item = &crate::rootfs::Mount> {
    plan.child.iter().filter_map(|step| match &step.op {
        ChildOp::Rootfs(Op::Mount(mount)) => Some(&**mount),
        _ => None,
    })
}

/// What criu could not save, or would make wrong.
fn obstacle(plan: &Plan) -> Option<&'static str> {
    let has_child = |is: fn(&Op) -> bool| {
        plan.child.iter().any(|step| matches!(&step.op, ChildOp::Rootfs(op) if is(op)))
    };
    let has_parent = |is: fn(&ParentOp) -> bool| plan.parent.iter().any(|step| is(&step.op));
    let is_in_memory =
        |op: &Op| matches!(op, Op::AttachRoot(RootSource::Overlay(Overlay { upper: None, .. })));
    let is_host_root = |op: &Op| matches!(op, Op::OpenRoot(_));
    let mut mounts = planned_mounts(plan);
    if has_child(is_in_memory) {
        Some("the changes of its overlay are in memory only: give --overlay a directory")
    } else if has_child(is_host_root) {
        Some("it has no mount namespace of its own")
    } else if mounts.any(|mount| mount.idmap.is_some()) {
        Some("it has an idmapped mount, which criu cannot make again")
    } else if planned_mounts(plan).any(|mount| mount.destination == Path::new(notify::MOUNT_POINT))
    {
        Some("a service manager has started it and listens to it (NOTIFY_SOCKET)")
    } else if has_parent(|op| matches!(op, ParentOp::MoveInterface(_))) {
        Some("it has a network device of the host's (linux.netDevices)")
    } else if plan.process.seccomp.as_ref().is_some_and(|setup| setup.agent.is_some()) {
        Some("an agent decides about its system calls (linux.seccomp.listenerPath)")
    } else {
        None
    }
}

/// Why a plan cannot be what a checkpoint is restored to.
pub fn obstacle_to_restore(plan: &Plan) -> Option<Error> {
    let what = "a checkpoint cannot be restored to this configuration";
    if let Some(reason) = obstacle(plan) {
        return Some(Error::new(format!("{what}: {reason}")));
    }
    // criu knows only its own.
    let join = plan.clone.joined(Kind::Cgroup)?;
    Some(
        Error::new(format!("{what}: criu cannot join a cgroup namespace")).at(join.pointer.clone()),
    )
}
