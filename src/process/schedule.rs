//! Scheduling policy, I/O priority and NUMA memory policy of the process.

use crate::error::{Context, Error, Result};
use crate::plan::Compiler;
use crate::sys;
use oci_spec::runtime as oci;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `process.scheduler`; see sched_setattr(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduler {
    /// `SCHED_OTHER` …
    pub name: String,
    /// The kernel's number of it.
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// -20 to 19
    pub nice: i32,
    /// 1 to 99 for the real-time policies.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

impl Scheduler {
    /// Resolves and checks `process.scheduler`.
    pub fn plan(scheduler: &oci::Scheduler, compiler: &mut Compiler) -> Self {
        use oci::LinuxSchedulerPolicy as Policy;
        let policy = match scheduler.policy() {
            Policy::SchedOther => libc::SCHED_OTHER,
            Policy::SchedFifo => libc::SCHED_FIFO,
            Policy::SchedRr => libc::SCHED_RR,
            Policy::SchedBatch => libc::SCHED_BATCH,
            Policy::SchedIso => SCHED_ISO,
            Policy::SchedIdle => libc::SCHED_IDLE,
            Policy::SchedDeadline => libc::SCHED_DEADLINE,
        };
        let planned = Self {
            name: scheduler.policy().to_string(),
            policy: policy as u32,
            flags: scheduler
                .flags()
                .iter()
                .flatten()
                .fold(0, |mask, flag| mask | scheduler_flag(*flag)),
            nice: scheduler.nice().unwrap_or(0),
            priority: u32::try_from(scheduler.priority().unwrap_or(0)).unwrap_or(u32::MAX),
            runtime: scheduler.runtime().unwrap_or(0),
            deadline: scheduler.deadline().unwrap_or(0),
            period: scheduler.period().unwrap_or(0),
        };
        planned.check(compiler);
        planned
    }

    fn check(&self, compiler: &mut Compiler) {
        let mut refuse = |condition: bool, field: &str, reason: &str| {
            if condition {
                compiler.fault(
                    Error::new(format!("{}: {field} {reason}", self.name))
                        .at(format!("/process/scheduler/{field}")),
                );
            }
        };
        let normal = [libc::SCHED_OTHER, libc::SCHED_BATCH].contains(&(self.policy as i32));
        let realtime = [libc::SCHED_FIFO, libc::SCHED_RR].contains(&(self.policy as i32));
        let deadline = self.policy as i32 == libc::SCHED_DEADLINE;
        refuse(
            self.policy as i32 == SCHED_ISO,
            "policy",
            "is reserved and not implemented by Linux",
        );
        refuse(!(-20..=19).contains(&self.nice), "nice", "is not between -20 and 19");
        refuse(self.nice != 0 && !normal, "nice", "has no meaning for this policy");
        refuse(
            realtime && !(1..=99).contains(&self.priority),
            "priority",
            "is not between 1 and 99",
        );
        refuse(self.priority != 0 && !realtime, "priority", "has no meaning for this policy");
        for (value, field) in
            [(self.runtime, "runtime"), (self.deadline, "deadline"), (self.period, "period")]
        {
            refuse(value != 0 && !deadline, field, "has no meaning for this policy");
        }
    }

    /// Applies it to this thread.
    pub fn apply(&self) -> Result<()> {
        sys::sched_setattr(&sys::SchedulerAttributes {
            policy: self.policy,
            flags: self.flags,
            nice: self.nice,
            priority: self.priority,
            runtime: self.runtime,
            deadline: self.deadline,
            period: self.period,
            ..Default::default()
        })
        .map_err(|errno| refused(format!("cannot set scheduler {self}"), errno))
    }
}

fn refused(message: String, errno: rustix::io::Errno) -> Error {
    let error = Error::os(message, errno);
    match errno {
        rustix::io::Errno::PERM => error.hint("real time and a nicer value than hako's take CAP_SYS_NICE on the machine, or RLIMIT_RTPRIO and RLIMIT_NICE"),
        _ => error,
    }
}

/// Reserved by the kernel, named by the specification.
const SCHED_ISO: i32 = 4;

fn scheduler_flag(flag: oci::LinuxSchedulerFlag) -> u64 {
    use oci::LinuxSchedulerFlag as Flag;
    (match flag {
        Flag::SchedResetOnFork => libc::SCHED_FLAG_RESET_ON_FORK,
        Flag::SchedFlagReclaim => libc::SCHED_FLAG_RECLAIM,
        Flag::SchedFlagDLOverrun => libc::SCHED_FLAG_DL_OVERRUN,
        Flag::SchedFlagKeepPolicy => libc::SCHED_FLAG_KEEP_POLICY,
        Flag::SchedFlagKeepParams => libc::SCHED_FLAG_KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => libc::SCHED_FLAG_UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => libc::SCHED_FLAG_UTIL_CLAMP_MAX,
    }) as u64
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.nice != 0 {
            write!(f, " nice {}", self.nice)?;
        }
        if self.priority != 0 {
            write!(f, " priority {}", self.priority)?;
        }
        if self.runtime != 0 || self.deadline != 0 || self.period != 0 {
            write!(
                f,
                " runtime {} deadline {} period {} ns",
                self.runtime, self.deadline, self.period
            )?;
        }
        if self.flags != 0 {
            write!(f, " flags {:#x}", self.flags)?;
        }
        Ok(())
    }
}

/// `process.ioPriority`; see ioprio_set(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// 1 real time, 2 best effort, 3 idle.
    pub class: u32,
    /// 0 (highest) to 7.
    pub priority: u32,
}

