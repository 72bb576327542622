//! Limits, capabilities, the out-of-memory score, security modules.

use crate::case::{
    Case,
    Level::{Engine, Must, Should},
    Verdict, ensure, expect, skip,
};
use crate::context::Context;
use crate::host;
use serde_json::{Value, json};

/// The cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "rlimits.values",
        level: Must,
        refs: &[
            "config.md:264",
            "config.md:269",
            "config.md:272",
            "config.md:273",
            "config.md:274",
            "config.md:275",
        ],
        run: |cx| {
            let limits = json!([
                { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 4096 },
                { "type": "RLIMIT_CPU", "soft": 300, "hard": 400 },
            ]);
            cx.bundle.set("/process/rlimits", limits.clone());
            let seen = cx.inspect()?;
            for limit in limits.as_array().into_iter().flatten() {
                let name = limit["type"].as_str().unwrap_or_default();
                let wanted = json!({ "soft": limit["soft"], "hard": limit["hard"] });
                expect(name, &seen["rlimits"][name], wanted)?;
            }
            Ok(())
        },
    },
    Case {
        id: "rlimits.unknown",
        level: Must,
        refs: &["config.md:268"],
        run: |cx| {
            let limit = json!({ "type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1 });
            cx.bundle.set("/process/rlimits/-", limit);
            cx.refused()
        },
    },
    Case {
        id: "rlimits.duplicate",
        level: Must,
        refs: &["config.md:278"],
        run: |cx| {
            for value in [100, 200] {
                let limit = json!({ "type": "RLIMIT_NOFILE", "soft": value, "hard": value });
                cx.bundle.set("/process/rlimits/-", limit);
            }
            cx.refused()
        },
    },
    Case {
        id: "capabilities.sets",
        level: Engine,
        refs: &[],
        run: |cx| {
            let sets = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN"],
                "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL"],
            });
            // Without root: root's capabilities would come back at execve.
            cx.bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
            cx.bundle.set("/process/capabilities", sets);
            let seen = &cx.inspect()?["capabilities"];
            expect("bounding", &seen["bounding"], hex(&[0, 5, 7]))?;
            expect("inheritable", &seen["inheritable"], hex(&[5]))?;
            expect("ambient", &seen["ambient"], hex(&[5]))?;
            expect("effective", &seen["effective"], hex(&[5]))
        },
    },
    Case {
        id: "capabilities.of-root",
        level: Engine,
        refs: &[],
        run: |cx| {
            cx.bundle.capabilities(&["CAP_CHOWN", "CAP_KILL"]);
            let seen = &cx.inspect()?["capabilities"];
            for set in ["bounding", "permitted", "effective"] {
                expect(set, &seen[set], hex(&[0, 5]))?;
            }
            expect("ambient", &seen["ambient"], hex(&[]))
        },
    },
    Case {
        id: "capabilities.unknown-name",
        level: Should,
        refs: &["config.md:290", "config.md:289"],
        run: |cx| {
            cx.bundle.capabilities(&["CAP_KILL", "CAP_NO_SUCH_THING"]);
            expect("effective", &cx.inspect()?["capabilities"]["effective"], hex(&[5]))
        },
    },
    Case {
        id: "capabilities.not-to-be-granted",
        level: Should,
        refs: &["config.md:290", "config.md:289"],
        run: |cx| {
            let Some((_, name)) = RARE.iter().find(|(number, _)| !host::may(*number)) else {
                return Err(skip("the suite itself has every capability"));
            };
            cx.bundle.capabilities(&["CAP_KILL", name]);
            expect("effective", &cx.inspect()?["capabilities"]["effective"], hex(&[5]))
        },
    },
    Case {
        id: "oom-score.set",
        level: Must,
        refs: &["config.md:303"],
        run: |cx| {
            cx.bundle.set("/process/oomScoreAdj", 321);
            expect("oom_score_adj", &cx.inspect()?["oom_score_adj"], 321)
        },
    },
    Case {
        id: "oom-score.not-set",
        level: Must,
        refs: &["config.md:304"],
        run: |cx| {
            std::fs::write("/proc/self/oom_score_adj", "77")?;
            expect("oom_score_adj", &cx.inspect()?["oom_score_adj"], 77)
        },
    },
    Case {
        id: "security-modules.apparmor-absent",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            if host::has_apparmor() {
                return Err(skip("AppArmor is active"));
            }
            cx.bundle.set("/process/apparmorProfile", "no-such-profile");
            cx.refused()
        },
    },
    Case {
        id: "security-modules.apparmor-unknown-profile",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            if !host::has_apparmor() {
                return Err(skip("AppArmor is not active"));
            }
            cx.bundle.set("/process/apparmorProfile", "no-such-profile");
            cx.refused()
        },
    },
    Case {
        id: "security-modules.apparmor-profile",
        level: Engine,
        refs: &[],
        run: |cx| {
            if !host::has_apparmor() {
                return Err(skip("AppArmor is not active"));
            }
            cx.bundle.set("/process/apparmorProfile", "unconfined");
            let seen = cx.ask("read /proc/self/attr/current")?;
            let label = seen[0].as_str().unwrap_or_default().trim().to_string();
            expect("the profile", label, "unconfined")
        },
    },
    Case {
        id: "security-modules.selinux-absent",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            if host::has_selinux() {
                return Err(skip("SELinux is active"));
            }
            let label = "system_u:system_r:svirt_lxc_net_t:s0:c124,c675";
            cx.bundle.set("/process/selinuxLabel", label);
            cx.refused()
        },
    },
    Case {
        id: "security-modules.mount-label-without-selinux",
        level: Must,
        refs: &["config.md:760", "runtime.md:116"],
        run: |cx| {
            if host::has_selinux() {
                return Err(skip("SELinux is active"));
            }
            cx.bundle.set("/linux/mountLabel", "system_u:object_r:svirt_sandbox_file_t:s0:c1,c2");
            cx.refused()
        },
    },
    Case {
        id: "scheduling.policies",
        level: Must,
        refs: &["config.md:310"],
        run: |cx| {
            ["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"].iter().try_for_each(|policy| {
                scheduled(cx, json!({ "policy": policy }), "policy", json!(policy))
            })
        },
    },
    Case {
        id: "scheduling.nice",
        level: Engine,
        refs: &[],
        run: |cx| scheduled(cx, json!({ "policy": "SCHED_OTHER", "nice": 5 }), "nice", json!(5)),
    },
    Case {
        id: "scheduling.real-time",
        level: Engine,
        refs: &[],
        run: |cx| {
            host::needs_capability(23, "CAP_SYS_NICE")?;
            real_time_budget(cx)?;
            let wanted = json!({ "policy": "SCHED_FIFO", "priority": 7 });
            scheduled(cx, wanted, "priority", json!(7))
        },
    },
    Case {
        id: "scheduling.reset-on-fork",
        level: Engine,
        refs: &[],
        run: |cx| {
            let flags = ["SCHED_FLAG_RESET_ON_FORK"];
            scheduled(cx, json!({ "policy": "SCHED_BATCH", "flags": flags }), "flags", json!(1))
        },
    },
    Case {
        id: "scheduling.unknown-policy",
        level: Must,
        refs: &["config.md:760", "config.md:310"],
        run: |cx| {
            cx.bundle.set("/process/scheduler/policy", "SCHED_NONSENSE");
            cx.refused()
        },
    },
    Case {
        id: "scheduling.io-priority",
        level: Must,
        refs: &["config.md:341", "config.md:342"],
        run: |cx| {
            for (class, priority) in [("IOPRIO_CLASS_BE", 3), ("IOPRIO_CLASS_IDLE", 0)] {
                let wanted = json!({ "class": class, "priority": priority });
                cx.bundle.set("/process/ioPriority", wanted.clone());
                let seen = cx.inspect()?;
                expect("class", &seen["io_priority"]["class"], class)?;
                if class == "IOPRIO_CLASS_BE" {
                    expect("priority", &seen["io_priority"]["priority"], priority)?;
                }
            }
            Ok(())
        },
    },
    Case {
        id: "scheduling.unknown-io-class",
        level: Must,
        refs: &["config.md:760", "config.md:341"],
        run: |cx| {
            cx.bundle.set("/process/ioPriority", json!({ "class": "NONSENSE", "priority": 1 }));
            cx.refused()
        },
    },
    Case {
        id: "scheduling.exec-affinity-not-for-init",
        level: Should,
        refs: &["config.md:352"],
        run: |cx| {
            let before = cx.inspect()?["cpu_affinity"].clone();
            ensure(before.as_array().is_some_and(|cpus| !cpus.is_empty()), "CPUs", &before)?;
            let first = before[0].to_string();
            cx.bundle.set("/process/execCPUAffinity/initial", first);
            expect("CPUs of the init process", &cx.inspect()?["cpu_affinity"], before)
        },
    },
];

