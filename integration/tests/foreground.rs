//! `run` in the foreground: signals pass through, and a terminal is joined to the caller's.

use hako_integration::{Bundle, Output, Runtime, Terminal, Value, each, json};
use rustix::process::Signal;
use std::process::{Command, Stdio};

fn with_terminal(hako: &Runtime, chain: &str) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/process/terminal", true).inspector(chain);
    bundle
}

/// `run` as typed at a terminal.
fn run_on(hako: &Runtime, terminal: &Terminal, bundle: &Bundle) -> hako_integration::Running {
    hako.on_bundle(&["run"], bundle).on_terminal(terminal).spawn()
}

/// How the terminal is set up, in the words of `stty`.
fn modes(terminal: &Terminal) -> String {
    let output =
        Command::new("stty").arg("-aF").arg(terminal.path()).output().expect("stty starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn signals_are_passed_on() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let mut running = hako.foreground(bundle.inspector("trap"));
    running.wait_for("\"trapping\"");
    let rows = [
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::WINCH, "SIGWINCH"),
        (Signal::CONT, "SIGCONT"),
    ];
    for (signal, name) in rows {
        running.signal(signal);
        running.wait_for(&format!("{{\"signal\":\"{name}\""));
    }
    running.signal(Signal::TERM);
    running.write("");
    let output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(42), "{output}");
}

/// Without a pid namespace the first process has no protection from signals.
#[test]
fn a_signal_that_kills_becomes_the_exit_code() {
    let hako = Runtime::new();
    each(
        [(Signal::TERM, 15), (Signal::INT, 2), (Signal::HUP, 1), (Signal::USR1, 10)],
        |(signal, number)| {
            let mut bundle = hako.bundle();
            bundle.without_namespace("pid").inspector("eprint ready -- print ready -- sleep 1000");
            let running = hako.foreground(&bundle);
            running.wait_for("ready");
            running.signal(*signal);
            let output = running.finish();
            hako.verify_gone(&bundle, &output);
            assert_eq!((output.code, output.signal), (Some(128 + number), None), "{output}");
        },
    );
}

#[test]
fn a_container_killed_by_another_command_ends_run() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let running = hako.foreground(bundle.inspector("print ready -- sleep 1000"));
    running.wait_for("ready");
    let _ = hako.command(&["kill", bundle.id(), "KILL"]).output().ok();
    let output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(137), "{output}");
}

#[test]
fn the_window_has_the_size_of_the_callers() {
    let hako = Runtime::new();
    let mut terminal = Terminal::open();
    terminal.resize(123, 45);
    let bundle = with_terminal(&hako, "tty -- trap");
    let running = run_on(&hako, &terminal, &bundle);
    let first = terminal.read_until("\n");
    let first: Value = serde_json::from_str(first.trim()).unwrap_or_else(|_| panic!("{first}"));
    assert_eq!(first[0]["window"], json!({ "columns": 123, "rows": 45 }));
    assert_eq!(first[0]["onlcr"], false);
    terminal.read_until("\"trapping\"");
    terminal.resize(80, 24);
    terminal.read_until("{\"signal\":\"SIGWINCH\",\"window\":{\"columns\":80,\"rows\":24}}");
    running.signal(Signal::TERM);
    let output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(42), "{output}");
}

/// The keys are the container's, not the runtime's.
#[test]
fn control_characters_are_for_the_container() {
    let hako = Runtime::new();
    let mut terminal = Terminal::open();
    let bundle = with_terminal(&hako, "trap");
    let running = run_on(&hako, &terminal, &bundle);
    terminal.read_until("\"trapping\"");
    for (key, signal) in [("\u{3}", "SIGINT"), ("\u{1c}", "SIGQUIT"), ("\u{1a}", "SIGTSTP")] {
        terminal.write(key);
        terminal.read_until(&format!("{{\"signal\":\"{signal}\"}}"));
    }
    running.signal(Signal::TERM);
    let output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(42), "{output}");
}

#[test]
fn typing_reaches_the_container_once() {
    let hako = Runtime::new();
    let mut terminal = Terminal::open();
    let bundle = with_terminal(&hako, "print ready -- cat");
    let running = run_on(&hako, &terminal, &bundle);
    terminal.read_until("ready\r\n");
    terminal.write("hello\n");
    // Echoed by the container's terminal alone; line ends are made by the caller's.
    assert_eq!(terminal.read_until("hello\r\nhello\r\n"), "hello\r\nhello\r\n");
    terminal.write("\u{4}");
    assert_eq!(terminal.read_to_end(), "{\"copied\":6}\r\n");
    let output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(0), "{output}");
}

#[test]
fn the_callers_terminal_is_as_before() {
    let hako = Runtime::new();
    each(["exit 3", "signal-self KILL", "no-such-command"], |chain| {
        let mut terminal = Terminal::open();
        let mut bundle = with_terminal(&hako, &format!("print ready -- {chain}"));
        bundle.without_namespace("pid");
        if chain.starts_with("no") {
            bundle.set("/process/args", ["/no/such/program"]);
        }
        let before = modes(&terminal);
        let output = run_on(&hako, &terminal, &bundle).finish();
        hako.verify_gone(&bundle, &output);
        assert_eq!(modes(&terminal), before);
        let seen = terminal.read_to_end();
        assert!(
            seen.contains(if chain.starts_with("no") { "/no/such/program" } else { "ready" }),
            "{seen}"
        );
    });
}

#[test]
fn a_large_output_arrives_whole() {
    let hako = Runtime::new();
    let mut terminal = Terminal::open();
    let bundle = with_terminal(&hako, "read /large");
    let text: String = (0..40_000).map(|number| format!("{number:09} ")).collect();
    bundle.write("/large", &text);
    let running = run_on(&hako, &terminal, &bundle);
    let seen = terminal.read_to_end();
    assert!(seen == format!("\"{text}\"\r\n"), "{} bytes of {}", seen.len(), text.len() + 4);
    let output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(0), "{output}");
}

/// As in `run -t ID </dev/null | less`.
#[test]
fn a_terminal_works_where_the_caller_has_none() {
    let hako = Runtime::new();
    let mut bundle = with_terminal(&hako, "tty -- read /large");
    bundle.write("/large", &"x".repeat(300_000));
    for stdin in [Stdio::null(), Stdio::piped()] {
        let command = hako.on_bundle(&["run"], &bundle).stdin(stdin);
        let seen = hako.finish(command, &bundle).ok().values();
        assert_eq!((&seen[0][0]["tty"], &seen[0][1]["tty"]), (&json!(true), &json!(true)));
        assert_eq!(seen[1].as_str().map(str::len), Some(300_000));
    }
    let mut running = hako.foreground(bundle.inspector("print ready -- cat"));
    running.wait_for("ready");
    running.write("from the pipe\n\u{4}");
    let output: Output = running.finish();
    hako.verify_gone(&bundle, &output);
    assert!(output.stdout.ends_with("from the pipe\nfrom the pipe\n{\"copied\":14}\n"), "{output}");
}

/// A child that keeps the terminal open must not keep `run` from ending.
#[test]
fn the_end_does_not_wait_for_those_who_keep_the_terminal() {
    let hako = Runtime::new();
    let mut terminal = Terminal::open();
    let mut bundle = with_terminal(&hako, "spawn-sleep -- exit 5");
    bundle.without_namespace("pid");
    let output = run_on(&hako, &terminal, &bundle).finish();
    hako.verify_gone(&bundle, &output);
    assert_eq!(output.code, Some(5), "{output}");
    assert!(terminal.read_until("}").contains("child"));
}
