//! The parent's side: everything the plan needs is opened, one clone3 is made,
//! and the protocol is served until init has been created.

mod parent;
pub mod pid_file;
mod place;

pub use parent::{Parent, Served};
pub use place::Place;

use crate::cgroups::CgroupDir;
use crate::error::{Context, Error, Result};
use crate::fault::{self, Side};
use crate::gate;
use crate::init::{self, Init, Opened};
use crate::namespaces::{self, Join, Visit};
use crate::plan::{ChildOp, Plan, Step};
use crate::process;
use crate::protocol::{Attachment, Interruption, Message, Socket};
use crate::seal::Seal;
use crate::seccomp::{self, Filter, Subject};
use crate::stat::{UNEXECUTED, is_unexecuted};
use crate::state::ContainerState;
use crate::sys::{self, Clone3, Cloned};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The init process of a container.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// A descriptor for it.
    pub pidfd: OwnedFd,
    /// The parent's end of the connection.
    pub socket: Socket,
}

/// Descriptors that the runtime came with.
#[derive(Debug)]
pub struct Inherited {
    /// For the program, from number 3 on.
    pub preserved: Vec<OwnedFd>,
    /// What the runtime was executed from.
    pub seal: Seal,
}

/// What was opened before the clone.
#[derive(Debug)]
pub struct Prepared {
    steps: Vec<Opened>,
    before: Vec<(Join, OwnedFd)>,
    bridge: Vec<Opened>,
    container: Option<OwnedFd>,
    filter: Option<Filter>,
}

/// Opens everything, so that what is missing is found before anything is made.
/// `container` is a pidfd of the init of a container to enter.
pub fn prepare(plan: &Plan, container: Option<OwnedFd>) -> Result<Prepared> {
    let open = |join: &Join| join.open().map_err(|error| error.at(join.pointer.clone()));
    let mut before = Vec::new();
    for join in &plan.clone.join_before {
        before.push((join.clone(), open(join)?));
    }
    let open_all = |steps: &[Step<ChildOp>]| -> Result<Vec<Opened>> {
        let by_init = steps.iter().any(|step| step.op == ChildOp::OpenSources);
        let open = |step| Opened::new(step, !by_init);
        steps.iter().map(open).collect()
    };
    let (steps, bridge) = (open_all(&plan.child)?, open_all(&plan.bridge)?);
    if let Some(agent) = plan.process.seccomp.as_ref().and_then(|setup| setup.agent.as_ref()) {
        agent.probe()?;
    }
    Ok(Prepared { steps, before, bridge, container, filter: None })
}

impl Prepared {
    /// With the filter that init will load.
    #[must_use]
    pub fn with_filter(self, filter: Option<Filter>) -> Self {
        Self { filter, ..self }
    }

    /// Keeps the filter, if there is one, with the container's state.
    pub fn keep_filter(&self, directory: BorrowedFd) -> Result<()> {
        self.filter.as_ref().map_or(Ok(()), |filter| filter.save(directory))
    }
}

