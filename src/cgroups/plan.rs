//! What: the cgroup of the container.

use super::devices::Devices;
use super::resources::{Current, Setting, Table};
use super::systemd::{self, Unit};
use crate::config::Spec;
use crate::error::Error;
use crate::host::{Host, Maker};
use crate::namespaces::{CloneSet, IdKind, Kind, to_host};
use crate::plan::{ChildOp, Compiler, ParentOp};
use crate::protocol::Message;
use oci_spec::runtime::Linux;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Component, Path, PathBuf};

/// A cgroup, by its place in the hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Where cgroup v2 is mounted.
    pub hierarchy: PathBuf,
    /// Absolute path inside the hierarchy.
    pub path: PathBuf,
    /// Who makes it.
    #[serde(default)]
    pub driver: Driver,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory();
        match &self.driver {
            Driver::Cgroupfs => write!(f, "{}", directory.display()),
            Driver::Systemd(unit) => write!(f, "{} (systemd: {})", directory.display(), unit.name),
            Driver::Disabled => write!(f, "{} (hako's own)", directory.display()),
        }
    }
}

/// Who makes a cgroup, and ends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Driver {
    /// hako itself.
    #[default]
    Cgroupfs,
    /// systemd, as this unit.
    Systemd(Unit),
    /// Nobody: it is the cgroup that hako is in.
    Disabled,
}

/// How the command line wants containers to be placed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manager {
    /// As root: in a cgroup that hako makes. As anybody else: so where cgroups are
    /// delegated to them, or by their systemd, or not at all.
    #[default]
    Auto,
    /// In a cgroup that hako makes.
    Cgroupfs,
    /// In a unit of systemd.
    Systemd,
    /// In the cgroup that hako is in.
    Disabled,
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
pub fn plan(spec: &Spec, linux: &Linux, clone: &CloneSet, compiler: &mut Compiler) -> Placement {
    let hierarchy = match compiler.host.cgroup_hierarchy() {
        Ok(path) => path.to_owned(),
        Err(_) if compiler.is_rootless() => {
            return Placement { driver: Driver::Disabled, ..Placement::default() };
        }
        Err(error) => {
            compiler.fault(error);
            return Placement::default();
        }
    };
    let is_open = linux.cgroups_path().as_deref().is_none_or(|path| path.as_os_str().is_empty());
    match compiler.options.cgroup_manager {
        Manager::Auto if is_open && compiler.is_rootless() => {
            plan_delegated(spec, linux, hierarchy, clone, compiler)
        }
        Manager::Auto | Manager::Cgroupfs => {
            plan_late_entry(clone, compiler);
            plan_path(linux, hierarchy, compiler)
        }
        Manager::Systemd => systemd::plan(spec, linux, hierarchy, compiler),
        Manager::Disabled => plan_own(hierarchy, compiler),
    }
}

/// Init is cloned into its cgroup, unless it is cloned from a cgroup namespace
/// that the runtime has entered: out of its sight nobody clones into a cgroup,
/// nor leaves one (`nsdelegate` in cgroups(7)). So the runtime moves init when
/// it is back in its own namespace, and init waits for that.
fn plan_late_entry(clone: &CloneSet, compiler: &mut Compiler) {
    let mut before = clone.join_before.iter().chain(&clone.join_bridge);
    let Some(join) = before.find(|join| join.kind == Kind::Cgroup) else {
        return;
    };
    compiler.parent_at(join.pointer.clone(), ParentOp::EnterCgroup);
    compiler.parent(ParentOp::Send(Message::Placed));
    compiler.child(ChildOp::Receive(Message::Placed));
}

/// Where somebody who is not root of the machine may have a container.
fn plan_delegated(
    spec: &Spec,
    linux: &Linux,
    hierarchy: PathBuf,
    clone: &CloneSet,
    compiler: &mut Compiler,
) -> Placement {
    if let Some(directory) = compiler.host.delegated_cgroup() {
        let path = directory.join(&compiler.options.id);
        plan_late_entry(clone, compiler);
        return Placement { hierarchy, path, driver: Driver::Cgroupfs };
    }
    match compiler.host.has_systemd_of_user() {
        true => systemd::plan(spec, linux, hierarchy, compiler),
        false => plan_own(hierarchy, compiler),
    }
}

/// The container stays where hako is.
fn plan_own(hierarchy: PathBuf, compiler: &mut Compiler) -> Placement {
    match compiler.host.own_cgroup() {
        Ok(own) => Placement { hierarchy, path: own.to_owned(), driver: Driver::Disabled },
        Err(error) => {
            compiler.fault(error);
            Placement::default()
        }
    }
}

