//! Descriptors of the host that a container could get at.

use super::Harm;
use super::sentinel::{PRECIOUS, Sentinel};
use hako_integration::{Output, Runtime};

/// A caller that has a directory of the host open under many numbers.
pub fn careless(sentinel: &Sentinel) -> String {
    let dir = sentinel.dir().display();
    let opened: Vec<String> = (3..=9).map(|number| format!("{number}<{dir}")).collect();
    format!("exec {}", opened.join(" "))
}

/// What a program with such a working directory reads of the host.
fn judge(output: &Output, cwd: &str) -> Option<String> {
    output.stdout.contains(PRECIOUS).then(|| format!("cwd {cwd} is a directory of the host"))
}

const NUMBERS: std::ops::Range<u32> = 3..13;

/// `process.cwd` is a descriptor of the runtime: a directory of the host.
pub fn a_directory_behind_a_descriptor(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let cwds = NUMBERS.flat_map(|number| {
        [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/inner")]
    });
    let attempt = |cwd: String| {
        let mut bundle = world.bundle();
        bundle.set("/process/cwd", cwd.as_str()).inspector("read file");
        let command = world.on_bundle(&["run"], &bundle).before(&careless(&sentinel));
        judge(&world.finish(command, &bundle), &cwd)
    };
    cwds.filter_map(attempt).collect()
}

/// The same with `exec --cwd`.
pub fn a_directory_behind_a_descriptor_for_exec(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let container = world.serve(&world.bundle());
    let attempt = |number: u32| {
        let cwd = format!("/proc/self/fd/{number}");
        let command = container.exec(&["--cwd", &cwd], "read file");
        judge(&command.before(&careless(&sentinel)).output(), &cwd)
    };
    NUMBERS.filter_map(attempt).collect()
}

/// The program itself gets none of the caller's descriptors.
pub fn descriptors_of_the_caller(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let before = careless(&sentinel);
    let bundle = world.bundle();
    let run = world.finish(world.on_bundle(&["run"], &bundle).before(&before), &bundle);
    let container = world.serve(&world.bundle());
    let exec = container.exec(&[], "report").before(&before).output();
    let dir = sentinel.dir().display().to_string();
    let mut harm = Vec::new();
    for (command, output) in [("run", run), ("exec", exec)] {
        let descriptors = output.ok().json()["descriptors"].to_string();
        if descriptors.contains(&dir) {
            harm.push(format!("{command} passes on {descriptors}"));
        }
    }
    harm
}
