//! Every command, as an ordinary user.

use hako_integration::{
    ConsoleSocket, Container, Exit, Runtime, Terminal, Value, cgroup_dir, copy_program, each,
    has_controller, json, reap, wait_until,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[test]
fn a_life_from_create_to_delete() {
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    let container = hako.create(&bundle);
    let state = container.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("created"), &json!(container.pid())));
    let list = || hako.command(&["list", "--format", "json"]).output().ok().json();
    assert_eq!((&list()[0]["id"], &list()[0]["owner"]), (&json!(bundle.id()), &json!("hako-user")));
    container.start();
    assert_eq!(container.wait(), Exit::Code(0));
    let report: Value = serde_json::from_str(&container.stdout()).unwrap();
    assert_eq!(report["pid"], 1);
    assert_eq!(container.status(), "stopped");
    container.delete();
    assert_eq!(list(), json!([]));
}

#[test]
fn state_is_in_the_users_runtime_directory_and_theirs() {
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    let container = hako.create(&bundle);
    let directory = hako.root().join(bundle.id());
    assert!(hako.root().ends_with("run/hako"), "{}", hako.root().display());
    for place in [hako.root(), &directory] {
        let metadata = fs::metadata(place).unwrap();
        let found = (metadata.uid(), metadata.permissions().mode() & 0o777);
        assert_eq!(found, (hako.user().uid(), 0o700), "{}", place.display());
    }
    assert_eq!(hako.user().foreign_files(&directory), [""; 0]);
    // Nobody has to say where it is, but somebody else can.
    let elsewhere = hako.user().home().join("state");
    let create = hako.on_bundle(&["create"], &bundle).arg("--root").arg(&elsewhere).output().ok();
    assert!(elsewhere.join(bundle.id()).exists(), "{create}");
    let _ = container.command(&["delete", "--root", elsewhere.to_str().unwrap()]).output().ok();
}

#[test]
fn exec_is_in_all_namespaces_of_the_container() {
    for world in [Runtime::as_user, Runtime::as_lone_user] {
        let hako = world();
        let mut bundle = hako.bundle();
        bundle.namespace("time", None);
        let container = hako.serve(&bundle);
        let init = &container.ask("report")[0];
        let seen = &container.exec_and_ask(&[], "report")[0];
        for what in ["namespaces", "mounts", "uid_map", "names", "capabilities", "groups", "cgroup"]
        {
            assert_eq!(seen[what], init[what], "{what}");
        }
        assert_eq!((&seen["ppid"], &seen["uid"]["real"]), (&json!(0), &json!(0)));
        let output = container.exec(&[], "exit 7").output();
        assert_eq!(output.code, Some(7), "{output}");
    }
}

#[test]
fn exec_as_another_mapped_user() {
    let hako = Runtime::as_user();
    let container = hako.serve(&hako.bundle());
    let options = ["--user", "1000:1001", "--additional-gids", "7", "--cwd", "/bin"];
    let seen = &container.exec_and_ask(&options, "report")[0];
    assert_eq!((&seen["uid"]["real"], &seen["gid"]["real"]), (&json!(1000), &json!(1001)));
    assert_eq!((&seen["groups"], &seen["cwd"]), (&json!([7]), &json!("/bin")));
    let output = container.exec(&["--user", "65537"], "report").output();
    assert_eq!(output.code, Some(255), "{output}");
    assert!(output.stderr.contains("user id 65537 is not mapped"), "{output}");
    let only = "hint: the container has the user ids 0, 1 to 65536: only one made anew";
    assert!(output.stderr.contains(only), "{output}");
    // Root, who could map them, is told the same.
    let stderr =
        said_to_root(&hako, &["exec", "-u70000", container.id(), "/bin/inspector", "report"]);
    assert!(stderr.contains("user id 70000 is not mapped") && stderr.contains(only), "{stderr}");
}

