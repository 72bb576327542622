//! Service managers: sd_notify(3) and sd_listen_fds(3).

use hako_integration::{Bundle, Exit, Runtime, Value, each, in_set};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// A service manager's socket.
fn supervisor(hako: &Runtime) -> (UnixDatagram, PathBuf) {
    let path = hako.scratch().join("supervisor.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    (socket, path)
}

fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    let length = socket.recv(&mut buffer).expect("a notification");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// A service that takes its time, lies about its pid, and stays.
fn service(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.inspector(
        "notify STATUS=starting -- notify READY=1 MAINPID=1 -- notify READY=1 -- sleep 100",
    );
    bundle
}

#[test]
fn start_returns_when_the_service_is_ready() {
    let hako = Runtime::new();
    let (socket, path) = supervisor(&hako);
    let bundle = service(&hako);
    let variable = path.to_str().unwrap();
    let create = hako.on_bundle(&["create"], &bundle).env("NOTIFY_SOCKET", variable);
    let container = hako.make(create, &bundle);
    let _ = container.command(&["start"]).env("NOTIFY_SOCKET", variable).output().ok();
    assert_eq!(heard(&socket), format!("MAINPID={}\nREADY=1", container.pid()));
}

#[test]
fn run_in_the_background_waits_as_well() {
    let hako = Runtime::new();
    let (socket, path) = supervisor(&hako);
    let bundle = service(&hako);
    let run = hako.on_bundle(&["run", "--detach"], &bundle);
    let container = hako.make(run.env("NOTIFY_SOCKET", path.to_str().unwrap()), &bundle);
    assert_eq!(heard(&socket), format!("MAINPID={}\nREADY=1", container.pid()));
    assert_eq!(container.status(), "running");
}

#[test]
fn run_in_the_foreground_passes_it_on_once() {
    let hako = Runtime::new();
    let (socket, path) = supervisor(&hako);
    let mut bundle = hako.bundle();
    bundle.inspector("notify READY=1 -- notify READY=1 -- exit 3");
    let run = hako.on_bundle(&["run"], &bundle).env("NOTIFY_SOCKET", path.to_str().unwrap());
    assert_eq!(hako.finish(run, &bundle).code, Some(3));
    assert!(heard(&socket).ends_with("\nREADY=1"));
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 10]).is_err(), "only once");
}

/// A runtime that is slow hears both at once: that it is ready, and its end.
#[test]
fn what_a_service_says_before_its_end_is_passed_on() {
    let hako = Runtime::new();
    let (socket, path) = supervisor(&hako);
    let mut bundle = hako.bundle();
    bundle.inspector("print up -- sleep 1 -- notify READY=1 -- exit 3");
    let run = hako.on_bundle(&["run"], &bundle).env("NOTIFY_SOCKET", path.to_str().unwrap());
    let running = run.spawn();
    running.wait_for("up");
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(2));
    running.signal(Signal::CONT);
    assert_eq!(running.finish().code, Some(3));
    assert!(heard(&socket).ends_with("\nREADY=1"));
}

#[test]
fn a_service_that_ends_before_is_waited_for_no_longer() {
    let hako = Runtime::new();
    let (_socket, path) = supervisor(&hako);
    let mut bundle = hako.bundle();
    bundle.inspector("exit 4");
    let variable = path.to_str().unwrap();
    let create = hako.on_bundle(&["create"], &bundle).env("NOTIFY_SOCKET", variable);
    let container = hako.make(create, &bundle);
    let _ = container.command(&["start"]).env("NOTIFY_SOCKET", variable).output().ok();
    assert_eq!(container.wait(), Exit::Code(4));
}

#[test]
fn a_user_in_a_user_namespace_reaches_the_socket() {
    let hako = Runtime::new();
    let (socket, path) = supervisor(&hako);
    let mut bundle = service(&hako);
    bundle.user_namespace(100_000).set("/process/user/uid", 1000);
    let run = hako.on_bundle(&["run", "--detach"], &bundle);
    let container = hako.make(run.env("NOTIFY_SOCKET", path.to_str().unwrap()), &bundle);
    assert_eq!(heard(&socket), format!("MAINPID={}\nREADY=1", container.pid()));
}

