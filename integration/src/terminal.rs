//! The other end of a container's terminal: what a person at a keyboard holds,
//! or an engine that has received it over a console socket.

use crate::command::{Command, readable_within};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a test waits for text or a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The master side of a pty.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// What has been read and not yet been asked for.
    unread: Vec<u8>,
}

impl Terminal {
    /// Opens a new pty on the host.
    #[must_use]
    pub fn open() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pty");
        grantpt(&master).expect("to grant the pty");
        unlockpt(&master).expect("to unlock the pty");
        Self::from(master)
    }

    /// The path of the side that programs use.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let name = ptsname(&self.master, Vec::new()).expect("the name of the pty");
        PathBuf::from(name.into_string().expect("a name in ASCII"))
    }

    /// Changes the window size, as a person does who drags a corner.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("to set the window size");
    }

    /// The window size: columns, rows.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.master).expect("the window size");
        (size.ws_col, size.ws_row)
    }

    /// Types something.
    pub fn write(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Waits for this text and returns everything up to its end.
    #[track_caller]
    pub fn read_until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let position = self.unread.windows(text.len()).position(|at| at == text.as_bytes());
            if let Some(position) = position {
                let rest = self.unread.split_off(position + text.len());
                let seen = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8_lossy(&seen).into_owned();
            }
            let more = self.read_more(deadline);
            let seen = String::from_utf8_lossy(&self.unread);
            assert!(more, "waited in vain for `{text}` on the terminal, which shows:\n{seen}");
        }
    }

    /// Everything until the last program has closed the terminal.
    pub fn read_to_end(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        while self.read_more(deadline) {}
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    fn read_more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut chunk = [0; 4096];
        // The end is EIO: nobody has the other side open.
        let length = match readable_within(&self.master, left) {
            true => self.master.read(&mut chunk).unwrap_or(0),
            false => 0,
        };
        self.unread.extend(&chunk[..length]);
        length > 0
    }
}

impl From<OwnedFd> for Terminal {
    fn from(master: OwnedFd) -> Self {
        Self { master: File::from(master), unread: Vec::new() }
    }
}

impl Command {
    /// Starts the runtime as a shell at this terminal would: as the leader of
    /// a session that the terminal controls.
    #[must_use]
    pub fn on_terminal(self, terminal: &Terminal) -> Self {
        let path = terminal.path();
        let path = path.display();
        self.before(&format!("exec <{path} >{path} 2>&1 setsid --ctty \"$0\" \"$@\""))
    }
}

/// Where an engine waits for a terminal: the argument of `--console-socket`.
#[derive(Debug)]
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens at a path that does not exist yet.
    #[must_use]
    pub fn bind(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a console socket");
        Self { listener, path: path.to_path_buf() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every descriptor that the first to connect has sent.
    #[must_use]
    #[track_caller]
    pub fn receive(&self) -> Vec<OwnedFd> {
        assert!(readable_within(&self.listener, PATIENCE), "nobody has connected");
        let (stream, _) = self.listener.accept().expect("a connection");
        let mut received = Vec::new();
        loop {
            assert!(readable_within(&stream, PATIENCE), "the runtime keeps the connection open");
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut data = [IoSliceMut::new(&mut bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let message = recvmsg(&stream, &mut data, &mut ancillary, flags);
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    received.extend(fds);
                }
            }
            if message.expect("a message").bytes == 0 {
                return received;
            }
        }
    }

    /// The terminal: the only descriptor that may come.
    #[must_use]
    #[track_caller]
    pub fn terminal(&self) -> Terminal {
        let mut received = self.receive();
        assert_eq!(received.len(), 1, "descriptors came over the console socket");
        Terminal::from(received.swap_remove(0))
    }
}
