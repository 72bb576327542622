//! The start of the process, in place of what Rust's runtime does.
//!
//! Half of that is for programs with threads and stack guards, and hako starts
//! twice for every container: see [`crate::seal`].

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// Defines `main` for the operating system, without Rust's runtime around it.
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        // SAFETY: the one definition of the symbol that libc's start-up code calls.
        #[unsafe(no_mangle)]
        extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
            $crate::sys::prepare_process();
            $run().into()
        }

        // Where the kernel begins: what libc does not have yet is not touched, and what libc's own
        // start expects in registers and on the stack is as the kernel left it.
        #[cfg(starts_before_libc)]
        std::arch::global_asm!(
            ".pushsection .text.hako_start, \"ax\", @progbits",
            ".globl hako_start",
            "hako_start:",
            "xor ebp, ebp",
            "mov rbx, rsp",
            "mov rdi, rsp",
            "call {seal}",
            "mov rsp, rbx",
            "xor edx, edx",
            "jmp _start",
            ".popsection",
            seal = sym $crate::sys::seal_before_libc,
        );
    };
}

/// Standard streams that are closed would get the numbers of files opened
/// next; and a heap that is trimmed and grown again costs system calls.
pub fn prepare_process() {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let mut polled = streams.map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::empty()));
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut polled, Some(&now)).is_ok() {
        let closed = polled.iter().filter(|fd| fd.revents().contains(PollFlags::NVAL)).count();
        for _ in 0..closed {
            // Takes the lowest free number, which is that of a closed stream.
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty());
            if let Ok(null) = null {
                std::mem::forget(null);
            }
        }
    }
    // Else the kernel would reap children of a caller that ignores SIGCHLD.
    let _ = super::child::keep_exit_statuses();
    // SAFETY: takes integers only; called before anything is allocated twice.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, HEAP_STEP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Bytes by which the heap grows.
const HEAP_STEP: i32 = 1 << 20;
