//! The directories that criu works in: of images, and of its log.

use super::rpc::option;
use super::wire::Message;
use super::worker::Worker;
use crate::error::{Context, Error, Result};
use std::fs::DirBuilder;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where images are when nobody says: below the current directory.
const DEFAULT: &str = "checkpoint";
/// How many of criu's complaints are told.
const COMPLAINTS: usize = 3;
/// The last part of a log that is looked through.
const LARGEST_LOG: u64 = 16 << 20;

/// A directory of images, and one for the log, which may be the same.
#[derive(Debug)]
pub struct Images {
    /// Of the images.
    pub path: PathBuf,
    work: Option<PathBuf>,
    log: &'static str,
    /// It was made just now: what is in it is of no use if that fails.
    is_new: bool,
}

impl Images {
    /// Makes what is missing of them, for a checkpoint.
    pub fn create(path: Option<&Path>, work: Option<&Path>) -> Result<Self> {
        let path = absolute(path.unwrap_or(Path::new(DEFAULT)))?;
        let is_new = !path.exists();
        make(&path)?;
        Self::open_both(path, work, "dump.log", is_new)
    }

    /// Opens those of a checkpoint.
    pub fn open(path: Option<&Path>, work: Option<&Path>) -> Result<Self> {
        let path = absolute(path.unwrap_or(Path::new(DEFAULT)))?;
        let images = Self::open_both(path, work, "restore.log", false)?;
        if !images.path.join("inventory.img").exists() {
            let shown = images.path.display();
            return Err(Error::new(format!("{shown} has no checkpoint: inventory.img is missing"))
                .hint("--image-path is the directory that checkpoint wrote to"));
        }
        Ok(images)
    }

    fn open_both(
        path: PathBuf,
        work: Option<&Path>,
        log: &'static str,
        is_new: bool,
    ) -> Result<Self> {
        let work = work.map(absolute).transpose()?;
        if let Some(work) = &work {
            make(work)?;
        }
        let images = Self { path, work, log, is_new };
        // That of an earlier attempt would be mistaken for this one's.
        let _ = std::fs::remove_file(images.log());
        Ok(images)
    }

    /// What a worker has to open.
    pub fn directories(&self) -> Vec<&Path> {
        std::iter::once(&self.path).chain(&self.work).map(PathBuf::as_path).collect()
    }

    /// Tells a worker about them. It looks for what it has opened itself under
    /// the numbers that hako has for it.
    pub fn describe(&self, worker: &Worker, options: &mut Message) {
        let fields = [option::IMAGES_DIR_FD, option::WORK_DIR_FD];
        for (field, fd) in fields.into_iter().zip(&worker.directories) {
            options.number(field, fd.as_raw_fd().into());
        }
        options.text(option::LOG_FILE, self.log).number(option::LOG_LEVEL, 4);
    }

    /// Lets this group search the directory, and nothing else: in a user namespace
    /// criu reads the images as its root, who is nobody outside.
    pub fn open_to(&self, group: u32) -> Result<()> {
        const OTHERS_MAY_SEARCH: u32 = 0o001;
        let message = || format!("cannot let the container's root into {}", self.path.display());
        let metadata = std::fs::metadata(&self.path).os(message)?;
        if metadata.mode() & OTHERS_MAY_SEARCH != 0 {
            return Ok(());
        }
        std::os::unix::fs::chown(&self.path, None, Some(group)).os(message)?;
        let mode = metadata.mode() & 0o7707 | 0o010;
        std::fs::set_permissions(&self.path, PermissionsExt::from_mode(mode)).os(message)
    }

    fn log(&self) -> PathBuf {
        self.work.as_ref().unwrap_or(&self.path).join(self.log)
    }

    /// Adds what criu's log says of a failure, and where it is.
    pub fn explain(&self, error: Error) -> Error {
        let log = self.log();
        let Some(text) = read(&log) else { return error };
        let complaints = complaints(&text);
        let message = match complaints.is_empty() {
            // Its own summary is the first of them.
            false => {
                let what = error.message.split(": ").next().unwrap_or_default();
                format!("{what}: {}", complaints.join("; "))
            }
            true => error.message,
        };
        Error { message, errno: None, ..error }.hint(format!("the whole log is {}", log.display()))
    }

    /// Removes what a failed checkpoint has written, but its log.
    pub fn discard(&self) {
        if !self.is_new {
            return;
        }
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.path().extension().is_none_or(|extension| extension != "log") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        // Where the log is elsewhere, or there is none, nothing is left.
        let _ = std::fs::remove_dir(&self.path);
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).os(|| format!("cannot resolve {}", path.display()))
}

/// What is in memory is nobody else's to read.
fn make(path: &Path) -> Result<()> {
    let builder = &mut DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(path)
        .os(|| format!("cannot make {}", path.display()))
}

fn read(log: &Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LARGEST_LOG))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first errors of a log, without the time and the pid before them.
fn complaints(log: &str) -> Vec<&str> {
    let errors = log.lines().filter_map(|line| Some(line[line.find("Error (")?..].trim_end()));
    errors.take(COMPLAINTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
(00.212728) 211 fdinfo 0: pos:                0 flags:           100002/0
(00.213140) Dumping path for 0 fd via self 17 [/dev/null]
(00.213693) Error (criu/files-reg.c:1790): Can't lookup mount=38 for fd=1 path=/tmp/out
(00.213797) ----------------------------------------
(00.213954)     211: Error (criu/cr-dump.c:1545): Dump files (pid: 211) failed with -1
(00.373108) Error (criu/cr-dump.c:1975): Dumping FAILED.
(00.373109) Error (criu/cr-dump.c:1976): and a fourth
";

    #[test]
    fn the_first_errors_of_a_log_are_told() {
        let expected = [
            "Error (criu/files-reg.c:1790): Can't lookup mount=38 for fd=1 path=/tmp/out",
            "Error (criu/cr-dump.c:1545): Dump files (pid: 211) failed with -1",
            "Error (criu/cr-dump.c:1975): Dumping FAILED.",
        ];
        assert_eq!(complaints(LOG), expected);
        assert!(complaints("(00.1) Warn  (criu/x.c:1): no Error\n").is_empty());
    }

    #[test]
    fn a_failure_tells_of_its_log() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("images");
        let images = Images::create(Some(&path), None).unwrap();
        let silent = images.explain(Error::new("criu could not dump the container: no"));
        assert_eq!(
            (silent.message.as_str(), silent.hint),
            ("criu could not dump the container: no", None)
        );
        std::fs::write(path.join("dump.log"), LOG).unwrap();
        std::fs::write(path.join("files.img"), "half").unwrap();
        let told = images.explain(Error::new("criu could not dump the container: no"));
        assert!(
            told.message.starts_with("criu could not dump the container: Error (criu/files-reg.c"),
            "{told}"
        );
        let log = path.join("dump.log");
        assert_eq!(told.hint, Some(format!("the whole log is {}", log.display())));
        images.discard();
        assert!(log.exists() && !path.join("files.img").exists());
    }

    #[test]
    fn a_directory_without_a_checkpoint_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let error = Images::open(Some(scratch.path()), None).unwrap_err();
        assert!(error.message.ends_with("has no checkpoint: inventory.img is missing"), "{error}");
    }
}
