//! Between the caller's terminal, or whatever its standard input and output
//! are, and the container's.

use super::{Source, Watch};
use crate::error::{Context, Result};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, isatty};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much is carried at once: what a pipe that is ready for writing takes
/// without making the writer wait (`PIPE_BUF`).
const LOAD: usize = 4096;
/// How much can be in a terminal that nobody writes to any more, and more. A
/// process outside the container may have it open and go on writing.
const REST: usize = 256 * 1024;

/// Carries bytes both ways, never waiting for one side while the other, or a
/// signal, needs attention.
pub struct Relay<'fd> {
    terminal: OwnedFd,
    /// The container's side, held open so that the terminal outlives moments
    /// in which no process of the container has it open.
    peer: Option<OwnedFd>,
    input: BorrowedFd<'fd>,
    output: BorrowedFd<'fd>,
    raw: Option<RawMode<'fd>>,
    /// From the caller, not yet written to the terminal.
    typed: Vec<u8>,
    /// From the terminal, not yet written to the caller.
    printed: Vec<u8>,
    /// Whether input is to be expected.
    reading: bool,
    /// Whether output is wanted; if not, it is thrown away.
    writing: bool,
    /// The terminal is gone.
    hung_up: bool,
    /// How much is still read after the end.
    rest: usize,
}

impl<'fd> Relay<'fd> {
    /// Joins `terminal`, the master side of a pty, to `input` and `output`.
    pub fn new(terminal: OwnedFd, input: BorrowedFd<'fd>, output: BorrowedFd<'fd>) -> Result<Self> {
        rustix::io::ioctl_fionbio(&terminal, true).os(|| "cannot set up the terminal")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let mut relay = Self {
            peer: rustix::pty::ioctl_tiocgptpeer(&terminal, flags).ok(),
            raw: RawMode::of(input),
            terminal,
            input,
            output,
            typed: Vec::new(),
            printed: Vec::new(),
            reading: false,
            writing: true,
            hung_up: false,
            rest: REST,
        };
        adopt_window_size(relay.terminal.as_fd());
        relay.start();
        Ok(relay)
    }

    /// Reads from the caller, and takes over its terminal, unless that belongs
    /// to another job.
    fn start(&mut self) {
        self.reading = is_ours(self.input);
        if self.reading {
            self.raw.iter_mut().for_each(RawMode::enter);
        }
    }

    /// Gives the caller's terminal back for a while.
    pub fn suspend(&mut self) {
        self.reading = false;
        self.raw.iter_mut().for_each(RawMode::leave);
    }

    /// Goes on after a stop, perhaps as another kind of job and in a window of
    /// another size.
    pub fn resume(&mut self) {
        self.start();
        self.resize();
    }

    /// Gives the container's terminal the size of the caller's.
    pub fn resize(&self) {
        if let Some(size) = window_size() {
            let _ = rustix::termios::tcsetwinsize(&self.terminal, size);
        }
    }

