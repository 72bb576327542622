//! What is remembered of a container between commands.
//!
//! `ROOT/ID/state.json` says everything `start`, `kill`, `delete` and `exec`
//! need; none of them reads config.json again. A status is never stored: it is
//! derived from the process and the gate. A process is known by its pid and
//! its start time, so that a pid used again is not mistaken for it.

mod directory;
mod timestamp;

pub use directory::{Lock, NO_CONTAINER, StateDir, list};
pub use timestamp::timestamp;

use crate::cgroups;
use crate::config;
use crate::criu::Outside;
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::namespaces::Entry;
use crate::plan::Identity;
use crate::process::Process;
use crate::resctrl;
use crate::unique_pid::UniquePid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Contents of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Format version.
    pub version: u32,
    /// Id, bundle, annotations.
    pub identity: Identity,
    /// Absolute path of the root directory.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 in UTC.
    pub created: String,
    /// User id of who created it.
    pub owner: u32,
    /// Its first process, once there is one.
    pub init: Option<UniquePid>,
    /// Its cgroup.
    pub cgroup: cgroups::Record,
    /// Its share of caches and bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<resctrl::Record>,
    /// Whether the container has a pid namespace of its own, whose end ends
    /// every process in it.
    pub own_pid_namespace: bool,
    /// How further processes get into its namespaces.
    pub entry: Entry,
    /// What of it is not its own, for checkpoint.
    #[serde(default, skip_serializing_if = "Outside::is_empty")]
    pub outside: Outside,
    /// Checkpoint has ended it, so that restore may take its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpointed: bool,
    /// Restore has made its init, which never executes anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
    /// The resolved process.
    pub process: Process,
    /// Hooks still to run.
    pub hooks: Hooks,
}

impl Record {
    /// Version of the file's format.
    pub const VERSION: u32 = 1;
}

/// Where a container is in its life (runtime.md, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `create` has not finished.
    Creating,
    /// Waits for `start`.
    Created,
    /// Runs the program.
    Running,
    /// Has its processes stopped by `pause`.
    Paused,
    /// Has no process any more.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// Reads a record from bytes.
///
/// # Errors
/// A sentence on what is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Record> {
    let record: Record = config::decode(bytes, "it", &mut Vec::new())?;
    if record.version != Record::VERSION {
        let message = format!("format {} is not {}", record.version, Record::VERSION);
        return Err(Error::new(message).at("/version"));
    }
    if let Some(init) = record.init.filter(|init| init.pid < 1) {
        return Err(Error::new(format!("{} is no process id", init.pid)).at("/init/pid"));
    }
    Ok(record)
}

/// Longest container id.
const LONGEST_ID: usize = 255;

/// Ids become file names: letters, digits and `_+.-`, a letter or digit first.
pub fn check_id(id: &str) -> Result<()> {
    let mut bytes = id.bytes();
    let valid = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte))
        && id.len() <= LONGEST_ID;
    valid.then_some(()).ok_or_else(|| {
        Error::new(format!("invalid container id {:?}", id.chars().take(64).collect::<String>()))
            .hint("letters, digits and _ + . - are allowed, a letter or digit first, 255 at most")
    })
}

/// State of a container as the specification shows it to hooks and callers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

impl<'a> ContainerState<'a> {
    /// The state of `identity`.
    pub fn new(identity: &'a Identity, status: &'a str, pid: Option<i32>) -> Self {
        Self {
            oci_version: &identity.oci_version,
            id: &identity.id,
            status,
            pid,
            bundle: &identity.bundle,
            annotations: &identity.annotations,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names_and_nothing_else() {
        for good in ["a", "web-1", "A.b_c+d", "0"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", ".a", "a/b", "a b", "a\n", "ä", &"x".repeat(256)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn damaged_records_are_refused() {
        for bytes in ["", "{}", "{\"version\": 2}", "[]"] {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }
}
