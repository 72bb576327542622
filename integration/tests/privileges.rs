//! Capabilities, no_new_privs and resource limits.

use hako_integration::{Runtime, Value, each, is_peer, json};

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

/// The five sets of a report, in this order: effective, permitted, inheritable,
/// bounding, ambient.
fn sets(seen: &Value) -> [u64; 5] {
    ["effective", "permitted", "inheritable", "bounding", "ambient"].map(|set| {
        let text = seen["capabilities"][set].as_str().unwrap();
        u64::from_str_radix(text, 16).unwrap()
    })
}

#[test]
fn the_five_capability_sets_are_the_configured_ones() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let sets_of = |bounding, permitted, effective, inheritable, ambient| {
        json!({
            "bounding": bounding, "permitted": permitted, "effective": effective,
            "inheritable": inheritable, "ambient": ambient,
        })
    };
    let all = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
    let some = json!(["CAP_CHOWN", "CAP_KILL"]);
    let one = json!(["CAP_KILL"]);

    // A user other than root keeps across the exec only what is ambient.
    let sets_for_user = sets_of(all.clone(), some.clone(), some.clone(), some, one);
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.set("/process/capabilities", sets_for_user);
    let expected = [KILL, KILL, CHOWN | KILL, CHOWN | KILL | NET_RAW, KILL];
    assert_eq!(sets(&hako.inspect(&bundle)), expected);

    // Root gains, on exec, all that is in the bounding set.
    bundle.set("/process/user", json!({ "uid": 0, "gid": 0 }));
    let none = json!([]);
    let bounding = sets_of(all, none.clone(), none.clone(), none.clone(), none);
    bundle.set("/process/capabilities", bounding).set("/process/noNewPrivileges", false);
    let bound = CHOWN | KILL | NET_RAW;
    assert_eq!(sets(&hako.inspect(&bundle)), [bound, bound, 0, bound, 0]);
}

#[test]
fn absent_capabilities_mean_none() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.remove("/process/capabilities");
    assert_eq!(sets(&hako.inspect(&bundle)), [0; 5]);
    bundle.set("/process/capabilities", json!({}));
    assert_eq!(sets(&hako.inspect(&bundle)), [0; 5]);
}

#[test]
fn every_capability_has_its_number() {
    const NAMES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID \
        SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK \
        IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT \
        SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL \
        SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
        CHECKPOINT_RESTORE";
    let hako = Runtime::new();
    // A capability that this host does not grant cannot be seen inside.
    let host = grantable();
    let all = NAMES.split_whitespace().enumerate();
    let granted = all.filter(|(number, _)| host & (1 << number) != 0);
    each(granted, |(number, name)| {
        let mut bundle = hako.bundle();
        bundle.capabilities(&[&format!("CAP_{name}")]);
        let set = 1_u64 << number;
        assert_eq!(sets(&hako.inspect(&bundle)), [set, set, 0, set, 0]);
    });
}

/// The capabilities of the test process, and so of the runtime.
fn grantable() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

const WARNING: &str = "ignoring unknown or unavailable capabilities: ";

#[test]
fn unknown_capabilities_are_warned_about_and_dropped() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.capabilities(&["CAP_KILL", "CAP_MAKE_COFFEE"]);
    let output = hako.run(&bundle).ok();
    assert_eq!(sets(&output.json()), [KILL, KILL, 0, KILL, 0]);
    let warned = output.stderr.contains(&format!("{WARNING}[CAP_MAKE_COFFEE]"));
    assert!(warned || hako_integration::is_peer(), "{output}");
    assert!(output.stderr.lines().count() <= 1, "one warning is enough\n{output}");
}

/// No peer does it: they fail.
#[test]
fn capabilities_that_the_caller_lacks_are_warned_about_and_dropped() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let names = json!(["CAP_KILL", "CAP_SYS_PACCT"]);
    let sets_of = json!({
        "bounding": names, "permitted": names, "effective": names, "inheritable": names,
        "ambient": names,
    });
    bundle.set("/process/capabilities", sets_of);
    let command = hako.on_bundle(&["run"], &bundle);
    let command = command.before("exec setpriv --bounding-set -sys_pacct -- \"$0\" \"$@\"");
    let output = hako.finish(command, &bundle).ok();
    assert_eq!(sets(&output.json()), [KILL; 5]);
    assert!(output.stderr.contains(&format!("{WARNING}[CAP_SYS_PACCT]")), "{output}");
    assert_eq!(output.stderr.matches(WARNING).count(), 1, "one warning is enough\n{output}");
}

#[test]
fn nothing_is_warned_about_when_all_is_granted() {
    let hako = Runtime::new();
    assert_eq!(hako.run(&hako.bundle()).ok().stderr, "");
}

#[test]
fn capabilities_of_the_caller_do_not_pass() {
    let hako = Runtime::new();
    let bundle = hako.bundle();
    let command = hako.on_bundle(&["run"], &bundle).before(
        "exec setpriv --inh-caps +chown,+kill --ambient-caps +chown,+kill -- \"$0\" \"$@\"",
    );
    let seen = sets(&hako.finish(command, &bundle).ok().json());
    assert_eq!((seen[2], seen[4]), (0, 0), "inheritable and ambient");
}

#[test]
fn no_new_privileges_disarms_set_user_id_programs() {
    let hako = Runtime::new();
    let rows = [(json!(true), true, 1000), (json!(false), false, 0), (json!(null), false, 0)];
    each(rows, |(value, attribute, effective)| {
        let mut bundle = hako.bundle();
        bundle.set("/process/noNewPrivileges", value.clone());
        if value.is_null() {
            bundle.remove("/process/noNewPrivileges");
        }
        bundle.capabilities(&["CAP_SETUID", "CAP_SETGID"]);
        bundle.set("/root/readonly", false);
        let chain = "report -- copy /bin/inspector /su -- chmod /su 4755 -- run-as 1000 /su";
        let seen = hako.ask(&bundle, chain);
        assert_eq!(seen[0]["attributes"]["no_new_privs"], *attribute);
        assert_eq!(seen[3]["stdout"]["uid"]["effective"], *effective);
    });
}