/// What such a command of root's says of the user's containers.
fn said_to_root(hako: &Runtime, words: &[&str]) -> String {
    let mut command = std::process::Command::new(hako.program());
    let output = command.arg("--root").arg(hako.root()).args(words).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn exec_from_another_user_namespace_says_so() {
    let hako = Runtime::as_user();
    let container = hako.serve(&hako.bundle());
    let uid = hako.user().uid().to_string();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
        .args(["unshare", "--user", "--map-root-user"])
        .args([hako.program(), "--root".as_ref(), hako.root(), "exec".as_ref()])
        .args([container.id(), "/bin/inspector", "report"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(255), "{stderr}");
    assert!(stderr.contains("hint: hako is in a user namespace: it can enter"), "{stderr}");
}

#[test]
fn exec_with_a_terminal() {
    let hako = Runtime::as_user();
    let container = hako.serve(&hako.bundle());
    let mut terminal = Terminal::open();
    terminal.resize(91, 37);
    let exec = container.exec(&["--tty"], "tty -- print done").on_terminal(&terminal).spawn();
    let text = terminal.read_until("done");
    assert_eq!(exec.finish().code, Some(0));
    assert!(text.contains("\"columns\":91,\"rows\":37"), "{text}");
}

#[test]
fn a_container_with_a_terminal() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/process/terminal", true).inspector("tty -- print done");
    let mut terminal = Terminal::open();
    let run = hako.on_bundle(&["run"], &bundle).on_terminal(&terminal).spawn();
    let text = terminal.read_until("done");
    assert_eq!(run.finish().code, Some(0));
    assert!(text.contains("/dev/pts/0") || text.contains("\"tty\":true"), "{text}");

    let socket = ConsoleSocket::bind(&hako.scratch().join("console.sock"));
    fs::set_permissions(socket.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let create = hako.on_bundle(&["create"], &bundle).arg("--console-socket").arg(socket.path());
    let container = hako.make(create, &bundle);
    let mut terminal = socket.terminal();
    container.start();
    let _ = terminal.read_until("done");
    assert_eq!(container.wait(), Exit::Code(0));
}

#[test]
fn kill_reaches_the_container() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.inspector("sleep 1000");
    let container = hako.create(&bundle);
    container.start().kill("KILL");
    assert_eq!(container.wait(), Exit::Signal(9));
    drop(container);
    // All of its processes, also without a cgroup: by their pid namespace.
    let container = hako.serve(&bundle);
    let other = sleeper(&hako, &container);
    let _ = container.command(&["kill", "--all"]).arg("KILL").output().ok();
    assert_eq!((reap(other), container.wait()), (Exit::Signal(9), Exit::Signal(9)));
    let list = container.command(&["ps", "--format", "json"]).output();
    assert_eq!(list.ok().json(), json!([]));
}

/// The pid of a process that `exec` has left in a container.
fn sleeper(hako: &Runtime, container: &Container) -> i32 {
    let pid_file = hako.scratch().join("io/exec.pid");
    let options = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    let _ = container.exec(&options, "sleep 1000").output().ok();
    fs::read_to_string(&pid_file).unwrap().parse().unwrap()
}

#[test]
fn delete_by_force_ends_what_runs() {
    let hako = Runtime::as_user();
    let container = hako.serve(&hako.bundle());
    let _ = container.command(&["delete", "--force"]).output().ok();
    assert_eq!(container.wait(), Exit::Signal(9));
    assert!(!hako.root().join(container.id()).exists());
}

#[test]
fn ps_lists_what_runs_also_without_a_cgroup() {
    for world in [Runtime::as_user, || Runtime::as_user().with_delegated_cgroup()] {
        let hako = world();
        let container = hako.serve(&hako.bundle());
        let other = sleeper(&hako, &container);
        let mut pids = container.command(&["ps", "--format", "json"]).output().ok().json();
        pids.as_array_mut().unwrap().sort_by_key(Value::as_u64);
        let mut expected = [container.pid().cast_signed(), other];
        expected.sort_unstable();
        assert_eq!(pids, json!(expected));
        let _ = container.exec(&[], "kill -1 KILL").output();
        let _ = reap(other);
    }
}

/// What tells root how to delegate a cgroup on this machine.
fn delegation() -> &'static [&'static str] {
    match Path::new("/run/systemd/system").is_dir() {
        true => &["Delegate=cpu", "/etc/systemd/system/user@.service.d/"],
        false => &["/hako-user; mkdir -p $D/shell && chown hako-user"],
    }
}

/// Without a cgroup of its own there is nothing to freeze, to limit or to count.
#[test]
fn what_takes_a_cgroup_says_so() {
    let hako = Runtime::as_user();
    let container = hako.serve(&hako.bundle());
    for words in [&["pause"][..], &["update", "--pids-limit", "10"], &["events", "--stats"]] {
        let output = container.command(words).output();
        output.fails("the container has no cgroup of its own");
        let how = "where no cgroup is delegated to hako's user; to have one: as root, ";
        for words in [how].iter().chain(delegation()) {
            assert!(output.stderr.contains(words), "{words}: {output}");
        }
    }
}

/// Also if they are root of a user namespace.
#[test]
fn whose_cgroup_is_missing_is_told_to_root() {
    each([Runtime::as_user, || Runtime::as_namespace_root(&["--mount"])], |world| {
        let hako = world();
        let container = hako.serve(&hako.bundle());
        let id = container.id();
        for words in [&["pause", id][..], &["update", "--pids-limit", "10", id]] {
            let stderr = said_to_root(&hako, words);
            let whose = "where no cgroup is delegated to hako-user;";
            for words in [whose].iter().chain(delegation()) {
                assert!(stderr.contains(words), "{words}: {stderr}");
            }
        }
    });
}

