//! newuidmap(1) and newgidmap(1), which map more of a user's ids than the kernel
//! lets the user map.

use super::subordinate::IdKind;
use crate::user::Login;
use rustix::fs::{Access, StatVfsMountFlags};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A program with more privilege than its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Helper {
    /// It can be used.
    Ready(PathBuf),
    /// It is not installed.
    Missing,
    /// It is there, but would not help.
    Powerless {
        /// Where it is.
        path: PathBuf,
        /// Why, as the end of a sentence.
        reason: &'static str,
        /// What to do about it.
        remedy: String,
    },
}

/// Who calls it, as far as it matters to the helpers.
#[derive(Debug)]
pub struct Caller<'a> {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Their line in passwd(5); `None` if something else has it.
    pub login: Option<&'a Login>,
    /// No such line is anywhere.
    pub is_nobody: bool,
    /// They are in a user namespace other than the initial one.
    pub is_namespaced: bool,
}

impl Helper {
    /// Looks for the one that maps such ids.
    pub fn find(kind: IdKind, caller: &Caller) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let standard = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
        let directories =
            std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(standard);
        let found = directories.map(|dir| dir.join(kind.helper())).find(|path| path.is_file());
        let Some(path) = found else { return Self::Missing };
        match lack_of_program(&path, caller).or_else(|| lack_of_caller(caller)) {
            Some((reason, remedy)) => Self::Powerless { path, reason, remedy },
            None => Self::Ready(path),
        }
    }

    /// Why it cannot be used, and what to do about it.
    pub fn lack(&self, kind: IdKind) -> Option<(String, &str)> {
        match self {
            Self::Ready(_) => None,
            Self::Missing => Some((
                format!("{} is not installed", kind.helper()),
                "as root: apt-get install uidmap (dnf install shadow-utils, apk add shadow-uidmap)",
            )),
            Self::Powerless { path, reason, remedy } => {
                Some((format!("{} {reason}", path.display()), remedy))
            }
        }
    }
}

type Lack = (&'static str, String);

/// It must be setuid, or have a capability of the file's (capabilities(7)), and the
/// kernel must grant that.
fn lack_of_program(path: &Path, caller: &Caller) -> Option<Lack> {
    const SETUID: u32 = 0o4000;
    let metadata = std::fs::metadata(path).ok()?;
    let is_roots = metadata.uid() == 0;
    if rustix::fs::access(path, Access::EXEC_OK).is_err() {
        return Some((
            "may not be executed by hako's user",
            format!("as root: chmod a+rx {}", path.display()),
        ));
    }
    let by_mode = is_roots && metadata.mode() & SETUID != 0;
    if !by_mode && !has_file_capabilities(path) {
        if caller.is_namespaced && metadata.uid() == UNKNOWN {
            return Some((
                "has an owner whom the user namespace that hako is in does not know",
                "enter that namespace as its root (unshare -r), or start hako outside of it"
                    .to_owned(),
            ));
        }
        let install = "install the package uidmap (shadow-utils) again";
        let remedy = match is_roots {
            true => format!("as root: chmod u+s {}, or {install}", path.display()),
            // Whoever can write to it would be root.
            false => format!("it is not root's: put another one before it in PATH, or {install}"),
        };
        return Some(("is neither setuid root nor has capabilities of its own", remedy));
    }
    let on = rustix::fs::statvfs(path).map(|fs| fs.f_flag);
    if on.is_ok_and(|flags| flags.contains(StatVfsMountFlags::NOSUID)) {
        return Some((
            "is on a file system that is mounted nosuid",
            "as root: mount -o remount,suid the file system it is on".to_owned(),
        ));
    }
    rustix::thread::no_new_privs().unwrap_or(false).then(|| {
        (
            "gets no privilege, since hako was started with no_new_privs",
            "start hako without no_new_privs (NoNewPrivileges= of systemd, setpriv --no-new-privs)"
                .to_owned(),
        )
    })
}

/// The owner of files whose owner has no meaning in a user namespace
/// (/proc/sys/kernel/overflowuid).
const UNKNOWN: u32 = 65_534;

/// They ask passwd(5) who calls them, and serve that user's own processes.
fn lack_of_caller(caller: &Caller) -> Option<Lack> {
    if caller.is_nobody {
        return Some((
            "needs a line in /etc/passwd for hako's user, and there is none",
            remedy_for_nobody(caller.uid),
        ));
    }
    let group = caller.login?.gid;
    (group != caller.gid && !serves_any_group()).then(|| {
        let remedy =
            format!("start hako with your login group, which is {group} (newgrp and sg change it)");
        ("serves only who is in the group of their line in /etc/passwd", remedy)
    })
}

/// How a user gets a line in /etc/passwd.
pub fn remedy_for_nobody(uid: u32) -> String {
    format!(
        "as root: useradd --uid {uid} NAME, after which usermod --add-subuids can give NAME ids"
    )
}

/// As login.defs(5) can have it.
fn serves_any_group() -> bool {
    let text = std::fs::read_to_string("/etc/login.defs").unwrap_or_default();
    text.lines().any(|line| {
        line.split_whitespace().collect::<Vec<_>>() == ["GRANT_AUX_GROUP_SUBIDS", "yes"]
    })
}

fn has_file_capabilities(path: &Path) -> bool {
    rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64][..]).is_ok()
}
