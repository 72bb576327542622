//! The mounts of a process (proc_pid_mountinfo(5)).

use crate::error::{Context, Result};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Its number in this mount namespace.
    pub id: u64,
    /// The file system's, as MAJOR:MINOR.
    pub device: String,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where, for a process with this root directory.
    pub point: PathBuf,
    /// The type of the file system.
    pub filesystem: String,
}

impl Mounted {
    /// All mounts of a process: its pid, or "self".
    pub fn all_of(process: &str) -> Result<Vec<Self>> {
        let path = format!("/proc/{process}/mountinfo");
        let bytes = std::fs::read(&path).os(|| format!("cannot read {path}"))?;
        Ok(bytes.split(|byte| *byte == b'\n').filter_map(Self::parse).collect())
    }

    /// One line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let mut text = || Some(std::str::from_utf8(words.next()?).ok()?.to_owned());
        let id = text()?.parse().ok()?;
        text()?;
        let device = text()?;
        let (root, point) = (unescape(words.next()?), unescape(words.next()?));
        // As many optional fields as there are end with a dash.
        words.by_ref().find(|word| word == b"-")?;
        let filesystem = String::from_utf8_lossy(words.next()?).into_owned();
        Some(Self { id, device, root, point, filesystem })
    }
}

/// `\040` is a space; so are tab, newline and the backslash itself written.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let number = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn mountinfo_is_read() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402\134 rw,noatime master:1 - ext3 /dev/root rw";
        let expected = Mounted {
            id: 36,
            device: "98:0".into(),
            root: "/mnt1".into(),
            point: "/mnt 2\\".into(),
            filesystem: "ext3".into(),
        };
        assert_eq!(Mounted::parse(line.as_bytes()), Some(expected));
        assert_eq!((Mounted::parse(b""), Mounted::parse(b"x y z")), (None, None));
        assert_eq!(unescape(br"\04"), Path::new(r"\04"));
    }
}
