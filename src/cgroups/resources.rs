//! What: `linux.resources` as values of files in the container's cgroup.
//!
//! One table for everybody: `create` and `update` write it, `explain` prints
//! it, systemd's properties are derived from it. Most of it is arithmetic
//! between the numbers of cgroup v1, which the specification has, and v2's.

mod cpu;
mod io;
mod memory;
mod others;
mod property;

#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::plan::Compiler;
use oci_spec::runtime::LinuxResources;
use serde::Serialize;
use std::fmt;

/// One value for one file of a cgroup (the kernel's cgroup-v2.rst).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// The file's name.
    pub file: String,
    /// What is written to it: one line.
    pub value: String,
    /// What to do where the kernel has no such file.
    #[serde(skip_serializing_if = "IfMissing::is_failure")]
    pub if_missing: IfMissing,
    /// Refuse a limit below what is used already (memory.current).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub check_usage: bool,
    /// What a cgroup has anyway: it needs no controller.
    #[serde(skip)]
    pub is_default: bool,
    /// JSON pointer to where it was asked for.
    #[serde(skip)]
    pub pointer: String,
}

/// What becomes of a setting whose file the kernel does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum IfMissing {
    /// The setting cannot be made.
    #[default]
    Fail,
    /// Without the file it holds anyway, or another file says the same.
    Skip,
    /// Another file takes another value for it.
    Write {
        /// The other file.
        file: String,
        /// The value for it.
        value: String,
    },
}

impl IfMissing {
    fn is_failure(&self) -> bool {
        matches!(self, IfMissing::Fail)
    }
}

impl Setting {
    /// The controller that provides the file; `None` for files of every cgroup.
    pub fn controller(&self) -> Option<&str> {
        let (controller, rest) = self.file.split_once('.').unwrap_or((&self.file, ""));
        let everywhere = controller == "cgroup" || rest == "pressure";
        (!everywhere).then_some(controller)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.value)?;
        if self.check_usage {
            f.write_str(", unless more is in use")?;
        }
        match &self.if_missing {
            IfMissing::Fail => Ok(()),
            IfMissing::Skip => f.write_str(", if there is that file"),
            IfMissing::Write { file, value } => write!(f, ", or {file} {value}"),
        }
    }
}

/// What a cgroup is set to before an update. A new one has the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// memory.max in bytes; `None` is "max".
    pub memory: Option<u64>,
    /// memory.swap.max in bytes; `None` is "max".
    pub swap: Option<u64>,
    /// cpu.max: microseconds of each period; `None` is "max".
    pub quota: Option<u64>,
    /// cpu.max: microseconds.
    pub period: u64,
}

impl Default for Current {
    fn default() -> Self {
        Self { memory: None, swap: None, quota: None, period: 100_000 }
    }
}

/// The table for one container.
#[derive(Debug, Default)]
pub struct Table {
    base: String,
    /// In the order in which they are written.
    pub settings: Vec<Setting>,
    /// What makes no sense, or has no meaning in cgroup v2.
    pub faults: Vec<Error>,
    /// What is ignored because cgroup v2 has no such thing.
    pub warnings: Vec<String>,
}

impl Table {
    /// The settings for `resources`, which are at the JSON pointer `base`.
    pub fn new(resources: &LinuxResources, current: &Current, base: &str) -> Self {
        let mut table = Self { base: base.to_owned(), ..Self::default() };
        if let Some(memory) = resources.memory() {
            memory::fill(memory, current, &mut table);
        }
        if let Some(cpu) = resources.cpu() {
            cpu::fill(cpu, current, &mut table);
        }
        if let Some(io) = resources.block_io() {
            io::fill(io, &mut table);
        }
        others::fill(resources, &mut table);
        if let Some(unified) = resources.unified() {
            others::fill_unified(unified, &mut table);
        }
        table
    }

    /// Adds a setting that the field `field` asks for.
    fn set(&mut self, file: &str, value: impl ToString, field: &str) -> &mut Setting {
        let setting = Setting {
            file: file.to_owned(),
            value: value.to_string(),
            if_missing: IfMissing::Fail,
            check_usage: false,
            is_default: false,
            pointer: format!("{}/{field}", self.base),
        };
        let index = self.settings.len();
        self.settings.push(setting);
        &mut self.settings[index]
    }

    fn fault(&mut self, field: &str, error: Error) {
        self.faults.push(error.at(format!("{}/{field}", self.base)));
    }

    /// Something that only cgroup v1 had, and that must not be left out
    /// silently (config-linux.md, "Unified").
    fn refuse(&mut self, field: &str, hint: &str) {
        let name = field.replace('/', ".");
        let error = Error::new(format!("{name} is not possible with cgroup v2")).hint(hint);
        self.fault(field, error);
    }

    /// Something that only cgroup v1 had, and whose absence does no harm.
    fn ignore(&mut self, field: &str) {
        let name = field.replace('/', ".");
        self.warnings.push(format!("{}/{field}: cgroup v2 has no {name}: ignored", self.base));
    }
}

/// A limit of the specification: a number, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Max,
    Value(u64),
}

impl Limit {
    /// 0 means unset, -1 unlimited.
    fn of(value: Option<i64>, field: &str, table: &mut Table) -> Option<Self> {
        match value {
            None | Some(0) => None,
            Some(-1) => Some(Limit::Max),
            Some(value) => match u64::try_from(value) {
                Ok(value) => Some(Limit::Value(value)),
                Err(_) => {
                    let error = Error::new(format!("{value} is no limit"));
                    table.fault(field, error.hint("-1 means unlimited"));
                    None
                }
            },
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Max => f.write_str("max"),
            Limit::Value(value) => value.fmt(f),
        }
    }
}

/// A key of an object, as part of a JSON pointer.
fn key(name: &str) -> String {
    Compiler::escape(name)
}
