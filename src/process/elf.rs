//! The few facts of an ELF file (elf(5)) that decide whether the kernel can
//! execute it. The file comes from the container and may be anything.

use std::fmt;

/// What kind of machine a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`
    number: u16,
    /// 32 or 64.
    bits: u8,
    big_endian: bool,
}

/// An ELF file.
#[derive(Debug, PartialEq, Eq)]
pub struct Elf {
    /// What it is built for.
    pub machine: Machine,
    /// `e_type`: whether it is a program (2), position independent (3), …
    pub kind: u16,
    /// Path of the program interpreter (`PT_INTERP`), also known as dynamic loader.
    pub interpreter: Option<Vec<u8>>,
}

/// An object file, as a compiler makes it before linking.
pub const ET_REL: u16 = 1;
/// A memory dump.
pub const ET_CORE: u16 = 4;

/// Longest path the kernel takes from `PT_INTERP`.
const PATH_MAX: u64 = 4096;
/// Largest program header table the kernel reads.
const TABLE_MAX: u64 = 64 * 1024;
const PT_INTERP: u64 = 3;

/// `e_machine`, the field's name for it, and what image platforms call it.
const MACHINES: [(u16, &str, &str); 11] = [
    (3, "i386", "386"),
    (8, "mips", "mips"),
    (20, "powerpc", "ppc"),
    (21, "powerpc64", "ppc64"),
    (22, "s390", "s390x"),
    (40, "arm", "arm"),
    (43, "sparc64", "sparc64"),
    (62, "x86-64", "amd64"),
    (183, "aarch64", "arm64"),
    (243, "riscv", "riscv64"),
    (258, "loongarch", "loong64"),
];

impl Machine {
    /// What this program itself is built for, and so what the host runs.
    pub const NATIVE: Machine = Machine {
        number: if cfg!(target_arch = "x86_64") {
            62
        } else if cfg!(target_arch = "aarch64") {
            183
        } else if cfg!(target_arch = "riscv64") {
            243
        } else if cfg!(target_arch = "s390x") {
            22
        } else if cfg!(target_arch = "powerpc64") {
            21
        } else if cfg!(target_arch = "loongarch64") {
            258
        } else if cfg!(target_arch = "arm") {
            40
        } else if cfg!(target_arch = "x86") {
            3
        } else {
            0
        },
        bits: if cfg!(target_pointer_width = "64") { 64 } else { 32 },
        big_endian: cfg!(target_endian = "big"),
    };

    /// What image platforms call it: `arm64`.
    pub fn platform(self) -> Option<&'static str> {
        self.known().map(|(_, _, platform)| platform)
    }

    fn known(self) -> Option<(u16, &'static str, &'static str)> {
        MACHINES.into_iter().find(|(number, ..)| *number == self.number)
    }
}

impl fmt::Display for Machine {
    /// `aarch64 (64 bits, little endian)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, name, _)) => f.write_str(name)?,
            None => write!(f, "ELF machine {}", self.number)?,
        }
        let order = if self.big_endian { "big" } else { "little" };
        write!(f, " ({} bits, {order} endian)", self.bits)
    }
}

impl Elf {
    /// Whether a file that starts with `head` calls itself ELF.
    pub fn is_elf(head: &[u8]) -> bool {
        head.starts_with(b"\x7fELF")
    }

    /// Reads the headers. `read_at(offset, length)` returns what is there of
    /// that part of the file. `None` when they make no sense.
    pub fn read(read_at: impl Fn(u64, u64) -> Vec<u8>) -> Option<Elf> {
        let header = read_at(0, 64);
        let bits = match header.get(4)? {
            1 => 32,
            2 => 64,
            _ => return None,
        };
        let big_endian = match header.get(5)? {
            1 => false,
            2 => true,
            _ => return None,
        };
        let field = |offset, length| number(&header, offset, length, big_endian);
        let machine = Machine { number: field(18, 2)? as u16, bits, big_endian };
        let (table, entry, count) = if bits == 64 {
            (field(32, 8)?, field(54, 2)?, field(56, 2)?)
        } else {
            (field(28, 4)?, field(42, 2)?, field(44, 2)?)
        };
        let length = entry.checked_mul(count)?.min(TABLE_MAX);
        let segments = read_at(table, length);
        let interpreter =
            (entry > 0).then(|| segments.chunks_exact(entry as usize)).and_then(|mut segments| {
                segments.find_map(|segment| interpreter(segment, machine, &read_at))
            });
        Some(Elf { machine, kind: field(16, 2)? as u16, interpreter })
    }
}

