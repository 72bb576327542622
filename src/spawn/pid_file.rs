//! `--pid-file`: the number of the process, for whoever waits for it.

use crate::error::{Context, Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes it beside and renames it: nobody ever sees half a number.
///
/// # Errors
/// Something is there that is no file, such as /dev/stdout: it would be replaced.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let message = || format!("cannot write pid file {}", path.display());
    let mut name = std::ffi::OsString::from(".");
    name.push(
        path.file_name().ok_or_else(|| Error::new(format!("{}: not a file name", message())))?,
    );
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(Error::new(format!("{}: what is there is no regular file", message())));
    }
    let temporary = path.with_file_name(name);
    // What another one left, or planted: it is not written through.
    let _ = std::fs::remove_file(&temporary);
    File::create_new(&temporary)
        .and_then(|mut file| write!(file, "{pid}"))
        .and_then(|()| std::fs::rename(&temporary, path))
        .os(message)
        .inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

/// Removes it: the process is gone. Only if it was written by now; what was there
/// before is the caller's.
pub fn remove(path: &Path, pid: i32) {
    let pid = pid.to_string();
    let is_like_it = std::fs::symlink_metadata(path)
        .is_ok_and(|there| there.is_file() && there.len() == pid.len() as u64);
    if is_like_it && std::fs::read(path).is_ok_and(|text| text == pid.as_bytes()) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_no_file_is_neither_replaced_nor_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, link) = (scratch.path().join("pid"), scratch.path().join("link"));
        symlink("/dev/null", &link).unwrap();
        assert!(write(&link, 1).is_err());
        remove(&link, 1);
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("/dev/null"));

        symlink(scratch.path().join("victim"), scratch.path().join(".pid")).unwrap();
        write(&file, 42).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "42");
        assert!(!scratch.path().join("victim").exists());
        remove(&file, 41);
        assert!(file.exists(), "it is about another process");
        remove(&file, 42);
        assert!(!file.exists());
    }
}
