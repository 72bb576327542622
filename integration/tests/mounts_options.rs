//! Mount options on a fresh tmpfs: each row of the specification's table, what
//! it looks like in the mount table inside, and what it really does.

use hako_integration::{Bundle, Runtime, Value, each, find_mount, in_set, json, mount_at};

/// What must be seen of a mount at `/mnt` that was made with some options.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    options: &'static [&'static str],
    /// Words among the mount's or the file system's options.
    has: &'static [&'static str],
    lacks: &'static [&'static str],
    /// The propagation field: `shared`, `master`, `unbindable` or nothing.
    propagation: Option<&'static str>,
}

const fn row(
    options: &'static [&'static str],
    has: &'static [&'static str],
    lacks: &'static [&'static str],
) -> Row {
    Row { options, has, lacks, propagation: None }
}

const fn spread(options: &'static [&'static str], propagation: &'static str) -> Row {
    Row { options, has: &["rw"], lacks: &[], propagation: Some(propagation) }
}

fn tmpfs_at_mnt(hako: &Runtime, options: &[&str]) -> (Bundle, String) {
    let mut bundle = hako.bundle();
    bundle.mkdir("/mnt");
    let pointer = bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options,
    }));
    (bundle, pointer)
}

fn check(hako: &Runtime, row: &Row) {
    let (bundle, _) = tmpfs_at_mnt(hako, row.options);
    let seen = hako.inspect(&bundle);
    let mount = mount_at(&seen, "/mnt");
    assert_eq!(mount["type"], "tmpfs", "{mount}");
    let listed = |word| in_set(&mount["options"], word) || in_set(&mount["super_options"], word);
    for word in row.has {
        assert!(listed(word), "lacks `{word}`: {mount}");
    }
    for word in row.lacks {
        assert!(!listed(word), "has `{word}`: {mount}");
    }
    if let Some(expected) = row.propagation {
        assert_eq!(propagation(mount), expected, "{mount}");
    }
    // An option that is meant for the mount must never reach the file system.
    for word in row.options {
        let flag = ["sync", "dirsync", "lazytime", "mand", "ro", "rw"].contains(word);
        assert!(flag || !in_set(&mount["super_options"], word), "`{word}` is data: {mount}");
    }
}

/// `shared:12 master:3` without the numbers.
fn propagation(mount: &Value) -> String {
    let fields = mount["propagation"].as_array().into_iter().flatten();
    let fields = fields.filter_map(Value::as_str);
    let kinds: Vec<&str> = fields.map(|field| field.split(':').next().unwrap_or(field)).collect();
    kinds.join(" ")
}

#[test]
fn each_option_has_its_effect_on_a_tmpfs() {
    const ROWS: &[Row] = &[
        row(&[], &["rw", "relatime"], &["noexec", "nosuid", "nodev", "nosymfollow"]),
        row(&["async"], &["rw"], &["sync"]),
        row(&["atime"], &["rw"], &["noatime"]),
        row(&["defaults"], &["rw"], &["ro", "noexec", "nosuid", "nodev", "sync"]),
        row(&["dev"], &["rw"], &["nodev"]),
        row(&["diratime"], &["rw"], &["nodiratime"]),
        row(&["dirsync"], &["dirsync"], &["sync", "nodiratime"]),
        row(&["exec"], &["rw"], &["noexec"]),
        // tmpfs counts inode versions anyway and the kernel does not list it.
        row(&["iversion"], &["rw"], &[]),
        row(&["noiversion"], &["rw"], &[]),
        row(&["lazytime"], &["lazytime"], &[]),
        row(&["nolazytime"], &["rw"], &["lazytime"]),
        row(&["loud"], &["rw"], &[]),
        row(&["silent"], &["rw"], &[]),
        // Mandatory locking is gone from the kernel; the words are still legal.
        row(&["mand"], &["rw"], &[]),
        row(&["nomand"], &["rw"], &["mand"]),
        row(&["noatime"], &["noatime"], &["relatime"]),
        row(&["nodev"], &["nodev"], &["noexec", "nosuid"]),
        row(&["nodiratime"], &["nodiratime"], &["noatime"]),
        row(&["noexec"], &["noexec"], &["nodev", "nosuid"]),
        row(&["norelatime"], &["rw"], &["noatime"]),
        row(&["nostrictatime"], &["relatime"], &["noatime"]),
        row(&["nosuid"], &["nosuid"], &["nodev", "noexec"]),
        row(&["nosymfollow"], &["nosymfollow"], &["noatime"]),
        row(&["relatime"], &["relatime"], &["noatime"]),
        row(&["ro"], &["ro"], &[]),
        row(&["rw"], &["rw"], &["ro"]),
        row(&["strictatime"], &["rw"], &["relatime", "noatime"]),
        row(&["suid"], &["rw"], &["nosuid"]),
        row(&["symfollow"], &["rw"], &["nosymfollow"]),
        row(&["sync"], &["sync"], &["dirsync"]),
    ];
    let hako = Runtime::new();
    each(ROWS, |row| check(&hako, row));
}

