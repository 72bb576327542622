//! `hako kill`: a signal for the container.

use super::Session;
use crate::cli;
use crate::error::{Context, Error, Result};
use rustix::process::{Pid, PidfdFlags};
use std::collections::BTreeSet;
use std::os::fd::AsFd;

/// Sends a signal to the container's init, or to all its processes.
pub fn run(session: &Session, args: &cli::Kill) -> Result<()> {
    let signal = parse_signal(&args.signal)?;
    match args.regex {
        false => kill(session, &args.id, signal, args.all),
        true => session.for_each(&args.id, |id| kill(session, id, signal, args.all)),
    }
}

fn kill(session: &Session, id: &str, signal: i32, all: bool) -> Result<()> {
    let container = session.container(id)?;
    let record = &container.record;
    // Without a pid namespace, the end of init is not the end of the others.
    let everybody = all || (signal == libc::SIGKILL && !record.own_pid_namespace);
    if everybody {
        if signal == libc::SIGKILL && record.cgroup.made.is_some() {
            return record.cgroup.kill_all();
        }
        return signal_all(|| container.processes().unwrap_or_default(), signal);
    }
    let pidfd = record.init.map(|init| init.open()).transpose()?.flatten();
    let Some(pidfd) = pidfd else {
        return Err(Error::new("container not running"));
    };
    send(&pidfd, signal).os(|| format!("cannot send signal {signal}"))
}

/// Those that are in the container still once there is a descriptor of each: a
/// pid may belong to a stranger by then. All get it, even if one cannot; the
/// first failure is reported.
fn signal_all(list: impl Fn() -> Vec<i32>, signal: i32) -> Result<()> {
    let open = |pid: i32| {
        let opened = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty());
        opened.ok().map(|pidfd| (pid, pidfd))
    };
    let opened: Vec<_> = list().into_iter().filter_map(open).collect();
    let present: BTreeSet<i32> = list().into_iter().collect();
    let ours = opened.iter().filter(|(pid, _)| present.contains(pid));
    let sent = ours.map(|(pid, pidfd)| match send(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => {
            Err(Error::os(format!("cannot send signal {signal} to process {pid}"), errno))
        }
    });
    sent.fold(Ok(()), Result::and)
}

fn send(pidfd: &std::os::fd::OwnedFd, signal: i32) -> rustix::io::Result<()> {
    crate::sys::pidfd_send_signal(pidfd.as_fd(), signal)
}

/// The kernel's realtime range, without the two that glibc keeps to itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`, `SIGRTMAX-1` …
fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || {
        Error::new(format!("unknown signal {text:?}"))
            .hint("a number up to 64 (0 sends nothing and only asks), or a name such as TERM, SIGTERM or RTMIN+3")
    };
    if let Ok(number) = text.parse::<i32>() {
        return (0..=RTMAX).contains(&number).then_some(number).ok_or_else(unknown);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |rest: &str, base: i32| match rest {
        "" => Some(base),
        offset => offset.parse::<i32>().ok().and_then(|offset| base.checked_add(offset)),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        realtime(rest, RTMIN).filter(|number| (RTMIN..=RTMAX).contains(number))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        realtime(rest, RTMAX).filter(|number| (RTMIN..=RTMAX).contains(number))
    } else {
        format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
    };
    number.ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_spellings() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("15", 15),
            ("sigterm", 15),
            ("kill", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMIN", 34),
            ("64", 64),
            ("0", 0),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "SIG", "65", "-1", "FOO", "RTMIN+31", "RTMAX+1", "SIGSIGTERM", "9x"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
