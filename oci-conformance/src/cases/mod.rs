//! All cases, one file for each theme.

mod cgroups;
mod config;
mod devices;
mod engine;
mod exec;
mod features;
mod hooks;
mod hooks_failing;
mod idmap;
mod kernel;
mod lifecycle;
mod mount_options;
mod mounts;
mod namespaces;
mod network;
mod paths;
mod privileges;
mod process;
mod resources;
mod seccomp;
mod state;
mod terminal;

use crate::case::{Case, Stop, contains, fail};
use serde_json::Value;

/// Every list of cases. The order does not matter.
const THEMES: &[&[Case]] = &[
    lifecycle::CASES,
    state::CASES,
    hooks::CASES,
    hooks_failing::CASES,
    config::CASES,
    process::CASES,
    privileges::CASES,
    mounts::CASES,
    mount_options::PLAIN,
    mount_options::CONTRARY,
    mount_options::BIND,
    mount_options::PROPAGATION,
    mount_options::RECURSIVE,
    mount_options::OTHER,
    idmap::CASES,
    namespaces::KINDS,
    namespaces::CASES,
    devices::DEFAULTS,
    devices::CASES,
    network::CASES,
    paths::CASES,
    kernel::CASES,
    cgroups::CASES,
    resources::CASES,
    seccomp::OPERATORS,
    seccomp::CASES,
    features::CASES,
    engine::CASES,
    exec::CASES,
];

/// Every case.
pub fn all() -> impl Iterator<Item = &'static Case> {
    THEMES.iter().copied().flatten()
}

/// The cases whose id contains one of the texts; all without any text.
pub fn matching(filter: &[String]) -> Vec<&'static Case> {
    all()
        .filter(|case| filter.is_empty() || filter.iter().any(|text| case.id.contains(text)))
        .collect()
}

/// The topmost mount at a path, in the inspector's full report.
fn mount_at<'r>(report: &'r Value, target: &str) -> Result<&'r Value, Stop> {
    let mounts = report["mounts"].as_array();
    let found = mounts.and_then(|mounts| mounts.iter().rfind(|mount| mount["target"] == target));
    found.ok_or_else(|| fail(format!("a mount at {target}"), "none"))
}

/// Whether the mount at a path has an option.
fn has_option(report: &Value, target: &str, option: &str) -> Result<bool, Stop> {
    Ok(contains(&mount_at(report, target)?["options"], option))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_have_a_theme() {
        let mut ids: Vec<&str> = all().map(|case| case.id).collect();
        assert!(ids.iter().all(|id| id.contains('.')), "an id is THEME.WHAT");
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id is there twice");
    }

    #[test]
    fn a_filter_is_a_part_of_the_id() {
        let id = all().next().map_or("", |case| case.id);
        assert!(matching(&[id.to_string()]).iter().any(|case| case.id == id));
        assert!(matching(&["no such thing".to_string()]).is_empty());
        assert_eq!(matching(&[]).len(), all().count());
    }
}
