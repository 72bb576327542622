//! `linux.resources.devices`: which device nodes a container may use. No test needs a controller.

use hako_integration::{Bundle, Runtime, Value, cgroup_dir, each, is_peer, json};
use std::process::Command;

/// A container that may make any node, to try what it may do with it.
fn bundle(hako: &Runtime, rules: Value) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_MKNOD", "CAP_SYSLOG"]);
    bundle.set("/linux/resources/devices", rules);
    bundle
}

fn deny() -> Value {
    json!({ "allow": false, "access": "rwm" })
}

fn allow(kind: &str, major: u32, minor: u32, access: &str) -> Value {
    json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access })
}

/// What opening a fresh node of a device says, for reading and for writing.
fn tries(kind: &str, major: u32, minor: u32) -> String {
    let path = format!("/dev/{kind}-{major}-{minor}");
    format!("mknod {path} {kind} {major} {minor} -- open {path} read -- open {path} write")
}

/// A refused access; a device without a driver says ENXIO or ENODEV when it may be opened.
fn refused(answer: &Value) -> bool {
    answer["errno"] == "EPERM"
}

// /dev/kmsg (1:11) has a driver everywhere, and is not among the devices that every container gets.
const KMSG: (u32, u32) = (1, 11);

#[test]
fn without_rules_nothing_but_the_default_devices_opens() {
    let hako = Runtime::new();
    let mut plain = bundle(&hako, json!([]));
    plain.remove("/linux/resources");
    let rows = [plain, bundle(&hako, json!([])), bundle(&hako, json!([deny()]))];
    each(rows, |bundle| {
        let chain = format!("{} -- {}", tries("c", KMSG.0, KMSG.1), tries("b", 7, 0));
        let seen = hako.ask(bundle, &chain);
        assert_eq!((&seen[0], &seen[3]), (&json!("ok"), &json!("ok")), "nodes may be made");
        for index in [1, 2, 4, 5] {
            assert!(refused(&seen[index]), "{index}: {seen:?}");
        }
        let seen = hako.ask(
            bundle,
            "open /dev/null write -- open /dev/zero read -- open /dev/full write -- \
             open /dev/urandom read -- open /dev/ptmx read,write -- open /dev/tty read",
        );
        assert_eq!(seen[..5], ["ok", "ok", "ok", "ok", "ok"]);
        assert_eq!(seen[5]["errno"], "ENXIO", "allowed, but there is no terminal");
    });
}

#[test]
fn an_allowed_device_opens_as_far_as_it_is_allowed() {
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    for (access, read, write) in
        [("r", true, false), ("w", false, true), ("rw", true, true), ("m", false, false)]
    {
        let bundle = bundle(&hako, json!([deny(), allow("c", major, minor, access)]));
        let seen = hako.ask(&bundle, &tries("c", major, minor));
        assert_eq!((seen[1] == "ok", seen[2] == "ok"), (read, write), "{access}: {seen:?}");
        assert_eq!((refused(&seen[1]), refused(&seen[2])), (!read, !write), "{access}: {seen:?}");
    }
    // Two rules together allow what each allows a part of.
    let both = json!([deny(), allow("c", major, minor, "r"), allow("c", major, minor, "w")]);
    let chain = format!("mknod /dev/k c {major} {minor} -- open /dev/k read,write");
    assert_eq!(hako.ask(&bundle(&hako, both), &chain)[1], "ok");
}

#[test]
fn the_last_rule_that_fits_decides() {
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    let any = json!({ "allow": true, "access": "rwm" });
    let one = allow("c", major, minor, "rw");
    let mut no = one.clone();
    no["allow"] = json!(false);
    let block = json!({ "allow": false, "type": "b", "access": "rw" });
    let no_minor = json!({ "allow": false, "type": "c", "major": major, "access": "rw" });
    let other = json!({ "allow": false, "type": "c", "minor": 200, "access": "rw" });
    let rows = [
        (json!([deny(), one]), true),
        (json!([one, deny()]), false),
        (json!([any]), true),
        (json!([any, no]), false),
        (json!([no, any]), true),
        (json!([deny(), one, no]), false),
        (json!([deny(), no, one]), true),
        (json!([any, block]), true),
        (json!([any, no_minor]), false),
        (json!([any, other]), true),
        (json!([any, no_minor, one]), true),
    ];
    each(rows, |(rules, opens)| {
        let bundle = bundle(&hako, rules.clone());
        let seen = hako.ask(&bundle, &tries("c", major, minor));
        assert_eq!((seen[1] == "ok", refused(&seen[1])), (*opens, !opens), "{seen:?}");
        // The defaults come after all rules.
        assert_eq!(hako.ask(&bundle, "open /dev/null write")[0], "ok");
    });
}