#[test]
fn each_recursive_option_has_its_effect_on_a_tmpfs() {
    const ROWS: &[Row] = &[
        row(&["rro"], &["ro"], &[]),
        row(&["rrw"], &["rw"], &["ro"]),
        row(&["rnosuid"], &["nosuid"], &["nodev", "noexec"]),
        row(&["rsuid"], &["rw"], &["nosuid"]),
        row(&["rnodev"], &["nodev"], &["nosuid", "noexec"]),
        row(&["rdev"], &["rw"], &["nodev"]),
        row(&["rnoexec"], &["noexec"], &["nosuid", "nodev"]),
        row(&["rexec"], &["rw"], &["noexec"]),
        row(&["rnodiratime"], &["nodiratime"], &["noatime"]),
        row(&["rdiratime"], &["rw"], &["nodiratime"]),
        // MS_RELATIME has the value of MOUNT_ATTR_NOSYMFOLLOW: a trap.
        row(&["rrelatime"], &["relatime"], &["nosymfollow"]),
        row(&["noatime", "rrelatime"], &["relatime"], &["noatime", "nosymfollow"]),
        row(&["rnorelatime"], &["rw"], &["noatime"]),
        row(&["rnoatime"], &["noatime"], &["relatime"]),
        row(&["ratime"], &["rw"], &["noatime"]),
        row(&["noatime", "ratime"], &["rw"], &["noatime"]),
        row(&["rstrictatime"], &["rw"], &["relatime", "noatime"]),
        row(&["rnostrictatime"], &["relatime"], &["noatime"]),
        row(&["strictatime", "rnostrictatime"], &["relatime"], &["noatime"]),
        row(&["rnosymfollow"], &["nosymfollow"], &["noatime"]),
        row(&["rsymfollow"], &["rw"], &["nosymfollow"]),
    ];
    let hako = Runtime::new();
    each(ROWS, |row| check(&hako, row));
}

#[test]
fn propagation_options_show_in_the_mount_table() {
    const ROWS: &[Row] = &[
        spread(&["private"], ""),
        spread(&["rprivate"], ""),
        // A slave of nothing is private.
        spread(&["slave"], ""),
        spread(&["rslave"], ""),
        spread(&["shared"], "shared"),
        spread(&["rshared"], "shared"),
        spread(&["unbindable"], "unbindable"),
        spread(&["runbindable"], "unbindable"),
        // They are applied one after another.
        spread(&["shared", "private"], ""),
        spread(&["private", "shared"], "shared"),
        spread(&["shared", "unbindable"], "unbindable"),
    ];
    let hako = Runtime::new();
    each(ROWS, |row| check(&hako, row));
}

