//! Runs the cases, several at a time, and takes care that each ends.

use crate::case::Case;
use crate::cgroup::{self, Cgroup, Enabled};
use crate::cli::Arguments;
use crate::deviations::Deviations;
use crate::isolation::{Job, Report};
use crate::results::{Column, Record, Results};
use crate::subject::Subject;
use crate::unix::Interrupts;
use crate::{host, times};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How a run ended.
pub enum Outcome {
    /// Every case has its result.
    Complete(Results),
    /// This signal came before.
    Interrupted(u8),
}

/// Runs every chosen case with every runtime.
pub fn run(arguments: &Arguments, cases: &[&Case], progress: bool) -> Result<Outcome, String> {
    let subjects: Result<Vec<Subject>, String> =
        arguments.runtimes.iter().map(|text| Subject::parse(text)).collect();
    let subjects = subjects?;
    let mut files = arguments.deviations.iter();
    let deviations: Result<Vec<Deviations>, String> =
        subjects.iter().map(|_| Deviations::of(files.next())).collect();
    let deviations = deviations?;
    if files.next().is_some() {
        return Err("there are more --deviations than --runtime".into());
    }
    let run = Run::prepare(arguments.timeout)?;
    let jobs =
        arguments.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(2, usize::from));
    let host = host::describe(&cgroup::controllers(run.cgroup.dir()));
    let columns = subjects.into_iter().zip(deviations).map(|(subject, deviations)| {
        let begin = Instant::now();
        let reports = run.all(&subject, cases, jobs.max(1), progress);
        let records = cases.iter().zip(reports);
        let records = records
            .map(|(case, (report, took))| {
                Record::new(case, report, took, deviations.of_case(case.id))
            })
            .collect();
        Column { subject, records, seconds: begin.elapsed().as_secs_f64() }
    });
    let results = Results { host, columns: columns.collect() };
    Ok(run.interrupts.signal().map_or(Outcome::Complete(results), Outcome::Interrupted))
}

/// What all cases of a run share. Dropping it removes everything from the host.
struct Run {
    dir: Scratch,
    inspector: PathBuf,
    timeout: u64,
    count: AtomicUsize,
    interrupts: Interrupts,
    // Dropped in this order.
    cgroup: Cgroup,
    _enabled: [Enabled; 2],
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Run {
    fn prepare(timeout: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("it takes root to make containers".into());
        }
        let built = inspector()?;
        // From here on there is something to clean up.
        let interrupts =
            Interrupts::take().map_err(|error| format!("cannot wait for signals: {error}"))?;
        let name = format!("oci-conformance-{}", std::process::id());
        let dir = Scratch(std::env::temp_dir().join(&name));
        // Users of a user namespace must be able to pass.
        fs::create_dir(&dir.0)
            .and_then(|()| fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o755)))
            .map_err(|error| format!("cannot make {}: {error}", dir.0.display()))?;
        let inspector = dir.0.join("inspector");
        fs::copy(&built, &inspector)
            .and_then(|_| fs::set_permissions(&inspector, fs::Permissions::from_mode(0o755)))
            .map_err(|error| format!("cannot copy {}: {error}", built.display()))?;
        let root = cgroup::mount_point().ok_or("cgroup v2 is not mounted on this host")?;
        let above = cgroup::enable_controllers(&root);
        let cgroup = Cgroup::make(&root, &name)
            .map_err(|error| format!("cannot make a cgroup in {}: {error}", root.display()))?;
        let own = cgroup::enable_controllers(cgroup.dir());
        let count = AtomicUsize::new(0);
        Ok(Self { dir, inspector, timeout, count, interrupts, cgroup, _enabled: [own, above] })
    }

    /// The reports of all cases, in their order, with the time each took. A signal cuts them short.
    fn all(
        &self,
        subject: &Subject,
        cases: &[&Case],
        jobs: usize,
        progress: bool,
    ) -> Vec<(Report, Duration)> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..jobs.min(cases.len()) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { break };
                        if self.interrupts.arrived() {
                            break;
                        }
                        if progress {
                            eprint!("\r\x1b[K{} {}/{}", subject.label, index + 1, cases.len());
                        }
                        let begin = Instant::now();
                        let report = self.one(subject, case);
                        lock(&done).push((index, report, begin.elapsed()));
                    }
                });
            }
        });
        if progress {
            eprint!("\r\x1b[K");
        }
        let mut done = std::mem::take(&mut *lock(&done));
        done.sort_by_key(|(index, ..)| *index);
        done.into_iter().map(|(_, report, took)| (report, took)).collect()
    }

    fn one(&self, subject: &Subject, case: &Case) -> Report {
        let name = self.count.fetch_add(1, Ordering::Relaxed).to_string();
        let dir = Scratch(self.dir.0.join(&name));
        let failed = |what: &str, error: std::io::Error| {
            Report::missing(&dir.0, &format!("the suite cannot {what}: {error}"))
        };
        let cgroup =
            match fs::create_dir(&dir.0).and_then(|()| Cgroup::make(self.cgroup.dir(), &name)) {
                Ok(cgroup) => cgroup,
                Err(error) => return failed("make a directory and a cgroup", error),
            };
        let job = Job {
            case: case.id.to_string(),
            runtime: subject.path.clone(),
            dir: dir.0.clone(),
            cgroup: cgroup.dir().to_path_buf(),
            inspector: self.inspector.clone(),
            timeout: self.timeout,
        };
        match self.execute(&job) {
            Ok(report) => Report { times: times::read(&job.times()), ..report },
            Err(error) => failed("run the case", error),
        }
    }

    fn execute(&self, job: &Job) -> std::io::Result<Report> {
        let stderr = job.dir.join("stderr");
        let mut command = job.command()?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&stderr)?);
        let mut child = command.spawn()?;
        // A command that hangs is ended by the case itself; this is for a case that hangs.
        let limit = Duration::from_secs(3 * self.timeout + 5);
        if self.interrupts.or_end(&mut child, limit)?.is_none() {
            child.kill()?;
            child.wait()?;
            let why = format!("it was ended after {} s", limit.as_secs());
            return Ok(Report::missing(&job.dir, &why));
        }
        let text = fs::read_to_string(job.report()).unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| {
            let said = fs::read_to_string(&stderr).unwrap_or_default();
            Report::missing(&job.dir, &crate::command::one_line(&said))
        }))
    }
}

/// The list is whole whatever happened to a thread that held it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The inspector is beside this program, where `cargo build` and `cargo install` put it.
fn inspector() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name("oci-inspector");
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    check_static(&path, &bytes)?;
    Ok(path)
}

/// A container has no dynamic linker: an interpreter in the program headers is a fault.
fn check_static(path: &Path, elf: &[u8]) -> Result<(), String> {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| elf.get(at..at + 2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    let word =
        |at: usize| elf.get(at..at + 4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let (Some(start), Some(size), Some(count)) = (word(32), half(54), half(56)) else {
        return Err(format!("{} is no program", path.display()));
    };
    let header = |index: u16| start as usize + usize::from(index) * usize::from(size);
    if (0..count).any(|index| word(header(index)) == Some(PT_INTERP)) {
        return Err(format!(
            "{} is not static: build with RUSTFLAGS='-C target-feature=+crt-static'",
            path.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        let own = fs::read("/proc/self/exe").unwrap();
        assert_eq!(check_static(Path::new("own"), &own), Ok(()));
        let shell = fs::read("/bin/sh").unwrap();
        let dynamic = shell.windows(5).any(|bytes| bytes == b"/ld-l");
        assert_eq!(check_static(Path::new("sh"), &shell).is_err(), dynamic);
    }
}
