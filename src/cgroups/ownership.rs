//! A cgroup that the container may write to belongs to its user
//! (config-linux.md, "Cgroup ownership").

use super::{CgroupDir, Driver, Placement};
use crate::config::Spec;
use crate::error::{Context, Error, Result};
use crate::host::Maker;
use crate::namespaces::{CloneSet, IdKind, IdMaps, Kind, to_host};
use crate::plan::{Compiler, ParentOp};
use oci_spec::runtime::Mount;
use rustix::fs::{AtFlags, Uid};
use rustix::io::Errno;
use std::path::Path;

/// What: the cgroup is given away if the container sees it as the root of its
/// own cgroup namespace, mounted writable.
pub fn plan_owner(
    spec: &Spec,
    clone: &CloneSet,
    placement: &Placement,
    maps: Option<&IdMaps>,
    user: u32,
    compiler: &mut Compiler,
) {
    let is_writable = |mount: &Mount| {
        mount.destination() == Path::new("/sys/fs/cgroup")
            && mount.source().as_deref() == Some(Path::new("cgroup"))
            && !mount.options().iter().flatten().any(|option| option == "ro")
    };
    let mounts = spec.mounts.as_deref().unwrap_or_default();
    // Whom a joined user namespace maps is not known here.
    let is_known = clone.has_user_namespace() == maps.is_some();
    if !clone.is_new(Kind::Cgroup) || !is_known || placement.driver == Driver::Disabled {
        return;
    }
    let owner = maps.map_or(Some(user), |maps| to_host(&maps.uids, user));
    let (Some(index), Some(owner @ 1..)) = (mounts.iter().position(is_writable), owner) else {
        return;
    };
    if compiler.host.maker() != Maker::User {
        compiler.parent_at(format!("/mounts/{index}"), ParentOp::OwnCgroup(owner));
    } else if owner != compiler.host.own_id(IdKind::User) {
        compiler.warn(format!(
            "mounts[{index}]: the cgroup stays root's in the container: an ordinary user can give it to nobody else"
        ));
    }
}

/// The kernel's list of files that may be given away.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// For kernels without that list.
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl CgroupDir {
    /// How: changes the owner of the directory, and of no file in it that would
    /// raise the cgroup's own limits.
    pub fn give_to(&self, user: u32) -> Result<()> {
        let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| FILES.to_owned());
        let change = |file: &str, flags| {
            let owner = Some(Uid::from_raw(user));
            match rustix::fs::chownat(self, file, owner, None, flags) {
                Err(Errno::NOENT) if !file.is_empty() => Ok(()),
                changed => changed.os(|| format!("cannot give cgroup/{file} to user {user}")),
            }
        };
        change("", AtFlags::EMPTY_PATH)?;
        let files = list.lines().map(str::trim).filter(|file| !file.is_empty());
        for file in files {
            if file.contains('/') {
                return Err(Error::new(format!(
                    "{LIST} lists {file}, which is no file of a cgroup"
                )));
            }
            change(file, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}

/// Whether a cgroup is one in which a user's systemd makes units. What is below a
/// unit is somebody else's: systemd makes nothing there.
pub fn is_managed(cgroup: &Path) -> bool {
    let mut parts = cgroup.components().map(|part| part.as_os_str().to_string_lossy());
    let is_unit = |part: &str| part.ends_with(".scope") || part.ends_with(".service");
    parts.any(|part| part.starts_with("user@") && is_unit(&part))
        && !parts.any(|part| is_unit(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_manages_is_told_from_what_is_delegated() {
        const USER: &str = "/user.slice/user-1000.slice/user@1000.service";
        for (below, managed) in [
            ("", true),
            ("/app.slice", true),
            ("/app.slice/app-x.slice", true),
            ("/app.slice/box.scope", false),
            ("/app.slice/box.service/pods", false),
        ] {
            let path = format!("{USER}{below}");
            assert_eq!(is_managed(Path::new(&path)), managed, "{path}");
        }
        assert!(!is_managed(Path::new("/box.slice")));
    }
}
