//! The suite's own cgroups: one for the run, below it one for each case.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A cgroup that is emptied and removed at the end.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
}

/// Controllers that were enabled in a cgroup that is not the suite's.
#[derive(Debug)]
pub struct Enabled {
    dir: PathBuf,
    names: Vec<String>,
}

impl Cgroup {
    /// Makes a cgroup in `parent`, and hands on to its children every controller there is.
    pub fn make(parent: &Path, name: &str) -> io::Result<Self> {
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills what is in it, below it too, and removes it.
    fn sweep(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let _ = fs::write(self.dir.join("cgroup.freeze"), "0");
        let _ = fs::write(self.dir.join("cgroup.kill"), "1");
        while self.dir.exists() {
            let mut below = subgroups(&self.dir);
            below.push(self.dir.clone());
            for dir in below {
                let _ = fs::remove_dir(dir);
            }
            if Instant::now() > deadline {
                return;
            }
            if self.dir.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.sweep();
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = fs::write(self.dir.join("cgroup.subtree_control"), format!("-{name}"));
        }
    }
}

/// Enables every controller for the children of a cgroup. What was disabled before is disabled
/// again when the value is dropped.
pub fn enable_controllers(dir: &Path) -> Enabled {
    let (on, off) = (words(&dir.join("cgroup.subtree_control")), controllers(dir));
    let mut names: Vec<String> = off.into_iter().filter(|name| !on.contains(name)).collect();
    let control = dir.join("cgroup.subtree_control");
    names.retain(|name| fs::write(&control, format!("+{name}")).is_ok());
    Enabled { dir: dir.to_path_buf(), names }
}

/// The controllers of a cgroup.
pub fn controllers(dir: &Path) -> Vec<String> {
    words(&dir.join("cgroup.controllers"))
}

fn words(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(String::from).collect()
}

/// All cgroups below one, the deepest first.
pub fn subgroups(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(subgroups(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

/// Where cgroup v2 is mounted on this host.
pub fn mount_point() -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(PathBuf::from(line.split(' ').nth(4)?))
}
