//! `cpu`, with cpusets.

use super::{Current, Table};
use crate::error::Error;
use oci_spec::runtime::LinuxCpu;

/// Adds the settings.
pub fn fill(cpu: &LinuxCpu, current: &Current, table: &mut Table) {
    fill_weight(cpu, table);
    fill_bandwidth(cpu, current, table);
    if cpu.realtime_runtime().is_some_and(|runtime| runtime != 0) {
        table.refuse("cpu/realtimeRuntime", "leave it out: realtime processes are not limited");
    }
    if cpu.realtime_period().is_some_and(|period| period != 0) {
        table.refuse("cpu/realtimePeriod", "leave it out: realtime processes are not limited");
    }
    for (list, file, field) in
        [(cpu.cpus(), "cpuset.cpus", "cpu/cpus"), (cpu.mems(), "cpuset.mems", "cpu/mems")]
    {
        let Some(list) = list.as_deref().map(str::trim).filter(|list| !list.is_empty()) else {
            continue;
        };
        if list.chars().all(|char| char.is_ascii_digit() || ",-:/ ".contains(char)) {
            table.set(file, list, field);
        } else {
            let error = Error::new(format!("{list:?} is no list of numbers"));
            table.fault(field, error.hint("for example 0-3,7"));
        }
    }
}

/// Idle comes first: the kernel takes no weight for what is idle.
fn fill_weight(cpu: &LinuxCpu, table: &mut Table) {
    let idle = match cpu.idle() {
        Some(idle @ (0 | 1)) => {
            table.set("cpu.idle", idle, "cpu/idle").is_default = idle == 0;
            idle == 1
        }
        Some(idle) => {
            table.fault("cpu/idle", Error::new(format!("idle is {idle}, not 0 or 1")));
            false
        }
        None => false,
    };
    match cpu.shares() {
        None | Some(0) => {}
        Some(_) if idle => {}
        Some(shares) => {
            let weight = weight_of(shares);
            table.set("cpu.weight", weight, "cpu/shares").is_default = weight == 100;
        }
    }
}

/// Shares (2 to 262144, default 1024) as a weight (1 to 10000, default 100):
/// the curve through these three points that runtimes have agreed on.
fn weight_of(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        3..262_144 => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
        _ => 10_000,
    }
}

fn fill_bandwidth(cpu: &LinuxCpu, current: &Current, table: &mut Table) {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let field = if quota.is_some() { "cpu/quota" } else { "cpu/period" };
    let limit = match quota {
        Some(quota) => u64::try_from(quota).ok(),
        None => current.quota,
    };
    let burst = cpu.burst();
    if let (Some(burst), Some(limit)) = (burst, limit)
        && burst > limit
    {
        let error = Error::new(format!("burst {burst} is greater than quota {limit}"));
        table.fault("cpu/burst", error);
        return;
    }
    let first = table.settings.len();
    if quota.is_some() || period.is_some() {
        let shown = limit.map_or("max".to_owned(), |limit| limit.to_string());
        let period = period.unwrap_or(current.period);
        table.set("cpu.max", format!("{shown} {period}"), field).is_default = limit.is_none();
    }
    if let Some(burst) = burst {
        table.set("cpu.max.burst", burst, "cpu/burst").is_default = burst == 0;
        // At no moment may the burst be greater than the quota.
        if current.quota.is_some_and(|quota| burst <= quota) {
            table.settings[first..].reverse();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::weight_of;

    #[test]
    fn shares_become_weights() {
        for (shares, weight) in [
            (1, 1),
            (2, 1),
            (4, 2),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of(shares), weight, "{shares}");
        }
        assert!((2..262_145).map(weight_of).is_sorted());
    }
}
