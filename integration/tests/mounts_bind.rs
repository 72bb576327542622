//! Bind mounts: recursion, flags on the tree, sources and destinations of all
//! kinds.

use hako_integration::{Bundle, Runtime, Value, each, find_mount, in_set, json, mount_at};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_change, mount_remount, unmount,
};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A host directory with a file, and a tmpfs with a file mounted in it.
fn tree(hako: &Runtime) -> PathBuf {
    let source = hako.dir("tree");
    let _ = hako.file("tree/top", "top");
    let _ = hako.tmpfs("tree/sub");
    let _ = hako.file("tree/sub/inner", "inner");
    source
}

/// A bundle that binds such a tree to `/mnt`.
fn bound(hako: &Runtime, options: &[&str]) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.bind(&hako.scratch().join("tree"), "/mnt", options);
    bundle
}

fn has(mount: &Value, option: &str) -> bool {
    in_set(&mount["options"], option)
}

#[test]
fn bind_leaves_submounts_out() {
    let hako = Runtime::new();
    tree(&hako);
    let seen = hako.ask(&bound(&hako, &["bind"]), "read /mnt/top -- ls /mnt/sub -- report");
    assert_eq!(seen[..2], [json!("top"), json!([])]);
    assert!(find_mount(&seen[2], "/mnt/sub").is_none());
}

#[test]
fn rbind_brings_submounts_along() {
    let hako = Runtime::new();
    tree(&hako);
    let seen =
        hako.ask(&bound(&hako, &["rbind"]), "read /mnt/top -- read /mnt/sub/inner -- report");
    assert_eq!(seen[..2], ["top", "inner"]);
    assert_eq!(mount_at(&seen[2], "/mnt/sub")["type"], "tmpfs");
}

#[test]
fn writes_reach_the_source() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let chain = "write /mnt/new a -- write /mnt/sub/new b";
    assert_eq!(hako.ask(&bound(&hako, &["rbind", "rw"]), chain), ["ok", "ok"]);
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "a");
    assert_eq!(fs::read_to_string(source.join("sub/new")).unwrap(), "b");
}

#[test]
fn read_only_is_for_the_top_mount_alone_unless_recursive() {
    let hako = Runtime::new();
    tree(&hako);
    let refused = json!({ "errno": "EROFS" });
    let chain = "write /mnt/x 1 -- write /mnt/sub/x 1";
    assert_eq!(hako.ask(&bound(&hako, &["bind", "ro"]), "write /mnt/x 1")[0], refused);
    assert_eq!(hako.ask(&bound(&hako, &["rbind", "ro"]), chain), [refused.clone(), json!("ok")]);
    assert_eq!(hako.ask(&bound(&hako, &["rbind", "rro"]), chain), [refused.clone(), refused]);
}

#[test]
fn a_read_only_source_stays_writable_on_the_host() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let container = hako.serve(&bound(&hako, &["rbind", "rro"]));
    fs::write(source.join("late"), "seen").unwrap();
    fs::write(source.join("sub/late"), "seen too").unwrap();
    assert_eq!(container.ask("read /mnt/late -- read /mnt/sub/late"), ["seen", "seen too"]);
}

#[test]
fn plain_flags_are_for_the_top_mount_alone() {
    let flags = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"];
    let hako = Runtime::new();
    tree(&hako);
    each(flags, |flag| {
        let seen = hako.inspect(&bound(&hako, &["bind", flag]));
        assert!(has(mount_at(&seen, "/mnt"), flag), "{}", mount_at(&seen, "/mnt"));
        let seen = hako.inspect(&bound(&hako, &["rbind", flag]));
        assert!(has(mount_at(&seen, "/mnt"), flag), "{}", mount_at(&seen, "/mnt"));
        assert!(!has(mount_at(&seen, "/mnt/sub"), flag), "{}", mount_at(&seen, "/mnt/sub"));
    });
}

#[test]
fn recursive_flags_are_for_the_whole_tree() {
    let flags = ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"];
    let hako = Runtime::new();
    tree(&hako);
    each(flags, |flag| {
        let seen = hako.inspect(&bound(&hako, &["rbind", &format!("r{flag}")]));
        for target in ["/mnt", "/mnt/sub"] {
            let mount = mount_at(&seen, target);
            assert!(has(mount, flag), "{mount}");
            let others = flags.iter().filter(|other| *other != flag);
            assert!(!others.into_iter().any(|other| has(mount, other)), "more than asked: {mount}");
        }
    });
}

