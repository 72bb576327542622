//! The container's terminal: made in its own devpts, handed to the caller.

use crate::error::{Context, Error, Result};
use crate::foreground;
use crate::plan::{ChildOp, Compiler, ParentOp};
use crate::process::Process;
use crate::protocol::Message;
use crate::rootfs::{self, Root};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize};
use serde::Serialize;
use std::fmt;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A step with the terminal, done by init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Open a pty pair in the container's devpts.
    Open {
        /// Columns and rows.
        size: Option<(u16, u16)>,
    },
    /// Bind it on /dev/console.
    Console,
    /// Become the leader of a new session.
    Session,
    /// Make the pty the controlling terminal and the standard streams.
    Attach,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Open { size: None } => f.write_str("open a terminal"),
            Op::Open { size: Some((columns, rows)) } => {
                write!(f, "open a terminal of {columns}x{rows}")
            }
            Op::Console => f.write_str("bind the terminal on /dev/console"),
            Op::Session => f.write_str("new session"),
            Op::Attach => f.write_str("attach the terminal"),
        }
    }
}

/// Makes the terminal while /dev can still be written to. Only in mounts of its
/// own can a container have a console of its own.
pub fn plan_open(process: &Process, own_mounts: bool, compiler: &mut Compiler) {
    if process.terminal {
        let op = Op::Open { size: process.console_size };
        compiler.child_at("/process/terminal", ChildOp::Terminal(op));
        if own_mounts {
            compiler.child_at("/process/terminal", ChildOp::Terminal(Op::Console));
        }
        compiler.child(ChildOp::Send(Message::Terminal));
        compiler.parent_at("/process/terminal", ParentOp::ReceiveTerminal);
    }
}

/// Gives it to the process.
pub fn plan_attach(process: &Process, compiler: &mut Compiler) {
    compiler.child(ChildOp::Terminal(Op::Session));
    if process.terminal {
        compiler.child_at("/process/terminal", ChildOp::Terminal(Op::Attach));
    }
}

/// Both sides of a pty.
#[derive(Debug)]
pub struct Terminal {
    /// For whoever controls the terminal; gone once it is sent.
    pub master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// Opens a pty in the devpts that is mounted in the container.
    pub fn open(root: &Root, size: Option<(u16, u16)>) -> Result<Self> {
        let master = open_ptmx(root)?;
        rustix::pty::unlockpt(&master).os(|| "cannot unlock the terminal")?;
        // By descriptor, not by name: the image may have put anything at /dev/pts/0.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave =
            rustix::pty::ioctl_tiocgptpeer(&master, flags).os(|| "cannot open the terminal")?;
        let terminal = Self { master, slave };
        if let Some((columns, rows)) = size {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&terminal.master, size)
                .os(|| "cannot set the terminal's size")?;
        }
        Ok(terminal)
    }

    /// Binds it on /dev/console.
    pub fn bind_console(&self, root: &Root) -> Result<()> {
        let path = Path::new("/dev/console");
        let (parent, name) = root.create_parent(path)?;
        let console = match root.lookup_in(&parent, &name)? {
            Some(existing) => existing,
            None => root.create_file(path)?,
        };
        let stat = rustix::fs::fstat(&console).os(|| "cannot examine /dev/console")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !kind.is_file() && !kind.is_char_device() {
            return Err(Error::new("/dev/console of the image is neither a file nor a device"));
        }
        let tree =
            rootfs::clone_tree(&self.slave, false).os(|| "cannot clone the terminal's mount")?;
        rustix::mount::move_mount(&tree, "", &console, "", rootfs::EMPTY_BOTH)
            .os(|| "cannot bind the terminal on /dev/console")
    }

    /// Makes it the controlling terminal and the standard streams.
    pub fn attach(&self) -> Result<()> {
        rustix::process::ioctl_tiocsctty(&self.slave)
            .os(|| "cannot make it the controlling terminal")?;
        rustix::stdio::dup2_stdin(&self.slave)
            .and_then(|()| rustix::stdio::dup2_stdout(&self.slave))
            .and_then(|()| rustix::stdio::dup2_stderr(&self.slave))
            .os(|| "cannot replace the standard streams")
    }
}

/// Opens ptmx of the container's devpts. Nothing else is opened in its place:
/// to open a device of the image can have effects of its own.
fn open_ptmx(root: &Root) -> Result<OwnedFd> {
    let failed = |errno| {
        Error::os("cannot open /dev/pts/ptmx in the container", errno)
            .hint("a terminal needs a mount of type devpts at /dev/pts")
    };
    let pts = root.open(Path::new("/dev/pts"), OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
    if !rootfs::is_on(&pts, libc::DEVPTS_SUPER_MAGIC)? {
        return Err(Error::new("/dev/pts in the container is no devpts")
            .hint("a terminal needs a mount of type devpts at /dev/pts"));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let ptmx = rustix::fs::openat2(&pts, "ptmx", flags, Mode::empty(), resolve).map_err(failed)?;
    let stat = rustix::fs::fstat(&ptmx).os(|| "cannot examine /dev/pts/ptmx")?;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode).is_char_device()
        && stat.st_rdev == rustix::fs::makedev(5, 2);
    is_ptmx
        .then_some(ptmx)
        .ok_or_else(|| Error::new("/dev/pts/ptmx in the container is no terminal multiplexer"))
}

/// The caller's own terminal turns newlines into carriage return and newline;
/// twice would be once too often.
fn keep_newlines(master: BorrowedFd) -> Result<()> {
    let mut modes = rustix::termios::tcgetattr(master).os(|| "cannot read the terminal's modes")?;
    modes.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(master, OptionalActions::Now, &modes)
        .os(|| "cannot set the terminal's modes")
}

/// Hands the terminal's master side to the console socket, as the kernel made
/// it: an engine's client shows it raw. Without a socket it is returned, for
/// the foreground, and goes with the caller's terminal.
pub fn hand_over(master: OwnedFd, console: Option<&DescriptorSocket>) -> Result<Option<OwnedFd>> {
    match console {
        Some(console) => console.send(master.as_fd(), "/dev/ptmx").map(|()| None),
        None => {
            keep_newlines(master.as_fd())?;
            foreground::adopt_window_size(master.as_fd());
            Ok(Some(master))
        }
    }
}

/// A connection to whoever wants a descriptor: the terminal's master side
/// (`--console-socket`), or a pidfd of init (`--pidfd-socket`).
#[derive(Debug)]
pub struct DescriptorSocket(OwnedFd);

impl DescriptorSocket {
    /// Connects before anything is made, so that a wrong path costs nothing.
    pub fn connect(path: &Path) -> Result<Self> {
        let message = || format!("cannot connect to socket {}", path.display());
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            // Nobody may ever accept.
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .os(message)?;
        let address = SocketAddrUnix::new(path).os(message)?;
        rustix::net::connect(&socket, &address).os(message)?;
        Ok(Self(socket))
    }

    /// Hands a descriptor over, under a name.
    pub fn send(&self, fd: BorrowedFd, name: &str) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let data = [IoSlice::new(name.as_bytes())];
        rustix::net::sendmsg(&self.0, &data, &mut ancillary, SendFlags::NOSIGNAL)
            .map(drop)
            .os(|| "cannot send a descriptor over the socket")
    }
}
