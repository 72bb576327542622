//! Faults on purpose, so that tests can look at what they leave behind: at a
//! step of a plan, numbered as `hako explain` does, the process fails or dies.
//!
//! `HAKO_FAULT=init:12:1` has init's 12th step fail with error number 1, and
//! `HAKO_FAULT=runtime:3:kill` the runtime killed before its third. Only debug
//! builds can do it: a release build has not a word of this.

#[cfg(not(debug_assertions))]
use crate::error::Result;

/// Whose step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Of the runtime.
    Runtime,
    /// Of the container's init.
    Init,
}

/// Before the step with this index, from 0.
#[cfg(not(debug_assertions))]
pub fn before_step(_side: Side, _index: usize, _step: &impl std::fmt::Display) -> Result<()> {
    Ok(())
}

#[cfg(debug_assertions)]
pub use wanted::before_step;

#[cfg(debug_assertions)]
mod wanted {
    use super::Side;
    use crate::error::{Error, Result};
    use crate::sys;
    use rustix::thread::{SecureComputingMode, set_secure_computing_mode};
    use std::fmt::Display;
    use std::sync::OnceLock;

    #[derive(Debug)]
    struct Fault {
        side: Side,
        step: usize,
        /// `None`: the process is killed.
        errno: Option<i32>,
    }

    /// Read once, at the first step: init wipes its environment at a later one.
    fn wanted() -> Option<&'static Fault> {
        static WANTED: OnceLock<Option<Fault>> = OnceLock::new();
        WANTED.get_or_init(|| parse(&std::env::var("HAKO_FAULT").ok()?)).as_ref()
    }

    fn parse(text: &str) -> Option<Fault> {
        let mut parts = text.split(':');
        let side = match parts.next()? {
            "runtime" => Side::Runtime,
            "init" => Side::Init,
            _ => return None,
        };
        Some(Fault { side, step: parts.next()?.parse().ok()?, errno: parts.next()?.parse().ok() })
    }

    /// Before the step with this index, from 0.
    ///
    /// # Errors
    /// The one that is wanted.
    pub fn before_step(side: Side, index: usize, step: &impl Display) -> Result<()> {
        match wanted().filter(|fault| fault.side == side && fault.step == index + 1) {
            None => Ok(()),
            Some(Fault { errno: Some(errno), .. }) => {
                Err(Error::os(format!("{step}: fault on purpose"), *errno))
            }
            Some(Fault { errno: None, .. }) => {
                // No signal of its own ends the first process of a pid namespace. In this
                // mode the next system call does, by SIGKILL.
                let _ = set_secure_computing_mode(SecureComputingMode::Strict);
                sys::exit_now(1)
            }
        }
    }
}
