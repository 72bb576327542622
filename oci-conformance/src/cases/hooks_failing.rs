//! What a failing hook does.

use super::hooks::{lines, log_hook, log_inside};
use crate::case::{Case, Level::Must, Verdict, ensure, expect, fail};
use crate::context::Context;
use serde_json::json;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "hooks-failing.prestart",
        level: Must,
        refs: &["runtime.md:63"],
        run: |cx| fails_create(cx, "prestart"),
    },
    Case {
        id: "hooks-failing.create-runtime",
        level: Must,
        refs: &["runtime.md:65"],
        run: |cx| fails_create(cx, "createRuntime"),
    },
    Case {
        id: "hooks-failing.create-container",
        level: Must,
        refs: &["runtime.md:67"],
        run: |cx| fails_create(cx, "createContainer"),
    },
    Case {
        id: "hooks-failing.prestart-then-poststop",
        level: Must,
        refs: &["runtime.md:63", "runtime.md:78"],
        run: |cx| then_poststop(cx, "prestart"),
    },
    Case {
        id: "hooks-failing.create-runtime-then-poststop",
        level: Must,
        refs: &["runtime.md:65", "runtime.md:78"],
        run: |cx| then_poststop(cx, "createRuntime"),
    },
    Case {
        id: "hooks-failing.create-container-then-poststop",
        level: Must,
        refs: &["runtime.md:67", "runtime.md:78"],
        run: |cx| then_poststop(cx, "createContainer"),
    },
    Case {
        id: "hooks-failing.start-container",
        level: Must,
        refs: &["runtime.md:70"],
        run: |cx| {
            failing_hook(cx, "startContainer");
            cx.bundle.inspector("write /tmp/ran yes");
            let container = cx.create()?;
            container.try_to("start")?.fails()?;
            let ran = cx.bundle.inside("/tmp/ran").exists();
            ensure(!ran, "no program after a failed hook", "it ran")
        },
    },
    Case {
        id: "hooks-failing.start-container-destroys",
        level: Must,
        refs: &["runtime.md:70", "runtime.md:78"],
        run: |cx| {
            failing_hook(cx, "startContainer");
            destroyed_by_start(cx)
        },
    },
    Case {
        id: "hooks-failing.poststart",
        level: Must,
        refs: &["runtime.md:73"],
        run: |cx| {
            failing_hook(cx, "poststart");
            let container = cx.create_server()?;
            container.try_to("start")?.fails().map(drop)
        },
    },
    Case {
        id: "hooks-failing.poststart-destroys",
        level: Must,
        refs: &["runtime.md:73", "runtime.md:78"],
        run: |cx| {
            failing_hook(cx, "poststart");
            destroyed_by_start(cx)
        },
    },
    Case {
        id: "hooks-failing.poststop-is-a-warning",
        level: Must,
        refs: &["runtime.md:79", "runtime.md:89"],
        run: |cx| {
            let log = log_inside(cx)?;
            failing_hook(cx, "poststop");
            log_hook(cx, "poststop", "second");
            let mut container = cx.create()?;
            container.start()?;
            container.wait()?;
            container.delete()?;
            expect("the hook after it", lines(&log), ["second"])?;
            container.try_to("state")?.fails().map(drop)
        },
    },
    Case {
        id: "hooks-failing.poststop-does-not-keep-the-container",
        level: Must,
        refs: &["runtime.md:79", "runtime.md:77"],
        run: |cx| {
            failing_hook(cx, "poststop");
            let mut container = cx.create()?;
            container.start()?;
            container.wait()?;
            container.try_to("delete")?;
            container.try_to("state")?.fails().map(drop)
        },
    },
];

fn failing_hook(cx: &mut Context, kind: &str) {
    let inside = kind == "startContainer";
    let program = if inside { "/bin/inspector".into() } else { cx.inspector().to_path_buf() };
    let hook = json!({ "path": program, "args": ["hook", "save", "/dev/null", "--", "exit", "1"] });
    cx.bundle.set(&format!("/hooks/{kind}/-"), hook);
}

fn fails_create(cx: &mut Context, kind: &str) -> Verdict {
    failing_hook(cx, kind);
    cx.refused_by_create()?;
    cx.runtime.on("state", cx.id())?.fails().map(drop)
}

fn then_poststop(cx: &mut Context, kind: &str) -> Verdict {
    let log = log_inside(cx)?;
    failing_hook(cx, kind);
    log_hook(cx, "poststop", "poststop");
    cx.refused_by_create()?;
    expect("hooks that ran", lines(&log), ["poststop"])
}

/// A failing `start` has to destroy the container and to run poststop hooks.
fn destroyed_by_start(cx: &mut Context) -> Verdict {
    let log = log_inside(cx)?;
    log_hook(cx, "poststop", "poststop");
    let mut container = cx.create_server()?;
    container.try_to("start")?;
    container.wait()?;
    let state = container.try_to("state")?;
    if state.is_ok() {
        return Err(fail("no container any more", state.stdout.trim()));
    }
    expect("hooks that ran", lines(&log), ["poststop"])
}
