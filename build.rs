//! Has the release binary begin before libc does, see `src/sys/start.rs`, where that is built as
//! `.cargo/config.toml` says: for x86-64, static, and at the addresses it is linked for. In that
//! binary what is executed has a place of its own, see `src/layout.ld`.

const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/layout.ld");

fn main() {
    println!("cargo:rustc-check-cfg=cfg(starts_before_libc)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={LAYOUT}");
    let has = |variable: &str, value: &str| {
        std::env::var(variable).is_ok_and(|all| all.split([',', '\x1f']).any(|one| one == value))
    };
    let possible = has("CARGO_CFG_TARGET_ARCH", "x86_64")
        && has("CARGO_CFG_TARGET_OS", "linux")
        && has("CARGO_CFG_TARGET_FEATURE", "crt-static")
        && has("CARGO_ENCODED_RUSTFLAGS", "relocation-model=static");
    // A debug build can leave the seal out, for tests: see `src/weaken.rs`.
    // A linker that was asked for by name may not take scripts.
    let layout = match std::env::var("CARGO_ENCODED_RUSTFLAGS") {
        Ok(flags) if flags.contains("-fuse-ld=") => String::new(),
        _ => format!(",--script={LAYOUT}"),
    };
    if possible && std::env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_none() {
        println!("cargo:rustc-cfg=starts_before_libc");
        println!("cargo:rustc-link-arg-bins=-Wl,--entry=hako_start{layout}");
    }
}
