//! A container that exists, and the promise that nothing of it remains.

use crate::command::{Command, readable_within, wait_until};
use crate::leftovers::{Traces, sweep_cgroup};
use crate::output::Output;
use crate::runtime::Runtime;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ChildStdin;
use std::time::Duration;

/// How long a container may take to end when a test waits for that.
const END: Duration = Duration::from_secs(20);

/// A created container. When it is dropped it is deleted by force, and the
/// test fails if anything of it remains.
pub struct Container<'r> {
    runtime: &'r Runtime,
    id: String,
    cgroup: String,
    pid: u32,
    /// Keeps the first process identifiable, and lets tests wait for its end.
    pidfd: Option<OwnedFd>,
    stdin: RefCell<Option<ChildStdin>>,
    stdout: PathBuf,
    stderr: PathBuf,
    /// How many answers of `serve` have been read.
    answered: Cell<usize>,
}

/// How a container's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// Killed by a signal.
    Signal(i32),
}

impl<'r> Container<'r> {
    /// Takes charge of a container that `create` or `run --detach` has made.
    pub(crate) fn adopt(runtime: &'r Runtime, id: &str, cgroup: &str, made: Made) -> Self {
        let pidfd = Pid::from_raw(made.pid.cast_signed())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (stdout, stderr) = made.files;
        Self {
            runtime,
            id: id.to_string(),
            cgroup: cgroup.to_string(),
            pid: made.pid,
            pidfd,
            stdin: RefCell::new(made.stdin),
            stdout,
            stderr,
            answered: Cell::new(0),
        }
    }

    /// The container id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The process id of the container's first process, as the host sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A command about this container: `verb`, options, id.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        self.runtime.command(words).arg(&self.id)
    }

    /// `exec` of the inspector in this container: options, then a chain.
    #[must_use]
    pub fn exec(&self, options: &[&str], chain: &str) -> Command {
        let command = self.runtime.command(&["exec"]).args(options).arg(&self.id);
        command.arg("/bin/inspector").args(chain.split_whitespace())
    }

    /// What the inspector's chain sees when it is executed in this container.
    #[track_caller]
    pub fn exec_and_ask(&self, options: &[&str], chain: &str) -> Vec<Value> {
        self.exec(options, chain).output().ok().values()
    }

    /// `start`, which must succeed.
    #[track_caller]
    pub fn start(&self) -> &Self {
        let _ = self.command(&["start"]).output().ok();
        self
    }

    /// `kill ID SIGNAL`, which must succeed.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> &Self {
        let _ = self.command(&["kill"]).arg(signal).output().ok();
        self
    }

    /// `delete`, which must succeed.
    #[track_caller]
    pub fn delete(&self) {
        let _ = self.command(&["delete"]).output().ok();
    }

    /// The state that `state` prints.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> Value {
        self.command(&["state"]).output().ok().json()
    }

    /// The status in the state.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_string()
    }

    /// Waits until the status is this one.
    pub fn wait_for_status(&self, status: &str) {
        wait_until(&format!("status {status} of {}", self.id), || self.status() == status);
    }

    /// Waits for the end of the first process and says how it ended.
    #[track_caller]
    pub fn wait(&self) -> Exit {
        self.wait_within(END).expect("the container ends")
    }

    /// Like [`Self::wait`]; `None` when the container is still alive.
    pub fn wait_within(&self, time: Duration) -> Option<Exit> {
        let pidfd = self.pidfd.as_ref().expect("the container's process was alive when created");
        if !readable_within(pidfd, time) {
            return None;
        }
        exit_of(pidfd)
    }

    /// Everything the container has printed on stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// Everything the container (and `create`) has printed on stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until the container has printed this.
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("`{text}` on stdout of {}", self.id), || self.stdout().contains(text));
    }

    /// Asks a container that runs the inspector's `serve`: one chain of
    /// commands, one value for each.
    #[track_caller]
    pub fn ask(&self, chain: &str) -> Vec<Value> {
        let count = chain.split_whitespace().filter(|word| *word == "--").count() + 1;
        let mut stdin = self.stdin.borrow_mut();
        let pipe = stdin.as_mut().expect("a container that serves");
        writeln!(pipe, "{chain}").expect("the container reads its stdin");
        let (first, end) = (self.answered.get(), self.answered.get() + count);
        let mut lines = Vec::new();
        wait_until(&format!("{count} answers to `{chain}` of {}", self.id), || {
            let text = self.stdout();
            let complete = text.matches('\n').count();
            lines = text.lines().map(String::from).collect();
            complete >= end
        });
        self.answered.set(end);
        let parse = |line: &String| serde_json::from_str(line).expect("an answer is JSON");
        lines[first..end].iter().map(parse).collect()
    }

    /// Skips the greeting of `serve`.
    pub fn await_greeting(&self) {
        self.wait_for("\"serving\"\n");
        self.answered.set(1);
    }

    /// Closes the container's stdin, which ends the inspector's `serve`.
    pub fn close_stdin(&self) {
        self.stdin.borrow_mut().take();
    }

    fn traces(&self) -> Traces<'_> {
        let pid = (self.pid != 0).then_some(self.pid);
        Traces { root: self.runtime.root(), id: &self.id, cgroup: &self.cgroup, pid }
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let deletion: Output = self.command(&["delete", "--force"]).output();
        let remaining = self.traces().remaining();
        sweep_cgroup(&self.cgroup);
        if let Some(pidfd) = &self.pidfd {
            // Reap it, unless the test has done so.
            let _ =
                waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
        if std::thread::panicking() {
            return;
        }
        let clean = remaining.is_empty() && deletion.code == Some(0) || self.runtime.is_victim();
        assert!(clean, "after delete --force there is left: {remaining:?}\n{deletion}");
    }
}

/// What `create` leaves to take charge of.
pub struct Made {
    /// The files that receive the container's stdout and stderr.
    pub files: (PathBuf, PathBuf),
    /// The writing end of the container's stdin.
    pub stdin: Option<ChildStdin>,
    /// The first process; 0 when it is not known.
    pub pid: u32,
}

fn exit_of(pidfd: &OwnedFd) -> Option<Exit> {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .expect("the process is our child")?;
    let code = status.exit_status().map(Exit::Code);
    code.or_else(|| status.terminating_signal().map(Exit::Signal))
}

/// Waits, as an engine does, for a process that `exec --detach` has left.
#[track_caller]
pub fn reap(pid: i32) -> Exit {
    let pid = Pid::from_raw(pid).expect("a pid");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a process");
    assert!(readable_within(&pidfd, END), "process {pid} does not end");
    exit_of(&pidfd).expect("an exit status")
}
