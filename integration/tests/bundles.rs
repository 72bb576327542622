//! Configurations that engines have written, in ../bundles: each compiles, and each runs over a
//! root file system of ours.

use hako_integration::{Bundle, Runtime, Value, cgroup_dir, each, find_mount, json, mount_at};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
    let entries = fs::read_dir(dir).expect("the bundles").flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() > 70, "there are more bundles than {}", files.len());
    files
}

/// The configuration of an engine, without what hako cannot do yet.
fn load(hako: &Runtime, file: &Path) -> Bundle {
    let mut bundle = hako.bundle();
    let text = fs::read_to_string(file).expect("a bundle");
    bundle.config = serde_json::from_str(&text).expect("a config is JSON");
    let places = ["/linux/mountLabel", "/process/apparmorProfile", "/process/selinuxLabel"];
    for place in places {
        if !bundle.get(place).is_null() {
            bundle.remove(place);
        }
    }
    strip_limits(&mut bundle);
    bundle
}

/// Removes the limits whose controllers this host does not give to cgroup v2. Device rules stay.
fn strip_limits(bundle: &mut Bundle) {
    let present = fs::read_to_string(cgroup_dir("/").join("cgroup.controllers")).unwrap();
    for (field, controller) in
        [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids"), ("blockIO", "io")]
    {
        let pointer = format!("/linux/resources/{field}");
        let is_there = present.split_whitespace().any(|name| name == controller);
        if !is_there && !bundle.get(&pointer).is_null() {
            bundle.remove(&pointer);
        }
    }
}

#[test]
fn every_configuration_of_an_engine_compiles() {
    let hako = Runtime::new();
    each(files(), |file| {
        let bundle = load(&hako, file);
        let plan = hako.on_bundle(&["explain"], &bundle).output().ok();
        for mount in bundle.get("/mounts").as_array().unwrap() {
            let destination = mount["destination"].as_str().unwrap();
            assert!(plan.stdout.contains(destination), "{destination} is not in the plan\n{plan}");
        }
        let complaints = plan.stderr.lines().filter(|line| !line.contains("capabilities"));
        assert_eq!(complaints.count(), 0, "{plan}");
    });
}

#[test]
fn every_configuration_of_an_engine_runs() {
    let hako = Runtime::new();
    each(files(), |file| {
        let bundle = adapt(&hako, load(&hako, file));
        let (chain, checks) = questions(&bundle);
        let answers = hako.ask(&bundle, &chain);
        judge(&bundle, &answers[0]);
        for (check, answer) in checks.iter().zip(&answers[1..]) {
            check.judge(answer);
        }
    });
}

/// Replaces what only exists on the engine's host.
fn adapt(hako: &Runtime, mut bundle: Bundle) -> Bundle {
    let own = hako.bundle();
    let user = bundle.config["linux"]["uidMappings"].as_array().is_some();
    let mut config = std::mem::take(&mut bundle.config);
    bundle = own;
    let cgroup = bundle.get("/linux/cgroupsPath").clone();
    config["root"]["path"] = json!("rootfs");
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = cgroup;
    config.as_object_mut().unwrap().remove("hooks");
    for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
        // What the engine had prepared is made anew.
        namespace.as_object_mut().unwrap().remove("path");
    }
    let names = config["mounts"].as_array_mut().unwrap();
    for (index, mount) in names.iter_mut().enumerate() {
        replace_sources(hako, &format!("{}/{index}", bundle.id()), mount);
    }
    for limit in config["process"]["rlimits"].as_array_mut().into_iter().flatten() {
        keep_within_our_own(limit);
    }
    bundle.config = config;
    if user {
        let first = bundle.get("/linux/uidMappings/0/hostID").as_u64().unwrap();
        bundle.user_namespace(u32::try_from(first).unwrap());
    }
    bundle
}

