//! `hako update`, `ps` and `events`: types and their numbers.

use super::ListFormat;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Change the limits of a container
#[derive(Debug, Args)]
pub struct Update {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// File with linux.resources as JSON, - for standard input; other options are ignored then
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// Weight of the container's input and output, 10 to 1000
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    pub blkio_weight: Option<u16>,
    /// Period of --cpu-quota in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_period: Option<u64>,
    /// CPU time in each period in microseconds, -1 for unlimited
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// CPU time that may be saved for later periods, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub cpu_burst: Option<u64>,
    /// 1: run only when no other container wants to
    #[arg(long, value_name = "0|1", allow_negative_numbers = true)]
    pub cpu_idle: Option<i64>,
    /// Weight of the container's CPU time, 1024 by default
    #[arg(long, value_name = "SHARES", allow_negative_numbers = true)]
    pub cpu_share: Option<u64>,
    /// Not possible with cgroup v2
    #[arg(long, value_name = "MICROSECONDS", hide = true, allow_negative_numbers = true)]
    pub cpu_rt_period: Option<u64>,
    /// Not possible with cgroup v2
    #[arg(long, value_name = "MICROSECONDS", hide = true, allow_negative_numbers = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs to run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Memory limit in bytes or as 60M, -1 for unlimited
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory: Option<i64>,
    /// Memory that is protected from others' need
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory_reservation: Option<i64>,
    /// Limit of memory and swap together
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// Number of processes, -1 for unlimited
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// Share of the processors' caches, such as L3:0=ff
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Share of the memory's bandwidth, such as MB:0=50
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true)]
    pub kernel_memory: Option<String>,
    /// Ignored: the kernel has no such limit any more
    #[arg(long, value_name = "SIZE", hide = true, allow_hyphen_values = true)]
    pub kernel_memory_tcp: Option<String>,
}

/// List the processes of a container
#[derive(Debug, Args)]
pub struct Ps {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Format of the list: table or json, which is the pids alone
    #[arg(short, long, default_value = "table", hide_possible_values = true)]
    pub format: ListFormat,
    /// Options of ps(1) [default: -ef]
    #[arg(value_name = "PS OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<String>,
}

/// Print statistics of a container, and when it runs out of memory
#[derive(Debug, Args)]
pub struct Events {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Time between statistics
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5s",
        value_parser = parse_duration,
        allow_hyphen_values = true
    )]
    pub interval: Duration,
    /// Print the statistics once, and end
    #[arg(long)]
    pub stats: bool,
}

/// Bytes: `-1`, `1024`, `60M`, `1.5 GiB`. Units are powers of 1024.
fn parse_size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?} is no size; write 1024, 60M or 1.5GiB, or -1 for unlimited");
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let unit = text[end..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = match unit.strip_suffix('i').unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let bytes = number * 1024_f64.powi(power);
    if bytes < i64::MAX as f64 { Ok(bytes as i64) } else { Err(wrong()) }
}

/// `5s`, `500ms`, `1m30s`, or seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 5s, 500ms or 1m30s");
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end =
            rest.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" | "" => 1.0,
                "ms" => 0.001,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    match Duration::try_from_secs_f64(total) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(format!("{text:?} is not greater than 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("1024", 1024),
            ("60M", 60 << 20),
            ("60mb", 60 << 20),
            ("1.5GiB", 3 << 29),
            ("2 k", 2048),
            ("7b", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-2", "1X", "1iB", "1.2.3", "9999999999P", "60MM"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [("5s", 5000), ("500ms", 500), ("1m30s", 90_000), ("2", 2000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "0s", "s", "5x", "-1s", "1e400s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
