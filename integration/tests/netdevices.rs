//! Network devices that move into the container. Each test has a network
//! namespace of its own as "the host", so that the machine's is left alone.

use hako_integration::{Bundle, Runtime, Value, each, enter_private_network, json};
use std::process::Command;

/// Runs `ip`, which must succeed, on the test's host.
fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split_whitespace()).output().expect("ip starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether the test's host has an interface.
fn on_host(name: &str) -> bool {
    ip("-oneline link").contains(&format!(": {name}@"))
}

/// A host with one end of a virtual cable, `hako0`, to give away.
fn host_with_a_device() -> Runtime {
    let hako = Runtime::new();
    enter_private_network();
    ip("link add hako0 type veth peer name hako-end0");
    hako
}

fn moves(hako: &Runtime, devices: Value) -> Bundle {
    let mut bundle = hako.bundle();
    bundle.set("/linux/netDevices", devices);
    bundle
}

#[test]
fn a_device_moves_and_keeps_its_name() {
    let hako = host_with_a_device();
    let container = hako.serve(&moves(&hako, json!({ "hako0": {} })));
    assert!(!on_host("hako0"));
    let interfaces = &container.ask("report")[0]["interfaces"];
    assert_eq!(interfaces["hako0"]["up"], true, "{interfaces}");
}

#[test]
fn a_device_moves_and_gets_another_name() {
    let hako = host_with_a_device();
    let container = hako.serve(&moves(&hako, json!({ "hako0": { "name": "inside0" } })));
    assert!(!on_host("hako0") && !on_host("inside0"));
    let interfaces = &container.ask("report")[0]["interfaces"];
    assert_eq!(interfaces["inside0"]["up"], true, "{interfaces}");
    assert!(interfaces["hako0"].is_null());
}

/// A name that is taken on the host is free in the container.
#[test]
fn two_devices_can_swap_their_names() {
    let hako = host_with_a_device();
    ip("link add hako1 type veth peer name hako-end1");
    ip("link set hako0 address 02:00:00:00:77:00");
    ip("link set hako1 address 02:00:00:00:77:01");
    let swapped = json!({ "hako0": { "name": "hako1" }, "hako1": { "name": "hako0" } });
    let chain = "read /sys/class/net/hako0/address -- read /sys/class/net/hako1/address";
    let seen = hako.ask(&moves(&hako, swapped), chain);
    assert_eq!(seen, ["02:00:00:00:77:01\n", "02:00:00:00:77:00\n"]);
}

#[test]
fn a_template_gives_the_first_free_name() {
    let hako = host_with_a_device();
    ip("link add hako1 type veth peer name hako-end1");
    let template = json!({ "hako0": { "name": "ct%d" }, "hako1": { "name": "ct%d" } });
    let container = hako.serve(&moves(&hako, template));
    let interfaces = &container.ask("report")[0]["interfaces"];
    for name in ["ct0", "ct1"] {
        assert_eq!(interfaces[name]["up"], true, "{interfaces}");
    }
    // A container that joins this one's network finds both names taken.
    ip("link add hako2 type veth peer name hako-end2");
    let mut guest = moves(&hako, json!({ "hako2": { "name": "ct%d" } }));
    guest.namespace("network", Some(&format!("/proc/{}/ns/net", container.pid())));
    let interfaces = &hako.inspect(&guest)["interfaces"];
    assert_eq!(interfaces["ct2"]["up"], true, "{interfaces}");
}

#[test]
fn attributes_and_permanent_global_addresses_are_kept() {
    let hako = host_with_a_device();
    ip("link set hako0 address 02:00:00:00:77:07 mtu 1400 up");
    ip("address add 10.77.0.1/20 dev hako0");
    ip("address add 10.88.0.1/24 dev hako0");
    ip("address add fd00:77::1/72 dev hako0 nodad");
    ip("address add 10.99.0.1/24 dev hako0 valid_lft 1000 preferred_lft 1000");
    ip("address add 169.254.7.7/16 dev hako0 scope link");
    let bundle = moves(&hako, json!({ "hako0": { "name": "ct0" } }));
    let chain = "report -- read /sys/class/net/ct0/address -- read /sys/class/net/ct0/mtu \
                 -- read /proc/net/if_inet6 -- read /proc/net/fib_trie";
    let seen = hako.ask(&bundle, chain);
    let addresses = seen[0]["interfaces"]["ct0"]["addresses"].as_array().unwrap();
    for address in ["10.77.0.1", "10.88.0.1", "fd00:77::1"] {
        assert!(addresses.contains(&json!(address)), "{address} is lost: {addresses:?}");
    }
    // Neither an address with a lifetime nor one that is valid on the link only.
    for address in ["10.99.0.1", "169.254.7.7"] {
        assert!(!addresses.contains(&json!(address)), "{address} is there: {addresses:?}");
    }
    assert_eq!((&seen[1], &seen[2]), (&json!("02:00:00:00:77:07\n"), &json!("1400\n")));
    let inet6 = seen[3].as_str().unwrap();
    let line = inet6.lines().find(|line| line.starts_with("fd000077")).expect("the address");
    assert_eq!(line.split_whitespace().nth(2), Some("48"), "the prefix is 72 bits: {line}");
    assert!(seen[4].as_str().unwrap().contains("10.77.0.0/20"), "{}", seen[4]);
}

#[test]
fn a_device_moves_into_a_user_namespace() {
    let hako = host_with_a_device();
    ip("address add 10.77.0.1/24 dev hako0");
    let mut bundle = moves(&hako, json!({ "hako0": { "name": "ct0" } }));
    let seen = hako.inspect(bundle.user_namespace(100_000));
    assert_eq!(seen["interfaces"]["ct0"], json!({ "up": true, "addresses": ["10.77.0.1"] }));
}

#[test]
fn impossible_moves_are_refused() {
    let hako = host_with_a_device();
    let rows = [
        ("missing", json!({ "hako-none": {} }), "/linux/netDevices/hako-none"),
        ("name taken", json!({ "hako0": { "name": "lo" } }), "/linux/netDevices/hako0"),
        ("too long", json!({ "hako0": { "name": "sixteen-letters-" } }), "/linux/netDevices/hako0"),
        ("slash", json!({ "hako0": { "name": "a/b" } }), "/linux/netDevices/hako0"),
        ("blank", json!({ "hako0": { "name": "a b" } }), "/linux/netDevices/hako0"),
        ("colon", json!({ "hako0": { "name": "a:b" } }), "/linux/netDevices/hako0"),
        ("dots", json!({ "hako0": { "name": ".." } }), "/linux/netDevices/hako0"),
        ("two places", json!({ "hako0": { "name": "c%d%d" } }), "/linux/netDevices/hako0"),
        ("other format", json!({ "hako0": { "name": "c%s" } }), "/linux/netDevices/hako0"),
        ("not an object", json!({ "hako0": "ct0" }), "/linux/netDevices/hako0"),
        (
            "same name twice",
            json!({ "hako0": { "name": "x" }, "lo": { "name": "x" } }),
            "/linux/netDevices",
        ),
    ];
    ip("address add 10.77.0.1/24 dev hako0");
    each(rows, |(_, devices, pointer)| {
        hako.refuses(&moves(&hako, devices.clone()), pointer);
        let addresses = ip("-oneline address show dev hako0");
        assert!(addresses.contains("10.77.0.1/24"), "the device is changed: {addresses}");
    });
}

#[test]
fn another_name_of_a_device_is_not_its_name() {
    let hako = host_with_a_device();
    ip("link property add dev hako0 altname hako-another");
    let output = hako.refuses(&moves(&hako, json!({ "hako-another": {} })), "/linux/netDevices");
    assert!(output.stderr.contains("another name of interface hako0"), "{output}");
    assert!(on_host("hako0"));
}

#[test]
fn a_name_that_is_taken_in_a_joined_network_is_refused() {
    let hako = host_with_a_device();
    let container = hako.serve(&moves(&hako, json!({ "hako0": { "name": "ct0" } })));
    ip("link add hako1 type veth peer name hako-end1");
    let mut guest = moves(&hako, json!({ "hako1": { "name": "ct0" } }));
    guest.namespace("network", Some(&format!("/proc/{}/ns/net", container.pid())));
    hako.refuses(&guest, "/linux/netDevices/hako1");
    assert!(on_host("hako1"));
}

#[test]
fn devices_cannot_move_without_a_network_namespace() {
    let hako = host_with_a_device();
    let mut bundle = moves(&hako, json!({ "hako0": {} }));
    hako.refuses(bundle.without_namespace("network"), "/linux/netDevices");
    assert!(on_host("hako0"));
}

/// A failure later on must not cost the host its device.
#[test]
fn a_device_comes_back_when_create_fails_afterwards() {
    let hako = host_with_a_device();
    ip("address add 10.77.0.1/24 dev hako0");
    let mut bundle = moves(&hako, json!({ "hako0": { "name": "ct0" } }));
    bundle.set("/process/args", ["/no/such/program"]);
    each(["down", "up"], |state| {
        ip(&format!("link set hako0 {state}"));
        hako.run(&bundle).fails("/no/such/program");
        assert!(ip("-oneline address").contains("10.77.0.1/24"), "the device is lost");
        let is_up = ip("-oneline link show dev hako0").contains(",UP");
        assert_eq!(is_up, *state == "up");
    });
}
