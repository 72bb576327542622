//! Who the process is: ids, groups, capabilities and what limits privilege.

use crate::sys;
use serde_json::{Value, json};

/// Real, effective and saved user and group ids, and supplementary groups.
pub fn ids() -> Value {
    let (mut ruid, mut euid, mut suid) = (0, 0, 0);
    let (mut rgid, mut egid, mut sgid) = (0, 0, 0);
    // SAFETY: each call writes three ids through three valid pointers.
    unsafe {
        libc::getresuid(&raw mut ruid, &raw mut euid, &raw mut suid);
        libc::getresgid(&raw mut rgid, &raw mut egid, &raw mut sgid);
    }
    json!({
        "uid": { "real": ruid, "effective": euid, "saved": suid },
        "gid": { "real": rgid, "effective": egid, "saved": sgid },
        "groups": groups(),
    })
}

fn groups() -> Vec<u32> {
    // SAFETY: with a size of 0 nothing is written; only the count is returned.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut groups = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: the vector holds exactly `count` ids.
    let got = unsafe { libc::getgroups(count, groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(got).unwrap_or(0));
    groups.sort_unstable();
    groups
}

/// The file mode creation mask. Reading it means setting it, so it is put back.
pub fn umask() -> u32 {
    // SAFETY: umask always succeeds and touches no memory.
    unsafe {
        let mask = libc::umask(0);
        libc::umask(mask);
        mask
    }
}

/// The five capability sets as the hexadecimal numbers /proc shows, by system
/// calls so that it works without /proc.
pub fn capabilities() -> Value {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    // Two rows of (effective, permitted, inheritable): low and high 32 bits.
    let mut data = [[0_u32; 3]; 2];
    // SAFETY: version 3 writes two rows of three u32; `data` is exactly that.
    unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    let set = |column: usize| u64::from(data[0][column]) | (u64::from(data[1][column]) << 32);
    let probed = |test: &dyn Fn(libc::c_ulong) -> bool| {
        (0..64).filter(|cap| test(*cap)).fold(0_u64, |set, cap| set | (1 << cap))
    };
    let bounding = probed(&|cap| matches!(sys::prctl(libc::PR_CAPBSET_READ, cap), Ok(1)));
    let ambient = probed(&is_ambient);
    let hex = |set: u64| format!("{set:016x}");
    json!({
        "effective": hex(set(0)),
        "permitted": hex(set(1)),
        "inheritable": hex(set(2)),
        "bounding": hex(bounding),
        "ambient": hex(ambient),
    })
}

fn is_ambient(cap: libc::c_ulong) -> bool {
    let is_set = libc::PR_CAP_AMBIENT_IS_SET as libc::c_ulong;
    // SAFETY: this option takes numbers only.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, is_set, cap, 0, 0) == 1 }
}

/// Process attributes kept by `prctl(2)`.
pub fn attributes() -> Value {
    json!({
        "no_new_privs": sys::prctl(libc::PR_GET_NO_NEW_PRIVS, 0).ok().map(|on| on == 1),
        "seccomp_mode": sys::prctl(libc::PR_GET_SECCOMP, 0).ok(),
        "securebits": sys::prctl(libc::PR_GET_SECUREBITS, 0).ok(),
        "dumpable": sys::prctl(libc::PR_GET_DUMPABLE, 0).ok(),
        "parent_death_signal": sys::prctl_get(libc::PR_GET_PDEATHSIG).ok(),
        "child_subreaper": sys::prctl_get(libc::PR_GET_CHILD_SUBREAPER).ok(),
    })
}
