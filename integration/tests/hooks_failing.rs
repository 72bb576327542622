//! Hooks that fail, hang or leave processes behind: what becomes of the container.

use hako_integration::{Bundle, Exit, Output, Runtime, Value, each, is_peer, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Hooks that run while a container is created.
const OF_CREATE: [&str; 3] = ["prestart", "createRuntime", "createContainer"];

/// A hook that runs a few lines of shell.
pub fn shell(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
}

/// A bundle with a shell inside and a poststop hook that leaves a note.
fn bundle_with_poststop(hako: &Runtime) -> (Bundle, PathBuf) {
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let note = hako.scratch().join(format!("{}.poststop", bundle.id()));
    bundle.set("/hooks/poststop", json!([shell(&format!("echo ran >>{}", note.display()))]));
    (bundle, note)
}

/// A hook of this kind that succeeds, one that fails, one that must not run.
fn failing(bundle: &mut Bundle, kind: &str, note: &std::path::Path) -> PathBuf {
    let third = note.with_extension(kind);
    let hooks = json!([
        shell("true"),
        shell("echo no luck today >&2; exit 3"),
        shell(&format!("echo ran >{}", third.display())),
    ]);
    bundle.set(&format!("/hooks/{kind}"), hooks);
    third
}

/// The sentence that tests of engines look for, and why it failed.
#[track_caller]
fn names_the_hook(output: &Output, kind: &str) {
    output.fails(&format!("error running {kind} hook #1"));
    if !is_peer() {
        for part in ["no luck today", "3"] {
            assert!(output.stderr.contains(part), "expected `{part}` in the error\n{output}");
        }
    }
}

#[test]
fn a_failing_hook_of_create_ends_the_container() {
    let hako = Runtime::new();
    for verb in ["create", "run"] {
        each(OF_CREATE, |kind| {
            let (mut bundle, note) = bundle_with_poststop(&hako);
            let third = failing(&mut bundle, kind, &note);
            let output = hako.on_bundle(&[verb], bundle.inspector("print ran")).output();
            hako.verify_gone(&bundle, &output);
            names_the_hook(&output, kind);
            assert_eq!(output.stdout, "", "the program ran");
            assert!(!third.exists(), "a hook ran after one had failed");
            assert_eq!(fs::read_to_string(&note).ok().as_deref(), Some("ran\n"), "poststop, once");
        });
    }
}

/// No peer reports it: theirs says that all is well.
#[test]
fn a_failing_start_container_hook_fails_start_and_ends_the_container() {
    let hako = Runtime::new();
    let (mut bundle, note) = bundle_with_poststop(&hako);
    failing(&mut bundle, "startContainer", &note);
    let container = hako.create(bundle.inspector("print ran"));
    let output = container.command(&["start"]).output();
    names_the_hook(&output, "startContainer");
    hako.verify_gone(&bundle, &output);
    assert!(matches!(container.wait(), Exit::Code(1..) | Exit::Signal(_)));
    assert_eq!(container.stdout(), "", "the program ran");
    assert_eq!(fs::read_to_string(&note).ok().as_deref(), Some("ran\n"), "poststop, once");
}

#[test]
fn a_failing_start_container_hook_fails_run() {
    let hako = Runtime::new();
    let (mut bundle, note) = bundle_with_poststop(&hako);
    failing(&mut bundle, "startContainer", &note);
    let output = hako.run(bundle.inspector("print ran"));
    names_the_hook(&output, "startContainer");
    assert_eq!(output.stdout, "", "the program ran");
    assert!(note.exists(), "poststop did not run");
}

#[test]
fn a_failing_poststart_hook_fails_start_and_ends_the_container() {
    let hako = Runtime::new();
    let (mut bundle, note) = bundle_with_poststop(&hako);
    let third = failing(&mut bundle, "poststart", &note);
    let container = hako.create(bundle.inspector("sleep 1000"));
    let output = container.command(&["start"]).output();
    names_the_hook(&output, "poststart");
    hako.verify_gone(&bundle, &output);
    assert_eq!(container.wait(), Exit::Signal(9));
    assert!(!third.exists(), "a hook ran after one had failed");
    assert_eq!(fs::read_to_string(&note).ok().as_deref(), Some("ran\n"), "poststop, once");
}

#[test]
fn a_failing_poststart_hook_fails_run() {
    let hako = Runtime::new();
    let (mut bundle, note) = bundle_with_poststop(&hako);
    failing(&mut bundle, "poststart", &note);
    names_the_hook(&hako.run(bundle.inspector("sleep 1000")), "poststart");
    assert!(note.exists(), "poststop did not run");
}

#[test]
fn a_failing_poststop_hook_is_a_warning_and_the_others_run() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let note = hako.scratch().join("note");
    let third = failing(&mut bundle, "poststop", &note);
    let warned = |output: &Output| {
        let warning =
            |line: &str| line.starts_with("hako: warning:") && line.contains("poststop hook #1");
        is_peer() || output.stderr.lines().any(warning)
    };
    let container = hako.serve(&bundle);
    container.kill("KILL").wait();
    let output = container.command(&["delete"]).output();
    assert!(output.code == Some(0) && warned(&output), "{output}");
    assert!(third.exists(), "the hooks after it did not run");
    hako.verify_gone(&bundle, &output);

    fs::remove_file(&third).unwrap();
    let output = hako.run(bundle.inspector("exit 7"));
    assert!(output.code == Some(7) && warned(&output), "{output}");
    assert!(third.exists(), "the hooks after it did not run");
}

