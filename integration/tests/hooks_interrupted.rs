//! Hooks that go on while hako, or the container, is to end.

use crate::hooks_failing::{Nap, shell};
use hako_integration::{Bundle, Command, Runtime, Value, each, json, wait_until};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Those that run until the container does.
const BEFORE_ITS_END: [&str; 5] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"];

/// A bundle with a hook of this kind that does not end by itself, and has a child.
fn hanging(hako: &Runtime, kind: &str) -> (Bundle, Nap) {
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let nap = Nap::of(&bundle);
    bundle.set(&format!("/hooks/{kind}"), json!([shell(&format!("{}; true", nap.0))]));
    (bundle, nap)
}

/// Whoever waits for hako waits for no hook of unknown length.
#[test]
fn a_hook_ends_with_a_run_that_is_told_to_end() {
    let hako = Runtime::new();
    each(BEFORE_ITS_END, |kind| {
        let (mut bundle, nap) = hanging(&hako, kind);
        let note = hako.scratch().join(format!("{kind}.note"));
        bundle.set("/hooks/poststop", json!([shell(&format!("echo ran >{}", note.display()))]));
        let running = hako.foreground(&bundle);
        nap.wait_for_a_sleeper();
        running.signal(Signal::TERM);
        let output = running.finish();
        hako.verify_gone(&bundle, &output);
        output.fails("hako was told to end");
        assert!(nap.sleepers().is_empty(), "the hook is still there");
        assert!(note.exists(), "poststop did not run");
    });
}

/// Each time it is told; all of them run.
#[test]
fn a_poststop_hook_ends_with_a_run_that_is_told_to_end() {
    let hako = Runtime::new();
    let (mut bundle, nap) = hanging(&hako, "poststop");
    let hook = bundle.get("/hooks/poststop/0").clone();
    bundle.set("/hooks/poststop", json!([hook, hook]));
    let running = hako.on_bundle(&["run"], bundle.inspector("sleep 0")).spawn();
    let mut seen = Vec::new();
    for _ in 0..2 {
        wait_until("a hook", || nap.sleepers().iter().any(|pid| !seen.contains(pid)));
        seen = nap.sleepers();
        running.signal(Signal::TERM);
    }
    let output = running.finish().ok();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.stderr.matches("hako was told to end").count(), 2, "{output}");
}

/// What nobody waits for any more ends with the container.
#[test]
fn a_hook_whose_hako_was_killed_ends_by_force() {
    let hako = Runtime::new();
    each(BEFORE_ITS_END, |kind| {
        let (bundle, nap) = hanging(&hako, kind);
        let running = hako.foreground(&bundle);
        nap.wait_for_a_sleeper();
        running.signal(Signal::KILL);
        let _ = running.finish();
        let output = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        hako.verify_gone(&bundle, &output);
        assert!(nap.sleepers().is_empty(), "the hook is still there");
    });
}

/// It is not waited for either: who creates the container gives up.
#[test]
fn a_hook_that_hangs_ends_by_force() {
    let hako = Runtime::new();
    each(["prestart", "createRuntime", "createContainer"], |kind| {
        let (bundle, nap) = hanging(&hako, kind);
        let creating = hako.on_bundle(&["create"], &bundle).spawn();
        nap.wait_for_a_sleeper();
        let output = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        assert_ne!(creating.finish().code, Some(0), "it was created");
        hako.verify_gone(&bundle, &output);
        assert!(output.elapsed < Duration::from_secs(5), "{output}");
        assert!(nap.sleepers().is_empty(), "the hook is still there");
    });
}

/// Its container is gone but for what knows of it.
#[test]
fn a_poststop_hook_whose_delete_was_killed_ends_by_force() {
    let hako = Runtime::new();
    let (bundle, nap) = hanging(&hako, "poststop");
    let deleting = hako.on_bundle(&["run"], bundle.clone().inspector("sleep 0")).spawn();
    nap.wait_for_a_sleeper();
    let [old] = nap.sleepers()[..] else { panic!("one hook") };
    deleting.signal(Signal::KILL);
    let _ = deleting.finish();
    let again = hako.command(&["delete", "--force", bundle.id()]).spawn();
    wait_until("another hook", || nap.sleepers().iter().any(|pid| *pid != old));
    drop(nap);
    let output = again.finish().ok();
    hako.verify_gone(&bundle, &output);
}

/// Not only `run`: nothing is half made, and no hook goes on alone.
#[test]
fn a_hook_ends_with_a_command_that_is_told_to_end() {
    let hako = Runtime::new();
    each(["prestart", "createRuntime", "createContainer"], |kind| {
        each([Signal::TERM, Signal::INT], |signal| {
            let (bundle, nap) = hanging(&hako, kind);
            let creating = hako.on_bundle(&["create"], &bundle).spawn();
            nap.wait_for_a_sleeper();
            creating.signal(*signal);
            let output = creating.finish();
            hako.verify_gone(&bundle, &output);
            output.fails("hako was told to end");
            assert!(nap.sleepers().is_empty(), "the hook is still there");
        });
    });
    let (mut bundle, nap) = hanging(&hako, "poststart");
    let container = hako.create(bundle.inspector("sleep 1000"));
    let starting = container.command(&["start"]).spawn();
    nap.wait_for_a_sleeper();
    starting.signal(Signal::TERM);
    let output = starting.finish();
    hako.verify_gone(&bundle, &output);
    output.fails("hako was told to end");
    assert!(nap.sleepers().is_empty(), "the hook is still there");
}

