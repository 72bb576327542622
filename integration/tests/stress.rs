//! Many containers, and runtimes that are killed at any moment: nothing is ever left.

use hako_integration::{Bundle, Runtime, each, is_peer, json, make_executable};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn a_thousand_runs_in_a_row_leave_nothing() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("print ran -- exit 3").save();
    for number in 0..1000 {
        let command = hako.command(&["run", "--bundle"]).arg(bundle.dir()).last(bundle.id());
        let output = command.output();
        let end = (output.code, output.stdout.as_str());
        assert_eq!(end, (Some(3), "ran\n"), "run {number}\n{output}");
        hako.verify_gone(&bundle, &output);
    }
}

#[test]
fn a_hundred_runs_at_once_all_end_and_leave_nothing() {
    let hako = Runtime::new();
    let bundles: Vec<Bundle> = (0..100).map(|_| hako.bundle()).collect();
    let start = |(number, bundle): (usize, &Bundle)| {
        let mut bundle = bundle.clone();
        bundle.inspector(&format!("print {number} -- exit {}", number % 7));
        hako.on_bundle(&["run"], &bundle).timeout(Duration::from_secs(60)).spawn()
    };
    let running: Vec<_> = bundles.iter().enumerate().map(start).collect();
    for (number, running) in running.into_iter().enumerate() {
        let output = running.finish();
        let code = i32::try_from(number % 7).unwrap();
        assert_eq!((output.code, &output.stdout), (Some(code), &format!("{number}\n")), "{output}");
        hako.verify_gone(&bundles[number], &output);
    }
}

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Starts a command, kills it after so many microseconds, and looks whether
/// `delete --force` finds and removes everything.
fn kill_after(hako: &Runtime, verb: &str, bundle: &Bundle, microseconds: u64) {
    let words: &[&str] = match verb {
        "create" | "run" => &[verb],
        "start" => &["start", bundle.id()],
        _ => &["delete", "--force", bundle.id()],
    };
    let running = match verb {
        "create" | "run" => hako.on_bundle(words, bundle).spawn(),
        _ => {
            let _ = hako.on_bundle(&["create"], bundle).output().ok();
            hako.command(words).spawn()
        }
    };
    std::thread::sleep(Duration::from_micros(microseconds));
    running.signal(Signal::KILL);
    let killed = running.finish();
    let begin = Instant::now();
    let output = hako.command(&["delete", "--force", bundle.id()]).output();
    assert_eq!(output.code, Some(0), "{verb} killed after {microseconds} us\n{killed}{output}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{output}");
    assert!(is_peer() || output.stderr.is_empty(), "it warns of what cannot be: {output}");
    hako.verify_gone(bundle, &output);
    // The id is free again, and works.
    if microseconds.is_multiple_of(8) {
        let mut bundle = bundle.clone();
        assert_eq!(hako.run(bundle.inspector("print ran")).ok().stdout, "ran\n");
    }
}

#[test]
fn a_runtime_killed_at_any_moment_leaves_what_delete_by_force_removes() {
    let hako = Runtime::new();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut bundle = hako.bundle();
    bundle.inspector("sleep 1000");
    let moments: Vec<(&str, u64)> = (0..200)
        .map(|n| (["create", "run", "start", "delete"][n % 4], dice.throw(15_000)))
        .collect();
    each(moments, |(verb, microseconds)| kill_after(&hako, verb, &bundle, *microseconds));
}

/// With the first moments more closely: they pass quickly.
#[test]
fn a_runtime_killed_early_leaves_what_delete_by_force_removes() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000).inspector("sleep 1000");
    let moments = (0..100).map(|n| (["create", "run"][n % 2], n as u64 * 80));
    each(moments, |(verb, microseconds)| kill_after(&hako, verb, &bundle, *microseconds));
}

#[test]
fn two_deletions_at_once_do_not_get_in_each_others_way() {
    let hako = Runtime::new();
    for _ in 0..20 {
        let mut bundle = hako.bundle();
        bundle.inspector("sleep 1000");
        let _ = hako.on_bundle(&["run", "--detach"], &bundle).output().ok();
        let state = hako.command(&["state", bundle.id()]).output().ok().json();
        assert_eq!(state["status"], "running");
        let both = [0, 1].map(|_| hako.command(&["delete", "--force", bundle.id()]).spawn());
        for running in both {
            let output = running.finish().ok();
            hako.verify_gone(&bundle, &output);
        }
    }
}

/// An engine asks for the state at any time.
#[test]
fn the_state_can_be_asked_for_while_everything_changes() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("exit 0");
    for _ in 0..30 {
        let running = hako.on_bundle(&["run"], &bundle).spawn();
        for _ in 0..5 {
            let state = hako.command(&["state", bundle.id()]).output();
            match state.code {
                Some(0) => {
                    let status = state.json()["status"].as_str().map(String::from).unwrap();
                    let known = ["creating", "created", "running", "stopped"];
                    assert!(known.contains(&status.as_str()), "{state}");
                }
                // Before and after its life, and for a moment while it begins.
                _ if state.stderr.contains("being created") => state.fails(""),
                _ => state.fails("does not exist"),
            }
        }
        let output = running.finish().ok();
        hako.verify_gone(&bundle, &output);
    }
}

/// Whoever dies first, the runtime or the container's first process, the reason must get through.
#[test]
fn every_failure_is_told_every_time() {
    let hako = Runtime::new();
    let rows = [
        ("/process/args", json!(["/no/such/program"]), "/no/such/program"),
        ("/root/path", json!("no-such-root"), "no-such-root"),
        (
            "/mounts/1",
            json!({ "destination": "/dev", "type": "tmpfs", "source": "t", "options": ["size=x"] }),
            "size",
        ),
        (
            "/hooks/createContainer",
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 1"] }]),
            "no luck",
        ),
    ];
    each(rows, |(pointer, value, reason)| {
        let mut bundle = hako.bundle();
        bundle.set(pointer, value.clone());
        for verb in ["create", "run"] {
            for _ in 0..40 {
                hako.finish(hako.on_bundle(&[verb], &bundle), &bundle).fails(reason);
            }
        }
    });
}

#[test]
fn a_program_that_cannot_be_executed_is_told_every_time() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    make_executable(&bundle.write("/app", "#!/no/such/interpreter\n"));
    bundle.set("/process/args", ["/app"]);
    for _ in 0..100 {
        hako.run(&bundle).fails("/app");
    }
}
