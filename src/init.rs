//! The child's side: from the clone to execve, one step after the other.

use crate::error::{Context, Error, Result};
use crate::fault::{self, Side};
use crate::gate;
use crate::hooks::{self, Site};
use crate::namespaces::{self, Op as NamespaceOp};
use crate::plan::{ChildOp, Plan, Step};
use crate::process::Preparation;
use crate::protocol::{Interruption, Message, Socket};
use crate::rootfs::{Prepared, Workspace};
use crate::seccomp::{Filter, Op as SeccompOp};
use crate::state::ContainerState;
use crate::sys;
use crate::terminal::{Op as TerminalOp, Terminal};
use crate::weaken::{Defence, lacks};
use rustix::fs::Mode;
use rustix::process::Signal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::Path;

/// What the child got from its parent's memory.
#[derive(Debug)]
pub struct Init<'p> {
    /// What to do.
    pub plan: &'p Plan,
    /// What was opened for each step of the plan.
    pub opened: Vec<Opened>,
    /// A pidfd of the container to enter.
    pub container: Option<OwnedFd>,
    /// What restricts the program's system calls.
    pub filter: Option<Filter>,
    /// The child's end of the connection.
    pub socket: Socket,
    /// Where `start` will knock; `None` for `run`.
    pub gate: Option<OwnedFd>,
    /// Descriptors for the program, from number 3 on.
    pub preserved: Vec<OwnedFd>,
}

/// What one step needs that only the runtime could open.
#[derive(Debug, Default)]
pub struct Opened {
    /// For a mount.
    pub mount: Prepared,
    /// For joining a namespace.
    pub namespace: Option<OwnedFd>,
}

impl Opened {
    /// Opens what a step needs; its mount's source only if `mounts`.
    pub fn new(step: &Step<ChildOp>, mounts: bool) -> Result<Self> {
        let mut opened = Self::default();
        match &step.op {
            ChildOp::Rootfs(op) if mounts => {
                let prepared = op.prepare();
                opened.mount =
                    prepared.map_err(|error| step.place(error.within(op.to_string())))?;
            }
            ChildOp::Namespace(NamespaceOp::Join(join)) => {
                let namespace = join.open().map_err(|error| error.at(join.pointer.clone()))?;
                opened.namespace = Some(namespace);
            }
            _ => {}
        }
        Ok(opened)
    }
}

/// Does all steps. Ends in another program, or exits with the error told to
/// whoever listens.
pub fn run(init: Init) -> ! {
    let mut running = Running {
        workspace: Workspace::default(),
        process: Preparation::default(),
        terminal: None,
        listener: None,
        init,
    };
    if let Err(error) = running.run() {
        running.init.socket.send_failure(&error);
    }
    // Not exit(3): its handlers are the parent's.
    sys::exit_now(1)
}

/// State between steps.
struct Running<'p> {
    init: Init<'p>,
    workspace: Workspace,
    process: Preparation,
    terminal: Option<Terminal>,
    listener: Option<OwnedFd>,
}

