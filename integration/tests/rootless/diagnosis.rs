//! What is missing on the machine: each thing has its own sentence, and the
//! command that mends it.

use hako_integration::{Output, Runtime, copy_program, each, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[track_caller]
fn says(output: &Output, words: &[&str]) {
    output.fails("hako: ");
    for word in words {
        assert!(output.stderr.contains(word), "{word}: {output}");
    }
    assert_eq!(
        output.stderr.matches("hint: ").count(),
        output.stderr.matches("config.json: ").count().max(1),
        "{output}"
    );
}

/// The limit belongs to the user namespace that it is set in: the host keeps its own.
#[test]
fn user_namespaces_that_are_switched_off() {
    let hako = Runtime::as_namespace_root(&["--mount"]);
    let bundle = {
        let mut bundle = hako.bundle();
        let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
        bundle.namespace("user", None);
        bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
        bundle.remove("/mounts/2/options/5");
        bundle
    };
    let _ = hako.inspect(&bundle);
    let set = |value: &str| {
        let mut command = Command::new("nsenter");
        let namespace = format!("--user={}", hako.holder().path("user"));
        let script = format!("echo {value} >/proc/sys/user/max_user_namespaces");
        let status = command.arg(namespace).args(["--setuid", "0", "sh", "-c", &script]).status();
        assert!(status.unwrap().success());
    };
    set("0");
    let output = hako.run(&bundle);
    says(
        &output,
        &[
            "user namespaces are switched off (user.max_user_namespaces is 0)",
            "sysctl -w user.max_user_namespaces=15000",
        ],
    );
    set("100");
    let _ = hako.inspect(&bundle);
}

/// What `hako spec --rootless` says.
fn note(hako: &Runtime) -> Output {
    let _ = fs::remove_file(hako.user().home().join("config.json"));
    hako.command(&["spec", "--rootless"]).current_dir(hako.user().home()).output()
}

/// Shows the test's thread such a file in /etc.
fn etc(hako: &Runtime, name: &str, text: &str) -> PathBuf {
    let file = hako.file(name, text);
    hako.bind(&file, &Path::new("/etc").join(name), false);
    file
}

fn newuidmap() -> PathBuf {
    let path = Command::new("sh").args(["-c", "command -v newuidmap"]).output().unwrap();
    PathBuf::from(String::from_utf8(path.stdout).unwrap().trim())
}

/// Covers newuidmap for this test's thread.
fn cover_newuidmap(hako: &Runtime, with: &Path) {
    hako.bind(with, &newuidmap(), false);
}

/// A copy of it that is neither setuid nor anything else.
fn copied_newuidmap(hako: &Runtime) -> PathBuf {
    let copy = hako.scratch().join("newuidmap");
    copy_program(&newuidmap(), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    copy
}

#[test]
fn helpers_that_are_not_installed() {
    let hako = Runtime::as_user();
    cover_newuidmap(&hako, Path::new("/dev/null"));
    let bundle = hako.bundle();
    let output = hako.refuses(&bundle, "/linux/uidMappings");
    says(
        &output,
        &["newuidmap is not installed", "apt-get install uidmap", "hako spec --rootless"],
    );
    // One id goes without.
    let seen = hako.inspect(&super::specified(&hako));
    assert_eq!(seen["uid_map"], json!([[0, hako.user().uid(), 1]]));
}

#[test]
fn helpers_without_privilege() {
    let hako = Runtime::as_user();
    let copy = copied_newuidmap(&hako);
    cover_newuidmap(&hako, &copy);
    let output = hako.refuses(&hako.bundle(), "/linux/uidMappings");
    says(
        &output,
        &[
            "newuidmap is neither setuid root nor has capabilities",
            &format!("chmod u+s {},", newuidmap().display()),
        ],
    );
    let output = note(&hako).ok();
    // Groups lack something else.
    etc(&hako, "subgid", "");
    let both = note(&hako).ok();
    for (output, words) in [
        (&output, "neither setuid root"),
        (&output, "as root: chmod u+s"),
        (&both, "as root: chmod u+s"),
        (&both, "/etc/subgid gives hako-user no group ids; for more"),
    ] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
}

#[test]
fn helpers_that_the_user_may_not_execute() {
    let hako = Runtime::as_user();
    let copy = copied_newuidmap(&hako);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4750)).unwrap();
    cover_newuidmap(&hako, &copy);
    let output = hako.refuses(&hako.bundle(), "/linux/uidMappings");
    says(&output, &["newuidmap may not be executed by hako's user", "as root: chmod a+rx /"]);
    assert_eq!(hako.inspect(&super::specified(&hako))["uid_map"][0][2], 1);
}

