//! `exec`: further processes of a container.

use hako_integration::{
    Bundle, ConsoleSocket, Container, Exit, Output, Runtime, Value, each, json, reap,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

const FAILED: Option<i32> = Some(255);

/// A container that answers questions.
fn serving(hako: &Runtime, change: impl FnOnce(&mut Bundle)) -> (Bundle, Container<'_>) {
    let mut bundle = hako.bundle();
    change(&mut bundle);
    let container = hako.serve(&bundle);
    (bundle, container)
}

fn fails(output: &Output, text: &str) {
    assert!(output.code == FAILED && output.stderr.contains(text), "expected `{text}`\n{output}");
}

#[test]
fn it_is_in_all_namespaces_and_the_cgroup_of_the_container() {
    let hako = Runtime::new();
    let with_time = |bundle: &mut Bundle| {
        bundle.namespace("time", None);
    };
    let with_user = |bundle: &mut Bundle| {
        bundle.user_namespace(100_000);
    };
    for change in [&(|_: &mut Bundle| ()) as &dyn Fn(&mut Bundle), &with_time, &with_user] {
        let (_, container) = serving(&hako, |bundle| change(bundle));
        let init = &container.ask("report")[0];
        let seen = &container.exec_and_ask(&[], "report")[0];
        assert_eq!(seen["namespaces"], init["namespaces"]);
        assert_eq!(seen["cgroup"], init["cgroup"]);
        assert_eq!(seen["mounts"], init["mounts"]);
        assert_eq!(seen["names"], init["names"]);
        assert_eq!(seen["clocks"]["offsets"], init["clocks"]["offsets"]);
        assert_ne!(seen["pid"], 1);
        assert_eq!(seen["ppid"], 0, "its parent is outside");
    }
}

#[test]
fn it_inherits_everything_that_nobody_changes() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |bundle| {
        bundle.set(
            "/process/user",
            json!({
                "uid": 33, "gid": 44, "umask": 0o027, "additionalGids": [5, 6]
            }),
        );
        bundle.set(
            "/process/rlimits",
            json!([
                { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            ]),
        );
        bundle.set("/process/env", json!(["PATH=/bin", "A=1"]));
        bundle.set("/process/cwd", "/tmp");
        bundle.mkdir("tmp");
        bundle.set("/process/oomScoreAdj", 500);
        bundle.set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
        bundle.set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 }));
        bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
        let kill = json!(["CAP_KILL"]);
        bundle.set(
            "/process/capabilities",
            json!({
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": kill, "effective": kill,
                "inheritable": kill, "ambient": kill,
            }),
        );
    });
    let init = &container.ask("report")[0];
    let seen = &container.exec_and_ask(&[], "report")[0];
    for what in [
        "uid",
        "gid",
        "groups",
        "umask",
        "rlimits",
        "env",
        "cwd",
        "oom_score_adj",
        "scheduler",
        "io_priority",
        "personality",
        "capabilities",
        "attributes",
        "keyring",
        "memory_policy",
        "securebits",
        "signals",
    ] {
        assert_eq!(seen[what], init[what], "{what}");
    }
}

#[test]
fn options_change_what_they_name() {
    let hako = Runtime::new();
    let (bundle, container) = serving(&hako, |bundle| {
        bundle.set("/process/noNewPrivileges", false);
        bundle.set("/process/env", json!(["PATH=/bin", "A=1", "B=2"]));
    });
    bundle.mkdir("work");
    let options = [
        "--user",
        "33:44",
        "--additional-gids",
        "7",
        "-g",
        "8",
        "--cwd",
        "/work",
        "--env",
        "A=3",
        "-e",
        "C=4=5",
        "--no-new-privs",
    ];
    let seen = &container.exec_and_ask(&options, "report")[0];
    assert_eq!((&seen["uid"]["real"], &seen["gid"]["real"]), (&json!(33), &json!(44)));
    assert_eq!(seen["groups"], json!([7, 8]));
    assert_eq!(seen["cwd"], "/work");
    assert_eq!(seen["env"], json!(["PATH=/bin", "B=2", "A=3", "C=4=5", "HOME=/"]));
    assert_eq!(seen["attributes"]["no_new_privs"], true);

    let seen = &container.exec_and_ask(&["--user", "33"], "report")[0];
    assert_eq!((&seen["uid"]["real"], &seen["gid"]["real"]), (&json!(33), &json!(0)));
    assert_eq!(seen["attributes"]["no_new_privs"], false);
}

