//! The instruction sets whose system calls a filter can tell apart.

use libseccomp::ScmpArch;
use oci_spec::runtime::Arch;

/// Those that one kernel can have processes of, beside each other.
pub const FAMILIES: &[&[Arch]] = &[
    &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
    &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
    &[Arch::ScmpArchMips64, Arch::ScmpArchMips, Arch::ScmpArchMips64n32],
    &[Arch::ScmpArchMipsel64, Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32],
    &[Arch::ScmpArchPpc64, Arch::ScmpArchPpc],
    &[Arch::ScmpArchPpc64le],
    &[Arch::ScmpArchS390x, Arch::ScmpArchS390],
    &[Arch::ScmpArchParisc64, Arch::ScmpArchParisc],
    &[Arch::ScmpArchRiscv64],
    &[Arch::ScmpArchLoongarch64],
    &[Arch::ScmpArchM68k],
    &[Arch::ScmpArchSh],
    &[Arch::ScmpArchSheb],
];

/// Whether a kernel of architecture `native` can have processes of `other`.
pub fn can_run(native: Arch, other: Arch) -> bool {
    FAMILIES.iter().any(|family| family.contains(&native) && family.contains(&other))
}

/// The architecture of this program.
pub fn native() -> Arch {
    let native = ScmpArch::native();
    let all = FAMILIES.iter().copied().flatten().copied();
    all.clone().find(|arch| token(*arch) == Some(native)).unwrap_or(Arch::ScmpArchNative)
}

/// libseccomp's name for it; `None` if this version of libseccomp has none.
pub fn token(arch: Arch) -> Option<ScmpArch> {
    name(arch).parse().ok()
}

/// `SCMP_ARCH_X86_64`
fn name(arch: Arch) -> String {
    arch.to_string()
}

/// `x86_64`
pub fn short_name(arch: Arch) -> String {
    name(arch).trim_start_matches("SCMP_ARCH_").to_lowercase()
}

/// Whether arguments have 64 bits.
pub fn is_wide(arch: Arch) -> bool {
    !matches!(
        arch,
        Arch::ScmpArchX86
            | Arch::ScmpArchX32
            | Arch::ScmpArchArm
            | Arch::ScmpArchMips
            | Arch::ScmpArchMips64n32
            | Arch::ScmpArchMipsel
            | Arch::ScmpArchMipsel64n32
            | Arch::ScmpArchPpc
            | Arch::ScmpArchS390
            | Arch::ScmpArchParisc
            | Arch::ScmpArchM68k
            | Arch::ScmpArchSh
            | Arch::ScmpArchSheb
    )
}

/// The number that the kernel shows filters (`AUDIT_ARCH_…`, `linux/audit.h`).
pub fn audit_number(arch: Arch) -> u32 {
    match arch {
        // Told from x86_64 by a bit in the number of the call only.
        Arch::ScmpArchX32 => Arch::ScmpArchX86_64 as u32,
        arch => arch as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name() {
        assert_ne!(native(), Arch::ScmpArchNative);
        assert!(can_run(native(), native()));
    }

    #[test]
    fn every_architecture_is_in_one_family() {
        let mut seen = Vec::new();
        for arch in FAMILIES.iter().copied().flatten() {
            assert!(!seen.contains(arch), "{arch}");
            seen.push(*arch);
        }
        assert_eq!(seen.len(), 23);
    }
}
