//! Idmapped mounts: files keep their owners on disk and show others inside.

use hako_integration::{Bundle, Runtime, Value, each, json, mount_at};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Ids 0 to 65535 of the file system become those from `first` on the host.
fn map(first: u32) -> Value {
    json!([{ "containerID": 0, "hostID": first, "size": 65536 }])
}

/// A directory with files of the owners 0, 5:6 and one beyond any map.
fn owned(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    for (name, uid, gid) in [("zero", 0, 0), ("five", 5, 6), ("far", 70_000, 70_000)] {
        fs::write(path.join(name), name).unwrap();
        chown(path.join(name), Some(uid), Some(gid)).unwrap();
    }
}

/// Such a directory on the disk, with another mounted below it.
fn tree(hako: &Runtime) -> PathBuf {
    let source = hako.dir("owned");
    owned(&source);
    owned(&hako.tmpfs("owned/sub"));
    source
}

/// Binds `/mnt` with these options and, when given, mappings of the mount.
fn bound(bundle: &mut Bundle, source: &Path, options: &[&str], mappings: Option<Value>) -> String {
    let pointer = bundle.bind(source, "/mnt", options);
    if let Some(mappings) = mappings {
        bundle.set(&format!("{pointer}/uidMappings"), mappings.clone());
        bundle.set(&format!("{pointer}/gidMappings"), mappings);
    }
    pointer
}

fn owners(hako: &Runtime, bundle: &Bundle, dir: &str) -> [(u64, u64); 3] {
    let chain = format!("stat {dir}/zero -- stat {dir}/five -- stat {dir}/far");
    let seen = hako.ask(bundle, &chain);
    let owner = |stat: &Value| (stat["uid"].as_u64().unwrap(), stat["gid"].as_u64().unwrap());
    [owner(&seen[0]), owner(&seen[1]), owner(&seen[2])]
}

const NOBODY: (u64, u64) = (65534, 65534);
const PLAIN: [(u64, u64); 3] = [(0, 0), (5, 6), (70_000, 70_000)];
const MAPPED: [(u64, u64); 3] = [(100_000, 100_000), (100_005, 100_006), NOBODY];

#[test]
fn mappings_move_the_owners() {
    let hako = Runtime::new();
    let source = tree(&hako);
    // The mappings alone suffice; the option is for older runtimes.
    each(
        [&["bind", "idmap"][..], &["bind"], &["rbind", "ridmap"], &["idmap", "bind"]],
        |options| {
            let mut bundle = hako.bundle();
            bound(&mut bundle, &source, options, Some(map(100_000)));
            assert_eq!(owners(&hako, &bundle, "/mnt"), MAPPED);
        },
    );
    let mut control = hako.bundle();
    bound(&mut control, &source, &["bind"], None);
    assert_eq!(owners(&hako, &control, "/mnt"), PLAIN);
}

#[test]
fn only_ridmap_reaches_submounts() {
    let hako = Runtime::new();
    let source = tree(&hako);
    each([("idmap", PLAIN), ("ridmap", MAPPED)], |(option, below)| {
        let mut bundle = hako.bundle();
        bound(&mut bundle, &source, &["rbind", option], Some(map(100_000)));
        assert_eq!(owners(&hako, &bundle, "/mnt"), MAPPED);
        assert_eq!(owners(&hako, &bundle, "/mnt/sub"), *below);
    });
}

#[test]
fn uid_and_gid_mappings_are_independent_and_may_have_many_ranges() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let mut bundle = hako.bundle();
    let pointer = bundle.bind(&source, "/mnt", &["bind", "idmap"]);
    let uids = json!([
        { "containerID": 0, "hostID": 1000, "size": 1 },
        { "containerID": 5, "hostID": 3000, "size": 1 },
        { "containerID": 70000, "hostID": 9, "size": 1 },
    ]);
    bundle.set(&format!("{pointer}/uidMappings"), uids);
    let gids = json!([{ "containerID": 0, "hostID": 2000, "size": 10 }]);
    bundle.set(&format!("{pointer}/gidMappings"), gids);
    let expected = [(1000, 2000), (3000, 2006), (9, NOBODY.1)];
    assert_eq!(owners(&hako, &bundle, "/mnt"), expected);
}