fn plan_path(linux: &Linux, hierarchy: PathBuf, compiler: &mut Compiler) -> Placement {
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
    Placement { hierarchy, path, driver: Driver::Cgroupfs }
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

/// Plans the limits: one step of the runtime for each, while init mounts.
/// They hold before anything of the container runs, and after the clone,
/// which a limit of no processes would refuse.
pub fn plan_limits(linux: &Linux, placement: &Placement, compiler: &mut Compiler) {
    let Some(resources) = linux.resources() else { return };
    let table = Table::new(resources, &Current::default(), "/linux/resources");
    for fault in table.faults {
        compiler.fault(fault);
    }
    for warning in table.warnings {
        compiler.warn(warning);
    }
    for setting in table.settings {
        let missing = match placement.driver {
            Driver::Disabled => Some(no_cgroup_for(&setting, compiler)),
            _ => missing_controller(&setting, placement, compiler.host),
        };
        match missing {
            None => compiler.parent_at(setting.pointer.clone(), ParentOp::Limit(setting)),
            // Nothing was asked for that a cgroup has not anyway.
            Some(_) if setting.is_default => {}
            Some(fault) => compiler.fault(fault),
        }
    }
}

fn no_cgroup_for(setting: &Setting, compiler: &Compiler) -> Error {
    let what = format!("cannot set {}", setting.file);
    let error = match compiler.options.cgroup_manager {
        Manager::Disabled => Error::new(format!("{what}: the container gets no cgroup of its own"))
            .hint("leave out the limit, or --cgroup-manager=disabled"),
        // What nobody has cannot be delegated.
        _ => missing_hierarchy(setting, compiler.host).unwrap_or_else(|| {
            Error::new(format!("{what}: no cgroup is delegated to hako's user")).hint(format!(
                "{}; or leave out the limit",
                delegation_remedy(setting.controller(), compiler.host)
            ))
        }),
    };
    error.at(setting.pointer.clone())
}

/// How hako's user gets a cgroup, and a controller to hand out.
pub fn delegation_remedy(controller: Option<&str>, host: &Host) -> String {
    // Root of a user namespace is somebody else to the machine.
    let outside = |map| to_host(map, host.own_id(IdKind::User));
    match host.own_map(IdKind::User).and_then(outside) {
        Some(uid) => delegation_remedy_for(&uid.to_string(), controller, host),
        None => delegation_remedy_for(&host.account().name, controller, host),
    }
}

/// The same for a user of this name or number.
pub fn delegation_remedy_for(name: &str, controller: Option<&str>, host: &Host) -> String {
    let hierarchy = match host.cgroup_hierarchy() {
        Ok(hierarchy) => hierarchy.display(),
        Err(error) => return error.hint.unwrap_or(error.message),
    };
    if host.is_booted_by_systemd() {
        return "as root, write the lines [Service] and Delegate=cpu cpuset io memory pids to /etc/systemd/system/user@.service.d/delegate.conf and run systemctl daemon-reload; after a new login your systemd (XDG_RUNTIME_DIR leads to it) then makes a scope with limits for each container".to_owned();
    }
    let enable = controller.map_or_else(String::new, |controller| {
        format!("echo +{controller} >{hierarchy}/cgroup.subtree_control; ")
    });
    format!(
        "as root, {enable}D={hierarchy}/{name}; mkdir -p $D/shell && chown {name} $D $D/cgroup.procs $D/cgroup.subtree_control; and put the shell that calls hako there: echo PID >$D/shell/cgroup.procs"
    )
}

/// Plans which devices the container may use. Without rules it is those of
/// every container: nothing that a node in the image could name.
pub fn plan_devices(linux: &Linux, placement: &Placement, compiler: &mut Compiler) {
    let pointer = "/linux/resources/devices";
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_deref());
    let rules = rules.unwrap_or_default();
    let (devices, faults) = Devices::new(rules);
    for (index, fault) in faults {
        compiler.fault(fault.below(&format!("{pointer}/{index}")));
    }
    let obstacle = if compiler.host.maker() != Maker::Root {
        Some(
            "that takes privilege outside this user namespace; the kernel lets nobody make device nodes in it",
        )
    } else if placement.driver == Driver::Disabled {
        Some("the container gets no cgroup of its own")
    } else {
        None
    };
    if let Some(obstacle) = obstacle {
        if !rules.is_empty() && !devices.allow_all() {
            compiler.warn(format!("linux.resources.devices: not enforced, since {obstacle}"));
        }
        return;
    }
    match rules {
        [] => compiler.parent(ParentOp::Devices(devices)),
        _ => compiler.parent_at(pointer, ParentOp::Devices(devices)),
    }
}

/// What is wrong if a cgroup at this place lacks the controller of a setting.
pub fn missing_controller(setting: &Setting, placement: &Placement, host: &Host) -> Option<Error> {
    let controller = setting.controller()?;
    if host.controllers_for(placement).iter().any(|present| present == controller) {
        return None;
    }
    let error = missing_hierarchy(setting, host).unwrap_or_else(|| {
        let what = format!("cannot set {}", setting.file);
        Error::new(format!("{what}: the {controller} controller is not delegated to hako's user"))
            .hint(delegation_remedy(Some(controller), host))
    });
    Some(error.at(setting.pointer.clone()))
}

/// What is wrong if the whole hierarchy lacks it, or is not there.
fn missing_hierarchy(setting: &Setting, host: &Host) -> Option<Error> {
    let what = format!("cannot set {}", setting.file);
    let hierarchy = match host.cgroup_hierarchy() {
        Ok(hierarchy) => hierarchy,
        Err(error) => {
            return Some(Error { message: format!("{what}: {}", error.message), ..error });
        }
    };
    let controller = setting.controller()?;
    if host.controllers().iter().any(|present| present == controller) {
        return None;
    }
    let error = if host.is_held_by_v1(controller) {
        Error::new(format!(
            "{what}: a hierarchy of cgroup v1 holds the {controller} controller, cgroup v2 at {} has not got it",
            hierarchy.display()
        ))
        .hint("boot with systemd.unified_cgroup_hierarchy=1 to give all controllers to cgroup v2, or leave the limit out")
    } else {
        Error::new(format!("{what}: {} has no {controller} controller", hierarchy.display()))
            .hint(format!(
                "its parent may not delegate it to this machine or container, or the kernel is without it (cgroup_disable={controller}, CONFIG_CGROUPS)"
            ))
    };
    Some(error)
}
