//! Files that are no configuration, and configurations that make no sense: refused at once.

use hako_integration::{Bundle, Output, Runtime, each, is_peer, json};
use std::fs;
use std::time::Duration;

/// `create` of what lies in the bundle must fail within a second, with one
/// sentence that contains `text`, and leave nothing behind.
#[track_caller]
fn refused_as_it_is(hako: &Runtime, bundle: &Bundle, text: &str) -> Output {
    let command = hako.command(&["create", "--bundle"]).arg(bundle.dir()).last(bundle.id());
    let output = command.output();
    hako.verify_gone(bundle, &output);
    output.fails(text);
    assert!(output.elapsed < Duration::from_secs(1), "{output}");
    assert!(!output.stderr.is_empty(), "it says nothing");
    assert!(is_peer() || output.stderr.starts_with("hako: create "), "{output}");
    let shown = output.stderr.len();
    assert!(shown < 4096, "{shown} bytes of explanation");
    output
}

fn text_of(bundle: &Bundle) -> String {
    serde_json::to_string_pretty(&bundle.config).unwrap()
}

#[test]
fn a_bundle_without_a_configuration_is_refused() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    refused_as_it_is(&hako, &bundle, "config.json");
    let missing = hako.command(&["create", "--bundle", "/no/such/bundle", bundle.id()]).output();
    missing.fails("/no/such/bundle");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let hako = Runtime::new();
    let directory = hako.bundle();
    fs::create_dir(directory.dir().join("config.json")).unwrap();
    refused_as_it_is(&hako, &directory, "config.json");
    for target in ["/dev/zero", "/dev/null", "/dev/tty", "/no/such/file", "config.json"] {
        let link = hako.bundle();
        std::os::unix::fs::symlink(target, link.dir().join("config.json")).unwrap();
        refused_as_it_is(&hako, &link, "config.json");
    }
    let fifo = hako.bundle();
    let made = hako.fifo("fifo");
    fs::rename(made, fifo.dir().join("config.json")).unwrap();
    refused_as_it_is(&hako, &fifo, "config.json");
}

#[test]
fn what_is_no_json_is_refused() {
    if is_peer() {
        return; // Without a cgroupsPath some peers take the root cgroup.
    }
    let hako = Runtime::new();
    let whole = text_of(&hako.bundle());
    let half = &whole[..whole.len() / 2];
    let rows = [
        ("empty", ""),
        ("blank", " \n\t"),
        ("truncated", half),
        ("no JSON", "hostname = test"),
        ("an array", "[]"),
        ("a number", "17"),
        ("null", "null"),
        ("an empty object", "{}"),
        ("two values", "{} {}"),
        ("not UTF-8", "\u{fffd}"),
        ("a comment", "// comment\n{}"),
        ("a trailing comma", "{\"ociVersion\": \"1.0.0\",}"),
    ];
    each(rows, |(_, text)| {
        let bundle = hako.bundle();
        bundle.save_text(text);
        refused_as_it_is(&hako, &bundle, "");
    });
    let bundle = hako.bundle();
    fs::write(bundle.dir().join("config.json"), b"{\"ociVersion\": \"\xff\xfe\"}").unwrap();
    refused_as_it_is(&hako, &bundle, "");
}

#[test]
fn the_place_of_a_syntax_error_is_named() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let text = text_of(&bundle);
    let line = text.lines().position(|line| line.contains("\"hostname\"")).unwrap() + 1;
    bundle.save_text(&text.replace("\"hostname\":", "\"hostname\""));
    refused_as_it_is(&hako, &bundle, &format!("line {line}"));
}

#[test]
fn deeply_nested_json_is_refused() {
    let hako = Runtime::new();
    each([("[", "]"), ("{\"x\":", "}")], |(open, close)| {
        for depth in [1_000, 1_000_000] {
            let bundle = hako.bundle();
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let value = format!("{open}{}{close}", if open.starts_with('{') { "1" } else { "" });
            bundle.save_text(&format!("{{\"ociVersion\": \"1.0.0\", \"annotations\": {value}}}"));
            refused_as_it_is(&hako, &bundle, "");
        }
    });
}

