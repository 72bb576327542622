//! The table of mount options, one case for each.

use super::mount_at;
use crate::case::{
    Case,
    Level::{Must, Should},
    Stop, Verdict, contains, ensure, expect, expect_errno,
};
use crate::container::Container;
use crate::context::Context;
use rustix::mount::MountFlags;
use serde_json::Value;
use std::path::PathBuf;

/// What an option does.
#[derive(Clone, Copy)]
enum Effect {
    /// The mount has this flag.
    Flag(&'static str),
    /// The mount does not have this flag.
    NoFlag(&'static str),
    /// The file system has this flag.
    Super(&'static str),
    /// The file system does not have this flag.
    NoSuper(&'static str),
    /// Propagation: the mount table says this.
    Tag(&'static str),
    /// Propagation: it receives from the source's mount and passes nothing on.
    Slave,
    /// Propagation: the mount table says nothing.
    Private,
    /// The mount can be made; the kernel shows no more of it. A runtime that does not know the option hands
    /// it to the file system, which refuses it.
    Accepted,
}
use Effect::{Accepted, Flag, NoFlag, NoSuper, Private, Slave, Super, Tag};

/// One case for each option: its name, its line in config.md, its level, and what `$test` is told of it.
macro_rules! options {
    ($test:ident; $($name:literal $line:literal $level:ident $($argument:expr),+;)*) => {
        &[$(Case {
            id: concat!("mount-options.", $name),
            level: $level,
            refs: &[concat!("config.md:", $line)],
            run: |cx| $test(cx, $name, $($argument),+),
        },)*]
    };
}

/// Options that change a fresh tmpfs.
pub const PLAIN: &[Case] = options! { on_tmpfs;
    "defaults" 98 Must Accepted;
    "dirsync" 101 Must Super("dirsync");
    "iversion" 103 Must Accepted;
    "lazytime" 104 Must Super("lazytime");
    "loud" 105 Must Accepted;
    "noatime" 107 Must Flag("noatime");
    "nodev" 108 Must Flag("nodev");
    "nodiratime" 109 Must Flag("nodiratime");
    "noexec" 110 Must Flag("noexec");
    "noiversion" 111 Must Accepted;
    // mount(8): relatime is the kernel's default, and to have it off takes strictatime.
    "norelatime" 114 Must Accepted;
    "nosuid" 116 Must Flag("nosuid");
    "nosymfollow" 117 Should Flag("nosymfollow");
    "rnorelatime" 129 Should Accepted;
    "ro" 133 Must Flag("ro");
    "rshared" 138 Must Tag("shared:");
    "runbindable" 143 Must Tag("unbindable");
    "shared" 145 Must Tag("shared:");
    "silent" 146 Must Accepted;
    "strictatime" 148 Must NoFlag("relatime");
    "sync" 151 Must Super("sync");
    "unbindable" 153 Must Tag("unbindable");
};

/// Options on a fresh tmpfs, behind the option that they are the opposite of.
pub const CONTRARY: &[Case] = options! { on_tmpfs_with;
    "async" 95 Must "sync", NoSuper("sync");
    "nolazytime" 112 Must "lazytime", NoSuper("lazytime");
    "symfollow" 150 Should "nosymfollow", NoFlag("nosymfollow");
};

/// Options of a bind mount whose source has another flag.
pub const BIND: &[Case] = options! { on_bind;
    "atime" 96 Must MountFlags::NOATIME, NoFlag("noatime");
    "dev" 99 Must MountFlags::NODEV, NoFlag("nodev");
    "diratime" 100 Must MountFlags::NODIRATIME, NoFlag("nodiratime");
    "exec" 102 Must MountFlags::NOEXEC, NoFlag("noexec");
    "nostrictatime" 115 Must MountFlags::STRICTATIME, Flag("relatime");
    "relatime" 123 Must MountFlags::STRICTATIME, Flag("relatime");
    "rw" 144 Must MountFlags::RDONLY, Flag("rw");
    "suid" 149 Must MountFlags::NOSUID, NoFlag("nosuid");
};

/// Propagation of a bind mount whose source is shared.
pub const PROPAGATION: &[Case] = options! { on_shared;
    "private" 118 Must Private;
    "rprivate" 134 Must Private;
    "rslave" 139 Must Slave;
    "slave" 147 Must Slave;
};

/// Recursive options on a tree whose mounts have another flag before.
pub const RECURSIVE: &[Case] = options! { on_tree;
    "ratime" 119 Should MountFlags::NOATIME, NoFlag("noatime");
    "rdev" 121 Should MountFlags::NODEV, NoFlag("nodev");
    "rdiratime" 122 Should MountFlags::NODIRATIME, NoFlag("nodiratime");
    "rexec" 125 Should MountFlags::NOEXEC, NoFlag("noexec");
    "rnoatime" 126 Should MountFlags::RELATIME, Flag("noatime");
    "rnodiratime" 127 Should MountFlags::RELATIME, Flag("nodiratime");
    "rnoexec" 128 Should MountFlags::RELATIME, Flag("noexec");
    "rnostrictatime" 130 Should MountFlags::STRICTATIME, Flag("relatime");
    "rnosuid" 131 Should MountFlags::RELATIME, Flag("nosuid");
    "rnosymfollow" 132 Should MountFlags::RELATIME, Flag("nosymfollow");
    "rrelatime" 135 Should MountFlags::NOATIME, Flag("relatime");
    "rro" 136 Should MountFlags::RELATIME, Flag("ro");
    "rrw" 137 Should MountFlags::RDONLY, Flag("rw");
    "rstrictatime" 140 Should MountFlags::RELATIME, NoFlag("relatime");
    "rsuid" 141 Should MountFlags::NOSUID, NoFlag("nosuid");
    "rsymfollow" 142 Should MountFlags::NOSYMFOLLOW, NoFlag("nosymfollow");
};

/// Options that need a case of their own.
pub const OTHER: &[Case] = &[
    Case {
        id: "mount-options.bind",
        level: Must,
        refs: &["config.md:97", "config.md:91"],
        run: |cx| {
            let source = tree(cx, MountFlags::empty())?;
            std::fs::write(source.join("file"), "text")?;
            cx.bundle.bind(&source, "/data", &["bind"]);
            let seen = cx.ask("read /data/file -- ls /data/sub")?;
            expect("a file of the source", &seen[0], "text")?;
            expect("what is mounted below the source", &seen[1], Vec::<&str>::new())
        },
    },
    Case {
        id: "mount-options.rbind",
        level: Must,
        refs: &["config.md:120"],
        run: |cx| {
            let source = tree(cx, MountFlags::empty())?;
            cx.bundle.bind(&source, "/data", &["rbind"]);
            let seen = cx.ask("ls /data/sub")?;
            expect("what is mounted below the source", &seen[0], ["marker"])
        },
    },
    Case {
        id: "mount-options.remount",
        level: Must,
        refs: &["config.md:124"],
        run: |cx| {
            cx.bundle.mkdir("/data")?;
            cx.bundle.mount("/data", "tmpfs", &["nr_inodes=91"]);
            cx.bundle.mount("/data", "tmpfs", &["remount", "ro"]);
            let seen = cx.ask("statfs /data -- write /data/x y")?;
            expect("what was mounted first", &seen[0]["inodes"], 91)?;
            expect_errno("writing to it", &seen[1], &["EROFS"])
        },
    },
    Case {
        id: "mount-options.slave-only-receives",
        level: Must,
        refs: &["config.md:147", "config.md:139"],
        run: |cx| {
            cx.bundle.set("/linux/rootfsPropagation", "shared").capabilities(&["CAP_SYS_ADMIN"]);
            let source = tree(cx, MountFlags::empty())?;
            cx.bundle.bind(&source, "/data", &["rbind", "rslave"]);
            let mut container = cx.serve()?;
            ensure(
                arrives(cx, &mut container)?,
                "a later mount of the host to arrive",
                "it does not",
            )?;
            expect("a mount inside", &container.ask("mount tmpfs /data/sub tmpfs")?[0], "ok")?;
            let passed_on = !source.join("sub/marker").exists();
            ensure(!passed_on, "no mount of the container on the host", "it arrives there")?;
            container.end()
        },
    },
    Case {
        id: "mount-options.private-does-not-receive",
        level: Must,
        refs: &["config.md:118", "config.md:134"],
        run: |cx| {
            // Without a slave above it nothing arrives at all.
            cx.bundle.set("/linux/rootfsPropagation", "rslave");
            let source = tree(cx, MountFlags::empty())?;
            cx.bundle.bind(&source, "/data", &["rbind", "rprivate"]);
            let mut container = cx.serve()?;
            let seen = container.ask("ls /data/sub")?;
            expect("what is mounted below the source", &seen[0], ["marker"])?;
            ensure(!arrives(cx, &mut container)?, "no later mount of the host", "it arrives")?;
            container.end()
        },
    },
];

fn on_tmpfs(cx: &mut Context, option: &str, effect: Effect) -> Verdict {
    cx.bundle.mkdir("/data")?;
    cx.bundle.mount("/data", "tmpfs", &[option]);
    effect.check(mount_at(&cx.inspect()?, "/data")?)
}

fn on_tmpfs_with(cx: &mut Context, option: &str, contrary: &str, effect: Effect) -> Verdict {
    cx.bundle.mkdir("/data")?;
    // As with mount(8), the last of two contrary options wins.
    cx.bundle.mount("/data", "tmpfs", &[contrary, option]);
    effect.check(mount_at(&cx.inspect()?, "/data")?)
}

fn on_bind(cx: &mut Context, option: &str, before: MountFlags, effect: Effect) -> Verdict {
    let source = tree(cx, before)?;
    cx.bundle.bind(&source, "/data", &["bind", option]);
    effect.check(mount_at(&cx.inspect()?, "/data")?)
}

fn on_shared(cx: &mut Context, option: &str, effect: Effect) -> Verdict {
    let source = tree(cx, MountFlags::empty())?;
    // Without the option the mount is a peer of its source.
    cx.bundle.set("/linux/rootfsPropagation", "shared");
    cx.bundle.bind(&source, "/data", &["rbind", option]);
    effect.check(mount_at(&cx.inspect()?, "/data")?)
}

fn on_tree(cx: &mut Context, option: &str, before: MountFlags, effect: Effect) -> Verdict {
    let source = tree(cx, before)?;
    cx.bundle.bind(&source, "/data", &["rbind", option]);
    let seen = cx.inspect()?;
    effect.check(mount_at(&seen, "/data")?)?;
    effect.check(mount_at(&seen, "/data/sub")?)
}

/// A tmpfs on the host with a tmpfs below it, in which there is a marker.
fn tree(cx: &mut Context, flags: MountFlags) -> Result<PathBuf, Stop> {
    let source = cx.host_tmpfs("tree", MountFlags::empty())?;
    let below = cx.host_tmpfs("tree/sub", MountFlags::empty())?;
    std::fs::write(below.join("marker"), "")?;
    for path in [&below, &source] {
        rustix::mount::mount_remount(path, MountFlags::BIND | flags, c"")?;
    }
    cx.bundle.mkdir("/data")?;
    Ok(source)
}

/// Whether a mount that the host makes below [`tree`] now is seen at /data.
fn arrives(cx: &Context, container: &mut Container) -> Result<bool, Stop> {
    let later = cx.host_tmpfs("tree/later", MountFlags::empty())?;
    std::fs::write(later.join("marker"), "")?;
    Ok(contains(&container.ask("ls /data/later")?[0], "marker"))
}

impl Effect {
    fn check(self, mount: &Value) -> Verdict {
        let (options, above) = (&mount["options"], &mount["super_options"]);
        let tags: Vec<&str> = mount["propagation"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let (holds, expected) = match self {
            Flag(flag) => (contains(options, flag), format!("the flag {flag}")),
            NoFlag(flag) => (!contains(options, flag), format!("no flag {flag}")),
            Super(flag) => (contains(above, flag), format!("the flag {flag} of the file system")),
            NoSuper(flag) => (!contains(above, flag), format!("no flag {flag} of the file system")),
            Tag(tag) => (tags.iter().any(|t| t.starts_with(tag)), format!("propagation {tag}")),
            Slave => {
                let slave = tags.len() == 1 && tags[0].starts_with("master:");
                (slave, "propagation master: alone".to_string())
            }
            Private => (tags.is_empty(), "no propagation".to_string()),
            Accepted => (true, String::new()),
        };
        ensure(holds, expected, format!("{options} {above} {tags:?}"))
    }
}
