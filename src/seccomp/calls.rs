//! Numbers of system calls, from libseccomp's tables.

use super::architecture;
use super::plan::{Condition, Operator, Profile};
use libseccomp::ScmpSyscall;
use oci_spec::runtime::Arch;

/// Names of the calls that others share a number with.
pub fn shared_names(arch: Arch) -> &'static [&'static str] {
    if arch == Arch::ScmpArchX86 { &["socketcall", "ipc"] } else { &[] }
}

/// First number of the calls of x32 (`__X32_SYSCALL_BIT`).
pub const X32: u32 = 0x4000_0000;
/// First number of the calls that only ARM has (`__ARM_NR_BASE`).
const ARM_PRIVATE: u32 = 0x000f_0000;

/// socketcall(2) and ipc(2) of 32-bit x86.
const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// The lowest number of a call of this architecture.
pub fn first(arch: Arch) -> u32 {
    if arch == Arch::ScmpArchX32 { X32 } else { 0 }
}

/// The first number that is not in this architecture's common table.
pub fn end(arch: Arch) -> u32 {
    match arch {
        Arch::ScmpArchX86_64 => X32,
        Arch::ScmpArchArm => ARM_PRIVATE,
        _ => u32::MAX,
    }
}

/// The highest number of a call that the profile names; `None` if it names none
/// that this architecture has.
pub fn highest(profile: &Profile, arch: Arch) -> Option<u32> {
    let names = profile.rules.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| {
        let own = numbers(name, arch).unwrap_or_else(|| plain_number(name, arch));
        own.into_iter().map(|(number, _)| number).max()
    });
    numbers.filter(|number| *number < end(arch)).max()
}

/// The number of a call that shares none.
fn plain_number(name: &str, arch: Arch) -> Vec<Number> {
    let token = architecture::token(arch);
    let call = token.and_then(|token| ScmpSyscall::from_name_by_arch(name, token).ok());
    // Calls of other architectures have negative numbers.
    let number = call.and_then(|call| u32::try_from(call.as_raw_syscall()).ok());
    number.into_iter().map(|number| (number, None)).collect()
}

/// A number, and what selects the call where several share one.
pub type Number = (u32, Option<Condition>);

/// The numbers of a call; none if the architecture does not have it. `None` for
/// architectures of which only libseccomp knows how calls share numbers.
pub fn numbers(name: &str, arch: Arch) -> Option<Vec<Number>> {
    let shares = match arch {
        Arch::ScmpArchX86 => true,
        Arch::ScmpArchX86_64
        | Arch::ScmpArchX32
        | Arch::ScmpArchAarch64
        | Arch::ScmpArchArm
        | Arch::ScmpArchRiscv64
        | Arch::ScmpArchLoongarch64 => false,
        _ => return None,
    };
    let token = architecture::token(arch)?;
    let call = ScmpSyscall::from_name_by_arch(name, token).ok();
    match call.map(|call| call.as_raw_syscall()) {
        Some(pseudo @ ..0) if shares => Some(shared(pseudo)),
        _ => Some(plain_number(name, arch)),
    }
}

/// Numbers of the calls that 32-bit x86 had behind socketcall(2) and ipc(2)
/// before, or instead of, a number of their own. libseccomp counts them from
/// -101 and from -201 on.
fn shared(pseudo: i32) -> Vec<Number> {
    let (number, selector) = match pseudo {
        -120..=-101 => (SOCKETCALL, -pseudo - 100),
        -224..=-201 => (IPC, -pseudo - 200),
        _ => return Vec::new(),
    };
    let value = u64::from(selector.unsigned_abs());
    let selector = Condition { argument: 0, operator: Operator::Equal, value };
    let own = OWN_NUMBERS.iter().find(|(other, _)| *other == pseudo);
    let own = own.map(|(_, number)| (*number, None));
    [(number, Some(selector))].into_iter().chain(own).collect()
}

/// Numbers of their own, `arch/x86/entry/syscalls/syscall_32.tbl`.
const OWN_NUMBERS: &[(i32, u32)] = &[
    (-101, 359),
    (-102, 361),
    (-103, 362),
    (-104, 363),
    (-106, 367),
    (-107, 368),
    (-108, 360),
    (-111, 369),
    (-112, 371),
    (-113, 373),
    (-114, 366),
    (-115, 365),
    (-116, 370),
    (-117, 372),
    (-118, 364),
    (-119, 337),
    (-120, 345),
    (-202, 393),
    (-203, 394),
    (-211, 400),
    (-212, 401),
    (-213, 399),
    (-214, 402),
    (-221, 397),
    (-222, 398),
    (-223, 395),
    (-224, 396),
];
