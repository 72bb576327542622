//! The first instructions of the process, before libc's own.
//!
//! Sealing executes hako a second time: see [`crate::seal`]. On x86-64 libc
//! starts with forty questions to the processor, and in a virtual machine each
//! of them stops it: a fifth of a millisecond, more than all else in the start of
//! hako. So the first of the two executions ends before libc starts.
//!
//! This is a short cut, and not the defence. If anything is not as expected, it
//! returns, libc starts, and [`crate::seal::seal`] does everything and says what
//! failed.
//!
//! libc is not there yet, and neither are its `errno` and `memcpy`. So system
//! calls are made by hand, with pointers and numbers only, and strings are compared
//! byte by byte, in a way that no compiler makes a `memcmp` of.

use crate::seal;
use std::arch::asm;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// Executes hako from a read-only clone of its mount, if the command line and
/// the user are such that this is to be done. Returns if not, or if it failed.
///
/// # Safety
/// `stack` is the stack pointer with which the kernel starts a process.
pub unsafe extern "C" fn seal_before_libc(stack: *const usize) {
    // SAFETY: the kernel puts there the number of arguments, and pointers to them
    // and to the environment, each list with a null at its end; then pairs of
    // numbers, the last of which has the key 0.
    unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const c_char>();
        let environment = arguments.add(count + 1);
        let mut auxiliary = environment;
        while !(*auxiliary).is_null() {
            auxiliary = auxiliary.add(1);
        }
        let auxiliary = auxiliary.add(1).cast::<usize>();
        if enters(arguments, count) && is_root(auxiliary) && !is_readonly() {
            execute(arguments, environment);
        }
    }
}

/// Whether one of the arguments names a command that enters a container.
///
/// # Safety
/// `arguments` points to `count` C strings.
unsafe fn enters(arguments: *const *const c_char, count: usize) -> bool {
    // SAFETY: as the caller promises.
    (1..count)
        .any(|index| seal::ENTERING.iter().any(|verb| unsafe { is(*arguments.add(index), verb) }))
}

/// # Safety
/// `text` is a C string.
unsafe fn is(text: *const c_char, verb: &str) -> bool {
    // SAFETY: nothing behind the first byte that differs is read, and the null at
    // the end differs from every letter of the verb.
    let byte = |index: usize| unsafe { text.add(index).cast::<u8>().read_volatile() };
    verb.bytes().enumerate().all(|(index, letter)| byte(index) == letter) && byte(verb.len()) == 0
}

/// # Safety
/// `auxiliary` is the auxiliary vector.
unsafe fn is_root(mut auxiliary: *const usize) -> bool {
    // SAFETY: pairs up to the key `AT_NULL`.
    unsafe {
        while *auxiliary != libc::AT_NULL as usize {
            if *auxiliary == libc::AT_EUID as usize {
                return *auxiliary.add(1) == 0;
            }
            auxiliary = auxiliary.add(2);
        }
    }
    false
}

/// Whether the binary is on a read-only mount. So it is said of one that nothing is
/// known of.
fn is_readonly() -> bool {
    let mut on = MaybeUninit::<rustix::fs::StatFs>::uninit();
    // SAFETY: the kernel fills the structure in if it returns 0.
    unsafe {
        let pointer = on.as_mut_ptr();
        let failed = call(libc::SYS_statfs, [address(seal::SELF), pointer as usize, 0, 0, 0]) != 0;
        failed || (*pointer).f_flags as u64 & libc::ST_RDONLY != 0
    }
}

/// # Safety
/// Both are lists of C strings with a null at the end.
unsafe fn execute(arguments: *const *const c_char, environment: *const *const c_char) {
    const READONLY: libc::mount_attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    static CHANGE: libc::mount_attr = READONLY;
    let (nothing, empty_path) = (address(c""), libc::AT_EMPTY_PATH as usize);
    let here = libc::AT_FDCWD as usize;
    // SAFETY: all pointers are to what lives as long as the process.
    unsafe {
        let tree = call(libc::SYS_open_tree, [here, address(seal::SELF), OPEN_TREE_CLONE, 0, 0]);
        if tree < 0 {
            return;
        }
        let descriptor = tree as usize;
        let change = (&raw const CHANGE) as usize;
        let size = size_of::<libc::mount_attr>();
        // One of the numbers below is that of a standard stream which is closed.
        if tree > 2
            && call(libc::SYS_mount_setattr, [descriptor, nothing, empty_path, change, size]) == 0
        {
            let (arguments, environment) = (arguments as usize, environment as usize);
            call(libc::SYS_execveat, [descriptor, nothing, arguments, environment, empty_path]);
        }
        call(libc::SYS_close, [descriptor, 0, 0, 0, 0]);
    }
}

/// libc's has the type of another call's.
const OPEN_TREE_CLONE: usize = libc::OPEN_TREE_CLONE as usize;

fn address(text: &'static CStr) -> usize {
    text.as_ptr() as usize
}

/// A system call. Returns its result, or the negated error number.
///
/// # Safety
/// As the system call demands.
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let result;
    // SAFETY: the kernel's convention; it changes these three registers, and what the
    // pointers among the arguments are to.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
