//! The outermost fields of config.json: version, root, names, annotations.

use hako_integration::{Runtime, Value, each, json};
use std::fs;

#[test]
fn supported_versions_run() {
    let hako = Runtime::new();
    each(["1.0.0", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"], |version| {
        let mut bundle = hako.bundle();
        bundle.set("/ociVersion", *version);
        assert_eq!(hako.inspect(&bundle)["pid"], 1);
    });
}

#[test]
fn other_versions_are_refused() {
    let hako = Runtime::new();
    each(
        [json!("2.0.0"), json!("0.9.0"), json!("garbage"), json!(""), json!("1"), json!(1)],
        |version| {
            let mut bundle = hako.bundle();
            bundle.set("/ociVersion", version.clone());
            hako.refuses(&bundle, "/ociVersion");
        },
    );
    let mut bundle = hako.bundle();
    bundle.remove("/ociVersion");
    hako.run(&bundle).fails("ociVersion");
}

#[test]
fn a_read_only_root_refuses_writes() {
    let hako = Runtime::new();
    let rows = [
        (json!(true), json!({ "errno": "EROFS" })),
        (json!(false), json!("ok")),
        (json!(null), json!("ok")),
    ];
    each(rows, |(readonly, expected)| {
        let mut bundle = hako.bundle();
        bundle.set("/root/readonly", readonly.clone());
        if readonly.is_null() {
            bundle.remove("/root/readonly");
        }
        assert_eq!(hako.ask(&bundle, "write /file x")[0], *expected);
        assert_eq!(bundle.rootfs("/file").exists(), *expected == "ok");
    });
}

#[test]
fn the_root_may_be_anywhere() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.write("/mark", "mine");
    let absolute = bundle.rootfs("/").display().to_string();
    each(["rootfs", "./rootfs/", "../bundle-0/rootfs", &absolute], |path| {
        let mut bundle = bundle.clone();
        bundle.set("/root/path", *path);
        assert_eq!(
            hako.ask(&bundle, "read /mark -- ls /"),
            [json!("mine"), json!(["bin", "dev", "mark", "proc", "sys"]),]
        );
    });
}

#[test]
fn the_bundle_may_be_relative_or_the_current_directory() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    bundle.save();
    let run = hako.command(&["run"]).current_dir(bundle.dir()).last(bundle.id());
    assert_eq!(hako.finish(run, &bundle).ok().json()["pid"], 1);
    let run = hako.command(&["run", "--bundle", "."]).current_dir(bundle.dir()).last(bundle.id());
    assert_eq!(hako.finish(run, &bundle).ok().json()["pid"], 1);
}

#[test]
fn nothing_of_the_hosts_root_is_visible() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_SYS_CHROOT", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
    let up = "/../../../../../../../..";
    let seen = hako.ask(&bundle, &format!("ls {up} -- ls / -- report"));
    assert_eq!(seen[0], seen[1]);
    let targets = seen[2]["mounts"].as_array().unwrap().iter().map(|mount| &mount["target"]);
    let targets: Vec<&Value> = targets.collect();
    assert!(
        targets.iter().all(|target| !target.as_str().unwrap().contains("hako-test")),
        "{targets:?}"
    );
    assert_eq!(targets.iter().filter(|target| **target == "/").count(), 1, "the old root is gone");
}

#[test]
fn impossible_roots_are_refused() {
    let hako = Runtime::new();
    let file = hako.file("file", "");
    each([json!("missing"), json!("/no/such/dir"), json!(file), json!(""), json!(7)], |path| {
        let mut bundle = hako.bundle();
        bundle.set("/root/path", path.clone());
        hako.refuses(&bundle, "/root/path");
    });
    let mut bundle = hako.bundle();
    bundle.remove("/root");
    hako.run(&bundle).fails("root");
}

#[test]
fn names_are_those_of_the_container_alone() {
    let hako = Runtime::new();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut bundle = hako.bundle();
    bundle.set("/hostname", "a-name").set("/domainname", "a.domain");
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["names"]["hostname"], "a-name");
    assert_eq!(seen["names"]["domainname"], "a.domain");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), host);
    bundle.remove("/hostname");
    assert_eq!(hako.inspect(&bundle)["names"]["hostname"], host.trim());
}

#[test]
fn names_need_a_uts_namespace() {
    let hako = Runtime::new();
    each(["hostname", "domainname"], |field| {
        let mut bundle = hako.bundle();
        bundle.without_namespace("uts").remove("/hostname");
        bundle.set(&format!("/{field}"), "mine");
        hako.refuses(&bundle, &format!("/{field}"));
    });
}

#[test]
fn names_that_are_too_long_are_refused() {
    let hako = Runtime::new();
    each(["hostname", "domainname"], |field| {
        let mut bundle = hako.bundle();
        bundle.set(&format!("/{field}"), "x".repeat(65));
        hako.refuses(&bundle, &format!("/{field}"));
    });
}

#[test]
fn unknown_properties_are_ignored() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    for pointer in
        ["/futureThing", "/process/futureThing", "/linux/futureThing", "/root/futureThing"]
    {
        bundle.set(pointer, json!({ "deep": [1, 2, 3] }));
    }
    assert_eq!(hako.inspect(&bundle)["pid"], 1);
}

#[test]
fn annotations_appear_in_the_state() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let annotations = json!({ "org.example.key": "value", "empty": "", "ünï": "cödé" });
    bundle.set("/annotations", annotations.clone());
    assert_eq!(hako.create(&bundle).state()["annotations"], annotations);
}

#[test]
fn malformed_annotations_are_refused() {
    let hako = Runtime::new();
    each([json!({ "": "value" }), json!({ "key": 5 }), json!(["key"])], |annotations| {
        let mut bundle = hako.bundle();
        bundle.set("/annotations", annotations.clone());
        hako.refuses(&bundle, "/annotations");
    });
}

#[test]
fn cache_allocation_is_refused_where_the_host_has_none() {
    let hako = Runtime::new();
    if !std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        let mut bundle = hako.bundle();
        bundle.set("/linux/intelRdt", json!({ "closID": "guaranteed", "l3CacheSchema": "L3:0=7" }));
        hako.refuses(&bundle, "/linux/intelRdt");
    }
}
