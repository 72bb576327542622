//! Terminals that are handed to an engine over a console socket.

use hako_integration::{
    Bundle, ConsoleSocket, Container, Exit, Runtime, Terminal, Value, each, json, mount_at,
};
use std::time::Duration;

/// Creates a container with a terminal, which an engine would now hold.
fn create<'r>(hako: &'r Runtime, bundle: &Bundle) -> (Container<'r>, Terminal) {
    let socket = ConsoleSocket::bind(&hako.scratch().join(format!("{}.sock", bundle.id())));
    let command = hako.on_bundle(&["create"], bundle).arg("--console-socket").arg(socket.path());
    let container = hako.make(command, bundle);
    let terminal = socket.terminal();
    (container, terminal)
}

fn with_terminal(hako: &Runtime, chain: &str) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/process/terminal", true).inspector(chain);
    bundle
}

/// Runs a chain on a terminal; one value each.
fn ask(hako: &Runtime, bundle: &Bundle) -> Vec<Value> {
    let (container, mut terminal) = create(hako, bundle);
    container.start();
    assert_eq!(container.wait(), Exit::Code(0));
    let text = terminal.read_to_end();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {text}"));
    text.lines().map(parse).collect()
}

#[test]
fn all_three_streams_are_the_terminal() {
    let hako = Runtime::new();
    let seen = ask(&hako, &with_terminal(&hako, "report"));
    let report = &seen[0];
    for stream in report["streams"].as_array().unwrap() {
        assert_eq!(stream["tty"], true, "{stream}");
        // As the kernel makes a terminal: an engine's client shows it raw.
        assert_eq!(stream["onlcr"], true, "{stream}");
        assert_eq!(
            (&stream["echo"], &stream["isig"], &stream["icanon"]),
            (&json!(true), &json!(true), &json!(true))
        );
        assert_eq!(stream["foreground_group"], report["process_group"], "{stream}");
    }
    assert_eq!(report["controlling_terminal"]["session"], true);
    assert_eq!((&report["session"], &report["pid"]), (&json!(1), &json!(1)));
    let numbers: Vec<&Value> =
        report["descriptors"].as_array().unwrap().iter().map(|open| &open["fd"]).collect();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn the_console_is_the_terminal() {
    let hako = Runtime::new();
    let bundle = with_terminal(&hako, "stat /dev/console -- follow /proc/self/fd/0 -- report");
    let seen = ask(&hako, &bundle);
    const PTS_MAJOR: u32 = 136;
    assert_eq!((&seen[0]["type"], &seen[0]["major"]), (&json!("char"), &json!(PTS_MAJOR)));
    assert_eq!(seen[0]["minor"], seen[1]["minor"]);
    assert_eq!(seen[0]["inode"], seen[1]["inode"]);
    assert_eq!(mount_at(&seen[2], "/dev/console")["type"], "devpts");
}

#[test]
fn the_terminal_belongs_to_the_user_of_the_process() {
    let hako = Runtime::new();
    let mut bundle =
        with_terminal(&hako, "tty -- open /dev/tty read,write -- open /dev/console write");
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let seen = ask(&hako, &bundle);
    assert_eq!(seen[0][0]["owner"], 1000);
    assert_eq!(seen[1..], ["ok", "ok"]);
}

#[test]
fn the_terminal_works_in_a_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = with_terminal(&hako, "tty -- open /dev/tty read,write");
    bundle.user_namespace(100_000);
    let seen = ask(&hako, &bundle);
    assert_eq!((&seen[0][0]["tty"], &seen[0][0]["owner"]), (&json!(true), &json!(0)));
    assert_eq!(seen[1], "ok");
}

#[test]
fn the_console_size_is_the_configured_one() {
    let hako = Runtime::new();
    let mut bundle = with_terminal(&hako, "tty");
    bundle.set("/process/consoleSize", json!({ "width": 101, "height": 37 }));
    let (container, mut terminal) = create(&hako, &bundle);
    assert_eq!(terminal.size(), (101, 37));
    container.start();
    container.wait();
    let seen: Value = serde_json::from_str(&terminal.read_to_end()).unwrap();
    assert_eq!(seen[1]["window"], json!({ "columns": 101, "rows": 37 }));
}

/// The window is the terminal's before the program sees it for the first time.
#[test]
fn a_size_that_is_set_before_start_is_there_from_the_beginning() {
    let hako = Runtime::new();
    let (container, mut terminal) = create(&hako, &with_terminal(&hako, "tty"));
    terminal.resize(90, 30);
    container.start();
    container.wait();
    let seen: Value = serde_json::from_str(&terminal.read_to_end()).unwrap();
    assert_eq!(seen[0]["window"], json!({ "columns": 90, "rows": 30 }));
}