fn in_delegated(hako: &Runtime) -> Container<'_> {
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let own = format!("0::/{}/{}\n", hako.cgroup(), bundle.id());
    assert!(cgroup.ends_with(&own), "{cgroup}");
    container
}

#[test]
fn a_delegated_directory_has_the_containers() {
    let hako = Runtime::as_user().with_delegated_cgroup();
    let container = in_delegated(&hako);
    let directory = cgroup_dir(hako.cgroup()).join(container.id());
    assert_eq!(hako.user().foreign_files(&directory), [""; 0]);
    let seen = &container.exec_and_ask(&[], "report")[0];
    assert_eq!(seen["cgroup"], container.ask("report")[0]["cgroup"]);
    let stats = container.command(&["events", "--stats"]).output().ok().json();
    assert_eq!(stats["id"], json!(container.id()));
    let _ = container.command(&["delete", "--force"]).output().ok();
    assert!(!directory.exists());
}

/// The kernel lets a user put processes into their cgroups from their cgroups only.
#[test]
fn exec_from_outside_of_the_delegated_cgroup_says_so() {
    let hako = Runtime::as_user().with_delegated_cgroup();
    let container = in_delegated(&hako);
    let uid = hako.user().uid().to_string();
    let runtime_dir = hako.root().parent().unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
        .arg(hako.program())
        .args(["exec", container.id(), "/bin/inspector"])
        .env("XDG_RUNTIME_DIR", runtime_dir)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(255), "{text}");
    assert!(text.contains("only from the cgroups that were delegated with it"), "{text}");
}

#[test]
fn a_paused_container_stands_still() {
    let hako = Runtime::as_user().with_delegated_cgroup();
    let container = in_delegated(&hako);
    let _ = container.command(&["pause"]).output().ok();
    assert_eq!(container.status(), "paused");
    let events = cgroup_dir(hako.cgroup()).join(container.id()).join("cgroup.events");
    wait_until("it is frozen", || fs::read_to_string(&events).unwrap().contains("frozen 1"));
    let _ = container.command(&["resume"]).output().ok();
    assert_eq!(container.status(), "running");
    assert_eq!(container.ask("stat /bin")[0]["uid"], 0);
}

/// A cgroup that the container may write to, where there is one.
#[test]
fn a_writable_cgroup_is_the_containers() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/mounts/6/options", ["nosuid", "noexec", "nodev"]);
    let _ = hako.inspect(&bundle);

    let hako = Runtime::as_user().with_delegated_cgroup();
    let mut bundle = hako.bundle();
    bundle.set("/mounts/6/options", ["nosuid", "noexec", "nodev"]);
    let chain = "mkdir /sys/fs/cgroup/below -- write /sys/fs/cgroup/below/cgroup.procs 0";
    assert_eq!(hako.ask(&bundle, chain), ["ok", "ok"]);
    // The user can give it to no other of their ids.
    bundle.set("/process/user/uid", 1000);
    let output = hako.run(&bundle).ok();
    assert!(output.stderr.contains("mounts[6]: the cgroup stays root's"), "{output}");
}

/// A limit for which there is no cgroup is an error that says how to get one, on this machine.
#[test]
fn a_limit_without_delegation_is_refused() {
    let hako = Runtime::as_user();
    let huge = json!([{ "pageSize": "2MB", "limit": 0 }]);
    let rows = [
        ("/linux/resources/pids", json!({ "limit": 10 }), "pids", "/limit"),
        ("/linux/resources/hugepageLimits", huge, "hugetlb", "/0"),
    ];
    // Not every kernel has huge pages.
    let rows = rows.into_iter().filter(|row| row.2 == "pids" || has_controller(row.2));
    each(rows, |(place, value, controller, part)| {
        let mut bundle = hako.bundle();
        bundle.set(place, value.clone());
        let output = hako.refuses(&bundle, &format!("{place}{part}"));
        let (reason, remedy) = match has_controller(controller) {
            true => ("no cgroup is delegated to hako's user", delegation()),
            false => ("cgroup v1 holds the", &["systemd.unified_cgroup_hierarchy=1"][..]),
        };
        for words in [reason].iter().chain(remedy) {
            assert!(output.stderr.contains(words), "{words}: {output}");
        }
        assert_eq!(
            output.stderr.contains("Delegate="),
            remedy[0].contains("Delegate="),
            "{output}"
        );
    });
    let mut bundle = hako.bundle();
    // Not asked for, not missed.
    bundle.set("/linux/resources/pids/limit", json!(-1));
    let _ = hako.inspect(&bundle);
}