/// As after newgrp(1): the helpers compare the group with that of the login.
#[test]
fn helpers_serve_the_login_group() {
    let hako = Runtime::as_user();
    let uid = hako.user().uid();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    etc(&hako, "passwd", &passwd.replace(&format!(":{uid}:{uid}:"), &format!(":{uid}:33:")));
    let output = hako.refuses(&hako.bundle(), "/linux/uidMappings");
    says(&output, &["newuidmap serves only who is in the group", "login group, which is 33"]);
    assert_eq!(hako.inspect(&super::specified(&hako))["gid_map"], json!([[0, uid, 1]]));
}

#[test]
fn helpers_serve_who_is_in_passwd() {
    let hako = Runtime::as_user();
    let uid = hako.user().uid();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    etc(&hako, "passwd", &passwd.replace(&format!(":x:{uid}:"), ":x:54320:"));
    etc(&hako, "subuid", &format!("{uid}:{}:65536\n", hako.user().first_subordinate()));
    let output = hako.refuses(&hako.bundle(), "/linux/uidMappings");
    let how = format!("as root: useradd --uid {uid} NAME");
    says(&output, &["needs a line in /etc/passwd", &how]);
    assert!(!output.stderr.contains(&format!(" {uid}; then write")), "{output}");
    assert_eq!(hako.inspect(&super::specified(&hako))["uid_map"], json!([[0, uid, 1]]));
}

/// Only the helper, which is root, reads it.
#[test]
fn subordinate_ids_that_cannot_be_read() {
    let hako = Runtime::as_user();
    let first = hako.user().first_subordinate();
    let file = etc(&hako, "subuid", &format!("hako-user:{first}:65536\n"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(hako.inspect(&hako.bundle())["uid_map"][1][1], first);
    let output = note(&hako).ok();
    for words in ["hako-user may not read /etc/subuid", "as root: chmod 644 /etc/subuid"] {
        assert!(output.stderr.contains(words), "{words}: {output}");
    }
}

/// In a user namespace without the machine's root, whose helpers are nobody's.
#[test]
fn user_namespaces_without_root_or_anybody() {
    let unshare = ["unshare", "--user", "--map-user=5", "--map-group=5"];
    let hako = Runtime::as_user().launched_by(&unshare);
    let mut bundle = hako.bundle();
    let output = hako.refuses(&bundle, "/linux/uidMappings");
    says(&output, &["has an owner whom the user namespace that hako is in does not know"]);
    assert!(output.stderr.contains("enter that namespace as its root (unshare -r)"), "{output}");
    let output = note(&hako).ok();
    assert!(output.stderr.contains("root, which is user 5 of the user namespace"), "{output}");

    let hako = hako.launched_by(&["unshare", "--user"]);
    bundle.set("/linux/uidMappings/1/size", 1);
    let output = hako.refuses(&bundle, "/linux/uidMappings/1");
    says(&output, &["/proc/self/uid_map is empty: enter that namespace as its root (unshare -r)"]);
    says(&note(&hako), &["no user id can be mapped", "/proc/self/uid_map is empty"]);
}

/// With privilege in it, they map the ids it has.
#[test]
fn user_namespaces_with_privilege_but_without_root() {
    let unshare = ["unshare", "--user", "--map-user=5", "--map-group=5", "--keep-caps", "--mount"];
    let hako = Runtime::as_user().launched_by(&unshare);
    let output = note(&hako).ok();
    assert!(output.stderr.contains("root, which is user 5 of the user namespace"), "{output}");
    let seen = hako.inspect(&super::specified(&hako));
    let map = json!([[0, 5, 1]]);
    assert_eq!((&seen["uid_map"], &seen["gid_map"]), (&map, &map));
}

/// Of several the first in PATH is used, and named.
#[test]
fn helpers_that_are_first_in_the_path() {
    let hako = Runtime::as_user();
    let directory = hako.dir("io/first");
    let copy = directory.join("newuidmap");
    copy_program(&newuidmap(), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let bundle = hako.bundle();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let roots = format!("hint: as root: chmod u+s {}, or install", copy.display());
    for hint in [&roots, "hint: it is not root's: put another one before it in PATH"] {
        let output = hako.finish(hako.on_bundle(&["run"], &bundle).env("PATH", &path), &bundle);
        says(&output, &[&format!("{} is neither setuid", copy.display()), hint]);
        hako.user().own(&directory);
    }
}

/// A capability of the file's is as good (VFS_CAP_REVISION_2, CAP_SETUID).
#[test]
fn helpers_with_capabilities_instead_of_the_setuid_bit() {
    let hako = Runtime::as_user();
    let copy = copied_newuidmap(&hako);
    let mut value = [0; 20];
    value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1_u32 << 7).to_le_bytes());
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&copy, "security.capability", &value, flags).unwrap();
    cover_newuidmap(&hako, &copy);
    let seen = hako.inspect(&hako.bundle());
    assert_eq!(seen["uid_map"][1][1], hako.user().first_subordinate());
}

