//! Commands of an attacker: what can be reached of the processes beside this one.

use crate::errno::{Outcome, invalid};
use crate::sys;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// Opens a path without reading it (`O_PATH`) and keeps it open: the number of the descriptor.
pub fn seize(path: &str) -> Outcome<Value> {
    let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    Ok(json!(file.into_raw_fd()))
}

/// Tries to make the mount behind a descriptor writable.
pub fn thaw(number: &str) -> Outcome<Value> {
    let number: libc::c_int = number.parse()?;
    let change = libc::mount_attr {
        attr_set: 0,
        attr_clr: libc::MOUNT_ATTR_RDONLY,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: an empty path that ends with NUL, and a structure of the size that is given.
    sys::check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            number,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const change,
            size_of_val(&change),
        )
    })?;
    Ok(json!("ok"))
}

/// Looks for a while into every process that is not this program, as far as the kernel allows it:
/// its program, its descriptors, whether its root has the path `mark`. The first program is kept
/// open, as `seize` does.
pub fn pry(seconds: &str, mark: &str) -> Outcome<Value> {
    let seconds: f64 = seconds.parse().map_err(invalid)?;
    let end = Instant::now() + Duration::try_from_secs_f64(seconds).map_err(invalid)?;
    let own = fs::read_link("/proc/self/exe")?;
    let mut reached = BTreeSet::new();
    let mut seized = None;
    while Instant::now() < end {
        for entry in fs::read_dir("/proc")?.flatten() {
            let process = entry.path();
            let numeric = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
            let Ok(program) = fs::read_link(process.join("exe")) else { continue };
            if !numeric || program == own {
                continue;
            }
            let path = process.join("exe");
            seized = seized.or_else(|| seize(path.to_str().unwrap_or_default()).ok());
            reached.insert(format!("program {}", program.display()));
            if process.join("root").join(mark.trim_start_matches('/')).exists() {
                reached.insert(format!("root with {mark}"));
            }
            let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
            let links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
            reached.extend(links.map(|link| format!("descriptor {}", link.display())));
        }
    }
    Ok(json!({ "reached": reached, "seized": seized }))
}
