//! Tells the harness for which target it is built: cargo names the directory
//! of the release binary after it.

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=HAKO_TARGET={target}");
}
