//! Measures hako beside crun, runc and the floor, round by round in one run, and says whether it is
//! where it must be.
#![deny(unsafe_code)]

mod fixture;
mod layout;
mod report;
mod subject;
mod sys;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use fixture::Fixture;
use report::Results;
use subject::{COMMANDS, FILTERED, LIMITED, Subject};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str =
    "usage: hako-bench [--runs N] [--only COMMAND] [--limits] [--json] [--programs DIR] [--peer PROGRAM]...
       hako-bench --budget | --compile DIR | --layout MAP

  --runs N        rounds that count; a tenth of them is run before as warm-up (default 100)
  --only COMMAND  one of run, create, start, state, exec, kill, delete
  --limits        only what limits cost, for a machine whose other times say nothing
  --json          all numbers as JSON instead of tables
  --peer PROGRAM  measure this crun or runc as well; named by its version, and not judged
  --compile DIR   only compile the C programs that are measured, into DIR
  --programs DIR  take them from there: for a machine without a compiler
  --budget        count the system calls, tasks and clones of one `hako run` and hold them against
                  the budget
  --layout MAP    print a script for the linker that places first what hako executes; MAP is what
                  the linker has written about this hako (x86-64; takes minutes)

HAKO names the binary; without it the release build is taken. crun and runc are looked up in PATH.
Exit code: 0 all targets met, 1 a target missed, 2 could not measure, 3 too noisy to judge.";

const MISSED: i32 = 1;
const FAILED: i32 = 2;
const NOISY: i32 = 3;

#[derive(Default)]
struct Options {
    runs: usize,
    only: Option<String>,
    limits: bool,
    json: bool,
    budget: bool,
    compile: Option<PathBuf>,
    layout: Option<PathBuf>,
    programs: Option<PathBuf>,
    peers: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match options().and_then(run) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("hako-bench: {error}");
            ExitCode::from(FAILED as u8)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options { runs: 100, ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => {
                options.runs = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .filter(|&n| n > 0)
                    .ok_or("--runs needs a number")?
            }
            "--only" => {
                options.only = Some(
                    arguments
                        .next()
                        .filter(|c| COMMANDS.contains(&c.as_str()))
                        .ok_or("--only needs a command")?,
                )
            }
            "--limits" => {
                options.limits = true;
                options.only = Some("run".into());
            }
            "--json" => options.json = true,
            "--budget" => options.budget = true,
            "--compile" => {
                options.compile = Some(arguments.next().ok_or("--compile needs DIR")?.into())
            }
            "--layout" => {
                options.layout = Some(arguments.next().ok_or("--layout needs MAP")?.into())
            }
            "--programs" => {
                options.programs = Some(arguments.next().ok_or("--programs needs DIR")?.into())
            }
            "--peer" => options.peers.push(arguments.next().ok_or("--peer needs PROGRAM")?.into()),
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(format!("unknown option {other}\n{USAGE}").into()),
        }
    }
    Ok(options)
}

fn run(options: Options) -> Result<i32> {
    if let Some(directory) = &options.compile {
        return fixture::compile_all(directory).map(|()| 0);
    }
    let hako = hako();
    if options.budget && !hako.exists() {
        return Err(format!("{} does not exist; build it or set HAKO", hako.display()).into());
    }
    let fixture = Fixture::new()?;
    sys::adopt_orphans()?;
    // Generous: a round takes a third of a second. Only something that hangs needs all of it.
    let limit = Duration::from_secs(60 + 3 * options.runs as u64);
    let ended = sys::guarded(limit, || {
        let work = || {
            if options.budget {
                budget(&options, &fixture, &hako)
            } else if let Some(map) = &options.layout {
                layout(&options, &fixture, &hako, map)
            } else {
                benchmark(&options, &fixture, &hako)
            }
        };
        sys::adopt_orphans().map_err(Into::into).and_then(|()| work()).unwrap_or_else(|error| {
            eprintln!("hako-bench: {error}");
            FAILED
        })
    });
    fixture.remove();
    match ended? {
        sys::Ended::Exited(code) => Ok(code),
        sys::Ended::Interrupted(signal) => Err(format!("interrupted by signal {signal}").into()),
        sys::Ended::TimedOut => {
            Err(format!("not done after {} s: something hangs", limit.as_secs()).into())
        }
    }
}

/// The release build in the target directory that this program is in: the one beside it.
fn hako() -> PathBuf {
    match std::env::var_os("HAKO") {
        Some(path) => path.into(),
        None => std::env::current_exe().unwrap_or_default().with_file_name("hako"),
    }
}

fn budget(options: &Options, fixture: &Fixture, hako: &Path) -> Result<i32> {
    fixture.build(options.programs.as_deref())?;
    let counts = Subject::runtime(fixture, "hako", hako)?.count(fixture)?;
    let limited = Subject::variant(fixture, LIMITED, hako)?.count(fixture)?.syscalls;
    let limit = report::limit_with_limits(counts.syscalls);
    let mut over = limited > limit;
    let verdict = if over { "OVER BUDGET" } else { "ok" };
    println!("run: {limited} system calls with an engine's limits (at most {limit}) {verdict}");
    for (what, count, limit) in counts.limits() {
        over |= count > limit;
        println!(
            "run: {count} {what} (at most {limit}) {}",
            if count > limit { "OVER BUDGET" } else { "ok" }
        );
    }
    Ok(if over { MISSED } else { 0 })
}

