//! `hako create`: everything but the execution of the program.

use super::rollback::Rollback;
use super::{Session, bundle};
use crate::cgroups;
use crate::cli;
use crate::config;
use crate::criu::Outside;
use crate::error::{Context, Error, Result};
use crate::fault::{self, Side};
use crate::host::Host;
use crate::notify::{self, Ear, Supervisor};
use crate::plan::{self, ChildOp, Options, ParentOp, Plan};
use crate::seccomp::Filter;
use crate::spawn::{self, Inherited, Parent, Place, Prepared, Served, Spawned};
use crate::state::{Record, StateDir, check_id, timestamp};
use crate::terminal::DescriptorSocket;
use crate::unique_pid::UniquePid;
use std::cell::Cell;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Creates a container and leaves it waiting at its gate.
pub fn run(session: &Session, args: &cli::Create, inherited: Inherited) -> Result<()> {
    let plan = compile(session, &args.id, &args.bundle, false)?;
    check_terminal(plan.process.terminal, &args.channels, false)
        .map_err(|error| error.at("/process/terminal"))?;
    create(session, plan, args, inherited).map(drop)
}

/// A container that has just been created, and its maker's ties to it. Without a gate
/// its directory is locked.
pub struct Created {
    /// Its directory.
    pub directory: StateDir,
    /// What was saved of it.
    pub record: Record,
    /// Its init.
    pub spawned: Spawned,
    /// What its making left for later.
    pub served: Served,
    /// Hears when the service in it is ready, if somebody wants to know.
    pub ear: Option<Ear>,
}

/// Reads the configuration and compiles it.
pub fn compile(session: &Session, id: &str, bundle: &cli::Bundle, run: bool) -> Result<Plan> {
    check_id(id)?;
    let directory = bundle.bundle.as_deref().unwrap_or(Path::new("."));
    let directory = bundle::resolve(directory)?;
    let file = match &bundle.config {
        Some(file) => {
            std::path::absolute(file).os(|| format!("cannot resolve {}", file.display()))?
        }
        None => directory.join(config::FILE_NAME),
    };
    let name = bundle.config.as_deref().unwrap_or(Path::new(config::FILE_NAME)).display();
    let config = config::load(&file, &name.to_string())?;
    let options = Options {
        id: id.to_owned(),
        bundle: directory,
        run,
        no_pivot: bundle.no_pivot,
        no_new_keyring: bundle.no_new_keyring,
        overlay: bundle::overlay_request(bundle)?,
        cgroup_manager: session.global.cgroup_manager(),
        rootless: session.global.rootless(),
        notify: Supervisor::from_environment()
            .map(|_| session.root.join(id).join(notify::DIRECTORY)),
        listen_fds: notify::listening_descriptors()?,
    };
    let compiled = plan::compile(&config.spec, &Host::probe()?, &options);
    // What is missing comes first: it may be why more is wrong.
    let faults = compiled.as_ref().err().into_iter().flat_map(Error::apart);
    if let Some(error) = Error::all(config.faults.into_iter().chain(faults).collect()) {
        return Err(error);
    }
    let plan = compiled?;
    for warning in config.warnings.iter().chain(&plan.warnings) {
        session.report.warning(warning.clone());
    }
    Ok(plan)
}

/// A terminal must go somewhere: to a socket, or to the foreground.
pub fn check_terminal(terminal: bool, channels: &cli::Channels, foreground: bool) -> Result<()> {
    match (terminal, &channels.console_socket) {
        (true, None) if !foreground => Err(Error::new(
            "cannot allocate tty if hako will detach without setting console socket",
        )),
        (false, Some(_)) => {
            Err(Error::new("cannot use console socket if hako will not detach or allocate tty"))
        }
        _ => Ok(()),
    }
}