#[test]
fn recursive_clearing_flags_undo_those_of_the_source() {
    let hako = Runtime::new();
    let source = hako.tmpfs("flagged");
    let sub = hako.tmpfs("flagged/sub");
    for mount in [&source, &sub] {
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID;
        let flags = flags | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
        mount_remount(mount, flags, c"").unwrap();
    }
    each(["rw", "suid", "dev", "exec", "atime"], |flag| {
        let mut bundle = hako.bundle();
        bundle.bind(&source, "/mnt", &["rbind", &format!("r{flag}")]);
        let seen = hako.inspect(&bundle);
        let gone = if *flag == "rw" { "ro".to_string() } else { format!("no{flag}") };
        for target in ["/mnt", "/mnt/sub"] {
            assert!(!has(mount_at(&seen, target), &gone), "{}", mount_at(&seen, target));
        }
    });
}

/// What a source has and the options do not mention must stay: a read-only
/// source does not become writable by being bound.
#[test]
fn flags_of_the_source_are_kept() {
    let hako = Runtime::new();
    let source = hako.tmpfs("flagged");
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount(&source, flags, c"").unwrap();
    each([&["bind"][..], &["rbind"], &["bind", "ro"], &["rbind", "rro"]], |options| {
        let mut bundle = hako.bundle();
        bundle.bind(&source, "/mnt", options);
        let seen = hako.inspect(&bundle);
        for flag in ["nosuid", "nodev", "noexec"] {
            assert!(has(mount_at(&seen, "/mnt"), flag), "{}", mount_at(&seen, "/mnt"));
        }
    });
}

#[test]
fn propagation_shows_in_the_mount_table() {
    let rows: [(&[&str], &str, &str); 8] = [
        (&["bind", "private"], "", ""),
        (&["rbind", "rprivate"], "", ""),
        (&["bind", "shared"], "shared", ""),
        (&["rbind", "rshared"], "shared", "shared"),
        (&["rbind", "shared"], "shared", ""),
        (&["bind", "unbindable"], "unbindable", ""),
        (&["rbind", "runbindable"], "unbindable", "unbindable"),
        (&["bind", "slave"], "", ""),
    ];
    let hako = Runtime::new();
    tree(&hako);
    each(rows, |(options, top, sub)| {
        let seen = hako.inspect(&bound(&hako, options));
        assert_eq!(kinds(mount_at(&seen, "/mnt")), *top);
        if let Some(mount) = find_mount(&seen, "/mnt/sub") {
            assert_eq!(kinds(mount), *sub);
        } else {
            assert!(options.contains(&"bind"), "rbind must bring the submount");
        }
    });
}

/// The propagation field without the numbers.
fn kinds(mount: &Value) -> String {
    let fields = mount["propagation"].as_array().into_iter().flatten();
    let words = fields.filter_map(|field| field.as_str()?.split(':').next());
    words.collect::<Vec<_>>().join(" ")
}

/// Makes the mount at a path shared with others of its kind, on the host.
fn share(path: &std::path::Path) {
    mount_change(path, MountPropagationFlags::SHARED).unwrap();
}

#[test]
fn mounts_travel_as_the_propagation_says() {
    // Options, rootfsPropagation; do the host's mounts arrive, do ours leave?
    // Engines set rootfsPropagation together with the option.
    let rows = [
        ("rslave", Some("slave"), true, false),
        ("rslave", None, true, false),
        ("rprivate", Some("slave"), false, false),
        ("rshared", Some("shared"), true, true),
    ];
    let hako = Runtime::new();
    let source = hako.tmpfs("live");
    share(&source);
    let _ = hako.dir("live/in");
    let _ = hako.dir("live/out");
    each(rows, |(option, root, arrives, leaves)| {
        let mut bundle = hako.bundle();
        bundle.capabilities(&["CAP_SYS_ADMIN"]).bind(&source, "/mnt", &["rbind", option]);
        if let Some(root) = root {
            bundle.set("/linux/rootfsPropagation", *root);
        }
        let container = hako.serve(&bundle);
        let inner = hako.tmpfs("live/in");
        fs::write(inner.join("file"), "new").unwrap();
        let arrived = container.ask("ls /mnt/in")[0] == json!(["file"]);
        assert_eq!(container.ask("mount tmpfs /mnt/out tmpfs")[0], "ok");
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let left = table.lines().any(|line| line.contains("live/out"));
        let _ = container.ask("umount /mnt/out");
        unmount(&inner, UnmountFlags::DETACH).unwrap();
        assert_eq!((arrived, left), (*arrives, *leaves), "(arrived, left)");
    });
}

