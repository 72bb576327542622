//! The full report: everything the process can learn about itself.

use crate::{identity, kernel, mounts, network, signals, terminal};
use serde_json::{Map, Value, json};
use std::fs;

/// One JSON object; what needs /proc is `null` where /proc is missing.
pub fn full() -> Value {
    // Descriptors first: everything below may open some for a moment.
    let descriptors = terminal::descriptors();
    let signals = signals::dispositions();
    // SAFETY: these calls always succeed and touch no memory.
    let (ppid, group, session) = unsafe { (libc::getppid(), libc::getpgrp(), libc::getsid(0)) };
    let mut report = json!({
        "pid": std::process::id(),
        "ppid": ppid,
        "process_group": group,
        "session": session,
        "umask": identity::umask(),
        "cwd": std::env::current_dir().ok(),
        "args": words(std::env::args_os()),
        "env": environment(),
        "exe": fs::read_link("/proc/self/exe").ok(),
        "names": kernel::names(),
        "capabilities": identity::capabilities(),
        "attributes": identity::attributes(),
        "rlimits": kernel::rlimits(),
        "oom_score_adj": text("/proc/self/oom_score_adj").and_then(|text| text.parse::<i32>().ok()),
        "scheduler": kernel::scheduler(),
        "io_priority": kernel::io_priority(),
        "personality": kernel::personality(),
        "memory_policy": kernel::memory_policy(),
        "cpu_affinity": kernel::cpu_affinity(),
        "keyring": kernel::session_keyring(),
        "clocks": kernel::clocks(),
        "namespaces": namespaces(),
        "uid_map": map("/proc/self/uid_map"),
        "gid_map": map("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "cgroup": text("/proc/self/cgroup"),
        "mounts": mounts::table(),
        "descriptors": descriptors,
        "signals": signals,
        "streams": terminal::streams(),
        "controlling_terminal": terminal::controlling(),
        "interfaces": network::interfaces(),
        "status": status(),
    });
    if let (Value::Object(report), Value::Object(ids)) = (&mut report, identity::ids()) {
        report.extend(ids);
    }
    report
}

fn words(words: impl Iterator<Item = std::ffi::OsString>) -> Vec<String> {
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The environment in its order, with duplicates, as `NAME=value`.
fn environment() -> Vec<String> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut list = Vec::new();
    // SAFETY: the C library keeps a null-terminated array of strings there,
    // and nothing in this program changes it.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            list.push(std::ffi::CStr::from_ptr(*next).to_string_lossy().into_owned());
            next = next.add(1);
        }
    }
    list
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_string())
}

/// Name → `type:[inode]`.
fn namespaces() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/ns") else {
        return Value::Null;
    };
    let links = entries.flatten().filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), json!(link)))
    });
    Value::Object(links.collect())
}

/// An id map as rows of `[inside, outside, count]`.
fn map(path: &str) -> Option<Vec<Vec<u64>>> {
    let row = |line: &str| line.split_whitespace().flat_map(str::parse).collect();
    Some(text(path)?.lines().map(row).collect())
}

/// Every line of /proc/self/status.
fn status() -> Value {
    let Some(text) = text("/proc/self/status") else {
        return Value::Null;
    };
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let fields: Map<String, Value> =
        fields.map(|(name, value)| (name.to_string(), json!(value.trim()))).collect();
    Value::Object(fields)
}
