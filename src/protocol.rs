//! What the runtime process and the container's init say to each other.
//!
//! | init (child)                         |    | runtime (parent)                                |
//! |--------------------------------------|----|-------------------------------------------------|
//! | waits, if not cloned into its cgroup | <- | `Placed`: it is in its cgroup                   |
//! | waits, when it has a user namespace  | <- | `Mapped`: uid_map and gid_map are written       |
//! | waits, before sysfs and the like     | <- | `Network` + the namespace made meanwhile        |
//! | `Terminal` + pty, when there is one  | -> | hands it to the console socket or keeps it      |
//! | `Mounted`, when the parent has work  | -> | moves interfaces, runs prestart, createRuntime  |
//! | runs createContainer, pivots         | <- | `Continue`                                      |
//! | `Created` (`create`): waits at the gate | -> | writes the pid file; `create` returns        |
//! | hears it when it is ready (`run`)    | <- | `Start`                                         |
//! | `Listener` + number, with an agent   | -> | hands the filter's listener to the agent        |
//! | executes the program                 | <- | `Continue`                                      |
//! | `Failed` + error, at any time        | -> | ends the child, rolls back, prints the error    |
//! | end of file at any time              | -> | the child is gone: looks for the reason         |
//! | end of file after the last message   | -> | execve succeeded                                |
//!
//! One `SOCK_SEQPACKET` pair carries it: a message is a message. Which of them
//! occur is decided by the plan, and any other message is an error.

use crate::error::{Context, Error, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// A message without its attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// To the parent: the bridge made init; its pid and pidfd are attached.
    Bridged,
    /// To the child: it is in its cgroup.
    Placed,
    /// To the child: the user namespace has its id mappings.
    Mapped,
    /// To the child: here is the network namespace.
    Network,
    /// To the parent: there is a time namespace, which nobody is in yet.
    TimeApart,
    /// To the child: it has its offsets.
    Timed,
    /// To the parent: namespaces and mounts are there.
    Mounted,
    /// To the child: go on.
    Continue,
    /// To the parent: here is the terminal's master side.
    Terminal,
    /// To the parent: everything is done but the hooks of `start` and execve.
    Created,
    /// To the child: execute the program when everything is ready.
    Start,
    /// To the parent: the filter is loaded; its listener has this number.
    Listener,
    /// To the parent, by who becomes criu: one of the directories it works in.
    Directory,
}

/// What goes over the wire.
#[derive(Debug, Serialize, Deserialize)]
enum Packet {
    Message(Message, Option<i32>),
    Failed(Box<Error>),
}

/// What arrived with a message.
#[derive(Debug, Default)]
pub struct Attachment {
    /// A pid in the parent's pid namespace, or a number of a descriptor.
    pub number: Option<i32>,
    /// A descriptor.
    pub fd: Option<OwnedFd>,
}

/// Why no message came.
#[derive(Debug)]
pub enum Interruption {
    /// The other side is gone (or executed another program).
    Closed,
    /// The other side failed and says why; or this side could not receive.
    Failed(Error),
}

/// Largest packet; an error with all its faults fits, longer ones are cut.
const CAPACITY: usize = 32 * 1024;

/// Where packets arrive. On the stack each of its pages would be written to, and
/// after the clone every page that is written to is copied.
static ARRIVED: Mutex<[u8; CAPACITY]> = Mutex::new([0; CAPACITY]);

/// One end of the connection.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// A connected pair: the parent's end and the child's.
    pub fn pair() -> Result<(Socket, Socket)> {
        let (parent, child) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .os(|| "cannot make a socket pair")?;
        Ok((Socket(parent), Socket(child)))
    }

    /// Speaks the same protocol over an already connected socket.
    pub fn from_connected(fd: OwnedFd) -> Self {
        Socket(fd)
    }

    /// Sends a message.
    pub fn send(&self, message: Message) -> Result<()> {
        self.send_with(message, None, None)
    }

    /// Sends a message with a number and a descriptor.
    pub fn send_with(
        &self,
        message: Message,
        number: Option<i32>,
        fd: Option<BorrowedFd>,
    ) -> Result<()> {
        self.send_packet(&Packet::Message(message, number), fd)
    }

    /// Sends a message with a number, by write(2): the call that every profile
    /// with an agent has to allow.
    pub fn write(&self, message: Message, number: i32) -> Result<()> {
        let bytes = serde_json::to_vec(&Packet::Message(message, Some(number)))
            .map_err(|error| Error::new(format!("cannot encode a message: {error}")))?;
        rustix::io::write(&self.0, &bytes).map(drop).os(|| "cannot send to the other process")
    }

    /// Waits for a message by read(2): that it comes is all that is asked.
    pub fn wait(&self) -> Result<()> {
        let received = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut [0; 128]));
        match received.os(|| "cannot receive from the other process")? {
            0 => Err(Error::new("the other process is gone")),
            _ => Ok(()),
        }
    }

    /// Tells the other side that this one has failed. Its own failure is of no
    /// interest: then nobody listens any more.
    pub fn send_failure(&self, error: &Error) {
        let mut error = error.clone();
        error.others.truncate(16);
        let _ = self.send_packet(&Packet::Failed(Box::new(error)), None);
    }

    fn send_packet(&self, packet: &Packet, fd: Option<BorrowedFd>) -> Result<()> {
        let bytes = serde_json::to_vec(packet)
            .map_err(|error| Error::new(format!("cannot encode a message: {error}")))?;
        if bytes.len() > CAPACITY {
            return self.send_packet(
                &Packet::Failed(Box::new(Error::new("failed with an overlong message"))),
                None,
            );
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd> = fd.into_iter().collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)
            .os(|| "cannot send to the other process")?;
        Ok(())
    }

    /// Waits for exactly `expected`.
    pub fn receive(&self, expected: Message) -> Result<Attachment, Interruption> {
        let mut buffer = ARRIVED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut receive = || {
            let data = &mut [IoSliceMut::new(&mut buffer[..])];
            rustix::net::recvmsg(&self.0, data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        };
        let received = loop {
            match receive() {
                // The other side ended with a message of ours unread. That is
                // told first, once; what it had to say comes after it.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                received => break received,
            }
        };
        let length = match received {
            Ok(message) => message.bytes,
            Err(errno) => {
                return Err(Interruption::Failed(Error::os(
                    "cannot receive from the other process",
                    errno,
                )));
            }
        };
        if length == 0 {
            return Err(Interruption::Closed);
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        match serde_json::from_slice(&buffer[..length]) {
            Ok(Packet::Message(message, number)) if message == expected => {
                Ok(Attachment { number, fd })
            }
            Ok(Packet::Message(message, _)) => Err(Interruption::Failed(Error::new(format!(
                "protocol error: expected {expected:?}, got {message:?}"
            )))),
            Ok(Packet::Failed(error)) => Err(Interruption::Failed(*error)),
            Err(error) => Err(Interruption::Failed(Error::new(format!("protocol error: {error}")))),
        }
    }

    /// Waits until execve(2), or its end, has closed the connection to a child.
    ///
    /// # Errors
    /// The child's own account of why it could not execute its program.
    pub fn wait_for_execution(&self) -> Result<()> {
        // No message is expected: `Start` can only be wrong.
        match self.receive(Message::Start) {
            Err(Interruption::Closed) => Ok(()),
            Err(Interruption::Failed(error)) => Err(error),
            Ok(_) => Err(Error::new("protocol error: unexpected message from init")),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
