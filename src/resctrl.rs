//! Shares of the processors' caches and memory bandwidth: `linux.intelRdt`
//! (config-linux.md, "IntelRdt"; the kernel's filesystems/resctrl.rst).

#[cfg(test)]
mod tests;

use crate::error::{Context, Error, Result};
use crate::plan::{Compiler, ParentOp};
use oci_spec::runtime::{Linux, LinuxIntelRdt};
use rustix::fs::{CWD, Mode, StatFs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where resctrl is mounted.
pub const MOUNT_POINT: &str = "/sys/fs/resctrl";

/// Where resctrl is mounted, if it is. A debug build takes the directory
/// `HAKO_RESCTRL` in its place, so that tests need no such processor.
pub fn mounted() -> Option<PathBuf> {
    if cfg!(debug_assertions)
        && let Some(stand_in) = std::env::var_os("HAKO_RESCTRL")
    {
        return Some(stand_in.into());
    }
    let is_resctrl = |fs: StatFs| fs.f_type == libc::RDTGROUP_SUPER_MAGIC;
    rustix::fs::statfs(MOUNT_POINT).is_ok_and(is_resctrl).then(|| MOUNT_POINT.into())
}

/// A group of processes, and what it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Where resctrl is mounted.
    hierarchy: PathBuf,
    /// The group's directory.
    directory: PathBuf,
    /// Whose it is.
    owner: Owner,
    /// Lines that a group which is there already must have.
    expected: Vec<String>,
    /// Lines for `schemata`, in order.
    schemata: Vec<String>,
    /// A group of the container's own for monitoring.
    monitor: Option<PathBuf>,
}

/// Whose a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Owner {
    /// The container's: it ends with it.
    Container,
    /// Several containers': made by the first, removed by nobody.
    Shared,
    /// Somebody's, who has made it.
    Other,
}

/// What is remembered of a container's group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    hierarchy: PathBuf,
    directory: PathBuf,
    monitor: Option<PathBuf>,
    /// Directories that hako makes, in the order of their removal.
    pub made: Vec<PathBuf>,
}

/// What: the group of a container, as a step that puts it there.
pub fn plan(linux: &Linux, compiler: &mut Compiler) {
    let Some(rdt) = linux.intel_rdt() else { return };
    let pointer = "/linux/intelRdt";
    check(rdt, pointer, compiler);
    let Some(hierarchy) = compiler.host.resctrl() else {
        compiler.fault(not_mounted().at(pointer));
        return;
    };
    let group = Group::new(rdt, hierarchy, &compiler.options.id);
    compiler.parent_at(pointer, ParentOp::JoinResctrl(group));
}

/// Why there are no groups.
pub fn not_mounted() -> Error {
    Error::new(format!("resctrl is not mounted at {MOUNT_POINT}")).hint(
        "mount -t resctrl resctrl /sys/fs/resctrl; it takes a processor with Intel RDT, AMD QoS or Arm MPAM",
    )
}

fn check(rdt: &LinuxIntelRdt, pointer: &str, compiler: &mut Compiler) {
    let mut fault = |field: &str, message: String| {
        compiler.fault(Error::new(message).at(format!("{pointer}/{field}")));
    };
    if let Some(name) = rdt.clos_id().as_deref().filter(|name| !is_group_name(name)) {
        fault("closID", format!("{name:?} is no name of a group"));
    }
    for (field, line, prefix) in [
        ("l3CacheSchema", rdt.l3_cache_schema(), ""),
        ("memBwSchema", rdt.mem_bw_schema(), MEMORY_BANDWIDTH),
    ] {
        if let Some(error) = line.as_ref().and_then(|line| check_line(line, prefix)) {
            fault(field, error);
        }
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if let Some(error) = check_line(line, "") {
            fault(&format!("schemata/{index}"), error);
        }
    }
}

/// What a line about memory bandwidth begins with.
const MEMORY_BANDWIDTH: &str = "MB:";

