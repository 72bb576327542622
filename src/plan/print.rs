//! A plan for people to read.

use super::{ChildOp, ParentOp, Plan, Step};
use crate::host::Maker;
use crate::namespaces;
use crate::protocol::Message;
use crate::rootfs;
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "container {}", self.identity.id)?;
        writeln!(f, "  bundle      {}", self.identity.bundle.display())?;
        writeln!(f, "  cgroup      {}", self.cgroup)?;
        writeln!(f, "  controllers {}", self.controllers.join(" "))?;
        writeln!(f, "  namespaces  {}", self.namespaces())?;
        writeln!(f, "  program     {}", self.process.args.join(" "))?;
        if let Some(profile) = &self.seccomp {
            writeln!(f, "  seccomp     {profile}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "  warning     {warning}")?;
        }
        if self.maker != Maker::Root {
            writeln!(f, "  rootless    {}", self.maker)?;
        }
        if !self.bridge.is_empty() {
            writeln!(f, "process in between, which clones init")?;
            print_steps(f, &self.bridge, |_| None)?;
        }
        writeln!(f, "runtime process, after the clone")?;
        print_steps(f, &self.parent, |_| None)?;
        writeln!(f, "container init")?;
        print_steps(f, &self.child, details)
    }
}

impl Plan {
    fn namespaces(&self) -> String {
        let mut parts = Vec::new();
        if !self.clone.new.is_empty() {
            parts.push(format!("new at clone: {}", namespaces::names(&self.clone.new)));
        }
        if self.clone.network_apart {
            parts.push("new beside init: network".to_owned());
        }
        if !self.clone.unshare.is_empty() {
            parts.push(format!("new in init: {}", namespaces::names(&self.clone.unshare)));
        }
        for join in self.clone.joins() {
            parts.push(format!("joined: {} {}", join.kind, join.path.display()));
        }
        let inherited: Vec<_> = namespaces::Kind::ALL
            .into_iter()
            .filter(|kind| self.clone.is_inherited(*kind))
            .collect();
        if !inherited.is_empty() {
            parts.push(format!("inherited: {}", namespaces::names(&inherited)));
        }
        parts.join("; ")
    }
}

fn details(op: &ChildOp) -> Option<String> {
    match op {
        ChildOp::Rootfs(rootfs::Op::Mount(mount)) => Some(mount.details()),
        _ => None,
    }
}

fn print_steps<O: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    steps: &[Step<O>],
    details: impl Fn(&O) -> Option<String>,
) -> fmt::Result {
    for (index, step) in steps.iter().enumerate() {
        write!(f, "  {:>3}  {}", index + 1, step.op)?;
        if let Some(details) = details(&step.op) {
            write!(f, " ({details})")?;
        }
        match &step.pointer {
            Some(pointer) => writeln!(f, "  [{pointer}]")?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Maker::Root => "no: by root",
            Maker::NamespaceRoot => "by root of a user namespace",
            Maker::User => "by a user without privilege",
        })
    }
}

impl fmt::Display for ChildOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChildOp::Send(message) => write!(f, "-> {message}"),
            ChildOp::Receive(message) => write!(f, "<- {message}"),
            ChildOp::Namespace(op) => op.fmt(f),
            ChildOp::EnterNetwork => f.write_str("<- Network, enter it"),
            ChildOp::OpenSources => f.write_str("open the sources of mounts"),
            ChildOp::Rootfs(op) => op.fmt(f),
            ChildOp::Terminal(op) => op.fmt(f),
            ChildOp::Hooks(kind) => write!(f, "run {kind} hooks"),
            ChildOp::Process(op) => op.fmt(f),
            ChildOp::Seccomp(op) => op.fmt(f),
            ChildOp::LetGo => f.write_str("let go of everything of the runtime's"),
            ChildOp::Gate => f.write_str("wait at the gate for start"),
        }
    }
}

impl fmt::Display for ParentOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParentOp::Send(message) => write!(f, "-> {message}"),
            ParentOp::Receive(message) => write!(f, "<- {message}"),
            ParentOp::MakeScope(scope) => scope.fmt(f),
            ParentOp::EnterCgroup => f.write_str("move init into its cgroup"),
            ParentOp::Attach(unit) => write!(f, "have systemd move it into {}", unit.name),
            ParentOp::MapIds(mapping) => mapping.fmt(f),
            ParentOp::TimeOffsets(offsets) => {
                write!(f, "time offsets {}", crate::namespaces::offset_list(offsets))
            }
            ParentOp::OomScoreAdj(value) => write!(f, "oom_score_adj {value}"),
            ParentOp::Rlimits(limits) => {
                write!(f, "rlimits {}", crate::process::rlimit_list(limits))
            }
            ParentOp::Limit(setting) => write!(f, "set {setting}"),
            ParentOp::Devices(devices) => devices.fmt(f),
            ParentOp::JoinResctrl(group) => group.fmt(f),
            ParentOp::OwnCgroup(uid) => write!(f, "give the cgroup to user {uid}"),
            ParentOp::MoveInterface(interface) => {
                write!(f, "move interface {} in as {}", interface.host, interface.container)
            }
            ParentOp::Hooks(kind) => write!(f, "run {kind} hooks"),
            ParentOp::SendNetwork => {
                f.write_str("make the network namespace; -> Network; bring loopback up")
            }
            ParentOp::NoteInit => f.write_str("note which process init is"),
            ParentOp::ConnectAgent(agent) => {
                write!(f, "connect to the seccomp agent at {}", agent.path.display())
            }
            ParentOp::PassListener => {
                f.write_str("<- Listener, hand it to the seccomp agent; -> Continue")
            }
            ParentOp::Announce => f.write_str("write the pid file, hand out a pidfd"),
            ParentOp::ReceiveTerminal => {
                f.write_str("<- Terminal, hand it to the console socket or keep it")
            }
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
