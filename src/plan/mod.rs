//! The plan: everything hako is going to do for a container, decided before
//! anything is done.
//!
//! [`compile`] turns a configuration into a [`Plan`]: two ordered lists of
//! steps, one for the process that becomes the container's init and one for
//! its parent, with every default filled in and every choice made. It is a
//! pure function: the same specification, host facts and options give the same
//! plan, and nothing on the host changes. `hako explain` prints it.

mod compile;
mod exec;
mod print;
mod suggest;

pub use compile::{Compiler, Options, compile, needs_namespace};
pub use exec::{Target, compile_exec};
pub use suggest::closest;

use crate::cgroups::{self, Placement, systemd};
use crate::error::Error;
use crate::hooks::Hooks;
use crate::host::Maker;
use crate::namespaces::{self, CloneSet};
use crate::process;
use crate::protocol::Message;
use crate::resctrl;
use crate::rootfs;
use crate::seccomp;
use crate::terminal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the container is called and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle directory.
    pub bundle: PathBuf,
    /// `ociVersion` of the configuration.
    pub oci_version: String,
    /// `annotations` of the configuration.
    pub annotations: BTreeMap<String, String>,
}

/// Everything that will be done to create one container.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Id, bundle, annotations.
    pub identity: Identity,
    /// Who makes it.
    pub maker: Maker,
    /// Where the container's processes are placed.
    pub cgroup: Placement,
    /// Controllers that are enabled for it if possible.
    pub controllers: Vec<String>,
    /// How the init process is cloned.
    pub clone: CloneSet,
    /// How further processes get into its namespaces.
    pub entry: namespaces::Entry,
    /// What the process in between does before it clones init, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bridge: Vec<Step<ChildOp>>,
    /// What the runtime process does after the clone, in order.
    pub parent: Vec<Step<ParentOp>>,
    /// What the init process does, in order.
    pub child: Vec<Step<ChildOp>>,
    /// The resolved process: what `exec` inherits.
    pub process: process::Process,
    /// Which system calls it may make.
    pub seccomp: Option<seccomp::Profile>,
    /// Hooks, including those that later commands run.
    pub hooks: Hooks,
    /// Things worth telling that are no faults.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether init waits for `start`.
    pub fn has_gate(&self) -> bool {
        self.child.iter().any(|step| matches!(step.op, ChildOp::Gate))
    }

    /// Whether init begins in its cgroup, and is not moved there.
    pub fn clones_into_cgroup(&self) -> bool {
        let is_late = |op: &ParentOp| matches!(op, ParentOp::EnterCgroup | ParentOp::Attach(_));
        !self.parent.iter().any(|step| is_late(&step.op))
    }

    /// Controllers without which limits could not be set.
    pub fn needed_controllers(&self) -> Vec<cgroups::Need> {
        let settings = self.parent.iter().filter_map(|step| match &step.op {
            ParentOp::Limit(setting) if !setting.is_default => Some(setting),
            _ => None,
        });
        settings.filter_map(cgroups::Need::of).collect()
    }
}

/// One thing to do, and the place in `config.json` that asked for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step<O> {
    /// JSON pointer into `config.json`; `None` for what every container gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What to do.
    pub op: O,
}

impl<O> Step<O> {
    /// Says where what failed was asked for.
    pub fn place(&self, error: Error) -> Error {
        match &self.pointer {
            Some(pointer) => error.below(pointer),
            None => error,
        }
    }
}

/// A step of the process that becomes the container's init.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChildOp {
    /// Tell the parent.
    Send(Message),
    /// Wait for the parent to say this.
    Receive(Message),
    /// Leave, make and set up namespaces.
    Namespace(namespaces::Op),
    /// Wait for the network namespace, and enter it.
    EnterNetwork,
    /// Open what mounts need from the host, where the runtime may not.
    OpenSources,
    /// Assemble the container's file system and enter it.
    Rootfs(rootfs::Op),
    /// Give the terminal to the process.
    Terminal(terminal::Op),
    /// Run the hooks of one kind inside the container's namespaces.
    Hooks(crate::hooks::Kind),
    /// Set an attribute of the process, or execute the program.
    Process(process::Op),
    /// Restrict the process's system calls.
    Seccomp(seccomp::Op),
    /// Hold nothing any more but what the program gets and the way to hear
    /// about its start, and outlive the runtime.
    LetGo,
    /// Wait for `hako start`.
    Gate,
}

/// A step of the runtime process, after the clone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ParentOp {
    /// Tell the child.
    Send(Message),
    /// Wait for the child to say this.
    Receive(Message),
    /// Have systemd make the cgroup, with init in it.
    MakeScope(systemd::Scope),
    /// Move init into its cgroup.
    EnterCgroup,
    /// Have systemd move the process into the container's unit.
    Attach(systemd::Unit),
    /// Write uid_map and gid_map of the child's user namespace.
    MapIds(namespaces::Mapping),
    /// Set the clocks of the time namespace that init has made.
    TimeOffsets(Vec<namespaces::TimeOffset>),
    /// Write init's oom_score_adj, -1000 to 1000 (proc(5)).
    OomScoreAdj(i32),
    /// Set init's resource limits (prlimit(2)).
    Rlimits(Vec<process::Rlimit>),
    /// Set a file of the container's cgroup.
    Limit(cgroups::Setting),
    /// Decide which devices the container may use.
    Devices(cgroups::Devices),
    /// Give the container's processes their share of caches and bandwidth.
    JoinResctrl(resctrl::Group),
    /// Give the container's cgroup to this user.
    OwnCgroup(u32),
    /// Move a network interface of the host into the container.
    MoveInterface(namespaces::Interface),
    /// Run the hooks of one kind in the runtime's namespaces.
    Hooks(crate::hooks::Kind),
    /// Hand the terminal to the console socket, or keep it for the foreground.
    ReceiveTerminal,
    /// Make the network namespace, while init mounts, send it, and bring its
    /// loopback interface up.
    SendNetwork,
    /// Write down which process init is.
    NoteInit,
    /// Connect to the agent that decides about system calls.
    ConnectAgent(seccomp::Agent),
    /// Pass the listener of init's filter to the agent.
    PassListener,
    /// Write the pid file, and hand a pidfd to whoever asked for one.
    Announce,
}
