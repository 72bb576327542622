//! `hako pause` and `hako resume`: all processes of a container stop, and go on.

use super::{LOCK_TIMEOUT, Session};
use crate::error::{Error, Result};
use crate::state::Status;

/// Stops all processes.
pub fn pause(session: &Session, id: &str) -> Result<()> {
    let container = session.container(id)?;
    let _lock = container.directory.lock(LOCK_TIMEOUT)?;
    match container.status() {
        Status::Running | Status::Created => {
            container.record.cgroup.freeze().map_err(|error| container.explain_cgroup(error))
        }
        Status::Paused => Err(Error::new("container not running: it is paused already")),
        Status::Creating | Status::Stopped => Err(Error::new("container not running")),
    }
}

/// Lets them go on.
pub fn resume(session: &Session, id: &str) -> Result<()> {
    let container = session.container(id)?;
    let _lock = container.directory.lock(LOCK_TIMEOUT)?;
    match container.status() {
        Status::Paused => container.record.cgroup.thaw(),
        status => Err(Error::new(format!("container not paused: it is {status}"))),
    }
}