/// Does what the plan says, up to `Created`. On any failure nothing is left.
pub fn create(
    session: &Session,
    plan: Plan,
    args: &cli::Create,
    inherited: Inherited,
) -> Result<Created> {
    let owner = rustix::process::geteuid().as_raw();
    let console =
        args.channels.console_socket.as_deref().map(DescriptorSocket::connect).transpose()?;
    let pidfd_socket =
        args.channels.pidfd_socket.as_deref().map(DescriptorSocket::connect).transpose()?;
    let directory = StateDir::create(&session.root, &plan.identity.id)?;
    let (prepared, ear) =
        prepare(session, &plan, &directory).inspect_err(|_| drop(directory.remove()))?;
    let lock = directory.lock(super::LOCK_TIMEOUT).inspect_err(|_| drop(directory.remove()))?;
    let record = new_record(&plan, owner);
    let pid_file = args.channels.pid_file.as_deref();
    let mut rollback = Rollback::of(session, &directory, &plan, &record, pid_file);
    let mut cloned = None;
    let init = Cell::new(None);
    let note = |pid| {
        init.set(Some(UniquePid::identify(pid)?));
        note_init(&directory, Record { init: init.get(), ..record.clone() })
    };
    let served = (|| {
        // Before the first side effect: whatever happens next can be cleaned up.
        step("save the record", || begin(&plan, &directory, &record))?;
        step("save the filter", || prepared.keep_filter(directory.as_fd()))?;
        let cgroup = step("make the cgroup", || rollback.make_cgroup())?;
        let (spawned, seal) = step("clone", || {
            spawn::spawn(&plan, prepared, cgroup.as_ref(), directory.as_fd(), inherited)
        })?;
        let spawned = cloned.insert(spawned);
        Parent {
            plan: &plan,
            status: "creating",
            spawned,
            seal,
            directory: directory.as_fd(),
            note: &note,
            place: Place::new(&plan, &record.cgroup, cgroup),
            console: console.as_ref(),
            pid_file,
            pidfd_socket: pidfd_socket.as_ref(),
        }
        .serve()
        .and_then(|served| finish(&plan, &directory).map(|()| served))
    })();
    match served {
        Ok(served) => {
            match plan.has_gate() {
                true => drop(lock),
                // `run` goes on until the program runs.
                false => std::mem::forget(lock),
            }
            let Some(spawned) = cloned else {
                return Err(Error::new("init was not cloned"));
            };
            let record = Record { init: init.get(), ..record };
            Ok(Created { directory, record, spawned, served, ear })
        }
        Err(error) => {
            let init = cloned.as_ref().map(|spawned| (spawned.pid, spawned.pidfd.as_fd()));
            rollback.undo(init, &error);
            Err(error)
        }
    }
}

/// Whether hooks may want to know that the container is being created, where no gate
/// says so.
fn is_watched(plan: &Plan) -> bool {
    !plan.has_gate() && plan.hooks.run_in_create()
}

fn begin(plan: &Plan, directory: &StateDir, record: &Record) -> Result<()> {
    directory.save(record)?;
    if is_watched(plan) { directory.begin() } else { Ok(()) }
}

fn finish(plan: &Plan, directory: &StateDir) -> Result<()> {
    match plan.has_gate() {
        true => directory.finish_gate(),
        false if is_watched(plan) => directory.finish(),
        false => Ok(()),
    }
}

/// Saves the record of a container that has an init. Where no cgroup would lead to
/// it without that record, init is noted apart.
fn note_init(directory: &StateDir, record: Record) -> Result<()> {
    if let (Some(init), None) = (&record.init, &record.cgroup.made) {
        directory.note_init(init)?;
    }
    directory.save(&record)
}

/// A step before those in the plan.
fn step<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    fault::step(Side::Make, name, action)
}

/// Opens what the plan needs; a directory of hako's own that it may need is
/// made before. Whoever starts the program has to listen by then.
fn prepare(
    session: &Session,
    plan: &Plan,
    directory: &StateDir,
) -> Result<(Prepared, Option<Ear>)> {
    let supervisor = Supervisor::from_environment();
    if supervisor.is_some() {
        notify::make_directory(directory.as_fd())?;
    }
    let filter = plan.seccomp.as_ref().map(|profile| Filter::prepare(profile, &session.root));
    let prepared = spawn::prepare(plan, None)?.with_filter(filter.transpose()?);
    let listen = |supervisor| Ear::open(directory.as_fd(), supervisor);
    let ear = supervisor.filter(|_| !plan.has_gate()).map(listen).transpose()?.flatten();
    Ok((prepared, ear))
}

/// What is known of a container before it is made.
pub fn new_record(plan: &Plan, owner: u32) -> Record {
    Record {
        version: Record::VERSION,
        identity: plan.identity.clone(),
        rootfs: rootfs_path(plan),
        created: timestamp(),
        owner,
        init: None,
        cgroup: cgroups::Record::foresee(&plan.cgroup),
        resctrl: plan.parent.iter().find_map(|step| match &step.op {
            ParentOp::JoinResctrl(group) => Some(group.foresee()),
            _ => None,
        }),
        own_pid_namespace: plan.clone.is_new(crate::namespaces::Kind::Pid),
        entry: plan.entry.clone(),
        outside: Outside::of(plan),
        checkpointed: false,
        restored: false,
        process: plan.process.clone(),
        hooks: plan.hooks.clone(),
    }
}

/// The directory `state` shows: with an overlay, the bundle's own.
fn rootfs_path(plan: &Plan) -> PathBuf {
    use crate::rootfs::Op;
    plan.child
        .iter()
        .find_map(|step| match &step.op {
            ChildOp::Rootfs(Op::AttachRoot(source)) => Some(source.place().to_owned()),
            ChildOp::Rootfs(Op::OpenRoot(path)) => Some(path.clone()),
            _ => None,
        })
        .unwrap_or_default()
}