impl IoPriority {
    /// Resolves and checks `process.ioPriority`.
    pub fn plan(priority: &oci::LinuxIOPriority, compiler: &mut Compiler) -> Self {
        let level = u32::try_from(priority.priority()).unwrap_or(u32::MAX);
        if level > 7 {
            compiler.fault(
                Error::new(format!("I/O priority {} is not between 0 and 7", priority.priority()))
                    .at("/process/ioPriority/priority"),
            );
        }
        Self {
            class: match priority.class() {
                oci::IOPriorityClass::IoprioClassRt => 1,
                oci::IOPriorityClass::IoprioClassBe => 2,
                oci::IOPriorityClass::IoprioClassIdle => 3,
            },
            priority: level,
        }
    }

    /// Applies it to this thread.
    pub fn apply(&self) -> Result<()> {
        sys::ioprio_set(self.class, self.priority)
            .map_err(|errno| refused(format!("cannot set I/O priority {self}"), errno))
    }
}

impl fmt::Display for IoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = ["none", "real time", "best effort", "idle"];
        write!(f, "{} {}", class[self.class as usize & 3], self.priority)
    }
}

/// Modes of `linux.memoryPolicy`.
pub const MEMORY_POLICY_MODES: [oci::MemoryPolicyModeType; 7] = [
    oci::MemoryPolicyModeType::MpolDefault,
    oci::MemoryPolicyModeType::MpolBind,
    oci::MemoryPolicyModeType::MpolInterleave,
    oci::MemoryPolicyModeType::MpolWeightedInterleave,
    oci::MemoryPolicyModeType::MpolPreferred,
    oci::MemoryPolicyModeType::MpolPreferredMany,
    oci::MemoryPolicyModeType::MpolLocal,
];

/// Flags of `linux.memoryPolicy`.
pub const MEMORY_POLICY_FLAGS: [oci::MemoryPolicyFlagType; 3] = [
    oci::MemoryPolicyFlagType::MpolFNumaBalancing,
    oci::MemoryPolicyFlagType::MpolFRelativeNodes,
    oci::MemoryPolicyFlagType::MpolFStaticNodes,
];

/// `linux.memoryPolicy`; see set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_BIND` …
    pub name: String,
    /// The kernel's number of it, with `MPOL_F_*` flags.
    pub mode: i32,
    /// Node numbers.
    pub nodes: Vec<u32>,
}

/// `MPOL_*` that libc does not name yet.
const MPOL_PREFERRED_MANY: i32 = 5;
const MPOL_WEIGHTED_INTERLEAVE: i32 = 6;

