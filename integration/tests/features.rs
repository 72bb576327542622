//! `features`: every claim is held against what configurations may ask for.

use hako_integration::{Bundle, Runtime, Value, each, json};

fn features(hako: &Runtime) -> Value {
    hako.bare().arg("features").output().ok().json()
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|name| name.as_str().expect("a name")).collect()
}

/// The plan of a bundle, which must have one.
fn explain(hako: &Runtime, bundle: &Bundle) -> String {
    bundle.save();
    hako.on_bundle(&["explain"], bundle).output().ok().stdout
}

#[test]
fn versions_are_those_that_are_accepted() {
    let hako = Runtime::new();
    let features = features(&hako);
    let mut bundle = hako.bundle();
    for version in ["ociVersionMin", "ociVersionMax"] {
        bundle.set("/ociVersion", features[version].clone());
        explain(&hako, &bundle);
    }
    let version = hako.bare().arg("--version").output().ok().stdout;
    let spec = format!("spec: {}", features["ociVersionMax"].as_str().unwrap());
    assert!(version.contains(&spec), "{version}");
}

#[test]
fn every_mount_option_means_something() {
    let hako = Runtime::new();
    let features = features(&hako);
    let options = names(&features["mountOptions"]);
    assert!(options.contains(&"rro") && options.contains(&"ridmap") && options.len() > 60);
    let mut sorted = options.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(options, sorted);
    each(options, |option| {
        let mut bundle = hako.bundle();
        bundle.user_namespace(100_000);
        let source = if option.contains("bind") { "/proc" } else { "none" };
        let bind = ["idmap", "ridmap", "src-nofollow", "copy-symlink"].contains(option);
        let (first, source) = if bind { ("bind", "/proc") } else { ("defaults", source) };
        bundle.mount(json!({
            "destination": "/m", "type": "tmpfs", "source": source, "options": [first, option],
        }));
        explain(&hako, &bundle);
    });
}

#[test]
fn every_hook_namespace_and_memory_policy_is_understood() {
    let hako = Runtime::new();
    let features = features(&hako);
    let hooks = names(&features["hooks"]);
    assert_eq!(hooks.len(), 6);
    let mut bundle = hako.bundle();
    for hook in &hooks {
        bundle.set(&format!("/hooks/{hook}"), json!([{ "path": "/bin/true" }]));
    }
    let plan = explain(&hako, &bundle);
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        assert!(plan.contains(&format!("run {hook} hooks")), "{plan}");
    }

    let linux = &features["linux"];
    let mut bundle = hako.bundle();
    let kinds = names(&linux["namespaces"]);
    assert_eq!(kinds.len(), 8);
    let list: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    bundle.user_namespace(100_000).set("/linux/namespaces", list);
    explain(&hako, &bundle);

    let mut bundle = hako.bundle();
    let flags = linux["memoryPolicy"]["flags"].clone();
    for mode in names(&linux["memoryPolicy"]["modes"]) {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) { "" } else { "0" };
        let policy = json!({ "mode": mode, "nodes": nodes, "flags": flags });
        bundle.set("/linux/memoryPolicy", policy);
        assert!(explain(&hako, &bundle).contains(&format!("memory policy {mode}")));
    }
}

#[test]
fn every_capability_is_known_by_its_name() {
    let hako = Runtime::new();
    let features = features(&hako);
    let all = names(&features["linux"]["capabilities"]);
    assert_eq!((all.len(), all[0], all[40]), (41, "CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"));
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000).set("/process/capabilities/bounding", json!(all));
    let plan = explain(&hako, &bundle);
    assert!(!plan.contains("ignoring unknown"), "{plan}");
}

#[test]
fn annotations_that_change_something_are_named() {
    let hako = Runtime::new();
    let features = features(&hako);
    let all = names(&features["potentiallyUnsafeConfigAnnotations"]);
    let (prefixes, annotations): (Vec<&str>, Vec<&str>) =
        all.into_iter().partition(|name| name.ends_with('.'));
    for prefix in prefixes {
        let mut bundle = hako.bundle();
        bundle.set("/annotations", json!({ format!("{prefix}NoSuch"): "1" })).save();
        let output = hako.on_bundle(&["--systemd-cgroup", "explain"], &bundle).output();
        output.fails(&format!("/annotations/{prefix}NoSuch"));
    }
    let strict = "run.oci.seccomp_fail_unknown_syscall";
    let mut bundle = hako.bundle();
    let rules = json!([{ "names": ["nosuchcall"], "action": "SCMP_ACT_ERRNO" }]);
    bundle.set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
    explain(&hako, &bundle);
    bundle.set("/annotations", json!({ strict: "1" })).save();
    hako.on_bundle(&["explain"], &bundle).output().fails("nosuchcall");
    // For checkpoints only: see there.
    let elsewhere = [strict, "org.criu.config"];
    assert!(elsewhere.iter().all(|name| annotations.contains(name)));
    for annotation in annotations.into_iter().filter(|name| !elsewhere.contains(name)) {
        let mut bundle = hako.bundle();
        let plain = explain(&hako, &bundle);
        let value = if annotation.contains("overlay") { "/tmp" } else { "1" };
        let mut annotations = json!({ annotation: value });
        if annotation.ends_with(".lower") {
            annotations["org.hako.overlay"] = json!("");
        }
        bundle.set("/annotations", annotations);
        assert_ne!(explain(&hako, &bundle), plain, "{annotation}");
    }
}

