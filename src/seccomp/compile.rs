//! How: a profile becomes a program, with libseccomp.

use super::architecture;
use super::newer;
use super::plan::{Action, Condition, Operator, Profile};
use super::program::Program;
use crate::error::{Context, Error, Result};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use std::io::{Read, Seek};

/// Compiles a profile. Pure, but for a file in memory.
pub fn compile(profile: &Profile) -> Result<Program> {
    let context = translate(profile).map_err(|error| refused(&error))?;
    let program = export(&context)?;
    Ok(if profile.newer_unknown { newer::prepend(profile, program) } else { program })
}

fn refused(error: &SeccompError) -> Error {
    Error::new(format!("libseccomp cannot compile the profile: {error}")).at("/linux/seccomp")
}

fn translate(profile: &Profile) -> Result<ScmpFilterContext, SeccompError> {
    let mut context = ScmpFilterContext::new(action(profile.default))?;
    for arch in profile.architectures.iter().filter_map(|arch| architecture::token(*arch)) {
        if !context.is_arch_present(arch)? {
            context.add_arch(arch)?;
        }
    }
    // What happens anyway is no rule for libseccomp.
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
        let conditions: Vec<_> = rule.conditions.iter().map(comparison).collect();
        // Names that are not known are no fault: profiles are made for newer kernels, too.
        for call in rule.names.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            context.add_rule_conditional(action(rule.action), call, &conditions)?;
        }
    }
    Ok(context)
}

fn export(context: &ScmpFilterContext) -> Result<Program> {
    let message = || "cannot export the seccomp filter";
    let file = rustix::fs::memfd_create("seccomp", rustix::fs::MemfdFlags::CLOEXEC).os(message)?;
    context.export_bpf(&file).map_err(|error| refused(&error))?;
    let mut file = std::fs::File::from(file);
    let mut bytes = Vec::new();
    file.rewind().os(message)?;
    file.read_to_end(&mut bytes).os(message)?;
    Program::from_bytes(&bytes).ok_or_else(|| {
        Error::new("the seccomp profile is too long for the kernel").at("/linux/seccomp")
    })
}

fn action(action: Action) -> ScmpAction {
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::Log => ScmpAction::Log,
        Action::Trace(number) => ScmpAction::Trace(number),
        Action::Notify => ScmpAction::Notify,
        Action::Errno(number) => ScmpAction::Errno(i32::from(number)),
        Action::Trap => ScmpAction::Trap,
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
    }
}

fn comparison(condition: &Condition) -> ScmpArgCompare {
    let operator = match condition.operator {
        Operator::NotEqual => ScmpCompareOp::NotEqual,
        Operator::Less => ScmpCompareOp::Less,
        Operator::LessOrEqual => ScmpCompareOp::LessOrEqual,
        Operator::Equal => ScmpCompareOp::Equal,
        Operator::GreaterOrEqual => ScmpCompareOp::GreaterEqual,
        Operator::Greater => ScmpCompareOp::Greater,
        Operator::MaskedEqual(mask) => ScmpCompareOp::MaskedEqual(mask),
    };
    ScmpArgCompare::new(condition.argument, operator, condition.value)
}
