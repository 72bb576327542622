//! Where `--log` leads: a file, or one of the host's own logs.

use crate::error::{Context, Error, Result};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// A log that is open.
#[derive(Debug)]
pub enum Log {
    /// A line for each message.
    File(File),
    /// systemd's journal, under this name (its native protocol).
    Journal(UnixDatagram, String),
    /// syslog(3), under this name.
    Syslog(UnixDatagram, String),
}

impl Log {
    /// `FILE`, `file:FILE`, `journald:NAME` or `syslog:NAME`, as crun has it.
    ///
    /// # Errors
    /// If nobody listens there, or the file cannot be opened.
    pub fn open(target: &OsStr) -> Result<Self> {
        let text = target.to_str().unwrap_or_default();
        if let Some(name) = text.strip_prefix("journald:") {
            return Ok(Self::Journal(connect(JOURNAL)?, named(name)?));
        }
        if let Some(name) = text.strip_prefix("syslog:") {
            return Ok(Self::Syslog(connect(SYSLOG)?, named(name)?));
        }
        let path = Path::new(OsStr::from_bytes(
            target.as_bytes().strip_prefix(b"file:").unwrap_or(target.as_bytes()),
        ));
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.map(Self::File).os(|| format!("cannot open log {}", path.display()))
    }

    /// One message, which a file gets as `line`. There is nobody to tell when it
    /// cannot be written.
    pub fn write(&self, level: &str, message: &str, line: &str) {
        // syslog(3).
        let priority = match level {
            "error" => 3,
            "warning" => 4,
            _ => 7,
        };
        // Neither protocol has lines in a message.
        let message = super::one_line(message);
        let _ = match self {
            Self::File(file) => (&*file).write_all(line.as_bytes()),
            Self::Journal(socket, name) => {
                let fields =
                    format!("MESSAGE={message}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER={name}\n");
                socket.send(fields.as_bytes()).map(drop)
            }
            Self::Syslog(socket, name) => {
                // As a program, not as the kernel.
                const USER: i32 = 1 << 3;
                let text = format!("<{}>{name}: {message}", USER | priority);
                socket.send(text.as_bytes()).map(drop)
            }
        };
    }
}

fn named(name: &str) -> Result<String> {
    match name.contains(|c: char| c.is_control()) || name.is_empty() {
        true => Err(Error::new(format!("--log: {name:?} is no name for messages"))),
        false => Ok(name.to_owned()),
    }
}

fn connect(path: &str) -> Result<UnixDatagram> {
    let connected = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(path)?;
        Ok(socket)
    });
    connected.os(|| format!("cannot reach the log at {path}"))
}
