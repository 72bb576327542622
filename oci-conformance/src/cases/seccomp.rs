//! System call filters.

use super::terminal::{accept, receive};
use crate::case::{
    Case,
    Level::{Engine, Must},
    Stop, Verdict, ensure, expect, expect_errno, fail,
};
use crate::context::Context;
use crate::host::needs_file;
use serde_json::{Value, json};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// One case for each comparison: `personality` is refused for 8 or not, and for 0 or not.
macro_rules! operators {
    ($($name:literal $rule:expr, $zero:expr, $eight:expr;)*) => {
        &[$(Case {
            id: concat!("seccomp.operator-", $name),
            level: Must,
            refs: &["config-linux.md:972", "config-linux.md:969", "config-linux.md:970"],
            run: |cx| compares(cx, concat!("SCMP_CMP_", $name), $rule, [$zero, $eight]),
        },)*]
    };
}

/// Comparisons of an argument.
pub const OPERATORS: &[Case] = operators! {
    "EQ" json!({ "value": 8 }), false, true;
    "NE" json!({ "value": 8 }), true, false;
    "LT" json!({ "value": 8 }), true, false;
    "LE" json!({ "value": 7 }), true, false;
    "GT" json!({ "value": 7 }), false, true;
    "GE" json!({ "value": 8 }), false, true;
    "MASKED_EQ" json!({ "value": 8, "valueTwo": 8 }), false, true;
};

