//! What came out, and which of it is news.

use crate::case::{Case, Level};
use crate::coverage;
use crate::deviations::Known;
use crate::isolation::{Outcome, Report};
use crate::subject::Subject;
use crate::times::Time;
use serde::Serialize;
use std::time::Duration;

/// Everything a run has found out.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The machine.
    pub host: String,
    /// One for each runtime; all have the same cases.
    pub columns: Vec<Column>,
}

/// The results of one runtime.
#[derive(Debug, Serialize)]
pub struct Column {
    /// The runtime.
    pub subject: Subject,
    /// One for each case.
    pub records: Vec<Record>,
    /// How long all of it took.
    pub seconds: f64,
}

/// The result of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The case.
    pub id: &'static str,
    /// How binding it is.
    pub level: Level,
    /// The sentences it tests.
    pub refs: &'static [&'static str],
    /// File and section of the first of them.
    pub section: String,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What it left behind.
    pub left: Vec<String>,
    /// How long it took.
    pub millis: u128,
    /// How long each command of the runtime took.
    pub times: Vec<Time>,
    /// Why a failure was expected.
    pub known_fail: Option<String>,
    /// Why something was expected to be left.
    pub known_left: Option<String>,
    /// Why the result is no news, whatever it is.
    pub known_maybe: Option<String>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub pass: usize,
    /// Failed.
    pub fail: usize,
    /// Could not run on this host.
    pub skip: usize,
    /// Left something behind.
    pub left: usize,
    /// Not as expected: by the specification, or by the known deviations.
    pub changes: usize,
}

impl Record {
    /// Puts a case, its report and what was known about it together.
    pub fn new(case: &Case, report: Report, took: Duration, known: Known) -> Self {
        Self {
            id: case.id,
            level: case.level,
            refs: case.refs,
            section: coverage::section_of(case),
            outcome: report.outcome,
            left: report.left,
            millis: took.as_millis(),
            times: report.times,
            known_fail: known.fail,
            known_left: known.left,
            known_maybe: known.maybe,
        }
    }

    /// Why a failure is none that anybody has to look at.
    pub fn excuse(&self) -> Option<&String> {
        self.known_fail.as_ref().or(self.known_maybe.as_ref())
    }

    /// What is not as expected.
    pub fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        if self.known_maybe.is_some() {
            return changes;
        }
        match (&self.outcome, &self.known_fail) {
            (Outcome::Fail { .. }, None) => changes.push("fails".into()),
            (Outcome::Pass, Some(why)) => {
                changes.push(format!("passes, and was known to fail: {why}"))
            }
            _ => {}
        }
        match (self.left.is_empty(), &self.known_left, &self.outcome) {
            (false, None, _) => changes.push(format!("left behind: {}", self.left.join(", "))),
            // A case that fails early may not get as far as the leak.
            (true, Some(why), Outcome::Pass) => {
                changes.push(format!("leaves nothing, and was known to leave: {why}"));
            }
            _ => {}
        }
        changes
    }
}

impl Results {
    /// How many results are not as expected.
    pub fn changes(&self) -> usize {
        self.columns.iter().map(|column| count(&column.records).changes).sum()
    }
}

/// Counts records.
pub fn count<'r>(records: impl IntoIterator<Item = &'r Record>) -> Counts {
    records.into_iter().fold(Counts::default(), |mut counts, record| {
        match record.outcome {
            Outcome::Pass => counts.pass += 1,
            Outcome::Fail { .. } => counts.fail += 1,
            Outcome::Skip { .. } => counts.skip += 1,
        }
        counts.left += usize::from(!record.left.is_empty());
        counts.changes += usize::from(!record.changes().is_empty());
        counts
    })
}

/// The sections of records in the order of the specification, each once.
pub fn sections(records: &[Record]) -> Vec<&str> {
    let mut sections: Vec<&str> = records.iter().map(|record| record.section.as_str()).collect();
    sections.sort_by_key(|section| coverage::section_rank(section));
    sections.dedup();
    sections
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::path::PathBuf;

    pub fn record(id: &'static str, outcome: Outcome, left: &[&str]) -> Record {
        Record {
            id,
            level: Level::Must,
            refs: &["config.md:66"],
            section: "config.md Mounts".into(),
            outcome,
            left: left.iter().map(|text| (*text).to_string()).collect(),
            millis: 12,
            times: vec![Time { verb: "create".into(), micros: 4500 }],
            known_fail: None,
            known_left: None,
            known_maybe: None,
        }
    }

    /// One of each kind.
    pub fn sample() -> Results {
        let fail = Outcome::Fail { expected: "umask: 23".into(), got: "<18> & \"more\"".into() };
        let skip = Outcome::Skip { reason: "no SELinux".into() };
        let mut known = record("a.known", fail.clone(), &[]);
        known.known_fail = Some("it is old".into());
        let records = vec![
            record("a.pass", Outcome::Pass, &[]),
            record("a.fail", fail, &["cgroup /x"]),
            record("a.skip", skip, &[]),
            known,
        ];
        let subject = Subject {
            label: "box".into(),
            path: PathBuf::from("/usr/bin/box"),
            version: "box 1.0".into(),
        };
        Results { host: "Linux 6".into(), columns: vec![Column { subject, records, seconds: 1.5 }] }
    }

    #[test]
    fn a_known_failure_is_no_change_and_its_end_is_one() {
        let results = sample();
        let counts = count(&results.columns[0].records);
        assert_eq!(counts, Counts { pass: 1, fail: 2, skip: 1, left: 1, changes: 1 });
        let mut mended = record("a.mended", Outcome::Pass, &[]);
        mended.known_fail = Some("it was old".into());
        assert_eq!(mended.changes(), ["passes, and was known to fail: it was old"]);
        let mut skipped = record("a.skip", Outcome::Skip { reason: "no".into() }, &[]);
        skipped.known_fail = Some("it is old".into());
        assert!(skipped.changes().is_empty());
    }
}
