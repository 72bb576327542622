//! A directory of the host that an attack aims at, and its state before.

use super::Harm;
use hako_integration::Runtime;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What the files of the host say.
pub const PRECIOUS: &str = "precious";

/// A directory with files that no container may change, and the mount table of
/// the host beside it.
pub struct Sentinel {
    dir: PathBuf,
    before: Vec<String>,
    mounts: String,
}

impl Sentinel {
    /// Makes the directory, with the names that runtimes like to make or remove.
    pub fn plant(world: &Runtime) -> Self {
        let dir = world.dir("host");
        for name in ["file", "ptmx", "console", "inner/file", "pts/ptmx", "self/exe"] {
            let _ = world.file(&format!("host/{name}"), PRECIOUS);
        }
        let mut sentinel = Self { dir, before: Vec::new(), mounts: mounts() };
        sentinel.before = sentinel.look();
        sentinel
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ways for a link in a root file system to mean a path below it.
    pub fn links_to(&self, below: &str) -> Vec<PathBuf> {
        let target = self.dir.join(below);
        let absolute = target.strip_prefix("/").unwrap_or(&target);
        ["/", "../../../../../../../../../../../../", "./.././../../../../../../../../../"]
            .map(|up| Path::new(up).join(absolute))
            .to_vec()
    }

    /// What differs from before.
    pub fn changes(&self) -> Harm {
        let now = self.look();
        let gone = self.before.iter().filter(|line| !now.contains(line));
        let new = now.iter().filter(|line| !self.before.contains(line));
        let mut harm: Harm = gone.map(|line| format!("gone from the host: {line}")).collect();
        harm.extend(new.map(|line| format!("new on the host: {line}")));
        if mounts() != self.mounts {
            harm.push("the host's mounts changed".to_owned());
        }
        harm
    }

    fn look(&self) -> Vec<String> {
        let mut lines = Vec::new();
        describe(&self.dir, &mut lines);
        lines.sort();
        lines
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// A line for a path and each one below it: type, owner, device, content.
fn describe(path: &Path, lines: &mut Vec<String>) {
    let status = fs::symlink_metadata(path).unwrap();
    let text = if status.is_file() { fs::read_to_string(path).unwrap() } else { String::new() };
    let (mode, owner) = (status.mode(), (status.uid(), status.gid()));
    lines.push(format!("{} {mode:o} {owner:?} {:x} {text}", path.display(), status.rdev()));
    if status.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            describe(&entry.path(), lines);
        }
    }
}
