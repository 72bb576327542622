//! What: the scope for a container.

use super::address::Instance;
use super::annotation;
use super::scope::Scope;
use super::unit::{Unit, cgroup_name, expand_slice, parse_path};
use super::value::{Property, Value};
use crate::cgroups::{Current, Devices, Driver, Placement, Setting, Table};
use crate::config::Spec;
use crate::error::Error;
use crate::plan::{ChildOp, Compiler, ParentOp};
use crate::protocol::Message;
use oci_spec::runtime::Linux;
use std::path::{Path, PathBuf};

const POINTER: &str = "/linux/cgroupsPath";

/// Decides which unit it is and what it is like. Init waits until it is in it,
/// before anything else: all that it uses shall count there, and the root of a
/// cgroup namespace is the cgroup of its maker.
pub fn plan(spec: &Spec, linux: &Linux, hierarchy: PathBuf, compiler: &mut Compiler) -> Placement {
    let chosen = properties_chosen(spec, compiler);
    let (unit, slice, path) = match names(linux, compiler) {
        Ok(names) => names,
        Err(error) => {
            compiler.fault(error.at(POINTER));
            return Placement::default();
        }
    };
    let mut properties = vec![
        Property::new(
            "Description",
            Value::Text(format!("hako container {}", compiler.options.id)),
        ),
        Property::new("Slice", Value::Text(slice)),
        Property::new("Delegate", Value::Bool(true)),
        // Else it would end before its container's engine at a shutdown.
        Property::new("DefaultDependencies", Value::Bool(false)),
    ];
    // As without systemd: the cgroup has every controller there is.
    let accounting = ["CPU", "IO", "Memory", "Tasks"];
    properties.extend(
        accounting.map(|what| Property::new(format!("{what}Accounting"), Value::Bool(true))),
    );
    properties.retain(|default| chosen.iter().all(|property| property.name != default.name));
    properties.extend(chosen);
    properties.extend(limits(linux));
    if compiler.host.is_in_initial_user_namespace() && unit.instance == Instance::System {
        properties.extend(devices(linux));
    }
    compiler.parent_at(POINTER, ParentOp::MakeScope(Scope { unit: unit.clone(), properties }));
    compiler.parent(ParentOp::Send(Message::Placed));
    compiler.child(ChildOp::Receive(Message::Placed));
    Placement { hierarchy, path, driver: Driver::Systemd(unit) }
}

/// A further process of a container. The user's systemd puts it into the unit:
/// a login shell, from which the user may call hako, is outside of that
/// systemd's cgroup, and only root may move a process in from there.
pub fn plan_attachment(placement: &Placement, compiler: &mut Compiler) {
    let Driver::Systemd(unit) = &placement.driver else { return };
    if unit.instance == Instance::User {
        compiler.parent(ParentOp::Attach(unit.clone()));
        compiler.parent(ParentOp::Send(Message::Placed));
        compiler.child(ChildOp::Receive(Message::Placed));
    }
}

/// Limits are written to files as well: systemd rounds some of them, and must
/// know the others, or it would undo them.
fn limits(linux: &Linux) -> Vec<Property> {
    let Some(resources) = linux.resources() else { return Vec::new() };
    let table = Table::new(resources, &Current::default(), "/linux/resources");
    table.settings.iter().flat_map(Setting::properties).collect()
}

fn devices(linux: &Linux) -> Vec<Property> {
    let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_deref());
    Devices::new(rules.unwrap_or_default()).0.properties()
}

fn properties_chosen(spec: &Spec, compiler: &mut Compiler) -> Vec<Property> {
    annotation::plan(spec.annotations.iter().flatten(), compiler)
}

fn names(linux: &Linux, compiler: &Compiler) -> Result<(Unit, String, PathBuf), Error> {
    let systemd = compiler.host.systemd()?;
    let path = linux.cgroups_path().as_deref().unwrap_or(Path::new(""));
    let path = path.to_string_lossy();
    let (slice, scope) = parse_path(&path, &compiler.options.id, systemd.instance)?;
    let below = expand_slice(&slice)?.join(cgroup_name(&scope));
    let below = below.strip_prefix("/").unwrap_or(&below).to_owned();
    let unit = Unit { instance: systemd.instance, name: scope };
    Ok((unit, slice, systemd.root.join(below)))
}
