//! create, start, kill, delete and state: what each does, and when each is an error.

use hako_integration::{Bundle, Exit, Runtime, cgroup_dir, each, json, make_executable, reap};
use std::fs;
use std::time::Duration;

/// A bundle whose program leaves a mark on the host when it runs.
fn leaving_a_mark(hako: &Runtime) -> (Bundle, std::path::PathBuf) {
    let mut bundle = hako.bundle();
    let dir = hako.dir("marks");
    bundle.bind(&dir, "/marks", &["bind"]);
    bundle.inspector("write /marks/ran yes");
    (bundle, dir.join("ran"))
}

#[test]
fn create_prepares_and_start_executes() {
    let hako = Runtime::new();
    let (bundle, mark) = leaving_a_mark(&hako);
    let container = hako.create(&bundle);
    assert_eq!(container.status(), "created");
    assert_eq!(container.wait_within(Duration::from_millis(50)), None);
    assert!(!mark.exists(), "the program ran before start");
    container.start();
    assert_eq!(container.wait(), Exit::Code(0));
    assert!(mark.exists());
    assert_eq!(container.status(), "stopped");
    container.delete();
    container.command(&["state"]).output().fails("does not exist");
}

#[test]
fn the_state_says_what_the_specification_wants() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/annotations", json!({ "org.example.key": "value", "empty": "" }));
    let container = hako.serve(&bundle);
    let state = container.state();
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["status"], "running");
    assert_eq!(state["pid"], container.pid());
    assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
    assert_eq!(state["annotations"], json!({ "org.example.key": "value", "empty": "" }));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    // What scripts written for runc read.
    assert_eq!(state["rootfs"], bundle.rootfs("/").to_str().unwrap().trim_end_matches('/'));
    assert!(matches!(state["owner"].as_str(), Some("" | "root")), "{state}");
    let created = state["created"].as_str().unwrap();
    assert!(
        created.starts_with("20") && created.contains('T') && created.ends_with('Z'),
        "{created}"
    );
}

#[test]
fn a_stopped_container_has_no_pid() {
    let hako = Runtime::new();
    let container = hako.create(&hako.bundle());
    container.kill("KILL").wait();
    assert_eq!(container.state()["pid"], 0);
}

/// Engines reap the container when they like; until then it is a zombie.
#[test]
fn a_container_that_nobody_has_waited_for_is_stopped() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let container = hako.create(bundle.inspector("exit 3"));
    container.start().wait_for_status("stopped");
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid())).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    container.delete();
    assert_eq!(container.wait(), Exit::Code(3));
}

#[test]
fn unknown_ids_are_an_error_in_every_command() {
    let hako = Runtime::new();
    let _other = hako.create(&hako.bundle());
    each(["state", "start", "kill", "delete"], |verb| {
        hako.command(&[verb, "no-such-container"]).output().fails("does not exist");
    });
}

#[test]
fn an_id_in_use_is_an_error_and_its_container_is_left_alone() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    each(["create", "run"], |verb| {
        hako.on_bundle(&[verb], &bundle).output().fails("already exists");
        assert_eq!(container.status(), "running");
        assert_eq!(container.ask("syscall getpid"), [1]);
    });
}

#[test]
fn of_two_creations_with_one_id_exactly_one_succeeds() {
    let hako = Runtime::new();
    for _ in 0..5 {
        let bundle = hako.bundle();
        let both = [0, 1].map(|_| hako.on_bundle(&["create"], &bundle).spawn());
        let mut codes = both.map(|running| running.finish().code);
        codes.sort();
        assert_eq!(codes, [Some(0), Some(1)]);
        let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    }
}

#[test]
fn an_id_can_be_used_again_after_delete() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    for _ in 0..2 {
        let container = hako.serve(&bundle);
        container.close_stdin();
        assert_eq!(container.wait(), Exit::Code(0));
        container.delete();
    }
}

#[test]
fn start_is_an_error_unless_the_container_is_created() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    container.command(&["start"]).output().fails("");
    assert_eq!(container.ask("syscall getpid"), [1], "the container is disturbed");
    container.close_stdin();
    container.wait();
    container.command(&["start"]).output().fails("");
    assert_eq!(container.status(), "stopped");
}

#[test]
fn of_two_starts_exactly_one_succeeds() {
    let hako = Runtime::new();
    for _ in 0..5 {
        let mut bundle = hako.bundle();
        let container = hako.create(bundle.inspector("print once -- sleep 1000"));
        let both = [0, 1].map(|_| container.command(&["start"]).spawn());
        let mut codes = both.map(|running| running.finish().code);
        codes.sort();
        assert_eq!(codes, [Some(0), Some(1)]);
        container.wait_for("once");
    }
}

#[test]
fn start_fails_when_the_created_process_was_killed() {
    let hako = Runtime::new();
    let container = hako.create(&hako.bundle());
    container.kill("KILL").wait();
    container.command(&["start"]).output().fails("");
}