#[test]
fn added_capabilities_are_not_inheritable() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |bundle| {
        bundle.capabilities(&["CAP_KILL"]);
    });
    let sets = |options: &[&str]| {
        let seen = &container.exec_and_ask(options, "report")[0]["capabilities"];
        ["effective", "permitted", "bounding", "inheritable", "ambient"]
            .map(|set| u64::from_str_radix(seen[set].as_str().unwrap(), 16).unwrap())
    };
    let (kill, net_raw, chown) = (1 << 5, 1 << 13, 1);
    assert_eq!(sets(&[]), [kill, kill, kill, 0, 0]);
    let more = kill | net_raw | chown;
    assert_eq!(sets(&["--cap", "CAP_NET_RAW", "-c", "chown"]), [more, more, more, 0, 0]);
}

#[test]
fn ids_are_numbers_and_nothing_else() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    each(
        ["root", "-1", "1:", ":1", "4294967295", "4294967296", "0x0", "", "1.0", " 1", "1:2:3"],
        |user| {
            let output = container.exec(&[&format!("--user={user}")], "report").output();
            assert!(output.code == FAILED && output.stdout.is_empty(), "{output}");
            assert!(output.stderr.contains("--user"), "{output}");
        },
    );
    let output = container.exec(&["--user", "4294967294"], "report").output().ok();
    assert_eq!(output.json()["uid"]["real"], 4_294_967_294_u32);
}

#[test]
fn a_file_describes_the_process_and_what_it_leaves_out_is_inherited() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |bundle| {
        bundle.set("/process/env", json!(["PATH=/bin", "A=1"]));
        bundle.set("/process/user/umask", 0o077);
    });
    let describe = |process: Value| {
        let file = hako.file("process.json", &process.to_string());
        hako.command(&["exec", "--process"]).arg(file).arg(container.id()).output()
    };
    let args = json!(["/bin/inspector", "report"]);

    let seen = describe(json!({ "args": args, "cwd": "/" , "user": { "uid": 5, "gid": 6 } }));
    let seen = seen.ok().json();
    assert_eq!(
        (&seen["uid"]["real"], &seen["gid"]["real"], &seen["umask"]),
        (&json!(5), &json!(6), &json!(0o077))
    );
    assert_eq!(seen["env"], json!(["PATH=/bin", "A=1", "HOME=/"]));
    assert_eq!(seen["attributes"]["no_new_privs"], true);

    let seen = describe(json!({
        "args": args, "cwd": "/proc", "user": { "uid": 0, "gid": 0, "umask": 0o22 }, "env": ["X=y"],
        "noNewPrivileges": false, "capabilities": { "bounding": ["CAP_CHOWN"] },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 20 }],
    }));
    let seen = seen.ok().json();
    assert_eq!((&seen["cwd"], &seen["umask"]), (&json!("/proc"), &json!(0o022)));
    assert_eq!(seen["env"], json!(["X=y", "HOME=/"]));
    assert_eq!(seen["attributes"]["no_new_privs"], false);
    assert_eq!(seen["capabilities"]["bounding"], "0000000000000001");

    let refused = |process: Value, pointer: &str| {
        let output = describe(process);
        fails(&output, &format!("process.json: {pointer}"));
    };
    refused(json!({ "args": args, "cwd": "x", "user": { "uid": 0, "gid": 0 } }), "/cwd");
    refused(json!({ "args": args, "cwd": "/", "user": { "uid": "0", "gid": 0 } }), "/user/uid");
    refused(json!({ "args": [], "cwd": "/", "user": { "uid": 0, "gid": 0 } }), "/args");
    fails(
        &describe(json!({ "args": ["nope"], "cwd": "/", "user": { "uid": 0, "gid": 0 } })),
        "process.json: /args/0",
    );
    let unknown = json!({ "args": ["inspector", "print", "done"], "cwd": "/", "user": { "uid": 0, "gid": 0, "gdi": 7 }, "evn": [] });
    let warned = describe(unknown).ok();
    for place in ["/evn is unknown, did you mean \"env\"?", "/user/gdi is unknown"] {
        assert!(warned.stderr.contains(&format!("process.json: {place}")), "{warned}");
    }
    assert!(!warned.stderr.contains("config.json"), "{warned}");
}

#[test]
fn its_exit_status_is_the_programs() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    assert_eq!(container.exec(&[], "exit 7").output().code, Some(7));
    assert_eq!(container.exec(&[], "signal-self KILL").output().code, Some(128 + 9));
    let output = container.exec(&[], "print hello -- eprint there").output().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("hello\n", "there\n"));
}

