//! The words of `linux.seccomp` that are understood, for `features`.

use super::architecture;
use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator,
};

/// Actions.
pub const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];

/// Comparisons.
pub const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpMaskedEq,
    Operator::ScmpCmpNe,
];

/// Flags of the filter. Every kernel that hako runs on knows them but the last,
/// which takes Linux 5.19.
pub const FLAGS: [Flag; 4] = [
    Flag::SeccompFilterFlagLog,
    Flag::SeccompFilterFlagSpecAllow,
    Flag::SeccompFilterFlagTsync,
    Flag::SeccompFilterFlagWaitKillableRecv,
];

/// Architectures.
pub fn architectures() -> Vec<Arch> {
    architecture::FAMILIES.iter().copied().flatten().copied().collect()
}
