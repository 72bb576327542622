//! Mounts with an id mapping.

use crate::case::{
    Case,
    Level::{Must, Should},
    Stop, Verdict, expect, skip,
};
use crate::context::Context;
use rustix::mount::MountFlags;
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "idmap.mappings",
        level: Must,
        refs: &["config.md:154", "config.md:154#3", "config.md:189", "config.md:194"],
        run: |cx| {
            let seen = owners(cx, json!(["rbind", "idmap"]), true)?;
            expect("owner of a file of uid 0 on the host", &seen[0]["uid"], 1000)?;
            expect("its group", &seen[0]["gid"], 2000)
        },
    },
    Case {
        id: "idmap.not-recursive",
        level: Must,
        refs: &["config.md:154"],
        run: |cx| {
            let seen = owners(cx, json!(["rbind", "idmap"]), true)?;
            expect("owner on the mount", &seen[0]["uid"], 1000)?;
            expect("owner below it", &seen[1]["uid"], 0)
        },
    },
    Case {
        id: "idmap.recursive",
        level: Must,
        refs: &["config.md:155", "config.md:155#3"],
        run: |cx| {
            let seen = owners(cx, json!(["rbind", "ridmap"]), true)?;
            expect("owner on the mount", &seen[0]["uid"], 1000)?;
            expect("owner below it", &seen[1]["uid"], 1000)
        },
    },
    Case {
        id: "idmap.mappings-without-the-option",
        level: Should,
        refs: &["config.md:190", "config.md:195"],
        run: |cx| {
            let seen = owners(cx, json!(["bind"]), true)?;
            expect("owner of a file of uid 0 on the host", &seen[0]["uid"], 1000)
        },
    },
    Case {
        id: "idmap.nothing-to-map-with",
        level: Must,
        refs: &["config.md:154#4", "config.md:154#5"],
        run: |cx| {
            prepare(cx, json!(["bind", "idmap"]), false)?;
            cx.refused_by_create()
        },
    },
    Case {
        id: "idmap.recursive-nothing-to-map-with",
        level: Must,
        refs: &["config.md:155#4", "config.md:155#5"],
        run: |cx| {
            prepare(cx, json!(["rbind", "ridmap"]), false)?;
            cx.refused_by_create()
        },
    },
    Case {
        id: "idmap.uids-without-gids",
        level: Must,
        refs: &["config.md:192"],
        run: |cx| one_half(cx, "gidMappings"),
    },
    Case {
        id: "idmap.gids-without-uids",
        level: Must,
        refs: &["config.md:197"],
        run: |cx| one_half(cx, "uidMappings"),
    },
    Case {
        id: "idmap.with-the-containers-mappings",
        level: Must,
        refs: &["config.md:154#4", "config.md:155#4"],
        run: |cx| {
            // The runtime may use the container's own mappings, or has to refuse.
            cx.bundle.user_namespace(100_000)?;
            prepare(cx, json!(["bind", "idmap"]), false)?;
            cx.bundle.inspector("stat /data/file");
            let (_, container) = cx.try_create()?;
            let Some(container) = container else { return Ok(()) };
            let seen = container.finish()?.values()?;
            expect("owner of a file of uid 0 on the host", &seen[0]["uid"], 0)
        },
    },
];

/// Binds a tree of files that belong to root, on mounts that can be mapped.
fn prepare(cx: &mut Context, options: Value, mapped: bool) -> Verdict {
    let source = cx.host_tmpfs("data", MountFlags::empty())?;
    let below = cx.host_tmpfs("data/sub", MountFlags::empty())?;
    for dir in [&source, &below] {
        std::fs::write(dir.join("file"), "text")?;
    }
    can_map(&source)?;
    cx.bundle.mkdir("/data")?;
    cx.bundle.set(
        "/mounts/-",
        json!({ "destination": "/data", "type": "bind", "source": source, "options": options }),
    );
    if mapped {
        let last = cx.bundle.get("/mounts").as_array().map_or(0, Vec::len) - 1;
        let map = |host| json!([{ "containerID": 0, "hostID": host, "size": 100 }]);
        cx.bundle.set(&format!("/mounts/{last}/uidMappings"), map(1000));
        cx.bundle.set(&format!("/mounts/{last}/gidMappings"), map(2000));
    }
    Ok(())
}

fn owners(cx: &mut Context, options: Value, mapped: bool) -> Result<Vec<Value>, Stop> {
    prepare(cx, options, mapped)?;
    cx.ask("stat /data/file -- stat /data/sub/file")
}

fn one_half(cx: &mut Context, missing: &str) -> Verdict {
    prepare(cx, json!(["bind", "idmap"]), true)?;
    let last = cx.bundle.get("/mounts").as_array().map_or(0, Vec::len) - 1;
    cx.bundle.remove(&format!("/mounts/{last}/{missing}"));
    cx.refused_by_create()
}

/// Skips when the kernel cannot map mounts of tmpfs, which it can since 6.3.
fn can_map(path: &std::path::Path) -> Verdict {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).filter_map(|n| n.trim().parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 3) && path.exists() {
        return Ok(());
    }
    Err(skip("this kernel cannot map mounts of tmpfs (since 6.3)"))
}