#[test]
fn descriptors_of_the_service_manager_are_passed_on() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    // The number of the process that becomes hako.
    let own = "export LISTEN_PID=$$";
    let run = hako.on_bundle(&["run"], &bundle).env("LISTEN_FDS", "2");
    let open = format!("{own}; exec 3</dev/null 4</ 5</proc");
    let output = hako.finish(run.before(&open), &bundle);
    let seen = &output.ok().values()[0];
    let env: Vec<&str> = seen["env"].as_array().unwrap().iter().flat_map(|v| v.as_str()).collect();
    assert!(env.contains(&"LISTEN_FDS=2") && env.contains(&"LISTEN_PID=1"), "{env:?}");
    let open = seen["descriptors"].as_array().unwrap().iter();
    assert_eq!(open.map(|open| open["fd"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);

    let create = hako.on_bundle(&["create"], &bundle).env("LISTEN_FDS", "1");
    let open = format!("{own}; exec 3</dev/null 4</");
    let container = hako.make(create.before(&open), &bundle);
    container.start();
    container.wait();
    let seen: Value = serde_json::from_str(&container.stdout()).unwrap();
    assert!(in_set(&seen["env"], "LISTEN_FDS=1") && in_set(&seen["env"], "LISTEN_PID=1"));
    assert_eq!(seen["descriptors"].as_array().unwrap().len(), 4);
    assert_eq!(seen["descriptors"][3]["link"], "/dev/null");
    container.delete();

    let run = hako.on_bundle(&["run"], &bundle).env("LISTEN_FDS", "many").before(own);
    hako.finish(run, &bundle).fails("LISTEN_FDS=many is no number");
    let run = hako.on_bundle(&["run"], &bundle).env("LISTEN_FDS", "2").before(own);
    hako.finish(run, &bundle).fails("not all of these descriptors are open");
}

/// An environment may come from whoever they are for.
#[test]
fn descriptors_for_another_process_are_not_passed_on() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    each([("2", Some("7")), ("2", None), ("", Some("1")), ("many", None)], |(count, pid)| {
        let mut run = hako.on_bundle(&["run"], &bundle).env("LISTEN_FDS", count);
        if let Some(pid) = pid {
            run = run.env("LISTEN_PID", pid);
        }
        let seen = hako.finish(run.before("exec 3</dev/null"), &bundle).ok().values()[0].clone();
        assert_eq!(seen["descriptors"].as_array().unwrap().len(), 3, "{seen}");
        let env = seen["env"].as_array().unwrap();
        assert!(!env.iter().any(|variable| variable.as_str().unwrap().starts_with("LISTEN")));
    });
}

#[test]
fn a_supervisor_that_is_gone_ends_no_container() {
    let hako = Runtime::new();
    let (socket, path) = supervisor(&hako);
    drop(socket);
    let mut bundle = hako.bundle();
    bundle.inspector("notify READY=1 -- sleep 1 -- print done -- exit 3");
    each([path.to_str().unwrap(), "/no/such/socket"], |path| {
        let run = hako.on_bundle(&["run"], &bundle).env("NOTIFY_SOCKET", path);
        let output = hako.finish(run, &bundle);
        assert!(output.code == Some(3) && output.stdout.ends_with("done\n"), "{output}");
        assert!(output.stderr.contains(&format!("cannot notify {path}")), "{output}");
    });
}

#[test]
fn nothing_is_mounted_for_those_that_have_no_supervisor() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let seen = hako.inspect(&bundle);
    assert!(hako_integration::find_mount(&seen, "/run/notify").is_none());
    assert!(!seen["env"].to_string().contains("NOTIFY_SOCKET"));
}
