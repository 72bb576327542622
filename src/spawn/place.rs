//! The runtime's steps that place a process in the container's cgroup and limit
//! what it gets there.

use crate::cgroups::systemd::Scope;
use crate::cgroups::{self, CgroupDir};
use crate::error::{Error, Result};
use crate::plan::{ParentOp, Plan};
use std::cell::OnceCell;

/// Where a container is placed.
#[derive(Debug)]
pub struct Place<'a> {
    plan: &'a Plan,
    record: &'a cgroups::Record,
    /// Its cgroup, once that is there.
    cgroup: OnceCell<CgroupDir>,
}

impl<'a> Place<'a> {
    /// In this cgroup, if it is there already.
    pub fn new(plan: &'a Plan, record: &'a cgroups::Record, cgroup: Option<CgroupDir>) -> Self {
        Self { plan, record, cgroup: cgroup.map(OnceCell::from).unwrap_or_default() }
    }

    /// The cgroup.
    ///
    /// # Errors
    /// When the container has none of its own, or not yet.
    pub fn cgroup(&self) -> Result<&CgroupDir> {
        self.cgroup.get().ok_or_else(|| Error::new("init is not in a cgroup of its own"))
    }

    /// The cgroup, for who comes later.
    pub fn into_cgroup(self) -> Option<CgroupDir> {
        self.cgroup.into_inner()
    }

    /// Does a step with the process `pid`; `None` if it is about something else.
    pub fn apply(&self, op: &ParentOp, pid: i32) -> Option<Result<()>> {
        Some(match op {
            ParentOp::MakeScope(scope) => self.make_scope(scope, pid),
            ParentOp::EnterCgroup => {
                self.cgroup().and_then(|cgroup| self.record.take_in(cgroup, pid))
            }
            ParentOp::Attach(unit) => {
                self.cgroup().and_then(|cgroup| self.record.attach(unit, cgroup, pid))
            }
            ParentOp::Limit(setting) => self.cgroup().and_then(|cgroup| cgroup.set(setting)),
            ParentOp::Devices(devices) => self
                .cgroup()
                .and_then(|cgroup| cgroup.set_devices(devices, self.record.made.is_some())),
            ParentOp::JoinResctrl(group) => group.join(pid),
            ParentOp::OwnCgroup(uid) => self.cgroup().and_then(|cgroup| cgroup.give_to(*uid)),
            _ => return None,
        })
    }

    fn make_scope(&self, scope: &Scope, pid: i32) -> Result<()> {
        let cgroup = self.record.place(scope, pid)?;
        let plan = self.plan;
        cgroup.enable(&plan.cgroup, None, &plan.controllers, &plan.needed_controllers())?;
        self.cgroup.set(cgroup).map_err(|_| Error::new("init is placed already"))
    }
}
