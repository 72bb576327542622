//! What may remain after a container is gone: nothing.

use crate::host::cgroup_dir;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a killed process may take to vanish.
const GRACE: Duration = Duration::from_secs(1);

/// What belongs to one container.
pub struct Traces<'a> {
    /// The runtime's state directory (`--root`).
    pub root: &'a Path,
    /// The container id.
    pub id: &'a str,
    /// The container's cgroup, below the cgroup2 root.
    pub cgroup: &'a str,
    /// The container's first process, when it is known.
    pub pid: Option<u32>,
}

impl Traces<'_> {
    /// Everything that still exists, in words; empty when all is well.
    pub fn remaining(&self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        loop {
            let remaining = self.look();
            if remaining.is_empty() || Instant::now() > deadline {
                return remaining;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn look(&self) -> Vec<String> {
        let mut found = Vec::new();
        let state = self.root.join(self.id);
        if state.symlink_metadata().is_ok() {
            found.push(format!("state directory {}", state.display()));
        }
        let cgroup = cgroup_dir(self.cgroup);
        if !is_root(self.cgroup) && cgroup.exists() {
            found.push(format!("cgroup {}", cgroup.display()));
        }
        if let Some(pid) = self.pid.filter(|pid| is_alive(*pid)) {
            found.push(format!("process {pid}"));
        }
        found
    }
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// Processes that have `path` in their command line, or run below it.
pub fn processes_using(path: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let describe = |pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let link = |name| fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let uses = contains(&line, path.as_os_str().as_bytes())
            || ["root", "cwd", "exe"].iter().any(|name| link(name).starts_with(path));
        let words = String::from_utf8_lossy(&line).replace('\0', " ");
        uses.then(|| format!("process {pid}: {words}"))
    };
    pids.filter_map(describe).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Ends and removes a cgroup that the runtime failed to remove, so that one
/// broken test does not disturb the others.
pub fn sweep_cgroup(path: &str) {
    let dir = cgroup_dir(path);
    if is_root(path) || !dir.exists() {
        return;
    }
    let _ = fs::write(dir.join("cgroup.kill"), "1");
    for dir in below(&dir) {
        for _ in 0..100 {
            if fs::remove_dir(&dir).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a path names the cgroup that holds the whole machine: that of a
/// bundle whose config has lost its path.
fn is_root(cgroup: &str) -> bool {
    cgroup.trim_matches('/').is_empty()
}

/// A directory and all below it, the deepest first.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut list = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list.extend(below(&entry.path()));
        }
    }
    list.push(dir.to_path_buf());
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy_program;
    use crate::scratch::Scratch;

    #[test]
    fn everything_that_remains_is_named() {
        let name = format!("hako-test-{}-unit-remains", std::process::id());
        let scratch = Scratch::new(&name);
        let cgroup = cgroup_dir(&name);
        let traces = |pid| Traces { root: scratch.path(), id: "id", cgroup: &name, pid };
        assert_eq!(traces(None).remaining(), [""; 0]);

        scratch.dir("id");
        fs::create_dir(&cgroup).unwrap();
        let sleep = scratch.path().join("sleep");
        copy_program(Path::new("/bin/busybox"), &sleep);
        let mut child = std::process::Command::new(&sleep).arg("1000").spawn().unwrap();
        assert_eq!(traces(Some(child.id())).remaining().len(), 3);
        assert_eq!(processes_using(scratch.path()).len(), 1);

        child.kill().unwrap();
        assert!(traces(Some(child.id())).remaining().len() == 2, "a zombie is no process");
        child.wait().unwrap();
        fs::create_dir(cgroup.join("inner")).unwrap();
        sweep_cgroup(&name);
        assert!(!cgroup.exists());
    }
}
