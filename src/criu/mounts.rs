//! Mounts that are not the container's own: criu calls them external, and wants
//! a name for each when it saves the container, and what is behind that name
//! when it makes it again.
//!
//! The name is the destination in `config.json`, which is known both times; that
//! of what is mounted below it goes on from there. A file that is masked, and a
//! device that is bound, has the name of the host's device.

use super::outside::{Outside, planned_mounts};
use crate::error::{Context, Error, Result};
use crate::plan::{ChildOp, Plan};
use crate::rootfs::{MountKind, Mounted, Op, Root};
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An external mount: for a checkpoint its place and its name, for a restore its
/// name and what is behind it.
pub type Mount = (PathBuf, PathBuf);

/// The device that masks a file.
const NULL: &str = "/dev/null";

/// External mounts of a container that runs, whose init is `pid`.
pub fn mounts_of(outside: &Outside, pid: i32) -> Result<Vec<Mount>> {
    let container = Mounted::all_of(&pid.to_string())?;
    let host = Mounted::all_of("self")?;
    let root = open_root(pid)?;
    let mut bound = BTreeMap::new();
    for destination in &outside.mounts {
        // A later mount may hide it; then there is nothing to name.
        if let Some(place) = root.lookup(destination)? {
            bound.insert(mount_id(&place)?, destination);
        }
    }
    Ok(external(&container, &host, &bound))
}

/// What is bound, by the id of its mount, what of the host's is below that, and
/// devices of the host's.
fn external(
    container: &[Mounted],
    host: &[Mounted],
    bound: &BTreeMap<u64, &PathBuf>,
) -> Vec<Mount> {
    let above = host.iter().filter(|line| Path::new(NULL).starts_with(&line.point));
    let devices = above.max_by_key(|line| line.point.as_os_str().len());
    let mut found: Vec<Mount> = Vec::new();
    for line in container.iter().filter(|line| line.point != Path::new("/")) {
        let is_host_s = host.iter().any(|other| other.device == line.device);
        let below = found.iter().rfind(|(point, _)| line.point.starts_with(point));
        let name = if let Some(destination) = bound.get(&line.id) {
            Some((*destination).clone())
        } else if let Some(devices) = devices.filter(|devices| devices.device == line.device) {
            let rest = line.root.strip_prefix(&devices.root).ok();
            rest.map(|rest| devices.point.join(rest))
        } else {
            let rest =
                below.and_then(|(point, name)| Some((line.point.strip_prefix(point).ok()?, name)));
            rest.filter(|_| is_host_s).map(|(rest, name)| name.join(rest))
        };
        found.extend(name.map(|name| (line.point.clone(), name)));
    }
    found
}

/// What is behind the names that a container of this plan may have.
pub fn mounts_of_plan(plan: &Plan) -> Result<Vec<Mount>> {
    let host = Mounted::all_of("self")?;
    let mut named: BTreeMap<PathBuf, PathBuf> = BTreeMap::from([(NULL.into(), NULL.into())]);
    for step in &plan.child {
        if let ChildOp::Rootfs(Op::Devices(devices)) = &step.op {
            let bound = devices.iter().filter(|device| device.bind);
            named.extend(bound.map(|device| (device.path.clone(), device.path.clone())));
        }
    }
    for mount in planned_mounts(plan) {
        let MountKind::Bind { source, recursive, .. } = &mount.kind else { continue };
        // A mount below a symbolic link is listed where it is.
        let real = std::fs::canonicalize(source).unwrap_or_else(|_| source.clone());
        let below = host.iter().filter(|line| *recursive && line.point != real);
        for line in below {
            if let Ok(rest) = line.point.strip_prefix(&real) {
                named.insert(mount.destination.join(rest), line.point.clone());
            }
        }
        named.insert(mount.destination.clone(), source.clone());
    }
    Ok(named.into_iter().collect())
}

/// Whether `id` is of a mount in the mount namespace of a process.
pub fn has_mount(pid: i32, id: u64) -> Result<bool> {
    Ok(Mounted::all_of(&pid.to_string())?.iter().any(|line| line.id == id))
}

fn open_root(pid: i32) -> Result<Root> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, &path, flags, Mode::empty());
    root.map(Root::new).os(|| format!("cannot open {path}"))
}

fn mount_id(place: &OwnedFd) -> Result<u64> {
    mount_id_in(&format!("/proc/self/fdinfo/{}", place.as_raw_fd()))
}

/// The mount that an open file is on, by its file in `/proc/PID/fdinfo`.
pub fn mount_id_in(fdinfo: &str) -> Result<u64> {
    let text = std::fs::read_to_string(fdinfo).os(|| format!("cannot read {fdinfo}"))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| Error::new(format!("{fdinfo} has no mnt_id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Mounted> {
        text.lines().filter_map(|line| Mounted::parse(line.as_bytes())).collect()
    }

    #[test]
    fn what_is_the_host_s_is_external() {
        let host = lines(
            "2 1 0:5 / /dev rw - devtmpfs x rw\n1 0 8:1 / / rw - ext4 x rw\n\
             3 1 8:2 / /srv rw - ext4 x rw\n4 3 8:3 / /srv/more rw - ext4 x rw",
        );
        let container = lines(
            "10 9 8:1 /rootfs / rw - ext4 x rw\n11 10 0:20 / /proc rw - proc x rw\n\
             12 10 0:21 / /dev rw - tmpfs x rw\n13 12 0:22 /0 /dev/console rw - devpts x rw\n\
             14 10 8:2 / /data rw - ext4 x rw\n15 14 8:3 / /data/more rw - ext4 x rw\n\
             16 14 0:23 / /data/own rw - tmpfs x rw\n17 11 0:5 /null /proc/kcore rw - devtmpfs x rw\n\
             18 11 0:20 /sys /proc/sys ro - proc x rw\n19 10 8:1 /rootfs/etc /etc ro - ext4 x rw\n\
             20 10 8:1 /file /run/link rw - ext4 x rw",
        );
        let (data, link) = (PathBuf::from("/data"), PathBuf::from("/var/run/link"));
        let bound = BTreeMap::from([(14, &data), (20, &link)]);
        let expected = [
            ("/data", "/data"),
            ("/data/more", "/data/more"),
            ("/proc/kcore", "/dev/null"),
            ("/run/link", "/var/run/link"),
        ];
        let expected = expected.map(|(point, name)| (PathBuf::from(point), PathBuf::from(name)));
        assert_eq!(external(&container, &host, &bound), expected);
    }

    #[test]
    fn the_mount_of_an_open_file_is_known() {
        let here = std::fs::File::open("/proc/self/status").unwrap();
        let id = mount_id(&here.into()).unwrap();
        assert!(has_mount(std::process::id().cast_signed(), id).unwrap());
        assert!(!has_mount(std::process::id().cast_signed(), u64::MAX).unwrap());
    }
}