/// Gives a bind mount or an overlay files of ours instead of the engine's.
fn replace_sources(hako: &Runtime, place: &str, mount: &mut Value) {
    let source = mount["source"].as_str().unwrap_or_default().to_string();
    let destination = mount["destination"].as_str().unwrap().to_string();
    let from_the_machine = ["/proc", "/sys", "/dev"].iter().any(|dir| source.starts_with(dir));
    match mount["type"].as_str() {
        Some("bind") if from_the_machine && Path::new(&source).exists() => {}
        Some("bind") => {
            let plain = ["/etc/", "/run/", "/sbin/"].iter().any(|dir| destination.starts_with(dir));
            let is_file = plain || destination == "/catatonit" || source.starts_with("/dev/net");
            let path = format!("sources/{place}");
            let file = if is_file { path.clone() } else { format!("{path}/mark") };
            let file = hako.file(&file, &destination);
            let made = if is_file { file } else { file.parent().unwrap().to_path_buf() };
            mount["source"] = json!(made);
        }
        Some("overlay") => {
            let dir =
                |name: &str| hako.dir(&format!("sources/{place}/{name}")).display().to_string();
            let _ = hako.file(&format!("sources/{place}/lowerdir/mark"), &destination);
            for option in mount["options"].as_array_mut().unwrap() {
                if let Some((key @ ("lowerdir" | "upperdir" | "workdir"), _)) =
                    option.as_str().unwrap().split_once('=')
                {
                    *option = json!(format!("{key}={}", dir(key)));
                }
            }
        }
        _ => {}
    }
}

/// A limit above our own can be set with a privilege that tests may lack.
fn keep_within_our_own(limit: &mut Value) {
    let resource = match limit["type"].as_str() {
        Some("RLIMIT_NOFILE") => Resource::Nofile,
        Some("RLIMIT_NPROC") => Resource::Nproc,
        _ => return,
    };
    let highest = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    for kind in ["soft", "hard"] {
        limit[kind] = json!(limit[kind].as_u64().unwrap().min(highest));
    }
}

/// Something to be found out about one path.
struct Check {
    about: String,
    expected: Expected,
}

enum Expected {
    Text(String),
    Device(Value, Value),
    /// A file turned into /dev/null, or a directory into an empty one; or nothing at all.
    Masked,
    Refusal,
}

impl Check {
    fn judge(&self, answer: &Value) {
        let about = &self.about;
        match &self.expected {
            Expected::Text(text) => assert_eq!(answer, text, "{about}"),
            Expected::Device(major, minor) => {
                assert_eq!(
                    (&answer["major"], &answer["minor"]),
                    (major, minor),
                    "{about}: {answer}"
                );
            }
            Expected::Masked => {
                let hidden = *answer == json!("") || *answer == json!([]);
                let missing =
                    ["ENOENT", "ENOTDIR", "EISDIR"].iter().any(|errno| answer["errno"] == *errno);
                assert!(hidden || missing, "{about} shows {answer}");
            }
            Expected::Refusal => {
                let refused = ["EROFS", "ENOENT", "EACCES", "EPERM"]
                    .iter()
                    .any(|errno| answer["errno"] == *errno);
                assert!(refused, "{about}: {answer}");
            }
        }
    }
}

