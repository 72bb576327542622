//! Who decides about system calls with `SCMP_ACT_NOTIFY`: an agent behind a
//! socket gets the filter's listener (`SECCOMP_FILTER_FLAG_NEW_LISTENER`).
//!
//! The listener exists once init has loaded the filter, after which the filter
//! decides about init's calls, too. So init only writes the listener's number
//! and waits; the runtime takes the listener out of init and passes it on.

use crate::error::{Context, Error, Result};
use rustix::io::Errno;
use rustix::net::sockopt::Timeout;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::PidfdGetfdFlags;
use serde::{Deserialize, Serialize};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// How long an agent may take to accept a connection, and what is sent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where an agent listens, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its socket.
    pub path: PathBuf,
    /// Passed on as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// A connection to an agent, for one process.
#[derive(Debug)]
pub struct Connection {
    agent: Agent,
    socket: OwnedFd,
}

/// What an agent is told ("The Container Process State").
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a, S> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a S,
}

/// A process whose listener is passed on.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its pid in the runtime's pid namespace.
    pub pid: i32,
    /// A descriptor for it.
    pub pidfd: BorrowedFd<'a>,
}

impl Agent {
    /// Finds out, before anything is made, whether somebody listens. The agent
    /// does not notice: sockets of different types do not connect.
    pub fn probe(&self) -> Result<()> {
        match self.try_connect(SocketType::DGRAM) {
            Err(Errno::PROTOTYPE) => Ok(()),
            Err(errno) => Err(self.unreachable(errno)),
            Ok(_) => Err(self.unreachable(Errno::PROTOTYPE)),
        }
    }

    /// Connects: once for each process.
    pub fn connect(&self) -> Result<Connection> {
        let socket =
            self.try_connect(SocketType::STREAM).map_err(|errno| self.unreachable(errno))?;
        Ok(Connection { agent: self.clone(), socket })
    }

    fn try_connect(&self, kind: SocketType) -> Result<OwnedFd, Errno> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        // A stuck agent must not stop the runtime for ever.
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(self.path.as_path())?)?;
        Ok(socket)
    }

    fn unreachable(&self, errno: Errno) -> Error {
        Error::os(format!("cannot reach the seccomp agent at {}", self.path.display()), errno)
            .at("/linux/seccomp/listenerPath")
            .hint("the agent must listen on a stream socket there before the container is created")
    }
}

impl Connection {
    /// Takes the listener, which has this number in `subject`, and passes it on.
    pub fn pass_on<S: Serialize>(self, subject: Subject, number: i32, state: &S) -> Result<()> {
        let listener =
            rustix::process::pidfd_getfd(subject.pidfd, number, PidfdGetfdFlags::empty()).map_err(
                |errno| {
                    let error =
                        Error::os("cannot take the seccomp listener from the process", errno);
                    match errno {
                        Errno::PERM => error.hint("that takes CAP_SYS_PTRACE"),
                        _ => error,
                    }
                },
            )?;
        let description = ProcessState {
            oci_version: crate::SPEC_VERSION,
            fds: ["seccompFd"],
            pid: subject.pid,
            metadata: self.agent.metadata.as_deref(),
            state,
        };
        let bytes = serde_json::to_vec(&description)
            .map_err(|error| Error::new(format!("cannot describe the process: {error}")))?;
        self.send(&bytes, listener.as_fd())
    }

    /// The descriptor goes with the first bytes.
    fn send(&self, bytes: &[u8], listener: BorrowedFd) -> Result<()> {
        let message =
            || format!("cannot send to the seccomp agent at {}", self.agent.path.display());
        let fds = [listener];
        let mut sent = 0;
        while sent < bytes.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if sent == 0 {
                ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            }
            let rest = [IoSlice::new(&bytes[sent..])];
            let flags = SendFlags::NOSIGNAL;
            sent += rustix::io::retry_on_intr(|| {
                rustix::net::sendmsg(&self.socket, &rest, &mut ancillary, flags)
            })
            .os(message)?;
        }
        Ok(())
    }
}
