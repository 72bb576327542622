//! Faults at every step, made by a debug build on request (`src/fault.rs`): each
//! step fails, and its process is killed there. The error names the step, and
//! nothing is left behind.

use hako_integration::{Bundle, Container, Output, Runtime, each, is_peer, json, reap, wait_until};
use std::fs;

const ON_PURPOSE: &str = ": fault on purpose: ";

/// Makes faults at each step of a side, until there are no more in what `attempt`
/// does, and it succeeds. Returns how many there were.
fn at_every_step(side: &str, mut attempt: impl FnMut(&str) -> Output) -> usize {
    for step in 1.. {
        let first = attempt(&format!("{side}:{step}:1"));
        if first.code == Some(0) {
            return step - 1;
        }
        let others = ["12", "kill"].map(|fault| format!("{side}:{step}:{fault}"));
        each(others, |fault| drop(attempt(fault)));
    }
    unreachable!("there are numbers enough")
}

fn sentences(output: &Output) -> usize {
    output.stderr.lines().filter(|line| line.starts_with("hako: ")).count()
}

/// Whoever fails says so in one sentence, unless it is killed itself. `run` whose program has
/// ended well, and which cannot clean up, says that.
#[track_caller]
fn judge(output: &Output, fault: &str) {
    let failed = output.code != Some(0) && output.signal.is_none();
    let warned = fault.starts_with("delete") && output.stderr.contains(ON_PURPOSE);
    let expected = usize::from(failed || warned);
    assert_eq!(sentences(output), expected, "{output}");
    let made = output.stderr.contains(ON_PURPOSE) || output.code == Some(0);
    assert!(made || fault.ends_with("kill"), "{output}");
}

/// Looks at what is left after a command that makes a container, once that is
/// deleted by force where nobody could do it.
fn settle(hako: &Runtime, bundle: &Bundle, fault: &str, output: &Output) {
    judge(output, fault);
    let is_half_done = output.signal.is_some() || fault.starts_with("delete");
    if is_half_done || output.command.starts_with("create") && output.code == Some(0) {
        let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    }
    hako.verify_gone(bundle, output);
}

/// `run` and `create`, with faults at each step of each side. In `init` that are
/// also the steps that are done when `start` waits for them.
fn walk(least: usize, prepare: impl Fn(&Runtime, &mut Bundle)) {
    if is_peer() {
        return; // No peer can be asked for faults.
    }
    let hako = Runtime::debug_build();
    let mut bundle = hako.bundle();
    prepare(&hako, &mut bundle);
    bundle.save();
    let mut steps = 0;
    for side in ["make", "bridge", "runtime", "init", "start", "delete"] {
        steps += at_every_step(side, |fault| {
            let output = hako.on_bundle(&["run"], &bundle).env("HAKO_FAULT", fault).output();
            settle(&hako, &bundle, fault, &output);
            output
        });
    }
    for side in ["make", "bridge", "runtime", "init"] {
        steps += at_every_step(side, |fault| {
            let output = hako.on_bundle(&["create"], &bundle).env("HAKO_FAULT", fault).output();
            if output.code != Some(0) {
                settle(&hako, &bundle, fault, &output);
                return output;
            }
            // Of init's steps after that, one is done at the same time as start begins.
            let started = hako.command(&["start", bundle.id()]).output();
            assert_eq!(sentences(&started), usize::from(started.code != Some(0)), "{started}");
            let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
            hako.verify_gone(&bundle, &started);
            started
        });
    }
    assert!(steps > least, "only {steps} steps");
    assert_eq!(hako.run(&bundle).ok().stdout, "ran\n");
}

#[test]
fn at_every_step_of_a_plain_container() {
    walk(80, |_, bundle| {
        bundle.inspector("print ran");
    });
}

#[test]
fn at_every_step_in_a_user_namespace_of_its_own() {
    walk(80, |_, bundle| {
        bundle.user_namespace(100_000).inspector("print ran");
    });
}

#[test]
fn at_every_step_with_hooks_a_filter_and_volumes() {
    walk(90, |hako, bundle| {
        let hook = json!([{ "path": "/bin/true" }]);
        for kind in ["createRuntime", "createContainer", "poststop"] {
            bundle.set(&format!("/hooks/{kind}"), hook.clone());
        }
        bundle.bind(&hako.dir("volume"), "/volume", &["rbind"]);
        bundle.set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                { "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }
            ] }),
        );
        bundle.set("/annotations/org.hako.overlay", "tmpfs").inspector("print ran");
    });
}

/// Such a container is cloned by a process in between.
#[test]
fn at_every_step_in_the_user_namespace_of_another_container() {
    if is_peer() {
        return; // As above.
    }
    let hako = Runtime::new();
    let mut other = hako.bundle();
    other.user_namespace(100_000);
    let other = hako.serve(&other);
    let path = format!("/proc/{}/ns/user", other.pid());
    walk(85, |_, bundle| {
        bundle.user_namespace(100_000).namespace("user", Some(&path)).inspector("print ran");
        bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    });
}

/// Does what the parent of those does whom `exec` leaves behind.
fn reap_orphans(bundle: &Bundle, container: &Container) {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| *pid != container.pid()) {
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if cgroup.contains(bundle.cgroup()) {
            let _ = reap(pid.cast_signed());
        }
    }
}

/// What a container consists of, and nothing else may.
fn seen(hako: &Runtime, container: &Container) -> (String, Vec<String>) {
    let processes = container.command(&["ps", "--format", "json"]).output().ok().stdout;
    let state = fs::read_dir(hako.root().join(container.id())).unwrap().flatten();
    let mut state: Vec<_> =
        state.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    state.sort();
    (processes, state)
}

