//! What the machine knows of a user: their name, and where their runtime files are.

use std::path::PathBuf;

/// A user, as passwd(5) has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The login name.
    pub name: String,
    /// The group of a login.
    pub gid: u32,
}

/// A user's line in /etc/passwd.
pub fn login(uid: u32) -> Option<Login> {
    login_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

fn login_in(passwd: &str, uid: u32) -> Option<Login> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, user, group, ..] = fields[..] else { return None };
        let gid = group.parse().ok()?;
        (user.parse() == Ok(uid)).then(|| Login { name: name.to_owned(), gid })
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
    fn logins_come_from_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\nweb:x:1000:1001::/:\n";
        assert_eq!(login_in(passwd, 1000), Some(Login { name: "web".into(), gid: 1001 }));
        assert_eq!(login_in(passwd, 7), None);
        assert_eq!(login_in("broken\n", 1000), None);
    }
}
