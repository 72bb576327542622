//! The command line as container engines use it: containerd's shim, dockerd, podman, buildah.

use crate::case::{Case, Level::Engine, Stop, Verdict, ensure, expect, fail};
use crate::context::Context;
use crate::unix::{Exit, orphan_ended_within};
use rustix::process::Pid;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
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
        id: "engine.kill-all",
        level: Engine,
        refs: &[],
        run: |cx| {
            // What containerd's shim does to a container that shares its pid namespace.
            cx.bundle.without_namespace("pid");
            let mut container = cx.serve()?;
            let child = container.ask("spawn-sleep")?[0]["child"].clone();
            cx.runtime.command(&["kill", "--all", container.id(), "KILL"]).output()?.ok()?;
            container.wait()?;
            let child = child.as_i64().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
            let ended = child.and_then(|pid| orphan_ended_within(pid, Duration::from_secs(5)));
            ensure(ended.is_some(), "an end of the other process, too", "it still runs")?;
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
