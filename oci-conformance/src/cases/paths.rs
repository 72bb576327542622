//! Masked and read-only paths, and the propagation of the root.

use super::{has_option, mount_at};
use crate::case::{
    Case,
    Level::{Engine, Must},
    Verdict, contains, ensure, expect, expect_errno,
};
use crate::context::Context;
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "paths.masked-file",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.write("/secret", "text")?;
            cx.bundle.set("/linux/maskedPaths", json!(["/secret"]));
            let seen = cx.ask("read /secret")?;
            ensure(seen[0] != "text", "nothing to read", &seen[0])
        },
    },
    Case {
        id: "paths.masked-directory",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.write("/secrets/one", "text")?;
            cx.bundle.set("/linux/maskedPaths", json!(["/secrets"]));
            let seen = cx.ask("read /secrets/one -- ls /secrets -- write /secrets/x y")?;
            expect_errno("reading a file in it", &seen[0], &["ENOENT", "EACCES"])?;
            ensure(!contains(&seen[1], "one"), "nothing to list", &seen[1])?;
            expect_errno("writing to it", &seen[2], &["EROFS", "EACCES", "EPERM"])
        },
    },
    Case {
        id: "paths.masked-missing",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/linux/maskedPaths", json!(["/no/such/path"]));
            cx.run().map(drop)
        },
    },
    Case {
        id: "paths.masked-relative",
        level: Must,
        refs: &["config-linux.md:1068"],
        run: |cx| {
            cx.bundle.write("/secret", "text")?;
            cx.bundle.set("/linux/maskedPaths", json!(["secret"]));
            cx.refused_by_create()
        },
    },
    Case {
        id: "paths.read-only",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.write("/data/file", "text")?;
            cx.bundle.set("/linux/readonlyPaths", json!(["/data", "/proc/sys"]));
            let seen = cx.ask(
                "write /data/file x -- read /data/file -- write /proc/sys/kernel/domainname x",
            )?;
            expect_errno("writing", &seen[0], &["EROFS"])?;
            expect("reading", &seen[1], "text")?;
            expect_errno("writing to /proc/sys", &seen[2], &["EROFS"])
        },
    },
    Case {
        id: "paths.read-only-missing",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/linux/readonlyPaths", json!(["/no/such/path"]));
            cx.run().map(drop)
        },
    },
    Case {
        id: "paths.read-only-relative",
        level: Must,
        refs: &["config-linux.md:1081"],
        run: |cx| {
            cx.bundle.mkdir("/data")?;
            cx.bundle.set("/linux/readonlyPaths", json!(["data"]));
            cx.refused_by_create()
        },
    },
    Case {
        id: "paths.read-only-keeps-flags",
        level: Engine,
        refs: &[],
        run: |cx| {
            // Making a path read-only must not take nosuid or noexec from it.
            cx.bundle.mkdir("/data")?;
            cx.bundle.mount("/data", "tmpfs", &["nosuid", "noexec", "nodev"]);
            cx.bundle.set("/linux/readonlyPaths", json!(["/data"]));
            let seen = cx.inspect()?;
            for option in ["ro", "nosuid", "noexec", "nodev"] {
                let there = has_option(&seen, "/data", option)?;
                ensure(there, format!("/data with {option}"), "it is without")?;
            }
            Ok(())
        },
    },
    Case {
        id: "paths.propagation-shared",
        level: Engine,
        refs: &[],
        run: |cx| propagation(cx, "shared", |tags| contains_prefix(tags, "shared:")),
    },
    Case {
        id: "paths.propagation-slave",
        level: Engine,
        refs: &[],
        run: |cx| propagation(cx, "slave", |tags| contains_prefix(tags, "master:")),
    },
    Case {
        id: "paths.propagation-private",
        level: Engine,
        refs: &[],
        run: |cx| propagation(cx, "private", |tags| tags.as_array().is_some_and(Vec::is_empty)),
    },
    Case {
        id: "paths.propagation-unbindable",
        level: Engine,
        refs: &[],
        run: |cx| propagation(cx, "unbindable", |tags| contains(tags, "unbindable")),
    },
    Case {
        id: "paths.propagation-unknown",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            cx.bundle.set("/linux/rootfsPropagation", "nonsense");
            cx.refused_by_create()
        },
    },
];

fn contains_prefix(tags: &Value, prefix: &str) -> bool {
    let mut tags = tags.as_array().into_iter().flatten().filter_map(Value::as_str);
    tags.any(|tag| tag.starts_with(prefix))
}

fn propagation(cx: &mut Context, value: &str, holds: fn(&Value) -> bool) -> Verdict {
    cx.bundle.set("/linux/rootfsPropagation", value);
    let seen = cx.inspect()?;
    let tags = &mount_at(&seen, "/")?["propagation"];
    ensure(holds(tags), format!("/ to be {value}"), tags)
}
