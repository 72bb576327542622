//! The command line as container engines use it: containerd's shim, dockerd, podman, buildah.

use super::terminal::{ConsoleSocket, read_all};
use crate::case::{Case, Level::Engine, Stop, Verdict, ensure, expect, fail};
use crate::command::Output;
use crate::container::Container;
use crate::context::Context;
use crate::unix::Exit;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "engine.version",
        level: Engine,
        refs: &[],
        run: |cx| {
            let output = cx.runtime.bare_command(&["--version"]).output()?.ok()?;
            let first = output.stdout.lines().next().unwrap_or_default();
            ensure(first.contains(" version "), "`NAME version X` in the first line", first)
        },
    },
    Case {
        id: "engine.orphan-of-create",
        level: Engine,
        refs: &[],
        run: |cx| {
            // The caller, a subreaper, becomes the parent and learns the exit code.
            cx.bundle.inspector("exit 9");
            let exit = cx.run()?.exit;
            ensure(exit == Exit::Code(9), "exit code 9 for the waiting caller", exit)
        },
    },
    Case {
        id: "engine.stopped-while-a-zombie",
        level: Engine,
        refs: &[],
        run: |cx| {
            // The caller has not waited for it yet.
            let container = cx.serve()?;
            container.kill("KILL")?;
            let path = format!("/proc/{}/stat", container.pid());
            for _ in 0..200 {
                if fs::read_to_string(&path).is_ok_and(|stat| stat.contains(") Z")) {
                    return container.expect_status("stopped");
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(fail("the process to become a zombie", "it does not"))
        },
    },
    Case {
        id: "engine.kill-spellings",
        level: Engine,
        refs: &[],
        run: |cx| {
            let mut container = cx.serve()?;
            container.ask("trap")?;
            for spelling in ["10", "USR1", "SIGUSR1"] {
                container.kill(spelling)?;
                expect(spelling, &container.answer()?["signal"], "SIGUSR1")?;
            }
            container.try_to_kill("NONSENSE")?.fails()?;
            container.end()
        },
    },
    Case {
        id: "engine.kill-without-a-signal",
        level: Engine,
        refs: &[],
        run: |cx| {
            let mut container = cx.serve()?;
            container.ask("trap")?;
            container.try_to("kill")?.ok()?;
            expect("what arrives", &container.answer()?["signal"], "SIGTERM")?;
            container.wait()?;
            container.delete()
        },
    },
    Case {
        id: "engine.delete-force-running",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            container.force_delete()?;
            container.try_to("state")?.fails().map(drop)
        },
    },
    Case {
        id: "engine.delete-force-created",
        level: Engine,
        refs: &[],
        run: |cx| cx.create()?.force_delete(),
    },
    Case {
        id: "engine.delete-force-unknown",
        level: Engine,
        refs: &[],
        run: |cx| {
            let delete = cx.runtime.command(&["delete", "--force", "oci-no-such-container"]);
            delete.output()?.ok().map(drop)
        },
    },
    Case {
        id: "engine.log-json",
        level: Engine,
        refs: &[],
        run: |cx| {
            let log = cx.host_dir("")?.join("log.json");
            cx.bundle.set("/process/args", json!(["/no/such/program"])).save()?;
            let create =
                cx.runtime.command(&["--log"]).arg(&log).args(&["--log-format", "json", "create"]);
            let create = create.args(&["--bundle"]).arg(cx.bundle.dir()).id(cx.id());
            let created = create.output()?.is_ok();
            if created {
                cx.runtime.remember(cx.id());
                let start = cx.runtime.command(&["--log"]).arg(&log);
                start.args(&["--log-format=json", "start"]).id(cx.id()).output()?.fails()?;
            }
            error_line(&fs::read_to_string(&log).unwrap_or_default()).map(drop)
        },
    },
    Case {
        id: "engine.error-texts",
        level: Engine,
        refs: &[],
        run: |cx| {
            // docker derives its exit codes 127 and 126 from these words.
            fs::write(cx.bundle.inside("/bin/plain"), "text")?;
            fs::set_permissions(cx.bundle.inside("/bin/plain"), fs::Permissions::from_mode(0o644))?;
            says(cx, "/no/such/program", &["no such file or directory"])?;
            says(
                cx,
                "no-such-program",
                &["executable file not found", "no such file or directory"],
            )?;
            says(cx, "/bin/plain", &["permission denied"])?;
            says(cx, "/bin", &["permission denied", "is a directory"])
        },
    },
    Case {
        id: "engine.debug-keeps-stdout-clean",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.create()?;
            let state = cx.runtime.command(&["--debug", "state"]).id(container.id());
            let output = state.output()?.ok()?;
            let json = serde_json::from_str::<Value>(&output.stdout);
            ensure(json.is_ok(), "nothing but JSON on standard output", output.stdout)
        },
    },
    Case {
        id: "engine.run",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.inspector("print hello -- exit 7").save()?;
            let run = cx.runtime.command(&["run", "--bundle"]).arg(cx.bundle.dir()).id(cx.id());
            let output = run.output()?;
            expect("exit code", output.code, 7)?;
            expect("standard output", output.stdout, "hello\n")?;
            cx.runtime.on("state", cx.id())?.fails().map(drop)
        },
    },
    Case {
        id: "engine.run-ended-by-a-signal",
        level: Engine,
        refs: &[],
        run: |cx| {
            // A pid 1 does not kill itself.
            cx.bundle.without_namespace("pid").inspector("signal-self KILL").save()?;
            let run = cx.runtime.command(&["run", "--bundle"]).arg(cx.bundle.dir()).id(cx.id());
            expect("exit code", run.output()?.code, 137)
        },
    },
    Case {
        id: "engine.run-detached",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.inspector("sleep 60").save()?;
            let run = cx.runtime.command(&["run", "--detach", "--bundle"]).arg(cx.bundle.dir());
            run.id(cx.id()).output()?.ok()?;
            cx.runtime.remember(cx.id());
            let state = cx.runtime.on("state", cx.id())?.ok()?;
            let state: Value = serde_json::from_str(&state.stdout).unwrap_or_default();
            expect("status", &state["status"], "running")
        },
    },
    Case {
        id: "engine.options-of-create",
        level: Engine,
        refs: &[],
        run: |cx| {
            // What containerd's shim and podman may add.
            cx.bundle.inspector("print hello");
            let command = cx.create_command()?.args(&["--no-pivot", "--no-new-keyring"]);
            expect("standard output", cx.expect_made(command)?.finish()?.stdout, "hello\n")
        },
    },
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
        id: "engine.pause-and-resume",
        level: Engine,
        refs: &[],
        run: |cx| {
            let mut container = cx.serve()?;
            container.try_to("pause")?.ok()?;
            container.expect_status("paused")?;
            container.try_to("resume")?.ok()?;
            container.expect_status("running")?;
            container.ask("stat /")?;
            container.end()
        },
    },
    Case {
        id: "engine.delete-force-paused",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            container.try_to("pause")?.ok()?;
            container.force_delete()
        },
    },
    Case {
        id: "engine.ps",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.serve()?;
            let output =
                cx.runtime.command(&["ps", "--format", "json"]).id(container.id()).output()?;
            let pids: Value = serde_json::from_str(&output.ok()?.stdout).unwrap_or_default();
            expect("pids", pids, [container.pid()])?;
            container.end()
        },
    },
    Case {
        id: "engine.list",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.create()?;
            let output = cx.runtime.command(&["list", "--format", "json"]).output()?.ok()?;
            let list: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
            let entry = &list[0];
            expect("id", &entry["id"], container.id())?;
            expect("pid", &entry["pid"], container.pid())?;
            expect("status", &entry["status"], "created")?;
            let quiet = cx.runtime.command(&["list", "--quiet"]).output()?.ok()?;
            expect("`list --quiet`", quiet.stdout.trim(), container.id())
        },
    },
    Case {
        id: "engine.update-nothing",
        level: Engine,
        refs: &[],
        run: |cx| {
            // dockerd sends {} where the kernel lacks the controllers.
            let container = cx.serve()?;
            let input = cx.host_file("resources", "{}")?;
            let update = cx.runtime.command(&["update", "--resources=-"]).id(container.id());
            update.stdin(Stdio::from(fs::File::open(input)?)).output()?.ok()?;
            container.end()
        },
    },
    Case {
        id: "engine.spec",
        level: Engine,
        refs: &[],
        run: |cx| {
            let dir = cx.host_dir("spec")?;
            cx.runtime.bare_command(&["spec"]).current_dir(&dir).output()?.ok()?;
            let text = fs::read_to_string(dir.join("config.json")).unwrap_or_default();
            let config: Value = serde_json::from_str(&text).unwrap_or_default();
            ensure(config["ociVersion"].is_string(), "a config.json with a version", text)
        },
    },
    Case {
        id: "engine.state-of-many",
        level: Engine,
        refs: &[],
        run: |cx| {
            // Two containers do not know of each other.
            let container = cx.serve()?;
            let second = format!("{}-second", cx.id());
            cx.bundle.set("/linux/cgroupsPath", format!("/{second}")).save()?;
            let create = cx.runtime.command(&["create", "--bundle"]).arg(cx.bundle.dir());
            create.id(&second).output()?.ok()?;
            cx.runtime.remember(&second);
            cx.runtime.command(&["delete", "--force"]).id(&second).output()?.ok()?;
            cx.runtime.forget(&second);
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

/// The last error of a log in JSON lines, as containerd reads it.
fn error_line(log: &str) -> Result<String, Stop> {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut errors = lines.filter(|line| line["level"] == "error");
    let message = errors.find_map(|line| line["msg"].as_str().map(String::from));
    message.ok_or_else(|| fail("a line with level \"error\" and msg", log.trim()))
}

/// Starting this program must fail with one of these texts.
fn says(cx: &mut Context, program: &str, texts: &[&str]) -> Verdict {
    cx.bundle.set("/process/args", json!([program]));
    let (output, container) = cx.try_create()?;
    let stderr = match &container {
        None => output.stderr,
        Some(container) => {
            let stderr = container.try_to("start")?.fails()?.stderr;
            container.force_delete()?;
            stderr
        }
    };
    let said = texts.iter().any(|text| stderr.contains(text));
    ensure(said, format!("{program}: {texts:?} in the error"), stderr.trim())
}
