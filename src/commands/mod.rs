//! One small file per verb.

mod bundle;
mod checkpoint;
mod completion;
mod create;
mod delete;
mod events;
mod exec;
mod explain;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod rollback;
mod run;
mod spec;
mod start;
mod state;
mod update;
mod version;

use crate::cgroups::{self, Driver};
use crate::cli::{self, Cli, Command, Global, Rootless};
use crate::config;
use crate::error::{Context, Error, Result};
use crate::host::{Host, Maker};
use crate::notify;
use crate::report::Report;
use crate::seal::Seal;
use crate::spawn;
use crate::state::{Record, StateDir, Status, check_id};
use crate::sys::Regex;
use crate::user;
use clap::CommandFactory;
use rustix::fs::Access;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command waits for another one on the same container.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Descriptors this process came with.
#[derive(Debug)]
pub struct Inherited {
    /// For the container, from number 3 on; `None` if one is not open.
    pub preserved: Option<Vec<OwnedFd>>,
    /// Whether all others close on execve.
    pub marked: Result<(), rustix::io::Errno>,
    /// What hako was executed from.
    pub seal: Seal,
}

impl Inherited {
    fn check(self) -> Result<spawn::Inherited> {
        self.marked.os(|| "cannot mark inherited descriptors")?;
        let preserved = self.preserved.ok_or_else(|| {
            Error::new("--preserve-fds: not all of these descriptors are open")
                .hint("they start at 3, and those that LISTEN_FDS counts are before them")
        })?;
        Ok(spawn::Inherited { preserved, seal: self.seal })
    }
}

/// What every command gets.
#[derive(Debug)]
pub struct Session<'a> {
    /// Directory of all state directories.
    pub root: PathBuf,
    /// Options of every command.
    pub global: &'a Global,
    /// Where messages go.
    pub report: &'a Report,
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub directory: StateDir,
    /// What is remembered of it.
    pub record: Record,
    /// Its id.
    pub id: String,
}

impl Session<'_> {
    /// Finds a container.
    pub fn container(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        let directory = StateDir::open(&self.root, id)?;
        let record = directory.load()?;
        Ok(Container { directory, record, id: id.to_owned() })
    }

    /// Does something with every container whose id an expression fits, going on
    /// past failures; the first one is reported.
    pub fn for_each(&self, expression: &str, act: impl Fn(&str) -> Result<()>) -> Result<()> {
        let regex = Regex::new(expression)
            .ok_or_else(|| Error::new(format!("{expression:?} is no regular expression")))?;
        let ids = crate::state::list(&self.root)?;
        let fitting = ids.iter().filter(|id| regex.is_in(id));
        let done = fitting.map(|id| act(id).map_err(|error| error.within(id.as_str())));
        done.fold(Ok(()), Result::and)
    }
}

impl Container {
    /// Where it is in its life.
    pub fn status(&self) -> Status {
        self.directory.status(&self.record)
    }

    /// Adds to an error of a container without a cgroup how to have one.
    pub fn explain_cgroup(&self, error: Error) -> Error {
        let host = match Host::probe() {
            Ok(host) if self.record.cgroup.placement.driver == Driver::Disabled => host,
            _ => return error,
        };
        // Not as the record has it: root of a user namespace is somebody else to the machine.
        let (whose, remedy) = match (host.maker(), self.directory.owner()) {
            (Maker::Root, 0) => return error.hint("it was created with --cgroup-manager=disabled"),
            (Maker::Root, owner) => {
                let owner =
                    user::login(owner).map_or_else(|| owner.to_string(), |login| login.name);
                let remedy = cgroups::delegation_remedy_for(&owner, None, &host);
                (owner, remedy)
            }
            _ => ("hako's user".to_owned(), cgroups::delegation_remedy(None, &host)),
        };
        error.hint(format!(
            "it was created with --cgroup-manager=disabled, or where no cgroup is delegated to {whose}; to have one: {remedy}"
        ))
    }

    /// Pids of its processes: those in its cgroup, or else in its pid namespace.
    pub fn processes(&self) -> Result<Vec<i32>> {
        match (&self.record.cgroup.placement.driver, self.record.init) {
            (Driver::Cgroupfs | Driver::Systemd(_), _) => self.record.cgroup.processes(),
            (Driver::Disabled, Some(init)) if self.record.own_pid_namespace => {
                Ok(init.neighbours())
            }
            (Driver::Disabled, init) => Ok(init.map(|init| init.pid).into_iter().collect()),
        }
    }
}

/// How many descriptors are passed on, by the command line and by a service
/// manager. A wrong number of the latter is told when the plan is made.
pub fn preserved_descriptors(command: &Command) -> u32 {
    let listening = || notify::listening_descriptors().unwrap_or(0);
    match command {
        Command::Create(create) => create.channels.preserve_fds.saturating_add(listening()),
        Command::Run(run) => run.create.channels.preserve_fds.saturating_add(listening()),
        Command::Exec(exec) => exec.channels.preserve_fds,
        _ => 0,
    }
}

/// Exit status of a command that failed.
pub fn failure_status(command: Option<&Command>) -> u8 {
    match command {
        Some(Command::Exec(_)) => cli::EXEC_FAILED,
        _ => cli::FAILED,
    }
}

