//! `hako --version`: four lines, as tools read them from runc.

use crate::SPEC_VERSION;

/// Version of hako.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from.
pub const COMMIT: &str = match option_env!("HAKO_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
/// Prints the version.
pub fn print() {
    println!("hako version {VERSION}");
    println!("commit: {COMMIT}");
    println!("spec: {SPEC_VERSION}");
    println!("libseccomp: {}", crate::seccomp::library_version());
}
