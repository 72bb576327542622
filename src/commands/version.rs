//! `hako --version`: four lines, as tools read them from runc.

/// Prints the version.
pub fn print() {
    println!("hako version {}", env!("CARGO_PKG_VERSION"));
    println!("commit: {}", option_env!("HAKO_COMMIT").unwrap_or("unknown"));
    println!("spec: {SPEC_VERSION}");
}

/// Version of the runtime specification that is implemented.
const SPEC_VERSION: &str = "1.3.0";
