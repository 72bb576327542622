//! How: what a cgroup has used so far, in runc's form, which engines read.
//!
//! A file that is not there, for want of a controller, counts as zeros.

use super::CgroupDir;
use crate::error::Result;
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything `events` prints about a container.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    cpu: Cpu,
    cpuset: CpuSet,
    memory: Memory,
    pids: Pids,
    blkio: BlockIo,
    hugetlb: BTreeMap<String, HugePages>,
    intel_rdt: Empty,
    network_interfaces: Option<Empty>,
}

#[derive(Debug, Default, Serialize)]
struct Empty {}

#[derive(Debug, Default, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

/// In nanoseconds.
#[derive(Debug, Default, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

/// Only `cpus` and `mems` exist in cgroup v2; readers expect the others.
#[derive(Debug, Default, Serialize)]
struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

/// In bytes.
#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    cache: u64,
    usage: MemoryEntry,
    swap: MemoryEntry,
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
    event_count: BTreeMap<String, u64>,
}

#[derive(Debug, Default, Serialize)]
struct MemoryEntry {
    limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    current: u64,
    /// 0 is no limit.
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockIo {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlockIoEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Pressure>,
}

#[derive(Debug, Serialize)]
struct BlockIoEntry {
    #[serde(skip_serializing_if = "is_zero")]
    major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    minor: u64,
    op: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    value: u64,
}

#[derive(Debug, Default, Serialize)]
struct HugePages {
    #[serde(skip_serializing_if = "is_zero")]
    usage: u64,
    failcnt: u64,
}

/// Pressure stall information (the kernel's accounting/psi.rst).
#[derive(Debug, Default, Serialize)]
struct Pressure {
    #[serde(skip_serializing_if = "Option::is_none")]
    some: Option<Stall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<Stall>,
}

#[derive(Debug, Default, Serialize)]
struct Stall {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    /// In microseconds.
    total: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl CgroupDir {
    /// What the cgroup has used so far.
    pub fn stats(&self) -> Result<Stats> {
        Ok(Stats {
            cpu: self.cpu(),
            cpuset: CpuSet {
                cpus: parse_list(&self.text("cpuset.cpus.effective")),
                mems: parse_list(&self.text("cpuset.mems.effective")),
                ..CpuSet::default()
            },
            memory: self.memory(),
            pids: Pids { current: self.tasks(), limit: limit_or(&self.text("pids.max"), 0) },
            blkio: self.block_io(),
            hugetlb: self.huge_pages(),
            ..Stats::default()
        })
    }

    fn text(&self, file: &str) -> String {
        self.read_long(file).unwrap_or_default()
    }

    fn number(&self, file: &str) -> u64 {
        self.text(file).trim().parse().unwrap_or(0)
    }

    /// Without the controller, those of its own that can be counted.
    fn tasks(&self) -> u64 {
        let count = || self.text("cgroup.threads").lines().count() as u64;
        self.text("pids.current").trim().parse().unwrap_or_else(|_| count())
    }

    fn cpu(&self) -> Cpu {
        let stat = parse_map(&self.text("cpu.stat"));
        let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or(0) * 1000;
        let count = |key: &str| stat.get(key).copied().unwrap_or(0);
        Cpu {
            usage: CpuUsage {
                total: nanoseconds("usage_usec"),
                kernel: nanoseconds("system_usec"),
                user: nanoseconds("user_usec"),
            },
            throttling: Throttling {
                periods: count("nr_periods"),
                throttled_periods: count("nr_throttled"),
                throttled_time: nanoseconds("throttled_usec"),
            },
            psi: parse_pressure(&self.text("cpu.pressure")),
        }
    }

    /// Swap is memory and swap together, as cgroup v1 counted.
    fn memory(&self) -> Memory {
        let raw = parse_map(&self.text("memory.stat"));
        let events = parse_map(&self.text("memory.events"));
        let failures = |key: &str| events.get(key).copied().unwrap_or(0);
        let limit = |file: &str| match self.text(file) {
            text if text.is_empty() => 0,
            text => limit_or(&text, u64::MAX),
        };
        let usage = MemoryEntry {
            limit: limit("memory.max"),
            usage: self.number("memory.current"),
            max: self.number("memory.peak"),
            failcnt: failures("max"),
        };
        let swap = MemoryEntry {
            limit: limit("memory.swap.max").saturating_add(usage.limit),
            usage: self.number("memory.swap.current") + usage.usage,
            max: 0,
            failcnt: parse_map(&self.text("memory.swap.events")).get("fail").copied().unwrap_or(0),
        };
        let psi = parse_pressure(&self.text("memory.pressure"));
        let cache = raw.get("file").copied().unwrap_or(0);
        let mut event_count = events;
        event_count.retain(|_, count| *count != 0);
        Memory { cache, usage, swap, raw, psi, event_count, ..Memory::default() }
    }

    fn block_io(&self) -> BlockIo {
        let mut io =
            BlockIo { psi: parse_pressure(&self.text("io.pressure")), ..BlockIo::default() };
        for line in self.text("io.stat").lines() {
            let mut words = line.split_whitespace();
            let device = words.next().and_then(|device| device.split_once(':'));
            let device =
                device.and_then(|(major, minor)| major.parse().ok().zip(minor.parse().ok()));
            let Some((major, minor)) = device else { continue };
            for (key, value) in words.filter_map(|word| word.split_once('=')) {
                let (list, op) = match key {
                    "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                    "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                    "rios" => (&mut io.io_serviced_recursive, "Read"),
                    "wios" => (&mut io.io_serviced_recursive, "Write"),
                    _ => continue,
                };
                let value = value.parse().unwrap_or(0);
                list.push(BlockIoEntry { major, minor, op, value });
            }
        }
        io
    }

    fn huge_pages(&self) -> BTreeMap<String, HugePages> {
        let sizes = self.huge_page_sizes().into_iter();
        sizes
            .map(|size| {
                let events = parse_map(&self.text(&format!("hugetlb.{size}.events")));
                let usage = self.number(&format!("hugetlb.{size}.current"));
                let failcnt = events.get("max").copied().unwrap_or(0);
                (size, HugePages { usage, failcnt })
            })
            .collect()
    }
}

/// `KEY NUMBER` on each line.
pub(super) fn parse_map(text: &str) -> BTreeMap<String, u64> {
    let parse = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

/// How often something happened to the cgroup's memory (memory.events).
pub fn memory_events(text: &str, key: &str) -> u64 {
    parse_map(text).get(key).copied().unwrap_or(0)
}

fn limit_or(text: &str, unlimited: u64) -> u64 {
    text.trim().parse().unwrap_or(unlimited)
}

/// `0-3,7`.
fn parse_list(text: &str) -> Vec<u16> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn parse_pressure(text: &str) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, fields) = line.split_once(' ')?;
        let mut stall = Stall::default();
        for (key, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
            match key {
                "avg10" => stall.avg10 = value.parse().ok()?,
                "avg60" => stall.avg60 = value.parse().ok()?,
                "avg300" => stall.avg300 = value.parse().ok()?,
                "total" => stall.total = value.parse().ok()?,
                _ => {}
            }
        }
        match kind {
            "some" => pressure.some = Some(stall),
            "full" => pressure.full = Some(stall),
            _ => {}
        }
    }
    (pressure.some.is_some() || pressure.full.is_some()).then_some(pressure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.25 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let json = serde_json::to_value(parse_pressure(text)).unwrap();
        assert_eq!(
            json["some"],
            serde_json::json!({"avg10": 1.5, "avg60": 0.0, "avg300": 0.25, "total": 7})
        );
        assert_eq!(json["full"]["total"], 3);
        assert!(parse_pressure("").is_none());
    }

    #[test]
    fn lists_and_counters_are_read() {
        assert_eq!(parse_list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(parse_list("\n"), [0; 0]);
        assert_eq!(memory_events("low 0\noom_kill 2\n", "oom_kill"), 2);
    }
}
