//! Descriptors and memory around execve(2).

use super::result;
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Executes the file behind `fd` (execveat(2) with `AT_EMPTY_PATH`), with the
/// caller's environment. Returns only on failure.
pub fn execute_fd(fd: BorrowedFd, args: &[&CStr]) -> Errno {
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: `argv` is a null-terminated array of C strings that outlive the
    // call, `environ` is libc's own such array.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            libc::environ,
            libc::AT_EMPTY_PATH,
        )
    };
    result(returned).err().unwrap_or(Errno::IO)
}

/// A program with its arguments and environment, laid out so that executing it
/// is one system call and no work.
#[derive(Debug)]
pub struct Execution {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl Execution {
    /// Lays everything out.
    pub fn new(path: CString, args: Vec<CString>, env: Vec<CString>) -> Self {
        let pointers = |strings: &[CString]| {
            let pointers = strings.iter().map(|string| string.as_ptr());
            pointers.chain([std::ptr::null()]).collect()
        };
        let (argv, envp) = (pointers(&args), pointers(&env));
        Self { path, args, env, argv, envp }
    }

    /// execve(2). Returns only on failure.
    pub fn execute(&self) -> Errno {
        debug_assert_eq!(
            (self.argv.len(), self.envp.len()),
            (self.args.len() + 1, self.env.len() + 1)
        );
        // SAFETY: both arrays end with a null pointer; what they point to are
        // C strings on the heap, owned by `self` and never changed.
        unsafe { libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        result(-1).err().unwrap_or(Errno::IO)
    }
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2)).
pub fn cloexec_from(first: RawFd) -> Result<(), Errno> {
    close_range(first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on, except those in `kept`.
///
/// Only for a process that goes on with nothing but `kept`: any other `OwnedFd`
/// above `first` refers to nothing afterwards, and must not be dropped.
pub fn close_all_but(first: RawFd, kept: &[BorrowedFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut next = first as u32;
    for fd in kept.into_iter().filter(|fd| *fd >= first as u32) {
        if fd > next {
            close_range(next, fd - 1, 0)?;
        }
        next = fd + 1;
    }
    close_range(next, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only. That no live `OwnedFd` is closed behind its
    // owner's back is the contract of `close_all_but`.
    result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Takes ownership of the descriptors `3..3 + count` that the caller of hako
/// passed on purpose. `None` if one of them is not open, or is `own`, which
/// took the number of one that was not.
///
/// To be called once, before hako opens anything itself.
pub fn take_inherited(count: u32, own: Option<BorrowedFd>) -> Option<Vec<OwnedFd>> {
    // SAFETY: takes integers only and changes nothing.
    let is_open = |fd: RawFd| unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 };
    let range = 3..RawFd::try_from(count).ok()?.checked_add(3)?;
    let is_own = own.is_some_and(|own| range.contains(&own.as_raw_fd()));
    if is_own || !range.clone().all(is_open) {
        return None;
    }
    // SAFETY: each is open (just checked), was open before main, and nothing
    // else in this process claims descriptors it did not open itself.
    Some(range.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

/// Overwrites the process's environment strings, which stay readable in
/// `/proc/PID/environ` for as long as the process does not execve.
pub fn wipe_environment() {
    // SAFETY: `environ` is a null-terminated array of pointers to writable
    // strings on the initial stack (or on the heap after setenv); hako is
    // single-threaded and reads no environment afterwards.
    unsafe {
        let mut entry = libc::environ;
        while !entry.is_null() && !(*entry).is_null() {
            let string = *entry;
            std::ptr::write_bytes(string, 0, libc::strlen(string));
            entry = entry.add(1);
        }
        if !libc::environ.is_null() {
            *libc::environ = std::ptr::null_mut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under Miri it shows more: that the pointers may still be used.
    #[test]
    fn what_is_laid_out_stays_where_it_is() {
        let strings = |words: [&str; 2]| words.map(|word| CString::new(word).unwrap()).to_vec();
        let laid_out = Execution::new(c"/a".into(), strings(["a", "b"]), strings(["C=d", "E="]));
        let elsewhere = Box::new(laid_out);
        let read = |pointers: &[*const libc::c_char]| -> Vec<&CStr> {
            let strings = pointers.iter().take_while(|pointer| !pointer.is_null());
            // SAFETY: as for `execute`, all but the last are strings that `elsewhere` owns.
            strings.map(|pointer| unsafe { CStr::from_ptr(*pointer) }).collect()
        };
        assert_eq!(read(&elsewhere.argv), [c"a", c"b"]);
        assert_eq!(read(&elsewhere.envp), [c"C=d", c"E="]);
        assert!(elsewhere.argv.len() == 3 && elsewhere.envp.len() == 3);
    }
}
