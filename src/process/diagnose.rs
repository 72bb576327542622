//! Why a program cannot be executed, found out after the fact: execve(2) says
//! "no such file or directory" of a script whose interpreter is missing, and
//! "exec format error" of a program for another machine.
//!
//! Everything runs inside the container, with the ids of its process, on files
//! that belong to it.

use super::elf::{self, Elf, Machine};
use crate::error::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where execvp(3) looks for a program when there is no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// How much of a file the kernel reads to find its `#!` line.
const SCRIPT_HEAD: usize = 256;
/// How many interpreters of interpreters the kernel goes through.
const INTERPRETERS: usize = 5;

/// Finds the program `name` as execvp(3) does, but without its habit of giving
/// files of unknown format to a shell: a name with a slash is itself the path,
/// any other is looked for in the directories of `path_variable` (the value of
/// `PATH`), in which nothing means `.`. Relative paths start at `cwd`, where
/// the program will be executed: the path that is returned may be relative.
///
/// # Errors
/// `exec: "NAME": executable file not found in $PATH`, or what [`explain`] says
/// of the file: it must be a regular one that the effective ids may execute.
pub fn find_executable(name: &str, path_variable: Option<&str>, cwd: &Path) -> Result<PathBuf> {
    if name.contains('/') {
        let path = cwd.join(name);
        return match check(&path) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(errno) => Err(explain(errno.raw_os_error(), &path, name)),
        };
    }
    let mut denied = None;
    for directory in path_variable.unwrap_or(DEFAULT_PATH).split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = Path::new(directory).join(name);
        let path = cwd.join(&candidate);
        match check(&path) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) if stat(&path).is_ok_and(is_regular) => {
                denied.get_or_insert(path);
            }
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(path) => explain(libc::EACCES, &path, name),
        None => Error::new(format!("exec: {name:?}: executable file not found in $PATH")),
    })
}

/// Says why executing `path`, which was asked for as `argument`, failed with
/// `errno`. Starts with `exec: "ARGUMENT": ` and ends with the kernel's words.
pub fn explain(errno: i32, path: &Path, argument: &str) -> Error {
    let mut error = match errno {
        libc::ENOENT | libc::ENOTDIR | libc::EACCES | libc::ENOEXEC | libc::ELIBBAD => {
            examine(errno, path, 0)
        }
        _ => plain(errno, path),
    };
    let mut message = format!("exec: {argument:?}");
    if path != Path::new(argument) && error.message.is_empty() {
        message = format!("{message}: {}", path.display());
    }
    if !error.message.is_empty() {
        message = format!("{message}: {}", error.message);
    }
    error.message = message;
    error
}

/// Faults that are not the file's.
fn plain(errno: i32, path: &Path) -> Error {
    let (detail, hint) = match errno {
        libc::E2BIG => (
            "the arguments and the environment are too long".to_owned(),
            "together they may take a quarter of RLIMIT_STACK, and each one 128 KiB",
        ),
        libc::ETXTBSY => (
            format!("{} is open for writing", path.display()),
            "a program cannot be executed while something still writes it",
        ),
        libc::ENOMEM => (
            String::new(),
            "the program does not fit: check the container's memory limit and RLIMIT_AS",
        ),
        libc::EAGAIN => (
            "its user has more processes than RLIMIT_NPROC allows".to_owned(),
            "raise RLIMIT_NPROC, or run fewer processes as this user",
        ),
        libc::ELOOP => (
            "too many symbolic links, or interpreters that need interpreters".to_owned(),
            "follow the links and #! lines by hand: they form a circle or a long chain",
        ),
        _ => return Error::os("", errno),
    };
    Error::os(detail, errno).hint(hint)
}

