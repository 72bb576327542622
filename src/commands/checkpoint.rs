//! `hako checkpoint`: criu writes the container's processes down.

use super::{Container, LOCK_TIMEOUT, Session};
use crate::cgroups::Driver;
use crate::cli::{self, Connections};
use crate::criu::rpc::{self, Kind, Notification, option};
use crate::criu::{self, Images, Launch, Message, Stdio, Worker};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::namespaces;
use crate::state::{Record, Status};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Names the file of settings for criu that an engine or a user wants.
pub const CONFIG_ANNOTATION: &str = "org.criu.config";
/// Settings for every container: hako's, or else those for runc.
const CONFIG_FILES: [&str; 2] = ["/etc/criu/hako.conf", "/etc/criu/runc.conf"];

/// Saves the container's processes, and ends them unless they are to go on.
pub fn run(session: &Session, args: &cli::Checkpoint) -> Result<()> {
    check_privilege()?;
    let container = session.container(&args.id)?;
    let _lock = container.directory.lock(LOCK_TIMEOUT)?;
    // As it is now that nobody else changes it.
    let container = session.container(&args.id)?;
    let (pid, was_paused) = check_status(&container)?;
    let program = criu::find()?;
    let (image_path, work_path) = (&args.connections.image_path, &args.connections.work_path);
    let images = Images::create(image_path.as_deref(), work_path.as_deref())?;
    let launch = Launch {
        program,
        cgroup: None,
        passed: Vec::new(),
        directories: images.directories(),
        mounts: None,
    };
    let dumped = describe(&container, pid, args, &images).and_then(|mut options| {
        let kind = if args.pre_dump { Kind::PreDump } else { Kind::Dump };
        let worker = Worker::start(&launch)?;
        images.describe(&worker, &mut options);
        worker.work(kind, &options, |heard, _| tell_ready(heard, args.status_fd))?;
        criu::hide_readonly_root(&images.path)
    });
    if let Err(error) = dumped {
        let error = images.explain(error);
        images.discard();
        if !was_paused && container.record.cgroup.is_frozen() {
            container.record.cgroup.thaw()?;
        }
        return Err(error);
    }
    if args.leave_running || args.pre_dump {
        return Ok(());
    }
    let record = Record { checkpointed: true, ..container.record.clone() };
    container.directory.save(&record)
}

/// criu makes processes of other users', and enters all their namespaces.
pub fn check_privilege() -> Result<()> {
    let is_root = rustix::process::geteuid().is_root();
    match is_root && Host::default().is_in_initial_user_namespace() {
        true => Ok(()),
        false => Err(Error::new("checkpoint and restore take root of the machine")
            .hint("criu, which does it, cannot save or make containers of an ordinary user")),
    }
}

/// The pid of init, and whether the container is paused.
fn check_status(container: &Container) -> Result<(i32, bool)> {
    let record = &container.record;
    if let Some(obstacle) = &record.outside.obstacle {
        return Err(Error::new(format!("the container cannot be checkpointed: {obstacle}")));
    }
    match (container.status(), record.init) {
        (Status::Running, Some(init)) => Ok((init.pid, false)),
        (Status::Paused, _) if container.directory.has_gate() => {
            Err(Error::new("container cannot be checkpointed: it has not been started"))
        }
        (Status::Paused, Some(init)) => Ok((init.pid, true)),
        (status, _) => Err(Error::new(format!(
            "container cannot be checkpointed: it is {status}, not running"
        ))),
    }
}

