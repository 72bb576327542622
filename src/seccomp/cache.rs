//! Compiled filters, so that a profile is compiled once and not for every
//! container.
//!
//! `ROOT/.cache/seccomp/HASH` holds the whole key beside the program: the
//! profile with everything in it, and the versions of what compiled it. So
//! a hash is only where to look, never what is believed. A cache that cannot be
//! used is no failure; one that others could write to is not used.

use super::library_version;
use super::plan::Profile;
use super::program::Program;
use crate::error::Result;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The directory of one state root's filters.
#[derive(Debug)]
pub struct Cache(PathBuf);

/// Largest file that is read; a key has some ten kilobytes.
const LARGEST: u64 = 1 << 20;
/// Profiles that are kept. More would be no use of a few, but one profile for
/// each container.
const MOST: usize = 64;
/// First bytes of a file.
const MAGIC: &[u8] = b"hako filter 1\n";

impl Cache {
    /// The cache of a state root.
    pub fn below(root: &Path) -> Self {
        Self(root.join(".cache/seccomp"))
    }

    /// Looks for the profile's program, or compiles and keeps it.
    pub fn get(
        &self,
        profile: &Profile,
        compile: impl FnOnce(&Profile) -> Result<Program>,
    ) -> Result<Program> {
        let key = key(profile);
        let name = format!("{:016x}", hash(&key));
        let directory = self.open();
        if let Some(program) = directory.as_ref().and_then(|found| load(found, &name, &key)) {
            return Ok(program);
        }
        let program = compile(profile)?;
        // Without a cache, the next container waits a little longer.
        if let Some(directory) = directory.or_else(|| self.make()) {
            make_room(&directory, &self.0);
            let _ = store(&directory, &name, &key, &program);
        }
        Ok(program)
    }

    /// The directory, if nobody else can write to it.
    fn open(&self) -> Option<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.0, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&directory).ok()?;
        is_ours(&stat).then_some(directory)
    }

    fn make(&self) -> Option<OwnedFd> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0).ok()?;
        self.open()
    }
}

/// Everything that the program depends on.
fn key(profile: &Profile) -> Vec<u8> {
    let versions = (env!("CARGO_PKG_VERSION"), library_version());
    serde_json::to_vec(&(versions, profile)).unwrap_or_default()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn is_ours(stat: &rustix::fs::Stat) -> bool {
    stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0
}

/// The program of a file, if everything about the file is as it was written.
fn load(directory: &OwnedFd, name: &str, key: &[u8]) -> Option<Program> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    let plain = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    if !plain || !is_ours(&stat) || stat.st_size as u64 > LARGEST {
        return None;
    }
    let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
    std::fs::File::from(file).take(stat.st_size as u64).read_to_end(&mut bytes).ok()?;
    decode(&bytes, key)
}

/// Written beside and renamed: a file is whole, or not there.
fn store(directory: &OwnedFd, name: &str, key: &[u8], program: &Program) -> std::io::Result<()> {
    let temporary = format!("{name}.{}", rustix::process::getpid().as_raw_nonzero());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &temporary, flags, Mode::from_raw_mode(0o600))?;
    let written = std::fs::File::from(file).write_all(&encode(key, program));
    let renamed = written.and_then(|()| {
        rustix::fs::renameat(directory, &temporary, directory, name).map_err(Into::into)
    });
    if renamed.is_err() {
        let _ = rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
    }
    renamed
}

/// A full cache is emptied: what is in use comes back with the next container.
fn make_room(directory: &OwnedFd, path: &Path) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    if names.len() >= MOST {
        for name in names {
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
}

/// Magic bytes, length of the key, the key, the program, a hash of all this.
fn encode(key: &[u8], program: &Program) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((key.len() as u64).to_le_bytes());
    bytes.extend(key);
    bytes.extend(program.to_bytes());
    let sum = hash(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], key: &[u8]) -> Option<Program> {
    let (content, sum) = bytes.split_last_chunk()?;
    if u64::from_le_bytes(*sum) != hash(content) {
        return None;
    }
    let (length, rest) = content.strip_prefix(MAGIC)?.split_first_chunk()?;
    if u64::from_le_bytes(*length) != key.len() as u64 {
        return None;
    }
    Program::from_bytes(rest.strip_prefix(key)?)
}
