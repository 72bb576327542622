//! Settings as properties of a systemd unit (org.freedesktop.systemd1(5)).

use super::Setting;
use crate::cgroups::systemd::{Property, Value};

/// systemd's word for "no limit".
const INFINITY: u64 = u64::MAX;

impl Setting {
    /// What systemd calls this setting, so that it keeps it up; empty for
    /// what it does not know.
    pub fn properties(&self) -> Vec<Property> {
        let value = self.value.trim();
        let one = |name, value: Option<Value>| {
            value.map(|value| Property::new(name, value)).into_iter().collect()
        };
        let number = |name| one(name, parse_limit(value).map(Value::Uint64));
        // The kernel takes 0, systemd does not.
        let positive = |name| one(name, parse_limit(value).filter(|it| *it > 0).map(Value::Uint64));
        let set = |name| one(name, parse_set(value).map(Value::Bytes));
        match self.file.as_str() {
            "memory.max" => positive("MemoryMax"),
            "memory.high" => positive("MemoryHigh"),
            "memory.low" => number("MemoryLow"),
            "memory.min" => number("MemoryMin"),
            "memory.swap.max" => number("MemorySwapMax"),
            "memory.zswap.max" => number("MemoryZSwapMax"),
            "pids.max" => positive("TasksMax"),
            "cpu.weight" => number("CPUWeight"),
            // systemd's weight 0 is "idle".
            "cpu.idle" if value == "1" => one("CPUWeight", Some(Value::Uint64(0))),
            "cpu.max" => bandwidth(value),
            "cpuset.cpus" => set("AllowedCPUs"),
            "cpuset.mems" => set("AllowedMemoryNodes"),
            "io.weight" | "io.bfq.weight" => self.io_weight(),
            "io.max" => io_limits(value),
            _ => Vec::new(),
        }
    }

    /// systemd's scale is that of io.weight, and it knows BFQ's.
    fn io_weight(&self) -> Vec<Property> {
        let value = match &self.if_missing {
            super::IfMissing::Write { value, .. } => value,
            _ => &self.value,
        };
        let value = value.trim().trim_start_matches("default ");
        let property = match value.split_once(' ') {
            None => {
                value.parse().ok().map(|weight| Property::new("IOWeight", Value::Uint64(weight)))
            }
            Some((device, weight)) => weight.trim().parse().ok().map(|weight| {
                let value = Value::TextNumbers(vec![(device_path(device), weight)]);
                Property::new("IODeviceWeight", value)
            }),
        };
        property.into_iter().collect()
    }
}

fn device_path(name: &str) -> String {
    format!("/dev/block/{name}")
}

fn parse_limit(value: &str) -> Option<u64> {
    if value == "max" { Some(INFINITY) } else { value.parse().ok() }
}

/// `QUOTA [PERIOD]` as microseconds of each second. systemd counts in whole
/// percent, so it is rounded up to that.
fn bandwidth(value: &str) -> Vec<Property> {
    const PERCENT: u64 = 10_000;
    let mut words = value.split_whitespace();
    let quota = words.next().and_then(parse_limit);
    let period = words.next().map_or(Some(100_000), |period| period.parse().ok());
    let (Some(quota), Some(period @ 1..)) = (quota, period) else { return Vec::new() };
    let per_second = match quota {
        INFINITY => INFINITY,
        quota => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period);
            u64::try_from(exact).unwrap_or(INFINITY - PERCENT).div_ceil(PERCENT) * PERCENT
        }
    };
    vec![
        Property::new("CPUQuotaPeriodUSec", Value::Uint64(period)),
        Property::new("CPUQuotaPerSecUSec", Value::Uint64(per_second)),
    ]
}

/// `DEVICE KEY=VALUE …`
fn io_limits(value: &str) -> Vec<Property> {
    let mut words = value.split_whitespace();
    let Some(device) = words.next().map(device_path) else { return Vec::new() };
    words
        .filter_map(|word| {
            let (key, limit) = word.split_once('=')?;
            let name = match key {
                "rbps" => "IOReadBandwidthMax",
                "wbps" => "IOWriteBandwidthMax",
                "riops" => "IOReadIOPSMax",
                "wiops" => "IOWriteIOPSMax",
                _ => return None,
            };
            let value = Value::TextNumbers(vec![(device.clone(), parse_limit(limit)?)]);
            Some(Property::new(name, value))
        })
        .collect()
}

/// `0-3,7` as bits. Kernels' steps (`0-7:2/4`) have no meaning for systemd.
fn parse_set(list: &str) -> Option<Vec<u8>> {
    /// More CPUs than any kernel knows.
    const LARGEST: usize = 1 << 16;
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= LARGEST {
            return None;
        }
        for number in first..=last {
            if bits.len() <= number / 8 {
                bits.resize(number / 8 + 1, 0);
            }
            bits[number / 8] |= 1 << (number % 8);
        }
    }
    Some(bits)
}
