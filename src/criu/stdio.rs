//! Where a container's standard streams lead: criu does not save what is at the
//! other end of a pipe or outside the container, but takes what hako has there
//! when it restores.

use super::mounts::{has_mount, mount_id_in};
use super::rpc::{self, option};
use super::wire::Message;
use crate::error::{Context, Error, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Its name beside the images; the same as that of other runtimes, and written
/// like theirs.
const FILE: &str = "descriptors.json";

/// The names of the streams 0 to 2: `pipe:[INODE]` as in /proc, `file[MOUNT:INODE]`
/// as criu calls a file outside the container, or a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stdio(Vec<String>);

impl Stdio {
    /// Those of a process.
    pub fn of(pid: i32) -> Result<Self> {
        let mut streams: Vec<Stream> =
            (0..3).map(|number| Stream::of(pid, number)).collect::<Result<_>>()?;
        for number in others(pid) {
            let other = Stream::of(pid, number)?;
            put_back(&mut streams, other);
        }
        Ok(Self(streams.into_iter().map(|stream| stream.name).collect()))
    }

    /// Keeps them beside the images.
    pub fn save(&self, images: &Path) -> Result<()> {
        let path = images.join(FILE);
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        std::fs::write(&path, text).os(|| format!("cannot write {}", path.display()))
    }

    /// Those of a checkpoint.
    pub fn load(images: &Path) -> Result<Self> {
        let path = images.join(FILE);
        let text = std::fs::read(&path).os(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text)
            .map(Self)
            .map_err(|error| Error::new(format!("{} is damaged: {error}", path.display())))
    }

    /// Names those outside for a dump.
    pub fn describe_outside(&self, options: &mut Message) {
        for name in self.0.iter().filter(|name| name.starts_with("file[")) {
            options.text(option::EXTERNAL, name);
        }
    }

    /// Has a restore take hako's own.
    pub fn describe_own(&self, options: &mut Message) {
        for (number, name) in self.0.iter().enumerate().take(3) {
            if is_outside(name) {
                options.message(option::INHERIT_FD, &rpc::numbered(name, number as i64));
            }
        }
    }
}

/// What a descriptor leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    name: String,
    /// For reading, for writing or both.
    access: i32,
}

impl Stream {
    fn of(pid: i32, number: usize) -> Result<Self> {
        let name = name(pid, number)?;
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"));
        let info = info.unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| i32::from_str_radix(octal.trim(), 8).ok());
        Ok(Self { name, access: flags.unwrap_or(0) & libc::O_ACCMODE })
    }
}

/// Descriptors besides the standard streams.
fn others(pid: i32) -> Vec<usize> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number > 2).collect()
}

/// A shell that has just redirected a stream keeps the stream itself elsewhere.
fn put_back(streams: &mut [Stream], other: Stream) {
    let is_known = streams.iter().any(|stream| stream.name == other.name);
    let redirected = streams
        .iter_mut()
        .find(|stream| stream.name.starts_with('/') && stream.access == other.access);
    if let Some(redirected) = redirected.filter(|_| is_outside(&other.name) && !is_known) {
        *redirected = other;
    }
}

fn is_outside(name: &str) -> bool {
    name.starts_with("pipe:[") || name.starts_with("file[")
}

fn name(pid: i32, number: usize) -> Result<String> {
    let link = format!("/proc/{pid}/fd/{number}");
    let Ok(target) = std::fs::read_link(&link) else {
        // The program has closed it.
        return Ok(String::new());
    };
    let target = target.to_string_lossy().into_owned();
    // A path: of a file or a device, of whichever mount namespace.
    if !target.starts_with('/') {
        return Ok(target);
    }
    let mount = mount_id_in(&format!("/proc/{pid}/fdinfo/{number}"))?;
    if has_mount(pid, mount)? {
        return Ok(target);
    }
    let inode = std::fs::metadata(&link).os(|| format!("cannot examine {link}"))?.ino();
    Ok(format!("file[{mount:x}:{inode:x}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_kept_as_other_runtimes_do() {
        let scratch = tempfile::tempdir().unwrap();
        let names = ["/dev/null", "pipe:[4711]", "file[1f:2a]"].map(str::to_owned);
        let stdio = Stdio(names.to_vec());
        stdio.save(scratch.path()).unwrap();
        let text = std::fs::read_to_string(scratch.path().join(FILE)).unwrap();
        assert_eq!(text, r#"["/dev/null","pipe:[4711]","file[1f:2a]"]"#);
        assert_eq!(Stdio::load(scratch.path()).unwrap(), stdio);
        let mut dump = Message::default();
        stdio.describe_outside(&mut dump);
        let mut expected = Message::default();
        expected.text(option::EXTERNAL, "file[1f:2a]");
        assert_eq!(dump, expected);
        let (mut restore, mut expected) = (Message::default(), Message::default());
        stdio.describe_own(&mut restore);
        for (name, number) in [("pipe:[4711]", 1), ("file[1f:2a]", 2)] {
            expected.message(option::INHERIT_FD, &rpc::numbered(name, number));
        }
        assert_eq!(restore, expected);
    }

    #[test]
    fn a_redirected_stream_is_found_elsewhere() {
        let stream = |name: &str, access| Stream { name: name.to_owned(), access };
        let (read, write) = (libc::O_RDONLY, libc::O_WRONLY);
        let begin = [stream("/dev/null", read), stream("/now", write), stream("pipe:[2]", write)];
        let put = |other: Stream| {
            let mut streams = begin.clone();
            put_back(&mut streams, other);
            streams
        };
        assert_eq!(put(stream("file[1:2]", write))[1], stream("file[1:2]", write));
        assert_eq!(put(stream("pipe:[1]", read))[0], stream("pipe:[1]", read));
        for other in [stream("pipe:[2]", write), stream("/log", write), stream("pipe:[9]", 2)] {
            assert_eq!(put(other), begin);
        }
    }

    #[test]
    fn a_process_has_its_own_streams_in_sight() {
        let stdio = Stdio::of(std::process::id().cast_signed()).unwrap();
        assert!(stdio.0.iter().all(|name| !name.starts_with("file[")), "{stdio:?}");
    }
}
