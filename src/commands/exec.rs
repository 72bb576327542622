//! `hako exec`: another program in a container.

use super::{Container, LOCK_TIMEOUT, Session, create};
use crate::cgroups::CgroupDir;
use crate::cli;
use crate::config;
use crate::error::{Error, Result};
use crate::fault::{self, Side};
use crate::foreground::Foreground;
use crate::host::{Host, Maker};
use crate::plan::{self, Options, Plan, Target};
use crate::process::{self, Changes};
use crate::seccomp::Filter;
use crate::spawn::{self, Inherited, Parent, Place, pid_file};
use crate::stat::has_never_executed;
use crate::state::Status;
use crate::terminal::DescriptorSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Executes a program. Returns its exit status, or 0 with `--detach`.
pub fn run(session: &Session, args: &cli::Exec, inherited: Inherited) -> Result<u8> {
    let container = session.container(&args.id)?;
    execute(session, &container, args, inherited).map_err(|error| {
        let is_alive = container.record.init.is_some_and(|init| init.is_alive());
        match error.hint {
            None if !is_alive => error.hint("the container has ended meanwhile"),
            _ => error,
        }
    })
}

fn execute(
    session: &Session,
    container: &Container,
    args: &cli::Exec,
    inherited: Inherited,
) -> Result<u8> {
    let (pid, pidfd) = open_init(container)?;
    wait_until_made(container)?;
    if !args.ignore_paused && container.record.cgroup.is_frozen() {
        return Err(Error::new("cannot exec in a paused container")
            .hint("hako resume it first; with --ignore-paused the program waits until then"));
    }
    let plan = compile(session, container, pid, args)?;
    if plan.maker == Maker::User && container.status() == Status::Created {
        return Err(Error::new("cannot exec in a container that has not been started yet")
            .hint("hako start it first: until then its init is hako, which nobody may look into, and without privilege that keeps you out of its namespaces"));
    }
    create::check_terminal(plan.process.terminal, &args.channels, !args.detach)?;
    let console = connect(args.channels.console_socket.as_deref())?;
    let pidfd_socket = connect(args.channels.pidfd_socket.as_deref())?;
    let filter = plan.process.seccomp.as_ref().map(|_| Filter::open(container.directory.as_fd()));
    let prepared = spawn::prepare(&plan, Some(pidfd))?.with_filter(filter.transpose()?);
    let cgroup = container.record.cgroup.enter(args.cgroup.as_deref(), pid)?;
    if !args.ignore_paused && cgroup.as_ref().is_some_and(CgroupDir::is_frozen) {
        return Err(Error::new("cannot exec in a cgroup that is frozen")
            .hint("the container has frozen it itself; with --ignore-paused the program waits until it goes on"));
    }
    // Before the clone, so that no signal and no child's end is missed.
    let foreground = (!args.detach).then(|| Foreground::new(false)).transpose()?;
    let directory = container.directory.as_fd();
    let (spawned, seal) = fault::step(Side::Make, "clone", || {
        spawn::spawn(&plan, prepared, cgroup.as_ref(), directory, inherited)
    })?;
    let doubt = args.detach || plan.process.seccomp.is_some();
    let executed = Parent {
        plan: &plan,
        status: "running",
        spawned: &spawned,
        seal,
        directory,
        note: &|_| Ok(()),
        place: Place::new(&plan, &container.record.cgroup, cgroup),
        console: console.as_ref(),
        pid_file: args.channels.pid_file.as_deref(),
        pidfd_socket: pidfd_socket.as_ref(),
    }
    .serve()
    .and_then(|served| {
        let wait = || spawned.wait_for_execution(doubt);
        fault::step(Side::Start, "wait for the program", wait).map(|()| served)
    });
    let served = executed.map_err(|error| {
        spawned.kill();
        if let Some(file) = &args.channels.pid_file {
            pid_file::remove(file, spawned.pid);
        }
        about_request(error, args)
    })?;
    session.report.succeeded();
    let Some(foreground) = foreground else { return Ok(0) };
    let (pidfd, terminal) = (spawned.pidfd.as_fd(), served.terminal);
    let status = foreground.wait(spawned.pid, pidfd, terminal, None, session.report)?;
    Ok(status.clamp(0, 255) as u8)
}