/// An engine deletes at once what could not be started.
#[test]
fn start_tells_of_a_failure_when_its_init_has_ended() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    make_executable(&bundle.write("/app", "#!/no/such/interpreter\n"));
    bundle.set("/process/args", ["/app"]);
    let container = hako.create(&bundle);
    // A first process ends only after the others of its pid namespace have been waited for.
    let file = hako.scratch().join("pid");
    let options = ["--detach", "--pid-file", file.to_str().unwrap()];
    let _ = container.exec(&options, "sleep 100").output().ok();
    let start = container.command(&["start"]).spawn();
    std::thread::sleep(Duration::from_millis(300));
    let said = fs::read_to_string(start.files().1).unwrap();
    assert_eq!(said, "", "its init is still there");
    let _ = reap(fs::read_to_string(&file).unwrap().parse().unwrap());
    start.finish().fails("/no/such/interpreter");
    assert_eq!(container.status(), "stopped");
    container.delete();
}

#[test]
fn delete_of_a_running_container_is_an_error() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    container.command(&["delete"]).output().fails("");
    assert_eq!(container.status(), "running");
    assert_eq!(container.ask("syscall getpid"), [1]);
}

/// The specification calls it an error; every engine relies on it.
#[test]
fn delete_of_a_created_container_ends_it() {
    let hako = Runtime::new();
    let container = hako.create(&hako.bundle());
    container.delete();
    assert_eq!(container.wait(), Exit::Signal(9));
    container.command(&["state"]).output().fails("does not exist");
}

#[test]
fn delete_by_force_ends_a_container_in_any_state() {
    let hako = Runtime::new();
    each(["created", "running", "stopped"], |status| {
        let bundle = hako.bundle();
        let container =
            if *status == "created" { hako.create(&bundle) } else { hako.serve(&bundle) };
        if *status == "stopped" {
            container.kill("KILL").wait();
        }
        assert_eq!(container.status(), *status);
        let _ = container.command(&["delete", "--force"]).output().ok();
        container.command(&["state"]).output().fails("does not exist");
        assert!(!cgroup_dir(bundle.cgroup()).exists());
    });
}

#[test]
fn kill_reaches_a_created_container() {
    let hako = Runtime::new();
    let container = hako.create(&hako.bundle());
    container.kill("KILL");
    assert_eq!(container.wait(), Exit::Signal(9));
    assert_eq!(container.status(), "stopped");
}

#[test]
fn kill_of_a_stopped_container_is_an_error() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    container.kill("KILL").wait();
    container.command(&["kill"]).arg("TERM").output().fails("container not running");
}

#[test]
fn signal_0_asks_whether_it_lives() {
    let hako = Runtime::new();
    let container = hako.serve(&hako.bundle());
    container.kill("0");
    assert_eq!(container.status(), "running");
    container.kill("KILL").wait();
    container.command(&["kill"]).arg("0").output().fails("container not running");
}

#[test]
fn a_run_that_fails_leaves_no_pid_file() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/hooks/poststart", json!([{ "path": "/bin/false" }]));
    let file = hako.scratch().join("the.pid");
    let words = ["run", "--detach", "--pid-file", file.to_str().unwrap()];
    let output = hako.finish(hako.on_bundle(&words, &bundle), &bundle);
    output.fails("poststart");
    assert!(!file.exists());
}

/// Who cannot be told is not told, and that is all.
#[test]
fn a_warning_that_cannot_be_printed_changes_nothing() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/unknownKey", 1).inspector("exit 3");
    for closed in ["exec 2>/dev/full", "exec 2>&-"] {
        let run = hako.on_bundle(&["run"], &bundle).before(closed);
        assert_eq!(hako.finish(run, &bundle).code, Some(3), "{closed}");
    }
    let state = hako.command(&["state", "nobody"]).before("exec 2>/dev/full").output();
    assert_eq!(state.code, Some(1), "{state}");
}

/// How the program ended is what the caller waits for.
#[test]
fn what_cannot_be_removed_does_not_change_the_exit_status() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let running = hako.foreground(bundle.inspector("print up -- sleep 4 -- exit 7"));
    running.wait_for("up");
    let foreign = hako.root().join(bundle.id()).join("foreign");
    std::fs::write(&foreign, "").unwrap();
    let output = running.finish();
    assert_eq!(output.code, Some(7), "{output}");
    assert!(output.stderr.contains("foreign"), "{output}");
    std::fs::remove_file(foreign).unwrap();
    let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    hako.verify_gone(&bundle, &output);
}

