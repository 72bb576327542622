//! `SCMP_ACT_NOTIFY`: an agent decides in the container's place.

use hako_integration::{Agent, Bundle, Runtime, Told, json};
use std::fs::File;
use std::os::fd::AsFd;

const EBUSY: i32 = 16;

/// An agent that is asked about these calls of the container.
fn agent(hako: &Runtime, bundle: &mut Bundle, names: &[&str]) -> Agent {
    let agent = Agent::bind(&hako.scratch().join(format!("{}.sock", bundle.id())));
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent.path(),
        "listenerMetadata": "for the agent",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }],
    });
    bundle.set("/linux/seccomp", profile);
    agent
}

fn is_described(told: &Told, bundle: &Bundle, pid: u32, status: &str) {
    let state = &told.state;
    assert_eq!(state["ociVersion"], "1.3.0", "{state}");
    assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
    assert_eq!(state["metadata"], "for the agent", "{state}");
    assert_eq!(state["pid"], pid, "{state}");
    assert_eq!(state["state"]["id"], bundle.id(), "{state}");
    assert_eq!(state["state"]["status"], status, "{state}");
    assert_eq!(state["state"]["bundle"], json!(bundle.dir()), "{state}");
    assert_eq!(state["state"]["annotations"]["org.example"], "yes", "{state}");
}

#[test]
fn an_agent_answers_refuses_allows_and_gives_descriptors() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/annotations", json!({ "org.example": "yes" }));
    let agent = agent(&hako, &mut bundle, &["getpid"]);
    bundle.inspector(
        "syscall getpid -- syscall getpid -- syscall getpid -- syscall getpid -- syscall getppid",
    );
    let running = hako.foreground(&bundle);
    let told = agent.hear();
    told.next().answer(4711);
    told.next().fail(EBUSY);
    told.next().allow();
    let file = File::open("/dev/null").unwrap();
    told.next().give(file.as_fd());
    let output = running.finish().ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "4711");
    assert_eq!(lines[1], r#"{"errno":"EBUSY"}"#);
    assert_eq!(lines[2], "1");
    assert_eq!(lines[3], "3");
    assert!(!agent.is_called(), "one state for each connection, one connection for each process");
    assert_eq!(told.state["state"]["status"], "creating");
}

#[test]
fn the_agent_hears_at_start_and_again_for_every_other_program() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/annotations", json!({ "org.example": "yes" }));
    let agent = agent(&hako, &mut bundle, &["personality"]);
    bundle.inspector("serve");
    let container = hako.create(&bundle);
    assert!(!agent.is_called());
    let started = container.command(&["start"]).spawn();
    let told = agent.hear();
    let _ = started.finish().ok();
    is_described(&told, &bundle, container.pid(), "created");

    let exec = container.exec(&[], "syscall personality 0").spawn();
    let other = agent.hear();
    assert_eq!(other.state["state"]["status"], "running");
    assert_ne!(other.state["pid"], told.state["pid"]);
    other.next().answer(7);
    assert_eq!(exec.finish().ok().stdout.trim(), "7");
    container.kill("KILL");
    container.wait();
}

#[test]
fn a_call_fails_when_the_agent_has_died() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let agent = agent(&hako, &mut bundle, &["getpid"]);
    bundle.inspector("syscall getpid -- syscall getpid");
    let running = hako.foreground(&bundle);
    let told = agent.hear();
    assert!(told.next().number() > 0);
    drop(told);
    let output = running.finish().ok();
    assert_eq!(output.stdout, "{\"errno\":\"ENOSYS\"}\n{\"errno\":\"ENOSYS\"}\n");
}

#[test]
fn without_its_agent_no_container_is_made() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let listening = agent(&hako, &mut bundle, &["getpid"]);
    let path = listening.path().to_path_buf();
    drop(listening);
    // A socket that nobody listens at any more, no socket, and nothing at all.
    hako.refuses(&bundle, "/linux/seccomp/listenerPath").fails("cannot reach the seccomp agent");
    std::fs::remove_file(&path).unwrap();
    hako.refuses(&bundle, "/linux/seccomp/listenerPath").fails("no such file");
    std::fs::write(&path, "").unwrap();
    hako.refuses(&bundle, "/linux/seccomp/listenerPath");
}

#[test]
fn an_agent_that_went_away_before_start_leaves_the_container_created() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let listening = agent(&hako, &mut bundle, &["getpid"]);
    bundle.inspector("print ran");
    let container = hako.create(&bundle);
    let path = listening.path().to_path_buf();
    drop(listening);
    container.command(&["start"]).output().fails("cannot reach the seccomp agent");
    assert_eq!(container.status(), "created");
    std::fs::remove_file(&path).unwrap();
    let back = Agent::bind(&path);
    let started = container.command(&["start"]).spawn();
    let _told = back.hear();
    let _ = started.finish().ok();
    container.wait();
}
