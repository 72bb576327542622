//! The runtime while its container runs in the foreground: it passes signals
//! on, joins the caller's terminal to the container's, and waits for the end.

use crate::error::{Context, Error, Result};
use crate::notify::Ear;
use crate::report::Report;
use crate::stat::{UNEXECUTED, is_unexecuted};
use crate::sys;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use relay::Relay;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

mod relay;

pub use relay::adopt_window_size;

/// Takes the place of the caller's shell for the container's init.
///
/// To be made before init is cloned: from then on all signals are blocked, and
/// none is lost or ends the runtime before it has cleaned up. They stay
/// blocked when it is gone, for the same reason.
#[derive(Debug)]
pub struct Foreground {
    signals: SignalFd,
    /// Init is one that has never executed a program, and does not have to.
    restored: bool,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A signal arrived.
    Signals,
    /// Init has ended.
    Init,
    /// The caller typed something.
    Input,
    /// The caller can take output.
    Output,
    /// The container's terminal has output, or can take input.
    Terminal,
    /// The service says something about itself.
    Service,
}

/// Somebody to wait for.
type Watch<'fd> = (Source, BorrowedFd<'fd>, PollFlags);

impl Foreground {
    /// Blocks all signals and, as a `subreaper` (PR_SET_CHILD_SUBREAPER(2const)),
    /// becomes the parent of the orphans of the container.
    pub fn new(subreaper: bool) -> Result<Self> {
        let all = SigSet::all();
        all.thread_swap_mask(SigmaskHow::SIG_SETMASK).os(|| "cannot block signals")?;
        let signals = SignalFd::with_flags(&all, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .os(|| "cannot make a signalfd")?;
        if subreaper {
            // Any pid means "yes".
            rustix::process::set_child_subreaper(Some(Pid::INIT))
                .os(|| "cannot become a subreaper")?;
        }
        Ok(Self { signals, restored: false })
    }

    /// The same for an init that is restored from a checkpoint.
    #[must_use]
    pub fn of_restored(self) -> Self {
        Self { restored: true, ..self }
    }

    /// Serves the container until its init, a child of this process, has ended
    /// and its last output is written. Returns its exit status, or 128 plus the
    /// number of the signal that killed it.
    ///
    /// `terminal` is the master side of the container's terminal, if it has
    /// one; it is joined to standard input and output. A terminal there is in
    /// raw mode meanwhile. End of input does not end anything. `ear` hears
    /// when the service is ready, if somebody wants to know; that they cannot be
    /// told is a warning, and no reason to end a container that runs.
    pub fn wait(
        self,
        pid: i32,
        pidfd: BorrowedFd,
        terminal: Option<OwnedFd>,
        ear: Option<Ear>,
        report: &Report,
    ) -> Result<i32> {
        let relay = terminal
            .map(|terminal| Relay::new(terminal, rustix::stdio::stdin(), rustix::stdio::stdout()))
            .transpose()?;
        let mut vigil = Vigil {
            signals: self.signals,
            pid,
            pidfd,
            relay,
            ear,
            report,
            status: None,
            unexecuted: false,
        };
        while !vigil.is_over() {
            let ready = vigil.watch().os(|| "cannot wait for the container")?;
            for source in ready {
                vigil.handle(source)?;
            }
        }
        let (status, unexecuted) = (vigil.status, vigil.unexecuted);
        // The process ends soon, and the kernel closes everything at once.
        std::mem::forget(vigil.signals);
        if unexecuted && !self.restored {
            return Err(Error::new(format!("container init was killed by SIGKILL {UNEXECUTED}")));
        }
        status.ok_or_else(|| Error::new("the container's init ended unseen"))
    }
}

/// The wait for one container.
struct Vigil<'fd> {
    signals: SignalFd,
    pid: i32,
    pidfd: BorrowedFd<'fd>,
    relay: Option<Relay<'fd>>,
    /// Until the service is ready.
    ear: Option<Ear>,
    report: &'fd Report,
    /// Exit status of init, once it has ended.
    status: Option<i32>,
    /// It was killed before it executed the program.
    unexecuted: bool,
}