fn layout(options: &Options, fixture: &Fixture, hako: &Path, map: &Path) -> Result<i32> {
    fixture.build(options.programs.as_deref())?;
    print!("{}", layout::script(fixture, hako, map)?);
    Ok(0)
}

fn benchmark(options: &Options, fixture: &Fixture, hako: &Path) -> Result<i32> {
    fixture.build(options.programs.as_deref())?;
    let mut results = Results::default();
    let mut subjects = subjects(options, fixture, hako, &mut results.remarks)?;
    results.subjects = subjects.iter().map(|s| s.name).collect();

    measure(options, &mut subjects, &mut results)?;
    for subject in &subjects {
        match subject.count(fixture) {
            Ok(counts) => drop(results.counts.insert(subject.name, counts)),
            Err(error) => {
                results.remarks.push(format!("{}: calls not counted: {error}", subject.name))
            }
        }
        for (command, reason) in &subject.missing {
            results.remarks.push(format!("{} {command}: not available ({reason})", subject.name));
        }
    }

    if options.json {
        println!("{:#}", results.json());
    } else {
        print!("{}", results.markdown());
    }
    let noise = results.noise();
    for reason in &noise {
        eprintln!("hako-bench: too noisy to judge: {reason}");
    }
    Ok(match (results.subjects.contains(&"hako"), noise.is_empty(), results.all_met()) {
        (false, ..) => FAILED,
        (_, false, _) => NOISY,
        (_, _, met) => i32::from(!met) * MISSED,
    })
}

/// All that are measured, with remarks on those that are not.
fn subjects(
    options: &Options,
    fixture: &Fixture,
    hako: &Path,
    remarks: &mut Vec<String>,
) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    if !options.limits {
        subjects.push(Subject::floor(fixture, "bare")?);
        subjects.push(Subject::floor(fixture, "floor")?);
    }
    match hako.exists() {
        true => subjects.push(Subject::runtime(fixture, "hako", hako)?),
        false => remarks.push("hako: not built, so not measured".to_owned()),
    }
    if !options.limits {
        subjects.extend(peers(options, fixture, remarks)?);
    }
    if hako.exists() {
        subjects.push(Subject::variant(fixture, LIMITED, hako)?);
        if !options.limits {
            subjects.push(Subject::variant(fixture, FILTERED, hako)?);
        }
        remarks.push(fixture.about_limits()?);
    }
    Ok(subjects)
}

/// Those of this host, against which hako is judged, and those that were named.
fn peers(options: &Options, fixture: &Fixture, remarks: &mut Vec<String>) -> Result<Vec<Subject>> {
    let mut peers = Vec::new();
    for name in ["crun", "runc"] {
        match in_path(name) {
            Some(program) => {
                peers.push(Subject::runtime(fixture, name, &program)?);
                remarks.push(format!("{name}: {} of this host", versioned_name(&program)?));
            }
            None => remarks.push(format!("{name}: not installed, so not measured")),
        }
    }
    for program in &options.peers {
        peers.push(Subject::runtime(fixture, versioned_name(program)?.leak(), program)?);
    }
    remarks.push("The targets are held against the crun of this host".to_owned());
    Ok(peers)
}

/// As it calls itself, with its version: `crun-1.28`.
fn versioned_name(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|e| format!("{}: {e}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = text.lines().next().unwrap_or_default().split(' ').collect();
    match words[..] {
        [name, "version", version] => Ok(format!("{name}-{version}")),
        _ => Err(format!("{} does not say what it is", program.display()).into()),
    }
}

fn measure(options: &Options, subjects: &mut [Subject], results: &mut Results) -> Result<()> {
    let wanted = |command: &str| options.only.as_ref().is_none_or(|only| only == command);
    let warm_up = options.runs.div_ceil(10);
    let mut seed = 1;
    for round in 0..warm_up + options.runs {
        // The kernel takes a network namespace down after its container has ended, at the cost of
        // whoever comes next. In a fixed order that would always be the same one.
        shuffle(subjects, &mut seed);
        for subject in subjects.iter_mut() {
            let mut samples = Vec::new();
            if wanted("run") {
                samples.push(("run", subject.run()?));
            }
            if COMMANDS[1..].iter().any(|c| wanted(c)) {
                samples.extend(subject.lifecycle()?);
            }
            for (command, sample) in samples.into_iter().filter(|s| round >= warm_up && wanted(s.0))
            {
                results.add(command, subject.name, sample);
            }
        }
    }
    Ok(())
}

/// Fisher and Yates with a linear congruential generator: the same orders in every run.
fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for last in (1..items.len()).rev() {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, (*seed >> 33) as usize % (last + 1));
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}
