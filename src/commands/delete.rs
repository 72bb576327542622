//! `hako delete`: nothing is left.

use super::{Container, LOCK_TIMEOUT, Session};
use crate::cgroups;
use crate::cli;
use crate::error::{Context, Error, Result};
use crate::fault::{self, Side};
use crate::hooks::{self, Hooks, Site};
use crate::plan::Identity;
use crate::resctrl;
use crate::state::{ContainerState, StateDir, Status, check_id};
use crate::unique_pid::UniquePid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::os::fd::{AsFd, OwnedFd};

/// Deletes a container, or those whose ids an expression fits.
pub fn run(session: &Session, args: &cli::Delete) -> Result<()> {
    match args.regex {
        false => delete(session, &args.id, args.force),
        true => session.for_each(&args.id, |id| delete(session, id, args.force)),
    }
}

fn delete(session: &Session, id: &str, force: bool) -> Result<()> {
    check_id(id)?;
    let directory = match StateDir::open(&session.root, id) {
        Ok(directory) => directory,
        // Engines delete by force what may already be gone.
        Err(error) if force && error.errno.is_none() => return Ok(()),
        Err(error) => return Err(error),
    };
    let record = match directory.load() {
        Ok(record) => record,
        Err(error) if force => return salvage(session, &directory, &error),
        Err(error) => return Err(error),
    };
    let container = Container { directory, record, id: id.to_owned() };
    // Whoever is still at it sees its hook or its init end, and gives up.
    let end = || {
        hooks::end_noted(container.directory.as_fd())?;
        let current = container.directory.load();
        end_process(current.map_or(container.record.init, |record| record.init))
    };
    let _lock = match force {
        true => container.directory.lock_with(LOCK_TIMEOUT, end)?,
        false => container.directory.lock(LOCK_TIMEOUT)?,
    };
    let container = match session.container(id) {
        Ok(current) => Container { directory: StateDir::open(&session.root, id)?, ..current },
        Err(_) if force => return Ok(()),
        Err(error) => return Err(error),
    };
    let status = container.status();
    match status {
        _ if force => {}
        Status::Stopped | Status::Created => {}
        Status::Running | Status::Paused | Status::Creating => {
            return Err(Error::new(format!(
                "cannot delete container that is not stopped: {status}"
            ))
            .hint("hako kill it first, or use delete --force"));
        }
    }
    destroy(session, &container)
}

/// Ends what still runs and removes everything, going on past failures; the
/// first one is reported. The container is locked, so whose hook still runs was killed.
pub fn destroy(session: &Session, container: &Container) -> Result<()> {
    let record = &container.record;
    let hook = step("end a hook", || hooks::end_noted(container.directory.as_fd()));
    let ended = step("end init", || end_init(container));
    let cgroup = step("remove the cgroup", || record.cgroup.destroy());
    let group = step("remove the resctrl group", || {
        record.resctrl.as_ref().map_or(Ok(()), resctrl::Record::remove)
    });
    run_poststop(session, &container.directory, &record.identity, &record.hooks);
    // As long as something is left, so is what knows about it.
    hook.and(ended)
        .and(cgroup)
        .and(group)
        .and_then(|()| step("remove the state directory", || container.directory.remove()))
}

/// The same for a container that has ended, unless somebody else deletes it.
pub fn destroy_ended(session: &Session, container: &Container) {
    match container.directory.lock(LOCK_TIMEOUT) {
        Ok(_lock) if container.directory.has_record() => destroy_or_warn(session, container),
        Ok(_) => {}
        Err(error) => session.report.warning(format!("while cleaning up: {error}")),
    }
}

/// The same where there is something else to tell: how the container ended, or
/// why it failed.
pub fn destroy_or_warn(session: &Session, container: &Container) {
    if let Err(error) = destroy(session, container) {
        session.report.warning(format!("while cleaning up: {error}"));
    }
}

fn step<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    fault::step(Side::Delete, name, action)
}

/// The container is gone: what its poststop hooks do wrong is a warning.
pub fn run_poststop(session: &Session, directory: &StateDir, identity: &Identity, hooks: &Hooks) {
    let state = ContainerState::new(identity, "stopped", None).to_json();
    let site =
        Site { state_json: &state, directory: &identity.bundle, noted_in: Some(directory.as_fd()) };
    for warning in hooks::run_all_warn(hooks, hooks::Kind::Poststop, &site) {
        session.report.warning_of(&warning);
    }
}

/// How long init may take to end when nothing keeps it.
const END_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Waits until a process has ended, but not for ever; whether it has.
pub fn has_ended(pidfd: &OwnedFd) -> rustix::io::Result<bool> {
    let mut waiting = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut waiting, Some(&END_TIMEOUT))).map(|ready| ready > 0)
}

/// Kills init, if it has not ended, and waits for its end.
pub fn end_init(container: &Container) -> Result<()> {
    end_process(container.record.init)
}

fn end_process(init: Option<UniquePid>) -> Result<()> {
    let Some(init) = init else { return Ok(()) };
    let Some(pidfd) = init.open()? else { return Ok(()) };
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)
        .os(|| format!("cannot kill process {}", init.pid))?;
    match has_ended(&pidfd) {
        Ok(false) => Err(Error::new(format!("process {} does not end", init.pid))
            .hint("it waits for a process that exec put into the container, until that one's parent reaps it; or it is stuck in the kernel: see /proc/PID/stack")),
        result => result.map(drop).os(|| format!("cannot wait for process {}", init.pid)),
    }
}

/// The record is unreadable: ends and removes what can be found without it.
fn salvage(session: &Session, directory: &StateDir, damage: &Error) -> Result<()> {
    directory.check_own()?;
    let end = || {
        hooks::end_noted(directory.as_fd())?;
        end_process(directory.noted_init())
    };
    let _lock = directory.lock_with(LOCK_TIMEOUT, end)?;
    match directory.noted_cgroup() {
        Some(placement) => {
            let made = Some(placement.directory());
            cgroups::Record { placement, made }.destroy()?;
        }
        None if directory.has_record() && directory.noted_init().is_none() => session.report.warning(format!(
            "{damage}; no cgroup is known, so processes of the container, if there are any, were not ended"
        )),
        // The record is written first: whoever made it was killed before.
        None => {}
    }
    directory.remove()
}
