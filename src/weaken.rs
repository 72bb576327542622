//! Defences that a *debug* build leaves out when `HAKO_WEAKEN` names them, so
//! that the attack each of them stops can be seen to succeed without it. In a
//! release build [`lacks`] is the constant `false`, and neither the variable nor
//! the defences have a name in the binary.

/// What can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defence {
    /// Execution from a clone of the binary that cannot be written to.
    Seal,
    /// Being out of reach for ptrace(2) and `/proc/PID`.
    Undumpable,
    /// Look-ups that end inside the container's root.
    Rooted,
    /// Refusal of a link where procfs is mounted, and of anything else there.
    Procfs,
    /// Verification of where the working directory is.
    Cwd,
    /// Closing of descriptors that the program has no business with.
    Descriptors,
    /// Setting of all capability sets, the inheritable and ambient ones included.
    Capabilities,
    /// Wiping of the runtime's own environment.
    Environment,
    /// Writing to the host's procfs, before there is another one.
    OuterProc,
    /// The options of a mount for what is bound in its place.
    BoundOptions,
    /// An end for calls of interfaces that a seccomp profile does not list.
    Interfaces,
}

/// Whether this defence is left out. The first answer comes before the
/// environment is wiped, and is kept.
#[cfg(debug_assertions)]
pub fn lacks(defence: Defence) -> bool {
    static NAMES: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let names = NAMES.get_or_init(|| std::env::var("HAKO_WEAKEN").unwrap_or_default());
    names.split(',').any(|name| name == format!("{defence:?}"))
}

/// Nothing is ever left out.
#[cfg(not(debug_assertions))]
pub const fn lacks(_: Defence) -> bool {
    false
}
