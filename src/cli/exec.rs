//! `hako exec`

use super::Channels;
use clap::Args;
use std::path::PathBuf;

/// Execute another program in a container
#[derive(Debug, Default, Args)]
pub struct Exec {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Program and its arguments; with --process, they are in the file
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        required_unless_present = "process",
        conflicts_with = "process"
    )]
    pub args: Vec<String>,
    /// File that describes the process: the object "process" of a config.json
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Do not wait for the program
    #[arg(short, long)]
    pub detach: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Add to the environment
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Ids to run as, as numbers
    #[arg(short, long, value_name = "UID[:GID]", value_parser = parse_user, allow_negative_numbers = true)]
    pub user: Option<User>,
    /// Add a supplementary group, as a number
    #[arg(short = 'g', long, value_name = "GID", value_delimiter = ',', value_parser = parse_id)]
    pub additional_gids: Vec<u32>,
    /// Add a capability
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// AppArmor profile, instead of the container's
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// SELinux label, instead of the container's
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// Cgroup below the container's to run in
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Execute it also in a paused container, where it waits for the resumption
    #[arg(long)]
    pub ignore_paused: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub channels: Channels,
}

/// `--user`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id, if it is given.
    pub gid: Option<u32>,
}

pub(super) fn parse_user(text: &str) -> Result<User, String> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(parse_id(gid)?)),
        None => (text, None),
    };
    Ok(User { uid: parse_id(uid)?, gid })
}

/// Digits and nothing else: what only looks like a number must never become
/// somebody's id. The highest number means "unchanged" to the kernel.
pub(super) fn parse_id(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = digits.then(|| text.parse().ok()).flatten();
    id.filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("{text:?} is not a number from 0 to {}", u32::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_exact_or_refused() {
        assert_eq!(parse_user("0"), Ok(User { uid: 0, gid: None }));
        assert_eq!(parse_user("1000"), Ok(User { uid: 1000, gid: None }));
        assert_eq!(parse_user("33:44"), Ok(User { uid: 33, gid: Some(44) }));
        assert_eq!(parse_user("4294967294:0"), Ok(User { uid: u32::MAX - 1, gid: Some(0) }));
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "-1",
            "+1",
            " 1",
            "1 ",
            "0x0",
            "1e3",
            "root",
            "1:root",
            "1:2:3",
            "4294967295",
            "4294967296",
            "4294967297",
            "1:4294967295",
            "٣",
        ] {
            assert!(parse_user(text).is_err(), "{text:?}");
        }
    }
}