/// The other cases of this theme.
pub const CASES: &[Case] = &[
    Case {
        id: "seccomp.errno",
        level: Must,
        refs: &["config-linux.md:885", "config-linux.md:946", "config-linux.md:948"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            let seen = cx.ask("mkdir /tmp/x -- stat /tmp")?;
            expect_errno("mkdir, without errnoRet", &seen[0], &["EPERM"])?;
            expect("another call", &seen[1]["type"], "directory")
        },
    },
    Case {
        id: "seccomp.errno-ret",
        level: Engine,
        refs: &[],
        run: |cx| {
            let mut rule = mkdir("SCMP_ACT_ERRNO");
            rule["errnoRet"] = json!(95);
            rules(cx, json!([rule]))?;
            expect_errno("mkdir", &cx.ask("mkdir /tmp/x")?[0], &["EOPNOTSUPP"])
        },
    },
    Case {
        id: "seccomp.default-errno-ret",
        level: Engine,
        refs: &[],
        run: |cx| {
            // Everything is allowed but one call, by its absence.
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/linux/seccomp/syscalls/0/errnoRet", 95);
            cx.bundle.set(
                "/linux/seccomp/syscalls/-",
                json!({
                    "names": ["chmod", "fchmodat", "fchmod"], "action": "SCMP_ACT_ERRNO",
                }),
            );
            cx.bundle.write("/file", "")?;
            let seen = cx.ask("mkdir /tmp/x -- chmod /file 600")?;
            expect_errno("mkdir", &seen[0], &["EOPNOTSUPP"])?;
            expect_errno("chmod", &seen[1], &["EPERM"])
        },
    },
    Case {
        id: "seccomp.default-errno-with-an-action-that-has-none",
        level: Must,
        refs: &["config-linux.md:888"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/linux/seccomp/defaultErrnoRet", 95);
            cx.refused()
        },
    },
    Case {
        id: "seccomp.errno-with-an-action-that-has-none",
        level: Must,
        refs: &["config-linux.md:963"],
        run: |cx| {
            let mut rule = mkdir("SCMP_ACT_KILL");
            rule["errnoRet"] = json!(95);
            rules(cx, json!([rule]))?;
            cx.refused()
        },
    },
    Case {
        id: "seccomp.actions-that-kill",
        level: Must,
        refs: &["config-linux.md:948"],
        run: |cx| {
            for action in
                ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]
            {
                rules(cx, json!([mkdir(action)]))?;
                cx.bundle.inspector("mkdir /tmp/x");
                let ran = cx.run()?;
                expect(action, ran.exit.to_string(), "signal 31")?;
            }
            Ok(())
        },
    },
    Case {
        id: "seccomp.action-log",
        level: Must,
        refs: &["config-linux.md:948"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_LOG")]))?;
            let seen = cx.ask("mkdir /tmp/x -- report")?;
            expect("mkdir", &seen[0], "ok")?;
            expect("seccomp mode: a filter", &seen[1]["attributes"]["seccomp_mode"], 2)
        },
    },
    Case {
        id: "seccomp.action-trace",
        level: Must,
        refs: &["config-linux.md:948"],
        run: |cx| {
            // Nobody traces: the call is refused.
            rules(cx, json!([mkdir("SCMP_ACT_TRACE")]))?;
            expect_errno("mkdir", &cx.ask("mkdir /tmp/x")?[0], &["ENOSYS"])
        },
    },
    Case {
        id: "seccomp.unknown-action",
        level: Must,
        refs: &["config.md:760", "config-linux.md:948"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_NONSENSE")]))?;
            cx.refused()
        },
    },
    Case {
        id: "seccomp.unknown-operator",
        level: Must,
        refs: &["config.md:760", "config-linux.md:972"],
        run: |cx| {
            let mut rule = mkdir("SCMP_ACT_ERRNO");
            rule["args"] = json!([{ "index": 0, "value": 1, "op": "SCMP_CMP_NONSENSE" }]);
            rules(cx, json!([rule]))?;
            cx.refused()
        },
    },
    Case {
        id: "seccomp.unknown-architecture",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/linux/seccomp/architectures", json!(["SCMP_ARCH_NONSENSE"]));
            cx.refused()
        },
    },
    Case {
        id: "seccomp.unknown-flag",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_NONSENSE"]));
            cx.refused()
        },
    },
    Case {
        id: "seccomp.flags",
        level: Engine,
        refs: &[],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            let flags = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
            cx.bundle.set("/linux/seccomp/flags", json!(flags));
            expect_errno("mkdir", &cx.ask("mkdir /tmp/x")?[0], &["EPERM"])
        },
    },
    Case {
        id: "seccomp.unknown-syscall-name",
        level: Engine,
        refs: &[],
        run: |cx| {
            // Profiles name calls that this kernel or architecture does not have.
            let mut rule = mkdir("SCMP_ACT_ERRNO");
            rule["names"] = json!(["mkdir", "mkdirat", "no_such_syscall"]);
            rules(cx, json!([rule]))?;
            expect_errno("mkdir", &cx.ask("mkdir /tmp/x")?[0], &["EPERM"])
        },
    },
    Case {
        id: "seccomp.names-empty",
        level: Must,
        refs: &["config-linux.md:947"],
        run: |cx| {
            rules(cx, json!([{ "names": [], "action": "SCMP_ACT_ERRNO" }]))?;
            cx.refused()
        },
    },
    Case {
        id: "seccomp.with-new-privileges",
        level: Engine,
        refs: &[],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/process/noNewPrivileges", false);
            expect_errno("mkdir", &cx.ask("mkdir /tmp/x")?[0], &["EPERM"])
        },
    },
    Case {
        id: "seccomp.allow-list-that-engines-use",
        level: Engine,
        refs: &[],
        run: |cx| {
            // What the runtime itself still has to call must not count.
            needs_file("/proc/sys/kernel/seccomp", "the kernel has no seccomp")?;
            cx.bundle.set(
                "/linux/seccomp",
                json!({
                    "defaultAction": "SCMP_ACT_ERRNO",
                    "syscalls": [{ "names": PROGRAM, "action": "SCMP_ACT_ALLOW" }],
                }),
            );
            cx.bundle.inspector("print hello -- mkdir /tmp/x");
            let ran = cx.run()?;
            ensure(ran.stdout.starts_with("hello\n"), "hello", &ran.stdout)?;
            ensure(ran.stdout.contains("EPERM"), "mkdir refused", &ran.stdout)
        },
    },
    Case {
        id: "seccomp.notify",
        level: Must,
        refs: &[
            "config-linux.md:927",
            "config-linux.md:935",
            "config-linux.md:1007",
            "config-linux.md:1009",
            "config-linux.md:1013",
            "config-linux.md:1016",
            "config-linux.md:1018",
        ],
        run: |cx| {
            let listener = notify(cx)?;
            cx.bundle.set("/linux/seccomp/listenerMetadata", "opaque").inspector("mkdir /tmp/x");
            let container = cx.create()?;
            let pid = container.pid();
            container.start()?;
            let stream = accept(&listener, "listenerPath")?;
            let (bytes, fds) = receive(&stream)?;
            let state: Value = serde_json::from_slice(&bytes)
                .map_err(|_| fail("a container process state", String::from_utf8_lossy(&bytes)))?;
            expect("descriptors", fds.len(), 1)?;
            expect("their names", &state["fds"], ["seccompFd"])?;
            expect("pid", &state["pid"], pid)?;
            expect("metadata", &state["metadata"], "opaque")?;
            ensure(state["ociVersion"].is_string(), "ociVersion", &state["ociVersion"])?;
            super::state::schema(&state["state"])?;
            expect("id in the state", &state["state"]["id"], cx.id())?;
            container.force_delete()
        },
    },
    Case {
        id: "seccomp.notify-connection",
        level: Must,
        refs: &["config-linux.md:928", "config-linux.md:929"],
        run: |cx| {
            let listener = notify(cx)?;
            cx.bundle.inspector("mkdir /tmp/x");
            let container = cx.create()?;
            container.start()?;
            let stream = accept(&listener, "listenerPath")?;
            let (first, fds) = receive(&stream)?;
            let one = serde_json::from_slice::<Value>(&first).is_ok();
            ensure(one, "one state in one connection", String::from_utf8_lossy(&first))?;
            let (rest, _) = receive(&stream)?;
            ensure(rest.is_empty(), "the end after it", String::from_utf8_lossy(&rest))?;
            drop(fds);
            container.force_delete()
        },
    },
    Case {
        id: "seccomp.notify-without-listener",
        level: Must,
        refs: &["config-linux.md:930"],
        run: |cx| {
            drop(notify(cx)?);
            cx.refused()
        },
    },
    Case {
        id: "seccomp.notify-without-listener-path",
        level: Must,
        refs: &["config.md:760"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_NOTIFY")]))?;
            cx.refused()
        },
    },
    Case {
        id: "seccomp.listener-metadata-without-path",
        level: Must,
        refs: &["config-linux.md:939"],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/linux/seccomp/listenerMetadata", "opaque");
            cx.refused()
        },
    },
    Case {
        id: "seccomp.listener-path-without-notify",
        level: Engine,
        refs: &[],
        run: |cx| {
            rules(cx, json!([mkdir("SCMP_ACT_ERRNO")]))?;
            cx.bundle.set("/linux/seccomp/listenerPath", "/no/such/socket");
            expect_errno("mkdir", &cx.ask("mkdir /tmp/x")?[0], &["EPERM"])
        },
    },
];

