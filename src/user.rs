//! What the machine knows of a user: their name, and where their runtime files are.

use std::path::PathBuf;

/// The login name of a user (passwd(5)).
pub fn login_name(uid: u32) -> Option<String> {
    name_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// `XDG_RUNTIME_DIR`, unless it is a relative path, which the XDG Base Directory
/// Specification has everybody ignore.
pub fn runtime_dir() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// How a user gets a directory for their runtime files.
pub const RUNTIME_DIR_REMEDY: &str = "set XDG_RUNTIME_DIR to a directory of yours that lasts until the next boot, or use --root; a login makes /run/user/UID, and loginctl enable-linger keeps it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:\n";
        assert_eq!(name_in(passwd, 1000), Some("web".into()));
        assert_eq!(name_in(passwd, 7), None);
        assert_eq!(name_in("broken\n", 1000), None);
    }
}
