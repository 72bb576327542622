//! Namespaces: new, joined, inherited.

use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    Stop, Verdict, ensure, expect, skip,
};
use crate::context::Context;
use crate::holder::{Holder, file_name};
use serde_json::{Value, json};
use std::fs;

/// One case for each type of namespace.
macro_rules! each_kind {
    ($($kind:literal)*) => {
        &[$(
            Case {
                id: concat!("namespaces.new-", $kind),
                level: Should,
                refs: &["config-linux.md:29#2", "config-linux.md:43", "config-linux.md:29"],
                run: |cx| is_new(cx, $kind),
            },
            Case {
                id: concat!("namespaces.join-", $kind),
                level: Must,
                refs: &["config-linux.md:40"],
                run: |cx| is_joined(cx, $kind),
            },
            Case {
                id: concat!("namespaces.inherit-", $kind),
                level: Must,
                refs: &["config-linux.md:45"],
                run: |cx| is_inherited(cx, $kind),
            },
        )*]
    };
}

/// Those that need nothing else; user and mount namespaces do.
pub const KINDS: &[Case] = each_kind!("pid" "network" "ipc" "uts" "cgroup" "time");

/// The other cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "namespaces.new-mount",
        level: Should,
        refs: &["config-linux.md:29#2", "config-linux.md:43", "config-linux.md:29"],
        run: |cx| is_new(cx, "mount"),
    },
    Case {
        id: "namespaces.inherit-mount",
        level: Must,
        refs: &["config-linux.md:45"],
        run: |cx| {
            // Nothing to mount: it would stay on the host.
            cx.bundle.set("/mounts", json!([]));
            let dir = cx.bundle.mkdir("/proc")?;
            rustix::mount::mount_bind("/proc", &dir)?;
            let inherited = is_inherited(cx, "mount");
            rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::DETACH)?;
            inherited
        },
    },
    Case {
        id: "namespaces.new-user",
        level: Should,
        refs: &["config-linux.md:29#2", "config-linux.md:43"],
        run: |cx| {
            cx.bundle.user_namespace(100_000)?;
            let seen = cx.inspect()?;
            expect("the id map", &seen["uid_map"], json!([[0, 100_000, 65_536]]))?;
            expect("the group id map", &seen["gid_map"], json!([[0, 100_000, 65_536]]))?;
            differs("user", &seen)
        },
    },
    Case {
        id: "namespaces.join-user",
        level: Must,
        refs: &["config-linux.md:40"],
        run: |cx| {
            let holder = Holder::start(&["user"])?;
            for map in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{}/{map}", holder.pid()), "0 100000 65536")?;
            }
            cx.bundle.user_namespace(100_000)?;
            cx.bundle.namespace("user", Some(&holder.namespace("user")));
            let seen = cx.inspect()?;
            expect("the id map", &seen["uid_map"], json!([[0, 100_000, 65_536]]))?;
            same(&holder.namespace("user"), &seen["namespaces"]["user"])
        },
    },
    Case {
        id: "namespaces.user-with-several-mappings",
        level: Must,
        refs: &["config-linux.md:88", "config-linux.md:89", "config-linux.md:90"],
        run: |cx| {
            cx.bundle.user_namespace(100_000)?;
            let map = json!([
                { "containerID": 0, "hostID": 100_000, "size": 1000 },
                { "containerID": 5000, "hostID": 200_000, "size": 10 },
            ]);
            cx.bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
            let wanted = json!([[0, 100_000, 1000], [5000, 200_000, 10]]);
            let seen = cx.inspect()?;
            expect("the id map", &seen["uid_map"], &wanted)?;
            expect("the group id map", &seen["gid_map"], wanted)
        },
    },
    Case {
        id: "namespaces.user-keeps-owners",
        level: Should,
        refs: &["config-linux.md:92"],
        run: |cx| {
            use std::os::unix::fs::MetadataExt;
            let file = cx.bundle.write("/file", "text")?;
            cx.bundle.user_namespace(100_000)?;
            cx.run()?;
            expect("owner of a file of the root, on the host", fs::metadata(file)?.uid(), 0)
        },
    },
    Case {
        id: "namespaces.duplicate",
        level: Must,
        refs: &["config-linux.md:46"],
        run: |cx| {
            cx.bundle.set("/linux/namespaces/-", json!({ "type": "uts" }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "namespaces.unknown-type",
        level: Must,
        refs: &["config.md:760", "config-linux.md:29"],
        run: |cx| {
            cx.bundle.namespace("nonsense", None);
            cx.refused_by_create()
        },
    },
    Case {
        id: "namespaces.path-of-another-type",
        level: Must,
        refs: &["config-linux.md:41"],
        run: |cx| {
            let holder = Holder::start(&["uts", "ipc"])?;
            cx.bundle.namespace("uts", Some(&holder.namespace("ipc")));
            cx.refused_by_create()
        },
    },
    Case {
        id: "namespaces.path-of-a-plain-file",
        level: Must,
        refs: &["config-linux.md:41"],
        run: |cx| {
            let file = cx.host_file("plain", "")?;
            cx.bundle.namespace("uts", file.to_str());
            cx.refused_by_create()
        },
    },
    Case {
        id: "namespaces.relative-path",
        level: Must,
        refs: &["config-linux.md:39"],
        run: |cx| {
            let holder = Holder::start(&["uts"])?;
            // It exists below the directory that the runtime is started in.
            cx.bundle.namespace("uts", Some(holder.namespace("uts").trim_start_matches('/')));
            let command = cx.create_command()?.current_dir(std::path::Path::new("/"));
            let (output, _) = cx.make(command)?;
            output.fails().map(drop)
        },
    },
    Case {
        id: "namespaces.hostname-stays-inside",
        level: Engine,
        refs: &[],
        run: |cx| {
            let before = fs::read_to_string("/proc/sys/kernel/hostname")?;
            cx.bundle.set("/hostname", "inside-only");
            cx.run()?;
            expect("hostname of the host", fs::read_to_string("/proc/sys/kernel/hostname")?, before)
        },
    },
    Case {
        id: "namespaces.time-offsets",
        level: Engine,
        refs: &[],
        run: |cx| {
            needs("time")?;
            cx.bundle.namespace("time", None);
            let offsets = json!({ "boottime": { "secs": 86_400 }, "monotonic": { "secs": 172_800, "nanosecs": 5 } });
            cx.bundle.set("/linux/timeOffsets", offsets);
            let uptime = fs::read_to_string("/proc/uptime")?;
            let uptime: f64 = uptime.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
            let seen = cx.inspect()?;
            let boottime = seen["clocks"]["boottime"].as_f64().unwrap_or(0.0);
            let ahead = boottime - uptime;
            ensure((86_390.0..86_700.0).contains(&ahead), "boottime a day ahead", ahead)
        },
    },
    Case {
        id: "namespaces.time-offsets-without-time-namespace",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            cx.bundle.set("/linux/timeOffsets", json!({ "boottime": { "secs": 86_400 } }));
            cx.refused_by_create()
        },
    },
];

/// Skips when the kernel has no such namespaces.
fn needs(kind: &str) -> Verdict {
    match fs::metadata(format!("/proc/self/ns/{}", file_name(kind))) {
        Ok(_) => Ok(()),
        Err(_) => Err(skip(format!("the kernel has no {kind} namespaces"))),
    }
}

fn own(kind: &str) -> Result<Value, Stop> {
    Ok(json!(fs::read_link(format!("/proc/self/ns/{}", file_name(kind)))?))
}

fn differs(kind: &str, seen: &Value) -> Verdict {
    let (own, inside) = (own(kind)?, &seen["namespaces"][file_name(kind)]);
    let new = inside.is_string() && *inside != own;
    ensure(new, format!("a new {kind} namespace"), format!("{inside}; the runtime's is {own}"))
}

fn same(path: &str, inside: &Value) -> Verdict {
    expect("the namespace", inside, fs::read_link(path)?)
}

fn is_new(cx: &mut Context, kind: &str) -> Verdict {
    needs(kind)?;
    cx.bundle.namespace(kind, None);
    differs(kind, &cx.inspect()?)
}

fn is_joined(cx: &mut Context, kind: &str) -> Verdict {
    needs(kind)?;
    let holder = Holder::start(&[kind])?;
    cx.bundle.namespace(kind, Some(&holder.namespace(kind)));
    if kind == "uts" {
        // Its name is the owner's business.
        cx.bundle.remove("/hostname");
    }
    let seen = cx.inspect()?;
    same(&holder.namespace(kind), &seen["namespaces"][file_name(kind)])
}

fn is_inherited(cx: &mut Context, kind: &str) -> Verdict {
    needs(kind)?;
    cx.bundle.without_namespace(kind);
    if kind == "uts" {
        cx.bundle.remove("/hostname");
    }
    let seen = cx.inspect()?;
    expect(&format!("the {kind} namespace"), &seen["namespaces"][file_name(kind)], own(kind)?)
}
