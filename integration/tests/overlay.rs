//! A writable layer over the bundle's root, made by the runtime itself. No peer has one.

use hako_integration::{Bundle, Command, Runtime, Value, each, json, mount_at};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// A bundle with a writable root and a file in it to change.
fn bundle_with_a_file(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/root/readonly", false).write("/etc/file", "original");
    bundle.write("/etc/doomed", "still here");
    bundle
}

/// Runs the inspector over an overlay.
fn ask(hako: &Runtime, bundle: &Bundle, options: &[&str], chain: &str) -> Vec<Value> {
    let mut bundle = bundle.clone();
    bundle.inspector(chain);
    let command = options.iter().fold(hako.on_bundle(&["run"], &bundle), |c, option| c.arg(option));
    hako.finish(command, &bundle).ok().values()
}

/// Every path below a directory, with content.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().unwrap().is_dir();
        found.insert(path.clone(), if is_dir { Vec::new() } else { fs::read(&path).unwrap() });
        if is_dir {
            found.extend(tree(&path));
        }
    }
    found
}

const CHANGES: &str = "write /etc/file changed -- unlink /etc/doomed -- write /new fresh -- mkdir /dir -- write /bin/x y";

#[test]
fn changes_are_seen_inside_and_gone_afterwards() {
    let hako = Runtime::new();
    let bundle = bundle_with_a_file(&hako);
    let before = tree(&bundle.rootfs("/"));
    for _ in 0..2 {
        let chain =
            format!("{CHANGES} -- read /etc/file -- read /etc/doomed -- read /new -- report");
        let seen = ask(&hako, &bundle, &["--overlay"], &chain);
        assert_eq!(seen[..5], ["ok", "ok", "ok", "ok", "ok"]);
        assert_eq!(seen[5..8], [json!("changed"), json!({ "errno": "ENOENT" }), json!("fresh")]);
        assert_eq!(mount_at(&seen[8], "/")["type"], "overlay");
        // Not even the mount points of /proc and the like are made in it.
        assert_eq!(tree(&bundle.rootfs("/")), before, "the bundle's root is changed");
    }
}

#[test]
fn a_directory_keeps_the_changes() {
    let hako = Runtime::new();
    let bundle = bundle_with_a_file(&hako);
    let before = tree(&bundle.rootfs("/"));
    let dir = hako.scratch().join("changes");
    let option = format!("--overlay={}", dir.display());
    assert_eq!(ask(&hako, &bundle, &[&option], CHANGES), ["ok", "ok", "ok", "ok", "ok"]);
    assert_eq!(fs::read_to_string(dir.join("upper/new")).unwrap(), "fresh");
    assert_eq!(fs::read_to_string(dir.join("upper/etc/file")).unwrap(), "changed");
    let again = ask(&hako, &bundle, &[&option], "read /new -- read /etc/file -- read /etc/doomed");
    assert_eq!(again, [json!("fresh"), json!("changed"), json!({ "errno": "ENOENT" })]);
    assert_eq!(tree(&bundle.rootfs("/")), before, "the bundle's root is changed");
}

#[test]
fn a_directory_is_relative_to_the_caller() {
    let hako = Runtime::new();
    let mut bundle = bundle_with_a_file(&hako);
    bundle.inspector("write /new fresh");
    let cwd = hako.dir("caller");
    let command = hako.on_bundle(&["run", "--overlay=kept"], &bundle).current_dir(&cwd);
    let _ = hako.finish(command, &bundle).ok();
    assert!(cwd.join("kept/upper/new").exists());
}

#[test]
fn further_layers_lie_between_the_first_one_on_top() {
    let hako = Runtime::new();
    let bundle = bundle_with_a_file(&hako);
    let top = hako.file("top/etc/file", "of the top");
    let _ = hako.file("top/only-top", "1");
    let _ = hako.file("middle/etc/file", "of the middle");
    let _ = hako.file("middle/only-middle", "2");
    let layers = ["top", "middle"].map(|name| hako.scratch().join(name));
    let options: Vec<&str> = std::iter::once("--overlay")
        .chain(layers.iter().flat_map(|layer| ["--overlay-lower", layer.to_str().unwrap()]))
        .collect();
    let chain = "read /etc/file -- read /only-top -- read /only-middle -- read /etc/doomed \
                 -- write /etc/file mine -- read /etc/file";
    let seen = ask(&hako, &bundle, &options, chain);
    assert_eq!(seen, ["of the top", "1", "2", "still here", "ok", "mine"]);
    assert_eq!(fs::read_to_string(top).unwrap(), "of the top", "a lower layer is changed");
}

