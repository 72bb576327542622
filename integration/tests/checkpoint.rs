//! `checkpoint` and `restore` where there is no criu, or one that refuses: a script
//! that speaks its protocol. What a real one does is tested in `unified/stock`.

use hako_integration::{Bundle, Command, Container, Runtime, each, json, make_executable};
use std::fs;
use std::path::{Path, PathBuf};

/// Takes a packet.
const HEAR: &str = "dd bs=64k count=1 status=none <&$2 >>\"$0.heard\"";
/// `VERSION`, success, 4.2
const VERSION: &str = r"\010\012\020\001\122\004\010\004\020\002";

/// Sends a packet: bytes as printf(1) wants them.
fn say(bytes: &str) -> String {
    format!("printf '{bytes}' | dd bs=64k iflag=fullblock status=none >&$2")
}

/// Puts a criu into a directory, and returns a `PATH` that begins with it.
fn criu(hako: &Runtime, script: &str) -> String {
    let program = hako.file("bin/criu", &format!("#!/bin/bash\n{HEAR}\n{script}\n"));
    make_executable(&program);
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", program.parent().unwrap().display())
}

fn checkpoint(container: &Container, images: &Path, path: &str) -> Command {
    container.command(&["checkpoint", "--image-path", images.to_str().unwrap()]).env("PATH", path)
}

fn restore(hako: &Runtime, bundle: &Bundle, images: &Path, path: &str) -> Command {
    let command = hako.on_bundle(&["restore", "--detach"], bundle).env("PATH", path);
    command.arg("--image-path").arg(images)
}

/// Looks like a checkpoint.
fn images(hako: &Runtime) -> PathBuf {
    let inventory = hako.file("images/inventory.img", "");
    let _ = hako.file("images/descriptors.json", r#"["/dev/null","pipe:[1]","pipe:[2]"]"#);
    inventory.parent().unwrap().to_path_buf()
}

#[test]
fn a_machine_without_criu_is_told_so() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let container = hako.serve(&bundle);
    let new = hako.scratch().join("new");
    checkpoint(&container, &new, "/nowhere").output().fails("criu is not installed");
    assert!(!new.exists(), "nothing was made");
    assert_eq!(container.status(), "running");
    drop(container);
    let output = restore(&hako, &bundle, &images(&hako), "/nowhere").output();
    output.fails("criu is not installed");
    hako.verify_gone(&bundle, &output);
}

#[test]
fn a_criu_that_is_too_old_is_refused() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    // 3.15.1
    let path = criu(&hako, &say(r"\010\012\020\001\122\006\010\003\020\017\040\001"));
    let text = "is too old: its version is 3.15.1, hako needs 3.16";
    let container = hako.serve(&bundle);
    let new = hako.scratch().join("new");
    checkpoint(&container, &new, &path).output().fails(text);
    assert!(!new.exists(), "nothing is left");
    drop(container);
    let output = restore(&hako, &bundle, &images(&hako), &path).output();
    output.fails(text);
    hako.verify_gone(&bundle, &output);
}

/// What goes wrong, as criu: what it answers to the request, and what is told.
#[test]
fn a_criu_that_fails_leaves_everything_as_it_was() {
    let hako = Runtime::new();
    let log = r"for log in dump restore; do echo '(00.1) 7: Error (criu/x.c:1): no way' >$1/$log.log; done";
    let directory = images(&hako).display().to_string();
    let log = log.replace("$1", &directory);
    // No success; EBUSY; a message.
    let refused = say(r"\010\001\020\000\070\020\112\004nope");
    let rows = [
        (format!("{HEAR}; {log}; {refused}"), "Error (criu/x.c:1): no way", true),
        (format!("{HEAR}; {refused}"), "nope: device or resource busy (EBUSY)", false),
        (format!("{HEAR}; {log}"), "Error (criu/x.c:1): no way", true),
        (format!("{HEAR}; {}", say("nonsense")), "cannot be understood", false),
        (String::new(), "criu ended before it was done", false),
        (format!("{HEAR}; kill -9 $$"), "criu ended before it was done", false),
    ];
    each(rows, |(script, text, has_log)| {
        let path = criu(&hako, &format!("{}; {script}", say(VERSION)));
        let mut bundle = hako.bundle();
        let poststop = hako.scratch().join(format!("{}-poststop", bundle.id()));
        let hook = json!([{ "path": "/bin/touch", "args": ["touch", poststop] }]);
        bundle.set("/hooks/poststop", hook);
        let container = hako.serve(&bundle);
        let output = checkpoint(&container, Path::new(&directory), &path).output();
        output.fails(text);
        let named = output.stderr.contains(&format!("the whole log is {directory}/dump.log"));
        assert_eq!(named, *has_log, "{output}");
        assert_eq!(container.status(), "running");
        assert_eq!(container.ask("read /proc/sys/kernel/hostname")[0], "hako-test\n");
        drop(container);
        fs::remove_file(&poststop).unwrap();
        let output = restore(&hako, &bundle, Path::new(&directory), &path).output();
        output.fails(text);
        hako.verify_gone(&bundle, &output);
        assert!(!poststop.exists(), "there was no container");
    });
}

