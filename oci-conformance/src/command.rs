//! One command of the runtime: it has a limit, and its output is kept.

use crate::case::{Stop, fail};
use crate::{times, unix};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

/// A command under construction.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    args: Vec<String>,
    id: Option<String>,
    before: Option<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    stdin: Option<Stdio>,
    stdout: Option<Stdio>,
    files: PathBuf,
    limit: Duration,
}

/// What a command did.
#[derive(Debug)]
pub struct Output {
    /// The words of the command, without the program and the global options.
    pub words: String,
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output so far: a container may still be writing.
    pub stdout: String,
    /// Standard error so far.
    pub stderr: String,
}

impl Command {
    /// A command with these global options, whose output is kept in `files`.out and `files`.err.
    pub fn new(program: &Path, global: &[String], files: PathBuf, limit: Duration) -> Self {
        Self {
            program: program.to_path_buf(),
            args: global.to_vec(),
            id: None,
            before: None,
            env: Vec::new(),
            cwd: None,
            stdin: None,
            stdout: None,
            files,
            limit,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.args.push(arg.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Adds arguments.
    pub fn args(self, args: &[&str]) -> Self {
        args.iter().fold(self, Self::arg)
    }

    /// Sets the container's id, which stays behind all options.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.to_string());
        self
    }

    /// Shell code to run in the process that then becomes the runtime: opens descriptors
    /// (`exec 3</dev/null`), sets limits.
    pub fn before(mut self, shell: &str) -> Self {
        self.before = Some(shell.to_string());
        self
    }

    /// Sets a variable of the runtime's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it in another directory.
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.cwd = Some(dir.to_path_buf());
        self
    }

    /// Standard input instead of /dev/null.
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Standard output instead of a file.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Another limit.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Where standard output is kept.
    pub fn stdout_path(&self) -> PathBuf {
        self.files.with_extension("out")
    }

    /// Runs it to its end. One that hangs is killed, and fails the case.
    pub fn output(mut self) -> Result<Output, Stop> {
        let (out, err) = (self.stdout_path(), self.files.with_extension("err"));
        let words = self.words();
        // The runner reads it when the case itself hangs.
        fs::write(self.files.with_file_name("doing"), &words)?;
        let begin = Instant::now();
        let mut child = self.spawn(&out, &err)?;
        let Some(status) = unix::ended_within(&mut child, self.limit)? else {
            child.kill()?;
            child.wait()?;
            let expected = format!("`{words}` to return within {} s", self.limit.as_secs());
            let said = one_line(&read(&err));
            let got = if said.is_empty() { "it hangs".into() } else { format!("it hangs: {said}") };
            return Err(fail(expected, got));
        };
        times::note(&self.files.with_file_name(times::FILE), &words, begin.elapsed())?;
        let (stdout, stderr) = (read(&out), read(&err));
        Ok(Output { words, code: status.code(), stdout, stderr })
    }

    /// The program and its words, for somebody else to run: a hook.
    pub fn line(&self) -> Vec<String> {
        let program = self.program.to_string_lossy().into_owned();
        std::iter::once(program).chain(self.args.clone()).chain(self.id.clone()).collect()
    }

    fn words(&self) -> String {
        let mut words = self.args.clone();
        words.extend(self.id.clone());
        words.drain(..words.iter().position(|word| !word.starts_with('-')).unwrap_or(0));
        words.join(" ")
    }

    fn spawn(&mut self, out: &Path, err: &Path) -> io::Result<process::Child> {
        let mut command = match &self.before {
            Some(shell) => {
                let mut command = process::Command::new("/bin/sh");
                command.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\"")).arg(&self.program);
                command
            }
            None => process::Command::new(&self.program),
        };
        command.args(&self.args).args(&self.id).envs(self.env.clone());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.stdin(self.stdin.take().unwrap_or_else(Stdio::null));
        match self.stdout.take() {
            Some(stdout) => command.stdout(stdout),
            None => command.stdout(File::create(out)?),
        };
        command.stderr(File::create(err)?).spawn()
    }
}

impl Output {
    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Demands success.
    pub fn ok(self) -> Result<Self, Stop> {
        if self.is_ok() {
            return Ok(self);
        }
        Err(fail(format!("`{}` to succeed", self.words), self.ending()))
    }

    /// Demands an error.
    pub fn fails(self) -> Result<Self, Stop> {
        if !self.is_ok() {
            return Ok(self);
        }
        Err(fail(format!("an error from `{}`", self.words), "success"))
    }

    /// How it ended, with what it printed on one line.
    pub fn ending(&self) -> String {
        let code =
            self.code.map_or("killed by a signal".into(), |code| format!("exit code {code}"));
        format!("{code}: {}", one_line(&self.stderr))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A text on one line, and not too long.
pub fn one_line(text: &str) -> String {
    const ENOUGH: usize = 400;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" / ").chars().take(ENOUGH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sh -c SCRIPT` does as a command with this limit.
    fn outcome(name: &str, script: &str, limit: Duration) -> Result<Output, Stop> {
        let name = format!("oci-conformance-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        let command = Command::new(Path::new("/bin/sh"), &[], dir.join("io"), limit);
        let outcome = command.args(&["-c", script]).output();
        fs::remove_dir_all(dir).unwrap();
        outcome
    }

    #[test]
    fn a_command_that_hangs_costs_its_limit() {
        let begin = Instant::now();
        let hangs = |name, script| match outcome(name, script, Duration::from_millis(500)) {
            Err(Stop::Fail { got, .. }) => got,
            other => panic!("{other:?}"),
        };
        assert_eq!(hangs("silent", "exec sleep 5"), "it hangs");
        assert_eq!(hangs("says", "echo wait >&2; exec sleep 5"), "it hangs: wait");
        assert!(begin.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn an_ending_is_one_line() {
        let script = "echo first >&2; echo last >&2; exit 3";
        let output = outcome("fails", script, Duration::from_secs(5)).unwrap();
        assert_eq!(output.ending(), "exit code 3: first / last");
    }
}
