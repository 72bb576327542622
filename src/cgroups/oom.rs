//! How: what the kernel did to a container that needs more memory than it has.

use super::{CgroupDir, memory_events};
use crate::error::Error;

/// What init and its preparation of the container take in KiB, rounded up: a
/// little of hako's own memory, page tables, and what the kernel keeps of
/// mounts and namespaces.
const INIT_KIB: u64 = 1024;

impl CgroupDir {
    /// Which limit is too low, if the kernel has killed for want of memory.
    pub fn explain_kill(&self) -> Option<Error> {
        let kills = memory_events(&self.read("memory.events").ok()?, "oom_kill");
        if kills == 0 {
            return None;
        }
        let limit = self.read("memory.max").ok()?;
        let what = match limit.trim().parse::<u64>() {
            Ok(limit) => format!("its memory limit of {} KiB is too low", limit / 1024),
            Err(_) => "a cgroup above it has no memory left".to_owned(),
        };
        let error = Error::new(format!(
            "{what} (memory.max {}, memory.events counted oom_kill {kills})",
            limit.trim()
        ));
        Some(error.at("/linux/resources/memory/limit").hint(format!(
            "it takes about {INIT_KIB} KiB to start a container; its program needs its own memory besides"
        )))
    }
}
