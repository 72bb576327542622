//! `hako restore`: criu makes a container from images.

use super::rollback::Rollback;
use super::{Container, LOCK_TIMEOUT, Session, checkpoint, create, delete};
use crate::cgroups::CgroupDir;
use crate::cli;
use crate::criu::rpc::{self, Kind, Notification, option};
use crate::criu::{self, Images, Launch, Message, RootMount, Stdio, Worker};
use crate::error::{Context, Error, Result};
use crate::foreground::Foreground;
use crate::hooks::{self, Site};
use crate::namespaces::{self, Visit};
use crate::plan::{ChildOp, ParentOp, Plan};
use crate::rootfs;
use crate::seccomp::Filter;
use crate::spawn::{Place, pid_file};
use crate::state::{ContainerState, Record, StateDir, Status, timestamp};
use crate::terminal::{self, DescriptorSocket};
use crate::unique_pid::UniquePid;
use rustix::process::{Pid, PidfdFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

/// Restores a container. Returns its exit status, or 0 with `--detach`.
pub fn run(session: &Session, args: &cli::Restore) -> Result<u8> {
    checkpoint::check_privilege()?;
    let plan = create::compile(session, &args.id, &args.bundle, true)?;
    if let Some(obstacle) = criu::obstacle_to_restore(&plan) {
        return Err(obstacle);
    }
    let channels = cli::Channels {
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
        pidfd_socket: None,
        preserve_fds: 0,
    };
    create::check_terminal(plan.process.terminal, &channels, !args.detach)
        .map_err(|error| error.at("/process/terminal"))?;
    let console = args.console_socket.as_deref().map(DescriptorSocket::connect).transpose()?;
    let (image_path, work_path) = (&args.connections.image_path, &args.connections.work_path);
    let images = Images::open(image_path.as_deref(), work_path.as_deref())?;
    let program = criu::find()?;
    take_place(session, &args.id)?;
    // Before the clone, so that no signal and no child's end is missed.
    let foreground = match args.detach {
        true => None,
        false => Some(Foreground::new(!args.no_subreaper)?.of_restored()),
    };
    let restored = restore(session, &plan, args, &images, program, console.as_ref())?;
    session.report.succeeded();
    let Some(foreground) = foreground else { return Ok(0) };
    let Restored { mut container, pid, pidfd, terminal, cgroup } = restored;
    let status = foreground.wait(pid, pidfd.as_fd(), terminal, None, session.report);
    super::run::finish(session, &mut container, status, cgroup.as_ref(), false)
}

/// A container that checkpoint has ended gives its id back.
fn take_place(session: &Session, id: &str) -> Result<()> {
    let Ok(container) = session.container(id) else { return Ok(()) };
    if container.record.checkpointed && container.status() == Status::Stopped {
        let _lock = container.directory.lock(LOCK_TIMEOUT)?;
        return delete::destroy(session, &container);
    }
    Ok(())
}

/// A container that runs again.
struct Restored {
    container: Container,
    pid: i32,
    pidfd: OwnedFd,
    terminal: Option<OwnedFd>,
    cgroup: Option<CgroupDir>,
}

/// Has criu make it. On any failure nothing is left.
fn restore(
    session: &Session,
    plan: &Plan,
    args: &cli::Restore,
    images: &Images,
    program: PathBuf,
    console: Option<&DescriptorSocket>,
) -> Result<Restored> {
    let mut inside = Inside::prepare(plan, args, images)?;
    let directory = StateDir::create(&session.root, &args.id)?;
    let lock = directory.lock(LOCK_TIMEOUT).inspect_err(|_| drop(directory.remove()))?;
    let owner = rustix::process::geteuid().as_raw();
    let mut record = create::new_record(plan, owner);
    record.restored = true;
    let pid_file = args.pid_file.as_deref();
    let mut rollback = Rollback::of(session, &directory, plan, &record, pid_file);
    let mut scene = Scene {
        plan,
        directory: &directory,
        record: &mut record,
        console,
        terminal: None,
        init: None,
    };
    let made = (|| {
        // Before the first side effect: whatever happens next can be cleaned up.
        scene.directory.save(scene.record)?;
        if let Some(profile) = &plan.seccomp {
            Filter::prepare(profile, &session.root)?.save(scene.directory.as_fd())?;
        }
        let cgroup = rollback.make_cgroup()?;
        let cgroup = inside
            .make(&mut scene, images, program, cgroup)
            .map_err(|error| images.explain(error))?;
        let (pid, _) = scene.init()?;
        pid_file.map_or(Ok(()), |path| pid_file::write(path, pid))?;
        Ok(cgroup)
    })();
    let Scene { terminal, init, .. } = scene;
    match (made, init) {
        (Ok(cgroup), Some((pid, pidfd))) => {
            drop(lock);
            let container = Container { directory, record, id: args.id.clone() };
            Ok(Restored { container, pid, pidfd, terminal, cgroup })
        }
        (made, init) => {
            let error = made.err().unwrap_or_else(|| Error::new("criu made no process"));
            rollback.undo(init.as_ref().map(|(pid, pidfd)| (*pid, pidfd.as_fd())), &error);
            Err(error)
        }
    }
}

/// What the container is made of, opened before anything is made.
struct Inside<'a> {
    root: RootMount<'a>,
    options: Message,
    namespaces: Vec<OwnedFd>,
}

