//! `pause` and `resume`.

use hako_integration::{Bundle, Runtime, cgroup_dir, each, is_peer, wait_until};
use std::fs;
use std::time::Duration;

/// A container whose program counts into a file, and the file.
fn counting(hako: &Runtime) -> (Bundle, std::path::PathBuf) {
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let count = bundle.write("/count", "0");
    let script = "i=0; while :; do i=$((i+1)); echo $i > /count; usleep 2000; done";
    bundle.set("/process/args", ["/bin/busybox", "sh", "-c", script]);
    bundle.set("/root/readonly", false);
    (bundle, count)
}

fn read(path: &std::path::Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let hako = Runtime::new();
    let (bundle, count) = counting(&hako);
    let container = hako.create(&bundle);
    container.start();
    wait_until("it counts", || read(&count).trim().len() > 1);
    for _ in 0..2 {
        let _ = container.command(&["pause"]).output().ok();
        assert_eq!(container.status(), "paused");
        let list = hako.command(&["list", "--format", "json"]).output().ok().json();
        assert_eq!(list[0]["status"], "paused");
        let before = read(&count);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(read(&count), before, "it goes on");
        let exec = container.command(&["exec"]).arg("/bin/inspector").output();
        assert_ne!(exec.code, Some(0));
        assert!(exec.stderr.contains("paused"), "{exec}");
        let _ = container.command(&["resume"]).output().ok();
        assert_eq!(container.status(), "running");
        wait_until("it goes on", || read(&count) != before);
    }
}

#[test]
fn a_paused_container_can_be_ended() {
    let hako = Runtime::new();
    let end: [(&str, &[&[&str]]); 3] = [
        ("kill", &[&["kill"]]),
        ("kill --all", &[&["kill", "--all"]]),
        ("delete --force", &[&["delete", "--force"]]),
    ];
    each(end, |(name, words)| {
        let container = hako.serve(&hako.bundle());
        let _ = container.command(&["pause"]).output().ok();
        let command = container.command(words[0]);
        let command = if name.starts_with("kill") { command.arg("KILL") } else { command };
        let _ = command.output().ok();
        let _ = container.wait();
        if name.starts_with("kill") {
            assert_eq!(container.status(), "stopped");
            container.delete();
        }
    });
}

#[test]
fn other_signals_arrive_when_it_is_resumed() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/args", ["/bin/inspector", "trap"]);
    let container = hako.create(&bundle);
    container.start();
    container.wait_for("\n");
    let _ = container.command(&["pause"]).output().ok();
    container.kill("USR1");
    std::thread::sleep(Duration::from_millis(50));
    let before = container.stdout();
    let _ = container.command(&["resume"]).output().ok();
    wait_until("the signal arrives", || container.stdout() != before);
}

#[test]
fn a_created_container_can_be_paused_but_not_started_then() {
    let hako = Runtime::new();
    let container = hako.create(&hako.bundle());
    let _ = container.command(&["pause"]).output().ok();
    assert_eq!(container.status(), "paused");
    container.command(&["start"]).output().fails("paused");
    let _ = container.command(&["resume"]).output().ok();
    assert_eq!(container.status(), "created");
    container.start();
}

#[test]
fn only_what_runs_is_paused_and_only_what_is_paused_resumed() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("exit 0");
    let container = hako.create(&bundle);
    container.command(&["resume"]).output().fails("not paused");
    container.start();
    let _ = container.wait();
    container.command(&["pause"]).output().fails("not running");
    container.command(&["resume"]).output().fails("not paused");
    hako.command(&["pause", "nosuch"]).output().fails("does not exist");
}

/// Somebody else may put processes into it at any time.
#[test]
fn a_cgroup_that_hako_did_not_make_is_never_frozen() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let directory = cgroup_dir(bundle.cgroup());
    fs::create_dir_all(&directory).unwrap();
    let container = hako.serve(&bundle);
    container.command(&["pause"]).output().fails("no cgroup that hako made");
    assert_eq!(read(&directory.join("cgroup.freeze")).trim(), "0");
    container.kill("KILL");
    let _ = container.wait();
    container.delete();
    fs::remove_dir(&directory).unwrap();
}

#[test]
fn a_frozen_or_populated_cgroup_is_refused() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let directory = cgroup_dir(bundle.cgroup());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("cgroup.freeze"), "1").unwrap();
    hako.on_bundle(&["run"], &bundle).output().fails("frozen");
    fs::write(directory.join("cgroup.freeze"), "0").unwrap();
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(directory.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    hako.on_bundle(&["run"], &bundle).output().fails("container's cgroup is not empty");
    let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    let _ = stranger.wait();
    wait_until("the cgroup can be removed", || fs::remove_dir(&directory).is_ok());
}
