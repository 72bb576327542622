//! `kill`: how signals may be written, and whom they reach.

use hako_integration::{Bundle, Container, Exit, Runtime, each, is_peer};
use std::fs;

/// A container that reports every signal that arrives.
fn trapping<'r>(hako: &'r Runtime, bundle: &mut Bundle) -> Container<'r> {
    let container = hako.create(bundle.inspector("trap"));
    container.start().wait_for("\"trapping\"");
    container
}

#[test]
fn a_signal_may_be_written_in_many_ways() {
    // Peers do not know all of them.
    let rows = [
        ("USR1", "SIGUSR1"),
        ("SIGUSR1", "SIGUSR1"),
        ("sigusr1", "SIGUSR1"),
        ("usr1", "SIGUSR1"),
        ("10", "SIGUSR1"),
        ("HUP", "SIGHUP"),
        ("1", "SIGHUP"),
        ("SIGRTMIN", "SIGRTMIN+0"),
        ("RTMIN+3", "SIGRTMIN+3"),
        ("SIGRTMIN+3", "SIGRTMIN+3"),
        ("sigrtmin+3", "SIGRTMIN+3"),
        ("37", "SIGRTMIN+3"),
        ("SIGRTMAX-1", "SIGRTMIN+29"),
        ("RTMAX-1", "SIGRTMIN+29"),
        ("RTMAX", "SIGRTMIN+30"),
    ];
    let hako = Runtime::new();
    each(rows, |(written, received)| {
        let container = trapping(&hako, &mut hako.bundle());
        container.kill(written).wait_for(&format!("{{\"signal\":\"{received}\"}}"));
    });
}

#[test]
fn every_spelling_of_the_usual_signal_ends_a_container() {
    let hako = Runtime::new();
    each(["TERM", "SIGTERM", "15", "sigterm", ""], |written| {
        let container = trapping(&hako, &mut hako.bundle());
        if written.is_empty() {
            let _ = container.command(&["kill"]).output().ok();
        } else {
            container.kill(written);
        }
        assert_eq!(container.wait(), Exit::Code(42), "the code that says SIGTERM");
    });
}

#[test]
fn what_is_no_signal_is_refused() {
    let hako = Runtime::new();
    let container = trapping(&hako, &mut hako.bundle());
    let words = [
        "TERMINATE",
        "SIG",
        "SIGSIGTERM",
        "65",
        "999999999999",
        "15x",
        "1e1",
        "0x0f",
        "TERM ",
        " TERM",
        "RTMIN+31",
        "RTMIN-1",
        "RTMAX+1",
        "RTMAX-31",
        "RTMIN+",
        "RTMIN+x",
        "SIGRTMIN+-1",
        "-15",
        "-1",
    ];
    each(words, |word| {
        container.command(&["kill"]).arg(word).output().fails("");
        assert_eq!(container.stdout(), "\"trapping\"\n", "a signal arrived");
    });
    assert_eq!(container.status(), "running");
}

#[test]
fn options_may_come_anywhere() {
    let hako = Runtime::new();
    let rows: [&[&str]; 5] = [
        &["kill", "ID", "KILL", "--all"],
        &["kill", "--all", "ID", "KILL"],
        &["kill", "ID", "--all", "9"],
        &["kill", "-a", "ID", "SIGKILL"],
        &["kill", "ID", "9"],
    ];
    each(rows, |words| {
        let container = trapping(&hako, &mut hako.bundle());
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "ID" { container.id() } else { word }).collect();
        let _ = hako.command(&words).output().ok();
        assert_eq!(container.wait(), Exit::Signal(9));
    });
}

/// The state of a process as one letter; nothing when it is gone.
fn state(pid: u64) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn is_running(pid: u64) -> bool {
    !matches!(state(pid), None | Some('Z' | 'X'))
}

fn wait_for_end(pid: u64) {
    for _ in 0..500 {
        if !is_running(pid) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("process {pid} is still there");
}

#[test]
fn kill_reaches_the_first_process_alone() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let container = hako.serve(bundle.without_namespace("pid"));
    let child = container.ask("spawn-sleep")[0]["child"].as_u64().unwrap();
    container.kill("HUP");
    assert_eq!(container.wait(), Exit::Signal(1));
    assert!(is_running(child));
}

#[test]
fn kill_all_reaches_every_process() {
    let hako = Runtime::new();
    each([true, false], |own_pids| {
        let mut bundle = hako.bundle();
        if !*own_pids {
            bundle.without_namespace("pid");
        }
        let container = hako.serve(&bundle);
        let children = container.ask("spawn-sleep -- spawn-sleep");
        assert!(children[1]["child"].as_u64().is_some());
        let cgroup = hako_integration::cgroup_dir(bundle.cgroup()).join("cgroup.procs");
        let members = fs::read_to_string(&cgroup).unwrap();
        assert_eq!(members.lines().count(), 3);
        let _ = container.command(&["kill", "--all"]).arg("9").output().ok();
        assert_eq!(container.wait(), Exit::Signal(9));
        members.lines().for_each(|pid| wait_for_end(pid.parse().unwrap()));
    });
}

/// Any signal, not only the one that ends a whole cgroup.
#[test]
fn kill_all_sends_the_signal_it_was_given() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.without_namespace("pid");
    let container = hako.create(bundle.inspector("spawn-sleep -- trap"));
    container.start().wait_for("\"trapping\"");
    let line = container.stdout().lines().next().map(String::from).unwrap();
    let child: hako_integration::Value = serde_json::from_str(&line).unwrap();
    let _ = container.command(&["kill", "--all"]).arg("USR1").output().ok();
    container.wait_for("{\"signal\":\"SIGUSR1\"}");
    wait_for_end(child["child"].as_u64().unwrap());
    assert_eq!(container.status(), "running");
}

/// Engines send it when the first process may already be gone.
#[test]
fn kill_all_of_a_stopped_container_is_no_error() {
    let hako = Runtime::new();
    each([true, false], |own_pids| {
        let mut bundle = hako.bundle();
        if !*own_pids {
            bundle.without_namespace("pid");
        }
        let container = hako.serve(&bundle);
        let child = container.ask("spawn-sleep")[0]["child"].as_u64().unwrap();
        container.close_stdin();
        container.wait();
        assert!(*own_pids || is_running(child));
        let _ = container.command(&["kill", "--all"]).arg("9").output().ok();
        if !*own_pids {
            wait_for_end(child);
        }
    });
}

/// Nothing else would ever end those processes.
#[test]
fn kill_without_a_pid_namespace_ends_the_whole_container() {
    let hako = Runtime::new();
    each([true, false], |first_is_alive| {
        let mut bundle = hako.bundle();
        let container = hako.serve(bundle.without_namespace("pid"));
        let child = container.ask("spawn-sleep")[0]["child"].as_u64().unwrap();
        if !*first_is_alive {
            container.close_stdin();
            container.wait();
        }
        assert!(is_running(child));
        let output = container.command(&["kill"]).arg("KILL").output();
        if is_peer() && !*first_is_alive {
            return; // The versions of the peers differ here.
        }
        let _ = output.ok();
        wait_for_end(child);
    });
}

#[test]
fn an_unknown_container_cannot_be_killed() {
    let hako = Runtime::new();
    hako.command(&["kill", "nobody", "TERM"]).output().fails("does not exist");
    hako.command(&["kill", "--all", "nobody", "9"]).output().fails("does not exist");
}
