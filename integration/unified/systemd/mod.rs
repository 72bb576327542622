//! Containers that systemd places.

mod bus;
mod limits;
mod log;
mod placing;
mod properties;
mod update;
mod user;

use hako_integration::Bundle;
use std::process::Command;

/// The unit of a bundle's container.
pub fn unit(bundle: &Bundle) -> String {
    format!("test-{}.scope", bundle.id())
}

/// What `systemctl` prints; its exit code is of no interest. It runs outside of
/// the test's mount namespace, in which systemd may be hidden.
pub fn systemctl(args: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args(["20", "nsenter", "--mount=/proc/1/ns/mnt", "systemctl"]);
    let output = command.args(args).output();
    let output = output.expect("systemctl");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// A property of a unit.
pub fn property(unit: &str, name: &str) -> String {
    systemctl(&["show", unit, "--value", "--property", name])
}

/// Nothing may remain of a unit, and not even that it failed.
#[track_caller]
fn assert_gone(unit: &str) {
    let state = (property(unit, "LoadState"), property(unit, "ActiveState"));
    assert_eq!(state, ("not-found".to_string(), "inactive".to_string()), "{unit}");
}
