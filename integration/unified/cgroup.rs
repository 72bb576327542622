//! Reading a container's cgroup from outside.

use hako_integration::{Bundle, cgroup_dir};
use std::fs;

/// A file of the cgroup.
#[track_caller]
pub fn file(bundle: &Bundle, name: &str) -> String {
    let path = cgroup_dir(bundle.cgroup()).join(name);
    let text = fs::read_to_string(&path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
}

/// One number of a file with a key and a number on each line.
#[track_caller]
pub fn stat(bundle: &Bundle, name: &str, key: &str) -> u64 {
    let text = file(bundle, name);
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {key} in {text}")).parse().unwrap()
}
