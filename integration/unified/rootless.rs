//! An ordinary user with a session of systemd's: their containers have limits.

use hako_integration::{Container, Exit, Runtime, Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

fn world() -> Runtime {
    let started = Command::new("timeout").args(["60", "systemctl", "start", "user@1000"]).status();
    assert!(started.expect("systemctl").success());
    Runtime::as_session_user()
}

/// Where a process is, in the hierarchy.
fn cgroup(pid: u32) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    PathBuf::from(format!("/sys/fs/cgroup{}", text.trim().strip_prefix("0::").unwrap()))
}

fn limit(container: &Container, file: &str) -> String {
    let path = cgroup(container.pid()).join(file);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .into()
}

fn property(hako: &Runtime, unit: &str, name: &str) -> String {
    let variable = "XDG_RUNTIME_DIR=/run/user/1000";
    let uid = hako.user().uid().to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "env", variable]);
    command.args(["systemctl", "--user", "show", unit, "--value", "--property", name]);
    String::from_utf8(command.output().unwrap().stdout).unwrap().trim().to_owned()
}

#[test]
fn the_users_systemd_makes_a_scope_without_being_asked_for() {
    let hako = world();
    let mut bundle = hako.bundle();
    bundle.set(
        "/linux/resources",
        json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 20 } }),
    );
    let container = hako.serve(&bundle);
    let place = cgroup(container.pid());
    let unit = place.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(
        place.starts_with("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service"),
        "{place:?}"
    );
    assert_eq!(
        (limit(&container, "memory.max"), limit(&container, "pids.max")),
        ("67108864".into(), "20".into())
    );
    assert_eq!(property(&hako, &unit, "ActiveState"), "active");
    assert_eq!(property(&hako, &unit, "Delegate"), "yes");
    assert_eq!(property(&hako, &unit, "MemoryMax"), "67108864");
    // What takes a cgroup works.
    let _ = container.command(&["pause"]).output().ok();
    assert_eq!(container.status(), "paused");
    let _ = container.command(&["resume"]).output().ok();
    let _ = container.command(&["update", "--memory", "32M", "--pids-limit", "30"]).output().ok();
    assert_eq!(
        (limit(&container, "memory.max"), limit(&container, "pids.max")),
        ("33554432".into(), "30".into())
    );
    assert_eq!(property(&hako, &unit, "MemoryMax"), "33554432");
    let stats = container.command(&["events", "--stats"]).output().ok().json();
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{stats}");
    let seen = &container.exec_and_ask(&[], "report")[0];
    assert_eq!(seen["cgroup"], container.ask("report")[0]["cgroup"]);
    fs::create_dir(place.join("below")).unwrap();
    let seen = &container.exec_and_ask(&["--cgroup", "/below"], "report")[0];
    assert_eq!(seen["cgroup"], "0::/below");
    let pids = container.command(&["ps", "--format", "json"]).output().ok().json();
    assert_eq!(pids, json!([container.pid()]));
    let _ = container.command(&["delete", "--force"]).output().ok();
    assert_eq!(property(&hako, &unit, "LoadState"), "not-found");
    assert!(!place.exists());
}

#[test]
fn a_scope_by_name() {
    let hako = world();
    let mut bundle = hako.bundle();
    bundle.set("/linux/cgroupsPath", format!("user.slice:box:{}", bundle.id()));
    bundle.set("/linux/resources/pids/limit", 33).inspector("sleep 1000");
    let create = hako.on_bundle(&["create"], &bundle).arg("--systemd-cgroup");
    let container = hako.make(create, &bundle);
    let place = cgroup(container.pid());
    let unit = format!("box-{}.scope", bundle.id());
    assert!(place.ends_with(format!("user@1000.service/user.slice/{unit}")), "{place:?}");
    assert_eq!(limit(&container, "pids.max"), "33");
    container.start().kill("KILL");
    assert_eq!(container.wait(), Exit::Signal(9));
    container.delete();
    assert_eq!(property(&hako, &unit, "LoadState"), "not-found");
}

/// A limit that is reached is one, and its end is explained.
#[test]
fn a_limit_holds() {
    let hako = world();
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/memory", json!({ "limit": 32 << 20, "swap": 32 << 20 }));
    bundle.inspector("alloc 128");
    let output = hako.run(&bundle);
    assert_eq!(output.code, Some(137), "{output}");
}

