//! Facts about the host, found out once and only when asked for.

use crate::cgroups::{self, Driver, Placement, systemd};
use crate::error::{Context, Error, Result};
use crate::namespaces::{self, Account, IdKind, IdMapping, Kind};
use crate::process;
use crate::resctrl;
use crate::user;
use oci_spec::runtime::Arch;
use rustix::fs::{Access, statfs};
use rustix::thread::CapabilitySet;
use serde::Serialize;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// Who makes containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Maker {
    /// Root of the machine.
    Root,
    /// Root of a user namespace only.
    NamespaceRoot,
    /// A user without privilege: all of it comes from the user namespace that
    /// is made for the container.
    User,
}

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
    owned: [OnceCell<bool>; Kind::ALL.len()],
    ids: OnceCell<[u32; 2]>,
    own_maps: [OnceCell<Vec<IdMapping>>; 2],
    denies_setgroups: OnceCell<bool>,
    account: OnceCell<Account>,
    delegated_cgroup: OnceCell<Option<PathBuf>>,
    delegated_controllers: OnceCell<Vec<String>>,
    systemd: OnceCell<systemd::Facts>,
    booted_by_systemd: OnceCell<bool>,
}

impl Host {
    /// The machine hako runs on.
    pub fn probe() -> Result<Self> {
        Ok(Self { capabilities: process::own_permitted()?, ..Self::default() })
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
        let _ = host.booted_by_systemd.set(true);
        let _ = host
            .systemd
            .set(systemd::Facts { instance: systemd::Instance::System, root: PathBuf::from("/") });
        host
    }

    /// The same machine for a user 1000 called web: without privilege and without a
    /// cgroup, but with 65536 ids.
    pub fn example_of_user() -> Self {
        let host = Self { capabilities: 0, ..Self::example() };
        let _ = host.ids.set([1000, 1000]);
        let _ = host.account.set(Account::example());
        let _ = host.delegated_cgroup.set(None);
        host
    }

    /// The same machine for a rootless engine: root of a user namespace with a
    /// mount namespace of its own, and nothing else.
    pub fn example_of_namespace_root() -> Self {
        let host = Self { initial_user_namespace: OnceCell::from(false), ..Self::example() };
        for kind in Kind::ALL {
            let _ = host.owned[kind as usize].set(kind == Kind::Mount);
        }
        let root = IdMapping { container: 0, host: 1000, size: 1 };
        let others = IdMapping { container: 1, host: 100_000, size: 65_536 };
        for map in &host.own_maps {
            let _ = map.set(vec![root, others]);
        }
        let _ = host.denies_setgroups.set(false);
        let _ = host.delegated_cgroup.set(None);
        host
    }

    /// What the same machine is to root.
    #[must_use]
    pub fn as_root(&self) -> Self {
        let is_initial = OnceCell::from(true);
        Self { capabilities: u64::MAX >> 23, initial_user_namespace: is_initial, ..self.clone() }
    }

    /// Who makes containers here.
    pub fn maker(&self) -> Maker {
        if self.capabilities & CapabilitySet::SYS_ADMIN.bits() == 0 {
            Maker::User
        } else if self.is_in_initial_user_namespace() {
            Maker::Root
        } else {
            Maker::NamespaceRoot
        }
    }

    /// Whether this process has privilege over its namespace of this kind: it
    /// may leave it and come back, and change what belongs to it.
    pub fn owns(&self, kind: Kind) -> bool {
        match self.maker() {
            Maker::Root => true,
            Maker::NamespaceRoot => {
                *self.owned[kind as usize].get_or_init(|| namespaces::is_own(kind))
            }
            Maker::User => false,
        }
    }

    /// Whether ids of this kind may be mapped without help.
    pub fn maps_any(&self, kind: IdKind) -> bool {
        namespaces::maps_any(self.capabilities, kind)
    }

    /// The user or group that hako runs as.
    pub fn own_id(&self, kind: IdKind) -> u32 {
        let probe = || {
            let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
            [user.as_raw(), group.as_raw()]
        };
        self.ids.get_or_init(probe)[kind as usize]
    }

    /// The lines of the map of the user namespace that hako is in; `None` where
    /// that is the initial one, which has all ids.
    pub fn own_map(&self, kind: IdKind) -> Option<&[IdMapping]> {
        let probe = || namespaces::own_map(kind);
        (!self.is_in_initial_user_namespace())
            .then(|| self.own_maps[kind as usize].get_or_init(probe).as_slice())
    }

    /// Whether the user namespace that hako is in denies setgroups(2), and so do all
    /// that are made in it.
    pub fn denies_setgroups(&self) -> bool {
        !self.is_in_initial_user_namespace()
            && *self.denies_setgroups.get_or_init(process::denies_setgroups)
    }

    /// The user who runs hako.
    pub fn account(&self) -> &Account {
        let probe = || {
            let [users, groups] = [IdKind::User, IdKind::Group];
            let maps = [self.own_map(users), self.own_map(groups)];
            Account::probe(self.own_id(users), self.own_id(groups), maps)
        };
        self.account.get_or_init(probe)
    }

    /// The cgroup in which this process, which is not root of the machine, may
    /// make others: the one above its own, or its own. Not one that the user's
    /// systemd manages, and might change or remove.
    pub fn delegated_cgroup(&self) -> Option<&Path> {
        let probe = || {
            let (hierarchy, own) = (self.cgroup_hierarchy().ok()?, self.own_cgroup().ok()?);
            if own.parent().is_some_and(cgroups::is_managed) {
                return None;
            }
            let may_write = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
            let may_fill = |path: &&Path| {
                let directory = hierarchy.join(path.strip_prefix("/").unwrap_or(path));
                may_write(&directory) && may_write(&directory.join("cgroup.procs"))
            };
            // A cgroup out of sight of the cgroup namespace begins with "..".
            let is_visible = |path: &&Path| !path.starts_with("/..");
            own.parent()
                .into_iter()
                .chain([own])
                .filter(is_visible)
                .find(may_fill)
                .map(Path::to_owned)
        };
        self.delegated_cgroup.get_or_init(probe).as_deref()
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

    /// Controllers that a cgroup at this place can have.
    pub fn controllers_for(&self, placement: &Placement) -> &[String] {
        if self.maker() == Maker::Root {
            return self.controllers();
        }
        self.delegated_controllers.get_or_init(|| {
            let directory = placement.directory();
            let near = match &placement.driver {
                Driver::Systemd(_) => self.systemd().ok().map(|systemd| {
                    let root = systemd.root.strip_prefix("/").unwrap_or(&systemd.root);
                    placement.hierarchy.join(root)
                }),
                Driver::Cgroupfs => {
                    directory.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
                }
                Driver::Disabled => None,
            };
            let list = near.and_then(|directory| cgroups::controllers_at(&directory).ok());
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

    /// Whether systemd hands out the cgroups of this machine.
    pub fn is_booted_by_systemd(&self) -> bool {
        *self.booted_by_systemd.get_or_init(systemd::is_booted)
    }

    /// Whether the user's own systemd could make units.
    pub fn has_systemd_of_user(&self) -> bool {
        let listens =
            || user::runtime_dir().is_some_and(|dir| dir.join("systemd/private").exists());
        self.maker() == Maker::User
            && (self.systemd.get().is_some() || listens())
            && self.systemd().is_ok_and(|systemd| systemd.instance == systemd::Instance::User)
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
        self.resctrl.get_or_init(resctrl::mounted).as_deref()
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
