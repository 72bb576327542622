//! Hooks: which run, when, where, with what.

use crate::case::{
    Case,
    Level::{Engine, Must},
    Stop, Verdict, ensure, expect, fail,
};
use crate::context::Context;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "hooks.prestart-in-create",
        level: Must,
        refs: &["runtime.md:62", "config.md:596"],
        run: |cx| runs_in_create(cx, "prestart"),
    },
    Case {
        id: "hooks.create-runtime-in-create",
        level: Must,
        refs: &["runtime.md:64", "config.md:607"],
        run: |cx| runs_in_create(cx, "createRuntime"),
    },
    Case {
        id: "hooks.create-container-in-create",
        level: Must,
        refs: &["runtime.md:66", "config.md:618"],
        run: |cx| runs_in_create(cx, "createContainer"),
    },
    Case {
        id: "hooks.start-container-before-the-program",
        level: Must,
        refs: &["runtime.md:69", "config.md:630", "config.md:579", "config.md:633"],
        run: |cx| {
            let log = log_inside(cx)?;
            log_hook(cx, "startContainer", "hook");
            cx.bundle.inspector("append /log/log program");
            let container = cx.create()?;
            ensure(!log.exists(), "no startContainer hook in `create`", "it ran")?;
            container.finish()?;
            expect("order", lines(&log), ["hook", "program"])
        },
    },
    Case {
        id: "hooks.poststart-in-start",
        level: Must,
        refs: &["runtime.md:72", "config.md:638", "config.md:583", "config.md:641"],
        run: |cx| {
            let log = log_inside(cx)?;
            log_hook(cx, "poststart", "hook");
            let container = cx.create_server()?;
            ensure(!log.exists(), "no poststart hook in `create`", "it ran")?;
            container.start()?;
            expect("hooks after `start`", lines(&log), ["hook"])?;
            container.end()
        },
    },
    Case {
        id: "hooks.poststop-in-delete",
        level: Must,
        refs: &["runtime.md:78", "config.md:646", "config.md:587", "config.md:649"],
        run: |cx| {
            let log = log_inside(cx)?;
            log_hook(cx, "poststop", "hook");
            let mut container = cx.create()?;
            container.start()?;
            container.wait()?;
            ensure(!log.exists(), "no poststop hook before `delete`", "it ran")?;
            container.delete()?;
            expect("hooks after `delete`", lines(&log), ["hook"])
        },
    },
    Case {
        id: "hooks.order-of-kinds",
        level: Must,
        refs: &["config.md:598", "config.md:619"],
        run: |cx| {
            let log = log_inside(cx)?;
            let mut kinds = KINDS;
            // The order in the file says nothing.
            kinds.reverse();
            kinds.iter().for_each(|kind| log_hook(cx, kind, kind));
            cx.run()?;
            expect("order", lines(&log), KINDS)
        },
    },
    Case {
        id: "hooks.listed-order",
        level: Must,
        refs: &["config.md:591"],
        run: |cx| {
            let log = log_inside(cx)?;
            for kind in KINDS {
                log_hook(cx, kind, &format!("{kind}-1"));
                log_hook(cx, kind, &format!("{kind}-2"));
            }
            cx.run()?;
            let wanted = KINDS.iter().flat_map(|kind| [format!("{kind}-1"), format!("{kind}-2")]);
            expect("order", lines(&log), wanted.collect::<Vec<_>>())
        },
    },
    Case {
        id: "hooks.state-on-stdin",
        level: Must,
        refs: &["config.md:592"],
        run: |cx| {
            cx.bundle.set("/annotations", json!({ "com.example.key": "value" }));
            let states = states(cx)?;
            for (kind, state) in KINDS.iter().zip(&states) {
                super::state::schema(state)?;
                expect(&format!("id for {kind}"), &state["id"], cx.id())?;
                expect(&format!("bundle for {kind}"), &state["bundle"], cx.bundle.dir())?;
                let value = &state["annotations"]["com.example.key"];
                expect(&format!("annotation for {kind}"), value, "value")?;
            }
            Ok(())
        },
    },
    Case {
        id: "hooks.status-on-stdin",
        level: Must,
        refs: &["config.md:592", "runtime.md:16"],
        run: |cx| {
            // While `create` goes on a runtime may have values of its own; afterwards there is one
            // truth.
            let states = states(cx)?;
            for (kind, state) in KINDS.iter().zip(&states).take(3) {
                let early = state["status"] != "running" && state["status"] != "stopped";
                ensure(early, format!("a status for {kind} before running"), &state["status"])?;
            }
            expect("status for startContainer", &states[3]["status"], "created")?;
            expect("status for poststart", &states[4]["status"], "running")?;
            expect("status for poststop", &states[5]["status"], "stopped")
        },
    },
    Case {
        id: "hooks.status-creating",
        level: Engine,
        refs: &[],
        run: |cx| {
            let states = states(cx)?;
            let status: Vec<&Value> = states.iter().take(3).map(|state| &state["status"]).collect();
            expect("status while `create` goes on", status, ["creating"; 3])
        },
    },
    Case {
        id: "hooks.status-asked-meanwhile",
        level: Engine,
        refs: &[],
        run: |cx| {
            // The lifecycle calls it `creating` until `create` is over.
            let ask = cx.runtime.command(&["state"]).id(cx.id()).line();
            let ask: Vec<&str> = ask.iter().map(String::as_str).collect();
            let kinds = ["prestart", "createRuntime"];
            for kind in kinds {
                let out = cx.host_dir("log")?.join(kind);
                let mut words = vec!["save", "/dev/null", "--", "into", path(&out), "run"];
                words.extend(&ask);
                let program = cx.inspector().to_path_buf();
                cx.bundle.hook(kind, &program, &words);
            }
            let container = cx.create()?;
            for kind in kinds {
                let seen = fs::read_to_string(cx.host_dir("log")?.join(kind))?;
                let seen: Value = serde_json::from_str(&seen).unwrap_or_default();
                let status = &seen["stdout"]["status"];
                ensure(
                    status == "creating",
                    format!("status while {kind} hooks run: creating"),
                    &seen,
                )?;
            }
            container.expect_status("created")
        },
    },
    Case {
        id: "hooks.that-do-not-read",
        level: Engine,
        refs: &[],
        run: |cx| {
            // More than a pipe holds: the runtime notices that nobody reads.
            let long = "x".repeat(200_000);
            cx.bundle.set("/annotations", json!({ "com.example.long": long }));
            let hook = json!({ "path": cx.inspector(), "args": ["hook", "sleep", "0"] });
            cx.bundle.set("/hooks/createRuntime/-", hook.clone());
            cx.bundle.set("/hooks/poststop/-", hook);
            cx.run().map(drop)
        },
    },
    Case {
        id: "hooks.runtime-namespace",
        level: Must,
        refs: &[
            "config.md:562",
            "config.md:572",
            "config.md:584",
            "config.md:588",
            "config.md:603",
            "config.md:610",
            "config.md:642",
            "config.md:650",
        ],
        run: |cx| {
            ["prestart", "createRuntime", "poststart", "poststop"]
                .iter()
                .try_for_each(|kind| report_hook(cx, kind))?;
            cx.run()?;
            for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
                expect(
                    &format!("mount namespace of {kind}"),
                    reported(cx, kind, "mnt")?,
                    own("mnt")?,
                )?;
                expect(
                    &format!("pid namespace of {kind}"),
                    reported(cx, kind, "pid")?,
                    own("pid")?,
                )?;
            }
            Ok(())
        },
    },
    Case {
        id: "hooks.container-namespace",
        level: Must,
        refs: &["config.md:576", "config.md:580", "config.md:622", "config.md:634"],
        run: |cx| {
            log_inside(cx)?;
            report_hook(cx, "createContainer")?;
            let args = ["hook", "save", "/dev/null", "--", "into", "/log/startContainer", "report"];
            let hook = json!({ "path": "/bin/inspector", "args": args });
            cx.bundle.set("/hooks/startContainer/-", hook);
            let seen = cx.inspect()?;
            for kind in ["createContainer", "startContainer"] {
                for name in ["mnt", "uts", "ipc", "net"] {
                    let what = format!("{name} namespace of {kind}");
                    expect(&what, reported(cx, kind, name)?, &seen["namespaces"][name])?;
                }
            }
            Ok(())
        },
    },
    Case {
        id: "hooks.path-in-the-runtime-namespace",
        level: Must,
        refs: &[
            "config.md:561",
            "config.md:571",
            "config.md:575",
            "config.md:602",
            "config.md:609",
            "config.md:621",
        ],
        run: |cx| {
            // The program is on the host only.
            let log = log_inside(cx)?;
            let kinds = ["prestart", "createRuntime", "createContainer"];
            kinds.iter().for_each(|kind| log_hook(cx, kind, kind));
            cx.run()?;
            expect("hooks that ran", lines(&log), kinds)
        },
    },
    Case {
        id: "hooks.before-pivot-root",
        level: Must,
        refs: &["config.md:618", "config.md:607"],
        run: |cx| {
            // Before the root changes, a createContainer hook still sees the host's files, in the
            // container's mount namespace.
            let marker = cx.host_file("marker", "")?;
            let out = cx.host_dir("")?.join("seen");
            let words = ["save", "/dev/null", "--", "into", path(&out), "stat", path(&marker)];
            let program = cx.inspector().to_path_buf();
            cx.bundle.hook("createContainer", &program, &words);
            cx.run()?;
            let seen: Value = serde_json::from_str(&fs::read_to_string(out)?).unwrap_or_default();
            expect("the host's file, seen by the hook", &seen["type"], "file")
        },
    },
    Case {
        id: "hooks.relative-path",
        level: Must,
        refs: &["config.md:556", "config.md:566"],
        run: |cx| {
            cx.bundle.set("/hooks/createRuntime/-", json!({ "path": "bin/true" }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "hooks.without-path",
        level: Must,
        refs: &["config.md:555", "config.md:565"],
        run: |cx| {
            cx.bundle.set("/hooks/createRuntime/-", json!({ "args": ["hook"] }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "hooks.timeout-zero",
        level: Must,
        refs: &["config.md:560", "config.md:570"],
        run: |cx| {
            let args = ["hook", "save", "/dev/null"];
            let hook = json!({ "path": cx.inspector(), "args": args, "timeout": 0 });
            cx.bundle.set("/hooks/createRuntime/-", hook);
            cx.refused_by_create()
        },
    },
    Case {
        id: "hooks.timeout-aborts",
        level: Engine,
        refs: &[],
        run: |cx| {
            let hook =
                json!({ "path": cx.inspector(), "args": ["hook", "sleep", "60"], "timeout": 1 });
            cx.bundle.set("/hooks/createRuntime/-", hook);
            cx.refused_by_create()
        },
    },
    Case {
        id: "hooks.args-and-env",
        level: Engine,
        refs: &[],
        run: |cx| {
            let out = cx.host_dir("")?.join("seen");
            let args = ["own-name", "save", "/dev/null", "--", "into", path(&out), "report"];
            let hook = json!({ "path": cx.inspector(), "args": args, "env": ["KEY=value"] });
            cx.bundle.set("/hooks/createRuntime/-", hook);
            cx.run()?;
            let seen: Value = serde_json::from_str(&fs::read_to_string(&out)?).unwrap_or_default();
            expect("args", &seen["args"], args)?;
            let env = &seen["env"];
            expect("env", env, ["KEY=value"])
        },
    },
];

/// All kinds, in the order of the lifecycle.
pub const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A directory of the host, mounted at /log inside; the log is a file in it.
pub fn log_inside(cx: &mut Context) -> Result<PathBuf, Stop> {
    let dir = cx.host_dir("log")?;
    cx.bundle.mkdir("/log")?;
    cx.bundle.bind(&dir, "/log", &["bind", "rw"]);
    Ok(dir.join("log"))
}

/// Adds a hook that reads its state and appends a word to the log.
pub fn log_hook(cx: &mut Context, kind: &str, word: &str) {
    if kind == "startContainer" {
        let args = ["hook", "save", "/dev/null", "--", "append", "/log/log", word];
        cx.bundle.set("/hooks/startContainer/-", json!({ "path": "/bin/inspector", "args": args }));
        return;
    }
    let log = cx.bundle.dir().with_file_name("host").join("log/log");
    let program = cx.inspector().to_path_buf();
    cx.bundle.hook(kind, &program, &["save", "/dev/null", "--", "append", path(&log), word]);
}

/// The words of a log.
pub fn lines(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(String::from).collect()
}

fn runs_in_create(cx: &mut Context, kind: &str) -> Verdict {
    let log = log_inside(cx)?;
    log_hook(cx, kind, "hook");
    let container = cx.create()?;
    expect("hooks after `create`", lines(&log), ["hook"])?;
    container.finish()?;
    expect("hooks at the end", lines(&log), ["hook"])
}

/// What each kind of hook is given on its standard input.
fn states(cx: &mut Context) -> Result<Vec<Value>, Stop> {
    let log = log_inside(cx)?;
    for kind in KINDS {
        let file = log.with_file_name(kind);
        let program = cx.inspector().to_path_buf();
        match kind {
            "startContainer" => {
                cx.bundle.hook(kind, Path::new("/bin/inspector"), &["save", "/log/startContainer"])
            }
            _ => cx.bundle.hook(kind, &program, &["save", path(&file)]),
        };
    }
    let mut container = cx.create_server()?;
    container.start()?;
    container.answer()?;
    container.end()?;
    let read = |kind: &&str| {
        let text = fs::read_to_string(log.with_file_name(kind)).unwrap_or_default();
        serde_json::from_str(&text).map_err(|_| fail(format!("state for {kind} as JSON"), text))
    };
    KINDS.iter().map(read).collect()
}

/// Adds a hook that writes its full report to a file named like its kind.
fn report_hook(cx: &mut Context, kind: &str) -> Verdict {
    let file = cx.host_dir("log")?.join(kind);
    let program = cx.inspector().to_path_buf();
    // Only `hooks.that-do-not-read` is about a hook that leaves its standard input unread.
    let words = ["save", "/dev/null", "--", "into", path(&file), "report"];
    cx.bundle.hook(kind, &program, &words);
    Ok(())
}

/// A namespace in the report of a hook.
fn reported(cx: &Context, kind: &str, namespace: &str) -> Result<Value, Stop> {
    let text = fs::read_to_string(cx.host_dir("log")?.join(kind)).unwrap_or_default();
    let report: Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(report["namespaces"][namespace].clone())
}

/// A namespace of this process.
fn own(namespace: &str) -> Result<PathBuf, Stop> {
    Ok(fs::read_link(format!("/proc/self/ns/{namespace}"))?)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}
