//! Faults on purpose, so that tests can look at what they leave behind: in the
//! place of a step, a process fails or dies.
//!
//! `HAKO_FAULT=init:12:1` has init fail with error number 1 instead of its 12th
//! step, as `hako explain` counts them, `runtime:3:kill` has the runtime killed
//! before its third, and `bridge:2:late` makes the bridge late for its second.
//! `call:keyctl:38` has the kernel answer a system call so, as an older one would.
//! Only debug builds can do it: a release build has not a word of this.

use crate::error::Result;
use std::fmt::Display;

/// Whose step, or of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Of the runtime, up to where its steps in the plan begin.
    Make,
    /// Of the runtime, in the plan.
    Runtime,
    /// Of the process in between.
    Bridge,
    /// Of the container's init, or of what `exec` starts.
    Init,
    /// Of the runtime while the program starts.
    Start,
    /// Of the removal of a container.
    Delete,
}

/// Does a step, which has this name.
///
/// # Errors
/// Those of the step.
#[cfg(not(debug_assertions))]
pub fn step<T>(_side: Side, _name: impl Display, action: impl FnOnce() -> Result<T>) -> Result<T> {
    action()
}

/// Does a step, which has this name, or what is wanted in its place.
///
/// # Errors
/// Those of the step, or the one that is wanted.
#[cfg(debug_assertions)]
pub fn step<T>(side: Side, name: impl Display, action: impl FnOnce() -> Result<T>) -> Result<T> {
    wanted::before(side, name).and_then(|()| action())
}

/// Has the kernel refuse a system call from now on, if that is wanted.
pub fn refuse_call() {
    #[cfg(debug_assertions)]
    wanted::refuse_call();
}

#[cfg(debug_assertions)]
mod wanted {
    use super::Side;
    use crate::error::{Error, Result};
    use crate::sys::{self, Instruction};
    use libseccomp::ScmpSyscall;
    use rustix::thread::{SecureComputingMode, set_secure_computing_mode};
    use std::fmt::Display;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[derive(Debug)]
    struct Fault {
        side: Side,
        step: usize,
        how: How,
    }

    #[derive(Debug)]
    enum How {
        Fails(i32),
        IsLate,
        Dies,
    }

    /// Read once, at the first step: init wipes its environment at a later one.
    fn wanted() -> Option<&'static Fault> {
        static WANTED: OnceLock<Option<Fault>> = OnceLock::new();
        WANTED.get_or_init(|| parse(&std::env::var("HAKO_FAULT").ok()?)).as_ref()
    }

    fn parse(text: &str) -> Option<Fault> {
        const SIDES: [(&str, Side); 6] = [
            ("make", Side::Make),
            ("runtime", Side::Runtime),
            ("bridge", Side::Bridge),
            ("init", Side::Init),
            ("start", Side::Start),
            ("delete", Side::Delete),
        ];
        let mut parts = text.split(':');
        let side = parts.next()?;
        let (_, side) = SIDES.into_iter().find(|(name, _)| *name == side)?;
        let step = parts.next()?.parse().ok()?;
        let how = match parts.next()? {
            "late" => How::IsLate,
            how => how.parse().map_or(How::Dies, How::Fails),
        };
        Some(Fault { side, step, how })
    }

    /// What is wanted at this step.
    pub fn before(side: Side, name: impl Display) -> Result<()> {
        /// Of the side that is wanted, until now.
        static STEPS: AtomicUsize = AtomicUsize::new(0);
        let Some(fault) = wanted().filter(|fault| fault.side == side) else { return Ok(()) };
        match fault.how {
            _ if STEPS.fetch_add(1, Ordering::Relaxed) + 1 != fault.step => Ok(()),
            How::Fails(errno) => Err(Error::os(format!("{name}: fault on purpose"), errno)),
            How::IsLate => {
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            }
            How::Dies => {
                // No signal of its own ends the first process of a pid namespace. In this
                // mode the next system call does, by SIGKILL.
                let _ = set_secure_computing_mode(SecureComputingMode::Strict);
                sys::exit_now(1)
            }
        }
    }

    /// By a filter that is left to all children.
    pub fn refuse_call() {
        let Ok(text) = std::env::var("HAKO_FAULT") else { return };
        let Some((name, errno)) = text.strip_prefix("call:").and_then(|call| call.split_once(':'))
        else {
            return;
        };
        let (Ok(call), Ok(errno)) = (ScmpSyscall::from_name(name), errno.parse::<u32>()) else {
            return;
        };
        // Of classic BPF, as src/seccomp/assembler.rs has them.
        let instruction =
            |code, jump_false, operand| Instruction { code, jump_true: 0, jump_false, operand };
        let (load, jump_equal, answer) = (0x20, 0x15, 0x06);
        let filter = [
            instruction(load, 0, 0),
            instruction(jump_equal, 1, i32::from(call) as u32),
            instruction(answer, 0, libc::SECCOMP_RET_ERRNO | errno),
            instruction(answer, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let _ = sys::load_filter(&filter, 0);
    }
}
