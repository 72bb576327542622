//! `hako --version`: four lines, as tools read them from runc.

use super::state::print;
use crate::SPEC_VERSION;
use crate::error::Result;

/// Version of hako.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit it was built from.
pub const COMMIT: &str = match option_env!("HAKO_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Prints the version.
pub fn run() -> Result<()> {
    let library = crate::seccomp::library_version();
    print(&format!(
        "hako version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC_VERSION}\nlibseccomp: {library}\n"
    ))
}
