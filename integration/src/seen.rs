//! Finding things in what the inspector reports.

use serde_json::Value;

/// Whether a JSON array contains a string.
#[must_use]
pub fn in_set(array: &Value, text: &str) -> bool {
    array.as_array().is_some_and(|array| array.iter().any(|item| item == text))
}

/// The mount at a path, in a full report; the topmost when there are several.
#[must_use]
#[track_caller]
pub fn mount_at<'r>(report: &'r Value, target: &str) -> &'r Value {
    find_mount(report, target).unwrap_or_else(|| {
        let mounts = report["mounts"].as_array().into_iter().flatten();
        let targets: Vec<&str> = mounts.filter_map(|mount| mount["target"].as_str()).collect();
        panic!("nothing is mounted at {target}, only at {targets:?}")
    })
}

/// Like [`mount_at`], when there may be no mount.
#[must_use]
pub fn find_mount<'r>(report: &'r Value, target: &str) -> Option<&'r Value> {
    report["mounts"].as_array()?.iter().rfind(|mount| mount["target"] == target)
}