/// What is wrong with a line for `schemata`.
fn check_line(line: &str, prefix: &str) -> Option<String> {
    let what = format!("{line:?} is not one line");
    match prefix {
        _ if line.contains(['\n', '\0']) => Some(what),
        "" => None,
        prefix => (!line.starts_with(prefix)).then(|| format!("{what} that starts with {prefix}")),
    }
}

/// The lines that the options of `update` ask for.
///
/// # Errors
/// If one of them is no such line.
pub fn schema_of_options(cache: Option<&str>, bandwidth: Option<&str>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (option, line, prefix) in
        [("--l3-cache-schema", cache, ""), ("--mem-bw-schema", bandwidth, MEMORY_BANDWIDTH)]
    {
        let Some(line) = line else { continue };
        match check_line(line, prefix) {
            Some(wrong) => return Err(Error::new(format!("{option}: {wrong}"))),
            None => lines.push(line.to_owned()),
        }
    }
    Ok(lines)
}

/// `/` is the root group.
fn is_group_name(name: &str) -> bool {
    name == "/"
        || !(name.is_empty() || name == "." || name == ".." || name.contains(['/', '\n', '\0']))
}

impl Group {
    fn new(rdt: &LinuxIntelRdt, hierarchy: &Path, id: &str) -> Self {
        let short: Vec<String> =
            [rdt.l3_cache_schema(), rdt.mem_bw_schema()].into_iter().flatten().cloned().collect();
        let schemata: Vec<String> =
            short.iter().chain(rdt.schemata().iter().flatten()).cloned().collect();
        let (directory, owner) = match rdt.clos_id().as_deref() {
            None => (hierarchy.join(id), Owner::Container),
            Some("/") => (hierarchy.to_owned(), Owner::Other),
            Some(name) if schemata.is_empty() => (hierarchy.join(name), Owner::Other),
            Some(name) => (hierarchy.join(name), Owner::Shared),
        };
        let monitored = *rdt.enable_monitoring() == Some(true);
        Self {
            hierarchy: hierarchy.to_owned(),
            expected: if owner == Owner::Container { Vec::new() } else { short },
            monitor: monitored.then(|| directory.join("mon_groups").join(id)),
            directory,
            owner,
            schemata,
        }
    }

    /// What would have to be removed, so that it can be remembered before it is
    /// made.
    pub fn foresee(&self) -> Record {
        let own = (self.owner == Owner::Container).then_some(&self.directory);
        let made = self.monitor.iter().chain(own).filter(|path| !path.exists());
        Record {
            hierarchy: self.hierarchy.clone(),
            directory: self.directory.clone(),
            monitor: self.monitor.clone(),
            made: made.cloned().collect(),
        }
    }

    /// How: puts a process, and what it will clone, into the group.
    pub fn join(&self, pid: i32) -> Result<()> {
        let is_new = self.make()?;
        let joined = self.set(&self.schemata).and_then(|()| self.take_in(pid));
        if joined.is_err() && is_new {
            // Nobody else would: there are few groups.
            let _ = rustix::fs::rmdir(&self.directory);
        }
        joined
    }

    fn take_in(&self, pid: i32) -> Result<()> {
        self.write(&self.directory.join("tasks"), &pid.to_string())?;
        let Some(monitor) = &self.monitor else { return Ok(()) };
        self.mkdir(monitor)?;
        self.write(&monitor.join("tasks"), &pid.to_string())
    }

    /// Makes sure that there is the group. Returns whether it is new.
    fn make(&self) -> Result<bool> {
        match (self.directory.exists(), self.owner) {
            (false, Owner::Other) => {
                Err(Error::new(format!("there is no group {}", self.directory.display())).hint(
                    "make it before, or give it a schema: l3CacheSchema, memBwSchema or schemata",
                ))
            }
            (false, _) => self.mkdir(&self.directory).map(|()| true),
            (true, _) if self.expected.is_empty() => Ok(false),
            (true, _) => {
                let path = self.directory.join("schemata");
                let text = std::fs::read_to_string(&path)
                    .os(|| format!("cannot read {}", path.display()))?;
                match self.expected.iter().find(|line| !has_line(&text, line)) {
                    None => Ok(false),
                    Some(line) => Err(Error::new(format!(
                        "group {} has another schema than {line}",
                        self.directory.display()
                    ))
                    .hint(format!(
                        "it has {}; choose another closID, or its schema",
                        text.split_whitespace().collect::<Vec<_>>().join(" ")
                    ))),
                }
            }
        }
    }