#[test]
fn helpers_that_get_no_privilege() {
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle);
    let output = hako.finish(command.before("exec setpriv --no-new-privs \"$0\" \"$@\""), &bundle);
    says(&output, &["since hako was started with no_new_privs", "NoNewPrivileges="]);

    let copies = hako.tmpfs("nosuid");
    let copy = copies.join("newuidmap");
    copy_program(&copied_newuidmap(&hako), &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    cover_newuidmap(&hako, &copy);
    let flags = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::NOSUID;
    rustix::mount::mount_remount(newuidmap(), flags, c"").unwrap();
    let output = hako.refuses(&bundle, "/linux/uidMappings");
    says(&output, &["is on a file system that is mounted nosuid", "remount,suid"]);
}

#[test]
fn ids_that_are_not_the_users() {
    let hako = Runtime::as_user();
    let first = hako.user().first_subordinate();
    each(["uidMappings", "gidMappings"], |field| {
        let mut bundle = hako.bundle();
        bundle.set(&format!("/linux/{field}"), json!([]));
        let output = hako.refuses(&bundle, &format!("/linux/{field}"));
        says(&output, &["at least one mapping", "hako spec --rootless writes mappings"]);
        let mut bundle = hako.bundle();
        bundle.set(&format!("/linux/{field}/1/size"), 65_537);
        let output = hako.refuses(&bundle, &format!("/linux/{field}/1"));
        let ids =
            format!("ids {first} to {} of the host are not hako-user's to map", first + 65_536);
        let given = format!(
            "gives hako-user the {} ids {first} to {}",
            if field.starts_with('u') { "user" } else { "group" },
            first + 65_535
        );
        says(&output, &[&ids, &given, "usermod --add-subuids"]);
    });
}

/// Too few ids for what the process is to be.
#[test]
fn ids_that_the_process_needs() {
    for world in [Runtime::as_user, Runtime::as_lone_user] {
        let hako = world();
        let place = |field: &str| format!("/process/user/{field}");
        for (field, value, what) in [
            ("uid", json!(70_000), "user id 70000 is not mapped"),
            ("gid", json!(70_001), "group id 70001 is not mapped"),
        ] {
            let mut bundle = hako.bundle();
            bundle.set(&place(field), value);
            let output = hako.refuses(&bundle, &place(field));
            says(&output, &[what, "usermod --add-subuids", "hako spec --rootless"]);
        }
    }
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/linux/gidMappings/1/size", 100).set("/process/user/gid", 101);
    let output = hako.refuses(&bundle, "/process/user/gid");
    says(&output, &["group id 101 is not mapped", "less than you have: hako spec --rootless"]);
    let mut bundle = hako.bundle();
    bundle.remove("/linux/gidMappings/1").remove("/mounts/2/options/5");
    bundle.set("/process/user/additionalGids", json!([5]));
    let output = hako.refuses(&bundle, "/process/user/additionalGids");
    says(&output, &["the kernel denies it", "less than you have: hako spec --rootless"]);
    let mut bundle = hako.bundle();
    bundle.set("/process/user/additionalGids", json!([5, 70_002]));
    let output = hako.refuses(&bundle, "/process/user/additionalGids/1");
    says(&output, &["group id 70002 is not mapped", "/etc/subgid gives hako-user the group ids"]);
}

