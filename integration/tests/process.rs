//! The container's process: its program, directory, environment, user, exit
//! code and open descriptors.

use hako_integration::{Bundle, Runtime, Value, each, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

#[test]
fn cwd_is_the_configured_one() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.mkdir("/some/where");
    bundle.set("/process/cwd", "/some/where");
    assert_eq!(hako.inspect(&bundle)["cwd"], "/some/where");
}

#[test]
fn a_missing_cwd_is_made() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/cwd", "/made/for/you");
    let seen = hako.ask(&bundle, "report -- stat /made/for/you");
    assert_eq!(seen[0]["cwd"], "/made/for/you");
    assert_eq!(seen[1]["mode"], 0o755);
}

#[test]
fn a_cwd_on_a_mount_is_entered_there() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
    bundle.set("/process/cwd", "/mnt");
    let seen = hako.ask(&bundle, "write here x -- read /mnt/here");
    assert_eq!(seen, ["ok", "x"]);
}

/// Images do it: `WORKDIR /root` and `USER 1000`.
#[test]
fn a_cwd_closed_to_the_user_is_entered_all_the_same() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let dir = bundle.mkdir("/root");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
    bundle.set("/process/cwd", "/root").set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["uid"]["effective"], 1000);
    assert_eq!(seen["status"]["Name"], "inspector");
}

#[test]
fn impossible_working_directories_are_refused() {
    let hako = Runtime::new();
    each([json!("relative"), json!(""), json!("/bin/inspector"), json!(7), json!(null)], |cwd| {
        let mut bundle = hako.bundle();
        bundle.set("/process/cwd", cwd.clone());
        hako.refuses(&bundle, "/process/cwd");
    });
    let mut bundle = hako.bundle();
    bundle.remove("/process/cwd");
    hako.run(&bundle).fails("cwd");
}

#[test]
fn args_arrive_as_they_are() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let args =
        json!(["/bin/inspector", "report", "--", "print", "", "two words", "ünï", "*", "$HOME"]);
    bundle.set("/process/args", args.clone());
    let output = hako.run(&bundle).ok();
    let (report, text) = output.stdout.split_once('\n').unwrap();
    let report: Value = report.parse().unwrap();
    assert_eq!(report["args"], args);
    assert_eq!(text, " two words ünï * $HOME\n");
}

#[test]
fn the_program_is_looked_up_in_the_path_of_the_container() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/args", json!(["inspector"]));
    bundle.mkdir("/first/inspector");
    bundle.set("/process/env", json!(["PATH=/first:/missing:/bin"]));
    let seen = hako.inspect_as_is(&bundle);
    assert_eq!(seen["exe"], "/bin/inspector");
    assert_eq!(seen["args"], json!(["inspector"]), "argv[0] stays as written");
}

#[test]
fn a_program_with_a_slash_is_relative_to_the_cwd() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/args", json!(["./inspector"])).set("/process/cwd", "/bin");
    assert_eq!(hako.inspect_as_is(&bundle)["exe"], "/bin/inspector");
}

#[test]
fn programs_that_cannot_run_are_refused() {
    let hako = Runtime::new();
    let rows = [
        (json!(["no-such-program"]), "no-such-program"),
        (json!(["/no/such/program"]), "/no/such/program"),
        (json!(["/plain"]), "/plain"),
        (json!(["/bin"]), "/bin"),
        (json!([""]), ""),
    ];
    each(rows, |(args, name)| {
        let mut bundle = hako.bundle();
        bundle.write("/plain", "not executable");
        bundle.set("/process/args", args.clone());
        let output = hako.refuses(&bundle, "/process/args");
        assert!(output.stderr.contains(name), "the program must be named\n{output}");
    });
}

#[test]
fn a_process_without_a_program_is_refused() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/args", json!([]));
    hako.refuses(&bundle, "/process/args");
    bundle.remove("/process/args");
    hako.run(&bundle).fails("args");
    bundle.remove("/process");
    hako.run(&bundle).fails("process");
}

