//! `hako features`: what this runtime understands (features.md). Everything is
//! read from the tables that configurations are read with.

use super::checkpoint::CONFIG_ANNOTATION;
use super::state::print_json;
use super::version::{COMMIT, VERSION};
use crate::SPEC_VERSION;
use crate::cgroups::systemd;
use crate::error::Result;
use crate::hooks;
use crate::namespaces;
use crate::process;
use crate::rootfs;
use crate::seccomp;
use serde_json::{Value, json};

/// Annotations that change how a container is made; whoever lets others write
/// a configuration wants to know them. One that ends with a dot is a prefix.
const ANNOTATIONS: &[&str] = &[
    process::KEEP_GROUPS,
    rootfs::OVERLAY_ANNOTATION,
    rootfs::OVERLAY_LOWER_ANNOTATION,
    seccomp::FAIL_UNKNOWN,
    systemd::PROPERTY_ANNOTATION,
    CONFIG_ANNOTATION,
];

/// Prints the features.
pub fn run() -> Result<()> {
    print_json(&features())
}

fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": hooks::Kind::ALL.map(hooks::Kind::name),
        "mountOptions": rootfs::mount_options(),
        "linux": {
            "namespaces": namespaces::Kind::ALL.map(namespaces::Kind::name),
            "capabilities": process::capability_names(),
            "cgroup": {
                "v1": false,
                "v2": true,
                "systemd": true,
                "systemdUser": true,
                "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS.map(|action| action.to_string()),
                "operators": seccomp::OPERATORS.map(|operator| operator.to_string()),
                "archs": names(seccomp::architectures()),
                "knownFlags": seccomp::FLAGS.map(|flag| flag.to_string()),
                "supportedFlags": seccomp::FLAGS.map(|flag| flag.to_string()),
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": process::MEMORY_POLICY_MODES.map(|mode| mode.to_string()),
                "flags": process::MEMORY_POLICY_FLAGS.map(|flag| flag.to_string()),
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "org.hako.version": VERSION,
            "org.hako.commit": COMMIT,
            "org.hako.checkpoint.enabled": "true",
            "io.github.seccomp.libseccomp.version": seccomp::library_version(),
        },
        "potentiallyUnsafeConfigAnnotations": ANNOTATIONS,
    })
}

fn names<T: ToString>(words: Vec<T>) -> Vec<String> {
    words.iter().map(T::to_string).collect()
}