/// In a rootfs of somebody else's, root of the container has no privilege.
#[test]
fn a_rootfs_of_somebody_elses() {
    let hako = Runtime::as_user();
    let bundle = hako.bundle();
    let rootfs = bundle.rootfs("/");
    // That makes the mount points.
    let _ = hako.inspect(&bundle);
    std::os::unix::fs::chown(&rootfs, Some(0), Some(0)).unwrap();
    let _ = hako.inspect(&bundle);
    fs::set_permissions(&rootfs, fs::Permissions::from_mode(0o700)).unwrap();
    let whose = "hint: the rootfs belongs to somebody whom the user namespace does not map";
    let remedy = "have it given to you (chown -R), or let others into it (chmod o+x)";
    says(&hako.refuses(&bundle, "/mounts/0"), &["cannot open /proc", whose, remedy]);
    let output = hako.finish(hako.on_bundle(&["run", "--overlay"], &bundle), &bundle);
    says(&output, &["cannot look into", whose, remedy]);
    output.refuses("/root/path");
    fs::set_permissions(&rootfs, fs::Permissions::from_mode(0o755)).unwrap();
    let file = hako.file("file", "");
    let tmpfs = json!({ "destination": "/missing", "type": "tmpfs", "source": "tmpfs" });
    let bind = json!({ "destination": "/missing", "source": file, "options": ["bind"] });
    for mount in [tmpfs, bind] {
        let mut bundle = bundle.clone();
        let pointer = bundle.mount(mount);
        let output = hako.refuses(&bundle, &pointer);
        says(&output, &["cannot create /missing in the container", whose, "or use --overlay"]);
        // As the hint has it.
        let _ = hako.finish(hako.on_bundle(&["run", "--overlay"], &bundle), &bundle).ok();
    }
}

#[test]
fn the_domain_name_as_a_parameter() {
    let hako = Runtime::as_user();
    let mut bundle = hako.bundle();
    bundle.set("/linux/sysctl", json!({ "kernel.domainname": "example.test" }));
    let output = hako.refuses(&bundle, "/linux/sysctl/kernel.domainname");
    says(&output, &["cannot open /proc/sys/kernel/domainname", "use the field domainname"]);
    // As the hint has it.
    bundle.remove("/linux/sysctl").set("/domainname", "example.test");
    assert_eq!(hako.inspect(&bundle)["names"]["domainname"], "example.test");
}

/// Where no directory for state is, it is said which are looked for.
#[test]
fn no_place_for_state() {
    let hako = Runtime::as_user();
    let command = hako.command(&["list"]).env("XDG_RUNTIME_DIR", "");
    says(
        &command.output(),
        &["there is no directory for the state of containers", "loginctl enable-linger"],
    );
    let bundle = hako.bundle();
    // A relative path is as good as none; root's is kept by su(1); one that is not there would be
    // made where the user may make it.
    let private = hako.dir("private");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let missing = private.join("1000");
    each(
        [
            ("run", "there is no directory for the state of containers"),
            (private.to_str().unwrap(), "cannot write to"),
            (missing.to_str().unwrap(), "cannot write to"),
            ("/no-such-directory/1000", "cannot make state directory"),
            ("/etc/passwd", "/etc/passwd is no directory"),
        ],
        |(directory, words)| {
            let create = hako.on_bundle(&["create"], &bundle);
            let output = create.env("XDG_RUNTIME_DIR", directory).output();
            says(&output, &[words, "set XDG_RUNTIME_DIR to a directory of yours"]);
        },
    );
    let file = hako.file("home/hako", "");
    let create = hako.on_bundle(&["create"], &bundle);
    let output = create.env("XDG_RUNTIME_DIR", hako.user().home().to_str().unwrap()).output();
    let hint = format!("hint: {} is no directory: remove it, or use --root", file.display());
    says(&output, &["cannot make state directory", &hint]);
    fs::remove_file(file).unwrap();
}