/// Looks at the file. The message may be empty when the errno says it all.
fn examine(errno: i32, path: &Path, depth: usize) -> Error {
    let status = match stat(path) {
        Ok(status) => status,
        Err(errno) => return unreachable(errno, path),
    };
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Error::os("is a directory", libc::EACCES);
    }
    if !is_regular(status) {
        return Error::os("is not a regular file", libc::EACCES);
    }
    if errno == libc::EACCES
        && let Some(error) = not_permitted(path, &status)
    {
        return error;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // A program may be executable without being readable.
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else {
        return Error::os("", errno);
    };
    if !rustix::fs::fstat(&file).is_ok_and(is_regular) {
        return Error::os("is not a regular file", libc::EACCES);
    }
    let head = read_at(&file, 0, SCRIPT_HEAD as u64);
    if let Some(line) = head.strip_prefix(b"#!") {
        script(errno, line, depth)
    } else if Elf::is_elf(&head) {
        program(errno, &file, depth)
    } else if errno == libc::ENOEXEC {
        unknown_format(&head)
    } else {
        unexplained(errno)
    }
}

/// Nothing is wrong with the file.
fn unexplained(errno: i32) -> Error {
    let error = Error::os("", errno);
    if errno == libc::EACCES {
        return error.hint("a security module (AppArmor, SELinux) may refuse it");
    }
    error
}

/// The path leads nowhere.
fn unreachable(errno: Errno, path: &Path) -> Error {
    let errno = errno.raw_os_error();
    if let Ok(target) = rustix::fs::readlink(path, Vec::new())
        && errno == libc::ENOENT
    {
        let target = target.to_string_lossy();
        return Error::os(format!("its symbolic link leads to {target:?}"), errno);
    }
    let blocked = path.ancestors().skip(1).filter(|directory| {
        errno == libc::EACCES
            && !directory.as_os_str().is_empty()
            && stat(directory).is_ok()
            && access(directory).is_err()
    });
    match blocked.last() {
        Some(directory) => Error::os(
            format!(
                "user {} may not search directory {}",
                rustix::process::geteuid(),
                directory.display()
            ),
            errno,
        )
        .hint("the user needs execute permission for every directory of the path"),
        None => Error::os(format!("stat {}", path.display()), errno),
    }
}

/// The file is there but its mount or its mode forbids to execute it.
fn not_permitted(path: &Path, status: &Stat) -> Option<Error> {
    let mount = rustix::fs::statvfs(path).ok()?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Some(
            Error::os(format!("{} lies on a noexec mount", path.display()), libc::EACCES)
                .hint("mount it without the option noexec, or put the program elsewhere"),
        );
    }
    access(path).err()?;
    Some(
        Error::os(
            format!(
                "user {} may not execute {} (mode {:04o}, owner {}:{})",
                rustix::process::geteuid(),
                path.display(),
                status.st_mode & 0o7777,
                status.st_uid,
                status.st_gid
            ),
            libc::EACCES,
        )
        .hint("give the file execute permission (chmod +x), or run it by its interpreter"),
    )
}

/// A script: `line` is what follows `#!`.
fn script(errno: i32, line: &[u8], depth: usize) -> Error {
    let end = line.iter().position(|byte| *byte == b'\n');
    let line = line[..end.unwrap_or(line.len())].trim_ascii_start();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let name = &line[..line.iter().position(blank).unwrap_or(line.len())];
    let text = String::from_utf8_lossy(name);
    if name.is_empty() {
        return Error::os("its #! line names no interpreter", errno);
    }
    if end.is_none() && name.len() == line.len() && line.len() + 2 >= SCRIPT_HEAD {
        return Error::os("its #! line is longer than 255 bytes", errno);
    }
    let mut error = interpreter(errno, name, depth);
    error.message = format!("interpreter {text:?} of its #! line{}", error.message);
    if name.ends_with(b"\r") {
        let hint = "the script has Windows line ends (CRLF): convert it, as dos2unix does";
        error.hint = Some(hint.to_owned());
    } else if error.errno == Some(libc::ENOENT) {
        error = error.hint("install the interpreter in the image, or correct the #! line");
    }
    error
}