#[test]
fn the_exit_code_is_that_of_the_container() {
    let hako = Runtime::new();
    each([0, 1, 42, 127, 255], |code| {
        let mut bundle = hako.bundle();
        bundle.inspector(&format!("exit {code}"));
        assert_eq!(hako.run(&bundle).code, Some(*code));
    });
}

#[test]
fn a_signal_becomes_an_exit_code() {
    let hako = Runtime::new();
    each([("KILL", 137), ("TERM", 143), ("SEGV", 139), ("ABRT", 134)], |(signal, code)| {
        // The first process of a pid namespace cannot signal itself to death.
        let mut bundle = hako.bundle();
        bundle.without_namespace("pid").inspector(&format!("signal-self {signal}"));
        assert_eq!(hako.run(&bundle).code, Some(*code));
    });
}

#[test]
fn the_environment_is_the_configured_one_and_nothing_else() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let env = json!(["PATH=/bin", "B=2", "A=1", "EMPTY=", "EQUALS=a=b", "SPACE=a b", "HOME=/mine"]);
    bundle.set("/process/env", env.clone());
    let command = hako.on_bundle(&["run"], &bundle).env("OF_THE_CALLER", "secret");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(seen["env"], env);
}

#[test]
fn an_absent_environment_is_empty() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.remove("/process/env");
    let seen = hako.inspect_as_is(&bundle);
    let env = seen["env"].as_array().unwrap();
    assert!(env.iter().all(|entry| entry.as_str().unwrap().starts_with("HOME=")), "{env:?}");
}

#[test]
fn home_is_set_from_the_passwd_file_of_the_container() {
    let hako = Runtime::new();
    let rows = [(0, "HOME=/root"), (1000, "HOME=/home/app"), (1234, "HOME=/")];
    each(rows, |(uid, home)| {
        let mut bundle = hako.bundle();
        bundle.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/x\n");
        bundle.set("/process/user/uid", *uid);
        let mut emptied = bundle.clone();
        emptied.set("/process/env", ["HOME="]);
        for seen in [hako.inspect(&bundle), hako.inspect(&emptied)] {
            assert!(hako_integration::in_set(&seen["env"], home), "{}", seen["env"]);
            assert!(!hako_integration::in_set(&seen["env"], "HOME="), "{}", seen["env"]);
        }
    });
}

#[test]
fn malformed_environments_are_refused() {
    let hako = Runtime::new();
    each([json!("NO_EQUALS"), json!("NUL=\u{0}"), json!(5)], |entry| {
        let mut bundle = hako.bundle();
        bundle.set("/process/env/-", entry.clone());
        hako.refuses(&bundle, "/process/env");
    });
}

#[test]
fn user_and_groups_are_the_configured_ones() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let user = json!({ "uid": 1000, "gid": 2000, "additionalGids": [3000, 4000, 5] });
    bundle.set("/process/user", user);
    let seen = hako.inspect(&bundle);
    for (ids, id) in [("uid", 1000), ("gid", 2000)] {
        assert_eq!(seen[ids], json!({ "real": id, "effective": id, "saved": id }));
    }
    assert_eq!(seen["groups"], json!([5, 3000, 4000]));
    assert_eq!(seen["status"]["Uid"], "1000\t1000\t1000\t1000", "the file system id as well");
}

#[test]
fn groups_of_the_caller_are_dropped() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle);
    let command = command.before("exec setpriv --groups 7,8 -- \"$0\" \"$@\"");
    assert_eq!(hako.finish(command, &bundle).ok().json()["groups"], json!([]));
}

/// Without the privilege to drop them, the container would keep them.
#[test]
fn groups_of_the_caller_that_cannot_be_dropped_are_an_error() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle);
    let command =
        command.before("exec setpriv --groups 7,8 --bounding-set -setgid -- \"$0\" \"$@\"");
    let output = hako.finish(command, &bundle);
    output.fails("cannot drop the caller's supplementary groups");
}

