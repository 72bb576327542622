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

/// What getpid(2), whose arguments nobody looks at, returns for an argument.
fn getpid(hako: &Runtime, bundle: &Bundle, argument: &str) -> Value {
    hako.ask(bundle, &format!("syscall getpid {argument}"))[0].clone()
}

#[test]
fn every_action_does_what_its_name_says() {
    let hako = Runtime::new();
    let rows = [
        ("SCMP_ACT_ALLOW", Ok(json!(1))),
        ("SCMP_ACT_LOG", Ok(json!(1))),
        ("SCMP_ACT_ERRNO", Ok(json!({ "errno": "EPERM" }))),
        // Nobody traces the process.
        ("SCMP_ACT_TRACE", Ok(json!({ "errno": "ENOSYS" }))),
        ("SCMP_ACT_TRAP", Err(128 + 31)),
        ("SCMP_ACT_KILL", Err(128 + 31)),
        ("SCMP_ACT_KILL_THREAD", Err(128 + 31)),
        ("SCMP_ACT_KILL_PROCESS", Err(128 + 31)),
    ];
    each(rows, |(action, expected)| {
        let mut bundle = hako.bundle();
        // Another default than the action, which would make the rule no rule.
        let default = if *action == "SCMP_ACT_ALLOW" { "SCMP_ACT_LOG" } else { "SCMP_ACT_ALLOW" };
        let rule = json!({ "names": ["getpid"], "action": action });
        bundle.set("/linux/seccomp", json!({ "defaultAction": default, "syscalls": [rule] }));
        match expected {
            Ok(value) => assert_eq!(getpid(&hako, &bundle, "0"), *value),
            Err(code) => {
                bundle.inspector("syscall getpid 0");
                assert_eq!(hako.run(&bundle).code, Some(*code));
            }
        }
    });
}

#[test]
fn every_comparison_compares_all_64_bits() {
    let hako = Runtime::new();
    // 5 and a bit above the lower half
    const BIG: &str = "4294967301";
    let rows = [
        ("EQ", 5_u64, 0_u64, ["5"].as_slice(), ["4", "6", BIG].as_slice()),
        ("NE", 5, 0, &["4", "6", BIG], &["5"]),
        ("LT", 5, 0, &["4", "0"], &["5", "6", BIG, "-1"]),
        ("LE", 5, 0, &["4", "5"], &["6", BIG, "-1"]),
        ("GT", 5, 0, &["6", BIG, "-1"], &["5", "4"]),
        ("GE", 5, 0, &["5", "6", BIG, "-1"], &["4", "0"]),
        ("MASKED_EQ", 0b110, 0b100, &["4", "5"], &["6", "2", "0"]),
        ("EQ", u64::MAX, 0, &["-1"], &["4294967295", "1"]),
        ("GT", 1 << 32, 0, &["4294967297"], &["4294967296", "4294967295"]),
    ];
    each(rows, |(operator, value, two, refused, allowed)| {
        let mut bundle = hako.bundle();
        let op = format!("SCMP_CMP_{operator}");
        let arg = json!({ "index": 0, "value": value, "valueTwo": two, "op": op });
        let rule = json!({ "names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": [arg] });
        allowing(&mut bundle, json!([rule]));
        for argument in *refused {
            assert_eq!(getpid(&hako, &bundle, argument), json!({ "errno": "EPERM" }), "{argument}");
        }
        for argument in *allowed {
            assert_eq!(getpid(&hako, &bundle, argument), 1, "{argument}");
        }
    });
}

#[test]
fn comparisons_of_one_argument_are_alternatives_and_of_several_must_all_hold() {
    let hako = Runtime::new();
    let equal = |index, value| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let rows = [
        (json!([equal(0, 5), equal(0, 6)]), ["5 0", "6 0"].as_slice(), ["7 0"].as_slice()),
        (json!([equal(0, 5), equal(1, 6)]), &["5 6"], &["5 0", "0 6"]),
    ];
    each(rows, |(args, refused, allowed)| {
        let mut bundle = hako.bundle();
        let rule = json!({ "names": ["getpid"], "action": "SCMP_ACT_ERRNO", "args": args });
        allowing(&mut bundle, json!([rule]));
        for arguments in *refused {
            assert_eq!(getpid(&hako, &bundle, arguments), json!({ "errno": "EPERM" }));
        }
        for arguments in *allowed {
            assert_eq!(getpid(&hako, &bundle, arguments), 1);
        }
    });
}

/// The profile of a container of docker's.
fn of_docker() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/bundles/docker-01.json");
    let config: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    config["linux"]["seccomp"].clone()
}