/// A directory that is delegated with its controllers, through cgroupfs.
#[test]
fn limits_in_a_delegated_directory() {
    let hako = Runtime::as_user().with_delegated_cgroup();
    let mut bundle = hako.bundle();
    bundle.set(
        "/linux/resources",
        json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 20 } }),
    );
    let container = hako.serve(&bundle);
    let own = PathBuf::from("/sys/fs/cgroup").join(hako.cgroup()).join(bundle.id());
    assert_eq!(cgroup(container.pid()), own);
    assert_eq!(
        (limit(&container, "memory.max"), limit(&container, "pids.max")),
        ("67108864".into(), "20".into())
    );
    let _ = container.command(&["update", "--pids-limit", "30"]).output().ok();
    assert_eq!(limit(&container, "pids.max"), "30");
    let stats = container.command(&["events", "--stats"]).output().ok().json();
    assert_eq!(stats["data"]["pids"]["limit"], 30);
    let seen: Vec<Value> = container.exec_and_ask(&[], "report");
    assert_eq!(seen[0]["cgroup"], container.ask("report")[0]["cgroup"]);
}

/// What the manager of the user has not got, nobody can hand on.
#[test]
fn a_controller_that_is_not_delegated_is_named() {
    let hako = world();
    let mut bundle = hako.bundle();
    let controllers =
        "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/cgroup.controllers";
    let controllers = fs::read_to_string(controllers).unwrap();
    let missing = ["cpu", "io", "memory", "pids"].into_iter();
    let missing: Vec<_> =
        missing.filter(|name| !controllers.split_whitespace().any(|one| one == *name)).collect();
    assert!(missing.contains(&"io"), "all is delegated: {controllers}");
    bundle.set("/linux/resources/blockIO/weight", 500);
    let output = hako.refuses(&bundle, "/linux/resources/blockIO");
    for words in ["io controller is not delegated", "Delegate=", "user@.service.d/delegate.conf"] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
}

const SCOPE: [&str; 5] = ["systemd-run", "--user", "--scope", "--quiet", "--collect"];

/// In a terminal of a desktop, everything is in cgroups of the user's systemd: these
/// are not to be meddled with, though the user may write to them.
#[test]
fn nothing_is_made_where_systemd_manages() {
    let hako = world().launched_by(&SCOPE);
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/pids/limit", 20).inspector("sleep 1000");
    let container = hako.create(&bundle);
    let place = cgroup(container.pid());
    assert!(place.to_str().unwrap().ends_with(&format!("hako-{}.scope", bundle.id())), "{place:?}");
    assert_eq!(limit(&container, "pids.max"), "20");
}

/// A unit that is delegated, and the shell in a cgroup below it.
#[test]
fn a_delegated_unit_has_the_containers() {
    let enter = "d=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $d/shell && \
                 echo 0 >$d/shell/cgroup.procs && exec \"$0\" \"$@\"";
    let delegated = ["-p", "Delegate=yes", "--expand-environment=no", "sh", "-c", enter];
    let words: Vec<&str> = SCOPE.into_iter().chain(delegated).collect();
    let hako = world().launched_by(&words);
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/pids/limit", 20).inspector("sleep 1000");
    let container = hako.create(&bundle);
    let place = cgroup(container.pid());
    assert!(place.ends_with(bundle.id()), "{place:?}");
    assert!(place.parent().unwrap().to_str().unwrap().ends_with(".scope"), "{place:?}");
    assert_eq!(limit(&container, "pids.max"), "20");
    let _ = container.command(&["delete", "--force"]).output().ok();
    assert!(!place.exists());
}

/// Rootless engines: root of their own namespace, whose systemd is the user's.
#[test]
fn an_engines_container_is_a_scope_of_the_users_systemd() {
    let hako = world().in_namespaces(&["--mount"]);
    let network = hako.holder().below(&["--net"]);
    let mut bundle = hako.bundle();
    bundle.namespace("network", Some(&network.path("net"))).inspector("serve");
    bundle.set("/linux/cgroupsPath", format!("user.slice:engine:{}", bundle.id()));
    bundle.set(
        "/linux/resources",
        json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 20 } }),
    );
    let container =
        hako.make(hako.on_bundle(&["create"], &bundle).arg("--systemd-cgroup"), &bundle);
    container.start();
    let place = cgroup(container.pid());
    assert!(place.ends_with(format!("engine-{}.scope", bundle.id())), "{place:?}");
    assert_eq!(limit(&container, "memory.max"), "67108864");
    // From outside of what is delegated, as all of the engine may be.
    let seen = &container.exec_and_ask(&["--user", "5:6"], "report")[0];
    assert_eq!((&seen["uid"]["real"], &seen["cgroup"]), (&json!(5), &json!("0::/")));
    let _ = container.command(&["pause"]).output().ok();
    assert_eq!(container.status(), "paused");
    let _ = container.command(&["resume"]).output().ok();
    let _ = container.command(&["update", "--pids-limit", "30"]).output().ok();
    assert_eq!(limit(&container, "pids.max"), "30");
    let _ = container.command(&["delete", "--force"]).output().ok();
    assert!(!place.exists());
}
