//! `linux.seccomp`, from bytes to the program: no panic, and a program that the kernel would take.

#![no_main]

use hako::host::Host;
use hako::plan::{Compiler, Options};
use hako::seccomp::{self, Program};
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::LinuxSeccomp;

fuzz_target!(|bytes: &[u8]| {
    // Golden configurations are whole ones.
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let part = document.pointer("/linux/seccomp").unwrap_or(&document);
    let Ok(document) = serde_json::from_value::<LinuxSeccomp>(part.clone()) else { return };
    let (host, options) = (Host::example(), Options::default());
    let (profile, _) = seccomp::plan(&document, &mut Compiler::new(&host, &options));
    let Ok(program) = seccomp::compile(&profile) else { return };
    assert_eq!(Program::from_bytes(&program.to_bytes()).as_ref(), Some(&program));
    check_jumps(&program);
});

/// Every way leads to an answer: the kernel refuses a program that could run past its end.
fn check_jumps(program: &Program) {
    const CLASS: u16 = 0x07;
    const JUMP: u16 = 0x05;
    const RETURN: u16 = 0x06;
    let length = program.0.len();
    for (at, instruction) in program.0.iter().enumerate() {
        let farthest = match instruction.code & CLASS {
            RETURN => continue,
            JUMP if instruction.code == JUMP => instruction.operand as usize,
            JUMP => usize::from(instruction.jump_true.max(instruction.jump_false)),
            _ => 0,
        };
        assert!(at + 1 + farthest < length, "{at} {instruction:?}");
    }
}