#[test]
fn dockers_profile_refuses_what_it_names_and_does_not_know_what_is_newer() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/linux/seccomp", of_docker());
    let chain = "syscall keyctl 0 -- syscall unshare 0 -- syscall personality 4294967295 -- \
        syscall personality 5 -- syscall 9999 -- syscall getpid";
    let refused = json!({ "errno": "EPERM" });
    let seen = hako.ask(&bundle, chain);
    assert_eq!(seen[..2], [refused.clone(), refused.clone()]);
    assert_eq!(seen[2..], [json!(0), refused, json!({ "errno": "ENOSYS" }), json!(1)]);
}

#[test]
fn every_flag_and_every_architecture_of_the_specification_is_accepted() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let architectures = [
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    let architectures = architectures.map(|name| format!("SCMP_ARCH_{name}"));
    let rule = json!([{ "names": ["getpid"], "action": "SCMP_ACT_ERRNO" }]);
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
    let rows = flags.map(|flag| vec![format!("SECCOMP_FILTER_FLAG_{flag}")]);
    let all = rows.concat();
    each(rows.into_iter().chain([all, Vec::new()]), |flags| {
        allowing(&mut bundle, rule.clone());
        bundle.set("/linux/seccomp/architectures", json!(architectures));
        bundle.set("/linux/seccomp/flags", json!(flags));
        assert_eq!(getpid(&hako, &bundle, "0"), json!({ "errno": "EPERM" }));
    });
}

#[test]
fn what_the_specification_forbids_is_refused() {
    let hako = Runtime::new();
    let rule = |names: Value, action: &str| json!([{ "names": names, "action": action }]);
    let rows = [
        (
            "/linux/seccomp/syscalls",
            rule(json!([]), "SCMP_ACT_ERRNO"),
            "/linux/seccomp/syscalls/0/names",
        ),
        (
            "/linux/seccomp/syscalls",
            rule(json!(["mkdir"]), "SCMP_ACT_NOTIFY"),
            "/linux/seccomp/listenerPath",
        ),
        (
            "/linux/seccomp/syscalls",
            rule(json!(["mkdir"]), "SCMP_ACT_PRETEND"),
            "/linux/seccomp/syscalls/0/action",
        ),
        ("/linux/seccomp/listenerMetadata", json!("x"), "/linux/seccomp/listenerMetadata"),
        ("/linux/seccomp/defaultErrnoRet", json!(1), "/linux/seccomp/defaultErrnoRet"),
        (
            "/linux/seccomp/architectures",
            json!(["SCMP_ARCH_PDP11"]),
            "/linux/seccomp/architectures/0",
        ),
        ("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_X"]), "/linux/seccomp/flags/0"),
    ];
    each(rows, |(place, value, pointer)| {
        let mut bundle = hako.bundle();
        allowing(&mut bundle, json!([]));
        bundle.set(place, value.clone());
        hako.refuses(&bundle, pointer);
    });
}

#[test]
fn names_that_nobody_knows_are_ignored_and_explained() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let rule = json!({ "names": ["getpid", "a_call_of_the_future"], "action": "SCMP_ACT_ERRNO" });
    allowing(&mut bundle, json!([rule]));
    assert_eq!(getpid(&hako, &bundle, "0"), json!({ "errno": "EPERM" }));
    let plan = hako.on_bundle(&["explain"], &bundle).output().ok();
    assert!(plan.stdout.contains("ignored as unknown: a_call_of_the_future"), "{plan}");
    let strict = "/annotations/run.oci.seccomp_fail_unknown_syscall";
    assert_eq!(getpid(&hako, bundle.set(strict, "0"), "0"), json!({ "errno": "EPERM" }));
    let refused = hako.refuses(bundle.set(strict, "1"), "/linux/seccomp/syscalls");
    refused.fails("there is no system call \"a_call_of_the_future\"");
}

#[test]
fn another_program_in_the_container_has_the_filter_too() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    for no_new_privileges in [true, false] {
        bundle.set("/process/noNewPrivileges", no_new_privileges);
        allowing(&mut bundle, json!([{ "names": ["personality"], "action": "SCMP_ACT_ERRNO" }]));
        let container = hako.serve(&bundle);
        let seen = container.exec_and_ask(&[], "syscall personality 0 -- syscall getpid");
        assert_eq!(seen[0], json!({ "errno": "EPERM" }));
        assert!(seen[1].as_u64().unwrap() > 1);
        container.kill("KILL");
        container.wait();
    }
}

#[test]
fn a_profile_that_forbids_the_program_itself_is_told() {
    let hako = Runtime::new();
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO"] {
        let mut bundle = hako.bundle();
        bundle.set("/linux/seccomp", json!({ "defaultAction": action, "syscalls": [] }));
        hako.run(&bundle).fails("before it executed the program");
        let container = hako.create(&bundle);
        container.command(&["start"]).output().fails("before it executed the program");
    }
}
