//! Masked and read-only paths.

use hako_integration::{Bundle, Runtime, each, in_set, json, mount_at};
use std::fs;
use std::os::unix::fs::symlink;

/// A writable rootfs with a directory and files to hide or protect.
fn bundle(hako: &Runtime, field: &str, paths: &[&str]) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.write("/secret/file", "hidden");
    bundle.write("/secret/deep/file", "hidden");
    bundle.write("/file", "hidden");
    symlink("/secret", bundle.rootfs("/link")).unwrap();
    bundle.set("/root/readonly", false).set(&format!("/linux/{field}"), paths);
    bundle
}

#[test]
fn a_masked_file_reads_as_empty() {
    let hako = Runtime::new();
    let bundle = bundle(&hako, "maskedPaths", &["/file"]);
    let seen = hako.ask(&bundle, "read /file -- stat /file -- open /file write -- unlink /file");
    assert_eq!(seen[0], "");
    assert_eq!(
        (&seen[1]["type"], &seen[1]["major"], &seen[1]["minor"]),
        (&json!("char"), &json!(1), &json!(3))
    );
    assert_eq!(seen[3], json!({ "errno": "EBUSY" }), "the mask cannot be taken away");
    assert_eq!(fs::read_to_string(bundle.rootfs("/file")).unwrap(), "hidden");
}

#[test]
fn a_masked_directory_is_empty_and_read_only() {
    let hako = Runtime::new();
    let bundle = bundle(&hako, "maskedPaths", &["/secret"]);
    let chain =
        "ls /secret -- read /secret/file -- write /secret/new x -- mkdir /secret/new -- report";
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen[0], json!([]));
    assert_eq!(seen[1], json!({ "errno": "ENOENT" }));
    assert_eq!(seen[2], json!({ "errno": "EROFS" }));
    assert_eq!(seen[3], json!({ "errno": "EROFS" }));
    assert!(in_set(&mount_at(&seen[4], "/secret")["options"], "ro"));
    assert_eq!(fs::read_to_string(bundle.rootfs("/secret/file")).unwrap(), "hidden");
}

#[test]
fn many_paths_can_be_masked() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let names: Vec<String> = (0..60).map(|number| format!("/masked/{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        if number % 2 == 0 {
            bundle.write(&format!("{name}/inner"), "hidden");
        } else {
            bundle.write(name, "hidden");
        }
    }
    bundle.set("/linux/maskedPaths", names.clone());
    let chain: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let verb = if number % 2 == 0 { "ls" } else { "read" };
            format!("{verb} {name}")
        })
        .collect();
    let seen = hako.ask(&bundle, &chain.join(" -- "));
    for (number, value) in seen.iter().enumerate() {
        let expected = if number % 2 == 0 { json!([]) } else { json!("") };
        assert_eq!(*value, expected, "{}", names[number]);
    }
}

#[test]
fn masks_work_on_proc_sys_and_mounts() {
    let hako = Runtime::new();
    let mut bundle = bundle(
        &hako,
        "maskedPaths",
        &["/proc/cpuinfo", "/proc/fs", "/sys/kernel", "/mnt/file", "/mnt/dir"],
    );
    let source = hako.dir("source/dir").parent().unwrap().to_path_buf();
    let _ = hako.file("source/file", "hidden");
    let _ = hako.file("source/dir/file", "hidden");
    bundle.bind(&source, "/mnt", &["rbind"]);
    let chain =
        "read /proc/cpuinfo -- ls /proc/fs -- ls /sys/kernel -- read /mnt/file -- ls /mnt/dir";
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen, [json!(""), json!([]), json!([]), json!(""), json!([])]);
    bundle.set("/linux/maskedPaths", json!([]));
    let seen = hako.ask(&bundle, chain);
    assert!(seen.iter().all(|value| *value != "" && *value != json!([])), "the control: {seen:?}");
}

#[test]
fn missing_paths_are_passed_over() {
    let hako = Runtime::new();
    each(["maskedPaths", "readonlyPaths"], |field| {
        let paths = ["/no/such/path", "/file", "/proc/no-such-file"];
        let bundle = bundle(&hako, field, &paths);
        let seen = hako.ask(&bundle, "ls / -- read /file");
        assert!(!in_set(&seen[0], "no"), "nothing is made: {}", seen[0]);
        assert_eq!(seen[1], if *field == "maskedPaths" { "" } else { "hidden" });
    });
}

