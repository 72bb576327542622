//! Where the programs under test and inside the containers are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The workspace, one above this package.
fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package lies in the workspace")
}

/// The runtime to test: a peer named by `HAKO_RUNTIME`, the binary named by
/// `HAKO`, or the release build of this workspace.
pub fn runtime() -> PathBuf {
    let chosen = std::env::var_os("HAKO_RUNTIME").or_else(|| std::env::var_os("HAKO"));
    let built = || workspace().join("target").join(env!("HAKO_TARGET")).join("release/hako");
    let path = chosen.map_or_else(built, PathBuf::from);
    assert!(path.is_file(), "there is no runtime at {}: run `make build`", path.display());
    path
}

/// A peer of the host's, by its name.
pub fn peer(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut places = places.map(|dir| dir.join(name));
    places.find(|path| path.is_file()).unwrap_or_else(|| panic!("{name} is not installed"))
}

/// hako as a debug build: the binary named by `HAKO_DEBUG` where nothing can be
/// built, or else built once for each test run.
pub fn debug_build() -> &'static Path {
    static DEBUG_BUILD: OnceLock<PathBuf> = OnceLock::new();
    DEBUG_BUILD.get_or_init(|| {
        let given = std::env::var_os("HAKO_DEBUG").map(PathBuf::from);
        given.unwrap_or_else(|| build(&["--package", "hako", "--bin", "hako"], "debug/hako"))
    })
}

/// The inspector: the binary named by `HAKO_INSPECTOR` where nothing can be
/// built, or else built once for each test run so that it is never stale.
pub fn inspector() -> &'static Path {
    static INSPECTOR: OnceLock<PathBuf> = OnceLock::new();
    INSPECTOR.get_or_init(|| {
        std::env::var_os("HAKO_INSPECTOR").map_or_else(build_inspector, PathBuf::from)
    })
}

fn build_inspector() -> PathBuf {
    let package = ["--release", "--package", "oci-conformance", "--bin", "oci-inspector"];
    build(&package, "release/oci-inspector")
}

/// Builds something of the workspace; `made` is its path below TARGET_DIR/TRIPLE.
fn build(what: &[&str], made: &str) -> PathBuf {
    // The test binary is TARGET_DIR/TRIPLE/PROFILE/deps/integration-HASH.
    let test = std::env::current_exe().expect("the path of the test binary");
    let triple = test.ancestors().nth(3).expect("a cargo target directory");
    let target_dir = triple.parent().expect("a cargo target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--target-dir"]).arg(target_dir).args(what);
    let status = cargo.current_dir(workspace()).status().expect("cargo starts");
    assert!(status.success(), "cannot build {made}");
    triple.join(made)
}

/// Copies a program. Another process does it: while this one has the copy open to
/// write it, whatever another thread forks has it open too, and nobody can
/// execute it (`ETXTBSY`).
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().expect("cp starts");
    assert!(status.success(), "cannot copy {} to {}", from.display(), to.display());
}

/// Lets a file be executed that this process has written: for the same reason it becomes a copy.
pub fn make_executable(file: &Path) {
    let copy = file.with_extension("executable");
    copy_program(file, &copy);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("mode 0755");
    fs::rename(&copy, file).expect("the copy in its place");
}