impl<'a> Inside<'a> {
    fn prepare(plan: &'a Plan, args: &cli::Restore, images: &Images) -> Result<Self> {
        let root = RootMount::prepare(plan)?
            .ok_or_else(|| Error::new("the configuration has no root of its own"))?;
        let mut options = Message::default();
        checkpoint::choose(&mut options, &args.connections, &plan.identity.annotations);
        if let Some(group) = root_group(plan) {
            images.open_to(group)?;
        }
        options
            .text(option::ROOT, &root.place)
            .flag(option::RST_SIBLING, true)
            .flag(option::EVASIVE_DEVICES, true)
            .flag(option::TCP_CLOSE, args.tcp_close)
            .flag(option::LAZY_PAGES, args.lazy_pages);
        let labels = [
            (option::LSM_PROFILE, &args.lsm_profile),
            (option::LSM_MOUNT_CONTEXT, &args.lsm_mount_context),
        ];
        for (field, label) in labels {
            if let Some(label) = label.as_deref().filter(|label| !label.is_empty()) {
                options.text(field, label);
            }
        }
        for (name, source) in criu::mounts_of_plan(plan)? {
            options.message(option::EXT_MNT, &rpc::pair(name, source));
        }
        Stdio::load(&images.path)?.describe_own(&mut options);
        let namespaces = join(plan, &mut options)?;
        // criu makes what is below it by the paths of the checkpoint.
        options.message(option::CG_ROOT, &rpc::pair("", &plan.cgroup.path));
        Ok(Self { root, options, namespaces })
    }

    /// criu starts where the container is placed: so what is limited is the restore, too.
    fn make(
        &mut self,
        scene: &mut Scene,
        images: &Images,
        program: PathBuf,
        cgroup: Option<CgroupDir>,
    ) -> Result<Option<CgroupDir>> {
        let make_root = || self.root.make();
        let launch = Launch {
            program,
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
            passed: self.namespaces.iter().map(AsFd::as_fd).collect(),
            directories: images.directories(),
            mounts: Some(&make_root),
        };
        let worker = Worker::start(&launch)?;
        images.describe(&worker, &mut self.options);
        let placed = scene.record.cgroup.clone();
        let place = Place::new(scene.plan, &placed, cgroup);
        for step in &scene.plan.parent {
            if let Some(done) = place.apply(&step.op, worker.pid) {
                done.map_err(|error| step.place(error))?;
            }
        }
        worker.work(Kind::Restore, &self.options, |heard, fd| scene.hear(heard, fd))?;
        Ok(place.into_cgroup())
    }
}

/// Outside, the group of the root of the container's new user namespace.
fn root_group(plan: &Plan) -> Option<u32> {
    plan.parent.iter().find_map(|step| match &step.op {
        ParentOp::MapIds(mapping) => namespaces::to_host(&mapping.maps.gids, 0),
        _ => None,
    })
}

