//! Device nodes.

use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    Verdict, ensure, expect,
};
use crate::context::Context;
use crate::host::needs_file;
use serde_json::{Value, json};

/// One case for each device that is always there.
macro_rules! defaults {
    ($($name:literal $major:literal $minor:literal)*) => {
        &[$(Case {
            id: concat!("devices.default-", $name),
            level: Must,
            refs: &["config-linux.md:180"],
            run: |cx| {
                let seen = cx.ask(concat!("follow /dev/", $name))?;
                is_device(&seen[0], "char", $major, $minor)
            },
        },)*]
    };
}

/// Default devices.
pub const DEFAULTS: &[Case] = defaults!(
    "null" 1 3 "zero" 1 5 "full" 1 7 "random" 1 8 "urandom" 1 9 "tty" 5 0 "ptmx" 5 2
);

/// The other cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "devices.defaults-work",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
            let seen = cx.ask("write /dev/null x -- open /dev/zero read -- open /dev/urandom read -- open /dev/ptmx read,write")?;
            expect("opening them as a user", seen, ["ok", "ok", "ok", "ok"])
        },
    },
    Case {
        id: "devices.console",
        level: Must,
        refs: &["config-linux.md:180"],
        run: |cx| {
            cx.bundle.set("/process/terminal", true);
            let seen = super::terminal::inspect(cx)?;
            let console = super::mount_at(&seen, "/dev/console")?;
            expect("type of what is mounted at /dev/console", &console["type"], "devpts")
        },
    },
    Case {
        id: "devices.character",
        level: Must,
        refs: &[
            "config-linux.md:127",
            "config-linux.md:132",
            "config-linux.md:134",
            "config-linux.md:137",
        ],
        run: |cx| device(cx, "/dev/mine", "c", Some((1, 5)), "char"),
    },
    Case {
        id: "devices.unbuffered",
        level: Must,
        refs: &["config-linux.md:132"],
        run: |cx| device(cx, "/dev/mine", "u", Some((1, 5)), "char"),
    },
    Case {
        id: "devices.block",
        level: Must,
        refs: &["config-linux.md:132"],
        run: |cx| device(cx, "/dev/mine", "b", Some((7, 77)), "block"),
    },
    Case {
        id: "devices.fifo",
        level: Must,
        refs: &["config-linux.md:132", "config-linux.md:137"],
        run: |cx| device(cx, "/dev/mine", "p", None, "fifo"),
    },
    Case {
        id: "devices.outside-dev",
        level: Engine,
        refs: &[],
        run: |cx| device(cx, "/deep/er/mine", "c", Some((1, 5)), "char"),
    },
    Case {
        id: "devices.mode-and-owner",
        level: Engine,
        refs: &[],
        run: |cx| {
            let device = json!({
                "path": "/dev/mine", "type": "c", "major": 1, "minor": 5,
                "fileMode": 0o640, "uid": 12, "gid": 34,
            });
            cx.bundle.set("/linux/devices/-", device).set("/process/user/umask", 0o077);
            let seen = cx.ask("stat /dev/mine")?;
            expect("mode", &seen[0]["mode"], 0o640)?;
            expect("owner", &seen[0]["uid"], 12)?;
            expect("group", &seen[0]["gid"], 34)
        },
    },
    Case {
        id: "devices.path-is-another-file",
        level: Must,
        refs: &["config-linux.md:135"],
        run: |cx| {
            cx.bundle.write("/mine", "a plain file")?;
            let device = json!({ "path": "/mine", "type": "c", "major": 1, "minor": 5 });
            cx.bundle.set("/linux/devices/-", device);
            cx.refused_by_create()
        },
    },
    Case {
        id: "devices.unknown-type",
        level: Must,
        refs: &["config.md:760", "config-linux.md:132"],
        run: |cx| {
            let device = json!({ "path": "/dev/mine", "type": "x", "major": 1, "minor": 5 });
            cx.bundle.set("/linux/devices/-", device);
            cx.refused_by_create()
        },
    },
    Case {
        id: "devices.same-numbers-twice",
        level: Should,
        refs: &["config-linux.md:143"],
        run: |cx| {
            // It binds the author; a runtime that accepts it has to supply both.
            for path in ["/dev/one", "/dev/two"] {
                let device = json!({ "path": path, "type": "c", "major": 1, "minor": 5 });
                cx.bundle.set("/linux/devices/-", device);
            }
            cx.bundle.inspector("stat /dev/one -- stat /dev/two");
            let (_, container) = cx.try_create()?;
            let Some(container) = container else { return Ok(()) };
            let seen = container.finish()?.values()?;
            seen.iter().try_for_each(|stat| is_device(stat, "char", 1, 5))
        },
    },
    Case {
        id: "devices.in-user-namespace",
        level: Must,
        refs: &["config-linux.md:127", "config-linux.md:180"],
        run: |cx| {
            // Nobody can make nodes there, so they come from the host.
            needs_file("/dev/kmsg", "the host has no /dev/kmsg")?;
            cx.bundle.user_namespace(100_000)?;
            let device = json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 });
            cx.bundle.set("/linux/devices/-", device);
            let seen = cx.ask("stat /dev/kmsg -- follow /dev/null -- write /dev/null x")?;
            is_device(&seen[0], "char", 1, 11)?;
            is_device(&seen[1], "char", 1, 3)?;
            expect("writing to /dev/null", &seen[2], "ok")
        },
    },
];

fn is_device(stat: &Value, kind: &str, major: u32, minor: u32) -> Verdict {
    let seen = [&stat["type"], &stat["major"], &stat["minor"]];
    expect("type, major, minor", seen, json!([kind, major, minor]))
}

fn device(
    cx: &mut Context,
    path: &str,
    kind: &str,
    numbers: Option<(u32, u32)>,
    seen_as: &str,
) -> Verdict {
    let mut device = json!({ "path": path, "type": kind, "fileMode": 0o600 });
    if let Some((major, minor)) = numbers {
        device["major"] = json!(major);
        device["minor"] = json!(minor);
    }
    cx.bundle.set("/linux/devices/-", device);
    let seen = cx.ask(&format!("stat {path}"))?;
    match numbers {
        Some((major, minor)) => is_device(&seen[0], seen_as, major, minor),
        None => ensure(seen[0]["type"] == seen_as, seen_as, &seen[0]),
    }
}
