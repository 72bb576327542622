//! The user's systemd, for whoever is root only in a user namespace of their
//! own, as rootless engines are.

use hako_integration::{Command, Runtime, json};
use std::fs;
use std::process::Command as Program;

const UID: &str = "1000";

/// Runs the command as the user, as root of a new user namespace.
fn as_user(command: Command) -> Command {
    command.before(&format!(
        "export XDG_RUNTIME_DIR=/run/user/{UID}; exec setpriv --reuid {UID} --regid {UID} --clear-groups \
         unshare --user --map-root-user --mount \"$0\" \"$@\""
    ))
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Program::new("timeout").arg("20").arg(program).args(args).output().expect(program);
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

fn property(unit: &str, name: &str) -> String {
    let variable = format!("XDG_RUNTIME_DIR=/run/user/{UID}");
    let mut args = vec!["--reuid", UID, "--regid", UID, "--clear-groups", "env", &variable];
    args.extend(["systemctl", "--user", "show", unit, "--value", "--property", name]);
    run("setpriv", &args)
}

#[test]
fn a_users_container_is_a_scope_of_the_users_systemd() {
    run("systemctl", &["start", &format!("user@{UID}.service")]);
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    let unit = format!("pod-{}.scope", bundle.id());
    bundle.set("/linux/cgroupsPath", format!("user.slice:pod:{}", bundle.id()));
    bundle.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    bundle.namespace("user", None);
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    }
    bundle.set("/linux/resources/memory/limit", 64 << 20);
    bundle.inspector("sleep 1000");
    bundle.save();
    let _ = hako.dir("state");
    run("chown", &["-R", UID, hako.scratch().to_str().expect("a path")]);

    let container = hako.make(as_user(hako.on_bundle(&["create"], &bundle)), &bundle);
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let place = format!("/user.slice/user-{UID}.slice/user@{UID}.service/user.slice/{unit}");
    assert_eq!(cgroup, format!("0::{place}\n"));
    assert_eq!(property(&unit, "ActiveState"), "active");
    assert_eq!(property(&unit, "MemoryMax"), (64 << 20).to_string());
    let limit = fs::read_to_string(format!("/sys/fs/cgroup{place}/memory.max")).unwrap();
    assert_eq!(limit.trim(), (64 << 20).to_string());

    let _ = as_user(container.command(&["delete", "--force"])).output().ok();
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(!fs::exists(format!("/sys/fs/cgroup{place}")).unwrap());
}
