//! Standard streams, terminals and the foreground of what was restored.

use super::checkpoint::{
    checkpoint, counted_and_saved, counting, goes_on_from, restore, restoring, start,
};
use hako_integration::{Bundle, ConsoleSocket, Exit, Runtime, Terminal};
use rustix::process::Signal;
use std::path::PathBuf;

#[test]
fn pipes_lead_to_whoever_restores() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let script = "i=0; while :; do i=$((i+1)); [ $((i % 5000)) = 0 ] && echo $i; done";
    bundle.set("/process/args", ["/bin/busybox", "sh", "-c", script].to_vec());
    bundle.set("/root/readonly", false);
    let images = hako.scratch().join("images");
    let last = |container: &hako_integration::Container| {
        container.wait_for("0\n");
        let text = container.stdout();
        text.lines().last().unwrap().parse::<u64>().unwrap()
    };
    let container = start(&hako, &bundle);
    let before = last(&container);
    let _ = checkpoint(&container, &images, &[]).output().ok();
    drop(container);
    let container = restore(&hako, &bundle, &images);
    assert!(last(&container) > before, "it goes on, on the streams of restore");
}

/// The images of a shell that does something first, and then counts on its terminal.
fn saved_on_a_terminal(hako: &Runtime, first: &str) -> (Bundle, PathBuf) {
    let mut bundle = hako.bundle();
    bundle.install_busybox();
    let script =
        format!("{first}i=0; while :; do i=$((i+1)); [ $((i % 20000)) = 0 ] && echo at $i; done");
    bundle.set("/process/args", ["/bin/busybox", "sh", "-c", &script].to_vec());
    bundle.set("/process/terminal", true).set("/root/readonly", false);
    let images = hako.scratch().join("images");
    let socket = ConsoleSocket::bind(&hako.scratch().join("first.sock"));
    let run = hako.on_bundle(&["run", "--detach"], &bundle).arg("--console-socket");
    let container = hako.make(run.arg(socket.path()), &bundle);
    let mut terminal = socket.terminal();
    terminal.read_until("at 20000");
    let _ = checkpoint(&container, &images, &[]).output().ok();
    (bundle, images)
}

#[test]
fn a_restored_terminal_goes_to_the_console_socket() {
    let hako = Runtime::new();
    let (bundle, images) = saved_on_a_terminal(&hako, "");
    restoring(&hako, &bundle, &images).output().fails("console socket");
    let socket = ConsoleSocket::bind(&hako.scratch().join("second.sock"));
    let command = restoring(&hako, &bundle, &images).arg("--console-socket").arg(socket.path());
    let container = hako.make(command, &bundle);
    let mut terminal = socket.terminal();
    terminal.read_until("at ");
    terminal.resize(91, 17);
    let size =
        container.command(&["exec"]).args(["/bin/busybox", "stty", "size", "-F", "/dev/pts/0"]);
    assert_eq!(size.output().ok().stdout.trim(), "17 91", "it is the container's own");
}

#[test]
fn restore_waits_for_the_container_and_passes_signals_on() {
    let hako = Runtime::new();
    let (bundle, numbers) = counting(&hako);
    let images = hako.scratch().join("images");
    let before = counted_and_saved(&hako, &bundle, &numbers, &images);
    let restore = hako.on_bundle(&["restore"], &bundle).arg("--image-path").arg(&images).spawn();
    goes_on_from(&numbers, before);
    // Init of a pid namespace takes no signals but those it handles, and this one.
    let _ = hako.command(&["kill", bundle.id(), "KILL"]).output().ok();
    let output = restore.finish();
    assert_eq!(output.code, Some(137), "{output}");
    hako.verify_gone(&bundle, &output);
}

#[test]
fn a_terminal_in_the_foreground_is_restored_to_the_caller_s() {
    let hako = Runtime::new();
    let (bundle, images) = saved_on_a_terminal(&hako, "trap 'echo got it; exit 7' INT; ");
    let mut terminal = Terminal::open();
    let command = hako.on_bundle(&["restore"], &bundle).arg("--image-path").arg(&images);
    let running = command.on_terminal(&terminal).spawn();
    terminal.read_until("at ");
    running.signal(Signal::INT);
    terminal.read_until("got it");
    let output = running.finish();
    assert_eq!(output.code, Some(7), "{output}");
    hako.verify_gone(&bundle, &output);
}

#[test]
fn an_answering_program_is_restored() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/root/readonly", false);
    let images = hako.scratch().join("images");
    let container = hako.serve(&bundle);
    let _ = container.ask("write /dev/shm/x first");
    let _ = checkpoint(&container, &images, &[]).output().ok();
    assert_eq!(container.wait(), Exit::Signal(9));
    drop(container);
    let container = restore(&hako, &bundle, &images);
    assert_eq!(container.ask("read /dev/shm/x"), ["first"]);
}