impl Vigil<'_> {
    /// Whether init has ended and everything it wrote is written.
    fn is_over(&mut self) -> bool {
        self.status.is_some() && self.relay.as_mut().is_none_or(Relay::finish)
    }

    /// Waits until something happens.
    fn watch(&self) -> Result<Vec<Source>, Errno> {
        let mut watches: Vec<Watch> = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        if self.status.is_none() {
            watches.push((Source::Init, self.pidfd, PollFlags::IN));
        }
        // After init: what a service says before its end is heard with it.
        watches.extend(self.ear.iter().map(|ear| (Source::Service, ear.as_fd(), PollFlags::IN)));
        watches.extend(self.relay.iter().flat_map(Relay::watches));
        let mut fds: Vec<PollFd> =
            watches.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let pairs = watches.iter().zip(&fds);
        let happened = pairs.filter(|(_, fd)| !fd.revents().is_empty());
        Ok(happened.map(|((source, ..), _)| *source).collect())
    }

    fn handle(&mut self, source: Source) -> Result<()> {
        match (source, &mut self.relay) {
            (Source::Signals, _) => self.take_signals(),
            (Source::Init, _) => {
                self.reap();
                if self.status.is_none() {
                    return Err(Error::os("cannot learn how the container ended", Errno::CHILD));
                }
                Ok(())
            }
            (Source::Service, _) => {
                let report = self.report;
                self.ear.take_if(|ear| {
                    ear.hear(self.pid).unwrap_or_else(|error| {
                        report.warning(error.to_string());
                        true
                    })
                });
                Ok(())
            }
            (Source::Input, Some(relay)) => {
                relay.read_input();
                Ok(())
            }
            (Source::Output, Some(relay)) => {
                relay.write_output();
                Ok(())
            }
            (Source::Terminal, Some(relay)) => {
                relay.exchange();
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }

    fn take_signals(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.read_signal().os(|| "cannot read signals")? {
            let number = signal.ssi_signo.cast_signed();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => self.reap(),
                Ok(Signal::SIGWINCH) if self.relay.is_some() => {
                    self.relay.iter().for_each(Relay::resize);
                }
                // About our own output and terminal; SIGURG tells nothing.
                Ok(Signal::SIGPIPE | Signal::SIGURG | Signal::SIGTTIN | Signal::SIGTTOU) => {}
                Ok(Signal::SIGTSTP) => {
                    self.forward(number);
                    self.suspend()?;
                }
                Ok(Signal::SIGCONT) => {
                    self.forward(number);
                    self.relay.iter_mut().for_each(Relay::resume);
                }
                _ => self.forward(number),
            }
        }
        Ok(())
    }

    /// Passes a signal on to init. Whether it can be is nothing that could be
    /// changed from here: init may be gone, or run with other ids.
    fn forward(&mut self, number: i32) {
        if self.status.is_none() {
            let _ = sys::pidfd_send_signal(self.pidfd, number);
        } else if [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM].contains(&number) {
            // Nobody reads the rest of the output.
            self.relay = None;
        }
    }

    /// Stops as SIGTSTP asks, with the caller's terminal as it was.
    fn suspend(&mut self) -> Result<()> {
        self.relay.iter_mut().for_each(Relay::suspend);
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTSTP);
        // Only the kernel knows whether anybody would ever continue us.
        raise(Signal::SIGTSTP)
            .and_then(|()| stop.thread_unblock())
            .and_then(|()| stop.thread_block())
            .os(|| "cannot stop")?;
        self.relay.iter_mut().for_each(Relay::resume);
        Ok(())
    }

    /// Reaps whoever has ended, the container's orphans included, up to init:
    /// this process will not be long after it.
    fn reap(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = rustix::process::waitid(WaitId::PidFd(self.pidfd), options).ok().flatten();
        let signal = ended.and_then(|status| status.terminating_signal());
        self.unexecuted |= signal == Some(libc::SIGKILL) && is_unexecuted(self.pid);
        while self.status.is_none()
            && let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG)
        {
            if Some(pid) == Pid::from_raw(self.pid) {
                self.status = exit_status(status);
            }
        }
    }
}

fn exit_status(status: WaitStatus) -> Option<i32> {
    status.exit_status().or_else(|| status.terminating_signal().map(|number| 128 + number))
}