#[test]
fn whoever_holds_the_terminal_can_resize_and_interrupt() {
    let hako = Runtime::new();
    let (container, mut terminal) = create(&hako, &with_terminal(&hako, "trap"));
    container.start();
    terminal.read_until("\"trapping\"\r\n");
    terminal.resize(132, 43);
    let seen = terminal.read_until("\n");
    let seen: Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(seen, json!({ "signal": "SIGWINCH", "window": { "columns": 132, "rows": 43 } }));
    terminal.write("\u{3}");
    terminal.read_until("{\"signal\":\"SIGINT\"}\r\n");
    terminal.write("\u{1c}");
    terminal.read_until("{\"signal\":\"SIGQUIT\"}\r\n");
    container.kill("TERM");
    assert_eq!(container.wait(), Exit::Code(42));
}

#[test]
fn what_is_typed_is_echoed_and_read() {
    let hako = Runtime::new();
    let (container, mut terminal) = create(&hako, &with_terminal(&hako, "cat"));
    container.start();
    terminal.write("hello\n");
    // Once by the terminal's echo, once by the program.
    let twice = "hello\r\nhello\r\n";
    assert_eq!(terminal.read_until(twice), twice);
    terminal.write("\u{4}");
    assert_eq!(container.wait(), Exit::Code(0));
    assert_eq!(terminal.read_to_end(), "{\"copied\":6}\r\n");
}

#[test]
fn the_end_of_the_terminal_hangs_the_container_up() {
    let hako = Runtime::new();
    let mut bundle = with_terminal(&hako, "sleep 1000");
    // In a pid namespace of its own, the first process may ignore the signal.
    bundle.without_namespace("pid");
    let (container, terminal) = create(&hako, &bundle);
    container.start();
    assert_eq!(container.wait_within(Duration::from_millis(50)), None);
    drop(terminal);
    assert_eq!(container.wait(), Exit::Signal(1));
}

#[test]
fn a_large_output_arrives_whole() {
    let hako = Runtime::new();
    let bundle = with_terminal(&hako, "read /large");
    let text: String = (0..40_000).map(|number| format!("{number:09} ")).collect();
    bundle.write("/large", &text);
    let (container, mut terminal) = create(&hako, &bundle);
    container.start();
    assert_eq!(terminal.read_to_end(), format!("\"{text}\"\r\n"));
    assert_eq!(container.wait(), Exit::Code(0));
}

#[test]
fn run_in_the_background_hands_the_terminal_over_as_well() {
    let hako = Runtime::new();
    let bundle = with_terminal(&hako, "trap");
    let socket = ConsoleSocket::bind(&hako.scratch().join("console.sock"));
    let command = hako.on_bundle(&["run", "--detach"], &bundle);
    let container = hako.make(command.arg("--console-socket").arg(socket.path()), &bundle);
    let mut terminal = socket.terminal();
    terminal.read_until("trapping");
    container.kill("TERM");
    assert_eq!(container.wait(), Exit::Code(42));
}

#[test]
fn a_terminal_needs_somebody_who_holds_it() {
    let hako = Runtime::new();
    each([&["create"][..], &["run", "--detach"]], |words| {
        let bundle = with_terminal(&hako, "tty");
        let output = hako.on_bundle(words, &bundle).output();
        output.refuses("/process/terminal");
        hako.verify_gone(&bundle, &output);
    });
}

#[test]
fn a_console_socket_is_of_no_use_without_a_terminal() {
    let hako = Runtime::new();
    each(["create", "run"], |verb| {
        let bundle = hako.bundle();
        let path = hako.scratch().join(format!("{verb}.sock"));
        let socket = ConsoleSocket::bind(&path);
        let command = hako.on_bundle(&[verb], &bundle).arg("--console-socket").arg(socket.path());
        hako.finish(command, &bundle).fails("console socket");
    });
}

#[test]
fn a_console_socket_that_nobody_listens_to_fails_create() {
    let hako = Runtime::new();
    let stale = hako.scratch().join("stale.sock");
    drop(ConsoleSocket::bind(&stale));
    let file = hako.file("file", "");
    let missing = hako.scratch().join("missing.sock");
    each([&stale, &file, &missing], |path| {
        let bundle = with_terminal(&hako, "tty");
        let command = hako.on_bundle(&["create"], &bundle).arg("--console-socket").arg(path);
        let output = command.output();
        output.fails(path.to_str().unwrap());
        hako.verify_gone(&bundle, &output);
    });
}

#[test]
fn a_terminal_needs_a_devpts() {
    let hako = Runtime::new();
    let mut bundle = with_terminal(&hako, "tty");
    bundle.config["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "devpts");
    let socket = ConsoleSocket::bind(&hako.scratch().join("console.sock"));
    let command = hako.on_bundle(&["create"], &bundle).arg("--console-socket").arg(socket.path());
    let output = command.output();
    output.fails("devpts");
    hako.verify_gone(&bundle, &output);
}
