//! The root that a container is restored in. criu makes all mounts but this one,
//! and no mount points: it wants a root that is a mount and has them.

use crate::error::Context;
use crate::error::Result;
use crate::plan::{ChildOp, Plan, Step};
use crate::rootfs::{MountKind, Op, Prepared, Workspace};
use rustix::mount::UnmountFlags;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The steps of a plan that lead to such a root, with what they need from the host.
pub struct RootMount<'a> {
    attach: &'a Step<ChildOp>,
    /// Where it is.
    pub place: PathBuf,
    prepared: RefCell<[Prepared; 2]>,
    mounts: RefCell<Vec<(&'a Step<ChildOp>, Prepared)>>,
}

impl<'a> RootMount<'a> {
    /// Opens everything, so that what is missing is found before anything is made.
    /// `None` if the plan makes no such root.
    pub fn prepare(plan: &'a Plan) -> Result<Option<Self>> {
        let source = |step: &'a Step<ChildOp>| match &step.op {
            ChildOp::Rootfs(Op::AttachRoot(source)) => Some((step, source.place())),
            _ => None,
        };
        let Some((attach, place)) = plan.child.iter().find_map(source) else { return Ok(None) };
        let open = |step: &'a Step<ChildOp>| match &step.op {
            ChildOp::Rootfs(op) => op.prepare().map_err(|error| step.place(error)),
            _ => Ok(Prepared::default()),
        };
        let mut mounts = Vec::new();
        for step in plan.child.iter().filter(|step| needs_point(plan, step)) {
            mounts.push((step, open(step)?));
        }
        let prepared = RefCell::new([open(attach)?, open(attach)?]);
        Ok(Some(Self { attach, place: place.to_owned(), prepared, mounts: RefCell::new(mounts) }))
    }

    /// Makes it, in a mount namespace that is the caller's alone: once with the
    /// host's mounts, which hold mount points of others, and once without.
    pub fn make(&self) -> Result<()> {
        let mut workspace = Workspace::default();
        Op::IsolateMounts.apply(&mut workspace, &mut Prepared::default())?;
        let [first, second] = &mut *self.prepared.borrow_mut();
        self.attach(&mut workspace, first)?;
        for (step, prepared) in self.mounts.borrow_mut().iter_mut() {
            let ChildOp::Rootfs(op) = &step.op else { continue };
            make_point(op, &mut workspace, prepared).map_err(|error| step.place(error))?;
        }
        workspace.forget();
        rustix::mount::unmount(&self.place, UnmountFlags::DETACH)
            .os(|| "cannot detach the root")?;
        self.attach(&mut Workspace::default(), second)
    }

    fn attach(&self, workspace: &mut Workspace, prepared: &mut Prepared) -> Result<()> {
        let ChildOp::Rootfs(op) = &self.attach.op else { return Ok(()) };
        op.apply(workspace, prepared).map_err(|error| self.attach.place(error))
    }
}

/// A bind mount may be the place of other mounts; of a new file system the
/// directory is enough, since criu brings back what was in it.
fn make_point(op: &Op, workspace: &mut Workspace, prepared: &mut Prepared) -> Result<()> {
    match op {
        Op::Mount(mount) if matches!(mount.kind, MountKind::New { .. }) => {
            workspace.root()?.create_directory(&mount.destination).map(drop)
        }
        op => op.apply(workspace, prepared),
    }
}

/// What is below a new file system is in criu's images.
fn needs_point(plan: &Plan, step: &Step<ChildOp>) -> bool {
    let ChildOp::Rootfs(Op::Mount(mount)) = &step.op else { return false };
    let is_above = |path: &Path| mount.destination.starts_with(path) && mount.destination != path;
    let is_new = |kind: &MountKind| matches!(kind, MountKind::New { .. });
    !matches!(mount.kind, MountKind::Remount { .. })
        && !super::outside::planned_mounts(plan)
            .any(|other| is_new(&other.kind) && is_above(&other.destination))
}
