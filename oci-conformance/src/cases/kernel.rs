//! Sysctls, personality, memory policy.

use crate::case::{
    Case,
    Level::{Engine, Must},
    Verdict, expect,
};
use crate::context::Context;
use crate::host::{needs_file, needs_program};
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "sysctl.network",
        level: Engine,
        refs: &[],
        run: |cx| sysctl(cx, "net.ipv4.ip_forward", "1", "/proc/sys/net/ipv4/ip_forward"),
    },
    Case {
        id: "sysctl.ipc",
        level: Engine,
        refs: &[],
        run: |cx| sysctl(cx, "kernel.shmmni", "1234", "/proc/sys/kernel/shmmni"),
    },
    Case {
        id: "sysctl.not-namespaced",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            let path = "/proc/sys/vm/overcommit_ratio";
            let before = std::fs::read_to_string(path)?;
            // The value that is there: a runtime that accepts it must not harm the host.
            cx.bundle.set("/linux/sysctl", json!({ "vm.overcommit_ratio": before.trim() }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "sysctl.of-an-inherited-namespace",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.without_namespace("network");
            cx.bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "sysctl.unknown",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            cx.bundle.set("/linux/sysctl", json!({ "net.no.such.thing": "1" }));
            cx.refused_by_create()
        },
    },
    Case {
        id: "personality.linux32",
        level: Must,
        refs: &["config-linux.md:1108"],
        run: |cx| {
            cx.bundle.set("/linux/personality/domain", "LINUX32");
            expect("personality", &cx.inspect()?["personality"], 8)
        },
    },
    Case {
        id: "personality.linux",
        level: Must,
        refs: &["config-linux.md:1108"],
        run: |cx| {
            // The runtime itself has another.
            let setarch = needs_program("setarch")?;
            cx.bundle.set("/linux/personality/domain", "LINUX").inspector("report");
            let other = format!("exec {} linux32 \"$0\" \"$@\"", setarch.display());
            let seen = cx.expect_made(cx.create_command()?.before(&other))?.finish()?.values()?;
            expect("personality", &seen[0]["personality"], 0)
        },
    },
    Case {
        id: "personality.unknown-domain",
        level: Must,
        refs: &["config.md:760", "config-linux.md:1108"],
        run: |cx| {
            cx.bundle.set("/linux/personality/domain", "NONSENSE");
            cx.refused()
        },
    },
    Case {
        id: "personality.unknown-flags",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            let personality = json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] });
            cx.bundle.set("/linux/personality", personality);
            cx.refused()
        },
    },
    Case {
        id: "memory-policy.modes",
        level: Must,
        refs: &["config-linux.md:826"],
        run: |cx| {
            for mode in ["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED"] {
                policy(cx, json!({ "mode": mode, "nodes": "0" }), mode)?;
            }
            policy(cx, json!({ "mode": "MPOL_LOCAL" }), "MPOL_LOCAL")?;
            policy(cx, json!({ "mode": "MPOL_DEFAULT" }), "MPOL_DEFAULT")
        },
    },
    Case {
        id: "memory-policy.flags",
        level: Engine,
        refs: &[],
        run: |cx| {
            let flags = ["MPOL_F_STATIC_NODES"];
            let config = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": flags });
            policy(cx, config, "MPOL_BIND")?;
            expect("flags", &cx.inspect()?["memory_policy"]["flags"], flags)
        },
    },
    Case {
        id: "memory-policy.unknown-mode",
        level: Must,
        refs: &["config.md:760", "config-linux.md:826"],
        run: |cx| {
            numa()?;
            cx.bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_NONSENSE", "nodes": "0" }));
            cx.refused()
        },
    },
    Case {
        id: "memory-policy.bind-without-nodes",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            numa()?;
            cx.bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND" }));
            cx.refused()
        },
    },
    Case {
        id: "rdt.without-resctrl",
        level: Must,
        refs: &["config-linux.md:740"],
        run: |cx| {
            let table = std::fs::read_to_string("/proc/self/mountinfo")?;
            if table.contains(" - resctrl ") {
                return Err(crate::case::skip("resctrl is mounted"));
            }
            cx.bundle.set("/linux/intelRdt", json!({ "closID": "oci-conformance" }));
            cx.refused_by_create()
        },
    },
];

fn sysctl(cx: &mut Context, name: &str, value: &str, path: &str) -> Verdict {
    let outside = std::fs::read_to_string(path)?;
    cx.bundle.set("/linux/sysctl", json!({ name: value }));
    let seen = cx.ask(&format!("read {path}"))?;
    expect(name, &seen[0], format!("{value}\n"))?;
    expect("the host's value", std::fs::read_to_string(path)?, outside)
}

fn numa() -> Verdict {
    needs_file("/proc/self/numa_maps", "the kernel is without NUMA")
}

fn policy(cx: &mut Context, config: Value, mode: &str) -> Verdict {
    numa()?;
    cx.bundle.set("/linux/memoryPolicy", config);
    expect("mode", &cx.inspect()?["memory_policy"]["mode"], mode)
}
