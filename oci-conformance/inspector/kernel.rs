//! What the kernel keeps for the process: scheduling, memory policy, limits,
//! keyring, clocks; and raw calls for tests.

use crate::errno::Outcome;
use crate::sys;
use serde_json::{Map, Value, json};
use std::io;
use std::os::fd::AsRawFd;

/// `struct sched_attr`, first published size.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Policy, priority, nice and deadline parameters.
pub fn scheduler() -> Value {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: the kernel writes at most `size` bytes into `attr`.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    if sys::check(result).is_err() {
        return Value::Null;
    }
    json!({
        "policy": policy_name(attr.policy),
        "flags": attr.flags,
        "nice": attr.nice,
        "priority": attr.priority,
        "runtime": attr.runtime,
        "deadline": attr.deadline,
        "period": attr.period,
    })
}

fn policy_name(policy: u32) -> &'static str {
    const NAMES: [&str; 8] = [
        "SCHED_OTHER",
        "SCHED_FIFO",
        "SCHED_RR",
        "SCHED_BATCH",
        "SCHED_ISO",
        "SCHED_IDLE",
        "SCHED_DEADLINE",
        "SCHED_EXT",
    ];
    NAMES.get(policy as usize).copied().unwrap_or("unknown")
}

/// Input/output class and level.
pub fn io_priority() -> Value {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASSES: [&str; 4] = ["none", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
    // SAFETY: numbers only.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) };
    let Ok(value) = usize::try_from(value) else {
        return Value::Null;
    };
    json!({ "class": CLASSES.get(value >> 13), "priority": value & 0x1fff })
}

/// Default memory policy: mode, its flags and nodes.
pub fn memory_policy() -> Value {
    const MODES: [&str; 7] = [
        "MPOL_DEFAULT",
        "MPOL_PREFERRED",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ];
    const FLAGS: [(u32, &str); 3] = [
        (1 << 15, "MPOL_F_STATIC_NODES"),
        (1 << 14, "MPOL_F_RELATIVE_NODES"),
        (1 << 13, "MPOL_F_NUMA_BALANCING"),
    ];
    let mut mode = 0_u32;
    let mut mask = [0_u64; 64];
    let (pointer, bits) = (mask.as_mut_ptr(), mask.len() * 64);
    // SAFETY: the kernel writes one int and at most `bits` bits.
    let result =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, pointer, bits, 0_usize, 0) };
    if sys::check(result).is_err() {
        return Value::Null;
    }
    let plain = (mode & 0x1fff) as usize;
    let flags: Vec<&str> = FLAGS.iter().filter(|(bit, _)| mode & bit != 0).map(|f| f.1).collect();
    let nodes: Vec<usize> =
        (0..bits).filter(|node| mask[node / 64] & (1 << (node % 64)) != 0).collect();
    json!({ "mode": MODES.get(plain), "flags": flags, "nodes": nodes })
}

/// The execution domain, as the number `personality(2)` returns.
pub fn personality() -> Value {
    // SAFETY: 0xffffffff asks without changing anything.
    json!(unsafe { libc::personality(0xffff_ffff) })
}

/// CPUs the process may run on.
pub fn cpu_affinity() -> Value {
    // SAFETY: cpu_set_t is a plain bit array, so all zeroes is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` has the size that is passed.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0 {
        return Value::Null;
    }
    let limit = libc::CPU_SETSIZE as usize;
    // SAFETY: the index is below CPU_SETSIZE.
    let cpus: Vec<usize> =
        (0..limit).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect();
    json!(cpus)
}

/// All sixteen resource limits by their RLIMIT_ names; `null` is infinity.
pub fn rlimits() -> Value {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    // The numbers differ between architectures, so they come from libc.
    const NUMBERS: [libc::__rlimit_resource_t; 16] = [
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_DATA,
        libc::RLIMIT_STACK,
        libc::RLIMIT_CORE,
        libc::RLIMIT_RSS,
        libc::RLIMIT_NPROC,
        libc::RLIMIT_NOFILE,
        libc::RLIMIT_MEMLOCK,
        libc::RLIMIT_AS,
        libc::RLIMIT_LOCKS,
        libc::RLIMIT_SIGPENDING,
        libc::RLIMIT_MSGQUEUE,
        libc::RLIMIT_NICE,
        libc::RLIMIT_RTPRIO,
        libc::RLIMIT_RTTIME,
    ];
    let mut limits = Map::new();
    for (name, number) in NAMES.iter().zip(NUMBERS) {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid rlimit to write to.
        if unsafe { libc::getrlimit(number, &raw mut limit) } == 0 {
            let finite = |value| {
                if value == libc::RLIM_INFINITY { json!(null) } else { json!(value) }
            };
            let value = json!({ "soft": finite(limit.rlim_cur), "hard": finite(limit.rlim_max) });
            limits.insert(format!("RLIMIT_{name}"), value);
        }
    }
    Value::Object(limits)
}

