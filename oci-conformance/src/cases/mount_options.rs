//! The table of mount options, one case for each.

use super::mount_at;
use crate::case::{
    Case,
    Level::{Must, Should},
    Verdict, contains, ensure, expect, expect_errno,
};
use crate::context::Context;
use rustix::mount::MountFlags;
use serde_json::Value;

/// What an option does to a fresh tmpfs.
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
    /// Propagation: the mount table says nothing.
    Private,
    /// The mount can be made; the kernel shows no more of it.
    Accepted,
}
use Effect::{Accepted, Flag, NoFlag, NoSuper, Private, Super, Tag};

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

/// Options on a fresh tmpfs.
pub const PLAIN: &[Case] = options! { on_tmpfs;
    "async" 95 Must NoSuper("sync");
    "atime" 96 Must NoFlag("noatime");
    "defaults" 98 Must NoFlag("ro");
    "dev" 99 Must NoFlag("nodev");
    "diratime" 100 Must NoFlag("nodiratime");
    "dirsync" 101 Must Super("dirsync");
    "exec" 102 Must NoFlag("noexec");
    "iversion" 103 Must Accepted;
    "lazytime" 104 Must Super("lazytime");
    "loud" 105 Must Accepted;
    "noatime" 107 Must Flag("noatime");
    "nodev" 108 Must Flag("nodev");
    "nodiratime" 109 Must Flag("nodiratime");
    "noexec" 110 Must Flag("noexec");
    "noiversion" 111 Must Accepted;
    "nolazytime" 112 Must NoSuper("lazytime");
    "norelatime" 114 Must Accepted;
    "nostrictatime" 115 Must Flag("relatime");
    "nosuid" 116 Must Flag("nosuid");
    "nosymfollow" 117 Should Flag("nosymfollow");
    "private" 118 Must Private;
    "relatime" 123 Must Flag("relatime");
    "ro" 133 Must Flag("ro");
    "rprivate" 134 Must Private;
    "rshared" 138 Must Tag("shared:");
    "rslave" 139 Must Private;
    "runbindable" 143 Must Tag("unbindable");
    "rw" 144 Must Flag("rw");
    "shared" 145 Must Tag("shared:");
    "silent" 146 Must Accepted;
    "slave" 147 Must Private;
    "strictatime" 148 Must NoFlag("relatime");
    "suid" 149 Must NoFlag("nosuid");
    "symfollow" 150 Should NoFlag("nosymfollow");
    "sync" 151 Must Super("sync");
    "unbindable" 153 Must Tag("unbindable");
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
    "rnorelatime" 129 Should MountFlags::RELATIME, NoFlag("noatime");
    "rnostrictatime" 130 Should MountFlags::STRICTATIME, Flag("relatime");
    "rnosuid" 131 Should MountFlags::RELATIME, Flag("nosuid");
    "rnosymfollow" 132 Should MountFlags::RELATIME, Flag("nosymfollow");
    "rrelatime" 135 Should MountFlags::NOATIME, Flag("relatime");
    "rro" 136 Should MountFlags::RELATIME, Flag("ro");
    "rrw" 137 Should MountFlags::RDONLY, Flag("rw");
    "rstrictatime" 140 Should MountFlags::RELATIME, NoFlag("relatime");
    "rsuid" 141 Should MountFlags::NOSUID, NoFlag("nosuid");
    "rsymfollow" 142 Should MountFlags::RELATIME, NoFlag("nosymfollow");
};

/// Options that need a case of their own.
pub const OTHER: &[Case] = &[
    Case {
        id: "mount-options.bind",
        level: Must,
        refs: &["config.md:97", "config.md:91"],
        run: |cx| {
            let (source, _) = tree(cx, MountFlags::empty())?;
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
            let (source, _) = tree(cx, MountFlags::empty())?;
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
            cx.bundle.mount("/data", "tmpfs", &["remount", "ro", "nr_inodes=91"]);
            let seen = cx.ask("statfs /data -- write /data/x y")?;
            expect("what was mounted first", &seen[0]["inodes"], 91)?;
            expect_errno("writing to it", &seen[1], &["EROFS"])
        },
    },
    Case {
        id: "mount-options.slave-receives",
        level: Must,
        refs: &["config.md:147", "config.md:139"],
        run: |cx| propagates_in(cx, "rslave", true),
    },
    Case {
        id: "mount-options.private-does-not-receive",
        level: Must,
        refs: &["config.md:118", "config.md:134"],
        run: |cx| propagates_in(cx, "rprivate", false),
    },
];

fn on_tmpfs(cx: &mut Context, option: &str, effect: Effect) -> Verdict {
    cx.bundle.mkdir("/data")?;
    cx.bundle.mount("/data", "tmpfs", &[option]);
    let seen = cx.inspect()?;
    effect.check(mount_at(&seen, "/data")?)
}

fn on_tree(cx: &mut Context, option: &str, before: MountFlags, effect: Effect) -> Verdict {
    let (source, _) = tree(cx, before)?;
    cx.bundle.bind(&source, "/data", &["rbind", option]);
    let seen = cx.inspect()?;
    effect.check(mount_at(&seen, "/data")?)?;
    effect.check(mount_at(&seen, "/data/sub")?)
}

/// A tmpfs on the host with a tmpfs below it, in which there is a marker.
fn tree(
    cx: &mut Context,
    flags: MountFlags,
) -> Result<(std::path::PathBuf, std::path::PathBuf), crate::case::Stop> {
    let source = cx.host_tmpfs("tree", MountFlags::empty())?;
    let below = cx.host_tmpfs("tree/sub", MountFlags::empty())?;
    std::fs::write(below.join("marker"), "")?;
    for path in [&below, &source] {
        rustix::mount::mount_remount(path, MountFlags::BIND | flags, c"")?;
    }
    cx.bundle.mkdir("/data")?;
    Ok((source, below))
}

fn propagates_in(cx: &mut Context, option: &str, wanted: bool) -> Verdict {
    let source = cx.host_tmpfs("tree", MountFlags::empty())?;
    cx.bundle.mkdir("/data")?;
    cx.bundle.bind(&source, "/data", &["rbind", option]);
    // Without a slave above it nothing arrives at all.
    cx.bundle.set("/linux/rootfsPropagation", "rslave");
    let mut container = cx.serve()?;
    let later = cx.host_tmpfs("tree/later", MountFlags::empty())?;
    std::fs::write(later.join("marker"), "")?;
    let seen = container.ask("ls /data/later")?;
    let arrived = contains(&seen[0], "marker");
    ensure(arrived == wanted, format!("a later mount of the host to arrive: {wanted}"), arrived)?;
    container.end()
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
            Private => {
                let free = tags.iter().all(|t| !t.starts_with("shared:") && *t != "unbindable");
                (free, "no propagation to others".to_string())
            }
            Accepted => (true, String::new()),
        };
        ensure(holds, expected, format!("{options} {above} {tags:?}"))
    }
}
