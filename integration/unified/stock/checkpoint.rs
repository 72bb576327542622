//! `checkpoint` and `restore`: what a container had and was, it has and is again.
//! Its program counts all the time, because criu under an emulated CPU does not
//! always wake one up that slept.

use hako_integration::{Bundle, Command, Container, Runtime, Value, is_peer, json, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first in a machine takes long: modules for the firewall are loaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// A bundle whose program counts, and where on the host the numbers are.
pub fn counting(hako: &Runtime) -> (Bundle, PathBuf) {
    let mut bundle = hako.bundle();
    let numbers = hako.dir(&format!("{}-numbers", bundle.id()));
    bundle.bind(&numbers, "/numbers", &["bind", "rw"]);
    bundle.inspector("count /numbers/now");
    // criu and the runtime get the processor when they want it.
    bundle.set("/linux/resources/cpu/shares", 2);
    if is_peer() {
        // criu cannot restore a root that is read-only; hako helps it.
        bundle.set("/root/readonly", false);
        // Around peers everything is read-only, and criu wants to make directories there.
        hako.bind(&hako.dir("tmp"), Path::new("/tmp"), false);
    }
    (bundle, numbers.join("now"))
}

/// How far a program has counted, and when it began.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    pub number: u64,
    begin: u128,
}

fn read(numbers: &Path) -> Option<Count> {
    let text = fs::read_to_string(numbers).ok()?;
    let (number, begin) = text.trim().split_once(' ')?;
    Some(Count { number: number.parse().ok()?, begin: begin.parse().ok()? })
}

/// How far it is, once it has begun.
pub fn count(numbers: &Path) -> Count {
    wait_until("it counts", || read(numbers).is_some_and(|count| count.number > 0));
    read(numbers).unwrap()
}

/// Waits until it counts on, and that is no other one.
pub fn goes_on_from(numbers: &Path, before: Count) {
    wait_until("it counts on", || count(numbers).number > before.number);
    assert_eq!(count(numbers).begin, before.begin, "it has begun anew");
}

/// `run --detach`, of a program that answers nothing.
pub fn start<'r>(hako: &'r Runtime, bundle: &Bundle) -> Container<'r> {
    hako.make(quiet(hako.on_bundle(&["run", "--detach"], bundle)), bundle)
}

/// Peers cannot save a container whose streams are files.
fn quiet(command: Command) -> Command {
    if is_peer() { command.before("exec >/dev/null 2>/dev/null") } else { command }
}

pub fn checkpoint(container: &Container, images: &Path, options: &[&str]) -> Command {
    let words = ["checkpoint", "--image-path", images.to_str().unwrap()];
    container.command(&[&words, options].concat()).timeout(PATIENCE)
}

pub fn restoring(hako: &Runtime, bundle: &Bundle, images: &Path) -> Command {
    let command = hako.on_bundle(&["restore", "--detach"], bundle).timeout(PATIENCE);
    quiet(command.arg("--image-path").arg(images))
}

pub fn restore<'r>(hako: &'r Runtime, bundle: &Bundle, images: &Path) -> Container<'r> {
    hako.make(restoring(hako, bundle, images), bundle)
}

/// Saves and ends the container.
pub fn save(hako: &Runtime, container: Container) -> PathBuf {
    let images = hako.scratch().join("images");
    let _ = checkpoint(&container, &images, &[]).output().ok();
    if !is_peer() {
        assert_eq!(container.status(), "stopped");
        container.delete();
    }
    images
}

/// A container that has counted, and was saved and ended: how far it was.
pub fn counted_and_saved(hako: &Runtime, bundle: &Bundle, numbers: &Path, images: &Path) -> Count {
    let container = start(hako, bundle);
    let _ = count(numbers);
    let _ = checkpoint(&container, images, &[]).output().ok();
    count(numbers)
}

/// Saves and ends the container; restores it, and sees it count on.
fn there_and_back<'r>(
    hako: &'r Runtime,
    bundle: &Bundle,
    container: Container<'r>,
    numbers: &Path,
) -> Container<'r> {
    let begun = count(numbers);
    let images = save(hako, container);
    let saved = count(numbers);
    assert!(saved.number >= begun.number);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(count(numbers).number, saved.number, "it goes on although it was ended");
    let container = restore(hako, bundle, &images);
    goes_on_from(numbers, saved);
    container
}

