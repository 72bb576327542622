//! Which unit a container becomes, and that nothing is left of it.

use super::{assert_gone, property, systemctl, unit};
use hako_integration::{Runtime, cgroup_dir, each, json};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn cgroup_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("a process");
    text.trim().trim_start_matches("0::").to_string()
}

#[test]
fn a_container_is_a_scope() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let unit = unit(&bundle);
    let container = hako.serve(&bundle);
    assert_eq!(cgroup_of(container.pid()), format!("/system.slice/{unit}"));
    for (name, value) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("Description", &format!("hako container {}", bundle.id())),
        ("Transient", "yes"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    let state = fs::read_to_string(hako.root().join(bundle.id()).join("state.json")).unwrap();
    let state: hako_integration::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["cgroup"]["driver"], json!({"systemd": {"instance": "system", "name": unit}}));
    container.kill("KILL");
    container.wait();
    container.delete();
    assert_gone(&unit);
    assert!(!cgroup_dir(bundle.cgroup()).exists());
}

#[test]
fn a_foreground_run_leaves_no_unit() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    // Inside, the own cgroup is the root of its namespace.
    let seen = hako.ask(&bundle, "read /proc/self/cgroup");
    assert_eq!(seen[0], "0::/\n");
    assert_gone(&unit(&bundle));
}

#[test]
fn in_a_user_namespace_too() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    let container = hako.serve(&bundle);
    assert_eq!(cgroup_of(container.pid()), format!("/system.slice/{}", unit(&bundle)));
    assert_eq!(container.ask("read /proc/self/cgroup")[0], "0::/\n");
    drop(container);
    assert_gone(&unit(&bundle));
}

#[test]
fn without_a_path_the_unit_has_the_name_of_the_container() {
    let hako = Runtime::with_systemd();
    for path in [None, Some("")] {
        let mut bundle = hako.bundle();
        match path {
            None => bundle.remove("/linux/cgroupsPath"),
            Some(path) => bundle.set("/linux/cgroupsPath", path),
        };
        let unit = format!("hako-{}.scope", bundle.id());
        let command = hako.on_bundle(&["run", "--detach"], &bundle).before("exec >/dev/null");
        bundle.inspector("sleep 1000");
        bundle.save();
        let container = hako.make(command, &bundle);
        assert_eq!(cgroup_of(container.pid()), format!("/system.slice/{unit}"));
        drop(container);
        assert_gone(&unit);
    }
}

#[test]
fn slices_are_inside_of_slices() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/cgroupsPath", format!("hakotest-inner.slice:p:{}", bundle.id()));
    let container = hako.create(&bundle);
    let scope = format!("p-{}.scope", bundle.id());
    let place = format!("/hakotest.slice/hakotest-inner.slice/{scope}");
    assert_eq!(cgroup_of(container.pid()), place);
    drop(container);
    assert_gone(&scope);
    systemctl(&["stop", "hakotest-inner.slice", "hakotest.slice"]);
    assert!(!Path::new("/sys/fs/cgroup/hakotest.slice").exists());
}

/// The kernel gives the slice no room for a cgroup; systemd says so in its own way.
#[test]
fn a_scope_that_systemd_cannot_start_is_told_with_its_result() {
    let hako = Runtime::with_systemd();
    let mut bundle = hako.bundle();
    bundle.set("/linux/cgroupsPath", format!("hakofull.slice:p:{}", bundle.id()));
    systemctl(&["start", "hakofull.slice"]);
    let room = Path::new("/sys/fs/cgroup/hakofull.slice/cgroup.max.descendants");
    fs::write(room, "0").unwrap();
    let output = hako.on_bundle(&["run"], &bundle).output();
    let scope = format!("p-{}.scope", bundle.id());
    output.fails(&format!("systemd cannot start {scope}: job failed, unit resources"));
    assert!(output.stderr.contains(&format!("journalctl -u {scope}")), "{output}");
    assert_gone(&scope);
    assert!(!hako.root().join(bundle.id()).exists());
    systemctl(&["stop", "hakofull.slice"]);
}

#[test]
fn paths_that_name_no_scope_are_refused() {
    let hako = Runtime::with_systemd();
    each(["/a/path", "name", "a.slice:b", "a.slice:b:c.slice", "a:b:c", "a.slice:b:c/d"], |path| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/cgroupsPath", *path);
        hako.on_bundle(&["run"], &bundle).output().refuses("/linux/cgroupsPath");
    });
}

/// A process in a scope that is none of hako's.
struct Foreign(Child, String);

