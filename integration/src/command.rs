//! Starting the runtime: every command has a timeout, and its output goes to
//! files, because a container keeps the descriptors of `create` after it ends.

use crate::output::Output;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take unless a test says otherwise.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One invocation of the runtime, under construction.
#[derive(Debug)]
pub struct Command {
    program: PathBuf,
    /// Shell code that runs before, in the process that becomes the runtime.
    before: Option<String>,
    args: Vec<String>,
    last: Option<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    stdin: Option<Stdio>,
    stdout: PathBuf,
    stderr: PathBuf,
    timeout: Duration,
}

impl Command {
    /// A command whose output is kept in `files`.out and `files`.err.
    pub(crate) fn new(program: &Path, files: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            before: None,
            args: Vec::new(),
            last: None,
            env: Vec::new(),
            cwd: None,
            stdin: None,
            stdout: files.with_extension("out"),
            stderr: files.with_extension("err"),
            timeout: TIMEOUT,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets the argument that stays behind all others: peers want every option
    /// before the id.
    #[must_use]
    pub fn last(mut self, arg: &str) -> Self {
        self.last = Some(arg.to_string());
        self
    }

    /// Sets a variable in the runtime's own environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_string(), value.to_string()));
        self
    }

    /// Starts the runtime in another directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_path_buf());
        self
    }

    /// Gives the runtime this standard input instead of /dev/null.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Changes the time after which the runtime is killed and the test fails.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Shell code to run in the process that then becomes the runtime: opens
    /// descriptors (`exec 3</dev/null`), sets limits (`ulimit -n 64`) and so on.
    #[must_use]
    pub fn before(mut self, shell: &str) -> Self {
        self.before = Some(shell.to_string());
        self
    }

    /// Starts the command without waiting for it.
    #[must_use]
    pub fn spawn(mut self) -> Running {
        self.args.extend(self.last.take());
        let mut command = match &self.before {
            Some(shell) => {
                let mut command = std::process::Command::new("/bin/sh");
                command.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\"")).arg(&self.program);
                command
            }
            None => std::process::Command::new(&self.program),
        };
        let create = |path: &Path| File::options().append(true).create(true).open(path);
        command.args(&self.args).envs(self.env);
        command.stdin(self.stdin.unwrap_or_else(Stdio::null));
        command.stdout(create(&self.stdout).expect("a file for stdout"));
        command.stderr(create(&self.stderr).expect("a file for stderr"));
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let child = command.spawn().expect("the runtime starts");
        Running {
            words: self.args.join(" "),
            child,
            stdout: self.stdout,
            stderr: self.stderr,
            started: Instant::now(),
            timeout: self.timeout,
        }
    }

    /// Runs the command to its end.
    #[must_use]
    pub fn output(self) -> Output {
        self.spawn().finish()
    }
}

/// A command that has been started.
#[derive(Debug)]
pub struct Running {
    words: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    started: Instant,
    timeout: Duration,
}

impl Running {
    /// The process id of the runtime.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The files that receive standard output and standard error.
    #[must_use]
    pub fn files(&self) -> (PathBuf, PathBuf) {
        (self.stdout.clone(), self.stderr.clone())
    }

    /// What the runtime and the container have written to stdout until now.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// The writing end, when standard input is [`Stdio::piped`].
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Writes to standard input, which must be [`Stdio::piped`].
    pub fn write(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().expect("a piped stdin");
        stdin.write_all(text.as_bytes()).expect("the runtime reads its stdin");
    }

    /// Sends a signal to the runtime.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("the runtime is still there");
    }

    /// Waits until `text` has been printed on stdout.
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("`{text}` on stdout of `{}`", self.words), || {
            self.stdout().contains(text)
        });
    }

    /// Waits for the end; when it does not come in time, kills the runtime and
    /// fails the test.
    #[must_use]
    pub fn finish(mut self) -> Output {
        self.wait_for_end()
    }

    /// Like [`Self::finish`], and keeps the handle for its files.
    pub(crate) fn wait_for_end(&mut self) -> Output {
        let left = self.timeout.saturating_sub(self.started.elapsed());
        if !ends_within(&self.child, left) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let output = self.read(None, None);
            panic!("`{}` did not end within {:?}\n{output}", self.words, self.timeout);
        }
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("the runtime can be waited for");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        self.read(status.code(), signal)
    }

    fn read(&self, code: Option<i32>, signal: Option<i32>) -> Output {
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Output {
            command: self.words.clone(),
            code,
            signal,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
            elapsed: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Harmless when it has ended: the child is then already waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ends_within(child: &Child, time: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else {
        return true;
    };
    readable_within(&pidfd, time)
}

/// Whether a descriptor becomes readable in time.
pub fn readable_within(fd: &impl AsFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("a sensible timeout");
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&time)), Ok(1))
}

/// Waits for a condition that has no descriptor to wait on.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn scratch(name: &str) -> Scratch {
        Scratch::new(&format!("hako-test-{}-unit-{name}", std::process::id()))
    }

    #[test]
    fn everything_is_captured() {
        let scratch = scratch("captured");
        let command = Command::new("/bin/sh".as_ref(), &scratch.path().join("io"));
        let command = command.before("export A=1");
        let output = command.args(["-c", "echo $A$B; echo err >&2; exit 3"]);
        let output = output.env("B", "2").output();
        assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(3), "12\n", "err\n"));
    }

    #[test]
    #[should_panic(expected = "did not end within 50ms")]
    fn what_hangs_is_killed() {
        let scratch = scratch("hangs");
        let command = Command::new("/bin/sleep".as_ref(), &scratch.path().join("io"));
        let _ = command.arg("1000").timeout(Duration::from_millis(50)).output();
    }
}