#[test]
fn a_container_goes_on_where_it_was() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    bundle.set(
        "/linux/resources",
        json!({ "pids": { "limit": 20 }, "memory": { "limit": 200 << 20 }, "cpu": { "shares": 2 } }),
    );
    bundle.capabilities(&["CAP_MKNOD"]);
    let container = start(&hako, &bundle);
    let _ = count(&numbers);
    let _ = container.exec_and_ask(&[], "write /dev/shm/note kept");
    let hostname = container.exec_and_ask(&[], "read /proc/sys/kernel/hostname");

    let container = there_and_back(&hako, &bundle, container, &numbers);
    assert_eq!(container.status(), "running");
    assert_eq!(container.state()["pid"], container.pid());
    assert_eq!(bundle.cgroup_file("pids.max"), "20");
    assert_eq!(bundle.cgroup_file("memory.max"), (200 << 20).to_string());
    assert!(bundle.cgroup_file("cgroup.procs").contains(&container.pid().to_string()));

    let seen = container.exec_and_ask(
        &[],
        "read /dev/shm/note -- report -- mknod /dev/mem c 1 1 -- open /dev/mem read -- write /x y -- read /proc/sys/kernel/hostname",
    );
    assert_eq!(seen[0], "kept");
    assert_eq!(json!([seen[5]]), json!(hostname));
    assert_eq!(seen[1]["interfaces"]["lo"]["up"], true, "{}", seen[1]["interfaces"]);
    if !is_peer() {
        assert_eq!(seen[3], json!({ "errno": "EPERM" }), "the device rules hold");
        assert_eq!(seen[4], json!({ "errno": "EROFS" }), "the root is read-only again");
    }
    let pids = container.command(&["ps", "--format", "json"]).output().ok().json();
    assert_eq!(pids, json!([container.pid()]));

    let _ = container.command(&["pause"]).output().ok();
    let still = count(&numbers);
    assert_eq!(container.status(), "paused");
    assert_eq!(count(&numbers).number, still.number);
    let _ = container.command(&["resume"]).output().ok();
    goes_on_from(&numbers, still);
    container.kill("KILL");
    container.wait_for_status("stopped");
    container.delete();
}

#[test]
fn the_container_can_stay_and_its_images_become_another() {
    let hako = Runtime::new();
    let (bundle, numbers) = counting(&hako);
    let images = hako.scratch().join("images");
    let container = start(&hako, &bundle);
    let before = count(&numbers);
    let _ = checkpoint(&container, &images, &["--leave-running"]).output().ok();
    assert_eq!(container.status(), "running");
    goes_on_from(&numbers, before);
    restoring(&hako, &bundle, &images).output().fails("exist");
    assert_eq!(container.status(), "running", "it gives its place to nobody");
    drop(container);
    let after = count(&numbers);
    let container = restore(&hako, &bundle, &images);
    wait_until("it is back where it was", || count(&numbers).number < after.number);
    goes_on_from(&numbers, before);
    drop(container);
}

/// runc and crun remove the container at once.
#[test]
fn restore_takes_the_place_of_what_checkpoint_has_ended() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    let note = hako.scratch().join("note");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo x >>{}", note.display())] }]);
    bundle.set("/hooks/poststop", hook);
    let images = hako.scratch().join("images");
    let container = start(&hako, &bundle);
    let _ = count(&numbers);
    let _ = checkpoint(&container, &images, &[]).output().ok();
    let before = count(&numbers);
    let again = restore(&hako, &bundle, &images);
    goes_on_from(&numbers, before);
    assert_eq!(fs::read_to_string(&note).unwrap(), "x\n", "the old one was deleted");
    // One that ended by itself is not replaced.
    again.kill("KILL");
    again.wait_for_status("stopped");
    restoring(&hako, &bundle, &images).output().fails("exist");
    again.delete();
    drop((again, container));
}

#[test]
fn memory_can_be_saved_beforehand() {
    let hako = Runtime::new();
    let (bundle, numbers) = counting(&hako);
    let container = start(&hako, &bundle);
    let images = |name: &str| hako.scratch().join("chain").join(name);
    let before = count(&numbers);
    fs::create_dir(hako.scratch().join("chain")).unwrap();
    let _ = checkpoint(&container, &images("one"), &["--pre-dump"]).output().ok();
    let _ = checkpoint(&container, &images("two"), &["--pre-dump", "--parent-path", "../one"])
        .output()
        .ok();
    assert_eq!(container.status(), "running");
    goes_on_from(&numbers, before);
    for (parent, text) in [("../no", "--parent-path"), ("/tmp", "--parent-path must be relative")] {
        checkpoint(&container, &images("bad"), &["--parent-path", parent]).output().fails(text);
    }
    let _ = checkpoint(&container, &images("last"), &["--parent-path", "../two"]).output().ok();
    let before = count(&numbers);
    drop(container);
    let parent = fs::canonicalize(images("last").join("parent")).unwrap();
    assert_eq!(parent, images("two"));
    let container = restore(&hako, &bundle, &images("last"));
    goes_on_from(&numbers, before);
    drop(container);
}

