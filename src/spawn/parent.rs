//! The runtime's walk down its list, while init walks down the other.

use super::{Place, Spawned, pid_file};
use crate::cgroups::CgroupDir;
use crate::error::{Context, Error, Result};
use crate::fault::{self, Side};
use crate::hooks::{self, Site};
use crate::namespaces::{self, Visit};
use crate::plan::{ParentOp, Plan, Step};
use crate::process;
use crate::protocol::Message;
use crate::seal::Seal;
use crate::seccomp;
use crate::state::ContainerState;
use crate::terminal::{self, DescriptorSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the parent's steps leave for later.
#[derive(Debug, Default)]
pub struct Served {
    /// Master side of the terminal, if it was not handed away.
    pub terminal: Option<OwnedFd>,
    /// The container's cgroup.
    pub cgroup: Option<CgroupDir>,
    /// Interfaces that are in the container by now.
    interfaces: Vec<namespaces::Moved>,
    /// To the agent that decides about system calls.
    agent: Option<seccomp::Connection>,
}

impl Served {
    /// Brings the host's interfaces back, as far as that is possible: the
    /// container has failed, and some would end with its namespace.
    pub fn give_interfaces_back(&self) {
        for moved in &self.interfaces {
            let _ = moved.give_back();
        }
    }
}

/// What the parent's steps share.
pub struct Parent<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// Where the container is in its life, as it is told.
    pub status: &'static str,
    /// With whom.
    pub spawned: &'a Spawned,
    /// What the runtime was executed from.
    pub seal: Seal,
    /// The container's state directory.
    pub directory: BorrowedFd<'a>,
    /// Writes down which process init is.
    pub note: &'a dyn Fn(i32) -> Result<()>,
    /// In which cgroup.
    pub place: Place<'a>,
    /// Where a terminal goes; `None` keeps it for the foreground.
    pub console: Option<&'a DescriptorSocket>,
    /// Where the pid goes.
    pub pid_file: Option<&'a Path>,
    /// Where a pidfd goes.
    pub pidfd_socket: Option<&'a DescriptorSocket>,
}

impl Parent<'_> {
    /// Does the parent's steps. On failure the host has its interfaces back.
    pub fn serve(mut self) -> Result<Served> {
        let mut served = Served::default();
        for step in &self.plan.parent {
            if step.op != ParentOp::SendNetwork {
                self.seal.close();
            }
            let done = fault::step(Side::Runtime, &step.op, || self.apply(step, &mut served));
            if let Err(error) = done {
                served.give_interfaces_back();
                let error = self.blame_limit(error);
                return Err(step.place(error));
            }
        }
        served.cgroup = self.place.into_cgroup();
        Ok(served)
    }

    /// The container's state, as others are told it meanwhile.
    fn state(&self) -> ContainerState<'_> {
        ContainerState::new(&self.plan.identity, self.status, Some(self.spawned.pid))
    }

    /// An init that the kernel has killed for want of memory says nothing.
    fn blame_limit(&self, error: Error) -> Error {
        match self.place.cgroup().ok().and_then(CgroupDir::explain_kill) {
            Some(reason) if self.spawned.was_killed() => reason.within(error.message),
            _ => error,
        }
    }

    fn move_interface(&self, interface: &namespaces::Interface, served: &mut Served) -> Result<()> {
        let path = format!("/proc/{}/ns/net", self.spawned.pid);
        let namespace = std::fs::File::open(&path).os(|| format!("cannot open {path}"))?;
        let moved = namespaces::move_interface(interface, namespace.into())?;
        served.interfaces.push(moved);
        Ok(())
    }

    fn receive_terminal(&self, served: &mut Served) -> Result<()> {
        let Some(master) = self.spawned.receive(Message::Terminal)?.fd else {
            return Err(Error::new("init sent no terminal"));
        };
        served.terminal = terminal::hand_over(master, self.console)?;
        Ok(())
    }

    fn apply(&self, step: &Step<ParentOp>, served: &mut Served) -> Result<()> {
        let pid = self.spawned.pid;
        match &step.op {
            ParentOp::Send(message) => self.spawned.send(*message, None),
            ParentOp::Receive(message) => {
                hooks::wait_for_init(&self.plan.hooks, self.spawned.socket.as_fd())?;
                self.spawned.receive(*message).map(drop)
            }
            ParentOp::MapIds(maps) => namespaces::write_id_maps(pid, maps),
            ParentOp::TimeOffsets(offsets) => namespaces::write_time_offsets(Some(pid), offsets),
            ParentOp::OomScoreAdj(value) => process::set_oom_score_adj(
                &PathBuf::from(format!("/proc/{pid}/oom_score_adj")),
                *value,
            ),
            ParentOp::Rlimits(limits) => process::set_rlimits(Some(pid), limits),
            ParentOp::MoveInterface(interface) => self.move_interface(interface, served),
            ParentOp::Hooks(kind) => {
                let state = self.state().to_json();
                let site = Site {
                    state_json: &state,
                    directory: &self.plan.identity.bundle,
                    noted_in: Some(self.directory),
                };
                hooks::run(&self.plan.hooks, *kind, &site)
            }
            ParentOp::SendNetwork => {
                let send =
                    |namespace: BorrowedFd| self.spawned.send(Message::Network, Some(namespace));
                Visit::make_network(send)
            }
            ParentOp::NoteInit => (self.note)(pid),
            ParentOp::ConnectAgent(agent) => {
                served.agent = Some(agent.connect()?);
                Ok(())
            }
            ParentOp::PassListener => {
                let Some(agent) = served.agent.take() else {
                    return Err(Error::new("there is no seccomp agent"));
                };
                self.spawned.pass_listener(agent, &self.state())
            }
            ParentOp::Announce => {
                if let Some(socket) = self.pidfd_socket {
                    socket.send(self.spawned.pidfd.as_fd(), "pidfd")?;
                }
                self.pid_file.map_or(Ok(()), |path| pid_file::write(path, pid))
            }
            ParentOp::ReceiveTerminal => self.receive_terminal(served),
            ParentOp::MakeScope(_)
            | ParentOp::EnterCgroup
            | ParentOp::Attach(_)
            | ParentOp::Limit(_)
            | ParentOp::Devices(_)
            | ParentOp::JoinResctrl(_)
            | ParentOp::OwnCgroup(_) => self.place.apply(&step.op, pid).unwrap_or(Ok(())),
        }
    }
}
