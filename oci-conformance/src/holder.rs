//! Processes that hold something for a case: namespaces to join, a cgroup that is not empty.

use crate::case::{Stop, skip};
use crate::isolation::OWN_BINARY;
use rustix::thread::UnshareFlags;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitCode, Stdio};

/// A process in namespaces of its own. It ends with this value.
#[derive(Debug)]
pub struct Holder {
    /// Waits for `inner`.
    outer: Child,
    /// The process that is in all the new namespaces.
    pid: u32,
}

impl Holder {
    /// Starts one with new namespaces of these types; with none it is only a process.
    pub fn start(kinds: &[&str]) -> Result<Self, Stop> {
        let mut command = Command::new(OWN_BINARY);
        command.arg("__hold").args(kinds).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut outer = command.spawn()?;
        let mut line = String::new();
        if let Some(stdout) = outer.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(pid) => Ok(Self { outer, pid }),
            Err(_) => {
                let _ = outer.wait();
                Err(skip(format!("this host refuses new {} namespaces", kinds.join(", "))))
            }
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file of one of its namespaces; `kind` as in config.json.
    pub fn namespace(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{}", self.pid, file_name(kind))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The end of standard input ends both processes.
        drop(self.outer.stdin.take());
        let _ = self.outer.wait();
    }
}

/// The name in /proc/PID/ns of a type of namespace in config.json.
pub fn file_name(kind: &str) -> &str {
    match kind {
        "network" => "net",
        "mount" => "mnt",
        other => other,
    }
}

/// `__hold KIND...`: enters new namespaces, starts a process in them, says its pid, and waits for
/// the end of standard input.
pub fn hold(kinds: &[String]) -> ExitCode {
    let flags = kinds.iter().filter_map(|kind| flag(kind));
    let entered = crate::unix::unshare(flags.fold(UnshareFlags::empty(), |all, one| all | one));
    let sleep = || Command::new(OWN_BINARY).arg("__sleep").stdin(Stdio::inherit()).spawn();
    let started = entered.and_then(|()| sleep());
    match started {
        Ok(mut child) => {
            println!("{}", child.id());
            let _ = child.wait();
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// `__sleep`: waits for the end of standard input.
pub fn sleep() -> ExitCode {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

fn flag(kind: &str) -> Option<UnshareFlags> {
    Some(match kind {
        "pid" => UnshareFlags::NEWPID,
        "network" => UnshareFlags::NEWNET,
        "mount" => UnshareFlags::NEWNS,
        "ipc" => UnshareFlags::NEWIPC,
        "uts" => UnshareFlags::NEWUTS,
        "user" => UnshareFlags::NEWUSER,
        "cgroup" => UnshareFlags::NEWCGROUP,
        "time" => UnshareFlags::NEWTIME,
        _ => return None,
    })
}