    /// What to wait for at the moment.
    pub(super) fn watches(&self) -> Vec<Watch<'_>> {
        let mut watches = Vec::with_capacity(3);
        if self.reading && self.typed.is_empty() {
            watches.push((Source::Input, self.input, PollFlags::IN));
        }
        if !self.printed.is_empty() {
            watches.push((Source::Output, self.output, PollFlags::OUT));
        }
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.printed.is_empty());
        flags.set(PollFlags::OUT, !self.typed.is_empty());
        // A terminal that was hung up is always ready, for nothing.
        if !flags.is_empty() && !self.hung_up {
            watches.push((Source::Terminal, self.terminal.as_fd(), flags));
        }
        watches
    }

    /// Takes what the caller typed. End of input is not passed on: the
    /// container's terminal lives on.
    pub fn read_input(&mut self) {
        let mut buffer = [0; LOAD];
        match rustix::io::read(self.input, &mut buffer) {
            Ok(count) if count > 0 => self.typed.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // EIO also means that the terminal belongs to another job now.
            Ok(_) | Err(_) => self.reading = false,
        }
    }

    /// Gives the caller what the container printed.
    pub fn write_output(&mut self) {
        let load = &self.printed[..self.printed.len().min(LOAD)];
        match rustix::io::write(self.output, load) {
            Ok(count) => drop(self.printed.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => {
                self.writing = false;
                self.printed.clear();
            }
        }
    }

    /// Writes to the terminal and reads from it, as far as there is need.
    pub fn exchange(&mut self) {
        if !self.typed.is_empty() {
            match rustix::io::write(&self.terminal, &self.typed) {
                Ok(count) => drop(self.typed.drain(..count)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.typed.clear(),
            }
        }
        if self.printed.is_empty() {
            self.read_terminal();
        }
    }

    /// Reads what the container printed, and returns whether it was anything.
    fn read_terminal(&mut self) -> bool {
        let mut buffer = [0; LOAD];
        match rustix::io::read(&self.terminal, &mut buffer) {
            Ok(count) if count > 0 => {
                if self.writing {
                    self.printed.extend_from_slice(&buffer[..count]);
                }
                return true;
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.hung_up = true,
        }
        false
    }

    /// After the end of init: reads what is left, and returns whether all of
    /// it is written.
    pub fn finish(&mut self) -> bool {
        self.peer = None;
        self.reading = false;
        self.typed.clear();
        while self.printed.is_empty() && self.rest > 0 && self.read_terminal() {
            self.rest = self.rest.saturating_sub(LOAD);
        }
        self.hung_up = true;
        self.printed.is_empty()
    }
}

/// Gives `terminal`, the master side of a container's, the size of the
/// caller's terminal, unless it has a size already. Best done before the
/// container's program starts; without a terminal at the caller nothing happens.
pub fn adopt_window_size(terminal: BorrowedFd) {
    let unset = |size: &rustix::termios::Winsize| size.ws_row == 0 && size.ws_col == 0;
    if rustix::termios::tcgetwinsize(terminal).is_ok_and(|size| unset(&size))
        && let Some(size) = window_size()
    {
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
}

/// The size of the first of the standard streams that is a terminal.
fn window_size() -> Option<rustix::termios::Winsize> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    streams.into_iter().find_map(|stream| rustix::termios::tcgetwinsize(stream).ok())
}

/// Whether `input` may be read: a terminal only by the job in the foreground.
fn is_ours(input: BorrowedFd) -> bool {
    match rustix::termios::tcgetpgrp(input) {
        Ok(group) => group == rustix::process::getpgrp(),
        // No terminal, or not the one that controls our jobs.
        Err(_) => true,
    }
}

/// Raw mode of the caller's terminal, undone at the latest when this is gone.
#[derive(Debug)]
struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
    active: bool,
}

impl<'fd> RawMode<'fd> {
    fn of(input: BorrowedFd<'fd>) -> Option<Self> {
        let before = isatty(input).then(|| rustix::termios::tcgetattr(input).ok()).flatten()?;
        Some(Self { terminal: input, before, active: false })
    }

    fn enter(&mut self) {
        let mut raw = self.before.clone();
        raw.make_raw();
        // The container's terminal leaves newlines to this one.
        raw.output_modes = self.before.output_modes;
        let set = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &raw);
        self.active |= set.is_ok();
    }

    fn leave(&mut self) {
        if self.active {
            let now = OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(self.terminal, now, &self.before);
            self.active = false;
        }
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;

    /// A pty without echo and other helpfulness: the master and the other side.
    fn terminal() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let peer = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let mut modes = rustix::termios::tcgetattr(&peer).unwrap();
        modes.make_raw();
        rustix::termios::tcsetattr(&peer, OptionalActions::Now, &modes).unwrap();
        (master, peer)
    }

    fn sources(relay: &Relay) -> Vec<Source> {
        relay.watches().iter().map(|(source, ..)| *source).collect()
    }

    #[test]
    fn nothing_printed_is_lost_at_the_end() {
        let (master, peer) = terminal();
        let (input, _keyboard) = pipe().unwrap();
        let (screen, output) = pipe().unwrap();
        let mut relay = Relay::new(master, input.as_fd(), output.as_fd()).unwrap();
        assert_eq!(sources(&relay), [Source::Input, Source::Terminal]);
        let printed: Vec<u8> = (0..10_000u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(rustix::io::write(&peer, &printed).unwrap(), printed.len());
        drop(peer);
        let mut seen = Vec::new();
        while !relay.finish() {
            assert_eq!(sources(&relay), [Source::Output]);
            relay.write_output();
            let mut buffer = [0; 2 * LOAD];
            let count = rustix::io::read(&screen, &mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..count]);
        }
        assert!(seen == printed);
    }

    #[test]
    fn what_is_typed_arrives() {
        let (master, peer) = terminal();
        let (input, keyboard) = pipe().unwrap();
        let (_screen, output) = pipe().unwrap();
        let mut relay = Relay::new(master, input.as_fd(), output.as_fd()).unwrap();
        rustix::io::write(&keyboard, b"typed").unwrap();
        relay.read_input();
        // The next load is not read before this one is gone.
        assert_eq!(sources(&relay), [Source::Terminal]);
        relay.exchange();
        let mut buffer = [0; 16];
        let count = rustix::io::read(&peer, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"typed");
        drop(keyboard);
        relay.read_input();
        assert_eq!(sources(&relay), [Source::Terminal]);
    }

    #[test]
    fn a_container_nobody_listens_to_goes_on() {
        let (master, peer) = terminal();
        let (input, _keyboard) = pipe().unwrap();
        let (screen, output) = pipe().unwrap();
        drop(screen);
        let mut relay = Relay::new(master, input.as_fd(), output.as_fd()).unwrap();
        for _ in 0..100 {
            rustix::io::write(&peer, &[b'x'; 1000]).unwrap();
            relay.exchange();
            relay.write_output();
        }
        assert_eq!(sources(&relay), [Source::Input, Source::Terminal]);
        assert!(relay.finish());
    }

    #[test]
    fn the_end_does_not_wait_for_other_writers() {
        let (master, peer) = terminal();
        let (input, _keyboard) = pipe().unwrap();
        let (_screen, output) = pipe().unwrap();
        let mut relay = Relay::new(master, input.as_fd(), output.as_fd()).unwrap();
        relay.writing = false;
        let mut rounds = 0;
        loop {
            rustix::io::write(&peer, &[b'x'; 1000]).unwrap();
            rounds += 1;
            if relay.finish() {
                break;
            }
        }
        assert!(rounds < 1000);
    }
}
