//! The runtime under test, as a case drives it.

use crate::case::Stop;
use crate::command::{Command, Output};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The runtime with a state directory of the case's own.
#[derive(Debug)]
pub struct Runtime {
    program: PathBuf,
    state: PathBuf,
    outputs: PathBuf,
    limit: Duration,
    count: Cell<u32>,
    /// Containers that were created and not deleted yet.
    alive: RefCell<Vec<String>>,
}

impl Runtime {
    /// The runtime at `program`, with its state in `dir`/state.
    pub fn new(program: &Path, dir: &Path, limit: Duration) -> std::io::Result<Self> {
        let (state, outputs) = (dir.join("state"), dir.join("io"));
        std::fs::create_dir(&state)?;
        std::fs::create_dir(&outputs)?;
        Ok(Self {
            program: program.to_path_buf(),
            state,
            outputs,
            limit,
            count: Cell::new(0),
            alive: RefCell::default(),
        })
    }

    /// A command with the state directory set.
    pub fn command(&self, words: &[&str]) -> Command {
        let root = format!("--root={}", self.state.display());
        Command::new(&self.program, &[root], self.next_file(), self.limit).args(words)
    }

    /// A command without any global option.
    pub fn bare_command(&self, words: &[&str]) -> Command {
        Command::new(&self.program, &[], self.next_file(), self.limit).args(words)
    }

    /// Runs a command on one container.
    pub fn on(&self, verb: &str, id: &str) -> Result<Output, Stop> {
        let output = self.command(&[verb]).id(id).output()?;
        if verb == "delete" && output.is_ok() {
            self.forget(id);
        }
        Ok(output)
    }

    /// The state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// How long a command may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// A path that no command has used yet.
    pub fn next_file(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        self.outputs.join(self.count.get().to_string())
    }

    /// Notes a container that has to be deleted at the end.
    pub fn remember(&self, id: &str) {
        self.alive.borrow_mut().push(id.to_string());
    }

    /// Notes that a container is gone.
    pub fn forget(&self, id: &str) {
        self.alive.borrow_mut().retain(|other| other != id);
    }

    /// Deletes what the case has left, as an engine does.
    pub fn delete_all(&self) {
        for id in self.alive.take() {
            let limit = self.limit.min(Duration::from_secs(5));
            let _ = self.command(&["delete", "--force"]).id(&id).limit(limit).output();
        }
    }
}