impl Running<'_> {
    fn run(&mut self) -> Result<()> {
        die_with_parent()?;
        rustix::process::umask(Mode::empty());
        let plan = self.init.plan;
        for (index, step) in plan.child.iter().enumerate() {
            let mut opened =
                self.init.opened.get_mut(index).map(std::mem::take).unwrap_or_default();
            fault::step(Side::Init, &step.op, || self.apply(step, &mut opened))
                .map_err(|error| locate(error, step))?;
        }
        Ok(())
    }

    fn apply(&mut self, step: &Step<ChildOp>, opened: &mut Opened) -> Result<()> {
        match &step.op {
            ChildOp::Send(Message::Terminal) => {
                let master = self.terminal.as_ref().map(|terminal| terminal.master.as_fd());
                self.init.socket.send_with(Message::Terminal, None, master)
            }
            ChildOp::Send(message) => self.init.socket.send(*message),
            ChildOp::Receive(message) => self.receive(*message).map(drop),
            ChildOp::EnterNetwork => match self.receive(Message::Network)? {
                Some(namespace) => namespaces::enter_network(&namespace),
                None => Err(Error::new("the runtime sent no network namespace")),
            },
            ChildOp::Namespace(op) => {
                op.apply(opened.namespace.as_ref().or(self.init.container.as_ref()))?;
                match op {
                    // A change of credentials forgets the death signal.
                    NamespaceOp::BecomeUser { .. } | NamespaceOp::Join(_) => die_with_parent(),
                    _ => Ok(()),
                }
            }
            ChildOp::OpenSources => self.open_sources(),
            ChildOp::Rootfs(op) => op.apply(&mut self.workspace, &mut opened.mount),
            ChildOp::Terminal(op) => self.apply_terminal(op),
            ChildOp::Hooks(kind) => self.run_hooks(*kind),
            ChildOp::Process(op) => {
                if matches!(op, crate::process::Op::Execute) {
                    self.pass_descriptors()?;
                }
                op.apply(&self.init.plan.process, &mut self.process)
            }
            ChildOp::Seccomp(op) => self.apply_seccomp(op),
            ChildOp::LetGo => self.let_go(),
            ChildOp::Gate => self.pass_gate(),
        }
    }

    /// What the runtime could not open: cloning a mount takes privilege over the
    /// mount namespace, which init has now over its own.
    fn open_sources(&mut self) -> Result<()> {
        let steps = &self.init.plan.child;
        for (step, opened) in steps.iter().zip(&mut self.init.opened) {
            if let ChildOp::Rootfs(_) = &step.op {
                *opened = Opened::new(step, true)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: Message) -> Result<Option<OwnedFd>> {
        match self.init.socket.receive(message) {
            Ok(attachment) => Ok(attachment.fd),
            Err(Interruption::Failed(error)) => Err(error),
            // The runtime was killed: nobody is left to tell.
            Err(Interruption::Closed) => sys::exit_now(1),
        }
    }

    fn apply_terminal(&mut self, op: &TerminalOp) -> Result<()> {
        match op {
            TerminalOp::Open { size } => {
                self.terminal = Some(Terminal::open(self.workspace.root()?, *size)?);
                Ok(())
            }
            TerminalOp::Console => match &self.terminal {
                Some(terminal) => terminal.bind_console(self.workspace.root()?),
                None => Err(Error::new("the terminal is not open yet")),
            },
            TerminalOp::Session => {
                rustix::process::setsid().map(drop).os(|| "cannot make a new session")
            }
            TerminalOp::Attach => match &self.terminal {
                Some(terminal) => terminal.attach(),
                None => Err(Error::new("the terminal is not open yet")),
            },
        }
    }

    fn run_hooks(&self, kind: hooks::Kind) -> Result<()> {
        let plan = self.init.plan;
        // As processes in the container see it (runtime.md, "State").
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let status = match kind {
            hooks::Kind::StartContainer => "created",
            _ => "creating",
        };
        let state = ContainerState::new(&plan.identity, status, Some(pid)).to_json();
        let site = Site { state_json: &state, directory: Path::new("/"), noted_in: None };
        hooks::run(&plan.hooks, kind, &site)
    }

    /// From here on init survives the runtime, and holds nothing but what the
    /// program gets and the way to hear about its start. Before limits are set:
    /// a low number of files is no matter then.
    fn let_go(&mut self) -> Result<()> {
        // What owns a descriptor must not outlive it.
        std::mem::take(&mut self.workspace).forget();
        self.terminal = None;
        self.init.opened.clear();
        self.init.container = None;
        let mut kept: Vec<BorrowedFd> = self.init.preserved.iter().map(AsFd::as_fd).collect();
        kept.push(self.init.socket.as_fd());
        kept.extend(self.init.gate.as_ref().map(AsFd::as_fd));
        if !lacks(Defence::Descriptors) {
            sys::close_all_but(3, &kept).os(|| "cannot close descriptors")?;
        }
        if !lacks(Defence::Environment) {
            sys::wipe_environment();
        }
        rustix::process::set_parent_process_death_signal(None)
            .os(|| "cannot clear the death signal")
    }

    fn pass_gate(&mut self) -> Result<()> {
        let Some(gate) = self.init.gate.take() else {
            return Err(Error::new("there is no gate to wait at"));
        };
        let caller = gate::wait(&gate)?;
        // From now on `start` is who hears about failures.
        self.init.socket = caller;
        Ok(())
    }

    fn apply_seccomp(&mut self, op: &SeccompOp) -> Result<()> {
        match op {
            SeccompOp::Load(flags) => {
                // Afterwards, nothing but execve has to be allowed.
                self.pass_descriptors()?;
                let Some(filter) = &self.init.filter else {
                    return Err(Error::new("there is no seccomp filter"));
                };
                self.listener = filter.load(*flags)?;
                Ok(())
            }
            SeccompOp::HandOver => {
                let number = self.listener.as_ref().map_or(-1, AsRawFd::as_raw_fd);
                self.init.socket.write(Message::Listener, number)?;
                self.init.socket.wait()
            }
        }
    }

    /// Lets the program inherit what the caller of hako wants it to, once.
    fn pass_descriptors(&mut self) -> Result<()> {
        for fd in std::mem::take(&mut self.init.preserved) {
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty())
                .os(|| "cannot pass a descriptor on")?;
            // It is the program's now.
            let _ = fd.into_raw_fd();
        }
        Ok(())
    }
}

/// Until it is created, a container does not outlive its runtime.
fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .os(|| "cannot set the death signal")
}

/// Adds what the step was about, for steps that have a name of their own.
pub fn locate(error: Error, step: &Step<ChildOp>) -> Error {
    let error = match &step.op {
        ChildOp::Rootfs(op) => error.within(op.to_string()),
        ChildOp::Namespace(op) => error.within(op.to_string()),
        _ => error,
    };
    match &step.pointer {
        Some(pointer) => error.at(pointer.clone()),
        None => error,
    }
}