/// `create` under an engine takes no such flags.
#[test]
fn annotations_ask_for_the_same() {
    let hako = Runtime::new();
    let kept = hako.scratch().join("kept");
    let _ = hako.file("one/mark", "one");
    let _ = hako.file("two/mark", "two");
    let _ = hako.file("two/other", "two");
    let lower = format!("{0}/one:{0}/two", hako.scratch().display());
    each(["", "tmpfs", kept.to_str().unwrap()], |place| {
        let mut bundle = bundle_with_a_file(&hako);
        let annotations = json!({ "org.hako.overlay": place, "org.hako.overlay.lower": lower });
        bundle.set("/annotations", annotations);
        let before = tree(&bundle.rootfs("/"));
        let container = hako.serve(&bundle);
        let seen =
            container.ask("read /mark -- read /other -- write /etc/file new -- read /etc/file");
        assert_eq!(seen, ["one", "two", "ok", "new"]);
        let report = container.ask("report").swap_remove(0);
        assert_eq!(mount_at(&report, "/")["type"], "overlay");
        let _ = container.command(&["delete", "--force"]).output().ok();
        assert_eq!(tree(&bundle.rootfs("/")), before, "the bundle's root is changed");
        assert_eq!(kept.join("upper/etc/file").exists(), *place == kept.to_str().unwrap());
    });
}

/// More than fit into the options of one mount(2).
#[test]
fn two_hundred_layers_are_no_limit() {
    let hako = Runtime::new();
    let bundle = bundle_with_a_file(&hako);
    let mut command: Command =
        hako.on_bundle(&["run", "--overlay"], bundle.clone().inspector("ls /layers"));
    for number in 0..200 {
        let name = format!("layers-of-a-long-image-name/{number:03}-{}", "x".repeat(60));
        let _ = hako.file(&format!("{name}/layers/{number:03}"), "");
        command = command.arg("--overlay-lower").arg(hako.scratch().join(name));
    }
    let seen = hako.finish(command, &bundle).ok().json();
    let expected: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    assert_eq!(seen, json!(expected));
}

#[test]
fn more_layers_than_overlayfs_takes_are_refused_in_a_sentence() {
    let hako = Runtime::new();
    let mut bundle = bundle_with_a_file(&hako);
    let layer = hako.dir("layer").display().to_string();
    let layers = vec![layer; 500].join(":");
    bundle.set("/annotations", json!({ "org.hako.overlay": "", "org.hako.overlay.lower": layers }));
    let output = hako.refuses(&bundle, "/annotations/org.hako.overlay.lower");
    assert!(output.stderr.contains("501 layers"), "{output}");
    assert!(output.stderr.len() < 500, "{output}");
    bundle.set("/annotations", json!({ "org.hako.overlay": "" })).without_namespace("mount");
    hako.refuses(&bundle, "/annotations/org.hako.overlay");
}

#[test]
fn layers_may_have_any_name() {
    let hako = Runtime::new();
    let long = format!("{0}/{0}/{0}/{0}", "n".repeat(120));
    each([long.as_str(), "a:b", "a,b", "a\\b", "a b", "a=b", "ü\"'"], |name| {
        let bundle = bundle_with_a_file(&hako);
        let _ = hako.file(&format!("lower/{name}/mark"), "of the layer");
        let lower = hako.scratch().join("lower").join(name);
        let kept = hako.dir(&format!("kept/{name}"));
        let overlay = format!("--overlay={}", kept.display());
        let options = [&overlay, "--overlay-lower", lower.to_str().unwrap()];
        let seen = ask(&hako, &bundle, &options, "read /mark -- write /new fresh");
        assert_eq!(seen, ["of the layer", "ok"]);
        assert!(kept.join("upper/new").exists());
    });
}

#[test]
fn a_read_only_root_stays_read_only() {
    let hako = Runtime::new();
    let mut bundle = bundle_with_a_file(&hako);
    bundle.set("/root/readonly", true);
    let seen = ask(&hako, &bundle, &["--overlay"], "write /new x -- read /etc/file");
    assert_eq!(seen, [json!({ "errno": "EROFS" }), json!("original")]);
}

#[test]
fn the_root_keeps_its_owner_and_mode() {
    let hako = Runtime::new();
    let bundle = bundle_with_a_file(&hako);
    let root = bundle.rootfs("/");
    fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o1711)).unwrap();
    chown(&root, Some(7), Some(8)).unwrap();
    let seen = ask(&hako, &bundle, &["--overlay"], "stat / -- stat /etc/file");
    assert_eq!(seen[0]["mode"], 0o1711);
    assert_eq!((&seen[0]["uid"], &seen[0]["gid"]), (&json!(7), &json!(8)));
    assert_eq!(seen[1]["uid"], 0);
}

#[test]
fn an_overlay_works_in_a_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = bundle_with_a_file(&hako);
    bundle.user_namespace(100_000);
    let chain = format!("{CHANGES} -- stat /new -- read /etc/file");
    let seen = ask(&hako, &bundle, &["--overlay"], &chain);
    assert_eq!(seen[..5], ["ok", "ok", "ok", "ok", "ok"]);
    assert_eq!((&seen[5]["uid"], &seen[6]), (&json!(0), &json!("changed")));
    assert_eq!(fs::read_to_string(bundle.rootfs("/etc/file")).unwrap(), "original");
}