#[test]
fn criu_is_told_what_it_has_to_know() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let (data, new) = (hako.dir("data"), hako.scratch().join("new"));
    bundle.bind(&data, "/data", &["bind"]);
    bundle.set("/annotations", json!({ "org.criu.config": "/settings/of/criu" }));
    let container = hako.serve(&bundle);
    let answers = |bytes| format!("{}; {HEAR}; {}", say(VERSION), say(bytes));
    let path = criu(&hako, &answers(r"\010\001\020\001"));
    let heard = || {
        let bytes = fs::read(hako.scratch().join("bin/criu.heard")).unwrap();
        fs::remove_file(hako.scratch().join("bin/criu.heard")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let command = checkpoint(&container, &new, &path).arg("--leave-running");
    let _ = command.args(["--page-server", "[::1]:4711"]).output().ok();
    let request = heard();
    let cgroup = hako_integration::cgroup_dir(bundle.cgroup());
    let names = [
        "\u{5}/data\u{12}\u{5}/data",
        "\u{9}/dev/null",
        "/proc/keys",
        "/settings/of/criu",
        "::1",
        "dump.log",
        bundle.rootfs("").to_str().unwrap().trim_end_matches('/'),
        cgroup.to_str().unwrap(),
    ]
    .map(str::to_owned);
    each(names, |name| assert!(request.contains(name), "{request:?}"));
    let streams = fs::read_to_string(new.join("descriptors.json")).unwrap();
    assert!(streams.starts_with(r#"["pipe:["#), "{streams}");
    drop(container);

    let path = criu(&hako, &answers(r"\010\002\020\001"));
    let command = restore(&hako, &bundle, &images(&hako), &path);
    let output = command.args(["--lsm-profile", "apparmor:strict"]).output();
    // It says that it is done, but there is no process.
    output.fails("criu made no process");
    hako.verify_gone(&bundle, &output);
    let request = heard();
    let source =
        format!("\u{5}/data\u{12}{}{}", char::from(data.as_os_str().len() as u8), data.display());
    let names = [&source, "pipe:[2]", "apparmor:strict", "restore.log", bundle.cgroup()];
    each(names.map(str::to_owned), |name| assert!(request.contains(name), "{request:?}"));
}

#[test]
fn what_cannot_be_had_is_refused_before_anything_is_done() {
    let hako = Runtime::new();
    let path = criu(&hako, "echo 'criu is not to be asked' >&2; exit 1");
    let new = hako.scratch().join("new");
    // Made, so that it is there; not to be saved.
    let mut overlaid = hako.bundle();
    overlaid.inspector("serve");
    let command = hako.on_bundle(&["create", "--overlay"], &overlaid);
    let container = hako.make(command, &overlaid);
    container.start();
    checkpoint(&container, &new, &path).output().fails("in memory only");
    assert!(!new.exists());
    drop(container);

    let images = images(&hako);
    let bundle = hako.bundle();
    let nothing = hako.dir("nothing");
    restore(&hako, &bundle, &nothing, &path).output().fails("inventory.img is missing");
    restore(&hako, &bundle, &hako.scratch().join("no"), &path).output().fails("inventory.img");
    restore(&hako, &bundle, &images, &path).arg("--overlay").output().fails("in memory only");
    let mut wrong = bundle.clone();
    wrong.set("/process/cwd", "relative");
    restore(&hako, &wrong, &images, &path).output().refuses("/process/cwd");
    let mut joined = bundle.clone();
    joined.namespace("cgroup", Some("/proc/1/ns/cgroup"));
    restore(&hako, &joined, &images, &path).output().refuses("/linux/namespaces");
    let mut terminal = bundle.clone();
    terminal.set("/process/terminal", true);
    restore(&hako, &terminal, &images, &path).output().refuses("/process/terminal");
    let mut missing = bundle.clone();
    let pointer = missing.bind(Path::new("/no/such/source"), "/data", &["bind"]);
    let output = restore(&hako, &missing, &images, &path).output();
    output.refuses(&pointer);
    hako.verify_gone(&missing, &output);
    let container = hako.serve(&bundle);
    restore(&hako, &bundle, &images, &path).output().fails("already exists");
    assert_eq!(container.status(), "running");
}

#[test]
fn options_are_checked() {
    let hako = Runtime::new();
    let rows: [(&[&str], &str); 8] = [
        (&["checkpoint"], "ID is missing"),
        (&["checkpoint", "--image-path"], "needs a value"),
        (&["checkpoint", "--manage-cgroups-mode", "hard", "id"], "soft, full, strict, ignore"),
        (&["checkpoint", "--network-lock", "no", "id"], "iptables, nftables, skip"),
        (&["checkpoint", "--empty-ns", "pid", "id"], "it is one of network"),
        (&["checkpoint", "--page-server", "host", "id"], "it is not ADDRESS:PORT"),
        (&["checkpoint", "--status-fd", "3", "id"], "--lazy-pages is missing"),
        // podman looks for these words to know that there is such an option.
        (&["restore", "--lsm-mount-context"], "flag needs an argument"),
    ];
    each(rows, |(words, text)| hako.command(words).output().fails(text));
    each(["checkpoint", "restore"], |verb| {
        let help = hako.bare().args([*verb, "--help"]).output().ok().stdout;
        each(["--image-path", "--work-path", "--tcp-established", "--file-locks"], |option| {
            assert!(help.contains(*option), "{help}");
        });
    });
}
