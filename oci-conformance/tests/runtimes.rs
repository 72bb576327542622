//! The suite against runtimes that misbehave: what it says of them, and that it survives them.
//!
//! They need root, so they are run with `--ignored`. Some break a runtime that passes: it is named by `OCI_RUNTIME`.

// All of it is tests, also what is not marked as one.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A runtime that is a shell script.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str, script: &str) -> Self {
        let path = std::env::temp_dir().join(format!("oci-fake-{}-{name}", std::process::id()));
        let version = "[ \"$1\" != --version ] || { echo fake version 1; exit; }";
        fs::write(&path, format!("#!/bin/sh\n{version}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    /// A runtime that passes, but for what this sed script changes in config.json before `create`. `$option` is the mount option that the case is about.
    fn editing(name: &str, edit: &str) -> Self {
        let script = format!(
            r#"
            for word; do
                [ "$last" != --bundle ] || config=$word/config.json
                last=$word
            done
            option=${{last#oci-mount-options-}}
            case $option in
            slave-only-receives) option=rslave ;;
            private-does-not-receive) option=rprivate ;;
            esac
            if [ -n "$config" ]; then
                edited=$(tr -d ' \n' <"$config" | sed "{edit}")
                printf %s "$edited" >"$config"
            fi
            exec "$OCI_RUNTIME" "$@""#
        );
        Self::around(name, &script)
    }

    /// A runtime that passes, but for this command behind `create`; `$pid` is the container's.
    fn meddling(name: &str, command: &str) -> Self {
        let script = format!(
            r#"
            for word; do
                [ "$last" != --pid-file ] || file=$word
                last=$word
            done
            "$OCI_RUNTIME" "$@" || exit
            if [ -n "$file" ]; then
                pid=$(cat "$file")
                {command} >/dev/null
            fi"#
        );
        Self::around(name, &script)
    }

    /// A script around `$OCI_RUNTIME`, a runtime that passes the suite.
    fn around(name: &str, script: &str) -> Self {
        assert!(std::env::var_os("OCI_RUNTIME").is_some(), "OCI_RUNTIME is a runtime that passes");
        Self::new(name, script)
    }

    /// Runs the cases with this in their id.
    fn suite(&self, filter: &str) -> Output {
        self.command(filter).args(["--timeout", "5"]).output().unwrap()
    }

    fn command(&self, filter: &str) -> Command {
        let mut suite = Command::new(env!("CARGO_BIN_EXE_oci-conformance"));
        suite.args(["--format", "json", "--filter", filter, "--jobs", "2", "--runtime"]);
        suite.arg(&self.0);
        suite
    }

    /// The records of the cases with this in their id.
    fn records(&self, filter: &str) -> Vec<Value> {
        let results: Value = serde_json::from_slice(&self.suite(filter).stdout).unwrap();
        results["columns"][0]["records"].as_array().unwrap().clone()
    }

    /// The record of one case.
    fn record(&self, case: &str) -> Value {
        self.records(case).into_iter().find(|record| record["id"] == case).unwrap()
    }

    /// The mount options whose cases pass.
    fn passed_options(&self) -> Vec<String> {
        let passed = self.records("mount-options.").into_iter();
        let passed = passed.filter(|record| record["outcome"] == "pass");
        passed.map(|record| text(&record["id"]).replace("mount-options.", "")).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
#[ignore = "needs root"]
fn one_that_does_nothing_fails() {
    let fake = Fake::new("nothing", "exit 0");
    let output = fake.suite("lifecycle.create");
    assert_eq!(output.status.code(), Some(1));
    let record = fake.record("lifecycle.create");
    assert_eq!(record["outcome"], "fail");
    assert_eq!(text(&record["expected"]), "the pid of the container in --pid-file");
}

#[test]
#[ignore = "needs root"]
fn one_that_hangs_costs_its_timeout() {
    let fake = Fake::new("hangs", "exec sleep 1000");
    let begin = Instant::now();
    let record = fake.record("lifecycle.create");
    assert_eq!(record["got"], "it hangs", "{record}");
    assert_eq!(record["left"], serde_json::json!([]));
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

/// What is on the host of the suite that runs, or has run, with this pid.
fn remains(pid: u32) -> Vec<String> {
    let name = format!("oci-conformance-{pid}");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroups = table.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
    let cgroup = PathBuf::from(cgroups.split(' ').nth(4).unwrap()).join(&name);
    let places = [std::env::temp_dir().join(&name), cgroup].into_iter();
    let places = places.filter(|place| place.exists()).map(|place| place.display().to_string());
    let mounts = table.lines().filter(|line| line.contains(&name)).map(String::from);
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let command = fs::read_to_string(entry.ok()?.path().join("cmdline")).ok()?;
        command.contains(&name).then(|| command.replace('\0', " "))
    });
    places.chain(mounts).chain(processes).collect()
}

#[test]
#[ignore = "needs root"]
fn a_suite_that_is_told_to_end_cleans_up() {
    let fake = Fake::new("endless", "sleep 1000; exit");
    // One signal to the suite alone; one to all of its group, as a terminal does it.
    for (signal, group, code) in [("TERM", "", 143), ("INT", "-", 130)] {
        let mut suite = fake.command("lifecycle").process_group(0).spawn().unwrap();
        let pid = suite.id();
        let begin = Instant::now();
        // Its directory, its cgroup, and the processes of both cases that run.
        while remains(pid).iter().filter(|what| what.contains("--root=")).count() < 2 {
            assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", remains(pid));
            std::thread::sleep(Duration::from_millis(10));
        }
        let target = format!("{group}{pid}");
        assert!(
            Command::new("kill").args(["-s", signal, "--", &target]).status().unwrap().success()
        );
        assert_eq!(suite.wait().unwrap().code(), Some(code));
        assert_eq!(remains(pid), [""; 0]);
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}

#[test]
#[ignore = "needs root"]
fn one_that_kills_everything_kills_nothing_outside() {
    let mut witness = Command::new("sleep").arg("60").spawn().unwrap();
    let fake = Fake::new("kills", "kill -9 -1; kill -9 1; kill -9 $$");
    let record = fake.record("lifecycle.create");
    assert_eq!(record["outcome"], "fail", "{record}");
    assert!(witness.try_wait().unwrap().is_none(), "a process outside was killed");
    witness.kill().unwrap();
    witness.wait().unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_one_leaves_is_named_and_gone() {
    let script = "case \"$*\" in\n*create*)\n  sleep 1000 </dev/null >/dev/null 2>&1 &\n  \
                  mkdir /sys/fs/cgroup/litter\n  mount -t tmpfs tmpfs /mnt\n  ;;\nesac\nexit 1";
    let fake = Fake::new("litters", script);
    let record = fake.record("lifecycle.impossible-environment");
    assert_eq!(record["outcome"], "pass", "{record}");
    let left = record["left"].to_string();
    for what in ["(sleep)", "cgroup /sys/fs/cgroup/litter", "mount /mnt"] {
        assert!(left.contains(what), "{what} is not in {left}");
    }
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(" /mnt "), "the mount has reached the host");
}

/// Mount options of which the kernel shows nothing: they must be known, and that is all.
const UNSEEN: [&str; 7] =
    ["defaults", "iversion", "loud", "noiversion", "norelatime", "rnorelatime", "silent"];

#[test]
#[ignore = "needs root and OCI_RUNTIME"]
fn one_that_ignores_a_mount_option_fails_its_case() {
    let edit = r#"s/\[\"$option\",/[/g; s/,\"$option\"\([],]\)/\1/g; s/\[\"$option\"]/[]/g"#;
    assert_eq!(Fake::editing("ignores", edit).passed_options(), UNSEEN);
}

#[test]
#[ignore = "needs root and OCI_RUNTIME"]
fn one_that_does_not_know_a_mount_option_fails_its_case() {
    let edit = r#"s/\([[,]\)\"$option\"\([],]\)/\1\"no-such-option\"\2/g"#;
    assert_eq!(Fake::editing("knows-not", edit).passed_options(), [""; 0]);
}

#[test]
#[ignore = "needs root and OCI_RUNTIME"]
fn one_whose_exec_reaches_the_host_fails() {
    let script = r#"
        case " $* " in *" exec "*)
            while [ "$1" != exec ]; do shift; done
            shift 2
            exec "$@" ;;
        esac
        exec "$OCI_RUNTIME" "$@""#;
    let record = Fake::around("reaches", script).record("engine.exec-while-create-goes-on");
    assert!(text(&record["expected"]).starts_with("no way to the host's files"), "{record}");
}

#[test]
#[ignore = "needs root and OCI_RUNTIME"]
fn one_whose_terminal_keeps_newlines_as_they_are_fails() {
    let fake = Fake::meddling("raw", "stty -onlcr <\"/proc/$pid/fd/1\"");
    let record = fake.record("process.terminal-relays");
    assert_eq!(record["got"], r#""hello\n""#, "{record}");
}

#[test]
#[ignore = "needs root and OCI_RUNTIME"]
fn one_that_leaves_something_on_top_of_the_root_fails() {
    let mount = "nsenter --mount=\"/proc/$pid/ns/mnt\" /bin/inspector mount tmpfs / tmpfs";
    let fake = Fake::meddling("covers", mount);
    for case in ["root.dot-dot", "root.dot-dot-of-an-overlay"] {
        let record = fake.record(case);
        assert!(text(&record["expected"]).starts_with("what is in /.."), "{record}");
    }
}
