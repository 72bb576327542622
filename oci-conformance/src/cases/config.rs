//! The version, annotations, unknown properties, invalid values.

use crate::case::{
    Case,
    Level::{Engine, Must},
    Stop, Verdict, expect, fail,
};
use crate::context::Context;
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "config.version-supported",
        level: Must,
        refs: &["config.md:17"],
        run: |cx| {
            cx.bundle.set("/ociVersion", "1.0.0");
            cx.run().map(drop)
        },
    },
    Case {
        id: "config.version-missing",
        level: Must,
        refs: &["config.md:17"],
        run: |cx| {
            cx.bundle.remove("/ociVersion");
            cx.refused_by_create()
        },
    },
    Case {
        id: "config.version-of-another-major",
        level: Must,
        refs: &["config.md:17", "config.md:760"],
        run: |cx| {
            cx.bundle.set("/ociVersion", "2.0.0");
            cx.refused_by_create()
        },
    },
    Case {
        id: "config.version-no-semver",
        level: Must,
        refs: &["config.md:17", "config.md:760"],
        run: |cx| {
            cx.bundle.set("/ociVersion", "one");
            cx.refused_by_create()
        },
    },
    Case {
        id: "config.unknown-properties",
        level: Must,
        refs: &["config.md:755"],
        run: |cx| {
            for place in ["", "/process", "/process/user", "/root", "/linux", "/mounts/0"] {
                cx.bundle.set(&format!("{place}/noSuchProperty"), json!({ "a": [1] }));
            }
            cx.run().map(drop)
        },
    },
    Case {
        id: "config.invalid-types",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            let faults = [
                ("/process/args", json!("sh")),
                ("/process/user/uid", json!("0")),
                ("/process/cwd", json!(1)),
                ("/mounts", json!({})),
                ("/root", json!("rootfs")),
                ("/linux/namespaces", json!("pid")),
            ];
            faults.into_iter().try_for_each(|(place, value)| refuses(cx, place, value))
        },
    },
    Case {
        id: "config.not-json",
        level: Must,
        refs: &["runtime.md:59"],
        run: |cx| {
            let command = cx.create_command()?;
            std::fs::write(cx.bundle.dir().join("config.json"), "{ \"ociVersion\": ")?;
            let (output, _) = cx.make(command)?;
            output.fails().map(drop)
        },
    },
    Case {
        id: "config.mount-without-destination",
        level: Must,
        refs: &["config.md:70"],
        run: |cx| {
            cx.bundle.set("/mounts/-", json!({ "type": "tmpfs", "source": "tmpfs" }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "config.namespace-without-type",
        level: Must,
        refs: &["config-linux.md:29"],
        run: |cx| {
            cx.bundle.set("/linux/namespaces/-", json!({}));
            cx.refused_by_create()
        },
    },
    Case {
        id: "annotations.key-value-map",
        level: Must,
        refs: &["config.md:720", "config.md:742", "config.md:744"],
        run: |cx| {
            let annotations = json!({ "com.example.key": "value", "org.example.empty": "" });
            cx.bundle.set("/annotations", annotations.clone());
            let state = cx.create()?.state()?;
            for (key, value) in annotations.as_object().into_iter().flatten() {
                expect(key, &state["annotations"][key], value)?;
            }
            Ok(())
        },
    },
    Case {
        id: "annotations.not-a-map",
        level: Must,
        refs: &["config.md:720", "config.md:723"],
        run: |cx| refuses(cx, "/annotations", json!(["com.example.key"])),
    },
    Case {
        id: "annotations.value-not-a-string",
        level: Must,
        refs: &["config.md:744"],
        run: |cx| refuses(cx, "/annotations", json!({ "com.example.key": { "a": 1 } })),
    },
    Case {
        id: "annotations.empty-key",
        level: Must,
        refs: &["config.md:724"],
        run: |cx| refuses(cx, "/annotations", json!({ "": "value" })),
    },
    Case {
        id: "annotations.unknown-reserved-key",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/annotations", json!({ "org.opencontainers.no.such.key": "value" }));
            cx.run().map(drop)
        },
    },
];

/// The configuration with this value must be refused; the next check has the old one.
fn refuses(cx: &mut Context, place: &str, value: Value) -> Verdict {
    let before = cx.bundle.config.clone();
    cx.bundle.set(place, value);
    let refused = cx.refused_by_create();
    cx.bundle.config = before;
    refused.map_err(|stop| match stop {
        Stop::Fail { expected, got } => fail(format!("{place}: {expected}"), got),
        other => other,
    })
}
