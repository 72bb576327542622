//! What `features` says, and whether it is true.

use super::hooks::{KINDS, lines, log_hook, log_inside};
use crate::case::{
    Case,
    Level::{Must, Should},
    Stop, Verdict, contains, ensure, expect, fail, skip,
};
use crate::context::Context;
use crate::host;
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "features.version-min",
        level: Must,
        refs: &["features.md:14", "features.md:15"],
        run: |cx| version_is_accepted(cx, "ociVersionMin"),
    },
    Case {
        id: "features.version-max",
        level: Must,
        refs: &["features.md:17", "features.md:18"],
        run: |cx| version_is_accepted(cx, "ociVersionMax"),
    },
    Case {
        id: "features.version-order",
        level: Must,
        refs: &["features.md:19"],
        run: |cx| {
            let features = features(cx)?;
            let (min, max) =
                (numbers(&features["ociVersionMin"]), numbers(&features["ociVersionMax"]));
            ensure(min <= max, "the minimum not above the maximum", format!("{min:?}, {max:?}"))
        },
    },
    Case {
        id: "features.properties",
        level: Must,
        refs: &["features.md:20"],
        run: |cx| {
            let features = features(cx)?;
            for name in features.as_object().into_iter().flatten().map(|(name, _)| name) {
                ensure(PROPERTIES.contains(&name.as_str()), "properties of 1.3.0 only", name)?;
            }
            for name in features["linux"].as_object().into_iter().flatten().map(|(name, _)| name) {
                let known = LINUX_PROPERTIES.contains(&name.as_str());
                ensure(known, "properties of 1.3.0 only", format!("linux.{name}"))?;
            }
            Ok(())
        },
    },
    Case {
        id: "features.independent-of-the-host",
        level: Should,
        refs: &["features.md:7"],
        run: |cx| {
            // Neither another directory nor another environment changes it.
            let here = features(cx)?;
            let command = cx.runtime.bare_command(&["features"]).env("HOME", "/nowhere");
            let there = command.current_dir(std::path::Path::new("/proc")).output()?.ok()?;
            expect("features elsewhere", serde_json::from_str::<Value>(&there.stdout).ok(), here)
        },
    },
    Case {
        id: "features.hooks",
        level: Must,
        refs: &["features.md:32"],
        run: |cx| {
            let listed = features(cx)?["hooks"].clone();
            let kinds: Vec<&str> =
                KINDS.iter().copied().filter(|kind| contains(&listed, kind)).collect();
            let log = log_inside(cx)?;
            kinds.iter().for_each(|kind| log_hook(cx, kind, kind));
            cx.run()?;
            expect("hooks that ran", lines(&log), kinds)
        },
    },
    Case {
        id: "features.mount-options",
        level: Must,
        refs: &["features.md:49"],
        run: |cx| {
            let listed = features(cx)?["mountOptions"].clone();
            for (number, option) in strings(&listed).iter().enumerate() {
                // These need a mount that is there, a source or mappings.
                if !["remount", "bind", "rbind", "idmap", "ridmap"].contains(option) {
                    let place = format!("/data/{number}");
                    cx.bundle.mkdir(&place)?;
                    // A file system refuses an option that the runtime does not know.
                    cx.bundle.mount(&place, "tmpfs", &[option]);
                }
            }
            cx.run().map(drop)
        },
    },
    Case {
        id: "features.no-file-system-options",
        level: Should,
        refs: &["features.md:50"],
        run: |cx| {
            let listed = features(cx)?["mountOptions"].clone();
            for option in ["size", "mode", "uid", "gid", "nr_inodes", "lowerdir", "ptmxmode"] {
                let there =
                    strings(&listed).iter().any(|text| text.split('=').next() == Some(option));
                ensure(!there, format!("no {option}"), &listed)?;
            }
            Ok(())
        },
    },
    Case {
        id: "features.annotations",
        level: Must,
        refs: &["features.md:131"],
        run: |cx| {
            let annotations = features(cx)?["annotations"].clone();
            let map = annotations.as_object();
            let strings =
                map.is_none_or(|map| map.iter().all(|(k, v)| !k.is_empty() && v.is_string()));
            let fits = annotations.is_null() || map.is_some();
            ensure(fits && strings, "a map of strings, or nothing", annotations)
        },
    },
    Case {
        id: "features.namespaces",
        level: Must,
        refs: &["features-linux.md:8"],
        run: |cx| {
            let listed = listed(cx, "namespaces")?;
            for kind in strings(&listed) {
                match kind {
                    "user" => drop(cx.bundle.user_namespace(100_000)?),
                    kind => drop(cx.bundle.namespace(kind, None)),
                }
            }
            cx.run().map(drop)
        },
    },
    Case {
        id: "features.capabilities",
        level: Must,
        refs: &["features-linux.md:27"],
        run: |cx| {
            let listed = listed(cx, "capabilities")?;
            let number =
                |name: &str| (0..).zip(CAPABILITIES).find(|(_, n)| *n == name).map(|(i, _)| i);
            let names: Vec<&str> = strings(&listed)
                .into_iter()
                .filter(|name| number(name).is_some_and(host::may))
                .collect();
            let wanted =
                names.iter().filter_map(|name| number(name)).fold(0_u64, |set, n| set | 1 << n);
            cx.bundle.set("/process/capabilities", json!({ "bounding": names }));
            let seen = cx.inspect()?["capabilities"]["bounding"].clone();
            expect("bounding", seen, format!("{wanted:016x}"))
        },
    },
    Case {
        id: "features.seccomp-actions",
        level: Must,
        refs: &["features-linux.md:107"],
        run: |cx| {
            let listed = seccomp(cx, "actions")?;
            let actions = strings(&listed).into_iter().filter(|name| *name != "SCMP_ACT_NOTIFY");
            let rules = actions
                .zip(UNUSED)
                .map(|(action, name)| json!({ "names": [name], "action": action }));
            // A rule with the default action says nothing, and some libraries refuse it.
            let rules: Vec<Value> =
                rules.filter(|rule| rule["action"] != "SCMP_ACT_ALLOW").collect();
            filter(cx, &rules);
            cx.run().map(drop)
        },
    },
    Case {
        id: "features.seccomp-operators",
        level: Must,
        refs: &["features-linux.md:109"],
        run: |cx| {
            let listed = seccomp(cx, "operators")?;
            let rule = |(operator, name)| {
                let argument = json!({ "index": 0, "value": 1, "valueTwo": 1, "op": operator });
                json!({ "names": [name], "action": "SCMP_ACT_ERRNO", "args": [argument] })
            };
            let rules: Vec<Value> = strings(&listed).into_iter().zip(UNUSED).map(rule).collect();
            filter(cx, &rules);
            cx.run().map(drop)
        },
    },
    Case {
        id: "features.seccomp-architectures",
        level: Must,
        refs: &["features-linux.md:111"],
        run: |cx| {
            // Those of this machine: a filter for others of another byte order cannot be made.
            let family: &[&str] = match std::env::consts::ARCH {
                "x86_64" => &["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
                "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
                _ => {
                    return Err(skip(
                        "the architectures of this machine are not known to the suite",
                    ));
                }
            };
            let listed = seccomp(cx, "archs")?;
            let names: Vec<&str> =
                strings(&listed).into_iter().filter(|name| family.contains(name)).collect();
            ensure(!names.is_empty(), "the architecture of this machine", &listed)?;
            simple_filter(cx);
            cx.bundle.set("/linux/seccomp/architectures", json!(names));
            cx.run().map(drop)
        },
    },
    Case {
        id: "features.seccomp-flags",
        level: Must,
        refs: &["features-linux.md:116", "features-linux.md:113"],
        run: |cx| {
            let (known, supported) = (seccomp(cx, "knownFlags")?, seccomp(cx, "supportedFlags")?);
            for flag in strings(&supported) {
                ensure(contains(&known, flag), format!("{flag} in knownFlags"), &known)?;
                // The kernel wants it only together with a listener.
                if flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
                    cx.bundle.set("/linux/seccomp/flags/-", flag);
                }
            }
            simple_filter(cx);
            cx.run().map(drop)
        },
    },
    Case {
        id: "features.memory-policy",
        level: Must,
        refs: &["features-linux.md:203", "features-linux.md:206"],
        run: |cx| {
            host::needs_file("/proc/self/numa_maps", "the kernel is without NUMA")?;
            let listed = listed(cx, "memoryPolicy")?;
            for mode in strings(&listed["modes"]) {
                let config = match mode {
                    "MPOL_DEFAULT" | "MPOL_LOCAL" => json!({ "mode": mode }),
                    _ => json!({ "mode": mode, "nodes": "0" }),
                };
                cx.bundle.set("/linux/memoryPolicy", config);
                cx.run()?;
            }
            for flag in strings(&listed["flags"]) {
                let config = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] });
                cx.bundle.set("/linux/memoryPolicy", config);
                cx.run()?;
            }
            Ok(())
        },
    },
    Case {
        id: "features.idmap",
        level: Must,
        refs: &["features-linux.md:257"],
        run: |cx| {
            let listed = listed(cx, "mountExtensions")?;
            let source = cx.host_dir("data")?;
            let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
            cx.bundle.mkdir("/data")?;
            cx.bundle.set(
                "/mounts/-",
                json!({
                    "destination": "/data", "type": "bind", "source": source,
                    "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map,
                }),
            );
            let (_, container) = cx.try_create()?;
            match container {
                // Where it works, it must be listed.
                Some(_) => {
                    expect("mountExtensions.idmap.enabled", &listed["idmap"]["enabled"], true)
                }
                None => Ok(()),
            }
        },
    },
    Case {
        id: "features.null-is-not-empty",
        level: Must,
        refs: &["features.md:10"],
        run: |cx| {
            // A boolean or a list is what it is, or null: never another kind of nothing.
            let features = features(cx)?;
            for name in ["hooks", "mountOptions", "potentiallyUnsafeConfigAnnotations"] {
                let fits = features[name].is_null() || features[name].is_array();
                ensure(fits, format!("{name} as a list or null"), &features[name])?;
            }
            let enabled = &features["linux"]["seccomp"]["enabled"];
            ensure(enabled.is_null() || enabled.is_boolean(), "a boolean or null", enabled)
        },
    },
];