/// Capabilities that restricted hosts lack most often.
const RARE: [(u32, &str); 6] = [
    (24, "CAP_SYS_RESOURCE"),
    (16, "CAP_SYS_MODULE"),
    (22, "CAP_SYS_BOOT"),
    (25, "CAP_SYS_TIME"),
    (33, "CAP_MAC_ADMIN"),
    (17, "CAP_SYS_RAWIO"),
];

/// A capability set as the inspector shows it.
fn hex(numbers: &[u32]) -> String {
    format!("{:016x}", numbers.iter().fold(0_u64, |set, number| set | 1 << number))
}

/// Skips when the kernel gives cgroups a budget of real time, and new ones none: with RT_GROUP_SCHED.
fn real_time_budget(cx: &Context) -> Verdict {
    let Ok(()) = host::needs_controller("cpu") else { return Ok(()) };
    let chrt = host::needs_program("chrt")?;
    std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+cpu")?;
    let probe = cx.make_cgroup("probe")?;
    let script = format!("echo 0 >{}/cgroup.procs && exec \"$0\" -f 7 true", probe.display());
    let probe = std::process::Command::new("/bin/sh").arg("-c").arg(script).arg(chrt).output()?;
    if probe.status.success() {
        return Ok(());
    }
    Err(skip("the kernel has no real-time budget for cgroups"))
}

fn scheduled(cx: &mut Context, config: Value, name: &str, wanted: Value) -> Verdict {
    cx.bundle.set("/process/scheduler", config);
    expect(name, &cx.inspect()?["scheduler"][name], wanted)
}
