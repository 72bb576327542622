//! `hako --version`: four lines, as tools read them from runc.

/// Prints the version.
pub fn print() {
    println!("hako version {}", env!("CARGO_PKG_VERSION"));
    println!("commit: {}", option_env!("HAKO_COMMIT").unwrap_or("unknown"));
    println!("spec: {}", crate::SPEC_VERSION);
    println!("libseccomp: {}", crate::seccomp::library_version());
}