/// Everything that criu has to know.
fn describe(
    container: &Container,
    pid: i32,
    args: &cli::Checkpoint,
    images: &Images,
) -> Result<Message> {
    let record = &container.record;
    let mut options = Message::default();
    choose(&mut options, &args.connections, &record.identity.annotations);
    options
        .number(option::PID, pid.into())
        .text(option::ROOT, &record.rootfs)
        .flag(option::LEAVE_RUNNING, args.leave_running)
        .flag(option::TCP_SKIP_IN_FLIGHT, args.tcp_skip_in_flight)
        .flag(option::LINK_REMAP, args.link_remap)
        .flag(option::LAZY_PAGES, args.lazy_pages);
    if let Some(lock) = args.network_lock {
        options.number(option::NETWORK_LOCK, lock as i64);
    }
    if let Some(server) = &args.page_server {
        let server = rpc::numbered(&server.address, server.port.into());
        options.message(option::PAGE_SERVER, &server);
    }
    if let Some(parent) = &args.parent_path {
        options.text(option::PARENT_IMG, check_parent(parent, &images.path)?);
    }
    options.flag(option::TRACK_MEM, args.pre_dump || args.parent_path.is_some());
    if record.cgroup.made.is_some() && record.cgroup.placement.driver != Driver::Disabled {
        options.text(option::FREEZE_CGROUP, record.cgroup.placement.directory());
    }
    describe_namespaces(&mut options, record, pid)?;
    if !args.pre_dump {
        for (place, name) in criu::mounts_of(&record.outside, pid)? {
            options.message(option::EXT_MNT, &rpc::pair(place, name));
        }
        let stdio = at_rest(record, || Stdio::of(pid))?;
        stdio.describe_outside(&mut options);
        stdio.save(&images.path)?;
    }
    Ok(options)
}

/// Looks at a container that does nothing meanwhile, where that can be had.
fn at_rest<T>(record: &Record, look: impl FnOnce() -> Result<T>) -> Result<T> {
    if record.cgroup.made.is_none() || record.cgroup.is_frozen() {
        return look();
    }
    record.cgroup.freeze()?;
    let seen = look();
    record.cgroup.thaw()?;
    seen
}

/// Those that were joined and that criu gets back instead of making them.
fn describe_namespaces(options: &mut Message, record: &Record, pid: i32) -> Result<()> {
    for kind in &record.outside.namespaces {
        let Some((word, name)) = criu::external_namespace(*kind) else { continue };
        let path = format!("/proc/{pid}/ns/{}", kind.file());
        let inode = std::fs::metadata(&path).os(|| format!("cannot examine {path}"))?.ino();
        options.text(option::EXTERNAL, format!("{word}[{inode}]:{name}"));
    }
    Ok(())
}

/// What a checkpoint and a restore have in common.
pub fn choose(
    options: &mut Message,
    connections: &Connections,
    annotations: &std::collections::BTreeMap<String, String>,
) {
    let mode = connections.manage_cgroups_mode;
    options
        .flag(option::EXT_UNIX_SK, connections.ext_unix_sk)
        .flag(option::TCP_ESTABLISHED, connections.tcp_established)
        .flag(option::SHELL_JOB, connections.shell_job)
        .flag(option::FILE_LOCKS, connections.file_locks)
        .flag(option::AUTO_DEDUP, connections.auto_dedup)
        .flag(option::NOTIFY_SCRIPTS, true)
        .flag(option::ORPHAN_PTS_MASTER, true)
        .flag(option::MANAGE_CGROUPS, true)
        .number(option::MANAGE_CGROUPS_MODE, mode as i64)
        // Its devices and addresses are who makes the network's business.
        .number(option::EMPTY_NS, namespaces::Kind::Network.flag().cast_signed());
    let found = || CONFIG_FILES.into_iter().find(|file| Path::new(file).exists());
    let file = annotations.get(CONFIG_ANNOTATION).map(String::as_str).or_else(found);
    // An empty annotation means: none at all.
    if let Some(file) = file.filter(|file| !file.is_empty()) {
        options.text(option::CONFIG_FILE, file);
    }
}

fn check_parent<'a>(parent: &'a Path, images: &Path) -> Result<&'a Path> {
    if parent.is_absolute() {
        return Err(Error::new("--parent-path must be relative to --image-path"));
    }
    match images.join(parent) {
        directory if directory.is_dir() => Ok(parent),
        directory => {
            let shown = std::fs::canonicalize(&directory).unwrap_or(directory);
            Err(Error::new(format!("--parent-path: {} is no directory", shown.display()))
                .hint("it is relative to --image-path"))
        }
    }
}

/// Tells whoever waits on a descriptor that memory can be asked for.
fn tell_ready(heard: &Notification, descriptor: Option<u32>) -> Result<()> {
    let (Some(number), "status-ready") = (descriptor, heard.script.as_str()) else { return Ok(()) };
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(&[0]))
        .os(|| format!("--status-fd: cannot write to descriptor {number}"))
}