impl MemoryPolicy {
    /// Resolves and checks `linux.memoryPolicy`.
    pub fn plan(policy: &oci::LinuxMemoryPolicy, compiler: &mut Compiler) -> Self {
        use oci::{MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};
        let mode = match policy.mode() {
            Mode::MpolDefault => libc::MPOL_DEFAULT,
            Mode::MpolBind => libc::MPOL_BIND,
            Mode::MpolInterleave => libc::MPOL_INTERLEAVE,
            Mode::MpolWeightedInterleave => MPOL_WEIGHTED_INTERLEAVE,
            Mode::MpolPreferred => libc::MPOL_PREFERRED,
            Mode::MpolPreferredMany => MPOL_PREFERRED_MANY,
            Mode::MpolLocal => libc::MPOL_LOCAL,
        };
        let flags = policy.flags().iter().flatten().fold(0, |mask, flag| {
            mask | match flag {
                Flag::MpolFNumaBalancing => libc::MPOL_F_NUMA_BALANCING,
                Flag::MpolFRelativeNodes => libc::MPOL_F_RELATIVE_NODES,
                Flag::MpolFStaticNodes => libc::MPOL_F_STATIC_NODES,
            }
        });
        let list = policy.nodes().as_deref().unwrap_or("");
        let nodes = parse_list(list, HIGHEST_NODE).unwrap_or_else(|reason| {
            compiler.fault(
                Error::new(format!("memory nodes {list:?}: {reason}"))
                    .at("/linux/memoryPolicy/nodes"),
            );
            Vec::new()
        });
        let name = policy.mode().to_string();
        let needs_nodes =
            [libc::MPOL_BIND, libc::MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED_MANY];
        if needs_nodes.contains(&mode) && nodes.is_empty() {
            compiler
                .fault(Error::new(format!("{name} needs nodes")).at("/linux/memoryPolicy/nodes"));
        }
        if [libc::MPOL_DEFAULT, libc::MPOL_LOCAL].contains(&mode) && !nodes.is_empty() {
            compiler.fault(
                Error::new(format!("{name} takes no nodes")).at("/linux/memoryPolicy/nodes"),
            );
        }
        Self { name, mode: mode | flags, nodes }
    }

    /// Applies it to this thread.
    pub fn apply(&self) -> Result<()> {
        sys::set_mempolicy(self.mode, &bit_mask(&self.nodes))
            .os(|| format!("cannot set memory policy {self}"))
    }
}

/// Numbers as the kernel takes them: lowest in the lowest bit of the first word.
fn bit_mask(numbers: &[u32]) -> Vec<libc::c_ulong> {
    let bits = libc::c_ulong::BITS;
    let words = numbers.iter().max().map_or(0, |highest| highest / bits + 1);
    let mut mask = vec![0; words as usize];
    for number in numbers {
        mask[(number / bits) as usize] |= 1 << (number % bits);
    }
    mask
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes {:?}", self.name, self.nodes)
    }
}

/// More nodes than any kernel is built for (`CONFIG_NODES_SHIFT` is at most 10).
const HIGHEST_NODE: u32 = 1023;
/// More processors than any kernel is built for.
const HIGHEST_CPU: u32 = 65535;

/// Parses the kernel's list format: `0-3,7`, or nothing.
fn parse_list(list: &str, highest: u32) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    let ranges = list.split(',').map(str::trim).filter(|_| !list.trim().is_empty());
    for range in ranges {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            text.parse::<u32>()
                .ok()
                .filter(|number| *number <= highest)
                .ok_or_else(|| format!("{text:?} is not a number from 0 to {highest}"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("range {range:?} runs backwards"));
        }
        numbers.extend(first..=last);
        if numbers.len() > highest as usize + 1 {
            return Err("numbers are listed more than once".to_owned());
        }
    }
    Ok(numbers)
}

/// Checks one CPU list of `process.execCPUAffinity`.
pub fn plan_affinity(list: Option<&str>, field: &str, compiler: &mut Compiler) -> Option<String> {
    let list = list.filter(|list| !list.is_empty())?;
    if let Err(reason) = parse_list(list, HIGHEST_CPU) {
        compiler.fault(
            Error::new(format!("CPU list {list:?}: {reason}"))
                .at(format!("/process/execCPUAffinity/{field}")),
        );
    }
    Some(list.to_owned())
}

/// Restricts this process to the processors of a list that has been checked;
/// without one, to none but what its cgroup has.
pub fn set_affinity(list: Option<&str>) -> Result<()> {
    let cpus = match list {
        Some(list) => parse_list(list, HIGHEST_CPU).map_err(Error::new)?,
        None => (0..=HIGHEST_CPU).collect(),
    };
    sys::sched_setaffinity(&bit_mask(&cpus))
        .os(|| format!("cannot run on processors {}", list.unwrap_or("of the cgroup")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-2,7", 10), Ok(vec![0, 1, 2, 7]));
        assert_eq!(parse_list("", 10), Ok(vec![]));
        assert!(parse_list("3-1", 10).is_err());
        assert!(parse_list("11", 10).is_err());
        assert!(parse_list("a", 10).is_err());
        assert!(parse_list("0,,1", 10).is_err());
    }
}
