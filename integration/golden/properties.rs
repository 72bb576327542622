//! Properties of compile, on generated configurations.
//!
//! The generator starts from a small valid document and makes a few changes to
//! it, each from a table, so that most of what it makes compiles and a failing
//! case shrinks to few changes. A second one damages documents at random.
//! Runs repeat exactly; `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=…` looks further.

mod order;

use hako::cgroups::Manager;
use hako::config::{self, Config};
use hako::error::Error;
use hako::host::Host;
use hako::plan::{self, Options, Plan};
use hako::rootfs::mount_options;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value, json};
use std::fmt;

const KINDS: &[&str] = &["user", "pid", "network", "ipc", "uts", "mount", "cgroup", "time"];

/// Where, what, and which kind of namespace that takes.
type Change = (&'static str, &'static str, &'static [&'static str]);

/// Settings that compile, given the namespaces they need.
const CHANGES: &[Change] = &[
    ("/hostname", r#""web""#, &["uts"]),
    ("/domainname", r#""example.org""#, &["uts"]),
    ("/root/readonly", "true", &["mount"]),
    ("/annotations", r#"{"a": "1", "b": "2", "c": "3", "d": "4"}"#, &[]),
    ("/annotations", r#"{"org.hako.overlay": ""}"#, &["mount"]),
    ("/annotations", r#"{"org.hako.overlay": "d", "org.hako.overlay.lower": "a:b"}"#, &["mount"]),
    ("/annotations", r#"{"org.systemd.property.CollectMode": "'inactive'"}"#, &[]),
    ("/annotations", r#"{"run.oci.keep_original_groups": "1"}"#, &[]),
    ("/process/terminal", "true", &[]),
    ("/process/consoleSize", r#"{"width": 80, "height": 25}"#, &[]),
    ("/process/cwd", r#""/srv/../data""#, &[]),
    ("/process/env", r#"["A=b", "C="]"#, &[]),
    ("/process/user", r#"{"uid": 1000, "gid": 1000, "umask": 63, "additionalGids": [1, 2]}"#, &[]),
    ("/process/noNewPrivileges", "true", &[]),
    ("/process/oomScoreAdj", "-1000", &[]),
    ("/process/rlimits", r#"[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]"#, &[]),
    (
        "/process/rlimits",
        r#"[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}, {"type": "RLIMIT_AS", "soft": 9, "hard": 9}]"#,
        &[],
    ),
    (
        "/process/capabilities",
        r#"{"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}"#,
        &[],
    ),
    ("/process/capabilities", r#"{"ambient": ["CAP_SYS_ADMIN"], "bounding": ["CAP_NEW"]}"#, &[]),
    ("/process/scheduler", r#"{"policy": "SCHED_BATCH", "nice": 5}"#, &[]),
    ("/process/scheduler", r#"{"policy": "SCHED_RR", "priority": 5}"#, &[]),
    ("/process/ioPriority", r#"{"class": "IOPRIO_CLASS_RT", "priority": 1}"#, &[]),
    ("/process/execCPUAffinity", r#"{"initial": "0", "final": "0-3"}"#, &[]),
    ("/hooks", r#"{"prestart": [{"path": "/bin/a"}], "poststop": [{"path": "/bin/b"}]}"#, &[]),
    ("/hooks", r#"{"createRuntime": [{"path": "/bin/a"}, {"path": "/bin/b", "timeout": 1}]}"#, &[]),
    ("/hooks", r#"{"createContainer": [{"path": "/bin/a"}]}"#, &[]),
    (
        "/hooks",
        r#"{"startContainer": [{"path": "/bin/a"}], "poststart": [{"path": "/bin/b"}]}"#,
        &[],
    ),
    ("/linux/cgroupsPath", r#""/pod/web""#, &[]),
    ("/linux/cgroupsPath", r#""web""#, &[]),
    ("/linux/cgroupsPath", r#""pods-web.slice:pod:web""#, &[]),
    (
        "/linux/resources",
        r#"{"memory": {"limit": 64, "swap": 65}, "pids": {"limit": 0}, "cpu": {"shares": 2, "cpus": "0"}}"#,
        &[],
    ),
    (
        "/linux/resources",
        r#"{"cpu": {"quota": 5, "burst": 5}, "hugepageLimits": [{"pageSize": "2MB", "limit": 9}],
            "rdma": {"b": {"hcaHandles": 1}, "a": {"hcaObjects": 1}}}"#,
        &[],
    ),
    (
        "/linux/resources",
        r#"{"blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]},
            "unified": {"memory.high": "1", "cgroup.max.depth": "2", "io.max": "8:0 wiops=2"}}"#,
        &[],
    ),
    ("/linux/sysctl", r#"{"net.ipv4.ip_forward": "1", "net.core.somaxconn": "9"}"#, &["network"]),
    ("/linux/sysctl", r#"{"kernel.shmmax": "1", "kernel.sem": "1 2 3 4"}"#, &["ipc"]),
    ("/linux/netDevices", r#"{"a": {}, "b": {"name": "eth0"}, "c": {}, "d": {}}"#, &["network"]),
    ("/linux/timeOffsets", r#"{"boottime": {"secs": 1}, "monotonic": {"secs": -1}}"#, &["time"]),
    ("/linux/rootfsPropagation", r#""shared""#, &["mount"]),
    ("/linux/rootfsPropagation", r#""rslave""#, &["mount"]),
    ("/linux/maskedPaths", r#"["/proc/keys", "/a"]"#, &["mount"]),
    ("/linux/readonlyPaths", r#"["/proc/sys", "/b"]"#, &["mount"]),
    ("/linux/devices", r#"[{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]"#, &[]),
    ("/linux/devices", r#"[{"path": "/dev/pipe", "type": "p"}]"#, &[]),
    ("/linux/memoryPolicy", r#"{"mode": "MPOL_BIND", "nodes": "0-1"}"#, &[]),
    ("/linux/personality", r#"{"domain": "LINUX32"}"#, &[]),
];

/// What is mounted where. Options that fit only some are given here.
const MOUNTS: &[&str] = &[
    r#"{"destination": "/proc", "type": "proc", "source": "proc"}"#,
    r#"{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}"#,
    r#"{"destination": "/dev", "source": "/dev", "options": ["rbind"]}"#,
    r#"{"destination": "/dev/pts", "type": "devpts", "source": "devpts"}"#,
    r#"{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}"#,
    r#"{"destination": "/srv/./data", "source": "data", "options": ["bind"]}"#,
    r#"{"destination": "/mapped", "source": "/m", "options": ["rbind", "idmap=uids=0-1-2;gids=0-1-2"]}"#,
    r#"{"destination": "relative", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}"#,
    r#"{"destination": "/tmp", "source": "tmpfs", "options": ["remount"]}"#,
];

/// What a damaged value becomes.
const JUNK: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "1e999",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    r#""""#,
    r#""/""#,
    r#""..""#,
    r#""/../..""#,
    r#""a\u0000b""#,
    r#""\n""#,
    r#""=""#,
    r#""ä/~""#,
    r#""0-1023""#,
    r#""9-0""#,
    r#""r""#,
    r#""idmap=uids=@5-0-9""#,
    r#""idmap=uids=0-4294967295-4294967295;gids=0-0-0""#,
    r#""bind""#,
    r#""remount""#,
    r#""tmpfs""#,
    r#"{"a/b": "c", "": "d"}"#,
    r#"{"type": "user"}"#,
    r#"{"secs": -9223372036854775808}"#,
    r#"{"containerID": 4294967295, "hostID": 4294967295, "size": 4294967295}"#,
];

/// A configuration that prints as what it is when a case fails.
#[derive(Clone, PartialEq)]
struct Document(Value);

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// Sets a value, making the objects on the way to it.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let keys = pointer.split('/').skip(1);
    *keys.fold(document, |place, key| &mut place[key]) = value;
}

fn mount() -> impl Strategy<Value = Value> {
    let special = ["idmap", "ridmap", "tmpcopyup", "remount"];
    let words = mount_options().into_iter().filter(|word| !special.contains(&word.as_str()));
    let words: Vec<String> = words.chain(["size=1k".into(), "nr_inodes".into()]).collect();
    (select(MOUNTS), prop::collection::vec(select(words), 0..4)).prop_map(|(mount, words)| {
        let mut mount = parse(mount);
        let mut options = mount["options"].as_array().cloned().unwrap_or_default();
        options.extend(words.into_iter().map(Value::from));
        mount["options"] = options.into();
        mount
    })
}

/// Namespaces in any order, each new or joined.
fn namespaces() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    subsequence(KINDS, 0..=KINDS.len())
        .prop_shuffle()
        .prop_flat_map(|kinds| {
            let joined = prop::collection::vec(prop::bool::weighted(0.2), kinds.len());
            (Just(kinds), joined)
        })
        .prop_map(|(kinds, joined)| kinds.into_iter().zip(joined).collect())
}

/// A document that mostly compiles.
fn document() -> impl Strategy<Value = Document> {
    let changes = subsequence(CHANGES, 0..CHANGES.len() / 2).prop_shuffle();
    (namespaces(), changes, prop::collection::vec(mount(), 0..6)).prop_map(
        |(namespaces, changes, mounts)| {
            let has = |kind: &str| namespaces.iter().any(|(other, _)| *other == kind);
            let makes = |kind: &str| namespaces.contains(&(kind, false));
            let mut document = json!({
                "ociVersion": "1.3.0",
                "process": {"cwd": "/", "args": ["/bin/true"], "user": {"uid": 0, "gid": 0}},
                "root": {"path": "rootfs"},
                "linux": {"namespaces": []},
            });
            let list = namespaces.iter().map(|(kind, joined)| match joined {
                false => json!({"type": kind}),
                true => json!({"type": kind, "path": format!("/proc/1/ns/{kind}")}),
            });
            document["linux"]["namespaces"] = list.collect();
            if makes("user") {
                let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
                document["linux"]["uidMappings"] = map.clone();
                document["linux"]["gidMappings"] = map;
            }
            for (pointer, value, needs) in changes {
                // Only a root, and clocks, of its own can be changed.
                let is_own = |kind: &&str| ["mount", "time"].contains(kind);
                if needs.iter().all(|kind| if is_own(kind) { makes(kind) } else { has(kind) }) {
                    set(&mut document, pointer, parse(value));
                }
            }
            if has("mount") {
                document["mounts"] = mounts.into();
            }
            Document(document)
        },
    )
}

/// Replaces the values at random places of a document by junk.
fn damaged() -> impl Strategy<Value = Document> {
    let damage = prop::collection::vec((any::<Index>(), select(JUNK)), 1..4);
    (document(), damage).prop_map(|(Document(mut document), damage)| {
        for (place, junk) in damage {
            let mut places = Vec::new();
            list_places(&document, String::new(), &mut places);
            let pointer = place.get(&places).clone();
            if let Some(value) = document.pointer_mut(&pointer) {
                *value = parse(junk);
            }
        }
        Document(document)
    })
}

/// Pointers to all values in `value`, but not to itself.
fn list_places(value: &Value, pointer: String, places: &mut Vec<String>) {
    let mut visit = |key: &str, value: &Value| {
        let pointer = format!("{pointer}/{}", plan::Compiler::escape(key));
        places.push(pointer.clone());
        list_places(value, pointer, places);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| visit(key, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| visit(&index.to_string(), item));
        }
        _ => {}
    }
}

fn options() -> impl Strategy<Value = Options> {
    any::<[bool; 4]>().prop_map(|[run, no_pivot, no_new_keyring, systemd]| Options {
        id: "generated".into(),
        bundle: "/bundle".into(),
        run,
        no_pivot,
        no_new_keyring,
        cgroup_manager: if systemd { Manager::Systemd } else { Manager::Cgroupfs },
        ..Options::default()
    })
}

fn compile(document: &Document, options: &Options) -> Result<Plan, Error> {
    let Config { spec, faults, .. } = config::parse(document.0.to_string().as_bytes())?;
    let path = document.0.pointer("/linux/cgroupsPath").and_then(Value::as_str);
    let cgroup_manager = match path {
        Some(path) if path.contains(':') => Manager::Systemd,
        Some(_) => Manager::Cgroupfs,
        None => options.cgroup_manager,
    };
    let options = Options { cgroup_manager, ..options.clone() };
    let compiled = plan::compile(&spec, &Host::example(), &options);
    Error::all(faults).map_or(compiled, Err)
}

/// Whether `pointer` is a place in `document`, or one where a value is missing.
fn is_place(document: &Value, pointer: &str) -> bool {
    let parent = pointer.rsplit_once('/').and_then(|(parent, _)| document.pointer(parent));
    let exists = document.pointer(pointer).is_some();
    let is_missing = parent.is_some_and(|parent| parent.is_object() || parent.is_array());
    pointer.starts_with('/') && (exists || is_missing)
}

proptest! {
    #[test]
    fn plans_keep_their_order(document in document(), options in options()) {
        match compile(&document, &options) {
            Ok(plan) => order::check(&plan),
            Err(error) => prop_assert!(false, "{error:#?}"),
        }
    }

    /// Maps in the types have a random order of their own in every parse.
    #[test]
    fn compile_is_a_function(document in damaged(), options in options()) {
        let compiled = [compile(&document, &options), compile(&document, &options)];
        prop_assert_eq!(&compiled[0], &compiled[1]);
        let shown = compiled.map(|plan| plan.map(|plan| (plan.to_string(), json!(plan).to_string())));
        prop_assert_eq!(&shown[0], &shown[1]);
    }

    #[test]
    fn damaged_configurations_compile_or_say_where(
        document in damaged(),
        options in options(),
    ) {
        match compile(&document, &options) {
            Ok(plan) => {
                order::check(&plan);
                let steps = format!("{}{}", json!(plan.child), json!(plan.parent));
                prop_assert!(!steps.contains("\\u0000"), "a NUL byte reaches the kernel\n{plan}");
            }
            Err(error) => {
                for fault in std::iter::once(&error).chain(&error.others) {
                    let pointer = fault.pointer.as_deref().unwrap_or_default();
                    prop_assert!(is_place(&document.0, pointer), "{fault} at {pointer:?}");
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = config::parse(&bytes);
        let _ = hako::state::parse(&bytes);
    }
}
