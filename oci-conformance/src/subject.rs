//! A runtime under test.

use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A runtime: a name for the reports, and where it is.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// What the reports call it.
    pub label: String,
    /// Its binary.
    pub path: PathBuf,
    /// The first line of `--version`.
    pub version: String,
}

impl Subject {
    /// `PATH`, a name in `PATH`, or `LABEL=PATH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (label, path) = match text.split_once('=') {
            Some((label, path)) => (Some(label), path),
            None => (None, text),
        };
        let path = find(path).ok_or_else(|| format!("there is no runtime at {path}"))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let label = label.map(String::from).or(name).unwrap_or_default();
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(|error| format!("cannot start {}: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().next().unwrap_or("of unknown version").to_string();
        Ok(Self { label, path, version })
    }
}

fn find(path: &str) -> Option<PathBuf> {
    if path.contains('/') {
        return Path::new(path).canonicalize().ok().filter(|path| path.is_file());
    }
    let path_variable = std::env::var_os("PATH")?;
    std::env::split_paths(&path_variable).map(|dir| dir.join(path)).find(|path| path.is_file())
}
