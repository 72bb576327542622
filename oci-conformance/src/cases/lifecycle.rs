//! create, start, kill, delete, and what is true between them.

use crate::case::{Case, Level::Must, Verdict, ensure, expect, fail};
use crate::context::Context;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "lifecycle.create",
        level: Must,
        refs: &["runtime.md:111", "runtime.md:5", "runtime.md:93"],
        run: |cx| cx.create()?.expect_status("created"),
    },
    Case {
        id: "lifecycle.config-json-in-the-bundle",
        level: Must,
        refs: &["bundle.md:14", "bundle.md:19"],
        run: |cx| {
            cx.bundle.save()?;
            let elsewhere = cx.bundle.dir().join("other.json");
            std::fs::rename(cx.bundle.dir().join("config.json"), elsewhere)?;
            let create = cx.runtime.command(&["create", "--bundle"]).arg(cx.bundle.dir());
            create.id(cx.id()).output()?.fails().map(drop)
        },
    },
    Case {
        id: "lifecycle.environment-as-configured",
        level: Must,
        refs: &["runtime.md:58", "runtime.md:113"],
        run: |cx| {
            cx.bundle.set("/hostname", "as-configured").set("/root/readonly", true);
            cx.bundle.mount("/data", "tmpfs", &["nodev"]);
            cx.bundle.mkdir("/data")?;
            let seen = cx.inspect()?;
            expect("hostname", &seen["names"]["hostname"], "as-configured")?;
            super::mount_at(&seen, "/data")?;
            ensure(super::has_option(&seen, "/", "ro")?, "/ to be read-only", "it is not")
        },
    },
    Case {
        id: "lifecycle.impossible-environment",
        level: Must,
        refs: &["runtime.md:59", "runtime.md:116"],
        run: |cx| {
            cx.bundle.mount("/data", "nosuchfilesystem", &[]);
            cx.refused_by_create()?;
            let state = cx.runtime.on("state", cx.id())?;
            state.fails().map(drop)
        },
    },
    Case {
        id: "lifecycle.failed-create-leaves-nothing",
        level: Must,
        refs: &["runtime.md:84"],
        run: |cx| {
            cx.bundle.mount("/data", "nosuchfilesystem", &[]);
            cx.refused_by_create()?;
            ensure(!cx.cgroup().exists(), "no cgroup", "the cgroup is there")?;
            // The id can be used: nothing is known about the first attempt.
            let last = cx.bundle.get("/mounts").as_array().map_or(0, Vec::len) - 1;
            cx.bundle.set(&format!("/mounts/{last}/type"), "tmpfs");
            cx.run().map(drop)
        },
    },
    Case {
        id: "lifecycle.args-wait-for-start",
        level: Must,
        refs: &["runtime.md:114", "runtime.md:60"],
        run: |cx| {
            cx.bundle.inspector("write /tmp/ran yes");
            let container = cx.create()?;
            let ran = cx.bundle.inside("/tmp/ran");
            ensure(!ran.exists(), "no program before `start`", "it ran")?;
            container.finish()?;
            ensure(ran.exists(), "the program to run at `start`", "it did not")
        },
    },
    Case {
        id: "lifecycle.start-runs-the-program",
        level: Must,
        refs: &["runtime.md:128", "runtime.md:71"],
        run: |cx| {
            cx.bundle.inspector("print hello -- exit 7");
            let ran = cx.run()?;
            expect("standard output", ran.stdout, "hello\n")?;
            expect("the end", ran.exit.to_string(), "exit code 7")
        },
    },
    Case {
        id: "lifecycle.changes-after-create",
        level: Must,
        refs: &["runtime.md:61"],
        run: |cx| {
            cx.bundle.inspector("print first");
            let container = cx.create()?;
            cx.bundle.inspector("print second");
            cx.bundle.save()?;
            expect("standard output", container.finish()?.stdout, "first\n")
        },
    },
    Case {
        id: "lifecycle.create-without-id",
        level: Must,
        refs: &["runtime.md:109"],
        run: |cx| {
            cx.bundle.save()?;
            let create = cx.runtime.command(&["create", "--bundle"]).arg(cx.bundle.dir());
            create.output()?.fails().map(drop)
        },
    },
    Case {
        id: "lifecycle.create-with-a-used-id",
        level: Must,
        refs: &["runtime.md:110", "runtime.md:14"],
        run: |cx| {
            let container = cx.serve()?;
            let pid = container.state()?["pid"].clone();
            cx.create_command()?.output()?.fails()?;
            let state = container.state()?;
            expect("the pid of the first", &state["pid"], pid)?;
            container.end()
        },
    },
    Case {
        id: "lifecycle.invalid-ids",
        level: Must,
        refs: &["runtime.md:110"],
        run: |cx| {
            cx.bundle.save()?;
            ["../x", "a/b", "", "..", "."].iter().try_for_each(|id| refuses_id(cx, id))
        },
    },
    Case {
        id: "lifecycle.id-can-be-used-again",
        level: Must,
        refs: &["runtime.md:143"],
        run: |cx| {
            cx.run()?;
            ensure(!cx.cgroup().exists(), "no cgroup after `delete`", "it is there")?;
            cx.run().map(drop)
        },
    },
    Case {
        id: "lifecycle.start-without-id",
        level: Must,
        refs: &["runtime.md:126"],
        run: |cx| cx.runtime.command(&["start"]).output()?.fails().map(drop),
    },
    Case {
        id: "lifecycle.start-of-a-running-container",
        level: Must,
        refs: &["runtime.md:127"],
        run: |cx| {
            let mut container = cx.serve()?;
            container.try_to("start")?.fails()?;
            container.expect_status("running")?;
            // It is still the same program, and unharmed.
            container.ask("stat /")?;
            container.end()
        },
    },
    Case {
        id: "lifecycle.start-of-a-stopped-container",
        level: Must,
        refs: &["runtime.md:127"],
        run: |cx| {
            let mut container = stopped(cx)?;
            container.try_to("start")?.fails()?;
            container.wait()?;
            container.expect_status("stopped")?;
            container.delete()
        },
    },
    Case {
        id: "lifecycle.start-without-process",
        level: Must,
        refs: &["runtime.md:129", "config.md:240"],
        run: |cx| {
            cx.bundle.remove("/process");
            cx.refused()
        },
    },
    Case {
        id: "lifecycle.kill-without-id",
        level: Must,
        refs: &["runtime.md:134"],
        run: |cx| cx.runtime.command(&["kill"]).output()?.fails().map(drop),
    },
    Case {
        id: "lifecycle.kill-of-a-stopped-container",
        level: Must,
        refs: &["runtime.md:135"],
        run: |cx| {
            let container = stopped(cx)?;
            container.try_to_kill("KILL")?.fails()?;
            container.expect_status("stopped")?;
            container.delete()
        },
    },
    Case {
        id: "lifecycle.kill-sends-the-signal",
        level: Must,
        refs: &["runtime.md:136"],
        run: |cx| {
            let mut container = trapping(cx)?;
            container.kill("USR1")?;
            expect("what arrives", container.answer()?["signal"].clone(), "SIGUSR1")?;
            container.kill("TERM")?;
            let exit = container.wait()?;
            expect("the end", exit.to_string(), "exit code 42")?;
            container.delete()
        },
    },
    Case {
        id: "lifecycle.kill-of-a-created-container",
        level: Must,
        refs: &["runtime.md:136"],
        run: |cx| {
            let mut container = cx.create()?;
            container.kill("KILL")?;
            container.wait()?;
            container.expect_status("stopped")?;
            container.delete()
        },
    },
    Case {
        id: "lifecycle.delete-without-id",
        level: Must,
        refs: &["runtime.md:141"],
        run: |cx| cx.runtime.command(&["delete"]).output()?.fails().map(drop),
    },
    Case {
        id: "lifecycle.delete-of-a-running-container",
        level: Must,
        refs: &["runtime.md:142"],
        run: |cx| {
            let mut container = cx.serve()?;
            container.try_to("delete")?.fails()?;
            container.expect_status("running")?;
            container.ask("stat /")?;
            container.end()
        },
    },
    Case {
        id: "lifecycle.delete-of-a-created-container",
        level: Must,
        refs: &["runtime.md:142"],
        run: |cx| {
            let container = cx.create()?;
            container.try_to("delete")?.fails()?;
            container.expect_status("created")
        },
    },
    Case {
        id: "lifecycle.delete-destroys",
        level: Must,
        refs: &["runtime.md:143", "runtime.md:77"],
        run: |cx| {
            let container = stopped(cx)?;
            container.delete()?;
            container.try_to("state")?.fails()?;
            ensure(!cx.cgroup().exists(), "no cgroup after `delete`", "it is there")
        },
    },
    Case {
        id: "lifecycle.delete-keeps-what-it-did-not-make",
        level: Must,
        refs: &["runtime.md:144"],
        run: |cx| {
            let data = cx.host_dir("data")?;
            std::fs::write(data.join("file"), "text")?;
            cx.bundle.mkdir("/data")?;
            cx.bundle.bind(&data, "/data", &["bind"]);
            cx.run()?;
            ensure(data.join("file").exists(), "the bound directory to stay", "it is gone")?;
            ensure(cx.bundle.inside("/bin/inspector").exists(), "the rootfs to stay", "it is gone")
        },
    },
];

fn refuses_id(cx: &Context, id: &str) -> Verdict {
    let create = cx.runtime.command(&["create", "--bundle"]).arg(cx.bundle.dir());
    let output = create.id(id).output()?;
    if output.is_ok() {
        cx.runtime.remember(id);
        return Err(fail(format!("an error for the id {id:?}"), "a container"));
    }
    Ok(())
}

/// A container whose program has ended.
fn stopped(cx: &mut Context) -> Result<crate::container::Container, crate::case::Stop> {
    let mut container = cx.create()?;
    container.start()?;
    container.wait()?;
    Ok(container)
}

/// A running container that reports the signals which arrive.
fn trapping(cx: &mut Context) -> Result<crate::container::Container, crate::case::Stop> {
    let mut container = cx.serve()?;
    container.ask("trap")?;
    Ok(container)
}
