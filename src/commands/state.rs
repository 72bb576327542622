//! `hako state`: the container's state as JSON.

use super::{Container, Session};
use crate::error::{Context, Error, Result};
use crate::state::Status;
use crate::user;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What `state` and `list` show: the specification's state and runc's additions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    oci_version: &'a str,
    /// Id of the container.
    pub id: &'a str,
    /// Pid of its init, 0 if it has none.
    pub pid: i32,
    /// Where it is in its life.
    pub status: String,
    /// Its bundle.
    pub bundle: &'a Path,
    rootfs: &'a Path,
    /// When it was created.
    pub created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    /// Name of who created it.
    pub owner: String,
}

impl<'a> Shown<'a> {
    /// The present state of a container.
    pub fn new(container: &'a Container) -> Self {
        let record = &container.record;
        let status = container.status();
        Self {
            oci_version: &record.identity.oci_version,
            id: &record.identity.id,
            pid: match (status, record.init) {
                (Status::Stopped, _) | (_, None) => 0,
                (_, Some(init)) => init.pid,
            },
            status: status.to_string(),
            bundle: &record.identity.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.identity.annotations,
            owner: owner_name(record.owner),
        }
    }
}

/// The host's name for a user, or its number.
fn owner_name(uid: u32) -> String {
    match uid {
        0 => "root".to_owned(),
        _ => user::login(uid).map_or_else(|| format!("#{uid}"), |login| login.name),
    }
}

/// Prints the state.
pub fn run(session: &Session, id: &str) -> Result<()> {
    let container = session.container(id)?;
    print_json(&Shown::new(&container))
}

/// Prints indented JSON and a newline.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(format!("cannot encode: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Prints text; a reader that has gone away is a failure, not a panic.
pub fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).os(|| "cannot write to standard output")
}
