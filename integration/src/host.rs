//! The host as a test sees it: a mount namespace of its own and the cgroup2
//! mount. Nothing here changes what other processes see.

use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
use rustix::process::{Pid, set_child_subreaper};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Whether another runtime than hako is under test, to prove a test against it.
#[must_use]
pub fn is_peer() -> bool {
    std::env::var_os("HAKO_RUNTIME").is_some()
}

/// Gives the calling thread a private copy of the mount table. Processes that
/// the thread starts share it, so tests may mount what they like, and all of it
/// ends with the thread.
pub fn enter_private_mounts() {
    thread_local!(static ENTERED: Cell<bool> = const { Cell::new(false) });
    if ENTERED.replace(true) {
        return;
    }
    assert!(rustix::process::geteuid().is_root(), "the integration tests need root");
    // SAFETY: a new mount namespace (and the private working directory that
    // comes with it) leaves the memory and descriptors of the process alone.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("a private mount namespace");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .expect("private mount propagation");
    if is_peer() || std::env::var_os("HAKO_UNIFIED_CGROUPS").is_some() {
        unify_cgroups();
    }
    adopt_orphans();
}

/// Gives the calling thread a network of its own, so that a test may make, move
/// and lose interfaces. Processes that the thread starts share it.
pub fn enter_private_network() {
    // SAFETY: a new network namespace concerns sockets opened from now on only.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a private network namespace");
}

/// Shows the calling thread a hybrid host as a unified one. Peers handle a
/// hybrid host in ways of their own, and hako has to work on either.
pub fn unify_cgroups() {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.join("cgroup.controllers").exists() {
        mount_bind(unified, "/sys/fs/cgroup").expect("cgroup2 over /sys/fs/cgroup");
    }
}

/// The mounts that hold the files of the host: what a runtime with a hole could
/// destroy with one recursive removal.
fn mounts_of_files() -> impl Iterator<Item = PathBuf> {
    let targets = mount_table().into_iter().map(|mount| mount.target);
    targets
        .filter(|target| !["/proc", "/sys"].iter().any(|of_kernel| target.starts_with(of_kernel)))
}

/// Shows the calling thread, and what it starts, all files of the host
/// read-only, except for those below `writable`: a victim must not do to the
/// host what it was shown to do to the test.
pub fn protect_host(writable: &Path) {
    mount_bind(writable, writable).expect("a mount of the writable directory");
    for target in mounts_of_files().filter(|target| !target.starts_with(writable)) {
        // Not everybody's: root cannot reach what users have mounted with FUSE.
        let _ = mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"");
    }
    for dir in ["/", "/etc", "/usr", "/home", "/root", "/var"] {
        let probe = Path::new(dir).join("hako-test-probe");
        assert!(!dir_is_writable(&probe), "{dir} is still writable");
    }
}

fn dir_is_writable(probe: &Path) -> bool {
    let made = fs::create_dir(probe);
    let _ = fs::remove_dir(probe);
    made.is_ok()
}

/// Undoes [`protect_host`].
pub fn release_host() {
    for target in mounts_of_files() {
        let _ = mount_remount(&target, MountFlags::BIND, c"");
    }
}

/// Makes this process the parent of containers whose creator has ended, as
/// engines do, so that tests can wait for their exit codes.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let this = Pid::from_raw(1);
        set_child_subreaper(this).expect("to become a subreaper");
    });
}

/// The directory of a cgroup, given its path below the cgroup2 root, or its
/// unit as `SLICE:PREFIX:NAME`.
#[must_use]
pub fn cgroup_dir(path: &str) -> PathBuf {
    let table = mount_table();
    let mount = table.iter().rfind(|mount| mount.kind == "cgroup2").expect("a cgroup2 mount");
    match path.split(':').collect::<Vec<_>>()[..] {
        [slice, prefix, name] => {
            let ends = slice.match_indices(['-', '.']).map(|(end, _)| end);
            let slices = ends.map(|end| format!("{}.slice", &slice[..end]));
            let scope = format!("{prefix}-{name}.scope");
            slices.chain([scope]).fold(mount.target.clone(), |dir, name| dir.join(name))
        }
        _ => mount.target.join(path.trim_start_matches('/')),
    }
}

/// Whether cgroup2 has a controller here.
#[must_use]
pub fn has_controller(name: &str) -> bool {
    let list = cgroup_dir("/").join("cgroup.controllers");
    let list = fs::read_to_string(list).expect("the root of cgroup2");
    list.split_whitespace().any(|controller| controller == name)
}

/// One line of the mount table.
pub struct Mount {
    /// Where it is mounted.
    pub target: PathBuf,
    /// Its file system type.
    pub kind: String,
}

/// The mount table of the calling thread, which is not that of the process.
pub fn mount_table() -> Vec<Mount> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("the mount table");
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let target = PathBuf::from(left.split(' ').nth(4)?);
        Some(Mount { target, kind: right.split(' ').next()?.to_string() })
    };
    text.lines().filter_map(parse).collect()
}