#[test]
fn at_every_step_of_exec() {
    if is_peer() {
        return; // As above.
    }
    let hako = Runtime::debug_build();
    let (plain, mut mapped) = (hako.bundle(), hako.bundle());
    mapped.user_namespace(100_000);
    for bundle in [plain, mapped] {
        let container = hako.serve(&bundle);
        let before = seen(&hako, &container);
        let pid_file = hako.scratch().join("pid");
        let mut steps = 0;
        for side in ["make", "runtime", "init", "start"] {
            for options in [&[][..], &["--detach"]] {
                steps += at_every_step(side, |fault| {
                    let command = container.exec(options, "print ran").env("HAKO_FAULT", fault);
                    let output = command.output();
                    judge(&output, fault);
                    assert!(matches!(output.code, Some(0 | 255) | None), "{output}");
                    reap_orphans(&bundle, &container);
                    wait_until("the end of all it made", || seen(&hako, &container) == before);
                    output
                });
            }
        }
        assert!(steps > 30, "only {steps} steps");
        // A failed one has taken the file of its pid away again.
        let options = ["--pid-file", pid_file.to_str().unwrap()];
        let failed = container.exec(&options, "print ran").env("HAKO_FAULT", "start:1:1");
        judge(&failed.output(), "start:1:1");
        assert!(!pid_file.exists());
        assert!(container.ask("syscall getpid")[0].is_number(), "it does not serve any more");
    }
}

#[test]
fn at_every_step_of_start() {
    if is_peer() {
        return; // As above.
    }
    let hako = Runtime::debug_build();
    let mut bundle = hako.bundle();
    bundle.inspector("sleep 100");
    let steps = at_every_step("start", |fault| {
        let container = hako.create(&bundle);
        let output = container.command(&["start"]).env("HAKO_FAULT", fault).output();
        judge(&output, fault);
        match (&*container.status(), output.code) {
            // Nobody has knocked: it can be started yet.
            ("created", Some(1) | None) => drop(container.start()),
            // Somebody has, so there is no program, or it runs.
            ("stopped", Some(1)) | ("running", Some(0) | None) => {}
            (status, _) => panic!("it is {status}\n{output}"),
        }
        output
        // Dropping the container deletes it, and looks whether anything is left.
    });
    assert_eq!(steps, 6);
}

#[test]
fn at_every_step_of_delete() {
    if is_peer() {
        return; // As above.
    }
    let hako = Runtime::debug_build();
    let mut bundle = hako.bundle();
    bundle.set("/hooks/poststop", json!([{ "path": "/bin/true" }])).inspector("sleep 100");
    for (words, is_started) in
        [(&["delete"][..], false), (&["delete", "--force"], false), (&["delete", "--force"], true)]
    {
        let steps = at_every_step("delete", |fault| {
            let container = hako.create(&bundle);
            if is_started {
                container.start();
            }
            let output = container.command(words).env("HAKO_FAULT", fault).output();
            judge(&output, fault);
            // What is left is known, so the next one finds it.
            let again = container.command(&["delete", "--force"]).output();
            assert_eq!(again.code, Some(0), "{again}");
            hako.verify_gone(&bundle, &output);
            output
        });
        assert_eq!(steps, 5);
    }
}

/// Calls that hako can do without, and the answers to which that applies: of a
/// kernel that has no such call, or of a sandbox that forbids it.
const SPARED: [(&str, &[&str]); 11] = [
    ("copy_file_range", &["1", "38"]),
    ("faccessat2", &["38"]),
    ("keyctl", &["1", "38"]),
    ("listmount", &["1", "38"]),
    ("memfd_create", &["1", "38"]),
    ("mount", &["1", "38"]),
    ("pidfd_getfd", &["1", "38"]),
    ("pidfd_open", &["1", "38"]),
    ("pidfd_send_signal", &["1", "38"]),
    ("statmount", &["1", "38"]),
    ("statx", &["1", "38"]),
];

/// Those that it cannot.
const NEEDED: [&str; 29] = [
    "bpf",
    "capset",
    "clone3",
    "close_range",
    "execveat",
    "flock",
    "fsconfig",
    "fsmount",
    "fsopen",
    "mkdirat",
    "mknodat",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "openat2",
    "pivot_root",
    "prctl",
    "prlimit64",
    "renameat",
    "setgroups",
    "setns",
    "setresgid",
    "setresuid",
    "sethostname",
    "signalfd4",
    "socketpair",
    "symlinkat",
    "umount2",
    "unshare",
];

#[test]
fn without_a_system_call() {
    if is_peer() {
        return; // As above.
    }
    let hako = Runtime::debug_build();
    let mut bundle = hako.bundle();
    bundle.inspector("print ran");
    let calls = SPARED.iter().map(|(call, _)| call).chain(&NEEDED);
    each(calls.flat_map(|call| ["1", "38"].map(|errno| (*call, errno))), |(call, errno)| {
        let command = hako.on_bundle(&["run"], &bundle);
        let output = command.env("HAKO_FAULT", &format!("call:{call}:{errno}")).output();
        hako.verify_gone(&bundle, &output);
        if SPARED.iter().any(|(name, answers)| name == call && answers.contains(errno)) {
            assert_eq!(output.ok().stdout, "ran\n");
        } else {
            output.fails(if *errno == "1" { "(EPERM)" } else { "(ENOSYS)" });
            assert_eq!(sentences(&output), 1, "{output}");
        }
    });
}
