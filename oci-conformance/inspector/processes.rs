//! Commands that start, replace and end processes.

use crate::errno::{Outcome, invalid};
use serde_json::{Value, json};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a program to its end; `id` is the user and group to run it as.
pub fn run(path: &str, args: &[&str], id: Option<&str>) -> Outcome<Value> {
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null());
    if let Some(id) = id {
        let id = id.parse()?;
        command.uid(id).gid(id);
    }
    let output = command.output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    // The output of this very program is more useful to a test when parsed.
    let parsed: Option<Value> = serde_json::from_str(&stdout).ok();
    Ok(json!({
        "code": output.status.code(),
        "signal": output.status.signal(),
        "stdout": parsed.unwrap_or_else(|| json!(stdout)),
        "stderr": String::from_utf8_lossy(&output.stderr),
    }))
}

/// Replaces this process.
pub fn exec(path: &str, args: &[&str]) -> Outcome<Value> {
    Err(Command::new(path).args(args).exec().into())
}

/// Forks a child that sleeps until it is killed, and does not wait for it.
pub fn spawn_sleep() -> Outcome<Value> {
    // SAFETY: this program has one thread, so the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        child => Ok(json!({ "child": child })),
    }
}

/// Sleeps for a number of seconds, fractions allowed.
pub fn sleep(seconds: &str) -> Outcome<Value> {
    let seconds: f64 = seconds.parse().map_err(invalid)?;
    std::thread::sleep(Duration::try_from_secs_f64(seconds).map_err(invalid)?);
    Ok(json!("slept"))
}

/// Ends this process with an exit code.
pub fn exit(code: &str) -> Outcome<Value> {
    std::process::exit(code.parse()?)
}

/// Tells whoever `NOTIFY_SOCKET` names, as sd_notify(3) does: one line a word.
pub fn notify(lines: &[&str]) -> Outcome<Value> {
    let path = std::env::var("NOTIFY_SOCKET").map_err(invalid)?;
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    Ok(json!(socket.send_to(lines.join("\n").as_bytes(), path)?))
}
