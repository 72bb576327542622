//! Terminals and other open descriptors.

use crate::{files, sys};
use serde_json::{Value, json};
use std::fs;

/// Rows and columns of the terminal behind a descriptor.
pub fn window(fd: i32) -> Value {
    // SAFETY: winsize is four plain numbers, so all zeroes is a valid value.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize.
    if unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) } != 0 {
        return Value::Null;
    }
    json!({ "rows": size.ws_row, "columns": size.ws_col })
}

/// Standard input, output and error: terminals or not, and their settings.
pub fn streams() -> Value {
    json!([stream(0), stream(1), stream(2)])
}

fn stream(fd: i32) -> Value {
    // SAFETY: termios is plain numbers, so all zeroes is a valid value.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: TCGETS through the C library writes one termios.
    if unsafe { libc::tcgetattr(fd, &raw mut settings) } != 0 {
        return json!({ "tty": false });
    }
    // SAFETY: numbers only; -1 when it is not this session's terminal.
    let foreground = unsafe { libc::tcgetpgrp(fd) };
    json!({
        "tty": true,
        "name": fs::read_link(format!("/proc/self/fd/{fd}")).ok(),
        "window": window(fd),
        "onlcr": settings.c_oflag & libc::ONLCR != 0,
        "opost": settings.c_oflag & libc::OPOST != 0,
        "echo": settings.c_lflag & libc::ECHO != 0,
        "isig": settings.c_lflag & libc::ISIG != 0,
        "icanon": settings.c_lflag & libc::ICANON != 0,
        "foreground_group": foreground,
        "owner": sys::fstat(fd).ok().map(|stat| stat.st_uid),
    })
}

/// Whether the process has a controlling terminal: only then can /dev/tty be
/// opened.
pub fn controlling() -> Value {
    // Field 7 of /proc/self/stat, counted after the name in parentheses.
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let device = stat.as_deref().and_then(|stat| {
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(4)?.parse::<i64>().ok()
    });
    json!({ "device": device, "session": device.map(|device| device != 0) })
}

/// Every open descriptor with its kind and, when /proc is there, its target.
pub fn descriptors() -> Value {
    const LIMIT: i32 = 4096;
    // Asking for each number needs no /proc and opens nothing itself.
    let open = (0..LIMIT).filter_map(|fd| sys::fstat(fd).ok().map(|stat| (fd, stat)));
    let list: Vec<Value> = open
        .map(|(fd, stat)| {
            // SAFETY: numbers only; the descriptor is open.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            json!({
                "fd": fd,
                "kind": files::kind(stat.st_mode),
                "cloexec": flags & libc::FD_CLOEXEC != 0,
                "link": fs::read_link(format!("/proc/self/fd/{fd}")).ok(),
            })
        })
        .collect();
    json!(list)
}
