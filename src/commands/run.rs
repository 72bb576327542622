//! `hako run`: create, start, wait and delete in one.

use super::{Container, Session, bundle, create, delete, start};
use crate::cgroups::CgroupDir;
use crate::cli;
use crate::error::{Error, Result};
use crate::fault::{self, Side};
use crate::foreground::Foreground;
use crate::hooks;
use crate::spawn::{Inherited, pid_file};
use std::os::fd::AsFd;

/// Runs a container. Returns its exit status, or 0 with `--detach`.
pub fn run(session: &Session, args: &cli::Run, inherited: Inherited) -> Result<u8> {
    let mut args = args.clone();
    bundle::locate(&mut args.create.id, &mut args.create.bundle)?;
    let args = &args;
    let plan = create::compile(session, &args.create.id, &args.create.bundle, true)?;
    create::check_terminal(plan.process.terminal, &args.create.channels, !args.detach)
        .map_err(|error| error.at("/process/terminal"))?;
    // Before the clone, so that no signal and no child's end is missed.
    let foreground = match args.detach {
        true => None,
        false => Some(Foreground::new(!args.no_subreaper)?),
    };
    let created = create::create(session, plan, &args.create, inherited)?;
    let mut container = Container {
        id: args.create.id.clone(),
        directory: created.directory,
        record: created.record,
    };
    let lock = container.directory.locked();
    let spawned = created.spawned;
    let cgroup = created.served.cgroup.as_ref();
    // In the foreground the wait for its end shows whether it has begun.
    let doubt = args.detach || container.record.process.seccomp.is_some();
    let started = fault::step(Side::Start, "wait for the program", || {
        hooks::wait_for_init(&container.record.hooks, spawned.socket.as_fd())?;
        spawned.wait_for_execution(doubt)
    })
    .and_then(|()| start::run_poststart(&container));
    if let Err(error) = started {
        created.served.give_interfaces_back();
        let error = container.record.cgroup.blame_limit(error, cgroup);
        if let Some(file) = &args.create.channels.pid_file {
            pid_file::remove(file, spawned.pid);
        }
        delete::destroy_or_warn(session, &container);
        return Err(error);
    }
    drop(lock);
    session.report.succeeded();
    let Some(foreground) = foreground else {
        return start::wait_until_ready(&container, created.ear).map(|()| 0);
    };
    let terminal = created.served.terminal;
    let pidfd = spawned.pidfd.as_fd();
    let status = foreground.wait(spawned.pid, pidfd, terminal, created.ear, session.report);
    let status = finish(session, &mut container, status, cgroup, args.keep);
    // The process ends here, and the kernel closes everything at once.
    std::mem::forget((container, spawned.pidfd, spawned.socket, created.served.cgroup));
    status
}

/// The container has ended. Returns its exit status.
pub fn finish(
    session: &Session,
    container: &mut Container,
    status: Result<i32>,
    cgroup: Option<&CgroupDir>,
    keep: bool,
) -> Result<u8> {
    let status = status.map_err(|error| container.record.cgroup.blame_limit(error, cgroup));
    if matches!(status, Ok(KILLED)) {
        warn_of_low_memory(session, container.record.cgroup.explain_kill(cgroup));
    }
    if status.is_ok() {
        container.record.init = None;
    }
    if !keep {
        delete::destroy_ended(session, container);
    }
    Ok(status?.clamp(0, 255) as u8)
}

/// Exit status of a program that SIGKILL has ended.
const KILLED: i32 = 128 + libc::SIGKILL;

fn warn_of_low_memory(session: &Session, reason: Option<Error>) {
    if let Some(reason) = reason {
        let hint = reason.hint.as_deref().unwrap_or_default();
        session.report.warning(format!("the container was killed: {reason}; {hint}"));
        session.report.succeeded();
    }
}
