//! Programs are run here as the kernel runs them, and compared.

use super::compile::{compile, translated};
use super::program::Program;
use super::*;
use crate::host::Host;
use crate::plan::{Compiler, Options};
use oci_spec::runtime::{Arch, LinuxSeccomp};
use proptest::prelude::*;
use serde_json::json;

/// `struct seccomp_data`, as far as it matters.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

const X86_64: u32 = Arch::ScmpArchX86_64 as u32;
const X86: u32 = Arch::ScmpArchX86 as u32;
const FOREIGN: u32 = Arch::ScmpArchAarch64 as u32;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

/// What a program returns for a call.
fn run(program: &Program, call: Call) -> u32 {
    let word = |offset: u32| match offset {
        0 => call.number,
        4 => call.architecture,
        offset => {
            let argument = call.arguments[(offset as usize - 16) / 8];
            let first = if offset.is_multiple_of(8) { 0 } else { 32 };
            let shift = if cfg!(target_endian = "little") { first } else { 32 - first };
            (argument >> shift) as u32
        }
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = program.0[at];
        let operand = instruction.operand;
        let code = u32::from(instruction.code);
        let jump = |holds: bool| {
            usize::from(if holds { instruction.jump_true } else { instruction.jump_false })
        };
        at += 1;
        match (code & 0x07, code & 0xf0) {
            (libc::BPF_LD, _) => accumulator = word(operand),
            (libc::BPF_ALU, libc::BPF_AND) => accumulator &= operand,
            (libc::BPF_JMP, libc::BPF_JA) => at += operand as usize,
            (libc::BPF_JMP, libc::BPF_JEQ) => at += jump(accumulator == operand),
            (libc::BPF_JMP, libc::BPF_JGT) => at += jump(accumulator > operand),
            (libc::BPF_JMP, libc::BPF_JGE) => at += jump(accumulator >= operand),
            (libc::BPF_RET, _) => return operand,
            other => panic!("instruction {other:?}"),
        }
    }
}

fn profile(document: serde_json::Value) -> Profile {
    let seccomp: LinuxSeccomp = serde_json::from_value(document).unwrap();
    let (host, options) = (Host::example(), Options::default());
    plan(&seccomp, &mut Compiler::new(&host, &options)).0
}

/// Numbers around everything that a profile says, of all calls, and at the ends.
fn calls_to_try(profile: &Profile) -> Vec<Call> {
    let tables = [0, 0x4000_0000].map(|first| first..first + 600);
    let ends = [0x000f_0000, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1];
    let numbers: Vec<u32> = tables.into_iter().flatten().chain(ends).collect();
    let mut arguments = vec![[0; 6], [u64::MAX; 6]];
    for condition in profile.rules.iter().flat_map(|rule| &rule.conditions) {
        let mask = match condition.operator {
            Operator::MaskedEqual(mask) => !mask,
            _ => 1 << 32,
        };
        let value = condition.value;
        let close = [value, value.wrapping_sub(1), value.wrapping_add(1), value ^ mask];
        let far = [value ^ (1 << 63), value & 0xffff_ffff, value | 0xffff_ffff_0000_0000];
        for number in close.into_iter().chain(far) {
            for mut others in [[0; 6], [7; 6], [16; 6]] {
                others[condition.argument as usize] = number;
                arguments.push(others);
            }
        }
    }
    arguments.sort_unstable();
    arguments.dedup();
    let names = profile.rules.iter().filter(|rule| !rule.conditions.is_empty());
    let compared: Vec<u32> = names
        .flat_map(|rule| &rule.names)
        .flat_map(|name| profile.architectures.iter().map(move |arch| (name, *arch)))
        .filter_map(|(name, arch)| calls::numbers(name, arch))
        .flat_map(|numbers| numbers.into_iter().map(|(number, _)| number))
        .collect();
    let mut calls = Vec::new();
    for number in numbers {
        let arguments =
            if compared.contains(&number) { &arguments[..] } else { &[[0; 6], [u64::MAX; 6]] };
        for architecture in [X86_64, X86, FOREIGN] {
            calls.extend(arguments.iter().map(|arguments| Call {
                number,
                architecture,
                arguments: *arguments,
            }));
        }
    }
    calls
}

