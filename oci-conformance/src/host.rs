//! What this host has and has not: the reasons why a case is skipped.

use crate::case::{Stop, Verdict, skip};
use crate::cgroup;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The case's own view of cgroup v2.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Skips unless the cgroup controller can be used.
pub fn needs_controller(name: &str) -> Verdict {
    if cgroup::controllers(Path::new(CGROUPS)).iter().any(|controller| controller == name) {
        return Ok(());
    }
    Err(skip(format!("the cgroup controller {name} is not available")))
}

/// Skips when the cgroup controller could be used.
pub fn needs_no_controller(name: &str) -> Verdict {
    match needs_controller(name) {
        Ok(()) => Err(skip(format!("the cgroup controller {name} is available"))),
        Err(_) => Ok(()),
    }
}

/// Skips unless this program is in PATH.
pub fn needs_program(name: &str) -> Result<PathBuf, Stop> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    found
        .find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()))
        .ok_or_else(|| skip(format!("the program {name} is not installed")))
}

/// Skips unless this file exists; `what` is what its absence means.
pub fn needs_file(path: &str, what: &str) -> Verdict {
    if Path::new(path).exists() { Ok(()) } else { Err(skip(what)) }
}

/// Skips unless this process may use the capability with this number.
pub fn needs_capability(number: u32, name: &str) -> Verdict {
    if may(number) { Ok(()) } else { Err(skip(format!("the suite runs without {name}"))) }
}

/// Whether this process has a capability in its bounding set.
pub fn may(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
    set & (1 << number) != 0
}

/// Whether AppArmor is active.
pub fn has_apparmor() -> bool {
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    enabled.is_ok_and(|text| text.trim() == "Y")
}

/// Whether SELinux is active.
pub fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Runs `ip` with these words in the case's own network namespace.
pub fn ip(words: &str) -> Verdict {
    let program = needs_program("ip")?;
    let output = Command::new(program).args(words.split_whitespace()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(skip(format!("`ip {words}`: {reason}")))
}

/// Kernel release and cgroup controllers, for the head of a report.
pub fn describe(controllers: &[String]) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let controllers = if controllers.is_empty() { "none".into() } else { controllers.join(" ") };
    format!(
        "Linux {} on {}, cgroup v2 controllers: {controllers}",
        release.trim(),
        std::env::consts::ARCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The literals behind each place where one of these functions is called in the suite's source.
    fn reasons(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                found.extend(reasons(&path));
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for call in text.split("skip(").skip(1) {
                let call = call.trim_start().trim_start_matches("format!(");
                let literal = call.strip_prefix('"').and_then(|rest| rest.split('"').next());
                found.extend(literal.map(String::from));
            }
            for call in text.split("needs_file(").skip(1) {
                let literals: Vec<&str> = call.split(')').next().unwrap().split('"').collect();
                found.extend(literals.iter().rev().nth(1).map(|reason| (*reason).to_string()));
            }
        }
        found
    }

    #[test]
    fn every_reason_to_skip_is_in_the_readme() {
        let reasons = reasons(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
        assert!(reasons.len() > 20, "{reasons:?}");
        for reason in reasons {
            let fixed = reason.split('{').next().unwrap();
            assert!(include_str!("../README.md").contains(fixed), "README.md lacks: {reason}");
        }
    }
}