#[test]
fn failures_have_a_status_of_their_own_and_leave_nothing() {
    let hako = Runtime::new();
    let (bundle, container) = serving(&hako, |_| ());
    bundle.write("data", "text");
    let exec = |args: &[&str]| {
        let pid_file = hako.scratch().join("pid");
        let command = hako.command(&["exec", "--pid-file"]).arg(&pid_file).arg(container.id());
        let output = command.args(args).output();
        assert!(!pid_file.exists(), "{output}");
        output
    };
    fails(&exec(&["nope"]), "exec: \"nope\": executable file not found in $PATH");
    fails(&exec(&["/bin/nope"]), "no such file or directory");
    fails(&exec(&["/data"]), "permission denied");
    fails(&exec(&["/proc"]), "is a directory");
    let output = exec(&["--cwd", "/nope", "/bin/inspector"]);
    fails(&output, "no such file or directory");
    assert!(!output.stderr.contains("config.json"), "it was asked for here: {output}");
    fails(&exec(&["--cgroup", "nope", "/bin/inspector"]), "no such file or directory");
    fails(&exec(&["--cgroup", "../..", "/bin/inspector"]), "\"..\"");
    let output = hako.command(&["exec", "nobody", "/bin/inspector"]).output();
    fails(&output, "container does not exist");
    let processes = fs::read_to_string(format!("/proc/{}/task/{0}/children", std::process::id()));
    assert!(processes.is_ok());
    let inside = container.ask("ls /proc")[0].as_array().unwrap().clone();
    let pids = inside.iter().filter(|name| name.as_str().unwrap().parse::<u32>().is_ok()).count();
    assert_eq!(pids, 1, "only init is left: {inside:?}");
}

#[test]
fn a_stopped_container_has_no_place_for_it_a_created_one_has() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("exit 0");
    let container = hako.create(&bundle);
    assert_eq!(container.exec_and_ask(&[], "report")[0]["names"]["hostname"], "hako-test");
    container.start();
    container.wait();
    fails(&container.exec(&[], "report").output(), "cannot exec in a stopped container");
}

#[test]
fn detached_it_is_the_callers_to_wait_for() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    let pid_file = hako.scratch().join("pid");
    let output = container
        .exec(&["--detach", "--pid-file", pid_file.to_str().unwrap()], "sleep 100")
        .output()
        .ok();
    assert!(output.stdout.is_empty());
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.contains(container.id()), "{cgroup}");
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert!(exe.ends_with("inspector"), "the program runs by the time exec returns: {exe:?}");
    container.kill("KILL");
    // The pid namespace's init ends only after everybody else was reaped.
    assert_eq!(reap(pid), Exit::Signal(9));
}

#[test]
fn only_standard_streams_and_what_is_asked_for_are_passed_on() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    let numbers = |command: hako_integration::Command| {
        let command = command.before("exec 3</dev/null 4</ 5</proc 9</sys");
        let seen = command.output().ok().values();
        let open = seen[0]["descriptors"].as_array().unwrap().clone();
        open.iter().map(|open| open["fd"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(container.exec(&[], "report")), [0, 1, 2]);
    assert_eq!(numbers(container.exec(&["--preserve-fds", "2"], "report")), [0, 1, 2, 3, 4]);
}

#[test]
fn it_runs_in_a_cgroup_below_the_containers() {
    let hako = Runtime::new();
    let (bundle, container) = serving(&hako, |_| ());
    let cgroup = hako_integration::cgroup_dir(bundle.cgroup());
    fs::create_dir(cgroup.join("sub")).unwrap();
    let seen = &container.exec_and_ask(&["--cgroup", "sub"], "report")[0];
    assert!(seen["cgroup"].as_str().unwrap().contains("0::/sub"), "{}", seen["cgroup"]);
}

#[test]
fn it_enters_a_container_without_namespaces_of_its_own() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |bundle| {
        bundle.set("/linux/namespaces", json!([])).remove("/hostname");
        bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        bundle.set("/mounts", json!([]));
        bundle.set("/linux/namespaces", json!([{ "type": "mount" }]));
    });
    let seen = container.exec_and_ask(&[], "ls / -- report");
    assert!(seen[0].as_array().unwrap().contains(&json!("bin")), "{seen:?}");
}

