//! The end of a terminal that an engine holds.

use crate::case::{Stop, fail};
use crate::context::Context;
use crate::unix::readable_within;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;
use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a case waits for a connection or for more text.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where an engine waits for a terminal.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens in the case's directory.
    pub fn bind(cx: &Context) -> Result<Self, Stop> {
        let path = cx.host_dir("")?.join("console");
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// The argument of `--console-socket`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal.
    pub fn receive(&self) -> Result<std::fs::File, Stop> {
        let stream = accept(&self.listener, "the console socket")?;
        let (_, mut fds) = receive(&stream)?;
        match fds.pop() {
            Some(fd) => Ok(fd.into()),
            None => Err(fail("a descriptor on the console socket", "none")),
        }
    }
}

/// The next connection.
pub fn accept(listener: &UnixListener, what: &str) -> Result<UnixStream, Stop> {
    if !readable_within(listener, PATIENCE) {
        return Err(fail(format!("the runtime to connect to {what}"), "it does not"));
    }
    Ok(listener.accept()?.0)
}

/// One message: bytes and descriptors.
pub fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Vec<OwnedFd>), Stop> {
    if !readable_within(stream, PATIENCE) {
        return Err(fail("a message on the connection", "none"));
    }
    let mut bytes = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(stream.as_fd(), &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    bytes.truncate(message.bytes);
    Ok((bytes, fds))
}

/// Everything until the container has closed the terminal.
pub fn read_all(terminal: &std::fs::File) -> String {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while readable_within(terminal, PATIENCE) {
        // The end is an error: nobody has the other side open.
        match (&*terminal).read(&mut chunk) {
            Ok(length) if length > 0 => text.extend(&chunk[..length]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The inspector's full report from a container with a terminal.
pub fn inspect(cx: &mut Context) -> Result<Value, Stop> {
    // Written to a file: a terminal changes what passes through it.
    cx.bundle.inspector("into /tmp/report report");
    let socket = ConsoleSocket::bind(cx)?;
    let command = cx.create_command()?.arg("--console-socket").arg(socket.path());
    let container = cx.expect_made(command)?;
    let _terminal = socket.receive()?;
    container.finish()?;
    let text = std::fs::read_to_string(cx.bundle.inside("/tmp/report")).unwrap_or_default();
    serde_json::from_str(&text).map_err(|_| fail("a report from inside", text))
}