#[test]
fn a_directory_keeps_the_changes_of_a_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = bundle_with_a_file(&hako);
    bundle.user_namespace(100_000);
    let dir = hako.scratch().join("changes");
    let option = format!("--overlay={}", dir.display());
    for _ in 0..2 {
        let seen = ask(&hako, &bundle, &[&option], "write /new fresh -- stat / -- read /new");
        assert_eq!((&seen[0], &seen[2]), (&json!("ok"), &json!("fresh")));
        assert_eq!(seen[1]["uid"], 0);
    }
}

/// An owner without a mapping looks like nobody; the root is not theirs, nor nobody's.
#[test]
fn a_root_of_somebody_elses_becomes_the_users() {
    for world in [Runtime::as_user, Runtime::as_lone_user] {
        let hako = world();
        let bundle = bundle_with_a_file(&hako);
        chown(bundle.rootfs("/"), Some(0), Some(0)).unwrap();
        let kept = hako.user().home().join("changes");
        let option = format!("--overlay={}", kept.display());
        for option in ["--overlay", &option, &option] {
            let seen = ask(&hako, &bundle, &[option], "stat / -- write /new fresh");
            assert_eq!((&seen[0]["uid"], &seen[0]["gid"]), (&json!(0), &json!(0)), "{option}");
            assert_eq!((&seen[0]["mode"], &seen[1]), (&json!(0o755), &json!("ok")), "{option}");
        }
        let upper = fs::metadata(kept.join("upper")).unwrap();
        assert_eq!((upper.uid(), upper.gid()), (hako.user().uid(), hako.user().uid()));
    }
}

#[test]
fn directories_for_changes_are_not_everybodys() {
    for world in [Runtime::new, Runtime::as_user] {
        let hako = world();
        let bundle = bundle_with_a_file(&hako);
        let kept = hako.dir("home").join("changes");
        let command = hako.on_bundle(&["run"], &bundle).before("umask 0");
        let _ = hako.finish(command.arg(format!("--overlay={}", kept.display())), &bundle).ok();
        for (name, mode) in [("", 0o755), ("upper", 0o755), ("work", 0o700)] {
            let found = fs::metadata(kept.join(name)).unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "{name}: {found:o}");
        }
    }
}

/// Links there would have the container write to what they lead to.
#[test]
fn links_among_the_changes_are_refused() {
    for world in [Runtime::new, Runtime::as_user] {
        let hako = world();
        let bundle = bundle_with_a_file(&hako);
        let elsewhere = hako.dir("elsewhere");
        let uid = fs::metadata(hako.dir("home")).unwrap().uid();
        each(["upper", "work"], |name| {
            let kept = hako.dir(&format!("with-{name}"));
            std::os::unix::fs::symlink(&elsewhere, kept.join(name)).unwrap();
            chown(&kept, Some(uid), None).unwrap();
            chown(&elsewhere, Some(uid), None).unwrap();
            let command = hako.on_bundle(&["run"], &bundle);
            let command = command.arg(format!("--overlay={}", kept.display()));
            let output = hako.finish(command, &bundle);
            output.fails(&format!("--overlay: cannot open overlay directory {}", kept.display()));
            assert!(output.stderr.contains("no symbolic link"), "{output}");
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        });
    }
}

/// A slip of the pen must not make a tree of directories.
#[test]
fn nothing_is_made_above_the_directory_for_changes() {
    let hako = Runtime::new();
    let bundle = bundle_with_a_file(&hako);
    let missing = hako.scratch().join("typo");
    let command = hako.on_bundle(&["run"], &bundle);
    let output = hako.finish(command.arg(format!("--overlay={}/a/b", missing.display())), &bundle);
    output.fails(&format!("--overlay: cannot make {0}/a/b: {0} does not exist", missing.display()));
    assert!(!output.stderr.contains("/root/path"), "{output}");
    assert!(!missing.exists());
}

#[test]
fn impossible_overlays_are_refused() {
    let hako = Runtime::new();
    let file = hako.file("file", "").display().to_string();
    let dir = hako.dir("dir").display().to_string();
    let missing = hako.scratch().join("missing").display().to_string();
    let in_a_file = format!("--overlay={file}/x");
    let on_a_file = format!("--overlay={file}");
    let rows: [(&[&str], &str); 5] = [
        (&["--overlay", "--overlay-lower", &missing], &missing),
        (&["--overlay", "--overlay-lower", &file], &file),
        (&[&in_a_file], &file),
        (&[&on_a_file], &file),
        (&["--overlay-lower", &dir], "--overlay"),
    ];
    each(rows, |(options, named)| {
        let bundle = bundle_with_a_file(&hako);
        let command = hako.on_bundle(&["run"], &bundle).args(*options);
        hako.finish(command, &bundle).fails(named);
    });
    let mut bundle = bundle_with_a_file(&hako);
    bundle.set("/annotations", json!({ "org.hako.overlay.lower": dir }));
    hako.refuses(&bundle, "/annotations/org.hako.overlay.lower");
}