const PROPERTIES: [&str; 7] = [
    "ociVersionMin",
    "ociVersionMax",
    "hooks",
    "mountOptions",
    "linux",
    "annotations",
    "potentiallyUnsafeConfigAnnotations",
];

const LINUX_PROPERTIES: [&str; 10] = [
    "namespaces",
    "capabilities",
    "cgroup",
    "seccomp",
    "apparmor",
    "selinux",
    "memoryPolicy",
    "intelRdt",
    "mountExtensions",
    "netDevices",
];

/// Capabilities in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// System calls that neither the inspector nor a runtime needs.
const UNUSED: [&str; 10] = [
    "swapon",
    "swapoff",
    "reboot",
    "acct",
    "quotactl",
    "init_module",
    "delete_module",
    "settimeofday",
    "vhangup",
    "kexec_load",
];

fn features(cx: &Context) -> Result<Value, Stop> {
    let output = cx.runtime.bare_command(&["features"]).output()?;
    if !output.is_ok() {
        return Err(skip("the runtime has no `features`, which the specification leaves open"));
    }
    serde_json::from_str(&output.stdout).map_err(|_| fail("JSON from `features`", output.stdout))
}

/// A part of the features for Linux; without it there is nothing to judge.
fn listed(cx: &Context, name: &str) -> Result<Value, Stop> {
    let part = features(cx)?["linux"][name].clone();
    if part.is_null() {
        return Err(skip(format!("`features` says nothing about linux.{name}")));
    }
    Ok(part)
}

fn seccomp(cx: &Context, name: &str) -> Result<Value, Stop> {
    host::needs_file("/proc/sys/kernel/seccomp", "the kernel has no seccomp")?;
    let part = listed(cx, "seccomp")?[name].clone();
    if part.is_null() {
        return Err(skip(format!("`features` says nothing about linux.seccomp.{name}")));
    }
    Ok(part)
}

/// A profile that allows everything but what the rules are about.
fn filter(cx: &mut Context, rules: &[Value]) {
    cx.bundle
        .set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
}

fn simple_filter(cx: &mut Context) {
    filter(cx, &[json!({ "names": [UNUSED[0]], "action": "SCMP_ACT_ERRNO" })]);
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn numbers(version: &Value) -> Vec<u32> {
    let text = version.as_str().unwrap_or_default();
    let plain = text.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').filter_map(|number| number.parse().ok()).collect()
}

fn version_is_accepted(cx: &mut Context, name: &str) -> Verdict {
    let version = features(cx)?[name].clone();
    ensure(version.is_string(), format!("{name} as a string"), &version)?;
    cx.bundle.set("/ociVersion", version);
    cx.run().map(drop)
}
