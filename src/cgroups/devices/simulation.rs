//! What the kernel does with a program, and what the rules mean: for tests, and for
//! the fuzz target, which is another crate and includes this file.

use super::{Access, Instruction, Kind, Rule};

/// What a process asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub kind: Kind,
    pub major: u32,
    pub minor: u32,
    pub access: Access,
}

/// The kernel's majors have twelve bits.
const LARGEST_MAJOR: u32 = 0xfff;

/// Every access to the devices with these numbers.
pub fn requests(numbers: &[u32]) -> impl Iterator<Item = Request> {
    let majors = numbers.iter().filter(|major| **major <= LARGEST_MAJOR);
    let pairs = majors.flat_map(|major| numbers.iter().map(|minor| (*major, *minor)));
    pairs.flat_map(|(major, minor)| {
        [Kind::Block, Kind::Char].into_iter().flat_map(move |kind| {
            (0..8).map(move |access| Request { kind, major, minor, access: Access(access) })
        })
    })
}

/// What the kernel answers: the instruction set's document has the numbers.
pub fn run(program: &[Instruction], request: Request) -> bool {
    let kind = match request.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    let context = [request.access.0 << 16 | kind, request.major, request.minor];
    let mut registers = [u64::MAX; 16];
    let mut next = 0_usize;
    loop {
        let Instruction { code, registers: both, offset, immediate } = program[next];
        let (low, high) = (usize::from(both & 15), usize::from(both >> 4));
        let (to, from) = if cfg!(target_endian = "little") { (low, high) } else { (high, low) };
        let (value, constant) = (registers[to], u64::from(immediate as u32));
        next += 1;
        // An operation of 32 bits clears the others.
        let written = match code {
            0x61 => {
                assert_eq!(from, 1, "it loads from elsewhere than the context");
                Some(u64::from(context[offset as usize / 4]))
            }
            0xb4 => Some(constant),
            0x18 => {
                next += 1;
                Some(u64::from(program[next - 1].immediate as u32) << 32 | constant)
            }
            0xbc => Some(u64::from(registers[from] as u32)),
            0xbf => Some(registers[from]),
            0x54 => Some(value & constant),
            0x74 => Some(u64::from(value as u32) >> constant),
            0x67 => Some(value << constant),
            0x4f => Some(value | registers[from]),
            _ => None,
        };
        if let Some(written) = written {
            registers[to] = written;
            continue;
        }
        let jumps = match code {
            0x95 => return registers[0] == 1,
            0x05 => true,
            0x56 => u64::from(value as u32) != constant,
            0x5d => value != registers[from],
            0x46 => value & constant != 0,
            code => panic!("unknown instruction {code:#x}"),
        };
        assert!(offset > 0, "the verifier wants to see an end");
        if jumps {
            next += offset as usize;
        }
    }
}

/// What the rules mean: the last one that fits decides, for each access.
pub fn means(allow_others: bool, rules: &[Rule], request: Request) -> bool {
    [Access::MAKE, Access::READ, Access::WRITE]
        .into_iter()
        .filter(|bit| request.access.0 & bit.0 != 0)
        .all(|bit| {
            let fits = |rule: &&Rule| {
                rule.kind.is_none_or(|kind| kind == request.kind)
                    && rule.major.is_none_or(|major| major == request.major)
                    && rule.minor.is_none_or(|minor| minor == request.minor)
                    && rule.access.0 & bit.0 != 0
            };
            rules.iter().rfind(fits).map_or(allow_others, |rule| rule.allow)
        })
}
