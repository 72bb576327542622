//! How: making a scope, and ending it.

use super::address::Instance;
use super::manager::Manager;
use super::unit::{Unit, manager_root};
use super::value::{Property, Value};
use crate::error::{Context, Error, Result};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a plan has to know of the systemd that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which instance it is.
    pub instance: Instance,
    /// The cgroup below which all its units are.
    pub root: PathBuf,
}

/// Whether the machine was started by systemd (sd_booted(3)).
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Facts {
    /// Looks at the machine. The user's instance has to be asked.
    pub fn probe() -> Result<Self> {
        if !is_booted() {
            return Err(Error::new("this machine was not started by systemd")
                .hint("leave out --systemd-cgroup: the container's cgroup is then made directly"));
        }
        let instance = Instance::own();
        let first = std::fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
        let root = match manager_root(&first).filter(|_| instance == Instance::System) {
            Some(root) => root,
            None => {
                let asked = Manager::connect(instance)?.control_group()?;
                Path::new("/").join(asked.trim_start_matches('/'))
            }
        };
        Ok(Self { instance, root })
    }
}

/// A scope to be made for a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// Its name.
    pub unit: Unit,
    /// Its properties but for the processes in it.
    pub properties: Vec<Property>,
}

impl Scope {
    /// Makes it, with the process `pid` in it, which must be in the cgroup
    /// `path` then.
    ///
    /// # Errors
    /// With `EEXIST` if there is such a unit already.
    pub fn make(&self, pid: i32, path: &Path) -> Result<()> {
        let mut properties = self.properties.clone();
        properties.push(Property::new("PIDs", Value::Uint32s(vec![pid.cast_unsigned()])));
        Manager::connect(self.unit.instance)?.start_scope(&self.unit.name, &properties)?;
        check_place(&self.unit, pid, path)
    }
}

/// systemd has been seen to report success with the process left where it was.
fn check_place(unit: &Unit, pid: i32, path: &Path) -> Result<()> {
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).os(|| format!("cannot read {file}"))?;
    let found = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    if Path::new(found) == path {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} of systemd is there, but process {pid} is in cgroup {found}, not in {}",
        unit.name,
        path.display()
    ))
    .hint(format!("systemd may say why: journalctl -u {}", unit.name)))
}

impl Unit {
    /// Has a process moved into the unit, whose cgroup is at `path`, or into a
    /// cgroup below that.
    pub fn attach(&self, pid: i32, path: &Path, below: &Path) -> Result<()> {
        let inside = Path::new("/").join(below);
        let manager = Manager::connect(self.instance);
        manager?.attach(&self.name, &inside.to_string_lossy(), pid.cast_unsigned())?;
        // A slash at the end makes no difference to components.
        check_place(self, pid, &path.join(below).components().collect::<PathBuf>())
    }

    /// Ends the unit. One that is gone is fine.
    pub fn stop(&self) -> Result<()> {
        Manager::connect(self.instance)?.stop(&self.name)
    }

    /// Changes properties of the unit, until it ends.
    pub fn set_properties(&self, properties: &[Property]) -> Result<()> {
        match properties {
            [] => Ok(()),
            some => Manager::connect(self.instance)?.set_properties(&self.name, some),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unit { instance, name } = &self.unit;
        write!(f, "have systemd ({instance}) make {name}:")?;
        for property in &self.properties {
            write!(f, " {property}")?;
        }
        Ok(())
    }
}
