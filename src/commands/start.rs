//! `hako start`: the created container executes its program.

use super::{Container, LOCK_TIMEOUT, Session, delete};
use crate::error::{Error, Result};
use crate::fault::{self, Side};
use crate::gate;
use crate::hooks::{self, Site};
use crate::notify::{Ear, Supervisor};
use crate::protocol::{Interruption, Socket};
use crate::seccomp::{Agent, Connection, Subject};
use crate::spawn::{self, FORBIDDEN};
use crate::stat::{UNEXECUTED, is_unexecuted};
use crate::state::{ContainerState, NO_CONTAINER, Record, Status};
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
        Status::Paused => {
            return Err(Error::new("cannot start a paused container").hint("hako resume it first"));
        }
        Status::Running => return Err(Error::new("cannot start an already running container")),
        Status::Stopped if !container.directory.has_record() => {
            return Err(Error::new(NO_CONTAINER));
        }
        Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
    }
    let agent = step("connect to the agent", || connect_agent(&container.record))?;
    let ear = step("listen to the service", || open_ear(&container))?;
    let cgroup = container.record.cgroup.watch();
    let knock = || gate::connect(container.directory.as_fd());
    let Some(socket) = step("knock at the gate", knock)? else {
        container.directory.remove_gate()?;
        return Err(Error::new("cannot start an already running container"));
    };
    let started = step("remove the gate", || container.directory.remove_gate())
        .and_then(|()| pass_listener(&container.record, agent, &socket))
        .and_then(|()| step("wait for the program", || socket.wait_for_execution()))
        .and_then(|()| check_execution(&container.record))
        .and_then(|()| run_poststart(&container));
    if let Err(error) = started {
        let error = container.record.cgroup.blame_limit(error, cgroup.as_ref());
        // If init has not ended, there is no program whose start has failed.
        let _ = delete::end_init(&container);
        // A hook's failure ends the container for good (runtime.md,
        // "Lifecycle"); after any other it is stopped, and there to be seen.
        if error.pointer.as_deref().is_some_and(|pointer| pointer.starts_with("/hooks/")) {
            delete::destroy_or_warn(session, &container);
        } else {
            drop((socket, lock));
            wait_for_end(&container.record);
        }
        return Err(error);
    }
    drop(lock);
    wait_until_ready(&container, ear)
}

/// Listens for the container, if a supervisor wants to know when it is ready.
pub fn open_ear(container: &Container) -> Result<Option<Ear>> {
    let open = |supervisor| Ear::open(container.directory.as_fd(), supervisor);
    Ok(Supervisor::from_environment().map(open).transpose()?.flatten())
}

/// Waits until the supervisor knows.
pub fn wait_until_ready(container: &Container, ear: Option<Ear>) -> Result<()> {
    let (Some(ear), Some(init)) = (ear, container.record.init) else { return Ok(()) };
    match init.open()? {
        Some(pidfd) => ear.wait(init.pid, pidfd.as_fd()),
        None => Ok(()),
    }
}

/// Init ends after it has said what is wrong. An engine that hears of it deletes
/// the container, and can do so only when its init is gone.
fn wait_for_end(record: &Record) {
    if let Some(Ok(Some(pidfd))) = record.init.map(|init| init.open()) {
        let _ = delete::has_ended(&pidfd);
    }
}

/// An init that ended without executing the program closed the connection, too.
fn check_execution(record: &Record) -> Result<()> {
    match record.init {
        Some(init) if is_unexecuted(init.pid) => {
            Err(Error::new(format!("container init ended {UNEXECUTED}")).hint(FORBIDDEN))
        }
        _ => Ok(()),
    }
}

/// Before the container is let go: an agent that is not there is no reason to
/// end it.
fn connect_agent(record: &Record) -> Result<Option<Connection>> {
    let setup = record.process.seccomp.as_ref();
    setup.and_then(|setup| setup.agent.as_ref()).map(Agent::connect).transpose()
}

/// Hands the listener of init's filter to the agent, if there is one.
fn pass_listener(record: &Record, agent: Option<Connection>, socket: &Socket) -> Result<()> {
    let Some(agent) = agent else { return Ok(()) };
    let gone = || Error::new("container init has ended");
    let init = record.init.ok_or_else(gone)?;
    let pidfd = init.open()?.ok_or_else(gone)?;
    let subject = Subject { pid: init.pid, pidfd: pidfd.as_fd() };
    let state = ContainerState::new(&record.identity, "created", Some(init.pid));
    spawn::pass_listener(socket, agent, subject, &state).map_err(
        |interruption| match interruption {
            Interruption::Failed(error) => error,
            Interruption::Closed => gone(),
        },
    )
}

/// Hooks that run once the program does; a failing one ends the container
/// (runtime.md, "Lifecycle").
pub fn run_poststart(container: &Container) -> Result<()> {
    let record = &container.record;
    let pid = record.init.map(|init| init.pid);
    let state = ContainerState::new(&record.identity, "running", pid).to_json();
    step("run the poststart hooks", || {
        let site = Site {
            state_json: &state,
            directory: &record.identity.bundle,
            noted_in: Some(container.directory.as_fd()),
        };
        hooks::run(&record.hooks, hooks::Kind::Poststart, &site)
    })
}

fn step<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    fault::step(Side::Start, name, action)
}
