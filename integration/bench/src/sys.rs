//! The few system calls that the standard library has no function for. The only `unsafe` of the
//! benchmark.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::io::{self, Error};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(Error::other)
}

pub fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Leaves the host's mounts alone from here on: what this process and its children mount ends with
/// them.
pub fn own_mount_namespace() -> io::Result<()> {
    // SAFETY: affects this single-threaded process only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount_flags(None, Path::new("/"), libc::MS_REC | libc::MS_PRIVATE)
}

pub fn mount(fs_type: &str, target: &Path) -> io::Result<()> {
    mount_flags(Some(fs_type), target, 0)
}

fn mount_flags(fs_type: Option<&str>, target: &Path, flags: libc::c_ulong) -> io::Result<()> {
    let fs_type = fs_type.map(CString::new).transpose()?;
    let fs_type = fs_type.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
    let target = c_path(target)?;
    // SAFETY: all strings live until the call returns; the kernel takes a null source, type and
    // data.
    check(unsafe { libc::mount(fs_type, target.as_ptr(), fs_type, flags, std::ptr::null()) })?;
    Ok(())
}

pub fn unmount(target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })?;
    Ok(())
}

pub fn is_cgroup2(path: &Path) -> bool {
    let Ok(path) = c_path(path) else { return false };
    // SAFETY: statfs is plain numbers, for which zero is valid; both pointers are valid for the
    // call.
    unsafe {
        let mut fs: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &mut fs) == 0 && fs.f_type == libc::CGROUP2_SUPER_MAGIC
    }
}

/// Containers that `create` leaves behind become children of this process, which can then wait for
/// their end.
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: sets an attribute of this process; no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })?;
    Ok(())
}

fn exit_code(status: c_int) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

pub struct Exit {
    /// As a shell gives it: 128 + the signal for a killed process.
    pub code: i32,
    /// The largest resident set of the process or of any descendant that it waited for.
    pub peak_kib: f64,
    /// Pages that they all touched for the first time.
    pub faults: usize,
}

/// Waits for one child, or for any with -1. Blocks: a wait with a timeout would poll, and quantise
/// what is measured.
pub fn wait(pid: i32) -> io::Result<Exit> {
    let mut status = 0;
    loop {
        // SAFETY: rusage is plain numbers, for which zero is valid; both pointers are valid for the
        // call.
        let (result, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &mut status, 0, &mut usage), usage)
        };
        match check(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
            Ok(_) => {
                let (peak_kib, faults) = (usage.ru_maxrss as f64, usage.ru_minflt as usize);
                return Ok(Exit { code: exit_code(status), peak_kib, faults });
            }
        }
    }
}

/// Ends a child of this process. It is not waited for yet, so that its pid cannot be another's.
pub fn kill(child: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(child, libc::SIGKILL) };
}

/// Executes a command instruction by instruction, and what it clones, and shows the address of
/// each, and whether a clone executes it. Returns the exit code. Who else ends meanwhile and is
/// this process's to wait for has been waited for.
#[cfg(target_arch = "x86_64")]
pub fn step(command: &mut Command, show: &mut dyn FnMut(bool, u64)) -> io::Result<i32> {
    let trace_me = || ptrace(libc::PTRACE_TRACEME, 0, 0).map(drop);
    // SAFETY: between fork and exec one system call is made, without pointers.
    let leader = unsafe { command.pre_exec(trace_me) }.spawn()?.id() as i32;
    let mut is_new = true;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local.
        let pid = check(unsafe { libc::waitpid(-1, &mut status, libc::__WALL) })?;
        if !libc::WIFSTOPPED(status) {
            if pid == leader {
                return Ok(exit_code(status));
            }
            continue;
        }
        if std::mem::take(&mut is_new) {
            let clones = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK;
            let options = clones | libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_EXITKILL;
            ptrace(libc::PTRACE_SETOPTIONS, pid, options as usize)?;
        }
        // SAFETY: plain numbers, for which zero is valid.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        if ptrace(libc::PTRACE_GETREGS, pid, (&raw mut registers) as usize).is_ok() {
            show(pid != leader, registers.rip);
        }
        let signal = match libc::WSTOPSIG(status) {
            libc::SIGTRAP | libc::SIGSTOP => 0,
            other => other as usize,
        };
        // One that was killed just now does not go on, and ends.
        let _ = ptrace(libc::PTRACE_SINGLESTEP, pid, signal);
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn step(_: &mut Command, _: &mut dyn FnMut(bool, u64)) -> io::Result<i32> {
    Err(Error::new(io::ErrorKind::Unsupported, "only on x86-64"))
}

/// A request with one argument: a number, or the address of what the kernel fills in.
fn ptrace(request: libc::c_uint, pid: i32, argument: usize) -> io::Result<()> {
    // SAFETY: the requests above take a number, or an address that is valid for the call.
    let result = unsafe { libc::ptrace(request, pid, 0, argument) };
    check(result as c_int).map(drop)
}

pub enum Ended {
    Exited(i32),
    Interrupted(i32),
    TimedOut,
}

/// Runs `work` in a child and returns when it has ended, for whatever reason: by itself, by a
/// panic, by a signal to either process, or by the end of its time. So the caller can always clean
/// up.
pub fn guarded(limit: Duration, work: impl FnOnce() -> i32) -> io::Result<Ended> {
    // SAFETY: sigset_t is plain data that sigemptyset initialises. The process is single-threaded,
    // so that the child of fork may do whatever the parent may. All pointers are to locals.
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut signals);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD] {
            libc::sigaddset(&mut signals, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &signals, &mut before))?;
        let child = check(libc::fork())?;
        if child == 0 {
            libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            std::process::exit(work());
        }
        let time = libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: 0 };
        let ended = match libc::sigtimedwait(&signals, std::ptr::null_mut(), &time) {
            libc::SIGCHLD => Ended::Exited(wait(child)?.code),
            signal if signal > 0 => Ended::Interrupted(signal),
            _ => Ended::TimedOut,
        };
        if !matches!(ended, Ended::Exited(_)) {
            kill(child);
        }
        Ok(ended)
    }
}
