//! `hako start`: the created container executes its program.

use super::{Container, LOCK_TIMEOUT, Session, delete};
use crate::error::{Error, Result};
use crate::gate;
use crate::hooks;
use crate::spawn::wait_for_execution;
use crate::state::{ContainerState, Status};
use std::os::fd::AsFd;

/// Opens the gate and waits until the program runs.
pub fn run(session: &Session, id: &str) -> Result<()> {
    let container = session.container(id)?;
    let lock = container.directory.lock(LOCK_TIMEOUT)?;
    match container.status() {
        Status::Created => {}
        Status::Creating => {
            return Err(Error::new("cannot start a container that is still being created"));
        }
        Status::Running => return Err(Error::new("cannot start an already running container")),
        Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
    }
    let Some(init) = gate::connect(container.directory.as_fd())? else {
        container.directory.remove_gate()?;
        return Err(Error::new("cannot start an already running container"));
    };
    container.directory.remove_gate()?;
    if let Err(error) = wait_for_execution(&init).and_then(|()| run_poststart(&container)) {
        drop(lock);
        // A hook's failure ends the container for good (runtime.md,
        // "Lifecycle"); after any other it is stopped, and there to be seen.
        if error.pointer.as_deref().is_some_and(|pointer| pointer.starts_with("/hooks/")) {
            delete::destroy(session, &container)?;
        }
        return Err(error);
    }
    Ok(())
}

/// Hooks that run once the program does; a failing one ends the container
/// (runtime.md, "Lifecycle").
pub fn run_poststart(container: &Container) -> Result<()> {
    let record = &container.record;
    let pid = record.init.map(|init| init.pid);
    let state = ContainerState::new(&record.identity, "running", pid).to_json();
    hooks::run(&record.hooks, hooks::Kind::Poststart, &state, &record.identity.bundle)
}