#[test]
fn a_relative_source_is_relative_to_the_bundle() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    fs::create_dir(bundle.dir().join("data")).unwrap();
    fs::write(bundle.dir().join("data/file"), "mine").unwrap();
    bundle.bind("data".as_ref(), "/mnt", &["bind"]);
    // The caller's directory has one of the same name that must not be taken.
    let _ = hako.file("elsewhere/data/file", "wrong");
    bundle.inspector("read /mnt/file");
    let command = hako.on_bundle(&["run"], &bundle).current_dir(hako.scratch().join("elsewhere"));
    assert_eq!(hako.finish(command, &bundle).ok().json(), "mine");
}

#[test]
fn a_relative_destination_is_relative_to_the_root() {
    let hako = Runtime::new();
    tree(&hako);
    let mut bundle = hako.bundle();
    bundle.bind(&hako.scratch().join("tree"), "mnt/deep", &["bind"]);
    bundle.mkdir("/work");
    bundle.set("/process/cwd", "/work");
    assert_eq!(hako.ask(&bundle, "read /mnt/deep/top")[0], "top");
}

#[test]
fn missing_destinations_are_made_to_fit_the_source() {
    let hako = Runtime::new();
    let dir = tree(&hako);
    let file = dir.join("top");
    let mut bundle = hako.bundle();
    bundle.bind(&file, "/no/such/file", &["bind"]);
    bundle.bind(&dir, "/no/such/dir", &["bind"]);
    let seen = hako.ask(&bundle, "read /no/such/file -- read /no/such/dir/top");
    assert_eq!(seen, ["top", "top"]);
    assert!(bundle.rootfs("/no/such/file").is_file());
    assert!(bundle.rootfs("/no/such/dir").is_dir());
}

#[test]
fn files_of_every_kind_can_be_bound() {
    let hako = Runtime::new();
    let dir = hako.dir("kinds");
    let socket = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::write(dir.join("file"), "text").unwrap();
    let mut bundle = hako.bundle();
    let mut chain = Vec::new();
    for name in ["file", "fifo", "socket"] {
        bundle.bind(&dir.join(name), &format!("/kinds/{name}"), &["bind"]);
        chain.push(format!("stat /kinds/{name}"));
    }
    bundle.bind("/dev/zero".as_ref(), "/kinds/zero", &["bind"]);
    let seen = hako.ask(&bundle, &format!("{} -- stat /kinds/zero", chain.join(" -- ")));
    let kinds: Vec<_> = seen.iter().map(|stat| stat["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["file", "fifo", "socket", "char"]);
    drop(socket);
}

#[test]
fn impossible_bind_mounts_are_refused() {
    let hako = Runtime::new();
    let dir = tree(&hako);
    let file = dir.join("top");
    let missing = dir.join("missing");
    let mut rows = Vec::new();
    let mut add = |what: &'static str, mount: Value| rows.push((what, mount));
    add(
        "source missing",
        json!({ "destination": "/mnt", "type": "bind", "source": missing, "options": ["bind"] }),
    );
    add(
        "directory onto file",
        json!({ "destination": "/file", "type": "bind", "source": dir, "options": ["bind"] }),
    );
    add(
        "file onto directory",
        json!({ "destination": "/dir", "type": "bind", "source": file, "options": ["bind"] }),
    );
    add("no source", json!({ "destination": "/mnt", "type": "bind", "options": ["bind"] }));
    add("no destination", json!({ "type": "bind", "source": dir, "options": ["bind"] }));
    add(
        "type bind without the option",
        json!({ "destination": "/mnt", "type": "bind", "source": dir }),
    );
    each(rows, |(_, mount)| {
        let mut bundle = hako.bundle();
        bundle.write("/file", "");
        bundle.mkdir("/dir");
        let pointer = bundle.mount(mount.clone());
        hako.refuses(&bundle, &pointer);
    });
}

#[test]
fn the_type_of_a_bind_mount_is_ignored() {
    let hako = Runtime::new();
    let source = tree(&hako);
    for kind in [json!(null), json!("none"), json!("ext4"), json!("tmpfs"), json!("")] {
        let mut bundle = hako.bundle();
        let pointer = bundle.bind(&source, "/mnt", &["rbind"]);
        bundle.remove(&format!("{pointer}/type"));
        if !kind.is_null() {
            bundle.set(&format!("{pointer}/type"), kind);
        }
        assert_eq!(hako.ask(&bundle, "read /mnt/top -- read /mnt/sub/inner"), ["top", "inner"]);
    }
}

#[test]
fn links_in_a_destination_stay_below_the_root() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let outside = hako.dir("outside");
    each([outside.to_str().unwrap(), "../../../../../../../../../../tmp", "/target"], |link| {
        let mut bundle = hako.bundle();
        symlink(link, bundle.rootfs("/link")).unwrap();
        bundle.bind(&source, "/link/point", &["bind"]);
        assert_eq!(hako.ask(&bundle, "read /link/point/top")[0], "top");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "made something on the host");
    });
}