/// Clones init, into its cgroup if that is there. The child never returns from
/// here. The seal is to be closed when there is time for it.
pub fn spawn(
    plan: &Plan,
    prepared: Prepared,
    cgroup: Option<&CgroupDir>,
    directory: BorrowedFd,
    inherited: Inherited,
) -> Result<(Spawned, Seal)> {
    let Inherited { preserved, seal } = inherited;
    if !plan.clone.dumpable {
        namespaces::make_undumpable()?;
    }
    let gate = match plan.has_gate() {
        true => Some(gate::listen(directory)?),
        false => None,
    };
    let (parent_end, child_end) = Socket::pair()?;
    let mut visit = Visit::default();
    for (join, fd) in &prepared.before {
        visit.enter(join, fd).map_err(|error| error.at(join.pointer.clone()))?;
    }
    if let Some(pidfd) = prepared.container.as_ref().filter(|_| !plan.clone.enter.is_empty()) {
        visit.enter_container(pidfd, &plan.clone.enter)?;
    }
    if plan.clone.time_apart {
        visit
            .unshare_time(&plan.clone.time_offsets)
            .map_err(|error| error.at("/linux/timeOffsets"))?;
    }
    let flags = plan.clone.new.iter().fold(0, |flags, kind| flags | kind.flag());
    let cgroup = cgroup.filter(|_| plan.clones_into_cgroup()).map(AsFd::as_fd);
    let request = Clone3 { flags: if plan.clone.bridge { 0 } else { flags }, cgroup };
    match sys::clone3(&request).map_err(|errno| clone_refused(plan, errno))? {
        Cloned::Child => {
            drop(seal);
            drop(parent_end);
            std::mem::forget(visit);
            if plan.clone.bridge {
                bridge(plan, &prepared, flags, cgroup, &child_end);
            }
            init::run(Init {
                plan,
                opened: prepared.steps,
                container: prepared.container,
                filter: prepared.filter,
                socket: child_end,
                gate,
                preserved,
            })
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child_end);
            visit.leave()?;
            let spawned = Spawned { pid, pidfd, socket: parent_end };
            let spawned = match plan.clone.bridge {
                true => fault::step(Side::Make, "meet init", || spawned.cross_bridge())?,
                false => spawned,
            };
            Ok((spawned, seal))
        }
    }
}

/// A process in between: enters namespaces, so that init, its sibling, is cloned
/// there, and need not come back. Returns in init only.
fn bridge(
    plan: &Plan,
    prepared: &Prepared,
    flags: u64,
    cgroup: Option<BorrowedFd>,
    socket: &Socket,
) {
    let cross = |(step, opened): (&Step<ChildOp>, &Opened)| {
        let namespace = opened.namespace.as_ref().or(prepared.container.as_ref());
        let crossed = fault::step(Side::Bridge, &step.op, || match &step.op {
            ChildOp::Namespace(op) => op.apply(namespace),
            ChildOp::Process(op) => op.apply(&plan.process, &mut process::Preparation::default()),
            _ => Ok(()),
        });
        crossed.map_err(|error| init::locate(error, step))
    };
    let crossed = plan.bridge.iter().zip(&prepared.bridge).try_for_each(cross);
    let cloned = crossed.and_then(|()| {
        let flags = flags | libc::CLONE_PARENT as u64;
        fault::step(Side::Bridge, "clone init", || {
            let pipe = pipe_with(PipeFlags::CLOEXEC).os(|| "cannot make a pipe")?;
            let request = Clone3 { flags, cgroup };
            let cloned = sys::clone3(&request).map_err(|errno| clone_refused(plan, errno))?;
            Ok((cloned, pipe))
        })
    });
    let told = cloned.and_then(|(cloned, (told, telling))| match cloned {
        // Nothing that init says may come before the bridge's word, whose end closes the pipe.
        Cloned::Child => {
            drop(telling);
            let wait = || rustix::io::read(&told, &mut [0]);
            rustix::io::retry_on_intr(wait).os(|| "cannot wait for the bridge").map(|_| false)
        }
        Cloned::Parent { pid, pidfd } => fault::step(Side::Bridge, "send init", || {
            socket.send_with(Message::Bridged, Some(pid), Some(pidfd.as_fd())).map(|()| true)
        }),
    });
    match told {
        Ok(false) => {}
        Ok(true) => sys::exit_now(0),
        Err(error) => {
            socket.send_failure(&error);
            sys::exit_now(1)
        }
    }
}

fn clone_refused(plan: &Plan, errno: rustix::io::Errno) -> Error {
    namespaces::clone_refused(&plan.clone, &plan.cgroup, errno)
}

impl Spawned {
    /// Sends a message; an init that no longer listens has said why.
    pub fn send(&self, message: Message, fd: Option<BorrowedFd>) -> Result<()> {
        let Err(error) = self.socket.send_with(message, None, fd) else { return Ok(()) };
        match error.errno {
            Some(libc::EPIPE | libc::ECONNRESET) => self.receive(Message::Created).map(drop),
            _ => Err(error),
        }
    }

