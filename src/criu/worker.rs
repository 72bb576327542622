//! The criu process: `criu swrk FD`, which serves whoever made the socket.

use super::rpc::{Kind, Notification, Response, Version, acknowledgement, request};
use super::wire::Message;
use crate::error::{Context, Error, Result};
use crate::process::find_executable;
use crate::protocol::{self, Interruption};
use crate::sys::{self, Clone3, Cloned};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, Shutdown,
    SocketFlags, SocketType,
};
use rustix::process::Signal;
use std::ffi::CString;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The oldest that has everything that is asked of it here.
const OLDEST: Version = Version(3, 16, 0);
/// Where to look when there is no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longer than any of criu's messages.
const CAPACITY: usize = 64 * 1024;

/// How criu is started.
pub struct Launch<'a> {
    /// Its file.
    pub program: PathBuf,
    /// In which cgroup; `None` is that of hako.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What it gets besides the standard streams, under the same numbers.
    pub passed: Vec<BorrowedFd<'a>>,
    /// Where it will work. They are opened by criu's process: it could not mount
    /// anything in directories of another mount namespace.
    pub directories: Vec<&'a Path>,
    /// What is done first, in a mount namespace of criu's own that is gone with it.
    pub mounts: Option<&'a dyn Fn() -> Result<()>>,
}

/// A criu that waits for requests. It is ended with this.
#[derive(Debug)]
pub struct Worker {
    /// Its process.
    pub pid: i32,
    /// Those of [`Launch::directories`].
    pub directories: Vec<OwnedFd>,
    pidfd: OwnedFd,
    socket: OwnedFd,
    is_over: bool,
}

/// Finds criu as a shell does.
pub fn find() -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_else(|_| USUAL_PATH.to_owned());
    find_executable("criu", Some(&path), Path::new("/")).map_err(|_| {
        Error::new("criu is not installed: there is no such program in $PATH").hint(
            "checkpoint and restore are criu's work: install the package criu (https://criu.org)",
        )
    })
}

impl Worker {
    /// Starts criu and makes sure that it is not too old.
    pub fn start(launch: &Launch) -> Result<Self> {
        let (socket, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .os(|| "cannot make a socket pair")?;
        let (told, teller) = protocol::Socket::pair()?;
        let flags = launch.mounts.map_or(0, |_| libc::CLONE_NEWNS as u64);
        let cloned = sys::clone3(&Clone3 { flags, cgroup: launch.cgroup });
        match cloned.os(|| "cannot clone a process for criu")? {
            Cloned::Child => {
                teller.send_failure(&execute(launch, &teller, &theirs));
                sys::exit_now(1)
            }
            Cloned::Parent { pid, pidfd } => {
                drop((theirs, teller));
                let mut worker =
                    Self { pid, directories: Vec::new(), pidfd, socket, is_over: false };
                for _ in &launch.directories {
                    worker.directories.extend(receive_directory(&told)?);
                }
                told.wait_for_execution()?;
                worker.check_version(&launch.program)?;
                Ok(worker)
            }
        }
    }

    fn check_version(&self, program: &Path) -> Result<()> {
        let response = self.ask(&request(Kind::Version, None, true))?;
        if response.version < OLDEST {
            return Err(Error::new(format!(
                "{} is too old: its version is {}, hako needs {OLDEST}",
                program.display(),
                response.version
            ))
            .hint("install a newer criu"));
        }
        Ok(())
    }

    fn ask(&self, message: &Message) -> Result<Response> {
        self.send(message)?;
        self.receive().map(|(response, _)| response)
    }

    /// Has criu do something. Whoever `hears` a notification can end that with
    /// an error; a descriptor may come with it.
    pub fn work(
        mut self,
        kind: Kind,
        options: &Message,
        mut hears: impl FnMut(&Notification, Option<OwnedFd>) -> Result<()>,
    ) -> Result<()> {
        self.send(&request(kind, Some(options), false))?;
        let mut objection = None;
        loop {
            let (response, fd) = match (self.receive(), objection.take()) {
                (Err(_), Some(objection)) => return Err(objection),
                (received, earlier) => {
                    objection = earlier;
                    received?
                }
            };
            if response.kind == Some(Kind::Notify) {
                let heard = hears(&response.notification, fd);
                self.send(&acknowledgement(heard.is_ok()))?;
                objection = objection.or(heard.err());
                continue;
            }
            return match (objection, response.success) {
                (Some(objection), _) => Err(objection),
                (None, false) => Err(failure(kind, &response)),
                (None, true) => self.end(),
            };
        }
    }

    /// Waits until it has ended. After a pre-dump it would wait for the dump.
    fn end(&mut self) -> Result<()> {
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        self.is_over = true;
        sys::reap(self.pidfd.as_fd()).map(drop).os(|| "cannot wait for criu")
    }

    fn send(&self, message: &Message) -> Result<()> {
        match rustix::net::send(&self.socket, message.bytes(), SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(gone()),
            Err(errno) => Err(Error::os("cannot send to criu", errno)),
        }
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let mut buffer = vec![0; CAPACITY];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let data = &mut [IoSliceMut::new(&mut buffer)];
            rustix::net::recvmsg(&self.socket, data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            Ok(message) => message.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(errno) => return Err(Error::os("cannot receive from criu", errno)),
        };
        if length == 0 {
            return Err(gone());
        }
        let fd = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let response = Response::decode(&buffer[..length])
            .ok_or_else(|| Error::new("what criu answers cannot be understood"))?;
        Ok((response, fd))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = sys::reap(self.pidfd.as_fd());
        }
    }
}

