//! Undoing what was half made.

use super::{Session, delete};
use crate::cgroups::{self, CgroupDir};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::resctrl;
use crate::spawn::{self, pid_file};
use crate::state::{Record, StateDir};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Undoes a half-made container, going on past every failure.
pub struct Rollback<'a> {
    session: &'a Session<'a>,
    directory: &'a StateDir,
    plan: &'a Plan,
    cgroup: cgroups::Record,
    resctrl: Option<resctrl::Record>,
    pid_file: Option<&'a Path>,
}

impl<'a> Rollback<'a> {
    /// Of a container that is going to be made.
    pub fn of(
        session: &'a Session<'a>,
        directory: &'a StateDir,
        plan: &'a Plan,
        record: &Record,
        pid_file: Option<&'a Path>,
    ) -> Self {
        let (cgroup, resctrl) = (record.cgroup.clone(), record.resctrl.clone());
        Self { session, directory, plan, cgroup, resctrl, pid_file }
    }

    /// Makes the cgroup, after a note of it, and gives it its controllers.
    /// `None` where init is not to be cloned into it.
    pub fn make_cgroup(&mut self) -> Result<Option<CgroupDir>> {
        let plan = self.plan;
        if self.cgroup.made.is_some() {
            self.directory.note_cgroup(&plan.cgroup)?;
        }
        let cgroup = self.cgroup.create().inspect_err(|error| {
            if error.errno == Some(libc::EEXIST) {
                // Made by somebody else at this very moment: not to be undone.
                self.cgroup.made = None;
            }
        })?;
        if let Some(cgroup) = &cgroup {
            let fresh = self.cgroup.made.as_deref();
            cgroup.enable(&plan.cgroup, fresh, &plan.controllers, &plan.needed_controllers())?;
        }
        Ok(cgroup)
    }

    /// Ends init, if there is one by now, and removes everything.
    pub fn undo(mut self, init: Option<(i32, BorrowedFd)>, reason: &Error) {
        if is_unit_of_another(reason) {
            self.cgroup.made = None;
        }
        if let Some((_, pidfd)) = init {
            spawn::kill(pidfd);
        }
        let group = self.resctrl.as_ref().map_or(Ok(()), resctrl::Record::remove);
        let destroyed = self.cgroup.destroy().and(group);
        if let (Some(path), Some((pid, _))) = (self.pid_file, init) {
            pid_file::remove(path, pid);
        }
        if init.is_some() {
            let (identity, hooks) = (&self.plan.identity, &self.plan.hooks);
            delete::run_poststop(self.session, self.directory, identity, hooks);
        }
        if let Err(error) = destroyed.and_then(|()| self.directory.remove()) {
            self.session.report.warning(format!("while cleaning up: {error}"));
        }
    }
}

/// Somebody else has made a unit of this name: not to be undone.
fn is_unit_of_another(error: &Error) -> bool {
    error.errno == Some(libc::EEXIST) && error.pointer.as_deref() == Some("/linux/cgroupsPath")
}