#[test]
fn every_resource_limit_is_set() {
    // Below what any host grants, so that no privilege is needed.
    let rows = [
        ("RLIMIT_AS", 1_u64 << 30, 1_u64 << 31),
        ("RLIMIT_CORE", 4096, 8192),
        ("RLIMIT_CPU", 100, 200),
        ("RLIMIT_DATA", 1 << 30, 1 << 31),
        ("RLIMIT_FSIZE", 1 << 20, 1 << 21),
        ("RLIMIT_LOCKS", 10, 20),
        ("RLIMIT_MEMLOCK", 4096, 8192),
        ("RLIMIT_MSGQUEUE", 1000, 2000),
        ("RLIMIT_NICE", 0, 0),
        ("RLIMIT_NOFILE", 100, 200),
        ("RLIMIT_NPROC", 300, 400),
        ("RLIMIT_RSS", 1 << 30, 1 << 31),
        ("RLIMIT_RTPRIO", 0, 0),
        ("RLIMIT_RTTIME", 1_000_000, 2_000_000),
        ("RLIMIT_SIGPENDING", 100, 200),
        ("RLIMIT_STACK", 1 << 20, 1 << 22),
    ];
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let limit = |row: &(&str, u64, u64)| json!({ "type": row.0, "soft": row.1, "hard": row.2 });
    let all: Vec<Value> = rows.iter().map(limit).collect();
    bundle.set("/process/rlimits", all);
    let seen = hako.inspect(&bundle);
    each(rows, |(name, soft, hard)| {
        assert_eq!(seen["rlimits"][name], json!({ "soft": soft, "hard": hard }));
    });
}

#[test]
fn limits_that_are_not_configured_are_those_of_the_caller() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.set("/process/rlimits", json!([]));
    let command = hako.on_bundle(&["run"], &bundle).before("ulimit -n 321; ulimit -c 7");
    let seen = hako.finish(command, &bundle).ok().json();
    assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!({ "soft": 321, "hard": 321 }));
    assert_eq!(seen["rlimits"]["RLIMIT_CORE"]["soft"], 7 * 512, "in blocks of the shell");
}

#[test]
fn the_largest_number_is_infinity() {
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    let limit = json!({ "type": "RLIMIT_CPU", "soft": u64::MAX, "hard": u64::MAX });
    bundle.set("/process/rlimits", json!([limit]));
    let seen = hako.inspect(&bundle);
    assert_eq!(seen["rlimits"]["RLIMIT_CPU"], json!({ "soft": null, "hard": null }));
}

#[test]
fn impossible_limits_are_refused() {
    let nofile =
        |soft: u64, hard: u64| json!({ "type": "RLIMIT_NOFILE", "soft": soft, "hard": hard });
    let rows = [
        ("unknown", json!([{ "type": "RLIMIT_COFFEE", "soft": 1, "hard": 1 }])),
        ("lower case", json!([{ "type": "rlimit_nofile", "soft": 1, "hard": 1 }])),
        ("soft above hard", json!([nofile(100, 50)])),
        ("duplicate", json!([nofile(100, 100), nofile(200, 200)])),
        ("equal duplicate", json!([nofile(100, 100), nofile(100, 100)])),
        ("negative", json!([{ "type": "RLIMIT_NOFILE", "soft": -1, "hard": -1 }])),
        ("no hard limit", json!([{ "type": "RLIMIT_NOFILE", "soft": 10 }])),
    ];
    let hako = Runtime::new();
    each(rows, |(_, limits)| {
        let mut bundle = hako.bundle();
        bundle.set("/process/rlimits", limits.clone());
        hako.refuses(&bundle, "/process/rlimits");
    });
}

/// Each user of the host has a quota of keys. Here somebody, to whom root of the
/// container is mapped, has used it up.
#[test]
fn a_quota_of_keys_that_is_used_up_is_explained() {
    const SOMEBODY: u32 = 1_234_500_000;
    let hako = Runtime::new();
    let mut bundle = hako.bundle();
    bundle.user_namespace(SOMEBODY).inspector("print ran");
    let (full, is_full) = std::sync::mpsc::channel();
    let (tried, is_tried) = std::sync::mpsc::channel::<()>();
    // Keys, and who one is, belong to a thread.
    let hoarder = std::thread::spawn(move || {
        // SAFETY: the calls take numbers, and strings that outlive them.
        unsafe {
            assert_eq!(libc::syscall(libc::SYS_setresuid, SOMEBODY, SOMEBODY, SOMEBODY), 0);
            let add = |number: u32| {
                let name = std::ffi::CString::new(number.to_string()).unwrap();
                const THREAD_KEYRING: libc::c_int = -1;
                let kind = c"user".as_ptr();
                libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), kind, 4, THREAD_KEYRING)
            };
            full.send((0..100_000).any(|number| add(number) < 0)).unwrap();
        }
        let _ = is_tried.recv();
    });
    assert!(is_full.recv().unwrap(), "there is no quota");
    let refused = hako.run(&bundle);
    let shared = hako.finish(hako.on_bundle(&["run", "--no-new-keyring"], &bundle), &bundle);
    drop(tried);
    hoarder.join().unwrap();
    assert_eq!(shared.ok().stdout, "ran\n");
    if !is_peer() {
        refused.fails("cannot make a session keyring: quota exceeded (EDQUOT)");
        refused.fails("hint: raise kernel.keys.maxkeys");
    }
}