#[test]
fn many_at_once_do_not_get_in_each_others_way() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    let running: Vec<_> = (0..30).map(|_| container.exec(&[], "report").spawn()).collect();
    for run in running {
        assert_eq!(run.finish().ok().json()["names"]["hostname"], "hako-test");
    }
}

#[test]
fn processors_are_those_of_exec_cpu_affinity() {
    let hako = Runtime::new();
    let all = hako.inspect(&hako.bundle())["cpu_affinity"].clone();
    let last = all.as_array().unwrap().last().unwrap();
    let (_, container) = serving(&hako, |bundle| {
        let affinity = json!({ "initial": all[0].to_string(), "final": last.to_string() });
        bundle.set("/process/execCPUAffinity", affinity);
    });
    assert_eq!(container.exec_and_ask(&[], "report")[0]["cpu_affinity"], json!([last]));

    let all = &container.ask("report")[0]["cpu_affinity"];
    let (_, container) = serving(&hako, |bundle| {
        bundle.set("/process/execCPUAffinity", json!({ "initial": "0" }));
    });
    assert_eq!(&container.exec_and_ask(&[], "report")[0]["cpu_affinity"], all);
}

#[test]
fn a_pidfd_of_it_can_be_sent_to_a_socket() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    let socket = ConsoleSocket::bind(&hako.scratch().join("pidfd.sock"));
    let pid_file = hako.scratch().join("pid");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (socket_path, pid_path) = (path(socket.path()), path(&pid_file));
    let options = ["--detach", "--pidfd-socket", &socket_path, "--pid-file", &pid_path];
    let exec = container.exec(&options, "sleep 100").spawn();
    let received = socket.receive();
    let _ = exec.finish().ok();
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&received[0]);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
    assert!(info.contains(&format!("Pid:\t{pid}\n")), "{info}");
    rustix::process::pidfd_send_signal(&received[0], rustix::process::Signal::TERM).unwrap();
    assert_eq!(reap(pid), Exit::Signal(15));
}

#[test]
fn in_a_paused_container_it_waits_for_the_resumption_when_that_is_asked_for() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    let _ = container.command(&["pause"]).output().ok();
    fails(&container.exec(&[], "report").output(), "cannot exec in a paused container");
    let exec = container.exec(&["--ignore-paused"], "print ran").spawn();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(exec.stdout(), "", "it runs in a paused container");
    let _ = container.command(&["resume"]).output().ok();
    assert_eq!(exec.finish().ok().stdout, "ran\n");
}

#[test]
fn labels_are_refused_where_the_host_has_no_such_module() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    let rows = [
        ("--process-label", "system_u:system_r:container_t:s0", "/sys/fs/selinux/enforce"),
        ("--apparmor", "docker-default", "/sys/kernel/security/apparmor"),
    ];
    each(rows, |(option, label, module)| {
        if !Path::new(module).exists() {
            fails(&container.exec(&[option, label], "report").output(), "this host has no");
        }
    });
}

/// As an engine starts it that has nothing for it to read or to write to.
#[test]
fn standard_streams_may_be_closed() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |_| ());
    for options in [&["--tty"][..], &[]] {
        let command = container.exec(options, "exit 7");
        assert_eq!(command.before("exec 0<&-").output().code, Some(7), "{options:?}");
        let command = container.exec(options, "exit 7");
        assert_eq!(command.before("exec 0<&- 1>&- 2>&-").output().code, Some(7), "{options:?}");
    }
    let output = container.exec(&["--tty"], "tty").before("exec 0<&-").output().ok();
    assert_eq!(output.values()[0][0]["tty"], true, "its own is one all the same");
}

/// Not even the container's environment has one, and not that of a caller.
#[test]
fn without_a_path_the_usual_places_are_searched() {
    let hako = Runtime::new();
    let (_, container) = serving(&hako, |bundle| {
        bundle.set("/process/env", json!(["A=1"]));
    });
    let user = json!({ "uid": 0, "gid": 0 });
    each([None, Some(json!([])), Some(json!(["B=2"]))], |env| {
        let mut process =
            json!({ "args": ["inspector", "print", "found"], "cwd": "/", "user": user });
        if let Some(env) = env {
            process["env"] = env.clone();
        }
        let file = hako.file("process.json", &process.to_string());
        let command = hako.command(&["exec", "--process"]).arg(&file).arg(container.id());
        let output = command.env("PATH", "/nowhere").output();
        assert_eq!(output.ok().stdout, "found\n");
    });
}
