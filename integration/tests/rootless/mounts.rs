//! Mounts in a user namespace: what the host has locked stays locked, and is named
//! where the configuration wants it otherwise.

use hako_integration::{Output, Runtime, Value, each, in_set, json, mount_at};
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
use std::path::PathBuf;

/// A directory of the user's, mounted in this way on the host.
fn mounted(hako: &Runtime, name: &str, flags: MountFlags) -> PathBuf {
    let path = hako.tmpfs(name);
    std::fs::write(path.join("file"), "text").unwrap();
    hako.user().own(&path);
    mount_remount(&path, MountFlags::BIND | flags, c"").unwrap();
    path
}

#[track_caller]
fn says(output: &Output, words: &[&str]) {
    output.fails("hako: ");
    each(words.to_vec(), |word| assert!(output.stderr.contains(word), "{word}: {output}"));
}

#[test]
fn locked_flags_are_kept() {
    let all = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for is_root in [false, true] {
        let hako = Runtime::as_user();
        let source = mounted(&hako, "locked", all | MountFlags::NOATIME);
        let hako = if is_root { hako.in_namespaces(&["--mount"]) } else { hako };
        let mut bundle = hako.bundle();
        for (place, options) in [
            ("/plain", &["bind"][..]),
            ("/tree", &["rbind", "ro"]),
            ("/more", &["bind", "nosymfollow"]),
        ] {
            bundle.bind(&source, place, options);
        }
        let seen = hako.ask(&bundle, "report -- read /plain/file -- open /plain/file write");
        for place in ["/plain", "/tree", "/more"] {
            let options = &mount_at(&seen[0], place)["options"];
            for option in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
                assert!(in_set(options, option), "{place} {option}: {options}");
            }
        }
        assert_eq!(seen[1..], [json!("text"), json!({ "errno": "EROFS" })]);
    }
}

#[test]
fn flags_that_contradict_locked_ones_are_named() {
    let hako = Runtime::as_user();
    let both = MountFlags::RDONLY | MountFlags::NOSUID;
    let source = mounted(&hako, "locked", both);
    each(
        [("rw", "rw: it is mounted ro,"), ("suid", "suid: it is mounted nosuid,")],
        |(option, words)| {
            let mut bundle = hako.bundle();
            let pointer = bundle.bind(&source, "/data", &["bind", option]);
            let output = hako.refuses(&bundle, &pointer);
            let sentence = format!("cannot make {} {words}", source.display());
            says(&output, &[&sentence, &format!("hint: leave {option} out of the options")]);
        },
    );
    let mut bundle = hako.bundle();
    bundle.bind(&source, "/data", &["bind", "rw", "suid", "dev"]);
    says(&hako.run(&bundle), &["rw,suid: it is mounted ro,nosuid,"]);
    // Root has locked nothing for itself.
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.bind(&source, "/data", &["bind", "rw", "suid"]);
    let seen = hako.inspect(&bundle);
    assert!(in_set(&mount_at(&seen, "/data")["options"], "rw"));
}

/// What covers a directory of the host stays where it is.
#[test]
fn what_is_mounted_below_stays_there() {
    let hako = Runtime::as_user();
    let outer = hako.dir("outer");
    let _ = hako.tmpfs("outer/covered");
    let mut bundle = hako.bundle();
    let pointer = bundle.bind(&outer, "/data", &["bind"]);
    let output = hako.refuses(&bundle, &pointer);
    says(
        &output,
        &["may not uncover: ", "outer/covered", "hint: use the option rbind instead of bind"],
    );
    bundle.set(&format!("{pointer}/options"), ["rbind"]);
    let seen = hako.inspect(&bundle);
    assert_eq!(mount_at(&seen, "/data/covered")["type"], "tmpfs");
}

/// A tmpfs belongs to the user namespace that it is made in.
#[test]
fn ownership_of_new_file_systems_can_be_mapped() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    let host = hako.user().first_subordinate() + 999;
    let maps = json!([{ "containerID": 0, "hostID": host, "size": 1 }]);
    bundle.mount(json!({ "destination": "/mapped", "type": "tmpfs", "source": "tmpfs",
        "options": ["idmap"], "uidMappings": maps, "gidMappings": maps }));
    let pointer = bundle.mount(json!({ "destination": "/same", "type": "tmpfs", "source": "tmpfs",
        "options": ["idmap"] }));
    let owner = |seen: &Value| (seen["uid"].as_u64().unwrap(), seen["gid"].as_u64().unwrap());
    let seen = hako.ask(&bundle, "stat /mapped -- stat /same");
    assert_eq!((owner(&seen[0]), owner(&seen[1])), ((1000, 1000), (0, 0)));
    // An id that is none of the container's.
    let maps = json!([{ "containerID": 0, "hostID": 7, "size": 1 }]);
    bundle.set(&format!("{pointer}/uidMappings"), maps.clone());
    bundle.set(&format!("{pointer}/gidMappings"), maps);
    let output = hako.refuses(&bundle, &format!("{pointer}/uidMappings"));
    says(&output, &["the container has not got all of these ids of the host"]);

    let hako = Runtime::as_namespace_root(&["--mount"]);
    let mut bundle = hako.bundle();
    let maps = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    bundle.mount(json!({ "destination": "/mapped", "type": "tmpfs", "source": "tmpfs",
        "options": ["idmap"], "uidMappings": maps, "gidMappings": maps }));
    assert_eq!(owner(&hako.ask(&bundle, "stat /mapped")[0]), (1000, 1000));
}

