//! Where the programs under test and inside the containers are.

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

/// The inspector: the binary named by `HAKO_INSPECTOR` where nothing can be
/// built, or else built once for each test run so that it is never stale.
pub fn inspector() -> &'static Path {
    static INSPECTOR: OnceLock<PathBuf> = OnceLock::new();
    INSPECTOR.get_or_init(|| {
        std::env::var_os("HAKO_INSPECTOR").map_or_else(build_inspector, PathBuf::from)
    })
}

fn build_inspector() -> PathBuf {
    // The test binary is TARGET_DIR/TRIPLE/PROFILE/deps/integration-HASH.
    let test = std::env::current_exe().expect("the path of the test binary");
    let triple = test.ancestors().nth(3).expect("a cargo target directory");
    let target_dir = triple.parent().expect("a cargo target directory");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "oci-conformance",
            "--bin",
            "oci-inspector",
            "--target-dir",
        ])
        .arg(target_dir)
        .current_dir(workspace())
        .status()
        .expect("cargo starts");
    assert!(status.success(), "cannot build the inspector");
    triple.join("release/oci-inspector")
}