#[test]
fn host_files_are_mounted_again() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    let tree = hako.dir("tree");
    let below = hako.tmpfs("tree/below");
    fs::write(below.join("deep"), "deep").unwrap();
    let file = hako.file("file", "a file");
    fs::create_dir_all(bundle.rootfs("/real")).unwrap();
    std::os::unix::fs::symlink("/real", bundle.rootfs("/link")).unwrap();
    bundle.bind(&tree, "/tree", &["rbind", "ro"]);
    bundle.bind(&file, "/link/file", &["bind"]);
    bundle.bind(&tree, "/with space", &["bind"]);
    bundle.set("/linux/maskedPaths", ["/proc/kcore", "/proc/acpi", "/proc/keys"].to_vec());
    let container = start(&hako, &bundle);
    let _ = count(&numbers);
    let chain = "read /tree/below/deep -- read /real/file -- write /tree/x y -- ls /proc/acpi -- stat /proc/kcore";
    let expected = container.exec_and_ask(&[], chain);
    assert_eq!(expected[0], "deep");
    let container = there_and_back(&hako, &bundle, container, &numbers);
    assert_eq!(container.exec_and_ask(&[], chain), expected);
    fs::write(&file, "changed").unwrap();
    fs::write(tree.join("new"), "new").unwrap();
    let seen = container.exec_and_ask(&[], "read /link/file -- read /tree/new");
    assert_eq!(seen, ["changed", "new"], "they are the host's");
}

#[test]
fn a_user_namespace_is_made_again() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    bundle.user_namespace(100_000);
    std::os::unix::fs::chown(numbers.parent().unwrap(), Some(100_000), Some(100_000)).unwrap();
    // criu opens files outside as the container's root: this one is open to everybody.
    let nowhere = "exec >/dev/null 2>/dev/null";
    let run = hako.on_bundle(&["run", "--detach"], &bundle).before(nowhere);
    let container = hako.make(run, &bundle);
    let _ = count(&numbers);
    let chain =
        "read /proc/self/uid_map -- read /proc/1/uid_map -- write /dev/null x -- stat /dev/zero";
    let expected = container.exec_and_ask(&[], chain);
    let images = save(&hako, container);
    let saved = count(&numbers);
    let container = hako.make(restoring(&hako, &bundle, &images).before(nowhere), &bundle);
    goes_on_from(&numbers, saved);
    assert_eq!(container.exec_and_ask(&[], chain), expected);
}

#[test]
fn a_network_that_was_joined_is_joined_again() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    let holder = start(&hako, &counting(&hako).0);
    let network = format!("/proc/{}/ns/net", holder.pid());
    bundle.namespace("network", Some(&network));
    let container = start(&hako, &bundle);
    let _ = count(&numbers);
    let container = there_and_back(&hako, &bundle, container, &numbers);
    let link = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(link(container.pid()), link(holder.pid()));
    drop(container);
}

#[test]
fn a_paused_container_is_saved_and_stays_paused() {
    let hako = Runtime::new();
    let (bundle, numbers) = counting(&hako);
    let images = hako.scratch().join("images");
    let container = start(&hako, &bundle);
    let before = count(&numbers);
    let _ = container.command(&["pause"]).output().ok();
    let _ = checkpoint(&container, &images, &["--leave-running"]).output().ok();
    assert_eq!(container.status(), "paused");
    let _ = container.command(&["resume"]).output().ok();
    goes_on_from(&numbers, before);
    let _ = container.command(&["pause"]).output().ok();
    let container = there_and_back(&hako, &bundle, container, &numbers);
    assert_eq!(container.status(), "running");
}

#[test]
fn a_scope_of_systemd_is_made_again() {
    let hako = Runtime::with_systemd();
    let (mut bundle, numbers) = counting(&hako);
    bundle.set("/linux/resources", json!({ "pids": { "limit": 20 } }));
    let container = start(&hako, &bundle);
    let _ = count(&numbers);
    let container = there_and_back(&hako, &bundle, container, &numbers);
    let unit = crate::systemd::unit(&bundle);
    assert_eq!(crate::systemd::property(&unit, "TasksMax"), "20");
    assert_eq!(bundle.cgroup_file("pids.max"), "20");
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(cgroup.trim_end().ends_with(&unit), "{cgroup}");
}

#[test]
fn hooks_of_creation_run_before_the_processes_go_on() {
    let hako = Runtime::new();
    let (mut bundle, numbers) = counting(&hako);
    let notes = hako.dir("notes");
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let script = format!("cat >{}/{kind}", notes.display());
        bundle.set(
            &format!("/hooks/{kind}"),
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]),
        );
    }
    bundle.remove("/hooks/createContainer").remove("/hooks/startContainer");
    let container = start(&hako, &bundle);
    let _ = count(&numbers);
    for note in fs::read_dir(&notes).unwrap() {
        fs::remove_file(note.unwrap().path()).unwrap();
    }
    let container = there_and_back(&hako, &bundle, container, &numbers);
    for kind in ["prestart", "createRuntime"] {
        let text = fs::read_to_string(notes.join(kind)).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&state["id"], &state["pid"]), (&json!(bundle.id()), &json!(container.pid())));
    }
    assert!(!notes.join("poststart").exists(), "nothing was started");
}
