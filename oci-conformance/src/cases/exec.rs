//! `exec`, as container engines use it.

use super::terminal::{ConsoleSocket, read_all};
use crate::case::{Case, Level::Engine, Stop, Verdict, ensure, expect, fail};
use crate::command::Output;
use crate::container::Container;
use crate::context::Context;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "engine.exec",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let seen = exec(cx, &container, &[], "report")?;
            let init = fs::read_link(format!("/proc/{}/ns/mnt", container.pid()))?;
            expect("mount namespace", &seen["namespaces"]["mnt"], init)?;
            expect("working directory", &seen["cwd"], "/")?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-while-create-goes-on",
        level: Engine,
        refs: &[],
        run: |cx| {
            // The mount namespace may still have the host's root. An error is as good as waiting
            // for the container's own.
            let program = cx.inspector().to_string_lossy().into_owned();
            let copy = cx.bundle.write(&program, "")?;
            fs::copy(&program, copy)?;
            let marker = cx.host_file("marker", "")?.to_string_lossy().into_owned();
            let kinds = ["prestart", "createRuntime", "createContainer"];
            let begun = kinds.map(|kind| cx.bundle.dir().with_file_name("host").join(kind));
            for (kind, begun) in kinds.iter().zip(&begun) {
                let words = format!("save /dev/null -- write {} -- sleep 0.5", begun.display());
                let words: Vec<&str> = words.split(' ').collect();
                cx.bundle.hook(kind, Path::new(&program), &words);
            }
            let create = cx.create_command()?;
            let creating = std::thread::spawn(move || create.output());
            cx.runtime.remember(cx.id());
            let exec = |begun: &PathBuf| {
                appears(begun)?;
                cx.runtime.command(&["exec", cx.id(), &program, "stat", &marker]).output()
            };
            let seen: Result<Vec<Output>, Stop> = begun.iter().map(exec).collect();
            let created = creating.join();
            created.map_err(|_| Stop::Suite("the thread of `create`".into()))??.ok()?;
            for (kind, seen) in kinds.iter().zip(seen?) {
                let reached = seen.stdout.contains("\"file\"");
                let expected = format!("no way to the host's files while {kind} hooks run");
                ensure(!reached, expected, seen.stdout)?;
            }
            Ok(())
        },
    },
    Case {
        id: "engine.exec-terminal",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let socket = ConsoleSocket::bind(cx)?;
            let exec = cx.runtime.command(&["exec", "--detach", "--tty", "--console-socket"]);
            let exec = exec.arg(socket.path()).args(&[container.id(), "/bin/inspector"]);
            exec.args(&["print", "hello"]).output()?.ok()?;
            let said = read_all(&socket.receive()?);
            expect("what arrives at the terminal", said, "hello\r\n")?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-exit-code",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let words = ["exec", container.id(), "/bin/inspector", "exit", "5"];
            expect("exit code", cx.runtime.command(&words).output()?.code, 5)?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-options",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let options = ["--user", "33:44", "--cwd", "/tmp", "--env", "KEY=value"];
            let seen = exec(cx, &container, &options, "report")?;
            expect("uid", &seen["uid"]["effective"], 33)?;
            expect("gid", &seen["gid"]["effective"], 44)?;
            expect("working directory", &seen["cwd"], "/tmp")?;
            let there = crate::case::contains(&seen["env"], "KEY=value");
            ensure(there, "KEY=value", &seen["env"])?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-process-detached",
        level: Engine,
        refs: &[],
        run: |cx| {
            // As containerd's shim does it.
            let container = cx.serve()?;
            let process = json!({
                "args": ["/bin/inspector", "sleep", "60"], "cwd": "/tmp", "env": ["PATH=/bin"],
                "user": { "uid": 7, "gid": 8 },
            });
            let (file, pid_file) =
                (cx.host_file("process", &process.to_string())?, cx.host_dir("")?.join("exec.pid"));
            let command = cx.runtime.command(&["exec", "--detach", "--process"]).arg(file);
            command.arg("--pid-file").arg(&pid_file).id(container.id()).output()?.ok()?;
            let pid = fs::read_to_string(&pid_file)?;
            let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()))?;
            let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
            expect("uid of the process", uid.map(str::trim), "7\t7\t7\t7")?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-joins-the-cgroup",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let pid_file = cx.host_dir("")?.join("exec.pid");
            let words = ["exec", "--detach", "--pid-file"];
            let command = cx.runtime.command(&words).arg(&pid_file);
            command.args(&[container.id(), "/bin/inspector", "sleep", "60"]).output()?.ok()?;
            let pid = fs::read_to_string(&pid_file)?;
            let line = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim()))?;
            let wanted = super::cgroups::cgroup_of(&container)?;
            let place = line.lines().find_map(|line| line.strip_prefix("0::"));
            expect("cgroup", place, wanted)?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-in-a-stopped-container",
        level: Engine,
        refs: &[],
        run: |cx| {
            let mut container = cx.create()?;
            container.start()?;
            container.wait()?;
            let words = ["exec", container.id(), "/bin/inspector", "exit", "0"];
            cx.runtime.command(&words).output()?.fails()?;
            container.delete()
        },
    },
    Case {
        id: "engine.exec-in-a-created-container",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.create()?;
            let seen = exec(cx, &container, &[], "report")?;
            let init = fs::read_link(format!("/proc/{}/ns/mnt", container.pid()))?;
            expect("mount namespace", &seen["namespaces"]["mnt"], init)?;
            container.expect_status("created")?;
            container.force_delete()
        },
    },
    Case {
        id: "engine.exec-privileges",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/noNewPrivileges", false);
            let container = cx.serve()?;
            let seen = exec(cx, &container, &[], "report")?;
            expect("no_new_privs", &seen["attributes"]["no_new_privs"], false)?;
            let options = ["--no-new-privs", "--cap", "CAP_SYS_CHROOT"];
            let with = exec(cx, &container, &options, "report")?;
            expect("no_new_privs with the option", &with["attributes"]["no_new_privs"], true)?;
            let [without, with] = [seen, with].map(|seen| holds(&seen, 18));
            expect("CAP_SYS_CHROOT without and with the option", [without, with], [false, true])?;
            container.end()
        },
    },
    Case {
        id: "engine.exec-unknown-program",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let exec =
                cx.runtime.command(&["exec", container.id(), "/no/such/program"]).output()?;
            let said = exec.fails()?.stderr;
            let why = said.to_lowercase().contains("no such file or directory");
            ensure(why, "no such file or directory in the error", said)?;
            container.expect_status("running")?;
            container.end()
        },
    },
];

/// Waits for a file that a hook writes.
fn appears(path: &Path) -> Verdict {
    for _ in 0..500 {
        if path.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(fail(format!("a hook to write {}", path.display()), "it does not"))
}

/// What a program of the container says, started by `exec`.
fn exec(
    cx: &Context,
    container: &Container,
    options: &[&str],
    command: &str,
) -> Result<Value, Stop> {
    let exec = cx.runtime.command(&["exec"]).args(options);
    let output = exec.args(&[container.id(), "/bin/inspector", command]).output()?.ok()?;
    serde_json::from_str(&output.stdout).map_err(|_| fail("a report from inside", output.stdout))
}

/// Whether a report shows an effective capability.
fn holds(report: &Value, number: u32) -> bool {
    let set = report["capabilities"]["effective"].as_str().unwrap_or_default();
    u64::from_str_radix(set, 16).is_ok_and(|set| set & (1 << number) != 0)
}
