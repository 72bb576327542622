//! What a case has left although everything was deleted: processes, mounts, cgroups, state.

use crate::context::Context;
use crate::host::CGROUPS;
use crate::{cgroup, unix};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel and the runtime may take to clean up behind a command that has returned.
const PATIENCE: Duration = Duration::from_millis(500);

/// The mounts that were there before.
pub struct Before {
    mounts: Vec<PathBuf>,
}

impl Before {
    /// Remembers what is there now.
    pub fn now() -> Self {
        Self { mounts: mount_points() }
    }

    /// What has appeared since and has no reason to be there, in words.
    pub fn left(&self, context: &Context) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.look(context);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn look(&self, context: &Context) -> Vec<String> {
        unix::reap_all();
        let mut left = processes();
        let (own_mounts, own_cgroups) = (context.own_mounts(), context.own_cgroups());
        let new = mount_points().into_iter().filter(|point| !self.mounts.contains(point));
        let new = new.filter(|point| !own_mounts.iter().any(|own| point.starts_with(own)));
        left.extend(new.map(|point| format!("mount {}", point.display())));
        let groups = cgroup::subgroups(Path::new(CGROUPS)).into_iter();
        let groups = groups.filter(|dir| !dir.ends_with("init") && !own_cgroups.contains(dir));
        left.extend(groups.map(|dir| format!("cgroup {}", dir.display())));
        let state = fs::read_dir(context.runtime.state_dir()).into_iter().flatten().flatten();
        let names = state.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.filter(|name| name.contains(context.id()));
        left.extend(names.map(|name| format!("state {name}")));
        left
    }
}

/// Processes of the case's own pid namespace, but for the suite.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != 1)
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(format!("process {pid} ({})", name.trim()))
        })
        .collect()
}

fn mount_points() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(|line| line.split(' ').nth(4).map(PathBuf::from)).collect()
}