fn receive_directory(told: &protocol::Socket) -> Result<Option<OwnedFd>> {
    match told.receive(protocol::Message::Directory) {
        Ok(attachment) => Ok(attachment.fd),
        Err(Interruption::Failed(error)) => Err(error),
        Err(Interruption::Closed) => Err(gone()),
    }
}

fn gone() -> Error {
    Error::new("criu ended before it was done")
}

/// criu's own word for what went wrong; its log says more.
fn failure(kind: Kind, response: &Response) -> Error {
    let what = match kind {
        Kind::Restore => "criu could not restore the container",
        _ => "criu could not dump the container",
    };
    let message = match &response.message {
        Some(reason) => format!("{what}: {}", reason.trim_end()),
        None => what.to_owned(),
    };
    Error { errno: response.errno, ..Error::new(message) }
}

/// In the new process: becomes criu. Returns only the reason why it could not.
fn execute(launch: &Launch, teller: &protocol::Socket, socket: &OwnedFd) -> Error {
    let prepared = prepare(launch, teller, socket);
    let Err(error) = prepared.and_then(|()| {
        let program = CString::new(launch.program.clone().into_os_string().into_vec())
            .map_err(|_| Error::new("criu's path contains a NUL byte"))?;
        let number = CString::new(socket.as_raw_fd().to_string()).unwrap_or_default();
        nix::unistd::execv(&program, &[c"criu", c"swrk", &number])
            .os(|| format!("cannot execute {}", launch.program.display()))
            .map(drop)
    }) else {
        return gone();
    };
    error
}

/// criu ends with hako, has the signals of a fresh process, and what it is passed.
fn prepare(launch: &Launch, teller: &protocol::Socket, socket: &OwnedFd) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .os(|| "cannot tie criu to hako")?;
    if let Some(mounts) = launch.mounts {
        mounts()?;
    }
    for path in &launch.directories {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(*path, flags, Mode::empty())
            .os(|| format!("cannot open {}", path.display()))?;
        teller.send_with(protocol::Message::Directory, None, Some(directory.as_fd()))?;
    }
    sys::reset_signals(u64::MAX).os(|| "cannot reset signals")?;
    for fd in launch.passed.iter().copied().chain([socket.as_fd()]) {
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).os(|| "cannot pass a descriptor to criu")?;
    }
    Ok(())
}
