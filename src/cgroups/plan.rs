//! What: the cgroup of the container.

use crate::error::Error;
use crate::plan::Compiler;
use oci_spec::runtime::{Linux, LinuxResources};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// A cgroup, by its place in the hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Where cgroup v2 is mounted.
    pub hierarchy: PathBuf,
    /// Absolute path inside the hierarchy.
    pub path: PathBuf,
}

impl Placement {
    /// The cgroup's directory.
    pub fn directory(&self) -> PathBuf {
        let below = self.path.strip_prefix("/").unwrap_or(&self.path);
        self.hierarchy.join(below)
    }
}

/// Decides where the container is placed: `cgroupsPath`, or next to the
/// runtime's own cgroup, under the container's id.
pub fn plan(linux: &Linux, compiler: &mut Compiler) -> Placement {
    refuse_limits(linux.resources().as_ref(), compiler);
    let hierarchy = match compiler.host.cgroup_hierarchy() {
        Ok(path) => path.to_owned(),
        Err(error) => {
            compiler.fault(error);
            return Placement::default();
        }
    };
    let wanted = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    let pointer = "/linux/cgroupsPath";
    if let Some(path) = wanted {
        compiler.refuse_nul_at(pointer, &path.to_string_lossy());
        check_path(path, pointer, compiler);
    }
    let path = match wanted {
        Some(path) if path.is_absolute() => path.to_owned(),
        relative => {
            let name = relative.unwrap_or(Path::new(&compiler.options.id));
            match compiler.host.own_cgroup() {
                // The own cgroup has processes, so it cannot have children
                // with controllers: its parent can.
                Ok(own) => own.parent().unwrap_or(Path::new("/")).join(name),
                Err(error) => {
                    compiler.fault(error);
                    PathBuf::from("/").join(name)
                }
            }
        }
    };
    Placement { hierarchy, path }
}

/// The root cgroup holds the whole machine, and `..` leads anywhere.
fn check_path(path: &Path, pointer: &str, compiler: &mut Compiler) {
    if path.components().any(|part| part == Component::ParentDir) {
        compiler.fault(
            Error::new(format!("cgroupsPath {} contains \"..\"", path.display())).at(pointer),
        );
    }
    if !path.components().any(|part| matches!(part, Component::Normal(_))) {
        compiler.fault(
            Error::new("cgroupsPath is the root cgroup, which holds every process of the machine")
                .at(pointer)
                .hint("leave cgroupsPath out, or name a cgroup of the container's own"),
        );
    }
}

/// What a container gets without any limit: asking for it needs no controller.
const DEFAULT_SHARES: u64 = 1024;

/// Limits have no implementation yet. Empty objects and the kernel's defaults,
/// which engines send as a matter of course, ask for nothing.
fn refuse_limits(resources: Option<&LinuxResources>, compiler: &mut Compiler) {
    let Some(resources) = resources else { return };
    let asks = |value: Result<serde_json::Value, serde_json::Error>| match value {
        Ok(serde_json::Value::Object(fields)) => fields.values().any(asks_for_something),
        Ok(value) => asks_for_something(&value),
        Err(_) => true,
    };
    let mut cpu = resources.cpu().clone();
    if let Some(cpu) = cpu.as_mut().filter(|cpu| cpu.shares() == Some(DEFAULT_SHARES)) {
        cpu.set_shares(None);
    }
    let parts = [
        ("devices", asks(serde_json::to_value(resources.devices()))),
        ("memory", asks(serde_json::to_value(resources.memory()))),
        ("cpu", asks(serde_json::to_value(&cpu))),
        ("pids", asks(serde_json::to_value(resources.pids()))),
        ("blockIO", asks(serde_json::to_value(resources.block_io()))),
        ("hugepageLimits", asks(serde_json::to_value(resources.hugepage_limits()))),
        ("network", asks(serde_json::to_value(resources.network()))),
        ("rdma", asks(serde_json::to_value(resources.rdma()))),
        ("unified", asks(serde_json::to_value(resources.unified()))),
    ];
    for (name, _) in parts.iter().filter(|(_, asked)| *asked) {
        compiler
            .unsupported(format!("linux.resources.{name}"), &format!("/linux/resources/{name}"));
    }
}

fn asks_for_something(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => false,
        serde_json::Value::Array(list) => !list.is_empty(),
        serde_json::Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}
