//! `exec --tty`: terminals of further processes.

use hako_integration::{ConsoleSocket, Exit, Runtime, Terminal, json, reap};

#[test]
fn a_terminal_in_the_foreground_is_the_callers() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let mut terminal = Terminal::open();
    terminal.resize(91, 37);
    let exec = container.exec(&["--tty"], "tty -- print done").on_terminal(&terminal).spawn();
    let text = terminal.read_until("done");
    assert_eq!(exec.finish().code, Some(0));
    let line = text.lines().next().unwrap().trim_end();
    let streams: hako_integration::Value = serde_json::from_str(line).expect(&text);
    for stream in streams.as_array().unwrap() {
        assert_eq!(stream["tty"], true, "{stream}");
        assert_eq!(stream["window"], json!({ "columns": 91, "rows": 37 }), "{stream}");
    }
}

#[test]
fn a_resize_and_a_key_reach_the_program() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let mut terminal = Terminal::open();
    let exec = container.exec(&["-t"], "serve").on_terminal(&terminal).spawn();
    let _ = terminal.read_until("serving");
    terminal.resize(33, 22);
    terminal.write("tty\n");
    let _ = terminal.read_until("\"columns\":33,\"rows\":22");
    // The terminal turns the key into a signal for its foreground group.
    terminal.write("\x03");
    assert_eq!(exec.finish().code, Some(128 + 2));
}

#[test]
fn a_console_socket_gets_the_terminal() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let socket = ConsoleSocket::bind(&hako.scratch().join("console.sock"));
    let path = socket.path().to_str().unwrap();
    let pid_file = hako.scratch().join("pid");
    let file = pid_file.to_str().unwrap();
    let options = ["--detach", "--tty", "--console-socket", path, "--pid-file", file];
    let exec = container.exec(&options, "report").spawn();
    let mut terminal = socket.terminal();
    assert_eq!(exec.finish().code, Some(0));
    let text = terminal.read_to_end();
    let report: hako_integration::Value = serde_json::from_str(text.trim()).expect(&text);
    assert_eq!(report["controlling_terminal"]["session"], true);
    let open = report["descriptors"].as_array().unwrap();
    assert_eq!(open.len(), 3, "{open:?}");
    let pid = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
    assert_eq!(reap(pid), Exit::Code(0));
}

#[test]
fn a_terminal_must_go_somewhere() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    let output = container.exec(&["--detach", "--tty"], "report").output();
    assert!(output.code == Some(255), "{output}");
    assert!(output.stderr.contains("cannot allocate tty"), "{output}");
    let socket = ConsoleSocket::bind(&hako.scratch().join("console.sock"));
    let path = socket.path().to_str().unwrap();
    let output = container.exec(&["--console-socket", path], "report").output();
    assert!(output.code == Some(255), "{output}");
    assert!(output.stderr.contains("cannot use console socket"), "{output}");
}