    /// Waits for a message; an init that is gone instead is explained.
    pub fn receive(&self, message: Message) -> Result<Attachment> {
        match self.socket.receive(message) {
            Ok(attachment) => Ok(attachment),
            Err(Interruption::Failed(error)) => Err(error),
            Err(Interruption::Closed) => Err(self.explain_death()),
        }
    }

    /// Waits until init has loaded its filter, and hands the listener to the
    /// agent.
    pub fn pass_listener(&self, agent: seccomp::Connection, state: &ContainerState) -> Result<()> {
        let subject = Subject { pid: self.pid, pidfd: self.pidfd.as_fd() };
        pass_listener(&self.socket, agent, subject, state).map_err(
            |interruption| match interruption {
                Interruption::Failed(error) => error,
                Interruption::Closed => self.explain_death(),
            },
        )
    }

    /// Waits until execve(2) has closed the connection. With `doubt` it may have
    /// been the end of the process instead: a seccomp filter is one reason, and
    /// that nobody waits for the process later is another one to look.
    ///
    /// # Errors
    /// Init's own account of why the program could not be executed.
    pub fn wait_for_execution(&self, doubt: bool) -> Result<()> {
        self.socket.wait_for_execution()?;
        if doubt && is_unexecuted(self.pid) {
            Err(self.explain_end(UNEXECUTED).hint(FORBIDDEN))
        } else {
            Ok(())
        }
    }

    fn cross_bridge(self) -> Result<Spawned> {
        // A bridge that has failed is about to end: nothing is left of it.
        let arrived = self.receive(Message::Bridged).inspect_err(|_| self.kill())?;
        let _ = sys::reap(self.pidfd.as_fd());
        match (arrived.number, arrived.fd) {
            (Some(pid), Some(pidfd)) => Ok(Spawned { pid, pidfd, socket: self.socket }),
            _ => Err(Error::new("the bridge process sent no pid")),
        }
    }

    /// Ends init and waits for its end.
    pub fn kill(&self) {
        kill(self.pidfd.as_fd());
    }

    /// How init has ended; it can still be waited for.
    fn end(&self, options: WaitIdOptions) -> Option<WaitIdStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | options;
        let wait = || rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
        rustix::io::retry_on_intr(wait).ok().flatten()
    }

    /// Whether it is SIGKILL that ended init; for one that is about to end,
    /// there is a moment to do so.
    fn was_killed(&self) -> bool {
        const MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&MOMENT));
        let status = self.end(WaitIdOptions::NOHANG);
        let signal = status.and_then(|status| status.terminating_signal());
        signal == Some(libc::SIGKILL)
    }

    fn explain_death(&self) -> Error {
        self.explain_end("before it was ready")
    }

    fn explain_end(&self, when: &str) -> Error {
        let how = match self.end(WaitIdOptions::empty()) {
            Some(status) => match (status.terminating_signal(), status.exit_status()) {
                (Some(signal), _) => format!("was killed by {}", sys::signal_name(signal)),
                (_, Some(code)) => format!("exited with status {code}"),
                _ => "ended".to_owned(),
            },
            None => "ended".to_owned(),
        };
        Error::new(format!("the container's new process {how} {when}"))
    }
}

/// Ends a child and waits for its end.
pub fn kill(pidfd: BorrowedFd) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    let _ = sys::reap(pidfd);
}

/// Waits for the number of a listener, and hands the listener to the agent.
pub fn pass_listener(
    socket: &Socket,
    agent: seccomp::Connection,
    subject: Subject,
    state: &ContainerState,
) -> Result<(), Interruption> {
    let number = socket.receive(Message::Listener)?.number.unwrap_or(-1);
    agent
        .pass_on(subject, number, state)
        .and_then(|()| socket.send(Message::Continue))
        .map_err(Interruption::Failed)
}

/// Why init may end without a word after everything was said.
pub const FORBIDDEN: &str = "linux.seccomp may forbid execve, or somebody killed it";
