//! The bundle that a command line means, and what it wants over its root.

use crate::cli;
use crate::config;
use crate::error::{Context, Error, Result};
use crate::rootfs::OverlayRequest;
use crate::state::check_id;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// `hako run DIR`: a directory with a slash in its name, `.` and `..`, or one with a
/// config.json that the current directory has not, is the bundle, and its name the id.
pub fn locate(id: &mut String, bundle: &mut cli::Bundle) -> Result<()> {
    let target = Path::new(&*id);
    let has_config = |directory: &Path| directory.join(config::FILE_NAME).exists();
    let free = bundle.bundle.is_none() && bundle.config.is_none();
    let is_path = id.contains('/') || matches!(id.as_str(), "." | "..");
    let is_bundle = || is_path || (!has_config(Path::new(".")) && has_config(target));
    if free && is_bundle() {
        let directory = resolve(target)?;
        let name = directory
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| Error::new("the bundle's directory has no name that could be an id"))?;
        check_id(name).map_err(|error| Error {
            message: format!("the name of the bundle's directory is no container id: {name:?}"),
            hint: Some(format!("name one: hako run --bundle {} ID", target.display())),
            ..error
        })?;
        *id = name.to_owned();
        bundle.bundle = Some(directory);
    }
    Ok(())
}

/// The absolute path of a bundle, without symbolic links.
pub fn resolve(bundle: &Path) -> Result<PathBuf> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let refused = || format!("cannot open bundle {}", bundle.display());
    let directory = rustix::fs::open(bundle, flags, Mode::empty()).os(refused)?;
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new()).os(refused)?;
    Ok(OsString::from_vec(path.into_bytes()).into())
}

/// Paths on the command line are relative to the caller's directory.
pub fn overlay_request(bundle: &cli::Bundle) -> Result<Option<OverlayRequest>> {
    let absolute =
        |path: &Path| std::path::absolute(path).os(|| format!("cannot resolve {}", path.display()));
    let Some(directory) = &bundle.overlay else { return Ok(None) };
    Ok(Some(OverlayRequest {
        directory: match directory.as_str() {
            "" => None,
            directory => Some(absolute(Path::new(directory))?),
        },
        lower: bundle.overlay_lower.iter().map(|lower| absolute(lower)).collect::<Result<_>>()?,
    }))
}