#[test]
fn a_huge_configuration_is_refused() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let padding = "x".repeat(50 << 20);
    bundle.save_text(&text_of(&bundle).replacen('{', &format!("{{\"padding\": \"{padding}\","), 1));
    refused_as_it_is(&hako, &bundle, "");
}

/// To the kernel a string ends there: something else would happen than was asked for.
#[test]
fn nul_bytes_are_refused_wherever_they_are() {
    let hako = Runtime::new();
    let mount = |key: &str| {
        let mut mount = json!({
            "destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"],
        });
        mount[key] = if key == "options" { json!(["mode=\u{0}755"]) } else { json!("/tm\u{0}p") };
        mount
    };
    let rows = [
        ("/process/args", json!(["/bin/inspector", "a\u{0}b"])),
        ("/process/env", json!(["A=\u{0}"])),
        ("/process/cwd", json!("/\u{0}x")),
        ("/root/path", json!("rootfs\u{0}x")),
        ("/hostname", json!("a\u{0}b")),
        ("/domainname", json!("a\u{0}b")),
        ("/mounts/7", mount("destination")),
        ("/mounts/7", mount("source")),
        ("/mounts/7", mount("options")),
        ("/mounts/7", mount("type")),
        ("/linux/maskedPaths", json!(["/pr\u{0}oc"])),
        ("/linux/readonlyPaths", json!(["/pr\u{0}oc"])),
        ("/linux/cgroupsPath", json!("/hako-test-never\u{0}x")),
        ("/linux/sysctl", json!({ "kernel.domainname": "a\u{0}b" })),
        ("/linux/namespaces/0/path", json!("/proc/self/ns/pid\u{0}x")),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "/dev/x\u{0}y", "major": 1, "minor": 3 }]),
        ),
    ];
    each(rows, |(pointer, value)| {
        let mut bundle = hako.bundle();
        let cgroup = bundle.get("/linux/cgroupsPath").clone();
        bundle.set(pointer, value.clone()).save();
        bundle.set("/linux/cgroupsPath", cgroup);
        refused_as_it_is(&hako, &bundle, "").refuses(pointer);
    });
}

#[test]
fn numbers_out_of_range_are_refused() {
    let hako = Runtime::new();
    let rows = [
        ("/process/user/uid", json!(4_294_967_295_u64)),
        ("/process/user/uid", json!(4_294_967_296_u64)),
        ("/process/user/uid", json!(-1)),
        ("/process/user/uid", json!("0")),
        ("/process/user/uid", json!(1.5)),
        ("/process/user/uid", json!(1e30)),
        ("/process/user/uid", json!(true)),
        ("/process/user/gid", json!(4_294_967_295_u64)),
        ("/process/user/additionalGids", json!([4_294_967_295_u64])),
        ("/process/user/umask", json!(-1)),
        ("/process/rlimits/0/hard", json!(-1)),
        ("/process/oomScoreAdj", json!(99_999_999_999_u64)),
        ("/process/consoleSize", json!({ "height": -1, "width": 1 })),
        (
            "/linux/uidMappings",
            json!([{ "containerID": 0, "hostID": 4_294_967_296_u64, "size": 1 }]),
        ),
        (
            "/linux/devices",
            json!([{ "type": "c", "path": "/dev/x", "major": 4_294_967_296_u64, "minor": 0 }]),
        ),
    ];
    each(rows, |(pointer, value)| {
        let mut bundle = hako.bundle();
        bundle.set(pointer, value.clone()).save();
        refused_as_it_is(&hako, &bundle, "").refuses(pointer);
    });
}

