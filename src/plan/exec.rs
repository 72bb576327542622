//! A container's record + a request -> the plan of another process in it.

use super::compile::{Compiler, Options, check_ids_are_mapped, plan_start};
use super::{ChildOp, Identity, ParentOp, Plan};
use crate::cgroups;
use crate::error::Result;
use crate::hooks::Hooks;
use crate::host::Host;
use crate::namespaces;
use crate::process;
use crate::resctrl;
use crate::rootfs;
use crate::terminal;
use crate::weaken::{Defence, lacks};
use std::path::PathBuf;

/// A container that another program is executed in.
#[derive(Debug, Clone)]
pub struct Target {
    /// Id, bundle, annotations.
    pub identity: Identity,
    /// Its init.
    pub pid: i32,
    /// Its namespaces.
    pub entry: namespaces::Entry,
    /// Where the program is placed.
    pub cgroup: cgroups::Placement,
    /// Its share of caches and bandwidth.
    pub resctrl: Option<resctrl::Record>,
    /// The process it was created with.
    pub process: process::Process,
}

/// Compiles the execution of another program in a container, from the process
/// that the container was created with.
///
/// # Errors
/// All faults of the request at once.
pub fn compile_exec(
    container: &Target,
    request: impl FnOnce(&process::Process, &mut Compiler) -> process::Process,
    host: &Host,
    options: &Options,
) -> Result<Plan> {
    let mut compiler = Compiler::new(host, options);
    compiler.user_namespace = container.entry.user.is_some();
    compiler.denies_setgroups = container.entry.denies_setgroups;
    compiler.runtime_is_stronger = compiler.user_namespace && !container.entry.bridge;
    let mut process = request(&container.process, &mut compiler);
    namespaces::plan_groups(&mut process.user, &mut compiler);
    check_ids_are_mapped(&process.user, Some(&container.entry.maps), true, &mut compiler);
    cgroups::systemd::plan_attachment(&container.cgroup, &mut compiler);
    container.entry.plan_bridge(&process, &mut compiler);
    let (initial, last) = &process.exec_cpu_affinity;

    if initial.is_some() {
        let op = process::Op::Affinity(initial.clone());
        compiler.child_at("/process/execCPUAffinity/initial", ChildOp::Process(op));
    }
    if !lacks(Defence::OuterProc) {
        plan_proc(&process, &mut compiler);
    }
    if let Some(record) = &container.resctrl {
        compiler.parent(ParentOp::JoinResctrl(record.group()));
    }
    let clone = container.entry.plan(container.pid, &mut compiler);
    if lacks(Defence::OuterProc) {
        plan_proc(&process, &mut compiler);
    }
    if process.terminal {
        compiler.child(ChildOp::Rootfs(rootfs::Op::OpenRoot(PathBuf::from("/"))));
    }
    terminal::plan_open(&process, false, &mut compiler);
    terminal::plan_attach(&process, &mut compiler);
    if initial.is_some() || last.is_some() {
        let op = process::Op::Affinity(last.clone());
        compiler.child_at("/process/execCPUAffinity/final", ChildOp::Process(op));
    }
    compiler.child(ChildOp::LetGo);
    process::plan_attributes(&process, &mut compiler);
    let hooks = Hooks::default();
    plan_start(&process, &hooks, &mut compiler);
    compiler.finish(|made| Plan {
        identity: container.identity.clone(),
        maker: host.maker(),
        cgroup: container.cgroup.clone(),
        controllers: Vec::new(),
        entry: container.entry.clone(),
        clone,
        bridge: made.bridge,
        parent: made.parent,
        child: made.child,
        process,
        seccomp: None,
        hooks,
        warnings: made.warnings,
    })
}

/// What the process writes to its own files in /proc.
fn plan_proc(process: &process::Process, compiler: &mut Compiler) {
    process::plan_early(process, compiler);
    process::plan_labels(&process.labels, compiler);
}