#[test]
fn a_link_as_source_is_followed() {
    let hako = Runtime::new();
    tree(&hako);
    symlink("tree", hako.scratch().join("link")).unwrap();
    let mut bundle = hako.bundle();
    bundle.bind(&hako.scratch().join("link"), "/mnt", &["rbind"]);
    assert_eq!(hako.ask(&bundle, "read /mnt/sub/inner")[0], "inner");
}

#[test]
fn copy_symlink_makes_the_link_again() {
    let hako = Runtime::new();
    let _ = hako.file("target", "on the host");
    symlink("/etc/inside", hako.scratch().join("link")).unwrap();
    let mut bundle = hako.bundle();
    bundle.write("/etc/inside", "in the container");
    bundle.bind(&hako.scratch().join("link"), "/new/link", &["bind", "copy-symlink"]);
    let chain = "stat /new/link -- read /new/link -- report";
    for _ in 0..2 {
        // The second time the link is already there, with the right target.
        let seen = hako.ask(&bundle, chain);
        assert_eq!(
            (&seen[0]["type"], &seen[0]["target"]),
            (&json!("symlink"), &json!("/etc/inside"))
        );
        assert_eq!(seen[1], "in the container");
        assert!(find_mount(&seen[2], "/new/link").is_none(), "nothing is mounted");
    }
}

#[test]
fn copy_symlink_binds_what_is_no_link() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.bind(&hako.file("plain", "text"), "/file", &["bind", "copy-symlink"]);
    assert_eq!(hako.ask(&bundle, "read /file")[0], "text");
}

/// No peer of these versions does what their manual says.
#[test]
fn src_nofollow_mounts_the_link_itself() {
    let hako = Runtime::new();
    let _ = hako.file("target", "on the host");
    symlink("target", hako.scratch().join("link")).unwrap();
    let mut bundle = hako.bundle();
    bundle.bind(&hako.scratch().join("link"), "/link", &["bind", "src-nofollow"]);
    let seen = hako.ask(&bundle, "stat /link");
    assert_eq!((&seen[0]["type"], &seen[0]["target"]), (&json!("symlink"), &json!("target")));
}

#[test]
fn dest_nofollow_mounts_over_the_link_itself() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.write("/victim", "old");
    symlink("/victim", bundle.rootfs("/link")).unwrap();
    bundle.bind(&hako.file("new", "new"), "/link", &["bind", "dest-nofollow"]);
    let seen = hako.ask(&bundle, "read /link -- stat /link -- read /victim");
    assert_eq!(seen[0], "new");
    assert_eq!(seen[1]["type"], "file");
    assert_eq!(seen[2], "old", "the link was followed");
}

#[test]
fn remount_changes_a_mount_that_is_there() {
    let hako = Runtime::new();
    let rows = [
        (json!({ "destination": "/mnt", "options": ["bind", "remount", "ro"] }), "ro"),
        (json!({ "destination": "/mnt", "options": ["remount", "bind", "noexec"] }), "noexec"),
        (
            json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "nosuid"] }),
            "nosuid",
        ),
    ];
    each(rows, |(remount, flag)| {
        let mut bundle = hako.bundle();
        bundle.mount(json!({ "destination": "/mnt", "type": "tmpfs", "source": "tmpfs" }));
        bundle.mount(remount.clone());
        let seen = hako.inspect(&bundle);
        let list = seen["mounts"].as_array().unwrap();
        assert_eq!(list.iter().filter(|mount| mount["target"] == "/mnt").count(), 1);
        assert!(has(mount_at(&seen, "/mnt"), flag), "{}", mount_at(&seen, "/mnt"));
    });
}

#[test]
fn remount_of_what_is_no_mount_is_refused() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.mkdir("/mnt");
    let pointer =
        bundle.mount(json!({ "destination": "/mnt", "options": ["remount", "bind", "ro"] }));
    hako.refuses(&bundle, &pointer);
}
