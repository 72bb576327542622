//! Facts about the host, found out once and only when asked for.

use crate::cgroups::{self, systemd};
use crate::error::{Context, Error, Result};
use crate::resctrl;
use oci_spec::runtime::Arch;
use rustix::fs::statfs;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// What the plan depends on besides the configuration. Tests make one by hand.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// Capabilities this process may pass on, as a bit mask.
    pub capabilities: u64,
    architecture: OnceCell<Arch>,
    apparmor: OnceCell<bool>,
    selinux: OnceCell<bool>,
    hierarchy: OnceCell<Option<PathBuf>>,
    controllers: OnceCell<Vec<String>>,
    memberships: OnceCell<String>,
    resctrl: OnceCell<Option<PathBuf>>,
    initial_user_namespace: OnceCell<bool>,
    systemd: OnceCell<systemd::Facts>,
}

impl Host {
    /// The machine hako runs on.
    pub fn probe() -> Result<Self> {
        Ok(Self { capabilities: crate::process::own_permitted()?, ..Self::default() })
    }

    /// A made-up machine: privileged, x86_64 with AppArmor, unified cgroup v2, hako in `/`.
    pub fn example() -> Self {
        let host = Self { capabilities: u64::MAX >> 23, ..Self::default() };
        let _ = host.architecture.set(Arch::ScmpArchX86_64);
        let _ = host.apparmor.set(true);
        let _ = host.selinux.set(false);
        let _ = host.hierarchy.set(Some(PathBuf::from("/sys/fs/cgroup")));
        let controllers = "cpuset cpu io memory hugetlb pids rdma misc";
        let _ = host.controllers.set(controllers.split(' ').map(str::to_owned).collect());
        let _ = host.resctrl.set(Some(PathBuf::from(resctrl::MOUNT_POINT)));
        let _ = host.initial_user_namespace.set(true);
        let _ = host.memberships.set("0::/\n".to_owned());
        let _ = host
            .systemd
            .set(systemd::Facts { instance: systemd::Instance::System, root: PathBuf::from("/") });
        host
    }

    /// Whether AppArmor is in force.
    pub fn has_apparmor(&self) -> bool {
        *self.apparmor.get_or_init(|| {
            let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
            enabled.is_ok_and(|enabled| enabled.starts_with(b"Y"))
        })
    }

    /// Whether SELinux is in force: then its file system is mounted.
    pub fn has_selinux(&self) -> bool {
        *self.selinux.get_or_init(|| {
            statfs("/sys/fs/selinux").is_ok_and(|fs| fs.f_type == libc::SELINUX_MAGIC)
        })
    }

    /// Instruction set of the machine.
    pub fn architecture(&self) -> Arch {
        *self.architecture.get_or_init(crate::seccomp::native)
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

    /// Controllers at the root of the hierarchy: those that v1 hierarchies do
    /// not hold. Without a hierarchy there are none.
    pub fn controllers(&self) -> &[String] {
        self.controllers.get_or_init(|| {
            let list = self.cgroup_hierarchy().and_then(cgroups::controllers_at);
            list.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        })
    }

    /// Whether a v1 hierarchy holds a controller of cgroup v2's name.
    pub fn is_held_by_v1(&self, controller: &str) -> bool {
        let name = if controller == "io" { "blkio" } else { controller };
        self.memberships().unwrap_or_default().lines().any(|line| {
            line.split(':').nth(1).is_some_and(|held| held.split(',').any(|held| held == name))
        })
    }

    /// The systemd that makes units for this process.
    pub fn systemd(&self) -> Result<&systemd::Facts> {
        if let Some(facts) = self.systemd.get() {
            return Ok(facts);
        }
        let facts = systemd::Facts::probe()?;
        Ok(self.systemd.get_or_init(|| facts))
    }

    /// The cgroup this process is in, as a path in the hierarchy.
    pub fn own_cgroup(&self) -> Result<&Path> {
        self.memberships()?
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .map(Path::new)
            .ok_or_else(|| Error::new("/proc/self/cgroup names no cgroup v2"))
    }

    /// Where resctrl is mounted, if it is.
    pub fn resctrl(&self) -> Option<&Path> {
        let is_resctrl = |fs: rustix::fs::StatFs| fs.f_type == libc::RDTGROUP_SUPER_MAGIC;
        let is_mounted = || statfs(resctrl::MOUNT_POINT).is_ok_and(is_resctrl);
        let probe = || is_mounted().then(|| PathBuf::from(resctrl::MOUNT_POINT));
        self.resctrl.get_or_init(probe).as_deref()
    }

    /// Whether privileges here are privileges over the machine.
    pub fn is_in_initial_user_namespace(&self) -> bool {
        // PROC_USER_INIT_INO of linux/nsfs.h.
        const INITIAL: u64 = 0xEFFF_FFFD;
        let examine = || rustix::fs::stat("/proc/self/ns/user").map(|stat| stat.st_ino);
        *self.initial_user_namespace.get_or_init(|| examine().is_ok_and(|inode| inode == INITIAL))
    }

    /// `/proc/self/cgroup` (cgroups(7)).
    fn memberships(&self) -> Result<&str> {
        if let Some(text) = self.memberships.get() {
            return Ok(text);
        }
        let text =
            std::fs::read_to_string("/proc/self/cgroup").os(|| "cannot read /proc/self/cgroup")?;
        Ok(self.memberships.get_or_init(|| text))
    }
}