#[test]
fn every_word_of_seccomp_is_understood() {
    let hako = Runtime::new();
    let seccomp = &features(&hako)["linux"]["seccomp"];
    assert_eq!(seccomp["enabled"], true);
    let with = |profile: Value| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/seccomp", profile);
        explain(&hako, &bundle)
    };
    let agent = "/run/agent.sock";
    for action in names(&seccomp["actions"]) {
        let syscalls = json!([{ "names": ["chroot"], "action": action }]);
        with(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls, "listenerPath": agent,
        }));
    }
    for operator in names(&seccomp["operators"]) {
        let args = json!([{ "index": 0, "value": 1, "op": operator }]);
        let syscalls = json!([{ "names": ["chroot"], "action": "SCMP_ACT_ERRNO", "args": args }]);
        with(json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls }));
    }
    let (archs, flags) = (&seccomp["archs"], &seccomp["supportedFlags"]);
    assert!(names(archs).contains(&"SCMP_ARCH_X86_64") && names(flags).len() == 4);
    with(json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "flags": flags }));
}

/// Each of these says that a part of config.json or an option is understood. Where the host has not what it
/// takes, the refusal says so.
#[test]
fn what_is_enabled_is_planned() {
    let hako = Runtime::new();
    let features = features(&hako);
    let rows = [
        ("/cgroup/systemd", "/linux/cgroupsPath", json!("a.slice:hako:b"), "systemd"),
        ("/cgroup/systemdUser", "/linux/cgroupsPath", json!("user.slice:hako:b"), "systemd"),
        ("/cgroup/rdma", "/linux/resources/rdma", json!({ "d": { "hcaHandles": 3 } }), "rdma.max"),
        ("/cgroup/v2", "/linux/resources/unified", json!({ "pids.max": "9" }), "pids.max"),
        ("/apparmor/enabled", "/process/apparmorProfile", json!("unconfined"), "AppArmor"),
        ("/selinux/enabled", "/process/selinuxLabel", json!("a:b:c:s0"), "SELinux"),
        ("/intelRdt/enabled", "/linux/intelRdt", json!({ "closID": "c" }), "resctrl"),
        ("/intelRdt/schemata", "/linux/intelRdt", json!({ "schemata": ["MB:0=50"] }), "resctrl"),
        ("/intelRdt/monitoring", "/linux/intelRdt", json!({ "enableMonitoring": true }), "resctrl"),
        ("/netDevices/enabled", "/linux/netDevices", json!({ "lo": {} }), "lo"),
        ("/mountExtensions/idmap/enabled", "/mounts/-", idmapped(), "idmap"),
        ("/seccomp/enabled", "/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW"), "seccomp"),
    ];
    let claims = switches(&features["linux"], "");
    let mut tested: Vec<_> = rows.iter().map(|row| (row.0.to_owned(), true)).collect();
    tested.push(("/cgroup/v1".to_owned(), false));
    tested.sort();
    assert_eq!(claims, tested, "each has its row");
    each(rows, |(claim, pointer, value, word)| {
        let mut bundle = hako.bundle();
        bundle.user_namespace(100_000).set(pointer, value.clone()).save();
        let options: &[&str] = match claim.starts_with("/cgroup/systemd") {
            true => &["--systemd-cgroup", "explain"],
            false => &["explain"],
        };
        let output = hako.on_bundle(options, &bundle).output();
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(word) && !said.contains("not supported"), "{output}");
    });
}

fn idmapped() -> Value {
    json!({ "destination": "/m", "type": "bind", "source": "/proc", "options": ["bind", "idmap"] })
}

/// Pointers of all that is true or false, sorted.
fn switches(value: &Value, pointer: &str) -> Vec<(String, bool)> {
    let mut found: Vec<_> = match value {
        Value::Bool(enabled) => vec![(pointer.to_owned(), *enabled)],
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| switches(value, &format!("{pointer}/{key}")))
            .collect(),
        _ => Vec::new(),
    };
    found.sort();
    found
}

#[test]
fn versions_in_the_annotations_are_those_of_the_version_command() {
    let hako = Runtime::new();
    let annotations = &features(&hako)["annotations"];
    let version = hako.bare().arg("--version").output().ok().stdout;
    let lines: Vec<&str> = version.lines().filter_map(|line| line.split(' ').next_back()).collect();
    let keys = ["org.hako.version", "org.hako.commit", "io.github.seccomp.libseccomp.version"];
    assert_eq!(keys.map(|key| annotations[key].as_str().unwrap()), [lines[0], lines[1], lines[3]]);
    // And that there is a verb: tests/checkpoint.rs, unified/stock/.
    assert_eq!(annotations["org.hako.checkpoint.enabled"], "true");
    let _ = hako.bare().args(["checkpoint", "--help"]).output().ok();
    assert_eq!(annotations.as_object().unwrap().len(), keys.len() + 1);
}