/// The session keyring: its serial number and description.
pub fn session_keyring() -> Value {
    const GET_KEYRING_ID: libc::c_long = 0;
    const DESCRIBE: libc::c_long = 6;
    const SESSION: libc::c_long = -3;
    let id = sys::syscall(libc::SYS_keyctl, [GET_KEYRING_ID, SESSION, 0, 0, 0, 0]).ok();
    let mut text = [0_u8; 256];
    // SAFETY: at most `text.len()` bytes are written into `text`.
    let length = unsafe {
        libc::syscall(libc::SYS_keyctl, DESCRIBE, SESSION, text.as_mut_ptr(), text.len(), 0)
    };
    let length = usize::try_from(length).ok().filter(|length| (1..=text.len()).contains(length));
    let description =
        length.map(|length| String::from_utf8_lossy(&text[..length - 1]).into_owned());
    json!({ "id": id, "description": description })
}

/// Clocks in whole seconds, and the offsets of the time namespace.
pub fn clocks() -> Value {
    let seconds = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid timespec to write to.
        (unsafe { libc::clock_gettime(clock, &raw mut time) } == 0).then_some(time.tv_sec)
    };
    json!({
        "boottime": seconds(libc::CLOCK_BOOTTIME),
        "monotonic": seconds(libc::CLOCK_MONOTONIC),
        "offsets": std::fs::read_to_string("/proc/self/timens_offsets").ok(),
    })
}

/// System, host and domain names, as `uname(2)` gives them to this process.
pub fn names() -> Value {
    // SAFETY: utsname is plain character arrays, so all zeroes is valid.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `names` is a valid utsname to write to.
    unsafe { libc::uname(&raw mut names) };
    // The characters are signed on some architectures only.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let text = |field: &[libc::c_char]| -> String {
        field.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect()
    };
    json!({
        "hostname": text(&names.nodename),
        "domainname": text(&names.domainname),
        "machine": text(&names.machine),
        "release": text(&names.release),
    })
}

/// Tries to mount, for tests that expect a refusal.
pub fn mount(source: &str, target: &str, kind: &str) -> Outcome<Value> {
    let (source, target) = (sys::c_string(source)?, sys::c_string(target)?);
    let (flags, kind) = if kind == "bind" { (libc::MS_BIND, "none") } else { (0, kind) };
    let kind = sys::c_string(kind)?;
    // SAFETY: three strings that end with NUL; no data is passed.
    let result = unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null())
    };
    sys::check(result.into())?;
    Ok(json!("ok"))
}

/// Tries to unmount.
pub fn umount(target: &str) -> Outcome<Value> {
    let target = sys::c_string(target)?;
    // SAFETY: a string that ends with NUL.
    sys::check(unsafe { libc::umount2(target.as_ptr(), 0) }.into())?;
    Ok(json!("ok"))
}

/// Any system call: a number or one of a few names, and plain numbers.
pub fn syscall(number: &str, args: &[&str]) -> Outcome<Value> {
    let number = match number {
        "getpid" => libc::SYS_getpid,
        "unshare" => libc::SYS_unshare,
        "keyctl" => libc::SYS_keyctl,
        "personality" => libc::SYS_personality,
        number => number.parse()?,
    };
    let mut values = [0; 6];
    for (value, word) in values.iter_mut().zip(args) {
        *value = word.parse()?;
    }
    Ok(json!(sys::syscall(number, values)?))
}

/// A system call without arguments through the interface for 32-bit programs.
#[cfg(target_arch = "x86_64")]
pub fn syscall_32(number: &str) -> Outcome<Value> {
    let number: i64 = number.parse()?;
    let result: i64;
    // SAFETY: a call without arguments touches no memory; the registers that it changes are named.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") number => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    match i32::try_from(-result) {
        Ok(errno) if errno > 0 => Err(io::Error::from_raw_os_error(errno).into()),
        _ => Ok(json!(result)),
    }
}

/// There is none.
#[cfg(not(target_arch = "x86_64"))]
pub fn syscall_32(_: &str) -> Outcome<Value> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS).into())
}

/// Opens an RDMA device as its users do: the handle counts as long as the file
/// is open (the kernel's rdma/ib_user_verbs.h, `IB_USER_VERBS_CMD_GET_CONTEXT`).
pub fn verbs(path: &str) -> Outcome<Value> {
    #[repr(C)]
    struct GetContext {
        command: u32,
        in_words: u16,
        out_words: u16,
        response: u64,
    }
    let device = std::fs::File::options().read(true).write(true).open(path)?;
    let mut response = [0_u32; 2];
    let request = GetContext {
        command: 0,
        in_words: (size_of::<GetContext>() / 4) as u16,
        out_words: response.len() as u16,
        response: response.as_mut_ptr() as u64,
    };
    // SAFETY: the request is plain data, and the kernel writes no more than `out_words` to `response`.
    let written = unsafe {
        libc::write(device.as_raw_fd(), (&raw const request).cast(), size_of::<GetContext>())
    };
    sys::check(written as libc::c_long)?;
    Ok(json!("ok"))
}

/// Allocates and touches memory, and keeps it.
pub fn alloc(mebibytes: &str) -> Outcome<Value> {
    let mebibytes: usize = mebibytes.parse()?;
    let mut memory: Vec<u8> = Vec::new();
    let reserved = memory.try_reserve_exact(mebibytes << 20);
    reserved.map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    memory.resize(mebibytes << 20, 1);
    std::mem::forget(memory);
    Ok(json!({ "allocated": mebibytes }))
}
