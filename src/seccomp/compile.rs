//! How: a profile becomes a program, with libseccomp.

use super::architecture::{self, audit_number};
use super::calls;
use super::generate::generate;
use super::plan::{Action, Condition, Operator, Profile};
use super::program::{ARCHITECTURE, NUMBER, Program, Test};
use crate::error::{Context, Error, Result};
use crate::sys::Instruction;
use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use std::io::{Read, Seek};

/// Compiles a profile. Pure, but for a file in memory.
pub fn compile(profile: &Profile) -> Result<Program> {
    match generate(profile, |part| translate(part).ok()) {
        Some(program) => Ok(program),
        None => translated(profile),
    }
}

/// What libseccomp makes of it.
pub(super) fn translated(profile: &Profile) -> Result<Program> {
    let program = translate(profile)?;
    if !profile.newer_unknown {
        return Ok(program);
    }
    let mut instructions = newer(profile);
    instructions.extend(program.0);
    Program::new(instructions).ok_or_else(too_long)
}

fn refused(error: &SeccompError) -> Error {
    Error::new(format!("libseccomp cannot compile the profile: {error}")).at("/linux/seccomp")
}

fn translate(profile: &Profile) -> Result<Program> {
    export(&describe(profile).map_err(|error| refused(&error))?)
}

/// The profile in libseccomp's terms.
fn describe(profile: &Profile) -> Result<ScmpFilterContext, SeccompError> {
    let mut context = ScmpFilterContext::new(action(profile.default))?;
    for arch in profile.architectures.iter().filter_map(|arch| architecture::token(*arch)) {
        if !context.is_arch_present(arch)? {
            context.add_arch(arch)?;
        }
    }
    if !profile.architectures.contains(&architecture::native()) {
        context.remove_arch(ScmpArch::native())?;
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
    Program::from_bytes(&bytes).ok_or_else(too_long)
}

fn too_long() -> Error {
    Error::new("the seccomp profile is too long for the kernel").at("/linux/seccomp")
}

/// Answers newer calls before libseccomp's program, which begins anew.
fn newer(profile: &Profile) -> Vec<Instruction> {
    let mut instructions = Vec::new();
    for arch in &profile.architectures {
        let Some(highest) = calls::highest(profile, *arch) else { continue };
        instructions.extend([
            Instruction::load(ARCHITECTURE),
            Instruction::jump(Test::Equal, audit_number(*arch), 0, 4),
            Instruction::load(NUMBER),
            Instruction::jump(Test::Greater, highest, 0, 2),
            Instruction::jump(Test::GreaterOrEqual, calls::end(*arch), 1, 0),
            Instruction::answer(Profile::NEWER.value()),
        ]);
    }
    instructions
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