#[test]
fn block_and_character_devices_are_told_apart() {
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    let bundle = bundle(&hako, json!([deny(), allow("b", major, minor, "rwm")]));
    let chain = format!("{} -- {}", tries("c", major, minor), tries("b", major, minor));
    let seen = hako.ask(&bundle, &chain);
    assert!(refused(&seen[1]), "{seen:?}");
    assert!(!refused(&seen[4]), "{seen:?}");
}

#[test]
fn each_container_has_its_own_rules() {
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    let open = bundle(&hako, json!([deny(), allow("c", major, minor, "r")]));
    let closed = bundle(&hako, json!([deny()]));
    let open = hako.serve(&open);
    let closed = hako.serve(&closed);
    for _ in 0..2 {
        let chain = format!("{} -- unlink /dev/c-{major}-{minor}", tries("c", major, minor));
        assert_eq!(open.ask(&chain)[1], "ok");
        assert!(refused(&closed.ask(&chain)[1]));
    }
}

#[test]
fn rules_hold_for_children_and_in_user_namespaces() {
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    let bundle = bundle(&hako, json!([deny()]));
    let chain = format!("mknod /dev/k c {major} {minor} -- run /bin/inspector open /dev/k read");
    let seen = hako.ask(&bundle, &chain);
    assert!(seen[1].to_string().contains("EPERM"), "{seen:?}");
    // The runtime attaches them, so that a root without privilege has them as well.
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    let seen = hako.ask(&bundle, "open /dev/null write -- open /dev/urandom read");
    assert_eq!(seen[..2], ["ok", "ok"]);
}

/// A program left on a cgroup that is not hako's would go on denying.
#[test]
fn a_cgroup_that_existed_is_given_back_without_rules() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    let bundle_with = |rules| {
        let mut bundle = bundle(&hako, rules);
        let first = hako.bundle();
        bundle.set("/linux/cgroupsPath", first.cgroup());
        bundle
    };
    let denied = bundle_with(json!([deny()]));
    let directory = cgroup_dir(denied.cgroup());
    std::fs::create_dir_all(&directory).unwrap();
    let run = |bundle: &Bundle| {
        let output = hako.on_bundle(&["run"], bundle).output();
        output.stdout
    };
    let chain = format!("{} -- unlink /dev/c-{major}-{minor}", tries("c", major, minor));
    let ask = |mut bundle: Bundle| {
        bundle.inspector(&chain);
        run(&bundle)
    };
    assert!(ask(denied).contains("EPERM"));
    let allowed = ask(bundle_with(json!([deny(), allow("c", major, minor, "r")])));
    let second = allowed.lines().nth(1).map(str::to_string);
    assert_eq!(second.as_deref(), Some("\"ok\""), "an old program decides: {allowed}");
    let script =
        format!("echo $$ > {}/cgroup.procs; exec < /dev/kmsg > /dev/kmsg", directory.display());
    let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(shell.status.success(), "the rules are still there: {shell:?}");
    std::fs::remove_dir(&directory).unwrap();
}

#[test]
fn what_is_no_rule_is_refused() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let rows = [
        (json!({ "allow": true, "type": "p" }), "/type"),
        (json!({ "allow": true, "type": "c", "major": -5 }), "/major"),
        (json!({ "allow": true, "access": "rwx" }), "/access"),
        (json!({ "type": "c" }), ""),
    ];
    each(rows, |(rule, field)| {
        let bundle = bundle(&hako, json!([deny(), rule]));
        let _ = hako.refuses(&bundle, &format!("/linux/resources/devices/1{field}"));
    });
}

#[test]
fn hundreds_of_rules_are_taken() {
    let hako = Runtime::new();
    let (major, minor) = KMSG;
    let mut rules = vec![deny(), allow("c", major, minor, "r")];
    rules.extend((0..800).map(|minor| allow("c", 250, minor, "rw")));
    let bundle = bundle(&hako, json!(rules));
    assert_eq!(hako.ask(&bundle, &tries("c", major, minor))[1], "ok");
}

/// There, BPF programs cannot be attached, and nobody can make a device node
/// that the kernel would let anybody open: nothing is left for the rules to do.
#[test]
fn in_a_user_namespace_of_the_callers_rules_are_left_out_and_told() {
    if is_peer() {
        return;
    }
    let hako = Runtime::new();
    let mut bundle = bundle(&hako, json!([deny()]));
    // The usual group of terminals has no id there.
    assert_eq!(bundle.get("/mounts/2/type"), "devpts");
    bundle.set("/mounts/2/options", ["newinstance", "ptmxmode=0666"]);
    bundle.inspector("mknod /dev/shm/null c 1 3 -- open /dev/null read");
    let command = hako.on_bundle(&["run"], &bundle);
    let command = command.before("exec unshare --user --map-root-user \"$0\" \"$@\"");
    let output = hako.finish(command, &bundle).ok();
    assert_eq!(output.values()[0], json!({ "errno": "EPERM" }), "{output}");
    assert!(output.stderr.contains("linux.resources.devices: not enforced"), "{output}");
}
