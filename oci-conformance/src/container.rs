//! A container that a case has created.

use crate::case::{Stop, Verdict, ensure, expect, fail};
use crate::command::Output;
use crate::runtime::Runtime;
use crate::unix::{self, Exit};
use rustix::process::Pid;
use serde_json::Value;
use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A container; `delete --force` ends it with the case at the latest.
pub struct Container {
    runtime: Rc<Runtime>,
    id: String,
    pid: i32,
    stdout: PathBuf,
    /// Keeps a container that reads its standard input running.
    stdin: Option<PipeWriter>,
    answers: Option<PipeReader>,
    unread: String,
}

/// What a container leaves: how it ended, and what it printed.
#[derive(Debug)]
pub struct Ran {
    /// How its first process ended.
    pub exit: Exit,
    /// Standard output.
    pub stdout: String,
}

impl Ran {
    /// One JSON value for each line of output.
    pub fn values(&self) -> Result<Vec<Value>, Stop> {
        let parse = |line: &str| {
            serde_json::from_str(line).map_err(|_| fail("JSON from the inspector inside", line))
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl Container {
    /// Takes charge of a container that was created.
    pub fn new(runtime: Rc<Runtime>, id: &str, pid: i32, stdout: PathBuf) -> Self {
        let (id, unread) = (id.to_string(), String::new());
        Self { runtime, id, pid, stdout, stdin: None, answers: None, unread }
    }

    /// Gives it the other ends of the container's standard streams.
    pub fn with_streams(mut self, stdin: PipeWriter, answers: PipeReader) -> Self {
        self.stdin = Some(stdin);
        self.answers = Some(answers);
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pid of its process, as in the pid file.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// `start`, which must succeed.
    pub fn start(&self) -> Verdict {
        self.runtime.on("start", &self.id)?.ok().map(drop)
    }

    /// A command on this container, whatever comes of it.
    pub fn try_to(&self, verb: &str) -> Result<Output, Stop> {
        self.runtime.on(verb, &self.id)
    }

    /// `state`, which must succeed and print JSON.
    pub fn state(&self) -> Result<Value, Stop> {
        let output = self.runtime.on("state", &self.id)?.ok()?;
        serde_json::from_str(&output.stdout).map_err(|_| fail("JSON from `state`", output.stdout))
    }

    /// Demands a status.
    pub fn expect_status(&self, wanted: &str) -> Verdict {
        expect("status", &self.state()?["status"], wanted)
    }

    /// `kill` with a signal, whatever comes of it.
    pub fn try_to_kill(&self, signal: &str) -> Result<Output, Stop> {
        self.runtime.command(&["kill", &self.id, signal]).output()
    }

    /// `kill` with a signal, which must succeed.
    pub fn kill(&self, signal: &str) -> Verdict {
        self.try_to_kill(signal)?.ok().map(drop)
    }

    /// Waits until its process has ended, as an engine does: as the parent that it has when
    /// `create` is gone.
    pub fn wait(&mut self) -> Result<Exit, Stop> {
        drop(self.stdin.take());
        let limit = self.runtime.limit();
        let pid = Pid::from_raw(self.pid).ok_or_else(|| fail("a pid", self.pid))?;
        unix::orphan_ended_within(pid, limit).ok_or_else(|| {
            let expected = format!("the container process to end within {} s", limit.as_secs());
            fail(expected, format!("{} still runs", self.pid))
        })
    }

    /// What it has printed to a file so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// `start`, wait for the end, `delete`.
    pub fn finish(mut self) -> Result<Ran, Stop> {
        self.start()?;
        let exit = self.wait()?;
        let stdout = self.stdout();
        self.delete()?;
        Ok(Ran { exit, stdout })
    }

    /// `delete`, which must succeed.
    pub fn delete(&self) -> Verdict {
        self.runtime.on("delete", &self.id)?.ok().map(drop)
    }

    /// `delete --force`, which must succeed.
    pub fn force_delete(&self) -> Verdict {
        self.runtime.command(&["delete", "--force"]).id(&self.id).output()?.ok()?;
        self.runtime.forget(&self.id);
        Ok(())
    }

    /// Ends a running container: SIGKILL, wait, `delete`.
    pub fn end(mut self) -> Verdict {
        self.kill("KILL")?;
        self.wait()?;
        self.delete()
    }

    /// Asks a container that serves; one value for each command of the chain.
    pub fn ask(&mut self, chain: &str) -> Result<Vec<Value>, Stop> {
        let Some(stdin) = &mut self.stdin else {
            return Err(Stop::Suite("this container does not serve".into()));
        };
        writeln!(stdin, "{chain}")?;
        chain.split(" -- ").map(|_| self.answer()).collect()
    }

    /// The next line of what a container that serves prints.
    pub fn answer(&mut self) -> Result<Value, Stop> {
        let deadline = Instant::now() + self.runtime.limit();
        loop {
            if let Some((line, rest)) = self.unread.split_once('\n') {
                let value = serde_json::from_str(line);
                let value = value.map_err(|_| fail("JSON from the inspector inside", line));
                self.unread = rest.to_string();
                return value;
            }
            let more = self.read_more(deadline)?;
            ensure(more, "an answer from inside", "nothing: the container is gone or hangs")?;
        }
    }

    fn read_more(&mut self, deadline: Instant) -> Result<bool, Stop> {
        let Some(answers) = &mut self.answers else { return Ok(false) };
        let left: Duration = deadline.saturating_duration_since(Instant::now());
        if !unix::readable_within(&*answers, left) {
            return Ok(false);
        }
        let mut chunk = [0; 4096];
        let length = answers.read(&mut chunk)?;
        self.unread.push_str(&String::from_utf8_lossy(&chunk[..length]));
        Ok(length > 0)
    }
}
