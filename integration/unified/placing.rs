//! Where the kernel lets a container be, and where not.

use hako_integration::{Bundle, Runtime, cgroup_dir, is_peer, json, wait_until};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A cgroup with a process that is none of hako's.
struct Busy {
    directory: PathBuf,
    process: Child,
}

impl Busy {
    fn new(path: &str) -> Self {
        let directory = cgroup_dir(path);
        fs::create_dir_all(&directory).unwrap();
        let process = Command::new("sleep").arg("60").spawn().unwrap();
        fs::write(directory.join("cgroup.procs"), process.id().to_string()).unwrap();
        Self { directory, process }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        wait_until("the cgroup can be removed", || fs::remove_dir(&self.directory).is_ok());
    }
}

fn cgroup_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.trim().trim_start_matches("0::").to_string()
}

/// A parent with processes may have threaded controllers all the same. No
/// process can be in a cgroup below it then.
#[test]
fn a_threaded_domain_above_is_explained() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let busy = Busy::new(bundle.cgroup());
    for directory in busy.directory.ancestors().take(2).collect::<Vec<_>>().iter().rev() {
        fs::write(directory.join("cgroup.subtree_control"), "+pids").unwrap();
    }
    let kind = fs::read_to_string(busy.directory.join("cgroup.type")).unwrap();
    assert_eq!(kind, "domain threaded\n");
    let child = format!("{}/child", bundle.cgroup());
    bundle.set("/linux/cgroupsPath", child);
    for verb in ["create", "run"] {
        let output = hako.on_bundle(&[verb], &bundle).output();
        output.fails("");
        if !is_peer() {
            output.refuses("/linux/cgroupsPath");
            let directory = busy.directory.display();
            let reason = format!("{directory} has processes of its own");
            assert!(output.stderr.contains("(EOPNOTSUPP)"), "{output}");
            assert!(output.stderr.contains(&reason), "{output}");
            assert!(!busy.directory.join("child").exists(), "{output}");
        }
    }
}

/// Processes above are no matter where no limit needs a controller.
#[test]
fn a_parent_with_processes_is_no_obstacle_of_itself() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let _busy = Busy::new(bundle.cgroup());
    let child = format!("{}/child", bundle.cgroup());
    bundle.set("/linux/cgroupsPath", child.as_str());
    let container = hako.serve(&bundle);
    assert_eq!(cgroup_of(container.pid()), child);
}

/// As the containers of a pod do that share a user namespace: the kernel does
/// not let a process be cloned into a cgroup that its maker does not see
/// (`nsdelegate`).
#[test]
fn a_cgroup_namespace_is_joined_with_a_user_namespace() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(mounts.contains("nsdelegate"), "{mounts}");
    let hako = Runtime::new();
    let mut first = hako.bundle();
    first.user_namespace(100_000);
    let first = hako.serve(&first);
    let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());

    let mut joined = hako.bundle();
    joined.user_namespace(100_000).namespace("user", Some(&path("user")));
    joined.remove("/linux/uidMappings").remove("/linux/gidMappings");
    let mut new = hako.bundle();
    new.user_namespace(200_000);
    for bundle in [&mut joined, &mut new] {
        bundle.namespace("cgroup", Some(&path("cgroup")));
        bundle.set("/linux/resources", json!({"pids": {"limit": 9}}));
        check_joined(&hako, bundle, &path("cgroup"));
    }
}

fn check_joined(hako: &Runtime, bundle: &Bundle, namespace: &str) {
    let container = hako.serve(bundle);
    assert_eq!(cgroup_of(container.pid()), bundle.cgroup());
    assert_eq!(bundle.cgroup_file("pids.max"), "9");
    let own = fs::read_link(format!("/proc/{}/ns/cgroup", container.pid())).unwrap();
    assert_eq!(own, fs::read_link(namespace).unwrap());
    let seen = container.ask("read /proc/self/cgroup");
    assert!(seen[0].as_str().unwrap().starts_with("0::/../"), "{seen:?}");
    assert_eq!(container.exec_and_ask(&[], "read /proc/self/cgroup"), seen);
}

/// Beside the cgroup that hako is in, which has processes.
#[test]
fn without_a_path_the_cgroup_has_the_name_of_the_container() {
    let hako = Runtime::new();
    let own = cgroup_of(std::process::id());
    let (parent, _) = own.rsplit_once('/').unwrap();
    for path in [None, Some("")] {
        let mut bundle = hako.bundle();
        match path {
            None => bundle.remove("/linux/cgroupsPath"),
            Some(path) => bundle.set("/linux/cgroupsPath", path),
        };
        bundle.set("/linux/resources/pids/limit", 9);
        let container = hako.create(&bundle);
        let place = format!("{parent}/{}", bundle.id());
        assert_eq!(cgroup_of(container.pid()), place);
        let limit = fs::read_to_string(cgroup_dir(&place).join("pids.max")).unwrap();
        assert_eq!(limit.trim(), "9");
        drop(container);
        assert!(!cgroup_dir(&place).exists());
    }
}

const CGROUPS: &str = "/sys/fs/cgroup";

/// Lets the container write to its cgroups, or whatever `options` say.
fn mount_cgroups(bundle: &mut Bundle, options: &[&str]) {
    let mounts = bundle.get("/mounts").as_array().unwrap();
    let index = mounts.iter().position(|mount| mount["destination"] == CGROUPS).unwrap();
    bundle.set(&format!("/mounts/{index}/options"), json!(options));
}

/// As systemd does inside: a cgroup with controllers for its children takes no
/// processes any more.
#[test]
fn exec_follows_an_init_that_has_moved_into_a_child() {
    for hako in [Runtime::new(), Runtime::with_systemd()] {
        let mut bundle = hako.bundle();
        bundle.user_namespace(100_000);
        mount_cgroups(&mut bundle, &["nosuid", "noexec", "nodev"]);
        let container = hako.serve(&bundle);
        let seen = container.ask(
            "mkdir /sys/fs/cgroup/init.scope -- write /sys/fs/cgroup/init.scope/cgroup.procs 0 \
             -- write /sys/fs/cgroup/cgroup.subtree_control +memory -- read /proc/self/cgroup",
        );
        assert_eq!(seen, ["ok", "ok", "ok", "0::/init.scope\n"]);
        assert_eq!(container.exec_and_ask(&[], "read /proc/self/cgroup"), ["0::/init.scope\n"]);
        let _ = container.ask("mkdir /sys/fs/cgroup/web");
        let seen = container.exec_and_ask(&["--cgroup", "web"], "read /proc/self/cgroup");
        assert_eq!(seen, ["0::/web\n"]);
    }
}

/// Without a cgroup namespace the hierarchy is the host's, and so is the name
/// of the container's place in it.
#[test]
fn without_a_cgroup_namespace_the_container_finds_itself_in_the_hosts_hierarchy() {
    for hako in [Runtime::new(), Runtime::with_systemd()] {
        let mut bundle = hako.bundle();
        bundle.set("/linux/resources/pids/limit", 9).without_namespace("cgroup");
        let container = hako.serve(&bundle);
        let own = cgroup_of(container.pid());
        assert_eq!(container.ask("read /proc/self/cgroup"), [format!("0::{own}\n")]);
        let limit = format!("{CGROUPS}{own}/pids.max");
        let chain = format!("read {limit} -- write {limit} 10 -- mkdir {CGROUPS}{own}/child");
        let denied = json!({ "errno": "EROFS" });
        assert_eq!(json!(container.ask(&chain)), json!(["9\n", denied, denied]));
    }
}