#[test]
fn masks_may_overlap() {
    let hako = Runtime::new();
    each(
        [&["/secret", "/secret/file"][..], &["/secret/file", "/secret"], &["/secret", "/secret"]],
        |paths| {
            let bundle = bundle(&hako, "maskedPaths", paths);
            assert_eq!(hako.ask(&bundle, "ls /secret")[0], json!([]));
        },
    );
}

#[test]
fn a_link_is_followed_inside_the_root() {
    let hako = Runtime::new();
    let masked = bundle(&hako, "maskedPaths", &["/link"]);
    assert_eq!(hako.ask(&masked, "ls /link -- ls /secret"), [json!([]), json!([])]);
    let readonly = bundle(&hako, "readonlyPaths", &["/link"]);
    assert_eq!(hako.ask(&readonly, "write /secret/file x")[0], json!({ "errno": "EROFS" }));
}

#[test]
fn read_only_paths_refuse_writes() {
    let hako = Runtime::new();
    let protected = bundle(&hako, "readonlyPaths", &["/secret", "/file"]);
    let chain = "write /secret/file x -- write /secret/deep/file x -- mkdir /secret/new -- write /file x \
                 -- read /secret/deep/file -- read /file -- write /elsewhere x";
    let seen = hako.ask(&protected, chain);
    for value in &seen[..4] {
        assert_eq!(*value, json!({ "errno": "EROFS" }));
    }
    assert_eq!(seen[4..], ["hidden", "hidden", "ok"]);
    let control = bundle(&hako, "readonlyPaths", &[]);
    assert_eq!(hako.ask(&control, "write /secret/file x -- write /file x"), ["ok", "ok"]);
}

#[test]
fn kernel_settings_are_protected_by_default() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_NET_ADMIN"]);
    let seen = hako.ask(&bundle, "open /proc/sys/kernel/domainname write -- report");
    assert_eq!(seen[0], json!({ "errno": "EROFS" }));
    assert!(in_set(&mount_at(&seen[1], "/proc/irq")["options"], "ro"));
    bundle.set("/linux/readonlyPaths", json!([]));
    assert_eq!(hako.ask(&bundle, "open /proc/sys/kernel/domainname write")[0], "ok", "the control");
}

/// A read-only remount that forgets the other flags would let programs run.
#[test]
fn a_read_only_path_keeps_the_flags_of_its_mount() {
    let hako = Runtime::new();
    let mut bundle = bundle(&hako, "readonlyPaths", &["/mnt/dir", "/proc/sys"]);
    let _ = hako.file("source/dir/file", "");
    let options = ["bind", "nosuid", "nodev", "noexec"];
    bundle.bind(&hako.scratch().join("source"), "/mnt", &options);
    bundle.set("/mounts/0/options", json!(["nosuid", "nodev", "noexec"]));
    let seen = hako.inspect(&bundle);
    for target in ["/mnt/dir", "/proc/sys"] {
        let mount = mount_at(&seen, target);
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(in_set(&mount["options"], flag), "lacks {flag}: {mount}");
        }
    }
}

#[test]
fn a_path_may_be_masked_and_read_only() {
    let hako = Runtime::new();
    let mut bundle = bundle(&hako, "maskedPaths", &["/secret", "/file"]);
    bundle.set("/linux/readonlyPaths", json!(["/secret", "/file"]));
    assert_eq!(hako.ask(&bundle, "ls /secret -- read /file"), [json!([]), json!("")]);
}

/// No peer checks it: they mask nothing, silently.
#[test]
fn relative_paths_are_refused() {
    let hako = Runtime::new();
    each(["maskedPaths", "readonlyPaths"], |field| {
        for path in ["file", "./file", "../file", ""] {
            let bundle = bundle(&hako, field, &["/secret", path]);
            hako.refuses(&bundle, &format!("/linux/{field}"));
        }
    });
}