#[test]
fn values_of_another_type_are_refused() {
    if is_peer() {
        return; // Without a cgroupsPath some peers take the root cgroup.
    }
    let hako = Runtime::new();
    let rows = [
        ("/process", json!([])),
        ("/process/args", json!("sh")),
        ("/process/terminal", json!("yes")),
        ("/process/env", json!({ "A": "b" })),
        ("/mounts", json!({})),
        ("/mounts/0", json!("/proc")),
        ("/mounts/0/options", json!("ro,nosuid")),
        ("/linux", json!("linux")),
        ("/linux/namespaces", json!({ "type": "pid" })),
        ("/linux/maskedPaths", json!("/proc/kcore")),
        ("/annotations", json!({ "key": 1 })),
        ("/hooks", json!([])),
        ("/hostname", json!(["name"])),
        ("/root/readonly", json!("true")),
    ];
    each(rows, |(pointer, value)| {
        let mut bundle = hako.bundle();
        bundle.set(pointer, value.clone()).save();
        refused_as_it_is(&hako, &bundle, "").refuses(pointer);
    });
}

#[test]
fn all_faults_are_reported_at_once() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/cwd", "relative");
    bundle.set("/process/user/uid", 4_294_967_295_u32);
    bundle.set("/process/rlimits/0/soft", 4096);
    bundle.set("/linux/sysctl", json!({ "kernel.panic": "1" }));
    bundle.set("/mounts/0/options", json!(["no-such=option", "nosuid"]));
    bundle.set("/linux/maskedPaths/0", "relative");
    bundle.save();
    let output = refused_as_it_is(&hako, &bundle, "");
    let places = [
        "/process/cwd",
        "/process/user/uid",
        "/process/rlimits/0",
        "/linux/sysctl/kernel.panic",
        "/linux/maskedPaths/0",
    ];
    places.iter().for_each(|place| output.refuses(place));
}

#[test]
fn a_misspelt_key_is_warned_about() {
    let hako = Runtime::new();
    let rows = [
        ("", "mounst", "mounts"),
        ("", "hostnmae", "hostname"),
        ("/process", "evn", "env"),
        ("/process", "noNewPrivilege", "noNewPrivileges"),
        ("/process/user", "umaks", "umask"),
        ("/linux", "namespace", "namespaces"),
        ("/linux", "maskedPath", "maskedPaths"),
        ("/root", "readOnly", "readonly"),
        ("/mounts/0", "option", "options"),
    ];
    each(rows, |(parent, wrong, right)| {
        let mut bundle = hako.bundle();
        let value = bundle.get(&format!("{parent}/{right}")).clone();
        bundle.set(&format!("{parent}/{wrong}"), value).inspector("sleep 0");
        let output = hako.run(&bundle).ok();
        let warned = output.stderr.lines().any(|line| {
            line.starts_with("hako: warning:")
                && line.contains(&format!("{parent}/{wrong}"))
                && line.contains(&format!("did you mean \"{right}\"?"))
        });
        assert!(is_peer() || warned, "{output}");
    });
}

/// Other tools have keys of their own, which no guess must turn into ours.
#[test]
fn a_key_that_resembles_nothing_gets_no_suggestion() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/solaris", json!({ "milestone": "x" })).set("/com.example.extension", 1);
    bundle.set("/linux/completelyDifferent", json!({})).inspector("print ran");
    let output = hako.run(&bundle).ok();
    assert_eq!(output.stdout, "ran\n");
    assert!(!output.stderr.contains("did you mean"), "{output}");
}

/// A configuration may describe the same container for other platforms, too.
#[test]
fn sections_for_other_platforms_are_ignored() {
    let hako = Runtime::new();
    let whole = json!({ "kernel": { "path": "/vmlinuz" } });
    each(
        [
            ("vm", json!({})),
            ("vm", whole),
            ("windows", json!({})),
            ("solaris", json!({})),
            ("zos", json!([])),
        ],
        |(name, section)| {
            let mut bundle = hako.bundle();
            bundle.set(&format!("/{name}"), section.clone()).inspector("print ran");
            let output = hako.run(&bundle).ok();
            assert_eq!(output.stdout, "ran\n");
        },
    );
}