#[test]
fn ownership_of_what_the_host_has_cannot_be_mapped() {
    let hako = Runtime::as_user();
    let source = hako.dir("home/shared");
    hako.user().own(&source);
    let mut bundle = hako.bundle();
    let pointer = bundle.bind(&source, "/data", &["bind", "idmap"]);
    let output = hako.refuses(&bundle, &pointer);
    says(
        &output,
        &[
            "cannot map ownership on this file system",
            "in a user namespace only new ones can be mapped",
        ],
    );
}

/// Covers directories of every mount of a kind, as an engine does in a container that
/// it does not trust; until it is dropped.
struct Covered(Vec<PathBuf>);

impl Covered {
    fn new(hako: &Runtime, filesystem: &str, names: &[&str]) -> Self {
        let cover = hako.dir("cover");
        let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mounts = table.lines().filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let is_wanted = right.starts_with(&format!("{filesystem} "));
            is_wanted.then(|| PathBuf::from(left.split(' ').nth(4).unwrap()))
        });
        let places = mounts.flat_map(|mount| names.iter().map(move |name| mount.join(name)));
        let places: Vec<PathBuf> = places.filter(|place| place.is_dir()).collect();
        places.iter().for_each(|place| mount_bind(&cover, place).unwrap());
        assert!(!places.is_empty());
        Self(places)
    }
}

impl Drop for Covered {
    fn drop(&mut self) {
        for place in &self.0 {
            let _ = unmount(place, UnmountFlags::DETACH);
        }
    }
}

/// In a user namespace the kernel makes no file system that would show what a
/// container around hako hides.
/// Such a file system is made by who has privilege over the namespace it shows.
#[test]
fn what_shows_a_foreign_namespace_is_refused_with_the_reason() {
    let hako = Runtime::as_user();
    each(
        [("pid", "proc", "/mounts/0"), ("ipc", "mqueue", "/mounts/4")],
        |(kind, name, pointer)| {
            let mut bundle = hako.bundle();
            bundle.without_namespace(kind);
            let output = hako.refuses(&bundle, pointer);
            let reason = format!("cannot mount {name}, since it shows the {kind} namespace, which");
            let remedy = format!("hint: add {{\"type\": \"{kind}\"}} to linux.namespaces");
            says(&output, &[&reason, &remedy]);
        },
    );
    let mut bundle = hako.bundle();
    let pointer =
        bundle.mount(json!({ "destination": "/disk", "type": "ext4", "source": "/dev/x" }));
    let output = hako.refuses(&bundle, &pointer);
    says(&output, &["cannot mount ext4", "hint: in a user namespace the kernel makes no ext4: "]);
    // As the hint has it.
    let mut bundle = hako.bundle();
    bundle.without_namespace("pid");
    bundle.set("/mounts/0/type", "bind").set("/mounts/0/source", "/proc");
    bundle.set("/mounts/0/options", ["rbind"]);
    let seen = hako.inspect(&bundle);
    assert_ne!(seen["pid"], 1);
}

/// The engine's network, joined by a container with a user namespace of its own.
#[test]
fn sysfs_of_a_joined_network_is_refused_with_the_reason() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let network = hako.holder().below(&["--net"]);
    let mut bundle = hako.bundle();
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1000 }]);
    bundle.namespace("user", None).namespace("network", Some(&network.path("net")));
    bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    let output = hako.refuses(&bundle, "/mounts/5");
    says(&output, &["cannot mount sysfs, since it shows the network namespace, which belongs to"]);
    // As the hint has it.
    bundle.set("/mounts/5/type", "bind").set("/mounts/5/source", "/sys");
    bundle.set("/mounts/5/options", ["rbind", "ro"]);
    let _ = hako.inspect(&bundle);
}