#[test]
fn the_later_of_two_contrary_options_wins() {
    const ROWS: &[Row] = &[
        row(&["nosuid", "suid"], &["rw"], &["nosuid"]),
        row(&["suid", "nosuid"], &["nosuid"], &[]),
        row(&["nodev", "dev"], &["rw"], &["nodev"]),
        row(&["dev", "nodev"], &["nodev"], &[]),
        row(&["noexec", "exec"], &["rw"], &["noexec"]),
        row(&["exec", "noexec"], &["noexec"], &[]),
        row(&["ro", "rw"], &["rw"], &["ro"]),
        row(&["rw", "ro"], &["ro"], &[]),
        row(&["sync", "async"], &["rw"], &["sync"]),
        row(&["async", "sync"], &["sync"], &[]),
        row(&["lazytime", "nolazytime"], &["rw"], &["lazytime"]),
        row(&["nolazytime", "lazytime"], &["lazytime"], &[]),
        row(&["nodiratime", "diratime"], &["rw"], &["nodiratime"]),
        row(&["diratime", "nodiratime"], &["nodiratime"], &[]),
        row(&["noatime", "atime"], &["rw"], &["noatime"]),
        row(&["atime", "noatime"], &["noatime"], &[]),
        row(&["noatime", "strictatime"], &["rw"], &["noatime", "relatime"]),
        row(&["strictatime", "noatime"], &["noatime"], &[]),
        row(&["strictatime", "nostrictatime"], &["relatime"], &["noatime"]),
        row(&["strictatime", "relatime"], &["relatime"], &["noatime"]),
        row(&["relatime", "strictatime"], &["rw"], &["relatime", "noatime"]),
        row(&["nosymfollow", "symfollow"], &["rw"], &["nosymfollow"]),
        row(&["symfollow", "nosymfollow"], &["nosymfollow"], &[]),
        row(&["rro", "rrw"], &["rw"], &["ro"]),
        row(&["rrw", "rro"], &["ro"], &[]),
        row(&["rnosuid", "rsuid"], &["rw"], &["nosuid"]),
        row(&["rsuid", "rnosuid"], &["nosuid"], &[]),
        row(&["rnoexec", "rexec"], &["rw"], &["noexec"]),
        row(&["rnodev", "rdev"], &["rw"], &["nodev"]),
        row(&["rnosymfollow", "rsymfollow"], &["rw"], &["nosymfollow"]),
        row(&["rnoatime", "rstrictatime"], &["rw"], &["noatime", "relatime"]),
        row(&["rstrictatime", "rnoatime"], &["noatime"], &[]),
    ];
    let hako = Runtime::new();
    each(ROWS, |row| check(&hako, row));
}

/// These words are in a peer's manual but cannot be done for a tree of mounts:
/// either they work or they are refused, but never mean something else.
#[test]
fn recursive_file_system_flags_are_effective_or_refused() {
    const ROWS: &[(&str, &str)] = &[
        ("rsync", "sync"),
        ("rdirsync", "dirsync"),
        ("rmand", "mand"),
        ("rasync", "rw"),
        ("rnomand", "rw"),
    ];
    let hako = Runtime::new();
    each(ROWS, |(option, effect)| {
        let (bundle, pointer) = tmpfs_at_mnt(&hako, &[option]);
        let output = hako.run(&bundle);
        if output.code != Some(0) {
            return output.refuses(&pointer);
        }
        let seen = output.json();
        let mount = mount_at(&seen, "/mnt");
        let listed =
            |word| in_set(&mount["options"], word) || in_set(&mount["super_options"], word);
        assert!(listed(effect) && !listed("nodiratime") && !listed("nosymfollow"), "{mount}");
    });
}

