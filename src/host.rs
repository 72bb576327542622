//! Facts about the host, found out once and only when asked for.

use crate::error::{Context, Error, Result};
use rustix::fs::statfs;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// What the plan depends on besides the configuration. Tests make one by hand.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Capabilities this process may pass on, as a bit mask.
    pub capabilities: u64,
    hierarchy: OnceCell<Option<PathBuf>>,
    own_cgroup: OnceCell<PathBuf>,
}

impl Host {
    /// The machine hako runs on.
    pub fn probe() -> Result<Self> {
        Ok(Self { capabilities: crate::process::own_permitted()?, ..Self::default() })
    }

    /// A made-up machine: privileged, unified cgroup v2, hako in `/`.
    pub fn example() -> Self {
        let host = Self { capabilities: u64::MAX >> 23, ..Self::default() };
        let _ = host.hierarchy.set(Some(PathBuf::from("/sys/fs/cgroup")));
        let _ = host.own_cgroup.set(PathBuf::from("/"));
        host
    }

    /// Where cgroup v2 is mounted.
    ///
    /// # Errors
    /// When it is not mounted at either of its two customary places.
    pub fn cgroup_hierarchy(&self) -> Result<&Path> {
        let found = self.hierarchy.get_or_init(|| {
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
                .into_iter()
                .find(|path| statfs(*path).is_ok_and(|fs| fs.f_type == libc::CGROUP2_SUPER_MAGIC))
                .map(PathBuf::from)
        });
        found.as_deref().ok_or_else(|| {
            Error::new("cgroup v2 is not mounted at /sys/fs/cgroup or /sys/fs/cgroup/unified")
                .hint("boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none /sys/fs/cgroup")
        })
    }

    /// The cgroup this process is in, as a path in the hierarchy.
    pub fn own_cgroup(&self) -> Result<&Path> {
        if let Some(path) = self.own_cgroup.get() {
            return Ok(path);
        }
        let text =
            std::fs::read_to_string("/proc/self/cgroup").os(|| "cannot read /proc/self/cgroup")?;
        let path = text
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .ok_or_else(|| Error::new("/proc/self/cgroup names no cgroup v2"))?;
        Ok(self.own_cgroup.get_or_init(|| PathBuf::from(path)))
    }
}