#[test]
fn new_files_are_mapped_back() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_SETUID", "CAP_SETGID"]);
    bound(&mut bundle, &source, &["bind", "idmap"], Some(map(100_000)));
    let chain =
        "run-as 100007 /bin/inspector write /mnt/made x -- stat /mnt/made -- write /mnt/no x";
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen[0]["stdout"], "ok");
    assert_eq!((&seen[1]["uid"], &seen[1]["gid"]), (&json!(100_007), &json!(100_007)));
    assert_eq!(seen[2], json!({ "errno": "EOVERFLOW" }), "root of the host has no id there");
    let disk = std::os::unix::fs::MetadataExt::uid(&fs::metadata(source.join("made")).unwrap());
    assert_eq!(disk, 7);
}

#[test]
fn without_mappings_those_of_the_user_namespace_are_taken() {
    let hako = Runtime::new();
    let source = tree(&hako);
    each([("idmap", [NOBODY; 3]), ("ridmap", [(0, 0), (5, 6), NOBODY])], |(option, below)| {
        let mut bundle = hako.bundle();
        bundle.user_namespace(100_000);
        bound(&mut bundle, &source, &["rbind", option], None);
        assert_eq!(owners(&hako, &bundle, "/mnt"), [(0, 0), (5, 6), NOBODY]);
        assert_eq!(owners(&hako, &bundle, "/mnt/sub"), *below);
    });
    let mut control = hako.bundle();
    control.user_namespace(100_000);
    bound(&mut control, &source, &["rbind"], None);
    assert_eq!(owners(&hako, &control, "/mnt"), [NOBODY; 3]);
}

#[test]
fn own_mappings_win_over_the_user_namespace() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    let own = json!([{ "containerID": 0, "hostID": 101_000, "size": 10 }]);
    bound(&mut bundle, &source, &["bind", "idmap"], Some(own));
    assert_eq!(owners(&hako, &bundle, "/mnt"), [(1000, 1000), (1005, 1006), NOBODY]);
}

#[test]
fn the_mount_table_shows_the_mapping() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let mut bundle = hako.bundle();
    bound(&mut bundle, &source, &["bind", "idmap", "ro"], Some(map(100_000)));
    let seen = hako.inspect(&bundle);
    let options = &mount_at(&seen, "/mnt")["options"];
    assert!(options.as_array().unwrap().contains(&json!("idmapped")), "{options}");
    assert!(options.as_array().unwrap().contains(&json!("ro")), "{options}");
}

#[test]
fn incomplete_mappings_are_refused() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let rows = [
        ("no mappings and no user namespace", json!({ "options": ["bind", "idmap"] })),
        ("the same, recursively", json!({ "options": ["rbind", "ridmap"] })),
        ("only uids", json!({ "options": ["bind", "idmap"], "uidMappings": map(1000) })),
        ("only gids", json!({ "options": ["bind", "idmap"], "gidMappings": map(1000) })),
        (
            "size zero",
            json!({
                "options": ["bind", "idmap"], "gidMappings": map(1000),
                "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 0 }],
            }),
        ),
        (
            "overlapping ranges",
            json!({
                "options": ["bind", "idmap"], "gidMappings": map(1000),
                "uidMappings": [
                    { "containerID": 0, "hostID": 0, "size": 10 },
                    { "containerID": 5, "hostID": 100, "size": 10 },
                ],
            }),
        ),
    ];
    each(rows, |(_, fields)| {
        let mut bundle = hako.bundle();
        let mut mount = json!({ "destination": "/mnt", "type": "bind", "source": source });
        mount.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let pointer = bundle.mount(mount);
        hako.refuses(&bundle, &pointer);
    });
}