/// A bundle whose hooks of this kind take a while, and a file that they write to.
fn slow(hako: &Runtime, kind: &str) -> (Bundle, PathBuf) {
    let mut bundle = hako.bundle();
    let log = hako.scratch().join(format!("{}.{kind}", bundle.id()));
    let hook = |number| {
        shell(&format!(
            "echo begin{number} >>{0}; sleep 0.3; echo end{number} >>{0}",
            log.display()
        ))
    };
    bundle.set(&format!("/hooks/{kind}"), json!([hook(1), hook(2)]));
    (bundle, log)
}

fn lines(log: &PathBuf) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Whoever asks without force waits until others are done.
#[test]
fn no_plain_delete_ends_the_hooks_of_somebody_else() {
    let hako = Runtime::new();
    each(["poststart", "poststop"], |kind| {
        let (mut bundle, log) = slow(&hako, kind);
        let running = hako.on_bundle(&["run"], bundle.inspector("sleep 0")).spawn();
        wait_until("a hook", || !lines(&log).is_empty());
        let deleted = hako.command(&["delete", bundle.id()]).output();
        let output = running.finish().ok();
        hako.verify_gone(&bundle, &output);
        assert_eq!(lines(&log), ["begin1", "end1", "begin2", "end2"], "{output}\n{deleted}");
        assert_eq!(output.stderr, "");
        assert!(deleted.code == Some(0) || deleted.stderr.contains("does not exist"), "{deleted}");
    });
}

#[test]
fn force_waits_for_none_of_many_hooks() {
    let hako = Runtime::new();
    let (mut bundle, nap) = hanging(&hako, "poststop");
    let hook = bundle.get("/hooks/poststop/0").clone();
    let mut timed = hook.clone();
    timed["timeout"] = json!(1);
    bundle.set("/hooks/poststop", json!([hook, hook, timed]));
    let running = hako.on_bundle(&["run"], bundle.inspector("sleep 0")).spawn();
    nap.wait_for_a_sleeper();
    let forced = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    assert!(forced.elapsed < Duration::from_secs(5), "{forced}");
    let output = running.finish().ok();
    hako.verify_gone(&bundle, &output);
    assert!(nap.sleepers().is_empty(), "a hook is still there");
}

/// As it is told on standard input.
#[test]
fn state_is_what_hooks_are_told() {
    let hako = Runtime::new();
    let rows = [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("startContainer", "created"),
        ("poststart", "running"),
    ];
    each(rows, |(kind, status)| {
        let (mut bundle, nap) = hanging(&hako, kind);
        bundle.inspector("sleep 1000");
        let asked = || {
            nap.wait_for_a_sleeper();
            let state = hako.command(&["state", bundle.id()]).output().ok().json();
            assert_eq!(state["status"], *status);
            let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        };
        let at_once = hako.on_bundle(&["run"], &bundle).spawn();
        asked();
        hako.verify_gone(&bundle, &at_once.finish());
        let creating = hako.on_bundle(&["create"], &bundle).spawn();
        if kind.starts_with("start") || kind.starts_with("post") {
            let _ = creating.finish().ok();
            let starting = hako.command(&["start", bundle.id()]).spawn();
            asked();
            hako.verify_gone(&bundle, &starting.finish());
        } else {
            asked();
            hako.verify_gone(&bundle, &creating.finish());
        }
    });
}

/// Engines may have taken it away; whatever the hook cleans up is still there.
#[test]
fn a_poststop_hook_runs_without_its_bundle() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let note = hako.scratch().join("note");
    bundle.set("/hooks/poststop", json!([shell(&format!("pwd >{}", note.display()))]));
    let container = hako.create(bundle.inspector("sleep 1000"));
    let moved = bundle.dir().with_extension("moved");
    fs::rename(bundle.dir(), &moved).unwrap();
    let output = container.command(&["delete", "--force"]).output().ok();
    fs::rename(&moved, bundle.dir()).unwrap();
    assert_eq!(output.stderr, "");
    assert_eq!(fs::read_to_string(note).unwrap(), "/\n");
}

/// Nothing but its parent ends such a hook.
#[test]
fn a_hook_in_a_container_without_cgroup_and_pid_namespace_ends_with_init() {
    let hako = Runtime::new();
    each(["createContainer", "startContainer"], |kind| {
        let (mut bundle, nap) = hanging(&hako, kind);
        // The shell executes it itself: what it leaves behind is its own business.
        bundle.set(&format!("/hooks/{kind}"), json!([shell(&format!("exec {}", nap.0))]));
        bundle.without_namespace("pid").remove("/linux/cgroupsPath");
        let run: &[&str] = &["--cgroup-manager", "disabled", "run"];
        let running: Command = hako.on_bundle(run, &bundle);
        let running = running.spawn();
        nap.wait_for_a_sleeper();
        running.signal(Signal::KILL);
        let _ = running.finish();
        let output = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        hako.verify_gone(&bundle, &output);
        wait_until("its end", || nap.sleepers().is_empty());
    });
}

#[test]
fn a_warning_about_a_hook_has_a_place_and_advice() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let script = hako.file("no-program", "#!/no/such/shell\n");
    std::process::Command::new("chmod").arg("755").arg(&script).status().unwrap();
    let hook: Value = json!({ "path": script });
    bundle.set("/hooks/poststop", json!([hook]));
    let output = hako.run(bundle.inspector("sleep 0")).ok();
    for part in ["hako: warning: error running poststop hook #0", "config.json: /hooks/poststop/0"]
    {
        assert!(output.stderr.contains(part), "{output}");
    }
    assert_eq!(output.stderr.lines().count(), 1, "{output}");
}
