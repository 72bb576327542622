//! The root and the mounts.

use super::{has_option, mount_at};
use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    Verdict, ensure, expect, expect_errno,
};
use crate::context::Context;
use rustix::mount::MountFlags;
use serde_json::{Value, json};
use std::path::Path;

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "root.missing",
        level: Must,
        refs: &["config.md:33"],
        run: |cx| {
            cx.bundle.remove("/root");
            cx.refused_by_create()
        },
    },
    Case {
        id: "root.path-missing",
        level: Must,
        refs: &["config.md:35"],
        run: |cx| {
            cx.bundle.set("/root", json!({ "readonly": false }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "root.not-a-directory",
        level: Must,
        refs: &["config.md:41"],
        run: |cx| {
            cx.bundle.set("/root/path", "no-such-directory");
            cx.refused_by_create()
        },
    },
    Case {
        id: "root.readonly",
        level: Must,
        refs: &["config.md:43"],
        run: |cx| {
            cx.bundle.set("/root/readonly", true);
            let seen = cx.ask("write /file x -- report")?;
            expect_errno("writing to /", &seen[0], &["EROFS"])?;
            ensure(has_option(&seen[1], "/", "ro")?, "/ to be mounted ro", "it is not")
        },
    },
    Case {
        id: "root.writable",
        level: Must,
        refs: &["config.md:43"],
        run: |cx| expect("writing to /", &cx.ask("write /file x")?[0], "ok"),
    },
    Case {
        id: "root.absolute-path",
        level: Should,
        refs: &["config.md:39"],
        run: |cx| {
            let path = cx.bundle.dir().join("elsewhere");
            std::fs::rename(cx.bundle.inside("/"), &path)?;
            cx.bundle.set("/root/path", json!(path));
            expect("a file of the root", &cx.ask("stat /bin/inspector")?[0]["type"], "file")
        },
    },
    Case { id: "root.dot-dot", level: Engine, refs: &[], run: nothing_above_the_root },
    Case {
        id: "root.dot-dot-of-an-overlay",
        level: Engine,
        refs: &[],
        run: |cx| {
            let root = cx.host_overlay("root", &cx.bundle.inside("/"))?;
            cx.bundle.set("/root/path", json!(root));
            nothing_above_the_root(cx)
        },
    },
    Case {
        id: "mounts.listed-order",
        level: Must,
        refs: &["config.md:66"],
        run: |cx| {
            cx.bundle.mkdir("/a")?;
            for (place, inodes) in [("/a", 91), ("/a/b", 92), ("/c", 93), ("/c", 94)] {
                // The second on the same place covers the first.
                cx.bundle.mount(place, "tmpfs", &[&format!("nr_inodes={inodes}")]);
            }
            cx.bundle.mkdir("/c")?;
            let seen = cx.ask("statfs /a -- statfs /a/b -- statfs /c")?;
            let inodes: Vec<_> = seen.iter().map(|stat| &stat["inodes"]).collect();
            expect("what is seen at /a, /a/b, /c", inodes, [91, 92, 94])
        },
    },
    Case {
        id: "mounts.relative-destination",
        level: Must,
        refs: &["config.md:72"],
        run: |cx| {
            cx.bundle.set("/process/cwd", "/tmp").mount("data", "tmpfs", &["mode=711"]);
            cx.bundle.mkdir("/data")?;
            let seen = cx.inspect()?;
            mount_at(&seen, "/data").map(drop)
        },
    },
    Case {
        id: "mounts.absolute-destination",
        level: Should,
        refs: &["config.md:71"],
        run: |cx| {
            cx.bundle.mkdir("/deep/er")?;
            cx.bundle.mount("/deep/er", "tmpfs", &[]);
            expect("type", &mount_at(&cx.inspect()?, "/deep/er")?["type"], "tmpfs")
        },
    },
    Case {
        id: "mounts.unknown-options-go-to-the-file-system",
        level: Should,
        refs: &["config.md:166"],
        run: |cx| {
            cx.bundle.mkdir("/data")?;
            cx.bundle.mount("/data", "tmpfs", &["nodev", "size=1m", "nr_inodes=99"]);
            let seen = cx.ask("statfs /data")?;
            expect("size in bytes", &seen[0]["bytes"], 1 << 20)?;
            expect("inodes", &seen[0]["inodes"], 99)
        },
    },
    Case {
        id: "mounts.tmpfs-mode",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.mkdir("/data")?;
            cx.bundle.mount("/data", "tmpfs", &["mode=751"]);
            expect("mode", &cx.ask("stat /data")?[0]["mode"], 0o751)
        },
    },
    Case {
        id: "mounts.option-of-no-file-system",
        level: Should,
        refs: &["config.md:166"],
        run: |cx| {
            // tmpfs refuses what it does not know: the option must have arrived there.
            cx.bundle.mkdir("/data")?;
            cx.bundle.mount("/data", "tmpfs", &["no-such-option"]);
            cx.refused_by_create()
        },
    },
    Case {
        id: "mounts.options-as-mount-8",
        level: Should,
        refs: &["config.md:164", "config.md:161"],
        run: |cx| {
            // The last of two contrary options wins.
            for (place, options) in
                [("/a", ["nosuid", "suid"]), ("/b", ["ro", "rw"]), ("/c", ["noexec", "exec"])]
            {
                cx.bundle.mkdir(place)?;
                cx.bundle.mount(place, "tmpfs", &options);
            }
            let seen = cx.inspect()?;
            for (place, option) in [("/a", "nosuid"), ("/b", "ro"), ("/c", "noexec")] {
                let kept = has_option(&seen, place, option)?;
                ensure(!kept, format!("{place} without {option}"), "it has the option")?;
            }
            Ok(())
        },
    },
    Case {
        id: "mounts.bind-relative-source",
        level: Engine,
        refs: &[],
        run: |cx| {
            std::fs::create_dir(cx.bundle.dir().join("data"))?;
            cx.bundle.mkdir("/data")?;
            cx.bundle.bind(Path::new("data"), "/data", &["bind"]);
            mount_at(&cx.inspect()?, "/data").map(drop)
        },
    },
    Case {
        id: "mounts.bind-a-file",
        level: Engine,
        refs: &[],
        run: |cx| {
            let file = cx.host_file("hosts", "text")?;
            cx.bundle.bind(&file, "/etc/hosts", &["bind", "ro"]);
            let seen = cx.ask("read /etc/hosts -- write /etc/hosts x")?;
            expect("the text", &seen[0], "text")?;
            expect_errno("writing to it", &seen[1], &["EROFS"])
        },
    },
    Case {
        id: "mounts.mount-points-are-made",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.mount("/new/dir", "tmpfs", &[]);
            mount_at(&cx.inspect()?, "/new/dir").map(drop)
        },
    },
    Case {
        id: "mounts.missing-source",
        level: Must,
        refs: &["runtime.md:116"],
        run: |cx| {
            cx.bundle.bind(Path::new("/no/such/source"), "/data", &["bind"]);
            cx.refused_by_create()
        },
    },
    Case {
        id: "mounts.stay-inside-the-root",
        level: Engine,
        refs: &[],
        run: |cx| {
            // A link in the image must not lead a mount out of it.
            let outside = cx.host_dir("outside")?;
            std::os::unix::fs::symlink(&outside, cx.bundle.inside("/link"))?;
            cx.bundle.mount("/link/dir", "tmpfs", &[]);
            drop(cx.try_create()?);
            ensure(!outside.join("dir").exists(), "nothing made outside the root", "it was made")
        },
    },
    Case {
        id: "mounts.do-not-reach-the-host",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.mkdir("/data")?;
            cx.bundle.mount("/data", "tmpfs", &[]);
            let container = cx.serve()?;
            let table = std::fs::read_to_string("/proc/self/mountinfo")?;
            let inside = cx.bundle.inside("/data");
            let seen = table.contains(&*inside.to_string_lossy());
            ensure(!seen, "no mount of the container on the host", "it is there")?;
            container.end()
        },
    },
    Case {
        id: "mounts.tmpcopyup",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.write("/data/file", "text")?;
            cx.bundle.mount("/data", "tmpfs", &["tmpcopyup"]);
            let seen = cx.ask("read /data/file -- report")?;
            expect("the copied file", &seen[0], "text")?;
            expect("type", &mount_at(&seen[1], "/data")?["type"], "tmpfs")
        },
    },
    Case {
        id: "mounts.read-only-bind",
        level: Must,
        refs: &["config.md:133", "config.md:97"],
        run: |cx| {
            read_only_bind(cx)?;
            let seen = cx.ask("write /data/x y -- write /data/sub/x y")?;
            expect_errno("writing to the mount", &seen[0], &["EROFS"])
        },
    },
    Case {
        id: "mounts.read-only-bind-keeps-submounts-writable",
        level: Engine,
        refs: &[],
        run: |cx| {
            read_only_bind(cx)?;
            let seen = cx.ask("write /data/sub/x y")?;
            expect("writing to a submount", &seen[0], "ok")
        },
    },
];

/// Demands that the directory above the root is the root: what was the root before is not found above
/// it, nor on top of it.
fn nothing_above_the_root(cx: &mut Context) -> Verdict {
    let seen = cx.ask("ls / -- ls /.. -- ls /../.. -- stat / -- stat /..")?;
    expect("what is in /..", &seen[1], &seen[0])?;
    expect("what is in /../..", &seen[2], &seen[0])?;
    let place = |stat: &Value| json!([stat["device"], stat["inode"]]);
    expect("device and inode of /..", place(&seen[4]), place(&seen[3]))
}

fn read_only_bind(cx: &mut Context) -> Verdict {
    let source = cx.host_tmpfs("data", MountFlags::empty())?;
    cx.host_tmpfs("data/sub", MountFlags::empty())?;
    cx.bundle.mkdir("/data")?;
    cx.bundle.bind(&source, "/data", &["rbind", "ro"]);
    Ok(())
}
