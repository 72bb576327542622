//! A filter as the kernel runs it, and as a file holds it.

use crate::sys::Instruction;

/// Longest program that the kernel takes (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

/// Where `struct seccomp_data` has the number of the call.
pub const NUMBER: u32 = 0;
/// Where it has the architecture.
pub const ARCHITECTURE: u32 = 4;

/// Where it has the first argument; each has eight bytes.
pub const ARGUMENTS: u32 = 16;

/// A comparison of the accumulator with a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// =
    Equal,
    /// >
    Greater,
    /// ≥
    GreaterOrEqual,
}

impl Instruction {
    /// Loads 32 bits of `struct seccomp_data`.
    pub fn load(offset: u32) -> Self {
        Self::new(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
    }

    /// Skips instructions, depending on a comparison.
    pub fn jump(test: Test, operand: u32, jump_true: u8, jump_false: u8) -> Self {
        let test = match test {
            Test::Equal => libc::BPF_JEQ,
            Test::Greater => libc::BPF_JGT,
            Test::GreaterOrEqual => libc::BPF_JGE,
        };
        Self::new(libc::BPF_JMP | test | libc::BPF_K, operand, jump_true, jump_false)
    }

    /// Keeps the bits of a mask.
    pub fn mask(mask: u32) -> Self {
        Self::new(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0)
    }

    /// Skips instructions.
    pub fn skip(distance: u32) -> Self {
        Self::new(libc::BPF_JMP | libc::BPF_JA, distance, 0, 0)
    }

    /// Ends with this result.
    pub fn answer(value: u32) -> Self {
        Self::new(libc::BPF_RET | libc::BPF_K, value, 0, 0)
    }

    fn new(code: u32, operand: u32, jump_true: u8, jump_false: u8) -> Self {
        Self { code: code as u16, jump_true, jump_false, operand }
    }
}

/// A classic BPF program over `struct seccomp_data`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program(pub Vec<Instruction>);

impl Program {
    /// Bytes of one instruction.
    const SIZE: usize = size_of::<Instruction>();

    /// Of these instructions; `None` if the kernel would not take so many.
    pub fn new(instructions: Vec<Instruction>) -> Option<Self> {
        (1..=LONGEST).contains(&instructions.len()).then_some(Self(instructions))
    }

    /// From the bytes of a `struct sock_filter` array of this machine; `None`
    /// if they cannot be one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(Self::SIZE) {
            return None;
        }
        let instruction = |bytes: &[u8]| match *bytes {
            [a, b, jump_true, jump_false, c, d, e, f] => Instruction {
                code: u16::from_ne_bytes([a, b]),
                jump_true,
                jump_false,
                operand: u32::from_ne_bytes([c, d, e, f]),
            },
            _ => Instruction { code: 0, jump_true: 0, jump_false: 0, operand: 0 },
        };
        Self::new(bytes.chunks_exact(Self::SIZE).map(instruction).collect())
    }

    /// The same the other way round.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::SIZE);
        for instruction in &self.0 {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.operand.to_ne_bytes());
        }
        bytes
    }
}
