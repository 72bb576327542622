//! A read-only root. criu makes one so soon that it cannot put a directory into it
//! any more, which it needs to change its root. So checkpoint writes down a root
//! that can be written to, and restore makes it read-only, before any process of
//! the container goes on.

use super::wire::{Value, fields, place_of_number};
use crate::error::{Context, Error, Result};
use crate::namespaces::{Kind, Visit};
use crate::protocol;
use crate::rootfs::{Op, Prepared, Workspace};
use crate::sys::{self, Clone3, Cloned};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Two numbers by which criu knows its files.
const HEAD: usize = 8;
/// In criu's `images/mnt.proto`.
const FLAGS: u32 = 5;
const MOUNT_POINT: u32 = 7;
/// The lowest bit, and so in the first byte of the number, which stays as long.
const READONLY: u8 = libc::MS_RDONLY as u8;

/// Has the images say that the root can be written to.
pub fn hide_in(images: &Path) -> Result<()> {
    let entries = std::fs::read_dir(images).os(|| format!("cannot read {}", images.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("mountpoints-") && name.ends_with(".img") {
            let path = entry.path();
            let message = || format!("cannot change {}", path.display());
            let mut bytes = std::fs::read(&path).os(message)?;
            if hide(&mut bytes) {
                std::fs::write(&path, bytes).os(message)?;
            }
        }
    }
    Ok(())
}

/// The same in the list of a mount namespace. Returns whether something was there
/// to change.
fn hide(bytes: &mut [u8]) -> bool {
    let mut place = HEAD;
    while let Some(length) = bytes.get(place..place + 4) {
        let length = length.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let Some(entry) = bytes.get_mut(place + 4..place + 4 + length) else { return false };
        let flags = place_of_number(entry, FLAGS).filter(|_| is_root(entry));
        if let Some(flags) = flags {
            let was_readonly = entry[flags] & READONLY != 0;
            entry[flags] &= !READONLY;
            return was_readonly;
        }
        place += 4 + length;
    }
    false
}

fn is_root(entry: &[u8]) -> bool {
    let is_slash = |field| field == (MOUNT_POINT, Value::Bytes(b"/"));
    fields(entry).is_some_and(|found| found.into_iter().any(is_slash))
}

/// Makes the root of a process read-only, from a child that enters its mounts.
pub fn make_root_readonly(pidfd: &OwnedFd) -> Result<()> {
    let (told, teller) = protocol::Socket::pair()?;
    let cloned = sys::clone3(&Clone3::default()).os(|| "cannot clone a process")?;
    match cloned {
        Cloned::Child => {
            if let Err(error) = change(pidfd) {
                teller.send_failure(&error);
            }
            sys::exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => {
            drop(teller);
            let done = told.wait_for_execution();
            sys::reap(pidfd.as_fd()).os(|| "cannot wait for a child")?;
            done.map_err(|error: Error| error.at("/root/readonly"))
        }
    }
}

fn change(pidfd: &OwnedFd) -> Result<()> {
    let mut visit = Visit::default();
    visit.enter_container(pidfd, &[Kind::Mount])?;
    let (mut workspace, mut nothing) = (Workspace::default(), Prepared::default());
    Op::OpenRoot("/".into()).apply(&mut workspace, &mut nothing)?;
    let changed = Op::ReadonlyRoot.apply(&mut workspace, &mut nothing);
    // The process ends here, and with it the visit.
    std::mem::forget(visit);
    changed
}

#[cfg(test)]
mod tests {
    use super::super::wire::Message;
    use super::*;

    fn image(mounts: &[(&str, i64)]) -> Vec<u8> {
        let mut image = vec![0x19, 0x43, 0x56, 0x54, 0x28, 0x39, 0x56, 0x55];
        for (point, flags) in mounts {
            let mut entry = Message::default();
            entry.number(1, 0).number(2, 300).number(FLAGS, *flags).text(6, "/").text(7, point);
            let bytes = entry.bytes();
            image.extend((bytes.len() as u32).to_le_bytes());
            image.extend(bytes);
        }
        image
    }

    #[test]
    fn only_the_root_is_changed() {
        let mut readonly = image(&[("/proc", 0x20_0001), ("/", 0x20_0001), ("/sys", 1)]);
        assert!(hide(&mut readonly));
        assert_eq!(readonly, image(&[("/proc", 0x20_0001), ("/", 0x20_0000), ("/sys", 1)]));
        assert!(!hide(&mut readonly), "it is done already");
        let mut shortest = image(&[("/", 1)]);
        assert!(hide(&mut shortest));
        assert_eq!(shortest, image(&[("/", 0)]));
    }

    #[test]
    fn what_is_no_list_of_mounts_stays_as_it_is() {
        for bytes in [b"".to_vec(), b"short".to_vec(), vec![0xff; 40], image(&[("/proc", 1)])] {
            let mut same = bytes.clone();
            assert!(!hide(&mut same));
            assert_eq!(same, bytes);
        }
    }
}
