//! What is measured: a runtime with its commands, or a floor, which can only `run`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{fs, io};

use crate::fixture::Fixture;
use crate::{Result, sys};

/// In the order in which one container goes through them; `run` is a container of its own.
pub const COMMANDS: [&str; 7] = ["run", "create", "start", "state", "exec", "kill", "delete"];

/// The name of hako where its containers have limits.
pub const LIMITED: &str = "hako+limits";
/// The name of hako where they have docker's seccomp profile, compiled before.
pub const FILTERED: &str = "hako+seccomp";

#[derive(Clone, Copy)]
pub struct Sample {
    pub ms: f64,
    pub peak_kib: f64,
}

pub struct Subject {
    pub name: &'static str,
    commands: Vec<(&'static str, Command)>,
    pid_file: PathBuf,
    errors: PathBuf,
    /// Commands that this runtime does not have, with what it said.
    pub missing: Vec<(&'static str, String)>,
}

impl Subject {
    pub fn floor(fixture: &Fixture, name: &'static str) -> Result<Subject> {
        let mut run = fixture.command(&fixture.dir.join(name))?;
        run.arg(fixture.rootfs())
            .arg(fixture.cgroup_dir().join(name))
            .arg(fixture.dir.join("state"))
            .arg("/bin/true");
        Ok(Subject::new(fixture, name, vec![("run", run)]))
    }

    pub fn runtime(fixture: &Fixture, name: &'static str, program: &Path) -> Result<Subject> {
        let id = format!("{name}-lifecycle");
        let pause = fixture.bundle(&id, "/bin/pause")?;
        let root = fixture.dir.join("roots").join(name);
        fs::create_dir_all(&root)?;
        let pid_file = fixture.dir.join(name).with_extension("pid");
        let command = |verb: &str, arguments: &[&str]| -> Result<Command> {
            let mut command = fixture.command(program)?;
            command.arg("--root").arg(&root).arg(verb).args(arguments);
            Ok(command)
        };
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let commands = vec![
            (
                "run",
                command("run", &["--bundle", &text(&fixture.bundle(name, "/bin/true")?), name])?,
            ),
            (
                "create",
                command(
                    "create",
                    &["--bundle", &text(&pause), "--pid-file", &text(&pid_file), &id],
                )?,
            ),
            ("start", command("start", &[&id])?),
            ("state", command("state", &[&id])?),
            ("exec", command("exec", &[&id, "/bin/true"])?),
            ("kill", command("kill", &[&id, "KILL"])?),
            ("delete", command("delete", &[&id])?),
        ];
        Ok(Subject { pid_file, ..Subject::new(fixture, name, commands) })
    }

    /// hako again, with a container that has more: limits, or a filter. It can only `run`.
    pub fn variant(fixture: &Fixture, name: &'static str, program: &Path) -> Result<Subject> {
        let root = fixture.dir.join("roots").join(name);
        fs::create_dir_all(&root)?;
        let bundle = match name {
            FILTERED => fixture.filtered_bundle(name, "/bin/true")?,
            _ => fixture.limited_bundle(name, "/bin/true")?,
        };
        let mut run = fixture.command(program)?;
        run.arg("--root").arg(root).arg("run").arg("--bundle").arg(bundle).arg(name);
        Ok(Subject::new(fixture, name, vec![("run", run)]))
    }

    fn new(
        fixture: &Fixture,
        name: &'static str,
        commands: Vec<(&'static str, Command)>,
    ) -> Subject {
        Subject {
            name,
            commands,
            pid_file: PathBuf::new(),
            errors: fixture.errors(),
            missing: Vec::new(),
        }
    }

    pub fn run(&mut self) -> Result<Sample> {
        self.measure("run")
    }

    /// One container from create to delete.
    pub fn lifecycle(&mut self) -> Result<Vec<(&'static str, Sample)>> {
        let mut samples = Vec::new();
        for command in self.commands.iter().map(|c| c.0).filter(|&c| c != "run").collect::<Vec<_>>()
        {
            if self.missing.iter().any(|m| m.0 == command) {
                continue;
            }
            match self.measure(command) {
                Ok(sample) => samples.push((command, sample)),
                // It may come later than the others, and they are worth measuring without it.
                Err(error) if command == "exec" => self.missing.push((command, error.to_string())),
                Err(error) => return Err(error),
            }
            if command == "kill" {
                // The container was orphaned by `create` and is ours. It is not part of `kill` to
                // wait for it.
                sys::wait(fs::read_to_string(&self.pid_file)?.trim().parse()?)?;
            }
        }
        Ok(samples)
    }

    fn measure(&mut self, name: &str) -> Result<Sample> {
        let (_, command) =
            self.commands.iter_mut().find(|c| c.0 == name).ok_or("no such command")?;
        let start = Instant::now();
        let child = command.spawn().map_err(|e| format!("{}: {e}", self.name))?;
        let exit = sys::wait(child.id() as i32)?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        if exit.code != 0 {
            return Err(format!(
                "{} {name}: exit code {}: {}",
                self.name,
                exit.code,
                self.last_error()?
            )
            .into());
        }
        Ok(Sample { ms, peak_kib: exit.peak_kib })
    }

    /// Executes a command step by step: see [`sys::step`].
    pub fn step(&mut self, name: &str, show: &mut dyn FnMut(bool, u64)) -> Result<()> {
        let (_, command) =
            self.commands.iter_mut().find(|c| c.0 == name).ok_or("no such command")?;
        match sys::step(command, show)? {
            0 => Ok(()),
            code => {
                Err(format!("{} {name}: exit code {code}: {}", self.name, self.last_error()?)
                    .into())
            }
        }
    }

    /// All commands of one container but `create`, whose init nobody waits for.
    pub fn step_lifecycle(&mut self, show: &mut dyn FnMut(bool, u64)) -> Result<()> {
        self.measure("create")?;
        for command in ["start", "state", "exec", "kill"] {
            self.step(command, show)?;
        }
        // Unless `kill` was slower than its end, which was seen then.
        let _ = sys::wait(fs::read_to_string(&self.pid_file)?.trim().parse()?);
        self.step("delete", show)
    }

    fn last_error(&self) -> io::Result<String> {
        Ok(fs::read_to_string(&self.errors)?.lines().last().unwrap_or("(no message)").to_owned())
    }

    /// The counts of one `run` under strace, and the page faults of one without.
    pub fn count(&self, fixture: &Fixture) -> Result<Counts> {
        let log = fixture.dir.join("strace");
        let (_, run) = self.commands.iter().find(|c| c.0 == "run").ok_or("no run")?;
        let mut strace = fixture.command(Path::new("strace"))?;
        strace.arg("-f").arg("-o").arg(&log).arg(run.get_program()).args(run.get_args());
        let status = strace.status().map_err(|e| format!("cannot run strace: {e}"))?;
        if !status.success() {
            return Err(
                format!("{} under strace: {status}: {}", self.name, self.last_error()?).into()
            );
        }
        let mut plain = fixture.command(Path::new(run.get_program()))?;
        let child = plain.args(run.get_args()).spawn()?;
        let faults = sys::wait(child.id() as i32)?.faults;
        Ok(Counts { faults, ..Counts::parse(&fs::read_to_string(log)?) })
    }
}

#[derive(Debug, PartialEq)]
pub struct Counts {
    pub syscalls: usize,
    pub tasks: usize,
    pub clones: usize,
    pub faults: usize,
}

impl Counts {
    /// Lines are `PID call(…`, `PID <... call resumed>…`, `PID --- signal` or `PID +++ exit`: only
    /// the first begins a call. Faults are not in it.
    fn parse(log: &str) -> Counts {
        let mut tasks = std::collections::HashSet::new();
        let mut counts = Counts { syscalls: 0, tasks: 0, clones: 0, faults: 0 };
        for line in log.lines() {
            let Some((pid, rest)) = line.split_once(' ') else { continue };
            tasks.insert(pid);
            let call = rest.trim_start().split_once('(').map_or("", |c| c.0);
            if !call.is_empty() && call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                counts.syscalls += 1;
                counts.clones += usize::from(matches!(call, "clone" | "clone3" | "fork" | "vfork"));
            }
        }
        counts.tasks = tasks.len();
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_lines_are_counted_once() {
        let log = [
            "10 execve(\"x\", [], 0x0) = 0",
            "10 clone3({flags=0}) = 11",
            "10 read(3 <unfinished ...>",
            "11 exit_group(0) = ?",
            "10 <... read resumed>\"\", 1) = 0",
            "11 +++ exited with 0 +++",
            "10 --- SIGCHLD {si_signo=SIGCHLD} ---",
        ]
        .join(
            "
",
        );
        assert_eq!(Counts::parse(&log), Counts { syscalls: 4, tasks: 2, clones: 1, faults: 0 });
    }
}
