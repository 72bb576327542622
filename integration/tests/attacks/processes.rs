//! Processes in a container that go for the runtime while it is in there.

use super::Harm;
use super::sentinel::Sentinel;
use hako_integration::{Bundle, Container, Runtime, Value, copy_program, json, wait_until};
use std::fs;
use std::path::PathBuf;

/// A copy of the runtime's binary in its place, which an attack may spoil.
struct Binary {
    copy: PathBuf,
    sound: PathBuf,
}

impl Binary {
    fn stand_in(world: &Runtime) -> Self {
        let [copy, sound] = ["runtime", "sound"].map(|name| world.scratch().join(name));
        for copy in [&copy, &sound] {
            copy_program(world.program(), copy);
        }
        world.bind(&copy, world.program(), false);
        Self { copy, sound }
    }

    /// Whether it was spoilt. What follows is done with a sound one again.
    fn harm(&self) -> Harm {
        let changed = fs::read(&self.copy).unwrap() != fs::read(&self.sound).unwrap();
        if changed {
            copy_program(&self.sound, &self.copy);
        }
        changed.then(|| "the runtime's binary was written to".to_owned()).into_iter().collect()
    }
}

/// A bundle with every capability that helps an attacker short of being root of
/// the host.
fn privileged(world: &Runtime) -> Bundle {
    let mut bundle = world.bundle();
    bundle.capabilities(&["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    bundle
}

/// A container in the pid namespace of another, with a /proc of it.
fn spy_on<'r>(world: &'r Runtime, target: &Container, mut bundle: Bundle) -> Container<'r> {
    bundle.namespace("pid", Some(&format!("/proc/{}/ns/pid", target.pid())));
    world.serve(&bundle)
}

/// Tries to write to a file that a spy has seized, also through its mount.
fn overwrite(spy: &Container, seized: &Value) {
    if let Some(number) = seized.as_i64() {
        let write = format!("write /proc/self/fd/{number} gotcha");
        let _ = spy.ask(&format!("{write} -- thaw {number} -- {write}"));
    }
}

/// A container that waits for its start is still the runtime: a neighbour takes
/// hold of its program, and writes to that when nobody executes it any more.
pub fn the_runtime_is_written_to(world: &Runtime) -> Harm {
    let binary = Binary::stand_in(world);
    let target = world.create(privileged(world).inspector("sleep 5"));
    let spy = spy_on(world, &target, privileged(world));
    let seized = spy.ask("seize /proc/1/exe").swap_remove(0);
    overwrite(&spy, &seized);
    target.start();
    overwrite(&spy, &seized);
    binary.harm()
}

/// The program that is executed is /proc/self/exe: the runtime itself, now with
/// nothing that protects it. Somebody takes hold of it, and writes.
pub fn the_runtime_as_the_program(world: &Runtime) -> Harm {
    let binary = Binary::stand_in(world);
    let spy = world.serve(&privileged(world));
    let program = [spy.id(), "/proc/self/exe", "features"];
    let mut seized = Value::Null;
    for _ in 0..5 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..5 {
                    let _ = world.command(&["exec"]).args(program).output();
                }
            });
            seized = spy.ask("pry 1 /none").swap_remove(0)["seized"].clone();
        });
        if !seized.is_null() {
            break;
        }
    }
    overwrite(&spy, &seized);
    binary.harm()
}

/// A neighbour with the same user and capabilities may look into what waits for
/// its start; root of a user namespace into all that is in it, also while `exec`
/// comes in with the host's files in its hands.
pub fn the_runtime_is_looked_into(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let mark = sentinel.dir().join("file");
    let target = world.create(&world.bundle());
    let spy = spy_on(world, &target, world.bundle());
    let reached = spy.ask(&format!("pry 0.2 {}", mark.display())).swap_remove(0);
    let mut harm = strings(&reached["reached"]);

    let mut bundle = privileged(world);
    bundle.user_namespace(100_000).inspector(&format!("pry 3 {}", mark.display()));
    let spy = world.foreground(&bundle);
    wait_until("a container that pries", || status(world, &bundle) == "running");
    for _ in 0..60 {
        let exec = world.command(&["exec"]).arg(bundle.id());
        if exec.args(["/bin/inspector", "print", "seen"]).output().stdout != "seen\n" {
            break;
        }
    }
    let output = spy.finish();
    world.verify_gone(&bundle, &output);
    harm.extend(strings(&output.ok().json()["reached"]));
    harm
}

