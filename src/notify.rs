//! sd_notify(3): a service in a container tells its supervisor that it is
//! ready. What comes from a container is not to be trusted, so it speaks to a
//! socket of hako's, and hako passes nothing on but the one word.

use crate::error::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// The variable that names the supervisor's socket, outside and inside.
pub const VARIABLE: &str = "NOTIFY_SOCKET";
/// The directory of the container's socket, in its state directory.
pub const DIRECTORY: &str = "notify";
/// Where that is mounted in the container.
pub const MOUNT_POINT: &str = "/run/notify";
/// The socket in it. `start` makes it, when the directory is long mounted.
pub const SOCKET: &str = "notify.sock";

/// Whoever waits for the service: the socket that `NOTIFY_SOCKET` names.
#[derive(Debug)]
pub struct Supervisor(OsString);

impl Supervisor {
    /// The one that started hako.
    pub fn from_environment() -> Option<Self> {
        std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(Self)
    }

    /// A leading `@` means a name without a file (unix(7), "abstract").
    fn address(&self) -> rustix::io::Result<SocketAddrUnix> {
        match self.0.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path => SocketAddrUnix::new(path),
        }
    }

    fn tell(&self, pid: i32) -> Result<()> {
        let message = || format!("cannot notify {}", self.0.display());
        let socket = datagram_socket().os(message)?;
        let text = format!("MAINPID={pid}\nREADY=1");
        let address = self.address().os(message)?;
        rustix::net::sendto(&socket, text.as_bytes(), SendFlags::NOSIGNAL, &address)
            .map(drop)
            .os(message)
    }
}

/// Makes the directory that is mounted into the container.
pub fn make_directory(state: BorrowedFd) -> Result<()> {
    let message = || "cannot make the directory of the notify socket";
    rustix::fs::mkdirat(state, DIRECTORY, Mode::from_raw_mode(0o755)).os(message)?;
    // Whatever the caller's umask: users of the container pass through it.
    rustix::fs::chmodat(state, DIRECTORY, Mode::from_raw_mode(0o755), AtFlags::empty()).os(message)
}

/// hako's ear for the container.
#[derive(Debug)]
pub struct Ear {
    socket: OwnedFd,
    supervisor: Supervisor,
}

impl Ear {
    /// Listens for a container that was made with a notify directory; `None`
    /// for others.
    pub fn open(state: BorrowedFd, supervisor: Supervisor) -> Result<Option<Self>> {
        let message = || "cannot make the notify socket";
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(state, DIRECTORY, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.os(message)?,
        };
        let socket = datagram_socket().os(message)?;
        // Through the descriptor: socket addresses are limited to 108 bytes.
        let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let address = SocketAddrUnix::new(path.as_str()).os(message)?;
        rustix::net::bind(&socket, &address).os(message)?;
        rustix::fs::chmodat(CWD, path.as_str(), Mode::from_raw_mode(0o777), AtFlags::empty())
            .os(message)?;
        Ok(Some(Self { socket, supervisor }))
    }

    /// Hears one message. When it says that the service is ready, so does
    /// hako, naming `pid` as the service. Whether that was it.
    pub fn hear(&self, pid: i32) -> Result<bool> {
        let mut buffer = [0; 4096];
        let length = match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            received => received.os(|| "cannot receive a notification")?.0,
        };
        let ready = buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
        if ready {
            self.supervisor.tell(pid)?;
        }
        Ok(ready)
    }

    /// Waits until the service is ready, or has ended.
    pub fn wait(&self, pid: i32, pidfd: BorrowedFd) -> Result<()> {
        loop {
            let mut waiting = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ];
            rustix::io::retry_on_intr(|| poll(&mut waiting, None))
                .os(|| "cannot wait for a notification")?;
            let [said, ended] = waiting.map(|fd| !fd.revents().is_empty());
            if (said && self.hear(pid)?) || (ended && !said) {
                return Ok(());
            }
        }
    }
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn datagram_socket() -> rustix::io::Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// How many descriptors a service manager passes on for the service
/// (sd_listen_fds(3)): from number 3, before those of `--preserve-fds`. They are
/// for this process if `LISTEN_PID` says so; an environment may be inherited.
pub fn listening_descriptors() -> Result<u32> {
    let own = std::process::id().to_string();
    if std::env::var("LISTEN_PID").ok().as_ref() != Some(&own) {
        return Ok(0);
    }
    match std::env::var("LISTEN_FDS") {
        Err(_) => Ok(0),
        Ok(count) => count
            .parse()
            .map_err(|_| Error::new(format!("LISTEN_FDS={count} is no number of descriptors"))),
    }
}
