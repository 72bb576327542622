//! Rules as a program for the kernel (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! It goes through the rules from the last to the first and keeps the accesses
//! that no rule has decided yet: a rule that denies one of them ends it, one
//! that allows them takes them away. When none is left, all are allowed.
//!
//! The kernel's verifier follows every jump both ways, and takes longer than all
//! else about the program. So most rules have one jump: they compare kind, major
//! and minor as one number.

use super::{Access, Devices, Kind, Rule};

/// One instruction of eBPF (`struct bpf_insn` of linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination and source, four bits each.
    pub registers: u8,
    /// Added to an address, or to the place of the next instruction.
    pub offset: i16,
    /// A constant.
    pub immediate: i32,
}

// Operations, of the instruction set's document in the kernel. "W" is 32 bits.
/// dst = *(u32 *)(src + offset)
const LOAD: u8 = 0x61;
/// dst = immediate (W)
const SET: u8 = 0xb4;
/// dst = src (W)
const COPY: u8 = 0xbc;
/// dst &= immediate (W)
const AND: u8 = 0x54;
/// dst >>= immediate (W)
const SHIFT: u8 = 0x74;
/// if dst != immediate (W) jump
const JUMP_NE: u8 = 0x56;
/// dst = src
const COPY_LONG: u8 = 0xbf;
/// dst <<= immediate
const SHIFT_UP: u8 = 0x67;
/// dst |= src
const JOIN: u8 = 0x4f;
/// dst = immediate of this instruction, and as its high half that of the next
const SET_LONG: u8 = 0x18;
/// if dst != src jump
const JUMP_OTHER: u8 = 0x5d;
/// if dst & immediate (W) jump
const JUMP_ANY: u8 = 0x46;
/// jump
const JUMP: u8 = 0x05;
/// end with r0
const EXIT: u8 = 0x95;

/// `struct bpf_cgroup_dev_ctx`: access in the high half of the first number,
/// kind in the low one; then major and minor.
const CONTEXT: u8 = 1;
const RESULT: u8 = 0;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Kind, major and minor: see [`device_number`].
const DEVICE: u8 = 6;
const WANTED: u8 = 7;

/// Bits of a major here. The kernel's have twelve.
const MAJOR_BITS: u32 = 28;

/// One number for a device.
fn device_number(kind: Kind, major: u32, minor: u32) -> u64 {
    u64::from(kind_number(kind) << MAJOR_BITS | major) << u32::BITS | u64::from(minor)
}

/// The kernel's numbers (`BPF_DEVCG_DEV_*`).
const fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Block => 1,
        Kind::Char => 2,
    }
}

impl Instruction {
    /// As the kernel lays it out.
    pub fn to_bytes(self) -> [u8; 8] {
        let [a, b] = self.offset.to_ne_bytes();
        let [c, d, e, f] = self.immediate.to_ne_bytes();
        [self.code, self.registers, a, b, c, d, e, f]
    }
}

/// A destination and a source, in the order of the machine's bit fields.
const fn both(destination: u8, source: u8) -> u8 {
    if cfg!(target_endian = "little") {
        destination | source << 4
    } else {
        destination << 4 | source
    }
}

const fn of(destination: u8) -> u8 {
    both(destination, 0)
}

fn instruction(code: u8, registers: u8, offset: i16, immediate: u32) -> Instruction {
    Instruction { code, registers, offset, immediate: immediate as i32 }
}

/// The program for some rules.
pub fn compile(devices: &Devices) -> Vec<Instruction> {
    let load = |register: u8, offset: i16| instruction(LOAD, both(register, CONTEXT), offset, 0);
    let mut program = vec![
        load(KIND, 0),
        instruction(COPY, both(ACCESS, KIND), 0, 0),
        instruction(AND, of(KIND), 0, 0xffff),
        instruction(SHIFT, of(ACCESS), 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
        instruction(COPY_LONG, both(DEVICE, KIND), 0, 0),
        instruction(SHIFT_UP, of(DEVICE), 0, MAJOR_BITS),
        instruction(JOIN, both(DEVICE, MAJOR), 0, 0),
        instruction(SHIFT_UP, of(DEVICE), 0, u32::BITS),
        instruction(JOIN, both(DEVICE, MINOR), 0, 0),
        // Asking for nothing is allowed.
        instruction(JUMP_NE, of(ACCESS), 2, 0),
    ];
    end(true, &mut program);
    for rule in devices.rules.iter().rev() {
        add(rule, &mut program);
    }
    end(devices.allow_others, &mut program);
    program
}

fn end(allow: bool, program: &mut Vec<Instruction>) {
    program.push(instruction(SET, of(RESULT), 0, u32::from(allow)));
    program.push(instruction(EXIT, 0, 0, 0));
}

fn add(rule: &Rule, program: &mut Vec<Instruction>) {
    let mut body = Vec::new();
    let access = rule.access.0;
    match (rule.allow, rule.access == Access::ALL) {
        (_, true) => {}
        (true, false) => {
            body.push(instruction(AND, of(ACCESS), 0, !access));
            body.push(instruction(JUMP_NE, of(ACCESS), 2, 0));
        }
        (false, false) => {
            body.push(instruction(JUMP_ANY, of(ACCESS), 1, access));
            body.push(instruction(JUMP, 0, 2, 0));
        }
    }
    end(rule.allow, &mut body);
    if let (Some(kind), Some(major), Some(minor)) = (rule.kind, rule.major, rule.minor) {
        // A larger one is no device's.
        if major >> MAJOR_BITS == 0 {
            let wanted = device_number(kind, major, minor);
            program.push(instruction(SET_LONG, of(WANTED), 0, wanted as u32));
            program.push(instruction(0, 0, 0, (wanted >> u32::BITS) as u32));
            program.push(instruction(JUMP_OTHER, both(DEVICE, WANTED), body.len() as i16, 0));
            program.extend(body);
        }
        return;
    }
    // What tells most rules apart comes first.
    let fields = [(MINOR, rule.minor), (MAJOR, rule.major), (KIND, rule.kind.map(kind_number))];
    let tests: Vec<_> =
        fields.iter().filter_map(|(register, wanted)| Some((*register, (*wanted)?))).collect();
    for (index, (register, wanted)) in tests.iter().enumerate() {
        let rest = tests.len() - index - 1 + body.len();
        program.push(instruction(JUMP_NE, of(*register), rest as i16, *wanted));
    }
    program.extend(body);
}