/// What it takes to start a small static program and to print.
const PROGRAM: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "clock_gettime",
    "close",
    "dup",
    "execve",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fcntl",
    "fstat",
    "futex",
    "getcwd",
    "getpid",
    "getrandom",
    "gettid",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "newfstatat",
    "openat",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "write",
    "writev",
];

/// Everything is allowed but for these rules.
fn rules(cx: &mut Context, rules: Value) -> Verdict {
    needs_file("/proc/sys/kernel/seccomp", "the kernel has no seccomp")?;
    let seccomp = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    cx.bundle.set("/linux/seccomp", seccomp);
    Ok(())
}

/// A rule for making a directory, whatever the architecture calls it.
fn mkdir(action: &str) -> Value {
    json!({ "names": ["mkdir", "mkdirat"], "action": action })
}

fn compares(cx: &mut Context, operator: &str, rule: Value, refused: [bool; 2]) -> Verdict {
    let mut argument = rule;
    argument["index"] = json!(0);
    argument["op"] = json!(operator);
    let rule = json!({ "names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [argument] });
    rules(cx, json!([rule]))?;
    let seen = cx.ask("syscall personality 0 -- syscall personality 8")?;
    let got: Vec<bool> = seen.iter().map(|value| value["errno"] == "EPERM").collect();
    expect("personality(0), personality(8) refused", got, refused)
}

/// Asks for a notification about mkdir, and listens for it.
fn notify(cx: &mut Context) -> Result<UnixListener, Stop> {
    rules(cx, json!([mkdir("SCMP_ACT_NOTIFY")]))?;
    let path: PathBuf = cx.host_dir("")?.join("seccomp");
    let listener = UnixListener::bind(&path)?;
    cx.bundle.set("/linux/seccomp/listenerPath", json!(path));
    Ok(listener)
}
