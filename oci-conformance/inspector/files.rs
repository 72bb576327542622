//! Commands on files: what can be read, written, made and opened inside.

use crate::errno::{Outcome, invalid};
use crate::sys;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::time::{SystemTime, UNIX_EPOCH};

/// The text of a file.
pub fn read(path: &str) -> Outcome<Value> {
    Ok(json!(String::from_utf8_lossy(&fs::read(path)?)))
}

/// Writes text to a file, which is created when missing.
pub fn write(path: &str, text: &str) -> Outcome<Value> {
    fs::write(path, text)?;
    Ok(json!("ok"))
}

/// Appends a line of text to a file, which is created when missing.
pub fn append(path: &str, text: &str) -> Outcome<Value> {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "{text}")?;
    Ok(json!("ok"))
}

/// Copies standard input to a file until its end.
pub fn save(path: &str) -> Outcome<Value> {
    let bytes = std::io::copy(&mut std::io::stdin(), &mut fs::File::create(path)?)?;
    Ok(json!({ "copied": bytes }))
}

/// Locks a file, which is created when missing, until it is closed.
pub fn lock(path: &str) -> Outcome<fs::File> {
    let file = fs::File::create(path)?;
    let exclusive = libc::LOCK_EX.into();
    sys::syscall(libc::SYS_flock, [file.as_raw_fd().into(), exclusive, 0, 0, 0, 0])?;
    Ok(file)
}

/// Counts for ever, without a pause, and writes every thousandth number to a file,
/// with the time at which it began.
pub fn count(path: &str) -> Outcome<Value> {
    let file = fs::File::create(path)?;
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).map_err(invalid)?.as_nanos();
    let mut number = 0_u64;
    loop {
        if number.is_multiple_of(1000) {
            file.write_all_at(format!("{number:020} {begin}\n").as_bytes(), 0)?;
        }
        number = std::hint::black_box(number + 1);
    }
}

/// Opens with a comma separated list of flags, e.g. `write,nofollow`.
pub fn open(path: &str, flags: &str) -> Outcome<Value> {
    let mut options = fs::OpenOptions::new();
    let mut custom = libc::O_NONBLOCK | libc::O_NOCTTY;
    for flag in flags.split(',') {
        match flag {
            "read" => drop(options.read(true)),
            "write" => drop(options.write(true)),
            "append" => drop(options.append(true)),
            "create" => drop(options.create(true)),
            "truncate" => drop(options.truncate(true)),
            "directory" => custom |= libc::O_DIRECTORY,
            "nofollow" => custom |= libc::O_NOFOLLOW,
            "path" => custom |= libc::O_PATH,
            other => return Err(invalid(format!("no such open flag: {other}"))),
        }
    }
    options.custom_flags(custom).open(path)?;
    Ok(json!("ok"))
}

/// Type, mode, owner, device numbers; a symbolic link is not followed.
pub fn stat(path: &str) -> Outcome<Value> {
    Ok(describe(path, &sys::stat(path, false)?))
}

/// Like [`stat`], but of what a symbolic link points to.
pub fn follow(path: &str) -> Outcome<Value> {
    Ok(describe(path, &sys::stat(path, true)?))
}

fn describe(path: &str, stat: &libc::stat) -> Value {
    json!({
        "type": kind(stat.st_mode),
        "mode": stat.st_mode & 0o7777,
        "uid": stat.st_uid,
        "gid": stat.st_gid,
        "major": libc::major(stat.st_rdev),
        "minor": libc::minor(stat.st_rdev),
        "size": stat.st_size,
        "links": stat.st_nlink,
        "inode": stat.st_ino,
        "device": stat.st_dev,
        "target": fs::read_link(path).ok(),
    })
}

/// The type of a file, in one word.
pub fn kind(mode: libc::mode_t) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symlink",
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        _ => "other",
    }
}

/// File system type (its magic number in hexadecimal), mount flags and size.
pub fn statfs(path: &str) -> Outcome<Value> {
    let stat = sys::statfs(path)?;
    Ok(json!({
        "type": format!("{:x}", stat.f_type),
        "flags": sys::mount_flags(path)?,
        "bytes": stat.f_blocks * stat.f_bsize.unsigned_abs(),
        "inodes": stat.f_files,
    }))
}

/// Names in a directory, sorted.
pub fn list(path: &str) -> Outcome<Value> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(json!(names))
}

/// Makes one directory.
pub fn mkdir(path: &str) -> Outcome<Value> {
    fs::create_dir(path)?;
    Ok(json!("ok"))
}

/// Removes one file.
pub fn unlink(path: &str) -> Outcome<Value> {
    fs::remove_file(path)?;
    Ok(json!("ok"))
}

/// Makes a symbolic link.
pub fn symlink(target: &str, path: &str) -> Outcome<Value> {
    std::os::unix::fs::symlink(target, path)?;
    Ok(json!("ok"))
}

/// Changes the mode, given in octal.
pub fn chmod(path: &str, mode: &str) -> Outcome<Value> {
    let mode = u32::from_str_radix(mode, 8)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(json!("ok"))
}

/// Changes the owner.
pub fn chown(path: &str, uid: &str, gid: &str) -> Outcome<Value> {
    std::os::unix::fs::lchown(path, Some(uid.parse()?), Some(gid.parse()?))?;
    Ok(json!("ok"))
}

/// Copies a file with its permissions.
pub fn copy(from: &str, to: &str) -> Outcome<Value> {
    fs::copy(from, to)?;
    Ok(json!("ok"))
}

/// Makes a device node (`c`, `b`) or a FIFO (`p`).
pub fn mknod(path: &str, kind: &str, major: &str, minor: &str) -> Outcome<Value> {
    let kind = match kind {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        other => return Err(invalid(format!("no such node type: {other}"))),
    };
    let path = sys::c_string(path)?;
    let device = libc::makedev(major.parse()?, minor.parse()?);
    // SAFETY: `path` ends with NUL.
    sys::check(unsafe { libc::mknod(path.as_ptr(), kind | 0o600, device) }.into())?;
    Ok(json!("ok"))
}
