//! What: a further process of a container. It starts from the process the
//! container was created with, and inherits all that nobody changes.

use super::attributes::Process;
use super::capabilities;
use super::plan::plan_process;
use crate::config::Spec;
use crate::error::Error;
use crate::plan::Compiler;
use std::path::PathBuf;

/// What a command line changes of the container's process.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// `argv`, entirely new.
    pub args: Vec<String>,
    /// Another working directory.
    pub cwd: Option<PathBuf>,
    /// `KEY=VALUE`: replaces a variable of that name, or is added.
    pub env: Vec<String>,
    /// Another user id.
    pub uid: Option<u32>,
    /// Another group id.
    pub gid: Option<u32>,
    /// More supplementary groups.
    pub additional_gids: Vec<u32>,
    /// More capabilities, by name.
    pub capabilities: Vec<String>,
    /// Set `no_new_privs`, which nothing can take back.
    pub no_new_privileges: bool,
    /// Another AppArmor profile.
    pub apparmor: Option<String>,
    /// Another SELinux label.
    pub selinux: Option<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

/// The process that a command line asks for.
pub fn plan_changed(base: &Process, changes: &Changes, compiler: &mut Compiler) -> Process {
    let mut process = base.clone();
    process.args.clone_from(&changes.args);
    if process.args.first().is_none_or(String::is_empty) {
        compiler.fault(Error::new("there is no program to execute"));
    }
    if let Some(cwd) = &changes.cwd {
        if !cwd.is_absolute() {
            compiler
                .fault(Error::new(format!("--cwd {:?} is not an absolute path", cwd.display())));
        }
        process.cwd.clone_from(cwd);
    }
    for variable in &changes.env {
        set_variable(&mut process.env, variable, compiler);
    }
    process.user.uid = changes.uid.unwrap_or(process.user.uid);
    process.user.gid = changes.gid.unwrap_or(process.user.gid);
    if !changes.additional_gids.is_empty() {
        process.user.additional_gids.get_or_insert_default().extend(&changes.additional_gids);
    }
    process.capabilities.add(capabilities::plan_added(&changes.capabilities, compiler));
    process.no_new_privileges |= changes.no_new_privileges;
    let labels = &mut process.labels;
    labels.change(changes.apparmor.as_deref(), changes.selinux.as_deref(), compiler);
    process.terminal = changes.terminal;
    process.console_size = None;
    process
}

fn set_variable(env: &mut Vec<String>, variable: &str, compiler: &mut Compiler) {
    let Some((name, _)) = variable.split_once('=').filter(|(name, _)| !name.is_empty()) else {
        compiler.fault(Error::new(format!("--env {variable:?} is not KEY=VALUE")));
        return;
    };
    env.retain(|present| present.split('=').next() != Some(name));
    env.push(variable.to_owned());
}

/// The process that a document describes; what it leaves out is inherited.
pub fn plan_described(base: &Process, document: &Spec, compiler: &mut Compiler) -> Process {
    let Some(described) = &document.process else {
        compiler.fault(Error::new("process is missing"));
        return base.clone();
    };
    let mut process = plan_process(document, described, compiler);
    let inherit = base.clone();
    if described.env.is_none() {
        process.env = inherit.env;
    }
    if described.capabilities.is_none() {
        process.capabilities = inherit.capabilities;
    }
    if described.rlimits.is_none() {
        process.rlimits = inherit.rlimits;
    }
    if described.user.umask().is_none() {
        process.user.umask = inherit.user.umask;
    }
    if described.user.additional_gids().is_none() && inherit.user.additional_gids.is_none() {
        process.user.additional_gids = None;
    }
    if described.no_new_privileges.is_none() {
        process.no_new_privileges = inherit.no_new_privileges;
    }
    if described.exec_cpu_affinity.is_none() {
        process.exec_cpu_affinity = inherit.exec_cpu_affinity;
    }
    process.oom_score_adj = process.oom_score_adj.or(inherit.oom_score_adj);
    process.scheduler = process.scheduler.or(inherit.scheduler);
    process.io_priority = process.io_priority.or(inherit.io_priority);
    process.memory_policy = inherit.memory_policy;
    process.personality = inherit.personality;
    process.session_keyring = inherit.session_keyring;
    process.labels.apparmor = process.labels.apparmor.or(inherit.labels.apparmor);
    process.labels.selinux = process.labels.selinux.or(inherit.labels.selinux);
    process.seccomp = inherit.seccomp;
    process
}