/// Both programs answer the same to everything.
fn agree(profile: &Profile) {
    let ours = compile(profile).unwrap();
    let theirs = translated(profile).unwrap();
    for call in calls_to_try(profile) {
        let (ours, theirs) = (run(&ours, call), run(&theirs, call));
        assert_eq!(ours, theirs, "{ours:#x} {theirs:#x} {call:#x?}");
    }
}

fn engines() -> Vec<Profile> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/bundles");
    let mut documents = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let config = std::fs::read(entry.unwrap().path()).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
        let document = config["linux"]["seccomp"].clone();
        if !document.is_null() && !documents.contains(&document) {
            documents.push(document);
        }
    }
    documents.into_iter().map(profile).collect()
}

#[test]
fn profiles_of_engines_come_out_as_from_libseccomp_but_shorter() {
    let profiles = engines();
    assert!(profiles.len() > 4);
    for profile in profiles {
        agree(&profile);
        let length = |program: Program| program.0.len();
        let (ours, theirs) = (compile(&profile).unwrap(), translated(&profile).unwrap());
        let (ours, theirs) = (length(ours), length(theirs));
        assert!(ours * 2 < theirs, "{ours} {theirs}");
    }
}

fn an_action() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!({ "action": "SCMP_ACT_ALLOW" })),
        Just(json!({ "action": "SCMP_ACT_LOG" })),
        Just(json!({ "action": "SCMP_ACT_TRAP" })),
        Just(json!({ "action": "SCMP_ACT_KILL_PROCESS" })),
        (1..40).prop_map(|errno| json!({ "action": "SCMP_ACT_ERRNO", "errnoRet": errno })),
    ]
}

fn a_condition() -> impl Strategy<Value = serde_json::Value> {
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let value = || prop_oneof![Just(0_u64), 1..4_u64, Just(1 << 32), Just(u64::MAX), any::<u64>()];
    (0..6, proptest::sample::select(operators.to_vec()), value(), value()).prop_map(
        |(index, operator, value, two)| {
            let op = format!("SCMP_CMP_{operator}");
            // Bits outside of the mask can never be equal.
            let two = if operator == "MASKED_EQ" { two & value } else { two };
            json!({ "index": index, "value": value, "valueTwo": two, "op": op })
        },
    )
}

/// One action for each call: which of several wins is libseccomp's to decide.
/// Each call has up to `most` rules.
fn a_profile(most: usize) -> impl Strategy<Value = serde_json::Value> {
    let names = ["read", "mkdir", "socket", "semget", "recvmsg", "personality", "clone", "prctl"];
    let conditions = proptest::collection::vec(a_condition(), 0..3).prop_map(|mut conditions| {
        conditions.dedup_by_key(|condition| condition["index"].clone());
        conditions
    });
    let alternatives = proptest::collection::vec(conditions, 1..=most);
    let call = (proptest::sample::select(names.to_vec()), an_action(), alternatives);
    let architectures = prop_oneof![
        Just(json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"])),
        Just(json!(["SCMP_ARCH_X86_64"])),
        Just(json!(["SCMP_ARCH_X86"])),
    ];
    (an_action(), proptest::collection::vec(call, 0..6), architectures).prop_map(
        |(default, calls, architectures)| {
            let mut rules = Vec::new();
            let mut named: Vec<&str> = Vec::new();
            for (name, action, alternatives) in calls {
                if named.contains(&name) {
                    continue;
                }
                named.push(name);
                for conditions in alternatives {
                    let mut rule = action.clone();
                    rule["names"] = json!([name]);
                    rule["args"] = json!(conditions);
                    rules.push(rule);
                }
            }
            json!({
                "defaultAction": default["action"], "defaultErrnoRet": default["errnoRet"],
                "architectures": architectures, "syscalls": rules,
            })
        },
    )
}

/// What the specification says about a call of x86_64.
fn meant(profile: &Profile, call: Call) -> u32 {
    let numbers = |name: &String| calls::numbers(name, Arch::ScmpArchX86_64).unwrap();
    let is_named =
        |rule: &&Rule| rule.names.iter().flat_map(numbers).any(|(number, _)| number == call.number);
    let holds = |condition: &Condition| {
        let (argument, value) = (call.arguments[condition.argument as usize], condition.value);
        match condition.operator {
            Operator::NotEqual => argument != value,
            Operator::Less => argument < value,
            Operator::LessOrEqual => argument <= value,
            Operator::Equal => argument == value,
            Operator::GreaterOrEqual => argument >= value,
            Operator::Greater => argument > value,
            Operator::MaskedEqual(mask) => argument & mask == value,
        }
    };
    let mut rules = profile.rules.iter().filter(is_named);
    let rule = rules.find(|rule| rule.conditions.iter().all(holds));
    let newest = calls::highest(profile, Arch::ScmpArchX86_64);
    let newer = profile.newer_unknown && newest.is_some_and(|newest| call.number > newest);
    match rule {
        Some(rule) => rule.action.value(),
        None if newer => Profile::NEWER.value(),
        None => profile.default.value(),
    }
}

/// Each case takes libseccomp a while.
fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(48),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_profile_comes_out_as_from_libseccomp(document in a_profile(1)) {
        agree(&profile(document));
    }

    /// libseccomp loses some of several rules for one call: this is no comparison with it.
    #[test]
    fn alternatives_all_count(document in a_profile(3)) {
        let profile = profile(document);
        let program = compile(&profile).unwrap();
        for call in calls_to_try(&profile) {
            if call.architecture == X86_64 && call.number < 0x4000_0000 {
                assert_eq!(run(&program, call), meant(&profile, call), "{call:x?}");
            }
        }
    }
}

