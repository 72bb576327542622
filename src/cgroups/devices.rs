//! Which devices a container may use: rules, a program made of them, and its
//! attachment to the cgroup.
//!
//! Rules are applied in their order, so of all that fit the last one decides,
//! for each kind of access on its own.

mod attach;
mod program;
mod property;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use program::Instruction;

use crate::error::{Error, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which devices may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Devices {
    /// What holds for a device that no rule is about.
    pub allow_others: bool,
    /// In order: the last one that fits decides.
    pub rules: Vec<Rule>,
}

/// Some devices, and whether some kinds of access to them are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Allowed or denied.
    pub allow: bool,
    /// `None` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// `None` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u32>,
    /// `None` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u32>,
    /// What is allowed or denied.
    pub access: Access,
}

/// Kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// A set of kinds of access: bits as the kernel has them (`BPF_DEVCG_ACC_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access(pub u32);

impl Access {
    /// mknod(2).
    pub const MAKE: Access = Access(1);
    /// Opening for reading.
    pub const READ: Access = Access(2);
    /// Opening for writing.
    pub const WRITE: Access = Access(4);
    /// All of them.
    pub const ALL: Access = Access(7);

    const LETTERS: [(char, Access); 3] =
        [('r', Access::READ), ('w', Access::WRITE), ('m', Access::MAKE)];

    /// A composition of `r`, `w` and `m`.
    fn parse(text: &str) -> Option<Self> {
        text.chars().try_fold(Access(0), |access, char| {
            let (_, bit) = Self::LETTERS.iter().find(|(letter, _)| *letter == char)?;
            Some(Access(access.0 | bit.0))
        })
    }

    fn contains(self, other: Access) -> bool {
        self.0 & other.0 == other.0
    }

    fn meets(self, other: Access) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, bit) in Self::LETTERS {
            if self.contains(bit) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// What every container may do, whatever its configuration says: make nodes,
/// and use those that hako makes in /dev, and terminals.
const ALWAYS: [(Kind, Option<u32>, Option<u32>, Access); 11] = [
    (Kind::Char, None, None, Access::MAKE),
    (Kind::Block, None, None, Access::MAKE),
    (Kind::Char, Some(1), Some(3), Access::ALL),
    (Kind::Char, Some(1), Some(5), Access::ALL),
    (Kind::Char, Some(1), Some(7), Access::ALL),
    (Kind::Char, Some(1), Some(8), Access::ALL),
    (Kind::Char, Some(1), Some(9), Access::ALL),
    (Kind::Char, Some(5), Some(0), Access::ALL),
    (Kind::Char, Some(5), Some(1), Access::ALL),
    (Kind::Char, Some(5), Some(2), Access::ALL),
    (Kind::Char, Some(136), None, Access::ALL),
];

/// To find out among more rules than this which are without effect would take
/// longer than it saves.
const MANY: usize = 1000;

impl Devices {
    /// The rules of a configuration, and those of every container after them.
    /// Each fault is at its rule's index.
    pub fn new(rules: &[LinuxDeviceCgroup]) -> (Self, Vec<(usize, Error)>) {
        let mut devices = Devices { allow_others: false, rules: Vec::new() };
        let mut faults = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match Rule::new(rule) {
                Ok(rule) => devices.add(rule),
                Err(error) => faults.push((index, error)),
            }
        }
        Rule::always().for_each(|rule| devices.add(rule));
        (devices, faults)
    }

    /// The program that decides so.
    pub fn program(&self) -> Vec<Instruction> {
        program::compile(self)
    }

    /// Whether nothing is denied.
    pub fn allow_all(&self) -> bool {
        self.allow_others && self.rules.is_empty()
    }

    /// Adds a rule, and drops what has no effect after it: the lists of engines
    /// say many things twice.
    fn add(&mut self, rule: Rule) {
        if rule.access.0 == 0 {
            return;
        }
        if rule.kind.is_none()
            && rule.major.is_none()
            && rule.minor.is_none()
            && rule.access == Access::ALL
        {
            self.allow_others = rule.allow;
            self.rules.clear();
            return;
        }
        if self.rules.len() > MANY {
            self.rules.push(rule);
            return;
        }
        let opposed =
            self.rules.iter().rposition(|old| old.allow != rule.allow && old.meets(&rule));
        let said = match opposed {
            Some(index) => {
                self.rules[index..].iter().any(|old| old.allow == rule.allow && old.covers(&rule))
            }
            None => {
                self.allow_others == rule.allow
                    || self.rules.iter().any(|old| old.allow == rule.allow && old.covers(&rule))
            }
        };
        if !said {
            self.rules.retain(|old| !rule.covers(old));
            self.rules.push(rule);
        }
    }
}

impl Rule {
    /// A rule of a configuration.
    ///
    /// # Errors
    /// What no rule can be about, at its field.
    pub fn new(rule: &LinuxDeviceCgroup) -> Result<Self> {
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(Kind::Block),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Char),
            Some(LinuxDeviceType::P) => {
                return Err(
                    Error::new("type \"p\" is no device that access rules are for").at("type")
                );
            }
        };
        let number = |value: Option<i64>, field: &str| match value {
            None | Some(-1) => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_| Error::new(format!("{value} is no device number")).at(field)),
        };
        let access = match rule.access() {
            None => Access::ALL,
            Some(text) => Access::parse(text).ok_or_else(|| {
                Error::new(format!("access {text:?} is not composed of r, w and m")).at("access")
            })?,
        };
        let (major, minor) = (number(rule.major(), "major")?, number(rule.minor(), "minor")?);
        Ok(Self { allow: rule.allow(), kind, major, minor, access })
    }

    /// What every container may do.
    pub fn always() -> impl Iterator<Item = Rule> {
        ALWAYS.into_iter().map(|(kind, major, minor, access)| Rule {
            allow: true,
            kind: Some(kind),
            major,
            minor,
            access,
        })
    }

    /// Whether some access to some device fits both.
    fn meets(&self, other: &Rule) -> bool {
        fn meet<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        meet(self.kind, other.kind)
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && self.access.meets(other.access)
    }

    /// Whether whatever fits the other one fits this one.
    fn covers(&self, other: &Rule) -> bool {
        fn cover<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || a == b
        }
        cover(self.kind, other.kind)
            && cover(self.major, other.major)
            && cover(self.minor, other.minor)
            && self.access.contains(other.access)
    }
}

impl fmt::Display for Rule {
    /// As systemd and cgroup v1 write it: `c 1:3 rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => 'a',
            Some(Kind::Block) => 'b',
            Some(Kind::Char) => 'c',
        };
        let number =
            |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = |allow| if allow { "allow" } else { "deny" };
        write!(f, "{} all devices", verb(self.allow_others))?;
        let (always, own): (Vec<&Rule>, Vec<&Rule>) =
            self.rules.iter().partition(|rule| Rule::always().any(|always| always == **rule));
        for rule in own {
            write!(f, "; {} {rule}", verb(rule.allow))?;
        }
        if !always.is_empty() {
            f.write_str("; allow those of every container")?;
        }
        Ok(())
    }
}
