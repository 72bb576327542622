//! A connection to a message bus, or to systemd itself.
//!
//! Synchronous and without threads. Every wait has a deadline, so that a bus
//! that does not answer is an error and never a runtime that hangs.

use super::address::{Address, Target};
use super::wire::{Call, FIXED_HEADER, Kind, Message, Writer};
use crate::error::{Context, Error, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Why a call has no result.
#[derive(Debug)]
pub enum CallError {
    /// The other side says no.
    Refused {
        /// `org.freedesktop.systemd1.NoSuchUnit` …
        name: String,
        /// Its words.
        text: String,
    },
    /// There was no answer.
    Broken(Error),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::Broken(error)
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Broken(error) => error,
            CallError::Refused { name, text } if text.is_empty() => {
                Error::new(format!("systemd refuses: {name}"))
            }
            CallError::Refused { text, .. } => Error::new(format!("systemd refuses: {text}")),
        }
    }
}

/// An authenticated connection.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    target: Target,
    received: Vec<u8>,
    signals: VecDeque<Message>,
    last_serial: u32,
    patience: Duration,
    deadline: Instant,
}

impl Bus {
    /// Connects and authenticates. A broker also wants to be greeted. No
    /// exchange may take longer than `patience`.
    pub fn connect(address: &Address, patience: Duration) -> Result<Self> {
        let mut bus = Self {
            socket: open(address, patience)?,
            target: address.target,
            received: Vec::new(),
            signals: VecDeque::new(),
            last_serial: 0,
            patience,
            deadline: Instant::now() + patience,
        };
        bus.authenticate()?;
        if bus.target == Target::Broker {
            bus.call_broker("Hello", "", Writer::default())?;
        }
        Ok(bus)
    }

    /// Whether there is a broker between this end and systemd.
    pub fn has_broker(&self) -> bool {
        self.target == Target::Broker
    }

    /// Starts a new exchange: it may take as long as any.
    pub fn start_exchange(&mut self) {
        self.deadline = Instant::now() + self.patience;
    }

    /// The other side knows the user from the socket's credentials
    /// (unix(7), `SO_PEERCRED`): an id, which would have to be the one outside
    /// of all user namespaces, need not be told (D-Bus Specification,
    /// "Authentication Mechanisms", EXTERNAL). All lines go out at once: a call
    /// that systemd receives together with the last of them is not looked at
    /// until something else arrives.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = self.receive_line()?;
            if line.starts_with("OK") {
                return Ok(());
            }
            if line != "DATA" {
                return Err(Error::new(format!("authentication refused: {line:?}")));
            }
        }
    }

    fn receive_line(&mut self) -> Result<String> {
        const LONGEST: usize = 1024;
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.received.len() > LONGEST {
                return Err(Error::new("authentication failed: overlong answer"));
            }
            self.receive()?;
        }
    }

    /// Calls a method of the broker.
    pub fn call_broker(
        &mut self,
        member: &str,
        signature: &str,
        body: Writer,
    ) -> Result<Message, CallError> {
        self.call(&Call {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            signature,
            body,
        })
    }

    /// Calls a method and waits for its result. Signals that arrive meanwhile
    /// are kept.
    pub fn call(&mut self, call: &Call) -> Result<Message, CallError> {
        self.last_serial += 1;
        let serial = self.last_serial;
        self.send(&call.encode(serial))?;
        loop {
            let message = self.next_message()?;
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                Kind::Return if message.reply_serial == Some(serial) => return Ok(message),
                Kind::Error if message.reply_serial == Some(serial) => {
                    let text = match message.signature.starts_with('s') {
                        true => message.body().text().unwrap_or_default(),
                        false => String::new(),
                    };
                    let name = message.error_name.unwrap_or_default();
                    return Err(CallError::Refused { name, text });
                }
                _ => {}
            }
        }
    }

    /// Waits for a signal; others are dropped.
    pub fn wait_for<T>(&mut self, wanted: impl Fn(&Message) -> Option<T>) -> Result<T> {
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.next_message()?,
            };
            if let Some(found) =
                Some(&message).filter(|it| it.kind == Kind::Signal).and_then(&wanted)
            {
                return Ok(found);
            }
        }
    }

    fn next_message(&mut self) -> Result<Message> {
        let malformed = || Error::new("systemd sent a malformed message");
        loop {
            if let Some(start) = self.received.first_chunk::<FIXED_HEADER>() {
                let length = Message::length(start).ok_or_else(malformed)?;
                if self.received.len() >= length {
                    let bytes: Vec<u8> = self.received.drain(..length).collect();
                    return Message::decode(&bytes).ok_or_else(malformed);
                }
            }
            self.receive()?;
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.wait_until_ready(PollFlags::OUT)?;
            match send(&self.socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(Error::os("cannot send to systemd", errno)),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            self.wait_until_ready(PollFlags::IN)?;
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Error::new("systemd closed the connection")),
                Ok((length, _)) => {
                    self.received.extend(&buffer[..length]);
                    return Ok(());
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(Error::os("cannot receive from systemd", errno)),
            }
        }
    }

    fn wait_until_ready(&self, flags: PollFlags) -> Result<()> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut waiting = [PollFd::new(&self.socket, flags)];
        let left = left.try_into().ok();
        match rustix::io::retry_on_intr(|| poll(&mut waiting, left.as_ref())) {
            Ok(0) => Err(Error::new(format!(
                "systemd does not answer within {} s",
                self.patience.as_secs()
            ))
            .hint("see whether it works at all: systemctl status")),
            result => result.map(drop).os(|| "cannot wait for systemd"),
        }
    }
}

fn open(address: &Address, patience: Duration) -> Result<OwnedFd> {
    let message = || format!("cannot connect to {}", address.place);
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .os(message)?;
    // A peer whose backlog is full makes connect(2) wait.
    set_socket_timeout(&socket, Timeout::Send, Some(patience)).os(message)?;
    let place = match address.place.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(&address.place),
    };
    connect(&socket, &place.os(message)?).os(message)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    /// Connects to somebody who reads the greeting and answers `answer`, or
    /// nothing and keeps the line open.
    fn connect_to(answer: Option<&'static [u8]>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("bus");
        let listener = UnixListener::bind(&place).unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut greeting = [0; 64];
            let _ = stream.read(&mut greeting).unwrap();
            match answer {
                Some(answer) => stream.write_all(answer).unwrap(),
                None => drop(stream.read(&mut greeting)),
            }
        });
        let address =
            Address { target: Target::Manager, place: place.to_str().unwrap().to_owned() };
        // Only who never answers is waited for until the end.
        let patience = if answer.is_some() { 10_000 } else { 300 };
        let result = Bus::connect(&address, Duration::from_millis(patience));
        let text = result.map_or_else(|error| error.to_string(), |_| "connected".to_owned());
        peer.join().unwrap();
        text
    }

    #[test]
    fn nothing_that_the_other_side_does_makes_it_wait_for_ever() {
        for (answer, outcome) in [
            (Some(&b"DATA\r\nOK 0123\r\n"[..]), "connected"),
            (Some(b"REJECTED EXTERNAL\r\n"), "authentication refused: \"REJECTED EXTERNAL\""),
            (Some(b"DATA\r\n"), "systemd closed the connection"),
            (Some(b""), "systemd closed the connection"),
            (None, "systemd does not answer within 0 s"),
        ] {
            assert_eq!(connect_to(answer), outcome);
        }
    }
}
