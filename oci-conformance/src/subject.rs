//! A runtime under test.

use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        let version = version(&path)
            .map_err(|error| format!("cannot start {}: {error}", path.display()))?
            .unwrap_or_else(|| "of unknown version".to_owned());
        Ok(Self { label, path, version })
    }
}

/// How long a runtime may take to say its version.
const LIMIT: Duration = Duration::from_secs(5);

/// The first line of `--version`, if there is one in time.
fn version(path: &Path) -> std::io::Result<Option<String>> {
    let mut child = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let begin = Instant::now();
    while child.try_wait()?.is_none() {
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let Some(mut stdout) = child.stdout.take() else { return Ok(None) };
    // What it has left running may hold the pipe open.
    rustix::io::ioctl_fionbio(&stdout, true)?;
    let mut said = [0; 4096];
    let length = stdout.read(&mut said).unwrap_or(0);
    Ok(String::from_utf8_lossy(&said[..length]).lines().next().map(str::to_owned))
}

fn find(path: &str) -> Option<PathBuf> {
    if path.contains('/') {
        return Path::new(path).canonicalize().ok().filter(|path| path.is_file());
    }
    let path_variable = std::env::var_os("PATH")?;
    std::env::split_paths(&path_variable).map(|dir| dir.join(path)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_hangs_has_no_version() {
        let directory =
            std::env::temp_dir().join(format!("oci-conformance-version-{}", std::process::id()));
        // Written by another process: one that a neighbour forks would hold it open.
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            let script =
                "mkdir -p \"${1%/*}\"; printf '#!/bin/sh\\n%s\\n' \"$2\" >\"$1\"; chmod +x \"$1\"";
            let written =
                Command::new("sh").args(["-c", script, "sh"]).arg(&path).arg(text).status();
            assert!(written.unwrap().success());
            path
        };
        let says = version(&write("says", "echo one; echo two; sleep 1 &")).unwrap();
        assert_eq!(says.as_deref(), Some("one"));
        assert_eq!(version(&write("hangs", "exec sleep 60")).unwrap(), None);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