fn answer(program: &Program, architecture: u32, number: u32) -> u32 {
    run(program, Call { number, architecture, arguments: [0; 6] })
}

#[test]
fn calls_newer_than_the_profile_are_unknown_and_not_forbidden() {
    let rules = json!([{ "names": ["read", "close_range"], "action": "SCMP_ACT_ALLOW" }]);
    let of = |default: &str, errno: Option<u32>| {
        let document = json!({
            "defaultAction": default, "defaultErrnoRet": errno,
            "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": rules,
        });
        compile(&profile(document)).unwrap()
    };
    let unknown = ERRNO | libc::ENOSYS as u32;
    let forbidden = ERRNO | libc::EPERM as u32;
    let program = of("SCMP_ACT_ERRNO", None);
    // close_range is 436 everywhere.
    for (architecture, first) in [(X86_64, 0), (X86, 0), (X86_64, 0x4000_0000)] {
        assert_eq!(answer(&program, architecture, first + 435), forbidden);
        assert_eq!(answer(&program, architecture, first + 436), libc::SECCOMP_RET_ALLOW);
        assert_eq!(answer(&program, architecture, first + 437), unknown);
        assert_eq!(answer(&program, architecture, first + 9999), unknown);
    }
    assert_eq!(answer(&program, FOREIGN, 437), libc::SECCOMP_RET_KILL_THREAD);
    for refusing in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        assert_eq!(answer(&of(refusing, None), X86_64, 437), unknown, "{refusing}");
    }
    for (other, value) in [
        ("SCMP_ACT_ALLOW", libc::SECCOMP_RET_ALLOW),
        ("SCMP_ACT_LOG", libc::SECCOMP_RET_LOG),
        ("SCMP_ACT_TRACE", libc::SECCOMP_RET_TRACE | libc::EPERM as u32),
    ] {
        assert_eq!(answer(&of(other, None), X86_64, 437), value, "{other}");
    }
}

#[test]
fn numbers_of_their_own_have_the_names_that_libseccomp_knows() {
    for name in ["socket", "accept4", "sendmmsg", "recvmmsg", "semget", "shmat", "msgctl", "bind"] {
        let numbers = calls::numbers(name, Arch::ScmpArchX86).unwrap();
        assert_eq!(numbers.len(), 2, "{name}");
        let call = libseccomp::ScmpSyscall::from_raw_syscall(numbers[1].0 as i32);
        assert_eq!(call.get_name_by_arch(libseccomp::ScmpArch::X86).unwrap(), name);
    }
    for name in ["accept", "send", "recv", "semop"] {
        assert_eq!(calls::numbers(name, Arch::ScmpArchX86).unwrap().len(), 1, "{name}");
    }
}

/// Where libseccomp forgets to load the number of the call, and forbids it.
#[test]
fn a_call_of_another_architecture_does_not_disturb_the_others() {
    let document = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            { "names": ["socketcall"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["socket"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_NE" }] },
        ],
    });
    let program = compile(&profile(document)).unwrap();
    assert_eq!(answer(&program, X86_64, 41), libc::SECCOMP_RET_ALLOW);
}