/// The path in a `PT_INTERP` segment; `None` for any other segment.
fn interpreter(
    segment: &[u8],
    machine: Machine,
    read_at: &impl Fn(u64, u64) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let field = |offset, length| number(segment, offset, length, machine.big_endian);
    if field(0, 4)? != PT_INTERP {
        return None;
    }
    let (offset, size) = if machine.bits == 64 {
        (field(8, 8)?, field(32, 8)?)
    } else {
        (field(4, 4)?, field(16, 4)?)
    };
    let mut path = read_at(offset, size.min(PATH_MAX));
    path.truncate(path.iter().position(|byte| *byte == 0)?);
    Some(path)
}

/// An unsigned number of `length` bytes.
fn number(bytes: &[u8], offset: usize, length: usize, big_endian: bool) -> Option<u64> {
    let field = bytes.get(offset..offset + length)?;
    let add = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    Some(if big_endian { field.iter().fold(0, add) } else { field.iter().rev().fold(0, add) })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A minimal 64-bit little-endian program for `machine` with an interpreter.
    pub fn program(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&2u16.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[20] = 1;
        file[32] = 64;
        file[52] = 64;
        file[54] = 56;
        file[56] = 1;
        if let Some(path) = interpreter {
            file[64] = PT_INTERP as u8;
            file[72] = 120;
            file[64 + 32] = path.len() as u8 + 1;
            file.extend_from_slice(path.as_bytes());
            file.push(0);
        }
        file
    }

    fn parse(file: &[u8]) -> Option<Elf> {
        Elf::read(|offset, length| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
            let end = start.saturating_add(length as usize).min(file.len());
            file[start..end].to_vec()
        })
    }

    #[test]
    fn reads_machine_and_interpreter() {
        let elf = parse(&program(183, Some("/lib/ld.so"))).unwrap();
        assert_eq!(elf.machine.to_string(), "aarch64 (64 bits, little endian)");
        assert_eq!(elf.interpreter.as_deref(), Some(&b"/lib/ld.so"[..]));
        assert_eq!(parse(&program(62, None)).unwrap().interpreter, None);
        assert_eq!(parse(&program(9999, None)).unwrap().machine.platform(), None);
    }

    #[test]
    fn reads_big_endian_32_bit_headers() {
        let mut file = vec![0; 52 + 32];
        file[..7].copy_from_slice(b"\x7fELF\x01\x02\x01");
        file[19] = 8;
        file[31] = 52;
        file[43] = 32;
        file[45] = 1;
        file[52 + 3] = PT_INTERP as u8;
        file[52 + 7] = 84;
        file[52 + 19] = 4;
        file.extend_from_slice(b"/ld\0");
        let elf = parse(&file).unwrap();
        assert_eq!(elf.machine.to_string(), "mips (32 bits, big endian)");
        assert_eq!(elf.interpreter.as_deref(), Some(&b"/ld"[..]));
    }

    #[test]
    fn own_binary_is_native() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(parse(&file).unwrap().machine, Machine::NATIVE);
    }

    #[test]
    fn survives_any_damage() {
        let whole = program(62, Some("/lib/ld.so"));
        for length in 0..whole.len() {
            let _ = parse(&whole[..length]);
        }
        for position in 4..whole.len() {
            for value in [0, 1, 2, 3, 127, 128, 255] {
                let mut file = whole.clone();
                file[position] = value;
                let _ = parse(&file);
            }
        }
        assert_eq!(parse(b"\x7fELF"), None);
    }
}
