//! Sealing: a container must not reach the runtime's binary on the host.
//!
//! A process in a container can open /proc/PID/exe of the runtime that is
//! about to become its init, and write to that file once the runtime is gone
//! (CVE-2019-5736). So hako first executes itself again from a read-only,
//! detached clone of the mount its binary is on.
//!
//! Through a descriptor of the clone, its mount could be made writable again:
//! init closes it before anything else. The runtime closes its own only after
//! the clone of init, because the kernel then makes the caller wait until the
//! mount is gone: when init has something to do meanwhile, and has been given
//! what it waits for.

use crate::error::{Context, Error, Result};
use crate::sys::{self, MountAttributes};
use crate::weaken::{Defence, lacks};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// The binary that this process executes.
pub(crate) const SELF: &CStr = c"/proc/self/exe";

/// Commands that let a process of hako's into a container.
pub(crate) const ENTERING: &[&str] = &["create", "run", "exec", "restore"];

/// The descriptor of what hako was executed from, to be closed in time.
#[derive(Debug)]
pub struct Seal {
    binary: Option<OwnedFd>,
}

impl Seal {
    /// The descriptor, if there is one.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.binary.as_ref().map(AsFd::as_fd)
    }

    /// Closes it. The caller waits until the kernel has taken the mount down.
    pub fn close(&mut self) {
        self.binary = None;
    }
}

/// Executes hako again from where it cannot be written to, if the command line
/// asks for a command that enters a container and that is not yet the case.
pub fn seal() -> Result<Seal> {
    let enters =
        std::env::args_os().skip(1).any(|arg| ENTERING.iter().any(|command| arg == *command));
    if !enters || lacks(Defence::Seal) {
        return Ok(Seal { binary: None });
    }
    let by_root = sys::is_executed_by_root();
    if !by_root && is_out_of_reach() {
        return Ok(Seal { binary: None });
    }
    if is_sealed() {
        return Ok(Seal { binary: sys::executed_descriptor() });
    }
    // Cloning a mount takes privilege; copying the binary does not.
    let cloned = if by_root { readonly_clone() } else { Err(Errno::PERM) };
    let binary = match cloned {
        Err(Errno::PERM) => sealed_copy()?,
        result => result.os(|| "cannot seal the runtime binary")?,
    };
    let args: Vec<CString> = std::env::args_os()
        .map(|arg| CString::new(arg.into_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::new("an argument contains a NUL byte"))?;
    let args: Vec<&CStr> = args.iter().map(CString::as_c_str).collect();
    Err(Error::os(
        "cannot execute the sealed runtime binary",
        sys::execute_fd(binary.as_fd(), &args),
    ))
}

/// Whether the binary is root's alone to write: no user namespace that an
/// ordinary user can make has root's id in it.
fn is_out_of_reach() -> bool {
    const OTHERS_MAY_WRITE: u32 = 0o022;
    rustix::fs::stat(SELF)
        .is_ok_and(|stat| stat.st_uid == 0 && stat.st_mode & OTHERS_MAY_WRITE == 0)
}

/// On a read-only mount, or in memory that cannot be written to.
fn is_sealed() -> bool {
    let Ok(on) = rustix::fs::statfs(SELF) else { return false };
    let readonly =
        StatVfsMountFlags::from_bits_retain(on.f_flags as _).contains(StatVfsMountFlags::RDONLY);
    readonly || (on.f_type == libc::TMPFS_MAGIC && has_write_seal())
}

fn has_write_seal() -> bool {
    rustix::fs::open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(rustix::fs::fcntl_get_seals)
        .is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

fn readonly_clone() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE;
    let tree = rustix::mount::open_tree(CWD, SELF, flags)?;
    let readonly = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    sys::mount_setattr(tree.as_fd(), c"", false, &readonly)?;
    Ok(tree)
}

fn sealed_copy() -> Result<OwnedFd> {
    let message = || "cannot copy the runtime binary";
    let flags = MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("hako", flags).os(message)?;
    let mut source = std::fs::File::open("/proc/self/exe").os(message)?;
    let mut target = std::fs::File::from(copy);
    std::io::copy(&mut source, &mut target).os(message)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&target, seals).os(message)?;
    Ok(target.into())
}