/// Runs the command. Returns the exit status: 0, or the container's.
pub fn run(cli: Cli, inherited: Inherited, report: &Report) -> Result<u8> {
    if cli.version {
        return version::run().map(|()| 0);
    }
    let Some(command) = cli.command else {
        Cli::command().print_help().os(|| "cannot print the help")?;
        return Ok(1);
    };
    let inherited = inherited.check()?;
    // These look at no container, and an ordinary user may have no such directory.
    let needs_state = !matches!(
        command,
        Command::Spec(_) | Command::Explain(_) | Command::Features | Command::Completion(_)
    );
    let root = match state_root(&cli.global) {
        Err(error) if needs_state => return Err(error),
        root => root.unwrap_or_default(),
    };
    let session = Session { root, global: &cli.global, report };
    let (verb, id) = name(&command);
    report.debug(&format!("hako {verb} {id}"));
    let status = match &command {
        Command::Create(args) => create::run(&session, args, inherited).map(|()| 0),
        Command::Start(args) => start::run(&session, &args.id).map(|()| 0),
        Command::State(args) => state::run(&session, &args.id).map(|()| 0),
        Command::Kill(args) => kill::run(&session, args).map(|()| 0),
        Command::Delete(args) => delete::run(&session, args).map(|()| 0),
        Command::Run(args) => run::run(&session, args, inherited),
        Command::Exec(args) => exec::run(&session, args, inherited),
        Command::List(args) => list::run(&session, args).map(|()| 0),
        Command::Ps(args) => ps::run(&session, args).map(|()| 0),
        Command::Pause(args) => pause::pause(&session, &args.id).map(|()| 0),
        Command::Resume(args) => pause::resume(&session, &args.id).map(|()| 0),
        Command::Update(args) => update::run(&session, args).map(|()| 0),
        Command::Checkpoint(args) => checkpoint::run(&session, args).map(|()| 0),
        Command::Restore(args) => restore::run(&session, args),
        Command::Events(args) => events::run(&session, args).map(|()| 0),
        Command::Spec(args) => {
            spec::run(&session, args, cli.global.rootless == Rootless::True).map(|()| 0)
        }
        Command::Features => features::run().map(|()| 0),
        Command::Completion(args) => completion::run(args.shell).map(|()| 0),
        Command::Explain(args) => explain::run(&session, args).map(|()| 0),
    };
    let status = status.map_err(|error| {
        let error = config::in_given_file(error, given_file(&command));
        match id {
            "" => error.within(verb),
            id => error.within(format!("{verb} {id}")),
        }
    })?;
    report.succeeded();
    Ok(status)
}

/// What was named to be read in the place of a bundle's config.json.
fn given_file(command: &Command) -> Option<&Path> {
    let bundle = match command {
        Command::Create(args) => &args.bundle,
        Command::Run(args) => &args.create.bundle,
        Command::Restore(args) => &args.bundle,
        Command::Explain(args) => &args.bundle,
        _ => return None,
    };
    bundle.config.as_deref()
}

/// Verb and object, for messages.
fn name(command: &Command) -> (&'static str, &str) {
    match command {
        Command::Create(args) => ("create", &args.id),
        Command::Start(args) => ("start", &args.id),
        Command::State(args) => ("state", &args.id),
        Command::Kill(args) => ("kill", &args.id),
        Command::Delete(args) => ("delete", &args.id),
        Command::Run(args) => ("run", &args.create.id),
        Command::Exec(args) => ("exec", &args.id),
        Command::List(_) => ("list", ""),
        Command::Ps(args) => ("ps", &args.id),
        Command::Pause(args) => ("pause", &args.id),
        Command::Resume(args) => ("resume", &args.id),
        Command::Update(args) => ("update", &args.id),
        Command::Checkpoint(args) => ("checkpoint", &args.id),
        Command::Restore(args) => ("restore", &args.id),
        Command::Events(args) => ("events", &args.id),
        Command::Spec(_) => ("spec", ""),
        Command::Features => ("features", ""),
        Command::Completion(_) => ("completion", ""),
        Command::Explain(args) => ("explain", &args.id),
    }
}

/// `--root`, or the place for the user's runtime files.
fn state_root(global: &Global) -> Result<PathBuf> {
    if let Some(root) = &global.root {
        return std::path::absolute(root).os(|| format!("cannot resolve {}", root.display()));
    }
    let user = rustix::process::geteuid();
    if user.is_root() {
        let own = user::runtime_dir().filter(|_| is_disguised_user());
        return Ok(own.unwrap_or_else(|| PathBuf::from("/run")).join("hako"));
    }
    // Where a login would have it, for who came by su(1) or sudo(8).
    let by_login = || {
        let directory = PathBuf::from(format!("/run/user/{}", user.as_raw()));
        let owner = std::fs::metadata(&directory).map(|metadata| metadata.uid());
        (owner.ok() == Some(user.as_raw())).then_some(directory)
    };
    let directory = user::runtime_dir().or_else(by_login).ok_or_else(|| {
        Error::new("there is no directory for the state of containers")
            .hint(user::RUNTIME_DIR_REMEDY)
    })?;
    if directory.is_file() {
        return Err(Error::new(format!("{} is no directory", directory.display()))
            .hint(user::RUNTIME_DIR_REMEDY));
    }
    // By su(1), which keeps the variable, it may be another user's. What is not there is made.
    match rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK) {
        Err(Errno::ACCESS) => {
            Err(Error::os(format!("cannot write to {}", directory.display()), Errno::ACCESS)
                .hint(user::RUNTIME_DIR_REMEDY))
        }
        _ => Ok(directory.join("hako")),
    }
}

/// Whether root is an ordinary user in a user namespace, as rootless engines run
/// it: /run is not theirs.
fn is_disguised_user() -> bool {
    std::env::var_os("USER").is_none_or(|user| user != "root")
        && !Host::default().is_in_initial_user_namespace()
}