/// What to ask inside, and what to expect; the first answer is the full report.
fn questions(bundle: &Bundle) -> (String, Vec<Check>) {
    let mut chain = vec!["report".to_string()];
    let mut checks = Vec::new();
    let mut add = |question: String, expected: Expected| {
        checks.push(Check { about: question.clone(), expected });
        chain.push(question);
    };
    let list = |pointer: &str| -> Vec<Value> {
        bundle.get(pointer).as_array().cloned().unwrap_or_default()
    };
    for mount in list("/mounts") {
        let destination = mount["destination"].as_str().unwrap().to_string();
        let source = Path::new(mount["source"].as_str().unwrap_or_default());
        let ours = source.components().any(|part| part.as_os_str() == "sources");
        let file = if source.is_dir() || mount["type"] == "overlay" { "/mark" } else { "" };
        if ours || mount["type"] == "overlay" {
            add(format!("read {destination}{file}"), Expected::Text(destination));
        }
    }
    for path in list("/linux/maskedPaths") {
        let path = path.as_str().unwrap();
        add(format!("read {path}"), Expected::Masked);
        add(format!("ls {path}"), Expected::Masked);
    }
    for path in list("/linux/readonlyPaths") {
        let path = path.as_str().unwrap();
        let write = if Path::new(path).is_file() {
            format!("open {path} write")
        } else {
            format!("open {path}/new create,write")
        };
        add(write, Expected::Refusal);
    }
    for device in list("/linux/devices") {
        let expected = Expected::Device(device["major"].clone(), device["minor"].clone());
        add(format!("stat {}", device["path"].as_str().unwrap()), expected);
    }
    for (name, value) in bundle.get("/linux/sysctl").as_object().into_iter().flatten() {
        let value = value.as_str().unwrap().replace(' ', "\t");
        add(
            format!("read /proc/sys/{}", name.replace('.', "/")),
            Expected::Text(format!("{value}\n")),
        );
    }
    (chain.join(" -- "), checks)
}

/// Compares what the process is with what it should be.
fn judge(bundle: &Bundle, seen: &Value) {
    let config = &bundle.config;
    let process = &config["process"];
    if let Some(name) = config["hostname"].as_str() {
        assert_eq!(seen["names"]["hostname"], name);
    }
    assert_eq!(seen["uid"]["effective"], process["user"]["uid"]);
    assert_eq!(seen["gid"]["effective"], process["user"]["gid"]);
    assert_eq!(seen["groups"], process["user"].get("additionalGids").cloned().unwrap_or(json!([])));
    assert_eq!(seen["umask"], process["user"].get("umask").cloned().unwrap_or(json!(0o022)));
    assert_eq!(seen["cwd"], process["cwd"]);
    let variables = process["env"].as_array().into_iter().flatten();
    // Such a one is replaced.
    for variable in variables.filter(|variable| *variable != "HOME=") {
        assert!(
            seen["env"].as_array().unwrap().contains(variable),
            "{variable} is missing: {}",
            seen["env"]
        );
    }
    let no_new_privileges = process.get("noNewPrivileges").cloned().unwrap_or(json!(false));
    assert_eq!(seen["attributes"]["no_new_privs"], no_new_privileges);
    for limit in process["rlimits"].as_array().into_iter().flatten() {
        let expected = json!({ "soft": limit["soft"], "hard": limit["hard"] });
        assert_eq!(seen["rlimits"][limit["type"].as_str().unwrap()], expected);
    }
    for mount in config["mounts"].as_array().into_iter().flatten() {
        let destination = mount["destination"].as_str().unwrap();
        let found = mount_at(seen, destination);
        match mount["type"].as_str().unwrap() {
            "bind" => {}
            "cgroup" => assert_eq!(found["type"], "cgroup2"),
            kind => assert_eq!(found["type"], kind, "{destination}"),
        }
        for option in mount["options"].as_array().into_iter().flatten() {
            let flag = option.as_str().unwrap();
            if ["ro", "nosuid", "nodev", "noexec"].contains(&flag) {
                assert!(
                    found["options"].as_array().unwrap().contains(option),
                    "{destination} lacks {flag}"
                );
            }
        }
    }
    let readonly = config["root"]["readonly"] == true;
    let root = find_mount(seen, "/").expect("a root");
    assert_eq!(root["options"].as_array().unwrap().contains(&json!("ro")), readonly, "{root}");
    let namespaces = config["linux"]["namespaces"].as_array().unwrap();
    for (kind, file) in [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("mount", "mnt"),
        ("user", "user"),
        ("cgroup", "cgroup"),
    ] {
        let ours = fs::read_link(format!("/proc/thread-self/ns/{file}")).unwrap();
        let new = namespaces.iter().any(|namespace| namespace["type"] == kind);
        assert_eq!(seen["namespaces"][file] != json!(ours), new, "{kind}");
    }
}
