//! hako in containers, three deep and with as little privilege as an engine gives.

use hako_integration::{Bundle, Output, Runtime, json};

/// Everything that `docker run --privileged` gives.
fn privileged(bundle: &mut Bundle) {
    let all = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_ADMIN",
        "NET_RAW",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_ADMIN",
        "SYS_NICE",
        "SYS_RESOURCE",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ];
    let all: Vec<String> = all.iter().map(|name| format!("CAP_{name}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    // What the test has not got itself, nobody in it has.
    let held = std::fs::read_to_string("/proc/self/status").unwrap();
    let has_resource = held.lines().any(|line| {
        let mask = line.strip_prefix("CapBnd:").map(|mask| u64::from_str_radix(mask.trim(), 16));
        mask.is_some_and(|mask| mask.unwrap() & (1 << 24) != 0)
    });
    let all: Vec<&str> =
        all.into_iter().filter(|name| has_resource || *name != "CAP_SYS_RESOURCE").collect();
    bundle.capabilities(&all);
    bundle.set("/process/noNewPrivileges", false).set("/root/readonly", false);
    bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    bundle.set("/mounts/6/options", ["nosuid", "noexec", "nodev"]);
}

/// Makes a container that runs hako on the bundle that lies in it.
fn carry(bundle: &mut Bundle, hako: &std::path::Path, deeper: &[(&std::path::Path, &str)]) {
    bundle.bind(hako, "/bin/hako", &["bind"]);
    for (path, place) in deeper {
        bundle.bind(path, place, &["rbind"]);
    }
    for place in ["/run", "/tmp"] {
        bundle.mount(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" }));
    }
    bundle.set(
        "/process/args",
        ["/bin/hako", "--root", "/run/hako", "run", "--bundle", "/bundle", "inner"],
    );
}

/// Runs hako in hako in hako, the innermost with the inspector's full report.
fn three_deep(hako: &Runtime, change: impl Fn(&mut Bundle)) -> Output {
    let [mut outer, mut middle, mut inner] = [hako.bundle(), hako.bundle(), hako.bundle()];
    for bundle in [&mut middle, &mut inner] {
        if bundle.get("/linux/cgroupsPath").is_string() {
            bundle.remove("/linux/cgroupsPath");
        }
        change(bundle);
    }
    privileged(&mut outer);
    privileged(&mut middle);
    let (second, third) = (middle.dir().to_owned(), inner.dir().to_owned());
    carry(&mut outer, hako.program(), &[(&second, "/bundle"), (&third, "/third")]);
    carry(&mut middle, "/bin/hako".as_ref(), &[("/third".as_ref(), "/bundle")]);
    middle.save();
    inner.save();
    hako.run(&outer)
}

#[test]
fn three_deep_as_root() {
    let hako = Runtime::new();
    let seen = three_deep(&hako, |_| ()).ok().json();
    assert_eq!((&seen["pid"], &seen["names"]["hostname"]), (&json!(1), &json!("hako-test")));
    // KILL, NET_BIND_SERVICE, AUDIT_WRITE
    assert_eq!(seen["capabilities"]["effective"], "0000000020000420");
    assert_eq!(seen["status"]["NSpid"], "1");
}

#[test]
fn three_deep_as_a_user() {
    let hako = Runtime::as_user();
    let without = |bundle: &mut Bundle| {
        bundle.without_namespace("user");
        bundle.remove("/linux/uidMappings").remove("/linux/gidMappings");
    };
    let seen = three_deep(&hako, without).ok().json();
    assert_eq!((&seen["pid"], &seen["uid"]["real"]), (&json!(1), &json!(0)));
    assert_eq!(seen["uid_map"][0], json!([0, hako.user().uid(), 1]));
    // Each with a user namespace of its own, below the others.
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 },
                      { "containerID": 1, "hostID": 1, "size": 499 }]);
    let with = |bundle: &mut Bundle| {
        bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps.clone());
    };
    let seen = three_deep(&hako, with).ok().json();
    assert_eq!((&seen["pid"], &seen["uid_map"]), (&json!(1), &json!([[0, 0, 1], [1, 1, 499]])));
}

/// What docker gives without being asked: some capabilities, a /proc in parts, and
/// a filter that keeps namespaces away.
fn unprivileged(hako: &Runtime, inner: &Bundle) -> Bundle {
    let mut outer = hako.bundle();
    outer.capabilities(&[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETPCAP",
        "CAP_SYS_CHROOT",
        "CAP_MKNOD",
        "CAP_SETFCAP",
    ]);
    outer.set("/root/readonly", false).set("/process/noNewPrivileges", false);
    carry(&mut outer, hako.program(), &[(inner.dir(), "/bundle")]);
    inner.save();
    outer
}

#[test]
fn in_a_container_without_privileges() {
    let hako = Runtime::new();
    let mut inner = hako.bundle();
    inner.remove("/linux/cgroupsPath");
    let outer = unprivileged(&hako, &inner);
    let output = hako.run(&outer);
    output.fails("root without CAP_SYS_ADMIN can make containers only with a user namespace");
    assert!(output.stderr.contains("--cap-add SYS_ADMIN"), "{output}");

    // With one, the covered parts of /proc are in the way.
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    inner.namespace("user", None);
    inner.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    inner.remove("/mounts/2/options/5");
    inner.save();
    let output = hako.run(&outer);
    output.fails("parts of /proc are covered: /proc/");
    assert!(output.stderr.contains("systempaths=unconfined"), "{output}");

    // And with docker's filter not even the namespace is to be had.
    let mut filtered = outer.clone();
    let rule =
        json!({ "names": ["clone3", "unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 });
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
    filtered.set("/linux/seccomp", filter);
    let output = hako.run(&filtered);
    output.fails("since a seccomp filter that hako runs under refuses it");
    assert!(output.stderr.contains("seccomp=unconfined"), "{output}");

    // All that the hints ask for.
    let mut open = outer.clone();
    open.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    let seen = hako.run(&open).ok().json();
    assert_eq!((&seen["pid"], &seen["uid_map"]), (&json!(1), &json!([[0, 0, 1]])));
}