impl Foreign {
    fn scope(unit: &str, options: &[&str]) -> Self {
        let mut command = Command::new("systemd-run");
        command.args(["--quiet", "--scope", "--unit", unit]).args(options);
        let child = command
            .args(["--", "/bin/sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        Self(child.expect("systemd-run"), unit.to_string())
    }

    fn wait_for(&self, state: &str) {
        for _ in 0..1000 {
            if property(&self.1, "ActiveState") == state {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} does not become {state}", self.1);
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        systemctl(&["stop", &self.1]);
        systemctl(&["reset-failed", &self.1]);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_unit_of_somebody_else_is_left_alone() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let unit = unit(&bundle);
    let foreign = Foreign::scope(&unit, &[]);
    foreign.wait_for("active");
    let refused = hako.on_bundle(&["run"], &bundle).output();
    refused.refuses("/linux/cgroupsPath");
    refused.fails("there already");
    let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    assert_eq!(property(&unit, "ActiveState"), "active");
}

/// hako does not see its cgroup, as if it were made at this very moment.
#[test]
fn a_unit_that_only_systemd_knows_is_left_alone() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let unit = unit(&bundle);
    let foreign = Foreign::scope(&unit, &[]);
    foreign.wait_for("active");
    hako.bind(&hako.dir("empty"), Path::new("/sys/fs/cgroup/system.slice"), false);
    let refused = hako.run(&bundle);
    assert_eq!(property(&unit, "ActiveState"), "active");
    refused.refuses("/linux/cgroupsPath");
    refused.fails(&format!("there is a unit {unit} already"));
}

#[test]
fn the_name_of_a_failed_unit_can_be_used_again() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let unit = unit(&bundle);
    let foreign = Foreign::scope(&unit, &["--property", "RuntimeMaxSec=1"]);
    foreign.wait_for("failed");
    let container = hako.create(&bundle);
    assert_eq!(property(&unit, "ActiveState"), "active");
    drop(container);
    assert_gone(&unit);
}

#[test]
fn systemd_stops_a_container_like_any_unit() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    systemctl(&["kill", "--signal", "KILL", &unit(&bundle)]);
    container.wait();
    assert_eq!(container.status(), "stopped");
    let _ = container.command(&["kill", "--all"]).arg("KILL").output().ok();
    container.delete();
    assert_gone(&unit(&bundle));
}

/// Killed at any moment, hako leaves nothing that `delete --force` does not
/// find.
#[test]
fn after_a_killed_runtime_everything_can_be_deleted() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let mut interrupted = 0;
    for delay in 0..15 {
        let create = hako.on_bundle(&["create"], &bundle).spawn();
        std::thread::sleep(Duration::from_millis(3 * delay));
        create.signal(rustix::process::Signal::KILL);
        let output = create.finish();
        interrupted += usize::from(output.signal.is_some());
        let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
        hako.verify_gone(&bundle, &output);
        // A request may have been under way that systemd grants later: a
        // scope without a process, which goes by itself.
        for _ in 0..200 {
            if property(&unit(&bundle), "LoadState") == "not-found" {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_gone(&unit(&bundle));
    }
    assert!(interrupted > 3, "only {interrupted} were interrupted");
}

/// Without state.json, the noted cgroup is enough.
#[test]
fn a_damaged_record_does_not_keep_the_unit() {
    let hako = Runtime::with_systemd();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    fs::write(hako.root().join(bundle.id()).join("state.json"), "{").unwrap();
    let _ = hako.command(&["delete", "--force", bundle.id()]).output().ok();
    container.wait();
    assert_gone(&unit(&bundle));
}

#[test]
fn without_a_manager_the_container_stays_in_its_callers_cgroup() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let own = cgroup_of(std::process::id());
    let command = hako.command(&["--cgroup-manager", "disabled", "create"]);
    bundle.save();
    let command = command.arg("--bundle").arg(bundle.dir()).last(bundle.id());
    let container = hako.make(command, &bundle);
    assert_eq!(cgroup_of(container.pid()), own);
    assert!(!cgroup_dir(bundle.cgroup()).exists());
    drop(container);
    let mut bundle = hako.bundle();
    bundle.set("/linux/resources/pids/limit", 9);
    let command = hako.on_bundle(&["--cgroup-manager=disabled", "run"], &bundle);
    hako.finish(command, &bundle).refuses("/linux/resources/pids/limit");
}

#[test]
fn exec_joins_the_scope() {
    let hako = Runtime::with_systemd();
    let container = hako.serve(&hako.bundle());
    let seen = container.command(&["exec"]).args(["/bin/inspector", "read", "/proc/self/cgroup"]);
    assert_eq!(seen.output().ok().values()[0], "0::/\n");
}
