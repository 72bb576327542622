//! How long the runtime's commands took, while cases ran beside each other: what changes between
//! two runs on one machine is worth a look with a benchmark.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Where a case keeps them, beside the output of its commands.
pub const FILE: &str = "times";

/// What engines wait for.
const VERBS: [&str; 6] = ["create", "start", "state", "exec", "kill", "delete"];

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// `create`, `start` …
    pub verb: String,
    /// How long it took.
    pub micros: u64,
}

/// Notes a command, whose words begin with its verb.
pub fn note(file: &Path, words: &str, took: Duration) -> io::Result<()> {
    let verb = words.split(' ').next().unwrap_or_default();
    let mut file = File::options().append(true).create(true).open(file)?;
    writeln!(file, "{verb} {}", took.as_micros())
}

/// What was noted.
pub fn read(file: &Path) -> Vec<Time> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let parse = |line: &str| {
        let (verb, micros) = line.split_once(' ')?;
        Some(Time { verb: verb.to_owned(), micros: micros.parse().ok()? })
    };
    text.lines().filter_map(parse).collect()
}

/// `create 12.1 ms, start 4.0 ms`: medians.
pub fn medians<'t>(times: impl Iterator<Item = &'t Time>) -> String {
    let mut by_verb: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for time in times {
        by_verb.entry(&time.verb).or_default().push(time.micros);
    }
    let median = |verb: &&str| {
        let list = by_verb.get_mut(*verb)?;
        list.sort_unstable();
        Some(format!("{verb} {:.1} ms", list[list.len() / 2] as f64 / 1000.0))
    };
    VERBS.iter().filter_map(median).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_and_summed_up() {
        let file = std::env::temp_dir().join(format!("oci-times-{}", std::process::id()));
        let commands = [
            ("create --bundle x id", 3),
            ("create id", 1),
            ("create id", 9),
            ("state id", 2),
            ("ps id", 7),
        ];
        for (words, millis) in commands {
            note(&file, words, Duration::from_millis(millis)).unwrap();
        }
        let times = read(&file);
        fs::remove_file(&file).unwrap();
        assert_eq!(times[0], Time { verb: "create".into(), micros: 3000 });
        assert_eq!(medians(times.iter()), "create 3.0 ms, state 2.0 ms");
        assert_eq!(medians(read(&file).iter()), "");
    }
}