#[test]
fn impossible_ids_are_refused() {
    let hako = Runtime::new();
    // 4294967295 is -1 for the kernel: "do not change".
    for field in ["uid", "gid"] {
        each([json!(4_294_967_295_u64), json!(-1), json!("0"), json!(1.5)], |id| {
            let mut bundle = hako.bundle();
            let pointer = format!("/process/user/{field}");
            bundle.set(&pointer, id.clone());
            hako.refuses(&bundle, &pointer);
        });
    }
    let mut bundle = hako.bundle();
    bundle.set("/process/user/additionalGids", json!([5, 4_294_967_295_u64]));
    hako.refuses(&bundle, "/process/user/additionalGids");
    // NGROUPS_MAX and one more.
    bundle.set("/process/user/additionalGids", vec![5; 65537]);
    hako.refuses(&bundle, "/process/user/additionalGids");
}

#[test]
fn umask_is_the_configured_one() {
    let hako = Runtime::new();
    each([0, 0o27, 0o77, 0o777], |umask| {
        let mut bundle = hako.bundle();
        bundle.set("/process/user/umask", *umask);
        bundle.inspector("report -- write /dev/shm/file x -- stat /dev/shm/file");
        // The caller's must not matter.
        let command = hako.on_bundle(&["run"], &bundle).before("umask 0035");
        let seen = hako.finish(command, &bundle).ok().values();
        assert_eq!(seen[0]["umask"], *umask);
        assert_eq!(seen[2]["mode"], 0o666 & !umask);
    });
}

#[test]
fn nothing_is_open_but_the_standard_streams() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle).before("exec 3</etc 5</dev/null 9</etc/passwd");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(numbers(&seen), [0, 1, 2]);
}

fn numbers(seen: &Value) -> Vec<u64> {
    seen["descriptors"].as_array().unwrap().iter().map(|fd| fd["fd"].as_u64().unwrap()).collect()
}

#[test]
fn preserved_descriptors_are_passed_on() {
    let hako = Runtime::new();
    let file = hako.file("passed", "text");
    let bundle = hako.bundle();
    each([(1, vec![0, 1, 2, 3]), (2, vec![0, 1, 2, 3, 4])], |(count, expected)| {
        let open = format!("exec 3<{} 4</dev/zero 5</dev/null", file.display());
        let command = hako.on_bundle(&["run", "--preserve-fds", &count.to_string()], &bundle);
        let seen = hako.finish(command.before(&open), &bundle).ok().json();
        assert_eq!(numbers(&seen), *expected);
        assert_eq!(seen["descriptors"][3]["link"], file.to_str().unwrap());
        assert_eq!(seen["descriptors"][3]["cloexec"], false);
    });
}

#[test]
fn descriptors_that_are_not_open_are_told() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    each(["1", "2147483646", "2147483647", "4294967295"], |count| {
        let command = hako.on_bundle(&["run", "--preserve-fds", count], &bundle);
        hako.finish(command, &bundle).fails("not all of these descriptors are open");
    });
}

/// Programs differ in which one they would take.
#[test]
fn a_variable_has_the_last_of_its_values() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/env", json!(["A=1", "PATH=/bin", "B=2", "A=3", "HOME=/x"]));
    let seen = hako.run(&bundle).ok().json();
    assert_eq!(seen["env"], json!(["PATH=/bin", "B=2", "A=3", "HOME=/x"]));
}

#[test]
fn standard_streams_may_be_closed() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle).before("exec 0<&-");
    let seen = hako.finish(command, &bundle).ok().json();
    assert!(numbers(&seen).iter().all(|fd| *fd <= 2), "{:?}", numbers(&seen));
}

#[test]
fn stdin_reaches_the_container() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("cat");
    let input = fs::File::open(hako.file("input", "some text\n")).unwrap();
    let command = hako.on_bundle(&["run"], &bundle).stdin(input);
    assert!(hako.finish(command, &bundle).ok().stdout.starts_with("some text\n"));
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.inspector("print out -- eprint err");
    let output = hako.run(&bundle).ok();
    assert_eq!((&*output.stdout, &*output.stderr), ("out\n", "err\n"));
}