#[test]
fn owners_that_are_not_mapped_are_named() {
    let hako = Runtime::as_user();
    each([(1, "uid", "user"), (2, "gid", "group")], |(index, option, kind)| {
        let with_owner = |hako: &Runtime| {
            let mut bundle = hako.bundle();
            bundle.set("/mounts/2/options/5", "mode=0620");
            bundle.set(&format!("/mounts/{index}/options/0"), format!("{option}=70000"));
            bundle
        };
        let output = hako.refuses(&with_owner(&hako), &format!("/mounts/{index}/options"));
        let reason = format!("{kind} id 70000 is not mapped in the user namespace");
        let remedy = format!("hint: choose another id, leave it out, or extend linux.{option}Map");
        says(&output, &[&reason, &remedy]);

        // One that somebody else has made cannot be extended.
        let engine = Runtime::as_namespace_root(&["--mount"]);
        let output = engine.refuses(&with_owner(&engine), &format!("/mounts/{index}"));
        let remedy = format!("hint: /proc/self/{option}_map has 0, 1 to 655");
        says(&output, &[&format!("since {reason}"), &remedy]);
    });
}

#[test]
fn owners_of_fifos_that_are_not_mapped_are_named() {
    let fifo = |hako: &Runtime, field: &str| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/devices/-", json!({ "path": "/dev/mine", "type": "p", field: 70_000 }));
        bundle
    };
    each([("uid", "user"), ("gid", "group")], |(field, kind)| {
        let hako = Runtime::as_user();
        let output = hako.refuses(&fifo(&hako, field), &format!("/linux/devices/0/{field}"));
        let reason = format!("{kind} id 70000 is not mapped in the user namespace");
        says(&output, &[&reason, &format!("or extend linux.{field}Mappings")]);
        let hako = Runtime::as_namespace_root(&["--mount"]);
        let output = hako.refuses(&fifo(&hako, field), "/linux/devices/0");
        let remedy = format!("hint: /proc/self/{field}_map has 0, 1 to 655");
        says(&output, &["cannot give device /dev/mine", &format!("since {reason}"), &remedy]);
    });
}

/// Access times are kept as the mount came, whatever is asked for.
#[test]
fn another_policy_of_access_times_is_named() {
    let hako = Runtime::as_user();
    let relatime = mounted(&hako, "relatime", MountFlags::RELATIME);
    let noatime = mounted(&hako, "noatime", MountFlags::NOATIME | MountFlags::NODIRATIME);
    let rows = [
        (&relatime, "noatime", "noatime: it is mounted relatime,"),
        (&relatime, "strictatime", "strictatime: it is mounted relatime,"),
        (&relatime, "nodiratime", "nodiratime: it is mounted diratime,"),
        (&relatime, "rnoatime", "noatime: it is mounted relatime,"),
        (&noatime, "relatime", "relatime: it is mounted noatime,"),
        (&noatime, "diratime", "diratime: it is mounted nodiratime,"),
    ];
    each(rows, |(source, option, words)| {
        let mut bundle = hako.bundle();
        let pointer = bundle.bind(source, "/data", &["bind", option]);
        let output = hako.refuses(&bundle, &pointer);
        let sentence = format!("cannot make {} {words}", source.display());
        says(&output, &[&sentence, &format!("hint: leave {option} out of the options")]);
        bundle.set(&format!("{pointer}/options"), ["bind"]);
        let again = json!({ "destination": "/data", "options": ["remount", "bind", *option] });
        let pointer = bundle.mount(again);
        if !option.starts_with("rno") {
            let output = hako.refuses(&bundle, &pointer);
            says(&output, &[&format!("cannot make /data {words}")]);
        }
    });
    // Only of a tree can it be what is mounted below.
    let outer = hako.dir("outer");
    let _ = mounted(&hako, "outer/below", MountFlags::RDONLY);
    let mut bundle = hako.bundle();
    let pointer = bundle.bind(&outer, "/data", &["rbind", "rrw"]);
    let output = hako.refuses(&bundle, &pointer);
    says(&output, &["hint: what is mounted below it came with attributes that are locked"]);
}

#[test]
fn a_covered_sys_is_recognised_and_named() {
    let hako = Runtime::as_user();
    let covered = Covered::new(&hako, "sysfs", &["kernel"]);
    let bundle = hako.bundle();
    let output = hako.refuses(&bundle, "/mounts/5");
    says(&output, &["cannot mount sysfs, since", "parts of /sys are covered: ", "/sys/kernel"]);
    drop(covered);
    let _ = hako.inspect(&bundle);
}

#[test]
fn a_covered_proc_is_recognised_and_named() {
    let hako = Runtime::as_user();
    let covered = Covered::new(&hako, "proc", &["acpi", "scsi", "irq", "bus"]);
    let bundle = hako.bundle();
    let output = hako.refuses(&bundle, "/mounts/0");
    let sentence = "cannot mount proc, since in a user namespace the kernel makes none where parts of /proc \
                    are covered: /proc/";
    let hint = "hint: the container that hako is in needs all of it: docker run --security-opt \
                systempaths=unconfined, podman run --security-opt unmask=ALL";
    says(&output, &[sentence, hint]);
    // Whoever is root of the machine may.
    let root = Runtime::new();
    let _ = root.inspect(&root.bundle());
    drop(covered);
    let _ = hako.inspect(&bundle);
}