fn status(world: &Runtime, bundle: &Bundle) -> String {
    let output = world.command(&["state", bundle.id()]).output();
    if output.code == Some(0) {
        output.json()["status"].as_str().unwrap().to_owned()
    } else {
        String::new()
    }
}

/// A container that waits for its start shows a neighbour nothing of the
/// caller: no descriptor, no environment.
pub fn a_waiting_container_is_looked_into(world: &Runtime) -> Harm {
    let sentinel = Sentinel::plant(world);
    let dir = sentinel.dir().display().to_string();
    let bundle = privileged(world);
    let command = world.on_bundle(&["create"], &bundle).env("SECRET_TOKEN", "hunter2");
    let target = world.make(command.before(&format!("exec 3<{dir} 8<{dir}/file 9</")), &bundle);
    let spy = spy_on(world, &target, privileged(world));
    let seen = spy.ask("read /proc/1/environ -- ls /proc/1/fd -- ls /proc/1/cwd/");
    let mut harm = Vec::new();
    if seen[0].as_str().is_some_and(|text| text.contains("hunter2")) {
        harm.push("a secret of the caller's environment".to_owned());
    }
    for number in strings(&seen[1]) {
        let link = spy.ask(&format!("stat /proc/1/fd/{number}"))[0]["target"].clone();
        if link.as_str().is_some_and(|link| link.starts_with(&dir)) {
            harm.push(format!("descriptor {number} is {link}"));
        }
    }
    harm
}

fn strings(list: &Value) -> Vec<String> {
    let strings = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    strings.map(str::to_owned).collect()
}

/// No procfs is mounted, and the image has files in its place: whoever enters
/// such a container and trusts them writes to them, or waits for ever.
pub fn a_false_proc_for_exec(world: &Runtime) -> Harm {
    let mut bundle = world.bundle();
    bundle.set("/root/readonly", false);
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "proc");
    bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    let files = [
        "oom_score_adj",
        "attr/exec",
        "attr/apparmor/exec",
        "attr/keycreate",
        "status",
        "setgroups",
        "loginuid",
    ];
    for file in files {
        bundle.write(&format!("/proc/self/{file}"), "untouched");
        bundle.write(&format!("/proc/thread-self/{file}"), "untouched");
    }
    bundle.set("/process/oomScoreAdj", 500);
    let container = world.serve(&bundle);
    let exec = container.exec(&[], "print ran").output();
    let mut harm = Vec::new();
    if exec.stdout != "ran\n" {
        harm.push(format!("exec was stopped: {exec}"));
    }
    for file in files {
        for dir in ["self", "thread-self"] {
            let path = bundle.rootfs(&format!("/proc/{dir}/{file}"));
            let text = fs::read_to_string(&path).unwrap();
            if text != "untouched" {
                harm.push(format!("{} got {text:?}", path.display()));
            }
        }
    }
    harm
}

/// A filter knows the numbers of one interface of the kernel; the same call has
/// another number in the others.
pub fn calls_of_another_interface(world: &Runtime) -> Harm {
    let calls = ["syscall getpid", "syscall 1073741863", "syscall-32 20"];
    let attempt = |call: &&str| {
        let mut bundle = world.bundle();
        let rule = json!({ "names": ["getpid"], "action": "SCMP_ACT_ERRNO" });
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        bundle.set("/linux/seccomp", profile);
        bundle.set("/linux/seccomp/architectures", json!(["SCMP_ARCH_X86_64"]));
        let output = world.run(bundle.inspector(call));
        let answered = output.stdout.trim().parse::<u32>().is_ok();
        answered.then(|| format!("`{call}` passes the filter: {}", output.stdout))
    };
    let is_known = cfg!(target_arch = "x86_64");
    calls.iter().filter(|_| is_known).filter_map(attempt).collect()
}