#[test]
fn the_process_leads_a_session_and_is_not_tied_to_its_maker() {
    let hako = Runtime::new();
    let seen = hako.inspect(&hako.bundle());
    assert_eq!((&seen["pid"], &seen["ppid"]), (&json!(1), &json!(0)));
    assert_eq!((&seen["session"], &seen["process_group"]), (&json!(1), &json!(1)));
    assert_eq!(seen["attributes"]["parent_death_signal"], 0);
    assert_eq!(seen["attributes"]["child_subreaper"], 0);
    assert_eq!(seen["attributes"]["dumpable"], 1);
    assert_eq!(seen["attributes"]["securebits"], 0);
}

#[test]
fn signals_are_neither_blocked_nor_handled_nor_newly_ignored() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    // What the test's own parents ignore reaches every child; only more is wrong.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let inherited = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    let seen = hako.inspect(&bundle);
    let mask =
        |name: &str| u64::from_str_radix(seen["status"][name].as_str().unwrap(), 16).unwrap();
    assert_eq!(mask("SigBlk"), 0);
    assert_eq!(mask("SigCgt"), 0);
    assert_eq!(mask("SigIgn") & !inherited("SigIgn"), 0);
    const SIGPIPE: u64 = 1 << 12;
    assert_eq!(mask("SigIgn") & SIGPIPE, 0, "a Rust parent ignores SIGPIPE; its child must not");
}

#[test]
fn the_session_keyring_is_new_unless_asked_otherwise() {
    let hako = Runtime::new();
    let run = |options: &[&str]| {
        let bundle = hako.bundle();
        let words: Vec<&str> = ["run"].iter().chain(options).copied().collect();
        let seen = hako.finish(hako.on_bundle(&words, &bundle), &bundle).ok().json();
        seen["keyring"]["id"].clone()
    };
    let (first, second) = (run(&[]), run(&[]));
    let (mine, again) = (run(&["--no-new-keyring"]), run(&["--no-new-keyring"]));
    assert!(first.is_i64() && first != second, "{first} and {second}");
    assert!(mine == again && mine != first, "the caller's keyring: {mine}, {again}, not {first}");
    let bundle = hako.bundle();
    let description = hako.inspect(&bundle)["keyring"]["description"].to_string();
    assert!(description.contains(&format!(";_ses.{}", bundle.id())), "its name: {description}");
}

#[test]
fn create_hands_a_terminal_to_a_console_socket_only() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/terminal", true);
    let output = hako.on_bundle(&["create"], &bundle).output();
    output.refuses("/process/terminal");
    hako.verify_gone(&bundle, &output);
}

#[test]
fn labels_are_refused_where_the_host_has_no_such_module() {
    let hako = Runtime::new();
    let rows = [
        ("/process/apparmorProfile", "docker-default", "/sys/kernel/security/apparmor"),
        ("/process/selinuxLabel", "system_u:system_r:container_t:s0", "/sys/fs/selinux/enforce"),
        ("/linux/mountLabel", "system_u:object_r:container_file_t:s0", "/sys/fs/selinux/enforce"),
    ];
    each(rows, |(pointer, label, module)| {
        if !Path::new(module).exists() {
            let mut bundle = hako.bundle();
            bundle.set(pointer, *label);
            hako.refuses(&bundle, pointer).fails("this host has no");
        }
    });
}

#[test]
fn files_of_another_owner_stay_his() {
    let hako = Runtime::new();
    let mut bundle: Bundle = hako.bundle();
    let file = bundle.write("/secret", "text");
    chown(&file, Some(7), Some(7)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(hako.ask(&bundle, "read /secret")[0], json!({ "errno": "EACCES" }));
    bundle.set("/process/user", json!({ "uid": 7, "gid": 7 }));
    assert_eq!(hako.ask(&bundle, "read /secret")[0], "text");
}