/// A user does without the hierarchy, as far as nothing of it is asked for.
#[test]
fn without_cgroup_v2_there_are_containers() {
    let hako = Runtime::as_user();
    hako.bind(&hako.dir("none"), "/sys/fs/cgroup".as_ref(), false);
    let container = hako.serve(&hako.bundle());
    let hint = "hint: boot with systemd.unified_cgroup_hierarchy=1";
    let update = container.command(&["update", "--pids-limit", "10"]).output();
    update.fails("the container has no cgroup of its own");
    assert!(update.stderr.contains("to have one: boot with systemd"), "{update}");
    let mut limited = hako.bundle();
    limited.set("/linux/resources/pids/limit", 10);
    let mut shown = hako.bundle();
    shown.without_namespace("cgroup");
    each([(limited, "/linux/resources/pids/limit"), (shown, "/mounts/6")], |(bundle, place)| {
        let output = hako.refuses(bundle, place);
        output.fails("cgroup v2 is not mounted at /sys/fs/cgroup");
        assert!(output.stderr.contains(hint), "{output}");
    });
}

/// A path that somebody else owns is refused with the reason.
#[test]
fn a_cgroup_of_others_is_refused() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/linux/cgroupsPath", format!("/{}/x", hako.cgroup()));
    let output = hako.run(&bundle);
    output.fails("cannot create cgroup");
    assert!(output.stderr.contains("leave out whichever of cgroupsPath"), "{output}");
    // The same place, but asked for by the command line only.
    let command = hako.on_bundle(&["--rootless=false", "run"], &hako.bundle());
    let output = command.output();
    output.fails("cannot create cgroup");
    assert!(output.stderr.contains("and --rootless=false is given"), "{output}");
}

/// Its init is still hako, which nobody may look into.
#[test]
fn exec_waits_for_the_start() {
    let hako = Runtime::as_user();
    let container = hako.create(&hako.bundle());
    let output = container.exec(&[], "report").output();
    assert_eq!(output.code, Some(255), "{output}");
    assert!(output.stderr.contains("has not been started yet"), "{output}");
    assert!(output.stderr.contains("hint: hako start it first"), "{output}");
}

/// The kernel shows nobody a process whose program they may not read.
#[test]
fn exec_beside_an_unreadable_program_says_so() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    let program = hako.file("unreadable", "");
    copy_program(&bundle.rootfs("/bin/inspector"), &program);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o711)).unwrap();
    bundle.bind(&program, "/bin/unreadable", &["bind"]);
    bundle.set("/process/args", ["/bin/unreadable", "sleep", "1000"]);
    let container = hako.create(&bundle);
    container.start();
    let output = container.exec(&[], "report").output();
    assert_eq!(output.code, Some(255), "{output}");
    assert!(output.stderr.contains("hint: only root may enter"), "{output}");
}

/// What `explain` prints is what `create` does, or its refusal.
#[test]
fn explain_refuses_what_create_refuses() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    let plan = hako.on_bundle(&["explain"], &bundle).output().ok();
    assert!(plan.stdout.contains("rootless    by a user without privilege"), "{plan}");
    bundle.without_namespace("user").remove("/linux/uidMappings").remove("/linux/gidMappings");
    bundle.set("/process/cwd", "relative");
    for verb in ["explain", "create"] {
        let output = hako.on_bundle(&[verb], &bundle).output();
        output.refuses("/linux/namespaces");
        output.fails("an ordinary user can make containers only with a user namespace");
        output.fails("\"relative\" is not an absolute path");
        assert!(output.stderr.contains("hint: hako spec --rootless writes"), "{output}");
    }
}

/// Root in the container is the user outside, who may write to a hako of their own:
/// what enters is a copy that nobody can write to.
#[test]
fn a_binary_of_the_users_own_stays_out_of_reach() {
    let hako = Runtime::as_user();
    let copy = hako.user().home().join("hako");
    copy_program(hako.program(), &copy);
    hako.user().own(&copy);
    hako.bind(&copy, hako.program(), false);
    let container = hako.create(&hako.bundle());
    let executed = fs::metadata(format!("/proc/{}/exe", container.pid())).unwrap();
    let own = fs::metadata(&copy).unwrap();
    assert_ne!((executed.dev(), executed.ino()), (own.dev(), own.ino()));
    let open = fs::OpenOptions::new().write(true).open(format!("/proc/{}/exe", container.pid()));
    assert!(open.is_err(), "it can be written to");
}

/// criu needs root.
#[test]
fn checkpoints_are_roots() {
    let hako = Runtime::as_user();
    let container = hako.serve(&hako.bundle());
    let checkpoint = container.command(&["checkpoint"]).output();
    checkpoint.fails("checkpoint and restore take root of the machine");
    assert_eq!(container.status(), "running");
    let bundle = hako.bundle();
    let restore = hako.on_bundle(&["restore"], &bundle).output();
    restore.fails("checkpoint and restore take root of the machine");
    hako.verify_gone(&bundle, &restore);
}