/// A mapping must take effect or be refused, whatever the file system is.
#[test]
fn every_file_system_that_can_is_mapped() {
    let hako = Runtime::new();
    let rows = [
        ("tmpfs", true),
        ("ramfs", false),
        ("hugetlbfs", false),
        ("proc", false),
        ("sysfs", false),
        ("mqueue", false),
        ("overlay", false),
    ];
    each(rows, |(kind, must)| {
        let mut bundle = hako.bundle();
        let mut mount = json!({
            "destination": "/mnt", "type": kind, "source": kind, "options": ["idmap"],
            "uidMappings": map(100_000), "gidMappings": map(100_000),
        });
        if *kind == "overlay" {
            let dir = |name| hako.dir(&format!("layers/{name}")).display().to_string();
            mount["options"] = json!([
                "idmap",
                format!("lowerdir={}", dir("lower")),
                format!("upperdir={}", dir("upper")),
                format!("workdir={}", dir("work")),
            ]);
        }
        let pointer = bundle.mount(mount);
        bundle.inspector("stat /mnt");
        let output = hako.run(&bundle);
        if *must || output.code == Some(0) {
            assert_eq!(output.ok().json()["uid"], 100_000, "the mapping is silently ignored");
        } else {
            output.refuses(&pointer);
        }
    });
}

#[test]
fn a_tmpfs_of_the_user_namespace_is_mapped() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    bundle.mount(json!({
        "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=0777"],
        "uidMappings": [{ "containerID": 0, "hostID": 101_000, "size": 10 }],
        "gidMappings": [{ "containerID": 0, "hostID": 102_000, "size": 10 }],
    }));
    let output = hako.ask(&bundle, "stat /mnt");
    assert_eq!((&output[0]["uid"], &output[0]["gid"]), (&json!(1000), &json!(2000)));
}

/// An extension of a peer: the mapping is part of the option.
#[test]
fn mappings_can_be_given_in_the_option() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let ranges = "idmap=uids=0-1000-1#5-3000-2;gids=0-2000-10";
    let rows = [
        (ranges, [(1000, 2000), (3000, 2006), NOBODY], PLAIN),
        ("idmap=uids=0-100000-65536;gids=0-100000-65536", MAPPED, PLAIN),
        ("ridmap=uids=0-100000-65536;gids=0-100000-65536", MAPPED, MAPPED),
    ];
    each(rows, |(option, top, below)| {
        let mut bundle = hako.bundle();
        bound(&mut bundle, &source, &["rbind", option], None);
        assert_eq!(owners(&hako, &bundle, "/mnt"), *top);
        assert_eq!(owners(&hako, &bundle, "/mnt/sub"), *below);
    });
}

/// With `@` the second number is an id of the container.
#[test]
fn mappings_in_the_option_can_be_relative_to_the_user_namespace() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    bound(&mut bundle, &source, &["bind", "idmap=uids=@0-30-10;gids=@0-40-10"], None);
    assert_eq!(owners(&hako, &bundle, "/mnt"), [(30, 40), (35, 46), NOBODY]);
}

#[test]
fn malformed_mappings_in_the_option_are_refused() {
    let hako = Runtime::new();
    let source = tree(&hako);
    let rows = [
        "idmap=uids=0-1-10",
        "idmap=uids=0-1;gids=0-1-10",
        "idmap=uids=a-b-c;gids=0-1-10",
        "idmap=uids=0-1-10;gids=0-1-10;pids=0-1-10",
        "idmap=uids=0-1-0;gids=0-1-10",
        "idmap=uids=0-4294967295-1;gids=0-1-10",
        "idmap=",
        "idmap=nonsense",
    ];
    each(rows, |option| {
        let mut bundle = hako.bundle();
        let pointer = bound(&mut bundle, &source, &["bind", option], None);
        hako.refuses(&bundle, &pointer);
    });
}
