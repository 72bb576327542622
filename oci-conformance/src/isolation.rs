//! Where a case runs: in a cgroup, and in pid, mount, cgroup, network, IPC and UTS namespaces, of
//! its own. A runtime that kills or unmounts too much hurts the case alone.
//!
//! Two processes of this program do it. `__isolate` enters the cgroup and the namespaces; its
//! child `__case` is pid 1 in there, mounts /proc and cgroup2, and runs the case.

use crate::case::{Case, Stop};
use crate::context::Context;
use crate::host::CGROUPS;
use crate::leftovers::Before;
use crate::runtime::Runtime;
use crate::times::Time;
use crate::{cases, cgroup, holder, times, unix};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Everything a case's processes need to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The case's id.
    pub case: String,
    /// The runtime's binary.
    pub runtime: PathBuf,
    /// A directory for the case alone, empty.
    pub dir: PathBuf,
    /// A cgroup for the case alone, empty.
    pub cgroup: PathBuf,
    /// The inspector, on the same file system as `dir`.
    pub inspector: PathBuf,
    /// Seconds for one command of the runtime.
    pub timeout: u64,
}

/// What a case's process hands back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How it went.
    pub outcome: Outcome,
    /// What the case left behind.
    pub left: Vec<String>,
    /// How long its commands took.
    #[serde(default)]
    pub times: Vec<Time>,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Pass,
    /// Not as it should.
    Fail {
        /// What should have been.
        expected: String,
        /// What was.
        got: String,
    },
    /// Not at all, on this host.
    Skip {
        /// What the host lacks.
        reason: String,
    },
}

impl Job {
    /// Where the report is written.
    pub fn report(&self) -> PathBuf {
        self.dir.join("report.json")
    }

    /// Where the times of its commands are noted.
    pub fn times(&self) -> PathBuf {
        self.dir.join("io").join(times::FILE)
    }

    /// The outermost process of the case.
    pub fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(OWN_BINARY);
        command.arg("__isolate").arg(serde_json::to_string(self)?);
        Ok(command)
    }
}

/// This program, also when its file is replaced meanwhile.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// Does the work of a stage when this process was started as one.
pub fn enter_stage() -> Option<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (stage, rest) = words.split_first()?;
    unix::stop_taking_interrupts();
    let job = || serde_json::from_str::<Job>(rest.first().map_or("", String::as_str));
    Some(match stage.as_str() {
        "__hold" => holder::hold(rest),
        "__sleep" => holder::sleep(),
        "__isolate" => exit(job().map_err(io::Error::from).and_then(|job| isolate(&job))),
        "__case" => exit(job().map_err(io::Error::from).and_then(|job| run_case(&job))),
        _ => return None,
    })
}

fn exit(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn isolate(job: &Job) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    fs::write(job.cgroup.join("cgroup.procs"), "0")?;
    // The cgroup becomes the root of the new view, and must itself stay without processes so that
    // controllers can be enabled in it.
    unix::unshare(
        UnshareFlags::NEWCGROUP
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS,
    )?;
    let init = job.cgroup.join("init");
    fs::create_dir(&init)?;
    fs::write(init.join("cgroup.procs"), "0")?;
    let mut command = Command::new(OWN_BINARY);
    let status = command.arg("__case").arg(serde_json::to_string(job)?).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn run_case(job: &Job) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    mount_own_view(job).map_err(|error| io::Error::other(format!("private mounts: {error}")))?;
    let case = cases::all().find(|case| case.id == job.case);
    let case = case.ok_or_else(|| io::Error::other("no such case"))?;
    let report = report(case, job).unwrap_or_else(|stop| Report::from_stop(stop, Vec::new()));
    fs::write(job.report(), serde_json::to_string(&report)?)
}

/// Mounts what belongs to the new namespaces. The tree is shared, as engines' hosts have it.
fn mount_own_view(job: &Job) -> io::Result<()> {
    let recursive = MountPropagationFlags::REC;
    mount_change("/", MountPropagationFlags::PRIVATE | recursive)?;
    let careful = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", careful, None)?;
    // No file system goes on top of itself: a unified host's own view has to go first.
    if cgroup::mount_point().is_some_and(|point| point == Path::new(CGROUPS)) {
        unmount(CGROUPS, UnmountFlags::DETACH)?;
    }
    mount("cgroup2", CGROUPS, "cgroup2", careful, None)?;
    // Default state directories, and a systemd that is not the case's.
    if !job.runtime.starts_with("/run") && !job.dir.starts_with("/run") {
        mount("tmpfs", "/run", "tmpfs", careful, c"mode=0755")?;
    }
    Ok(mount_change("/", MountPropagationFlags::SHARED | recursive)?)
}

fn report(case: &Case, job: &Job) -> Result<Report, Stop> {
    let before = Before::now();
    let limit = Duration::from_secs(job.timeout);
    let runtime = Runtime::new(&job.runtime, &job.dir, limit)?;
    let mut context = Context::new(runtime, &job.dir, &job.inspector, &container_id(case.id))?;
    let verdict = (case.run)(&mut context);
    context.runtime.delete_all();
    let left = before.left(&context);
    Ok(match verdict {
        Ok(()) => Report { outcome: Outcome::Pass, left, times: Vec::new() },
        Err(stop) => Report::from_stop(stop, left),
    })
}

fn container_id(case: &str) -> String {
    format!("oci-{}", case.replace('.', "-"))
}

impl Report {
    fn from_stop(stop: Stop, left: Vec<String>) -> Self {
        let outcome = match stop {
            Stop::Fail { expected, got } => Outcome::Fail { expected, got },
            Stop::Skip(reason) => Outcome::Skip { reason },
            Stop::Suite(got) => Outcome::Fail { expected: "the suite to do its part".into(), got },
        };
        Self { outcome, left, times: Vec::new() }
    }

    /// The report of a case whose process did not write one.
    pub fn missing(dir: &Path, why: &str) -> Self {
        let doing = fs::read_to_string(dir.join("io/doing")).unwrap_or_default();
        let outcome = Outcome::Fail {
            expected: "the case to come to its end".into(),
            got: format!("{why}, last at `{doing}`"),
        };
        Self { outcome, left: Vec::new(), times: Vec::new() }
    }
}
