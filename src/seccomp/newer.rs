//! Calls that are newer than a profile: `ENOSYS`, so that a program tries an
//! older one, instead of the error that the profile has for forbidden calls.

use super::architecture::{self, audit_number};
use super::plan::Profile;
use super::program::{ARCHITECTURE, NUMBER, Program, Test};
use crate::sys::Instruction;
use libseccomp::ScmpSyscall;
use oci_spec::runtime::Arch;

/// First number of the calls of x32 (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;
/// First number of the calls that only ARM has (`__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x000f_0000;

/// The highest number of a call that the profile names; `None` if it names none
/// that this architecture has.
pub fn highest(profile: &Profile, arch: Arch) -> Option<u32> {
    let token = architecture::token(arch)?;
    let names = profile.rules.iter().flat_map(|rule| &rule.names);
    names
        .filter_map(|name| ScmpSyscall::from_name_by_arch(name, token).ok())
        // Calls of other architectures have negative numbers.
        .filter_map(|call| u32::try_from(call.as_raw_syscall()).ok())
        .filter(|number| *number < ceiling(arch))
        .max()
}

/// The first number that is no call of this architecture's common table.
pub fn ceiling(arch: Arch) -> u32 {
    match arch {
        Arch::ScmpArchX86_64 => X32,
        Arch::ScmpArchArm => ARM_PRIVATE,
        _ => u32::MAX,
    }
}

/// Puts the answer to newer calls before a program.
pub fn prepend(profile: &Profile, program: Program) -> Program {
    let mut stub = Vec::new();
    for arch in &profile.architectures {
        let Some(highest) = highest(profile, *arch) else { continue };
        stub.extend([
            Instruction::load(ARCHITECTURE),
            Instruction::jump(Test::Equal, audit_number(*arch), 0, 4),
            Instruction::load(NUMBER),
            Instruction::jump(Test::Greater, highest, 0, 2),
            Instruction::jump(Test::GreaterOrEqual, ceiling(*arch), 1, 0),
            Instruction::answer(Profile::NEWER.value()),
        ]);
    }
    stub.extend(program.0);
    Program(stub)
}