/// What is wrong with the interpreter called `name`: `": …"`, or nothing.
fn interpreter(errno: i32, name: &[u8], depth: usize) -> Error {
    let path = Path::new(OsStr::from_bytes(name));
    if rustix::fs::lstat(path).is_err_and(|errno| errno == Errno::NOENT) {
        return Error::os("", libc::ENOENT);
    }
    if depth >= INTERPRETERS {
        return Error::os(": interpreters are nested too deeply", errno);
    }
    let mut error = examine(errno, path, depth + 1);
    if !error.message.is_empty() {
        error.message = format!(": {}", error.message);
    }
    error
}

/// An ELF file.
fn program(errno: i32, file: &OwnedFd, depth: usize) -> Error {
    let Some(elf) = Elf::read(|offset, length| read_at(file, offset, length)) else {
        return Error::os("its ELF header is damaged", errno);
    };
    if elf.machine != Machine::NATIVE {
        return foreign(errno, elf.machine);
    }
    if errno == libc::ENOEXEC {
        return Error::os(
            match elf.kind {
                elf::ET_REL => "it is an object file, which is not linked yet",
                elf::ET_CORE => "it is a core dump",
                _ => "its ELF file is damaged",
            },
            errno,
        );
    }
    let Some(name) = elf.interpreter else {
        return unexplained(errno);
    };
    let mut error = interpreter(errno, &name, depth);
    let text = String::from_utf8_lossy(&name);
    error.message = format!("its dynamic loader {text:?}{}", error.message);
    if error.errno == Some(libc::ENOENT) {
        let library = if text.contains("musl") { "musl" } else { "glibc" };
        error = error.hint(format!(
            "the program is linked with {library}: use an image that has it, or link it statically"
        ));
    }
    error
}

/// A program for another machine.
fn foreign(errno: i32, machine: Machine) -> Error {
    // Only binfmt_misc takes such a file, and then misses its own interpreter.
    if errno == libc::ENOENT {
        return Error::os(
            format!("it is built for {machine}, and the emulator registered for it is not here"),
            errno,
        )
        .hint("register the emulator in binfmt_misc with flag F, which opens it on the host");
    }
    let error = Error::os(
        format!("it is built for {machine}, but this machine is {}", Machine::NATIVE),
        errno,
    );
    match (machine.platform(), Machine::NATIVE.platform()) {
        (Some(foreign), Some(native)) if foreign != native => error.hint(format!(
            "use an image for linux/{native}, or install an emulator for linux/{foreign} (qemu-user, binfmt_misc)"
        )),
        _ => error,
    }
}

/// Neither a script nor ELF.
fn unknown_format(head: &[u8]) -> Error {
    if head.is_empty() {
        return Error::os("it is empty", libc::ENOEXEC);
    }
    if head.starts_with(b"\xef\xbb\xbf#!") {
        return Error::os("a byte order mark precedes its #! line", libc::ENOEXEC)
            .hint("save the script as UTF-8 without BOM");
    }
    Error::os("it has no #! line and is no ELF program", libc::ENOEXEC)
        .hint("start a script with a line such as #!/bin/sh")
}

/// A regular file that the effective ids may execute.
fn check(path: &Path) -> Result<(), Errno> {
    if is_regular(stat(path)?) { access(path) } else { Err(Errno::ACCESS) }
}

fn stat(path: &Path) -> Result<Stat, Errno> {
    rustix::fs::stat(path)
}

fn is_regular(status: Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::RegularFile
}

/// Whether the effective ids may execute the file, or search the directory.
fn access(path: &Path) -> Result<(), Errno> {
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// What there is of `length` bytes at `offset`.
fn read_at(file: impl AsFd, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        let Some(at) = offset.checked_add(filled as u64) else {
            break;
        };
        match rustix::io::pread(&file, &mut bytes[filled..], at) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
    }
    bytes.truncate(filled);
    bytes
}

#[cfg(test)]
mod tests;
