//! Containers of an ordinary user, whom the test makes up.

mod commands;
mod diagnosis;
mod faults;
mod joined;
mod mounts;
mod nested;
mod plan;
mod running;

use hako_integration::{Bundle, Runtime};

/// What `hako spec --rootless` writes, for the user's rootfs with the inspector.
fn specified(hako: &Runtime) -> Bundle {
    let mut bundle = hako.bundle();
    let output = hako.command(&["spec", "--rootless", "--bundle"]).arg(bundle.dir()).output().ok();
    let text = std::fs::read_to_string(bundle.dir().join("config.json")).unwrap();
    bundle.config = serde_json::from_str(&text).unwrap();
    bundle.set("/process/terminal", false).inspector("report");
    assert_eq!(output.stdout, "");
    bundle
}
