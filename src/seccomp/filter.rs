//! How: a compiled filter is kept and loaded.

use super::cache::Cache;
use super::plan::{Flags, Profile};
use super::program::Program;
use crate::error::{Context, Error, Result};
use crate::sys;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// Its name in a container's state directory.
pub const NAME: &str = "seccomp.bpf";

/// A filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Program);

impl Filter {
    /// Compiles a profile, or takes what was compiled for the same one before.
    /// `root` is the directory of all state directories.
    pub fn prepare(profile: &Profile, root: &Path) -> Result<Self> {
        Cache::below(root).get(profile, super::compile).map(Self)
    }

    /// Keeps the filter with a container's state, for `exec`.
    pub fn save(&self, directory: BorrowedFd) -> Result<()> {
        let message = || format!("cannot write {NAME}");
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(directory, NAME, flags, Mode::from_raw_mode(0o600)).os(message)?;
        std::fs::File::from(file).write_all(&self.0.to_bytes()).os(message)
    }

    /// The filter that was saved with a container's state.
    ///
    /// # Errors
    /// Also when it is missing: a container that had one never runs without.
    pub fn open(directory: BorrowedFd) -> Result<Self> {
        let message = || format!("cannot read {NAME} of the container");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, NAME, flags, Mode::empty()).os(message)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes).os(message)?;
        Program::from_bytes(&bytes)
            .map(Self)
            .ok_or_else(|| Error::new(format!("{}: it is damaged", message())))
    }

    /// Loads the filter into this process, for ever. One system call; returns
    /// the listener, if the flags ask for one.
    pub fn load(&self, flags: Flags) -> Result<Option<OwnedFd>> {
        sys::load_filter(&self.0.0, flags.0).map_err(|errno| {
            let error = Error::os("cannot load the seccomp filter", errno);
            match errno {
                Errno::ACCESS => {
                    error.hint("set process.noNewPrivileges, or run hako with CAP_SYS_ADMIN")
                }
                Errno::INVAL => {
                    error.hint(format!("this kernel may lack one of the flags: {flags}"))
                }
                Errno::BUSY => {
                    error.hint("another filter over this process has a listener already")
                }
                _ => error,
            }
        })
    }
}
