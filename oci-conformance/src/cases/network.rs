//! Network devices.

use crate::case::{
    Case,
    Level::{Engine, Must},
    Verdict, contains, ensure, expect, fail,
};
use crate::context::Context;
use crate::holder::Holder;
use crate::host::{ip, needs_program};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// The cases of this theme. Each has a network namespace of its own as the host's.
pub const CASES: &[Case] = &[
    Case {
        id: "net-devices.moved",
        level: Must,
        refs: &["config-linux.md:214", "config-linux.md:224"],
        run: |cx| {
            device()?;
            let seen = with_devices(cx, json!({ "oci0": {} }))?;
            has(&seen, "oci0")?;
            ensure(!on_host("oci0"), "oci0 gone from the host", "it is there")
        },
    },
    Case {
        id: "net-devices.renamed",
        level: Must,
        refs: &["config-linux.md:214"],
        run: |cx| {
            device()?;
            let seen = with_devices(cx, json!({ "oci0": { "name": "eth7" } }))?;
            has(&seen, "eth7")
        },
    },
    Case {
        id: "net-devices.up",
        level: Must,
        refs: &["config-linux.md:238"],
        run: |cx| {
            device()?;
            let seen = with_devices(cx, json!({ "oci0": {} }))?;
            expect("oci0 up", &seen["oci0"]["up"], true)
        },
    },
    Case {
        id: "net-devices.addresses",
        level: Must,
        refs: &["config-linux.md:232"],
        run: |cx| {
            device()?;
            ip("addr add 192.0.2.7/24 dev oci0")?;
            ip("addr add 2001:db8::7/64 dev oci0 nodad")?;
            let seen = with_devices(cx, json!({ "oci0": { "name": "eth7" } }))?;
            let addresses = &seen["eth7"]["addresses"];
            for address in ["192.0.2.7", "2001:db8::7"] {
                ensure(contains(addresses, address), format!("{address} kept"), addresses)?;
            }
            Ok(())
        },
    },
    Case {
        id: "net-devices.name-taken",
        level: Must,
        refs: &["config-linux.md:226"],
        run: |cx| {
            device()?;
            // The loopback device is in every network namespace.
            cx.bundle.set("/linux/netDevices", json!({ "oci0": { "name": "lo" } }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "net-devices.name-template",
        level: Must,
        refs: &["config-linux.md:228"],
        run: |cx| {
            device()?;
            let seen = with_devices(cx, json!({ "oci0": { "name": "ct%d" } }))?;
            let names: Vec<&String> =
                seen.as_object().into_iter().flatten().map(|(n, _)| n).collect();
            let made = names.iter().any(|name| name.starts_with("ct") && !name.contains('%'));
            ensure(made, "a device named by the kernel after ct%d", format!("{names:?}"))
        },
    },
    Case {
        id: "net-devices.missing",
        level: Must,
        refs: &["config-linux.md:224", "runtime.md:116"],
        run: |cx| {
            cx.bundle.set("/linux/netDevices", json!({ "no-such-device": {} }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "net-devices.not-taken-back",
        level: Must,
        refs: &["config-linux.md:251", "config-linux.md:244"],
        run: |cx| {
            // A namespace that outlives the container keeps the device.
            device()?;
            let holder = Holder::start(&["network"])?;
            cx.bundle.namespace("network", Some(&holder.namespace("network")));
            with_devices(cx, json!({ "oci0": {} }))?;
            ensure(!on_host("oci0"), "oci0 not taken back", "it is on the host again")?;
            let nsenter = needs_program("nsenter")?;
            let net = format!("--net={}", holder.namespace("network"));
            let listed =
                Command::new(nsenter).args([&net, "ip", "link", "show", "oci0"]).output()?;
            ensure(listed.status.success(), "oci0 still in the namespace", "it is gone")
        },
    },
    Case {
        id: "net-devices.failed-create-gives-back",
        level: Must,
        refs: &["runtime.md:84"],
        run: |cx| {
            device()?;
            cx.bundle.set("/linux/netDevices", json!({ "oci0": {} }));
            let hook = json!({ "path": cx.inspector(), "args": ["hook", "exit", "1"] });
            cx.bundle.set("/hooks/createContainer/-", hook);
            cx.refused_by_create()?;
            ensure(on_host("oci0"), "oci0 on the host again", "it is gone")
        },
    },
    Case {
        id: "net-devices.loopback-is-up",
        level: Engine,
        refs: &[],
        run: |cx| expect("lo up", &cx.inspect()?["interfaces"]["lo"]["up"], true),
    },
];

/// Makes a device; without support for one kind, another.
fn device() -> Verdict {
    ip("link add oci0 type dummy").or_else(|_| ip("link add oci0 type veth peer name oci1"))
}

fn with_devices(cx: &mut Context, devices: Value) -> Result<Value, crate::case::Stop> {
    cx.bundle.set("/linux/netDevices", devices);
    Ok(cx.inspect()?["interfaces"].clone())
}

fn has(interfaces: &Value, name: &str) -> Verdict {
    if interfaces[name].is_object() {
        return Ok(());
    }
    Err(fail(format!("the device {name} inside"), interfaces))
}

/// Whether the case's own "host" has a device. Its sysfs shows another network namespace.
fn on_host(name: &str) -> bool {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    Path::new("/proc/net/dev").exists()
        && table.lines().any(|line| line.trim().starts_with(&format!("{name}:")))
}