#[test]
fn file_system_data_reaches_the_file_system() {
    let hako = Runtime::new();
    let (bundle, _) = tmpfs_at_mnt(&hako, &["nosuid", "size=1m", "mode=0710", "nr_inodes=77"]);
    let seen = hako.ask(&bundle, "statfs /mnt -- stat /mnt");
    assert_eq!(seen[0]["bytes"], 1 << 20);
    assert_eq!(seen[0]["inodes"], 77);
    assert_eq!(seen[1]["mode"], 0o710);
}

/// Engines rely on it: `--tmpfs /tmp` over an image's 1777 directory.
#[test]
fn a_tmpfs_without_a_mode_takes_that_of_the_directory_it_covers() {
    let hako = Runtime::new();
    let (bundle, _) = tmpfs_at_mnt(&hako, &["size=1m"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1750);
    std::fs::set_permissions(bundle.rootfs("/mnt"), mode).unwrap();
    assert_eq!(hako.ask(&bundle, "stat /mnt")[0]["mode"], 0o1750);
}

/// As the kernel makes one; also when the directory is found again.
#[test]
fn a_tmpfs_on_a_missing_directory_is_for_everybody() {
    let hako = Runtime::new();
    let (bundle, _) = tmpfs_at_mnt(&hako, &["size=1m"]);
    std::fs::remove_dir(bundle.rootfs("/mnt")).unwrap();
    for _ in 0..2 {
        assert_eq!(hako.ask(&bundle, "stat /mnt")[0]["mode"], 0o1777);
    }
}

/// mount(2) would cut them off.
#[test]
fn many_options_are_not_cut() {
    let hako = Runtime::new();
    let mut options = vec!["nr_inodes=0000000077"; 204];
    options.push("size=4096k");
    let (bundle, _) = tmpfs_at_mnt(&hako, &options);
    assert_eq!(hako.ask(&bundle, "statfs /mnt")[0]["bytes"], 4096 << 10);
}

#[test]
fn a_read_only_tmpfs_holds_later_mounts() {
    let hako = Runtime::new();
    let (mut bundle, _) = tmpfs_at_mnt(&hako, &["ro"]);
    bundle.mount(json!({ "destination": "/mnt/below", "type": "tmpfs", "source": "tmpfs" }));
    let seen = hako.ask(&bundle, "write /mnt/file text -- write /mnt/below/file text");
    assert_eq!((&seen[0]["errno"], &seen[1]), (&json!("EROFS"), &json!("ok")));
}

#[test]
fn unknown_options_are_refused() {
    let hako = Runtime::new();
    each([&["no-such-option"][..], &["ro", "bogus=1"], &["size=banana"], &["RO"]], |options| {
        let (bundle, pointer) = tmpfs_at_mnt(&hako, options);
        hako.refuses(&bundle, &pointer);
    });
}

#[test]
fn read_only_refuses_writes() {
    let hako = Runtime::new();
    each(["ro", "rro"], |option| {
        let (bundle, _) = tmpfs_at_mnt(&hako, &[option]);
        assert_eq!(hako.ask(&bundle, "write /mnt/f x")[0], json!({ "errno": "EROFS" }));
    });
    let (bundle, _) = tmpfs_at_mnt(&hako, &["rw"]);
    assert_eq!(hako.ask(&bundle, "write /mnt/f x")[0], "ok", "the control must be writable");
}

#[test]
fn noexec_refuses_programs() {
    let hako = Runtime::new();
    let chain = "copy /bin/inspector /mnt/program -- run /mnt/program exit 7";
    each(["noexec", "rnoexec"], |option| {
        let (bundle, _) = tmpfs_at_mnt(&hako, &[option]);
        assert_eq!(hako.ask(&bundle, chain)[1], json!({ "errno": "EACCES" }));
    });
    let (bundle, _) = tmpfs_at_mnt(&hako, &["exec"]);
    assert_eq!(hako.ask(&bundle, chain)[1]["code"], 7, "the control must run");
}

#[test]
fn nodev_refuses_devices() {
    let hako = Runtime::new();
    let chain = "mknod /mnt/null c 1 3 -- open /mnt/null read";
    each(["nodev", "rnodev"], |option| {
        let (mut bundle, _) = tmpfs_at_mnt(&hako, &[option]);
        bundle.capabilities(&["CAP_MKNOD"]);
        assert_eq!(hako.ask(&bundle, chain), [json!("ok"), json!({ "errno": "EACCES" })]);
    });
    let (mut bundle, _) = tmpfs_at_mnt(&hako, &["dev"]);
    bundle.capabilities(&["CAP_MKNOD"]);
    assert_eq!(hako.ask(&bundle, chain), ["ok", "ok"], "the control must open");
}

#[test]
fn nosuid_disarms_set_user_id_programs() {
    let hako = Runtime::new();
    let effective_id = |option| {
        let (mut bundle, _) = tmpfs_at_mnt(&hako, &[option, "mode=0755"]);
        bundle.capabilities(&["CAP_SETUID", "CAP_SETGID"]).set("/process/noNewPrivileges", false);
        let chain = "copy /bin/inspector /mnt/su -- chmod /mnt/su 4755 -- run-as 1000 /mnt/su";
        hako.ask(&bundle, chain)[2]["stdout"]["uid"]["effective"].clone()
    };
    each(["nosuid", "rnosuid"], |option| assert_eq!(effective_id(option), 1000));
    assert_eq!(effective_id("suid"), 0, "the control must become root");
}

#[test]
fn nosymfollow_refuses_to_follow_links() {
    let hako = Runtime::new();
    let chain = "write /mnt/f x -- symlink f /mnt/link -- read /mnt/link";
    each(["nosymfollow", "rnosymfollow"], |option| {
        let (bundle, _) = tmpfs_at_mnt(&hako, &[option]);
        assert_eq!(hako.ask(&bundle, chain)[2], json!({ "errno": "ELOOP" }));
    });
    let (bundle, _) = tmpfs_at_mnt(&hako, &["symfollow"]);
    assert_eq!(hako.ask(&bundle, chain)[2], "x", "the control must follow");
}

#[test]
fn tmpcopyup_brings_the_shadowed_tree_along() {
    let hako = Runtime::new();
    let (mut bundle, _) = tmpfs_at_mnt(&hako, &["tmpcopyup"]);
    bundle.set("/root/readonly", false);
    bundle.write("/mnt/file", "text");
    bundle.write("/mnt/deep/er/file", "deeper");
    std::os::unix::fs::symlink("file", bundle.rootfs("/mnt/link")).unwrap();
    std::os::unix::fs::chown(bundle.rootfs("/mnt/file"), Some(12), Some(34)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(bundle.rootfs("/mnt/file"), mode).unwrap();
    let chain = "read /mnt/file -- read /mnt/deep/er/file -- stat /mnt/link -- stat /mnt/file \
                 -- report -- write /mnt/deep/er/file changed -- write /mnt/new x";
    bundle.capabilities(&["CAP_DAC_OVERRIDE"]);
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen[0], "text");
    assert_eq!(seen[1], "deeper");
    assert_eq!(seen[2]["target"], "file");
    assert_eq!(seen[3]["mode"], 0o640);
    assert_eq!((&seen[3]["uid"], &seen[3]["gid"]), (&json!(12), &json!(34)));
    assert_eq!(mount_at(&seen[4], "/mnt")["type"], "tmpfs");
    assert_eq!(seen[5..], ["ok", "ok"]);
    let below = std::fs::read_to_string(bundle.rootfs("/mnt/deep/er/file")).unwrap();
    assert_eq!(below, "deeper", "writes must not reach the rootfs");
    assert!(!bundle.rootfs("/mnt/new").exists(), "writes must not reach the rootfs");
}

#[test]
fn tmpcopyup_leaves_the_mode_and_owner_that_the_mount_was_given() {
    let hako = Runtime::new();
    let (bundle, _) = tmpfs_at_mnt(&hako, &["tmpcopyup"]);
    bundle.write("/mnt/file", "text");
    std::os::unix::fs::chown(bundle.rootfs("/mnt"), Some(12), Some(34)).unwrap();
    let seen = hako.ask(&bundle, "stat /mnt");
    assert_eq!((&seen[0]["mode"], &seen[0]["uid"]), (&json!(0o755), &json!(12)));
    let (bundle, _) = tmpfs_at_mnt(&hako, &["tmpcopyup", "mode=0751", "uid=5", "gid=6"]);
    bundle.write("/mnt/file", "text");
    let seen = hako.ask(&bundle, "stat /mnt -- read /mnt/file");
    assert_eq!(seen[0]["mode"], 0o751);
    assert_eq!((&seen[0]["uid"], &seen[0]["gid"]), (&json!(5), &json!(6)));
    assert_eq!(seen[1], "text");
}

#[test]
fn tmpcopyup_into_a_read_only_tmpfs() {
    let hako = Runtime::new();
    let (bundle, _) = tmpfs_at_mnt(&hako, &["tmpcopyup", "ro"]);
    bundle.write("/mnt/file", "text");
    let seen = hako.ask(&bundle, "read /mnt/file -- write /mnt/file x");
    assert_eq!(seen, [json!("text"), json!({ "errno": "EROFS" })]);
}

#[test]
fn the_usual_file_systems_are_what_they_say() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let layer = |name| hako.dir(&format!("layers/{name}")).display().to_string();
    let _ = hako.file("layers/lower/file", "lower");
    bundle.mount(json!({
        "destination": "/overlay", "type": "overlay", "source": "overlay",
        "options": [
            format!("lowerdir={}", layer("lower")),
            format!("upperdir={}", layer("upper")),
            format!("workdir={}", layer("work")),
        ],
    }));
    let rows = [
        ("/proc", "9fa0"),
        ("/dev", "1021994"),
        ("/dev/pts", "1cd1"),
        ("/dev/shm", "1021994"),
        ("/dev/mqueue", "19800202"),
        ("/sys", "62656572"),
        ("/sys/fs/cgroup", "63677270"),
        ("/overlay", "794c7630"),
    ];
    let chain: Vec<String> = rows.iter().map(|(path, _)| format!("statfs {path}")).collect();
    let seen = hako.ask(&bundle, &chain.join(" -- "));
    for ((path, magic), stat) in rows.iter().zip(&seen) {
        assert_eq!(stat["type"], *magic, "{path}");
    }
    let seen = hako.ask(&bundle, "read /overlay/file -- write /overlay/file upper");
    assert_eq!(seen, ["lower", "ok"]);
    assert_eq!(std::fs::read_to_string(hako.scratch().join("layers/upper/file")).unwrap(), "upper");
}

#[test]
fn mounts_are_made_in_the_listed_order() {
    let hako = Runtime::new();
    let tmpfs = |at: &str, size: &str| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": [size] });
    let mut nested = hako.bundle();
    nested.mount(tmpfs("/a", "size=1m"));
    nested.mount(tmpfs("/a/b", "size=2m"));
    nested.mount(tmpfs("/a/b/c", "size=3m"));
    let seen = hako.ask(&nested, "statfs /a -- statfs /a/b -- statfs /a/b/c");
    let sizes: Vec<_> = seen.iter().map(|stat| stat["bytes"].as_u64().unwrap() >> 20).collect();
    assert_eq!(sizes, [1, 2, 3]);

    let mut hidden = hako.bundle();
    hidden.mount(tmpfs("/a/b", "size=2m"));
    hidden.mount(tmpfs("/a", "size=1m"));
    let seen = hako.ask(&hidden, "ls /a -- report");
    assert_eq!(seen[0], json!([]), "the later mount hides the earlier one");
    assert!(find_mount(&seen[1], "/a").is_some());
}