/// Until it has been created, and with `run` until it executes the program, the
/// root of init may be the host's.
fn wait_until_made(container: &Container) -> Result<()> {
    let is_in_the_making = || {
        let stat = container.record.init.and_then(|init| init.stat());
        stat.is_some_and(|stat| has_never_executed(&stat)) && !container.directory.has_gate()
    };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    while !container.record.restored && is_in_the_making() {
        if Instant::now() > deadline {
            return Err(still_being_created());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn still_being_created() -> Error {
    Error::new("cannot exec in a container that is still being created")
}

fn open_init(container: &Container) -> Result<(i32, OwnedFd)> {
    let Some(init) = container.record.init else {
        return Err(still_being_created());
    };
    match init.open()? {
        Some(pidfd) => Ok((init.pid, pidfd)),
        None => Err(Error::new("cannot exec in a stopped container")
            .hint("its first process has ended, and its namespaces with it")),
    }
}

fn connect(path: Option<&Path>) -> Result<Option<DescriptorSocket>> {
    path.map(DescriptorSocket::connect).transpose()
}

fn compile(session: &Session, container: &Container, pid: i32, args: &cli::Exec) -> Result<Plan> {
    let record = &container.record;
    let target = Target {
        identity: record.identity.clone(),
        pid,
        entry: record.entry.clone(),
        cgroup: record.cgroup.placement.clone(),
        resctrl: record.resctrl.clone(),
        process: record.process.clone(),
    };
    let options = Options {
        id: args.id.clone(),
        bundle: record.identity.bundle.clone(),
        run: true,
        ..Options::default()
    };
    let host = Host::probe()?;
    let plan = match &args.process {
        None => {
            let changes = changes(args);
            plan::compile_exec(
                &target,
                |base, compiler| process::plan_changed(base, &changes, compiler),
                &host,
                &options,
            )
            .map_err(|error| about_request(error, args))?
        }
        Some(file) => {
            let document = config::load_process(file)?;
            for warning in &document.warnings {
                session.report.warning(warning.clone());
            }
            let described = plan::compile_exec(
                &target,
                |base, compiler| {
                    document.faults.iter().for_each(|fault| compiler.fault(fault.clone()));
                    let mut process = process::plan_described(base, &document.spec, compiler);
                    process.terminal |= args.tty;
                    process
                },
                &host,
                &options,
            );
            described.map_err(|error| about_request(error, args))?
        }
    };
    for warning in &plan.warnings {
        session.report.warning(warning.clone());
    }
    Ok(plan)
}

/// What the request asked for is not to be found in the container's config.json.
fn about_request(error: Error, args: &cli::Exec) -> Error {
    if let Some(file) = &args.process {
        return config::in_process_file(error, file);
    }
    let asked = [
        (true, "/process/args"),
        (args.user.is_some() || !args.additional_gids.is_empty(), "/process/user"),
        (args.cwd.is_some(), "/process/cwd"),
        (args.tty, "/process/terminal"),
        (!args.cap.is_empty(), "/process/capabilities"),
        (args.apparmor.is_some(), "/process/apparmorProfile"),
        (args.process_label.is_some(), "/process/selinuxLabel"),
    ];
    let asked = asked.iter().filter(|(asked, _)| *asked);
    asked.fold(error, |error, (_, field)| error.not_below(field))
}

fn changes(args: &cli::Exec) -> Changes {
    Changes {
        args: args.args.clone(),
        cwd: args.cwd.clone(),
        env: args.env.clone(),
        uid: args.user.map(|user| user.uid),
        gid: args.user.and_then(|user| user.gid),
        additional_gids: args.additional_gids.clone(),
        capabilities: args.cap.clone(),
        no_new_privileges: args.no_new_privs,
        apparmor: args.apparmor.clone(),
        selinux: args.process_label.clone(),
        terminal: args.tty,
    }
}