    /// Writes lines to the group's `schemata`, one by one.
    fn set(&self, lines: &[String]) -> Result<()> {
        let path = self.directory.join("schemata");
        lines.iter().try_for_each(|line| self.write(&path, &format!("{line}\n")))
    }

    fn mkdir(&self, path: &Path) -> Result<()> {
        match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => {
                let error = Error::os(format!("cannot make group {}", path.display()), errno);
                Err(self.with_reason(match errno {
                    Errno::NOSPC => error.hint("the processor has no more groups: see num_closids and num_rmids below info"),
                    _ => error,
                }))
            }
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .os(|| format!("cannot write {:?} to {}", text.trim_end(), path.display()))
            .map_err(|error| self.with_reason(error))
    }

    /// The kernel says more than a number.
    fn with_reason(&self, error: Error) -> Error {
        let status = std::fs::read_to_string(self.hierarchy.join("info/last_cmd_status"));
        match status.as_deref().map(str::trim) {
            Ok(reason) if !reason.is_empty() && reason != "ok" => {
                error.hint(format!("the kernel says: {reason}"))
            }
            _ => error,
        }
    }
}

impl Record {
    /// The group, for another process of the container.
    pub fn group(&self) -> Group {
        Group {
            hierarchy: self.hierarchy.clone(),
            directory: self.directory.clone(),
            owner: Owner::Other,
            expected: Vec::new(),
            schemata: Vec::new(),
            monitor: self.monitor.clone(),
        }
    }

    /// Removes what hako has made. What is gone already is fine.
    pub fn remove(&self) -> Result<()> {
        for path in &self.made {
            match rustix::fs::rmdir(path) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(Error::os(
                        format!("cannot remove group {}", path.display()),
                        errno,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Gives the container's group another schema; the first one for a container
    /// without a group makes it one.
    pub fn update(
        current: Option<&Self>,
        lines: &[String],
        hierarchy: &Path,
        id: &str,
        pid: i32,
    ) -> Result<Self> {
        if let Some(current) = current {
            current.group().set(lines)?;
            return Ok(current.clone());
        }
        let mut rdt = LinuxIntelRdt::default();
        rdt.set_schemata(Some(lines.to_vec()));
        let group = Group::new(&rdt, hierarchy, id);
        let record = group.foresee();
        group.join(pid).inspect_err(|_| {
            let _ = record.remove();
        })?;
        Ok(record)
    }
}

/// Whether `schemata` says what `line` says: `L3:0=ff;1=0f` is `L3:1=f;0=ff`.
fn has_line(schemata: &str, line: &str) -> bool {
    fn parse(line: &str) -> Option<(&str, BTreeMap<&str, String>)> {
        let (resource, domains) = line.trim().split_once(':')?;
        let pairs = domains.split(';').filter_map(|pair| pair.trim().split_once('='));
        let plain = |value: &str| value.trim().trim_start_matches('0').to_ascii_lowercase();
        Some((
            resource.trim(),
            pairs.map(|(domain, value)| (domain.trim(), plain(value))).collect(),
        ))
    }
    let Some((resource, wanted)) = parse(line) else { return false };
    let mut present = schemata.lines().filter_map(parse).filter(|(name, _)| *name == resource);
    present.next().is_some_and(|(_, present)| {
        wanted.iter().all(|(domain, value)| present.get(domain) == Some(value))
    })
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "join group {}", self.directory.display())?;
        if !self.schemata.is_empty() {
            write!(f, " with {}", self.schemata.join(" "))?;
        }
        match &self.monitor {
            Some(monitor) => write!(f, ", monitored in {}", monitor.display()),
            None => Ok(()),
        }
    }
}
