//! Signals: dispositions, sending, and a trap that reports what arrives.

use crate::errno::{Outcome, invalid};
use crate::{say, sys, terminal};
use serde_json::{Value, json};

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The exit code of `trap` when SIGTERM arrives.
const TRAPPED: i32 = 42;

fn name(number: i32) -> String {
    let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
    match NAMES.get(index) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIGRTMIN+{}", number - libc::SIGRTMIN()),
    }
}

fn number(text: &str) -> Outcome<i32> {
    let plain = text.strip_prefix("SIG").unwrap_or(text);
    match NAMES.iter().position(|name| *name == plain) {
        Some(index) => i32::try_from(index + 1).map_err(invalid),
        None => Ok(text.parse()?),
    }
}

/// Blocked and ignored signals and those with a handler, by name. The C
/// library hides two real-time signals from its callers; /proc does not.
pub fn dispositions() -> Value {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        return Value::Null;
    };
    let set = |field: &str| -> Option<Vec<String>> {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let mask = u64::from_str_radix(line.trim_start_matches(':').trim(), 16).ok()?;
        Some((1..=64).filter(|signal| mask & (1 << (signal - 1)) != 0).map(name).collect())
    };
    json!({ "blocked": set("SigBlk"), "ignored": set("SigIgn"), "caught": set("SigCgt") })
}

/// Sends a signal to a process.
pub fn kill(pid: &str, signal: &str) -> Outcome<Value> {
    let (pid, signal) = (pid.parse()?, number(signal)?);
    // SAFETY: numbers only.
    sys::check(unsafe { libc::kill(pid, signal) }.into())?;
    Ok(json!("ok"))
}

/// Sends a signal to this process.
pub fn signal_self(signal: &str) -> Outcome<Value> {
    kill(&std::process::id().to_string(), signal)
}

/// Reports every signal that arrives, with the window size for SIGWINCH, and
/// exits with code 42 on SIGTERM.
pub fn trap() -> Outcome<Value> {
    // SAFETY: a set that is filled by the C library before use. Signals are
    // blocked and then awaited, so that none is lost and none is handled.
    let all = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        all
    };
    say(&json!("trapping"));
    loop {
        // SAFETY: `all` is a filled set, and no details are asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        match signal {
            -1 => {}
            libc::SIGWINCH => {
                say(&json!({ "signal": name(signal), "window": terminal::window(0) }));
            }
            _ => say(&json!({ "signal": name(signal) })),
        }
        if signal == libc::SIGTERM {
            std::process::exit(TRAPPED);
        }
    }
}
