//! `linux.seccomp`: actions, conditions, architectures and flags, as a program inside feels them.

use hako_integration::{Bundle, Runtime, Value, each, json};

/// A profile that allows everything but what `rules` say.
fn allowing(bundle: &mut Bundle, rules: Value) {
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules });
    bundle.set("/linux/seccomp", profile);
}

/// What personality(2) returns for each of these arguments, and everything else is allowed.
fn personality(hako: &Runtime, rules: Value, arguments: &[&str]) -> Vec<Value> {
    let mut bundle = hako.bundle();
    allowing(&mut bundle, rules);
    let chain: Vec<String> =
        arguments.iter().map(|argument| format!("syscall personality {argument}")).collect();
    hako.ask(&bundle, &chain.join(" -- "))
}

#[test]
fn a_refused_call_returns_the_configured_error() {
    let hako = Runtime::new();
    let rows = [
        (json!({}), "EPERM"),
        (json!({ "errnoRet": 38 }), "ENOSYS"),
        (json!({ "errnoRet": 13 }), "EACCES"),
        (json!({ "errnoRet": 11 }), "EAGAIN"),
    ];
    each(rows, |(extra, expected)| {
        let mut rule = json!({ "names": ["personality"], "action": "SCMP_ACT_ERRNO" });
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let seen = personality(&hako, json!([rule]), &["4294967295"]);
        assert_eq!(seen, [json!({ "errno": expected })]);
    });
}

/// Calls of the inspector itself, from its first instruction to its end. None is there for hako's sake.
const OF_THE_INSPECTOR: &[&str] = &[
    "arch_prctl",
    "brk",
    "exit_group",
    "fstat",
    "getrandom",
    "ioctl",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "poll",
    "ppoll",
    "prlimit64",
    "readlink",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "write",
];

/// What hako calls before it executes the program is the program's no more than the engine's.
#[test]
fn a_profile_has_to_allow_nothing_for_the_runtime() {
    let hako = Runtime::new();
    let users = [json!({ "uid": 0, "gid": 0 }), json!({ "uid": 1000, "gid": 1000 })];
    let rows = users.iter().flat_map(|user| [(user, true), (user, false)]);
    each(rows, |(user, no_new_privileges)| {
        for default in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO"] {
            let mut bundle = hako.bundle();
            let profile = json!({
                "defaultAction": default,
                "syscalls": [
                    { "names": ["execve"], "action": "SCMP_ACT_ALLOW" },
                    { "names": OF_THE_INSPECTOR, "action": "SCMP_ACT_ALLOW" },
                ],
            });
            bundle.set("/linux/seccomp", profile).set("/process/user", (*user).clone());
            bundle.set("/process/noNewPrivileges", *no_new_privileges).capabilities(&[]);
            bundle.inspector("print in");
            assert_eq!(hako.run(&bundle).ok().stdout, "in\n");
            let container = hako.create(&bundle);
            container.start();
            container.wait();
        }
    });
}

/// What init may need for the filter is nothing that the program has.
#[test]
fn no_capability_is_left_from_loading_the_filter() {
    let hako = Runtime::new();
    for user in [0, 1000] {
        let mut bundle = hako.bundle();
        bundle.set("/process/user", json!({ "uid": user, "gid": user }));
        bundle.set("/process/noNewPrivileges", false).capabilities(&["CAP_CHOWN"]);
        let without = hako.inspect(&bundle)["capabilities"].clone();
        allowing(&mut bundle, json!([]));
        let seen = hako.inspect(&bundle);
        assert_eq!(seen["capabilities"], without);
        assert_eq!(seen["attributes"]["seccomp_mode"], 2);
    }
}
