//! What `state` says.

use crate::case::{Case, Level::Must, Verdict, ensure, expect, fail};
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "state.without-id",
        level: Must,
        refs: &["runtime.md:101"],
        run: |cx| cx.runtime.command(&["state"]).output()?.fails().map(drop),
    },
    Case {
        id: "state.of-no-container",
        level: Must,
        refs: &["runtime.md:102"],
        run: |cx| cx.runtime.on("state", "oci-no-such-container")?.fails().map(drop),
    },
    Case {
        id: "state.oci-version",
        level: Must,
        refs: &["runtime.md:12"],
        run: |cx| {
            let version = cx.create()?.state()?["ociVersion"].clone();
            ensure(version.as_str().is_some_and(is_semver), "a version", version)
        },
    },
    Case {
        id: "state.id",
        level: Must,
        refs: &["runtime.md:13"],
        run: |cx| expect("id", &cx.create()?.state()?["id"], cx.id()),
    },
    Case {
        id: "state.bundle",
        level: Must,
        refs: &["runtime.md:28"],
        run: |cx| {
            // A relative path has to become absolute.
            let create = cx.create_command()?.args(&["--bundle", "."]);
            let container = cx.expect_made(create.current_dir(cx.bundle.dir()))?;
            expect("bundle", &container.state()?["bundle"], cx.bundle.dir())
        },
    },
    Case {
        id: "state.status",
        level: Must,
        refs: &["runtime.md:16", "runtime.md:24", "runtime.md:103"],
        run: |cx| {
            let mut container = cx.create_server()?;
            container.expect_status("created")?;
            container.start()?;
            container.expect_status("running")?;
            container.wait()?;
            container.expect_status("stopped")?;
            container.delete()
        },
    },
    Case {
        id: "state.pid",
        level: Must,
        refs: &["runtime.md:25"],
        run: |cx| {
            let mut container = cx.create_server()?;
            expect("pid when created", &container.state()?["pid"], container.pid())?;
            container.start()?;
            container.answer()?;
            expect("pid when running", &container.state()?["pid"], container.pid())?;
            let exe = std::fs::read_link(format!("/proc/{}/exe", container.pid()))?;
            expect("the program of that pid", exe, "/bin/inspector")?;
            container.end()
        },
    },
    Case {
        id: "state.schema",
        level: Must,
        refs: &["runtime.md:35", "runtime.md:103"],
        run: |cx| {
            cx.bundle.set("/annotations", json!({ "com.example.key": "value" }));
            let mut container = cx.create()?;
            schema(&container.state()?)?;
            expect("annotations", &container.state()?["annotations"]["com.example.key"], "value")?;
            container.start()?;
            schema(&container.state()?)?;
            container.wait()?;
            schema(&container.state()?)?;
            container.delete()
        },
    },
];

/// What state-schema.json demands. A runtime may define more values of `status` than it lists.
pub fn schema(state: &Value) -> Verdict {
    for name in ["ociVersion", "id", "status", "bundle"] {
        ensure(state[name].is_string(), format!("{name} as a string"), &state[name])?;
    }
    let pid = &state["pid"];
    ensure(pid.is_null() || pid.is_u64(), "pid as a number that is not negative", pid)?;
    match &state["annotations"] {
        Value::Null => Ok(()),
        Value::Object(map) if map.values().all(Value::is_string) => Ok(()),
        other => Err(fail("annotations as a map of strings", other)),
    }
}

fn is_semver(text: &str) -> bool {
    let plain = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = plain.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok())
}
