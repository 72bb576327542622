//! Where a container is placed in the cgroup hierarchy, and who owns that place.

use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    Stop, Verdict, ensure, expect,
};
use crate::container::Container;
use crate::context::Context;
use crate::holder::Holder;
use crate::host::{CGROUPS, needs_file};
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "cgroups.absolute-path",
        level: Must,
        refs: &["config-linux.md:317", "config-linux.md:315"],
        run: |cx| {
            let path = format!("/{}/below", cx.id());
            cx.make_cgroup(cx.id())?;
            cx.bundle.set("/linux/cgroupsPath", path.clone());
            let container = cx.serve()?;
            expect("cgroup", cgroup_of(&container)?, path)?;
            container.end()
        },
    },
    Case {
        id: "cgroups.relative-path",
        level: Must,
        refs: &["config-linux.md:315", "config-linux.md:320"],
        run: |cx| {
            // Somewhere, but at the same place each time.
            cx.bundle.set("/linux/cgroupsPath", format!("{}-relative", cx.id()));
            let mut places = Vec::new();
            for _ in 0..2 {
                let container = cx.serve()?;
                places.push(cgroup_of(&container)?);
                container.end()?;
            }
            ensure(places[0] != "/init", "a cgroup of its own", "that of the caller")?;
            expect("the second place", &places[1], &places[0])
        },
    },
    Case {
        id: "cgroups.same-place",
        level: Must,
        refs: &["config-linux.md:320"],
        run: |cx| {
            for _ in 0..2 {
                let container = cx.serve()?;
                expect("cgroup", cgroup_of(&container)?, format!("/{}", cx.id()))?;
                container.end()?;
            }
            Ok(())
        },
    },
    Case {
        id: "cgroups.no-path",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.remove("/linux/cgroupsPath");
            let container = cx.serve()?;
            let place = cgroup_of(&container)?;
            ensure(place != "/init" && place != "/", "a cgroup of its own", place)?;
            container.end()
        },
    },
    Case {
        id: "cgroups.created-when-missing",
        level: Engine,
        refs: &[],
        run: |cx| {
            let container = cx.create()?;
            ensure(cx.cgroup().is_dir(), "the cgroup after `create`", "it is missing")?;
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.path-out-of-the-hierarchy",
        level: Must,
        refs: &["config-linux.md:322"],
        run: |cx| {
            // Invalid for a runtime, or taken as below the root: never above it.
            cx.bundle.set("/linux/cgroupsPath", format!("/../../{}", cx.id()));
            let (_, container) = cx.try_create()?;
            let Some(container) = container else { return Ok(()) };
            let place = cgroup_of(&container)?;
            ensure(!place.contains(".."), "a cgroup below the root", place)?;
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.not-empty",
        level: Must,
        refs: &["config-linux.md:303"],
        run: |cx| {
            let (holder, foreign) = foreign_process(cx)?;
            let (_, container) = cx.try_create()?;
            if let Some(container) = container {
                container.force_delete()?;
            }
            let alive = Path::new(&foreign).exists();
            drop(holder);
            ensure(alive, "a foreign process in the cgroup to live", "the runtime killed it")
        },
    },
    Case {
        id: "cgroups.not-empty-is-refused",
        level: Engine,
        refs: &[],
        run: |cx| {
            let (_holder, _) = foreign_process(cx)?;
            cx.refused_by_create()
        },
    },
    Case {
        id: "cgroups.frozen",
        level: Must,
        refs: &["config-linux.md:303"],
        run: |cx| {
            let dir = cx.make_cgroup(cx.id())?;
            fs::write(dir.join("cgroup.freeze"), "1")?;
            let refused = cx.refused_by_create();
            fs::write(dir.join("cgroup.freeze"), "0")?;
            refused
        },
    },
    Case {
        id: "cgroups.mount-shows-the-containers-own",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
            let seen = cx.ask("read /sys/fs/cgroup/cgroup.procs -- read /proc/self/cgroup -- write /sys/fs/cgroup/cgroup.procs 0")?;
            expect("processes in the mounted root", &seen[0], "1\n")?;
            let own = seen[1].as_str().unwrap_or_default().lines().last().unwrap_or_default();
            expect("the own cgroup", own, "0::/")?;
            expect("writing to it", &seen[2]["errno"], "EROFS")
        },
    },
    Case {
        id: "cgroups.delete-removes-subgroups",
        level: Must,
        refs: &["runtime.md:143"],
        run: |cx| {
            cx.bundle.mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
            let seen = cx.ask("mkdir /sys/fs/cgroup/below")?;
            expect("making a cgroup inside", &seen[0], "ok")?;
            ensure(!cx.cgroup().exists(), "no cgroup after `delete`", "it is there")
        },
    },
    Case {
        id: "cgroups.delete-ends-all-processes",
        level: Engine,
        refs: &[],
        run: |cx| {
            // Without a pid namespace the others outlive the first.
            cx.bundle.without_namespace("pid");
            let mut container = cx.serve()?;
            let child = container.ask("spawn-sleep")?[0]["child"].clone();
            container.kill("KILL")?;
            container.wait()?;
            container.force_delete()?;
            let path = format!("/proc/{child}");
            let gone = fs::read_to_string(format!("{path}/stat")).is_ok_and(|s| s.contains(") Z"));
            ensure(gone || !Path::new(&path).exists(), "its processes to end", "one is left")
        },
    },
    Case {
        id: "cgroups.owner-with-a-writable-mount",
        level: Should,
        refs: &["config-linux.md:352", "config-linux.md:363", "config-linux.md:368"],
        run: |cx| {
            needs_file(DELEGATE, "the kernel has no list of files to delegate")?;
            let container = owned(cx, "rw")?;
            let dir = cx.cgroup();
            expect("owner of the cgroup", fs::metadata(&dir)?.uid(), 100_000)?;
            for name in fs::read_to_string(DELEGATE)?.lines() {
                if let Ok(file) = fs::metadata(dir.join(name)) {
                    expect(&format!("owner of {name}"), file.uid(), 100_000)?;
                }
            }
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.owner-of-files-that-are-missing",
        level: Must,
        refs: &["config-linux.md:368"],
        run: |cx| {
            hide_list(cx)?;
            fs::write(DELEGATE, "no.such.file\ncgroup.procs\n")?;
            owned(cx, "rw")?.force_delete()
        },
    },
    Case {
        id: "cgroups.owner-without-a-list-of-files",
        level: Must,
        refs: &["config-linux.md:372"],
        run: |cx| {
            hide_list(cx)?;
            let container = owned(cx, "rw")?;
            // A runtime need not change owners; if it does, of these as well.
            if fs::metadata(cx.cgroup())?.uid() != 0 {
                for name in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                    let owner = fs::metadata(cx.cgroup().join(name))?.uid();
                    expect(&format!("owner of {name}"), owner, 100_000)?;
                }
            }
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.owner-of-other-files",
        level: Should,
        refs: &["config-linux.md:380", "config-linux.md:363"],
        run: |cx| {
            needs_file(DELEGATE, "the kernel has no list of files to delegate")?;
            let container = owned(cx, "rw")?;
            let delegated = fs::read_to_string(DELEGATE)?;
            for entry in fs::read_dir(cx.cgroup())?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !delegated.lines().any(|line| line == name) {
                    expect(&format!("owner of {name}"), entry.metadata()?.uid(), 0)?;
                }
            }
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.owner-with-a-read-only-mount",
        level: Should,
        refs: &["config-linux.md:352"],
        run: |cx| {
            let container = owned(cx, "ro")?;
            expect("owner of the cgroup", fs::metadata(cx.cgroup())?.uid(), 0)?;
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.owner-without-a-mount",
        level: Should,
        refs: &["config-linux.md:361"],
        run: |cx| {
            cx.bundle.user_namespace(100_000)?;
            let container = cx.create()?;
            expect("owner of the cgroup", fs::metadata(cx.cgroup())?.uid(), 0)?;
            container.force_delete()
        },
    },
    Case {
        id: "cgroups.owner-without-a-cgroup-namespace",
        level: Should,
        refs: &["config-linux.md:347"],
        run: |cx| {
            cx.bundle.without_namespace("cgroup");
            let container = owned(cx, "rw")?;
            expect("owner of the cgroup", fs::metadata(cx.cgroup())?.uid(), 0)?;
            container.force_delete()
        },
    },
];

/// The files that may be given away.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";

/// Hides the list of files to delegate. The kernel then gives no sysfs to a user namespace: it would
/// show what is hidden.
fn hide_list(cx: &mut Context) -> Verdict {
    cx.cover("/sys/kernel/cgroup")?;
    if let Some(serde_json::Value::Array(mounts)) = cx.bundle.config.pointer_mut("/mounts") {
        mounts.retain(|mount| mount["destination"] != "/sys");
    }
    cx.bundle.mkdir("/sys/fs/cgroup").map(drop)?;
    Ok(())
}

/// A created container with a user namespace and a cgroup mount with this option.
fn owned(cx: &mut Context, option: &str) -> Result<Container, Stop> {
    cx.bundle.user_namespace(100_000)?;
    let mount = json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", option],
    });
    cx.bundle.set("/mounts/-", mount);
    cx.create()
}

/// The cgroup of a container's process in cgroup v2, as seen from here.
pub fn cgroup_of(container: &Container) -> Result<String, Stop> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()))?;
    Ok(text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_string())
}

/// Puts a process that is not the container's into its cgroup.
fn foreign_process(cx: &Context) -> Result<(Holder, String), Stop> {
    let dir = cx.make_cgroup(cx.id())?;
    let holder = Holder::start(&[])?;
    fs::write(dir.join("cgroup.procs"), holder.pid().to_string())?;
    Ok((holder, format!("/proc/{}/root", cgroup_member(&dir)?)))
}

fn cgroup_member(dir: &Path) -> Result<String, Stop> {
    let text = fs::read_to_string(dir.join("cgroup.procs"))?;
    Ok(text.trim().to_string())
}

/// Demands the content of a file of the container's cgroup.
pub fn expect_file(cx: &Context, name: &str, wanted: &str) -> Verdict {
    let path = cx.cgroup().join(name);
    let text = fs::read_to_string(&path);
    let text =
        text.map_err(|error| crate::case::fail(format!("{name} in the cgroup, {CGROUPS}"), error))?;
    expect(name, text.trim(), wanted)
}