#[test]
fn a_hook_killed_by_a_signal_has_failed() {
    let hako = Runtime::new();
    each(OF_CREATE, |kind| {
        let mut bundle = hako.bundle();
        bundle.set(&format!("/hooks/{kind}"), json!([shell("kill -SEGV $$")]));
        let output = hako.run(&bundle);
        output.fails(&format!("error running {kind} hook #0"));
        let named = output.stderr.contains("SIGSEGV") || output.stderr.contains("signal 11");
        assert!(is_peer() || named, "{output}");
    });
}

#[test]
fn a_hook_that_cannot_be_executed_has_failed() {
    let hako = Runtime::new();
    let plain = hako.file("plain", "not a program").display().to_string();
    each(["/no/such/hook", "/etc", &plain], |path| {
        each(OF_CREATE, |kind| {
            let mut bundle = hako.bundle();
            bundle.set(&format!("/hooks/{kind}"), json!([{ "path": path }]));
            let output = hako.run(&bundle);
            output.fails(&format!("error running {kind} hook #0"));
            assert!(is_peer() || output.stderr.contains(path), "{output}");
        });
    });
}

/// Sleeping processes that a hook leaves behind, told from all others by how
/// long they sleep. What is still there at the end of the test is killed.
pub struct Nap(pub String);

impl Nap {
    pub fn of(bundle: &Bundle) -> Self {
        let digits: String = bundle.id().chars().filter(char::is_ascii_digit).collect();
        Self(format!("sleep 1000.{digits}"))
    }

    pub fn sleepers(&self) -> Vec<i32> {
        let wanted = format!("{}\0", self.0.replace(' ', "\0"));
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let ours = entries.filter(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == wanted.as_bytes())
        });
        ours.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The child may still be the shell that is about to execute it.
    pub fn wait_for_a_sleeper(&self) {
        for _ in 0..1000 {
            if !self.sleepers().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("there was nobody to wait for");
    }
}

impl Drop for Nap {
    fn drop(&mut self) {
        for pid in self.sleepers() {
            let pid = rustix::process::Pid::from_raw(pid).expect("a process has a number");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // The harness, which looks for processes next, must not meet a dying one.
        while !self.sleepers().is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_hook_that_exceeds_its_timeout_is_killed_with_its_children() {
    let hako = Runtime::new();
    for kind in OF_CREATE {
        let mut bundle = hako.bundle();
        let nap = Nap::of(&bundle);
        let note = hako.scratch().join(kind);
        let mut hook = shell(&format!("{} & echo ran >{}; wait", nap.0, note.display()));
        hook["timeout"] = json!(1);
        bundle.set(&format!("/hooks/{kind}"), json!([hook]));
        let output = hako.run(&bundle);
        output.fails(&format!("error running {kind} hook #0"));
        assert!(is_peer() || output.stderr.contains("1 s"), "the timeout is not named\n{output}");
        let time = output.elapsed;
        assert!((1000..5000).contains(&time.as_millis()), "{time:?}");
        assert!(note.exists(), "the hook did not run");
        assert!(nap.sleepers().is_empty(), "{kind}: the child is still there");
    }
}

/// It holds the pipe that the hook's output goes to.
#[test]
fn a_process_left_behind_by_a_hook_is_not_waited_for() {
    let hako = Runtime::new();
    each(["NAP & true", "setsid NAP & true", "NAP & echo x >&2; exit 3"], |script| {
        each(["prestart", "createRuntime", "poststop"], |kind| {
            let mut bundle = hako.bundle();
            let nap = Nap::of(&bundle);
            let hook = shell(&script.replace("NAP", &nap.0));
            bundle.set(&format!("/hooks/{kind}"), json!([hook]));
            let command = hako.on_bundle(&["run"], bundle.inspector("sleep 0"));
            let output = hako.finish(command.timeout(Duration::from_secs(8)), &bundle);
            assert!(output.elapsed < Duration::from_secs(4), "{output}");
            let fails = script.ends_with('3') && *kind != "poststop";
            assert_eq!(output.code, Some(i32::from(fails)), "{output}");
            nap.wait_for_a_sleeper();
        });
    });
}

#[test]
fn a_timeout_is_no_reason_to_wait_for_processes_that_escaped() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let nap = Nap::of(&bundle);
    let mut hook = shell(&format!("setsid {0} & {0}", nap.0));
    hook["timeout"] = json!(1);
    bundle.set("/hooks/createRuntime", json!([hook]));
    let output = hako.run(&bundle);
    output.fails("error running createRuntime hook #0");
    assert!(output.elapsed < Duration::from_secs(5), "{output}");
    assert_eq!(nap.sleepers().len(), 1, "the one that is in another group");
}

#[test]
fn a_hook_within_its_timeout_is_left_alone() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let mut hook = shell("sleep 0.2");
    hook["timeout"] = json!(10);
    bundle.set("/hooks/createRuntime", json!([hook]));
    let output = hako.run(bundle.inspector("sleep 0")).ok();
    assert!(output.elapsed > Duration::from_millis(200), "the hook was not waited for\n{output}");
    assert!(output.elapsed < Duration::from_secs(5), "{output}");
}