/// Namespaces that are there already. Returns what criu is to inherit.
fn join(plan: &Plan, options: &mut Message) -> Result<Vec<OwnedFd>> {
    let mut opened = Vec::new();
    for join in plan.clone.joins() {
        let fd = join.open().map_err(|error| error.at(join.pointer.clone()))?;
        match criu::external_namespace(join.kind) {
            Some((_, name)) => {
                let number = fd.as_raw_fd().into();
                options.message(option::INHERIT_FD, &rpc::numbered(name, number));
                opened.push(fd);
            }
            None => {
                let pair = rpc::pair(join.kind.file(), &join.path);
                options.message(option::JOIN_NS, &pair);
            }
        }
    }
    Ok(opened)
}

/// What happens while criu works.
struct Scene<'a> {
    plan: &'a Plan,
    directory: &'a StateDir,
    record: &'a mut Record,
    console: Option<&'a DescriptorSocket>,
    /// Master side of the terminal, if it was not handed away.
    terminal: Option<OwnedFd>,
    /// The first process, and a descriptor for it.
    init: Option<(i32, OwnedFd)>,
}

impl Scene<'_> {
    fn hear(&mut self, heard: &Notification, fd: Option<OwnedFd>) -> Result<()> {
        match (heard.script.as_str(), fd) {
            ("setup-namespaces", _) => {
                self.remember(heard.pid)?;
                self.set_up_network(heard.pid)?;
                self.run_hooks(heard.pid)
            }
            ("post-restore", _) => self.settle(heard.pid),
            ("orphan-pts-master", Some(master)) => {
                self.terminal = terminal::hand_over(master, self.console)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn init(&self) -> Result<(i32, &OwnedFd)> {
        let init = self.init.as_ref().map(|(pid, pidfd)| (*pid, pidfd));
        init.ok_or_else(|| Error::new("criu made no process"))
    }

    fn remember(&mut self, pid: i32) -> Result<()> {
        let number = Pid::from_raw(pid).ok_or_else(|| Error::new("criu names no process"))?;
        let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty())
            .os(|| format!("cannot open process {pid}"))?;
        self.init = Some((pid, pidfd));
        Ok(())
    }

    /// criu makes an empty one, and saves none of its settings.
    fn set_up_network(&self, pid: i32) -> Result<()> {
        let is_setting = |op: &namespaces::Op| match op {
            namespaces::Op::Sysctl { path, .. } => path.starts_with("net/"),
            _ => false,
        };
        let mut settings = self.plan.child.iter().filter_map(|step| match &step.op {
            ChildOp::Namespace(op) if is_setting(op) => Some((step, op)),
            _ => None,
        });
        let mut visit = Visit::default();
        visit.enter_network_of(pid)?;
        if self.plan.clone.is_new(namespaces::Kind::Network) {
            namespaces::Op::Loopback.apply(None)?;
        }
        settings.try_for_each(|(step, op)| op.apply(None).map_err(|error| step.place(error)))?;
        visit.leave()
    }

    /// Those that a container's making runs on the host.
    fn run_hooks(&self, pid: i32) -> Result<()> {
        let identity = &self.plan.identity;
        let state = ContainerState::new(identity, "creating", Some(pid)).to_json();
        let site = Site {
            state_json: &state,
            directory: &identity.bundle,
            noted_in: Some(self.directory.as_fd()),
        };
        for step in &self.plan.parent {
            if let ParentOp::Hooks(kind) = step.op {
                hooks::run(&self.plan.hooks, kind, &site).map_err(|error| step.place(error))?;
            }
        }
        Ok(())
    }

    /// All processes are there, and wait for the word to go on.
    fn settle(&mut self, pid: i32) -> Result<()> {
        self.remember(pid)?;
        let is_readonly = |op: &ChildOp| matches!(op, ChildOp::Rootfs(rootfs::Op::ReadonlyRoot));
        if self.plan.child.iter().any(|step| is_readonly(&step.op)) {
            criu::make_root_readonly(self.init()?.1)?;
        }
        self.record.init = Some(UniquePid::identify(pid)?);
        self.record.created = timestamp();
        // Clocks go on from where they were: criu makes a time namespace for that.
        let kinds = &mut self.record.entry.kinds;
        if !kinds.contains(&namespaces::Kind::Time)
            && namespaces::has_own(pid, namespaces::Kind::Time)
        {
            kinds.push(namespaces::Kind::Time);
        }
        self.directory.save(self.record)
    }
}