#[test]
fn changes_of_the_bundle_after_create_have_no_effect() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/annotations", json!({ "key": "original" }));
    let rows = [Some(r#"{ "hostname": "other" }"#), Some("no JSON at all"), None];
    each(rows, |replacement| {
        let container = hako.create(bundle.inspector("report"));
        let config = bundle.dir().join("config.json");
        match replacement {
            Some(text) => fs::write(config, text).unwrap(),
            None => fs::remove_file(config).unwrap(),
        }
        assert_eq!(container.state()["annotations"]["key"], "original");
        container.start();
        assert_eq!(container.wait(), Exit::Code(0));
        container.wait_for("\"hostname\":\"hako-test\"");
        container.delete();
    });
}

#[test]
fn a_container_outlives_its_bundle() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let elsewhere = hako.scratch().join("elsewhere");
    fs::rename(bundle.dir(), &elsewhere).unwrap();
    assert_eq!(container.status(), "running");
    container.kill("KILL").wait();
    container.delete();
}

/// `process` is optional until `start`; no peer takes the specification at its word.
#[test]
fn without_a_process_create_succeeds_and_start_fails() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let container = hako.create(bundle.remove("/process"));
    assert_eq!(container.status(), "created");
    container.command(&["start"]).output().fails("process");
}

/// At whichever step it fails; the harness looks for what is left.
#[test]
fn a_failed_create_leaves_nothing() {
    let hako = Runtime::new();
    let rows = [
        ("/process/args", json!(["/no/such/program"])),
        ("/process/rlimits/0/type", json!("RLIMIT_NONSENSE")),
        ("/root/path", json!("no-such-directory")),
        ("/linux/sysctl", json!({ "kernel.panic": "1" })),
        ("/mounts/-", json!({ "destination": "/x", "type": "nonsensefs", "source": "x" })),
        ("/linux/namespaces/0/path", json!("/no/such/namespace")),
        ("/hooks/createRuntime", json!([{ "path": "/bin/false" }])),
        ("/hooks/createContainer", json!([{ "path": "/bin/false" }])),
    ];
    each(rows, |(pointer, value)| {
        let mut bundle = hako.bundle();
        bundle.set(pointer, value.clone());
        let output = hako.on_bundle(&["create"], &bundle).output();
        output.fails("hako: create ");
        hako.verify_gone(&bundle, &output);
        hako.command(&["state", bundle.id()]).output().fails("does not exist");
    });
}

#[test]
fn create_writes_the_pid_of_the_first_process() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let file = hako.scratch().join("pid");
    let _ = hako.on_bundle(&["create"], &bundle).arg("--pid-file").arg(&file).output().ok();
    let text = fs::read_to_string(file).unwrap();
    let state = hako.command(&["state", bundle.id()]).output().ok().json();
    assert_eq!(text, state["pid"].to_string());
    let _ = hako.command(&["delete", bundle.id()]).output().ok();
}

#[test]
fn the_container_is_in_its_cgroup_which_delete_removes() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let cgroup = cgroup_dir(bundle.cgroup());
    let members = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
    assert_eq!(members, format!("{}\n", container.pid()));
    // What a container with a writable cgroup file system may have made.
    fs::create_dir_all(cgroup.join("below/further")).unwrap();
    container.kill("KILL").wait();
    container.delete();
    assert!(!cgroup.exists());
}

/// Without a pid namespace nothing but the cgroup ties the processes together.
#[test]
fn delete_ends_what_the_first_process_has_left_running() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let container = hako.serve(bundle.without_namespace("pid"));
    let child = container.ask("spawn-sleep")[0]["child"].as_u64().unwrap();
    container.close_stdin();
    assert_eq!(container.wait(), Exit::Code(0));
    assert_eq!(container.status(), "stopped");
    let comm = fs::read_to_string(format!("/proc/{child}/comm")).unwrap();
    assert_eq!(comm, "inspector\n", "the child must outlive the first process for this test");
    let left = container.command(&["ps", "--format", "json"]).output().ok().json();
    assert_eq!(left, json!([child]));
    container.delete();
    let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "still running: {state}");
}

/// Whatever is done to that cgroup would be done to them.
#[test]
fn a_cgroup_with_strangers_is_refused_and_they_live_on() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let cgroup = cgroup_dir(bundle.cgroup());
    fs::create_dir_all(&cgroup).unwrap();
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    let output = hako.on_bundle(&["create"], &bundle).output();
    let forced = hako.command(&["delete", "--force", bundle.id()]).output();
    let alive = stranger.try_wait().unwrap().is_none();
    let _ = stranger.kill();
    let _ = stranger.wait();
    let kept = fs::remove_dir(&cgroup).is_ok();
    output.fails("container's cgroup is not empty");
    assert!(alive, "the stranger is dead\n{output}{forced}");
    assert!(kept, "the cgroup of others is gone");
}

#[test]
fn a_frozen_cgroup_is_refused_at_once() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let cgroup = cgroup_dir(bundle.cgroup());
    fs::create_dir_all(&cgroup).unwrap();
    fs::write(cgroup.join("cgroup.freeze"), "1").unwrap();
    let output = hako.on_bundle(&["create"], &bundle).timeout(Duration::from_secs(5)).output();
    let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
    let _ = fs::remove_dir(&cgroup);
    output.fails("frozen");
}
