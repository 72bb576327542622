//! Where a created container waits for `start`.
//!
//! Init holds a listening socket in the container's state directory. `start`
//! connects and then hears either the reason why the program could not be
//! executed, or the end of the connection, because execve(2) closed it: the
//! program runs. A refused connection means that init is gone.

use crate::error::{Context, Error, Result};
use crate::protocol::Socket;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Its name in the state directory.
pub const NAME: &str = "gate";
/// Its name until the container has been created.
pub const UNFINISHED: &str = "gate.new";

/// The listening socket, made by the runtime, kept by init. Bound through the
/// directory's descriptor: socket addresses are limited to 108 bytes.
pub fn listen(directory: BorrowedFd) -> Result<OwnedFd> {
    let message = || "cannot make the start gate";
    let socket = socket().os(message)?;
    rustix::net::bind(&socket, &address(directory, UNFINISHED).os(message)?).os(message)?;
    rustix::net::listen(&socket, 1).os(message)?;
    Ok(socket)
}

/// Waits, as init, for `start`.
pub fn wait(listener: &OwnedFd) -> Result<Socket> {
    rustix::io::retry_on_intr(|| rustix::net::accept_with(listener, SocketFlags::CLOEXEC))
        .map(Socket::from_connected)
        .os(|| "cannot accept start")
}

/// Connects, as `start`, to the init that waits. `None` if it does not.
pub fn connect(directory: BorrowedFd) -> Result<Option<Socket>> {
    let message = || "cannot connect to the start gate";
    let socket = socket().os(message)?;
    match rustix::net::connect(&socket, &address(directory, NAME).os(message)?) {
        Ok(()) => Ok(Some(Socket::from_connected(socket))),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
        Err(errno) => Err(Error::os(message(), errno)),
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn address(directory: BorrowedFd, name: &str) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
