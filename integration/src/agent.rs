//! The other end of `linux.seccomp.listenerPath`: an agent that decides about system calls.

use crate::command::wait_until;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// `struct seccomp_notif` of `linux/seccomp.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`
#[repr(C)]
struct AddDescriptor {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    descriptor_flags: u32,
}

/// `_IOWR('!', number, size)`, the same on all architectures these tests run on.
const fn request(direction: libc::c_ulong, number: libc::c_ulong, size: usize) -> libc::c_ulong {
    direction << 30 | (size as libc::c_ulong) << 16 | (b'!' as libc::c_ulong) << 8 | number
}

const RECEIVE: libc::c_ulong = request(3, 0, size_of::<Notification>());
const SEND: libc::c_ulong = request(3, 1, size_of::<Response>());
const ADD_DESCRIPTOR: libc::c_ulong = request(1, 3, size_of::<AddDescriptor>());
/// Let the kernel execute the call after all.
const CONTINUE: u32 = 1;

/// A socket at which an agent listens.
pub struct Agent {
    listener: UnixListener,
    path: PathBuf,
}

/// What the runtime has told about one process.
pub struct Told {
    /// The container process state.
    pub state: Value,
    /// Where the process's calls arrive.
    pub listener: OwnedFd,
}

/// A call that waits for an answer.
pub struct Asked<'l> {
    listener: &'l OwnedFd,
    notification: Notification,
}

impl Agent {
    /// Listens at a path that does not exist yet.
    #[must_use]
    pub fn bind(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("an agent's socket");
        Self { listener, path: path.to_path_buf() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody has connected and not been heard yet.
    #[must_use]
    pub fn is_called(&self) -> bool {
        is_readable(self.listener.as_fd())
    }

    /// Hears one connection to its end.
    #[must_use]
    pub fn hear(&self) -> Told {
        wait_until("the runtime connects", || self.is_called());
        let (stream, _) = self.listener.accept().expect("a connection");
        let (mut text, mut fds) = (Vec::new(), Vec::new());
        loop {
            wait_until("the runtime sends or closes", || is_readable(stream.as_fd()));
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut data = [IoSliceMut::new(&mut bytes)];
            let message = recvmsg(&stream, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
            let length = message.expect("a message").bytes;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    fds.extend(received);
                }
            }
            if length == 0 {
                break;
            }
            text.extend_from_slice(&bytes[..length]);
        }
        assert_eq!(fds.len(), 1, "descriptors with {}", String::from_utf8_lossy(&text));
        let state = serde_json::from_slice(&text).expect("one state, and nothing else");
        Told { state, listener: fds.remove(0) }
    }
}

impl Told {
    /// The next call of the process that is the agent's to decide.
    #[must_use]
    pub fn next(&self) -> Asked<'_> {
        wait_until("the process makes a call", || is_readable(self.listener.as_fd()));
        let mut notification = Notification::default();
        // SAFETY: the request writes one such structure, which has to be zero before.
        let result =
            unsafe { libc::ioctl(self.listener.as_raw_fd(), RECEIVE, &raw mut notification) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Asked { listener: &self.listener, notification }
    }
}

impl Asked<'_> {
    /// The number of the call.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.notification.number
    }

    /// Makes the call return a value.
    pub fn answer(self, value: i64) {
        self.respond(value, 0, 0);
    }

    /// Makes the call fail.
    pub fn fail(self, errno: i32) {
        self.respond(0, -errno, 0);
    }

    /// Lets the call be made.
    pub fn allow(self) {
        self.respond(0, 0, CONTINUE);
    }

    /// Puts a descriptor into the process and makes the call return its number.
    pub fn give(self, fd: BorrowedFd) {
        let add = AddDescriptor {
            id: self.notification.id,
            flags: 0,
            source: fd.as_raw_fd().cast_unsigned(),
            number: 0,
            descriptor_flags: 0,
        };
        // SAFETY: the request reads one such structure.
        let number =
            unsafe { libc::ioctl(self.listener.as_raw_fd(), ADD_DESCRIPTOR, &raw const add) };
        assert!(number >= 0, "{}", std::io::Error::last_os_error());
        self.respond(number.into(), 0, 0);
    }

    fn respond(self, value: i64, error: i32, flags: u32) {
        let response = Response { id: self.notification.id, value, error, flags };
        // SAFETY: the request reads one such structure.
        let result = unsafe { libc::ioctl(self.listener.as_raw_fd(), SEND, &raw const response) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

fn is_readable(fd: BorrowedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
