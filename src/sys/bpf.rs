//! bpf(2), for the device programs of cgroups.

use super::result;
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// Commands and constants of linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Longest name of a program, with the NUL byte.
const NAME_LENGTH: usize = 16;
/// More programs than the kernel attaches to one cgroup (64).
const MOST_PROGRAMS: usize = 64;

/// `union bpf_attr` for BPF_PROG_LOAD, up to the name.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_LENGTH],
}

/// The same for BPF_PROG_ATTACH.
#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    place: u32,
    flags: u32,
    replaced: u32,
}

/// The same for BPF_PROG_QUERY.
#[repr(C)]
struct Query {
    cgroup: u32,
    place: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// The same for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// The same for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct InfoOf {
    program: u32,
    length: u32,
    info: u64,
}

/// The first fields of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    before: [u64; 8],
    name: [u8; NAME_LENGTH],
}

fn bpf<A>(command: libc::c_int, attributes: &mut A) -> Result<libc::c_long, Errno> {
    // SAFETY: `attributes` is the kernel's structure for `command`, as long as
    // the size says; what its addresses point to is alive at every call below.
    result(unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>())
    })
}

fn own(fd: libc::c_long) -> OwnedFd {
    // SAFETY: a descriptor that the kernel has just made (close-on-exec), and
    // that nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn raw(fd: BorrowedFd) -> u32 {
    fd.as_raw_fd() as u32
}

/// Loads a program that decides about devices, of instructions of eight bytes.
///
/// # Errors
/// `EPERM` without CAP_BPF and CAP_NET_ADMIN over the initial user namespace,
/// `EINVAL` from a kernel without CONFIG_CGROUP_BPF, `E2BIG` and others for a
/// program that is too long for the verifier.
pub fn load_device_program(program: &[[u8; 8]], name: &CStr) -> Result<OwnedFd, Errno> {
    let mut load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: padded(name),
    };
    bpf(PROG_LOAD, &mut load).map(own)
}

/// Attaches a program to a cgroup, beside those of others; in the place of
/// `replaced`, if given, so that there is no moment without either.
pub fn attach_device_program(
    cgroup: BorrowedFd,
    program: BorrowedFd,
    replaced: Option<BorrowedFd>,
) -> Result<(), Errno> {
    let mut attach = Attach {
        cgroup: raw(cgroup),
        program: raw(program),
        place: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI | replaced.map_or(0, |_| REPLACE),
        replaced: replaced.map_or(0, raw),
    };
    bpf(PROG_ATTACH, &mut attach).map(drop)
}

/// Detaches a program from a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd, program: BorrowedFd) -> Result<(), Errno> {
    let mut detach = Attach {
        cgroup: raw(cgroup),
        program: raw(program),
        place: ATTACH_CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
    };
    bpf(PROG_DETACH, &mut detach).map(drop)
}

/// The program of this name among those attached to a cgroup.
pub fn find_device_program(cgroup: BorrowedFd, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = Query {
        cgroup: raw(cgroup),
        place: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST_PROGRAMS as u32,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut query)?;
    for id in &ids[..(query.count as usize).min(MOST_PROGRAMS)] {
        let program = match bpf(PROG_GET_FD_BY_ID, &mut ById { id: *id, next: 0, flags: 0 }) {
            Ok(fd) => own(fd),
            // Detached in between.
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let mut info = Info::default();
        let mut request = InfoOf {
            program: program.as_raw_fd() as u32,
            length: size_of::<Info>() as u32,
            info: (&raw mut info) as u64,
        };
        bpf(OBJ_GET_INFO_BY_FD, &mut request)?;
        if info.name == padded(name) {
            return Ok(Some(program));
        }
    }
    Ok(None)
}

fn padded(name: &CStr) -> [u8; NAME_LENGTH] {
    let mut padded = [0; NAME_LENGTH];
    for (to, from) in padded.iter_mut().zip(name.to_bytes().iter().take(NAME_LENGTH - 1)) {
        *to = *from;
    }
    padded
}
