//! Kernel parameters of the container's namespaces.

use hako_integration::{Runtime, each, json};
use std::fs;

/// What a file below /proc/sys of the host says.
fn on_host(path: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{path}")).unwrap().trim().to_string()
}

#[test]
fn parameters_are_set_inside_and_not_on_the_host() {
    let hako = Runtime::new();
    let rows = [
        ("net.ipv4.ip_unprivileged_port_start", "net/ipv4/ip_unprivileged_port_start", "81"),
        ("net.ipv4.ping_group_range", "net/ipv4/ping_group_range", "7\t8"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward", "1"),
        ("net.ipv4.conf.lo.rp_filter", "net/ipv4/conf/lo/rp_filter", "2"),
        ("kernel.shmmni", "kernel/shmmni", "4097"),
        ("kernel/msgmax", "kernel/msgmax", "8193"),
        ("kernel.sem", "kernel/sem", "250\t32000\t100\t129"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max", "11"),
    ];
    each(rows, |(name, path, value)| {
        let before = on_host(path);
        assert_ne!(before, *value, "the host has that value already");
        let mut bundle = hako.bundle();
        bundle.set("/linux/sysctl", json!({ *name: value.replace('\t', " ") }));
        assert_eq!(hako.ask(&bundle, &format!("read /proc/sys/{path}"))[0], format!("{value}\n"));
        assert_eq!(on_host(path), before);
    });
}

#[test]
fn the_domain_name_can_be_set_as_a_parameter() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/sysctl", json!({ "kernel.domainname": "example.test" }));
    assert_eq!(hako.inspect(&bundle)["names"]["domainname"], "example.test");
    assert_ne!(on_host("kernel/domainname"), "example.test");
}

#[test]
fn several_parameters_are_all_set() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let all = json!({
        "kernel.shmmni": "4098", "net.core.somaxconn": "77", "net.ipv4.ip_default_ttl": "33",
    });
    bundle.set("/linux/sysctl", all);
    let paths = ["kernel/shmmni", "net/core/somaxconn", "net/ipv4/ip_default_ttl"];
    let chain = paths.map(|path| format!("read /proc/sys/{path}")).join(" -- ");
    assert_eq!(hako.ask(&bundle, &chain), ["4098\n", "77\n", "33\n"]);
}

#[test]
fn parameters_work_in_a_user_namespace() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.user_namespace(100_000);
    bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "33" }));
    assert_eq!(hako.ask(&bundle, "read /proc/sys/net/ipv4/ip_default_ttl")[0], "33\n");
}

/// Parameters are written through a /proc that the image has no part in.
#[test]
fn the_container_needs_no_proc_for_them() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/mounts", json!([])).set("/linux/sysctl", json!({ "kernel.domainname": "set" }));
    bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    let trap = bundle.write("/proc/sys/kernel/domainname", "untouched");
    assert_eq!(hako.inspect(&bundle)["names"]["domainname"], "set");
    assert_eq!(fs::read_to_string(trap).unwrap(), "untouched");
}

#[test]
fn a_file_mounted_over_a_parameter_is_not_written_to() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let trap = hako.file("trap", "untouched");
    bundle.bind(&trap, "/proc/sys/kernel/shmmni", &["bind"]);
    bundle.set("/linux/sysctl", json!({ "kernel.shmmni": "4099" }));
    // Refusing the mount is as good as setting the true parameter.
    let output = hako.run(bundle.inspector("print ran"));
    match output.code {
        Some(0) => assert_eq!(output.stdout, "ran\n"),
        _ => output.fails("/proc/sys"),
    }
    assert_eq!(fs::read_to_string(trap).unwrap(), "untouched");
}

#[test]
fn parameters_of_the_whole_machine_are_refused() {
    let hako = Runtime::new();
    let rows = [
        ("kernel.panic", "123"),
        ("kernel/panic", "123"),
        ("vm.swappiness", "1"),
        ("kernel.core_pattern", "|/bin/false"),
        ("fs.file-max", "5000"),
        ("kernel.shmmni_no_such", "1"),
        ("user.max_user_namespaces", "1"),
    ];
    each(rows, |(name, value)| {
        let path = name.replace('.', "/");
        let before = fs::read_to_string(format!("/proc/sys/{path}")).ok();
        let mut bundle = hako.bundle();
        bundle.set("/linux/sysctl", json!({ *name: value }));
        hako.refuses(&bundle, &format!("/linux/sysctl/{}", name.replace('/', "~1")));
        assert_eq!(fs::read_to_string(format!("/proc/sys/{path}")).ok(), before);
    });
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let hako = Runtime::new();
    let names = [
        "net/../kernel/panic",
        "net.ipv4/../../kernel/panic",
        "net//ipv4.ip_forward",
        "/kernel/shmmni",
        "net.ipv4.",
        "net..ipv4.ip_forward",
        "net",
        "net.",
        "",
        ".",
        "..",
    ];
    let before = on_host("kernel/panic");
    assert_ne!(before, "123");
    each(names, |name| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/sysctl", json!({ *name: "123" }));
        hako.refuses(&bundle, "/linux/sysctl");
        assert_eq!(on_host("kernel/panic"), before);
    });
}

#[test]
fn parameters_without_their_namespace_are_refused() {
    let hako = Runtime::new();
    let rows = [
        ("network", "net.ipv4.ip_default_ttl", "33"),
        ("ipc", "kernel.shmmni", "4099"),
        ("ipc", "fs.mqueue.msg_max", "12"),
        ("uts", "kernel.domainname", "escaped"),
    ];
    each(rows, |(namespace, name, value)| {
        let before = on_host(&name.replace('.', "/"));
        let mut bundle = hako.bundle();
        bundle.remove("/hostname").without_namespace(namespace);
        bundle.set("/linux/sysctl", json!({ *name: value }));
        hako.refuses(&bundle, &format!("/linux/sysctl/{name}"));
        assert_eq!(on_host(&name.replace('.', "/")), before);
    });
}

#[test]
fn values_the_kernel_does_not_take_are_refused() {
    let hako = Runtime::new();
    let rows =
        [("net.ipv4.ip_forward", "maybe"), ("kernel.shmmni", "many"), ("net.ipv4.no_such", "1")];
    each(rows, |(name, value)| {
        let mut bundle = hako.bundle();
        bundle.set("/linux/sysctl", json!({ *name: value }));
        hako.refuses(&bundle, &format!("/linux/sysctl/{name}"));
    });
}
