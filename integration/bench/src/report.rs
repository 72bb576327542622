//! From samples to numbers, from numbers to a verdict.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::subject::{COMMANDS, Counts, FILTERED, LIMITED, Sample};

/// Quartiles of a series. The minimum and the median say more than a mean, which one hiccup of the
/// machine moves.
#[derive(Clone, Copy)]
pub struct Summary {
    pub min: f64,
    pub q1: f64,
    pub median: f64,
    pub q3: f64,
}

impl Summary {
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Summary> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at =
            |quarter: usize| values.get((values.len().checked_sub(1)? * quarter + 2) / 4).copied();
        Some(Summary { min: at(0)?, q1: at(1)?, median: at(2)?, q3: at(3)? })
    }

    /// How far apart the middle half of the values is, relative to the median.
    fn spread(&self) -> f64 {
        (self.q3 - self.q1) / self.median
    }
}

/// Above these the machine was doing something else, and a ratio near its limit would be luck.
const MAX_FLOOR_SPREAD: f64 = 0.4;
const MAX_RATIO_SPREAD: f64 = 0.4;

#[derive(Default)]
pub struct Results {
    pub subjects: Vec<&'static str>,
    /// One sample for each round, so that those with the same index were taken next to each other.
    pub samples: BTreeMap<(&'static str, &'static str), Vec<Sample>>,
    pub counts: BTreeMap<&'static str, Counts>,
    pub remarks: Vec<String>,
}

/// What placing a container and its limits may cost beside a `run` without limits.
const COST_OF_LIMITS: f64 = 1.15;

/// The same in system calls.
pub fn limit_with_limits(without: usize) -> usize {
    (without as f64 * COST_OF_LIMITS) as usize
}

/// What all of a seccomp profile may cost whose filter was compiled before: it is read, looked up,
/// kept for `exec` and loaded.
const COST_OF_A_FILTER: f64 = 1.15;

/// hako in its variants.
const OURS: [&str; 3] = ["hako", LIMITED, FILTERED];

struct Target {
    what: String,
    limit: String,
    measured: String,
    met: bool,
    /// A time, which noise makes worthless; counts and memory stay what they are.
    timed: bool,
}

impl Results {
    pub fn add(&mut self, command: &'static str, subject: &'static str, sample: Sample) {
        self.samples.entry((command, subject)).or_default().push(sample);
    }

    fn summary(
        &self,
        command: &'static str,
        subject: &'static str,
        value: fn(&Sample) -> f64,
    ) -> Option<Summary> {
        Summary::of(self.samples.get(&(command, subject))?.iter().map(value))
    }

    /// The ratios of pairs: what slows the machine down slows both.
    fn ratio(&self, command: &'static str, other: &'static str) -> Option<Summary> {
        self.ratio_of(command, "hako", other)
    }

    fn ratio_of(
        &self,
        command: &'static str,
        one: &'static str,
        other: &'static str,
    ) -> Option<Summary> {
        let one = self.samples.get(&(command, one))?;
        let other = self.samples.get(&(command, other))?;
        Summary::of(one.iter().zip(other).map(|(a, b)| a.ms / b.ms))
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        let ratios = [("run", "crun", 0.5), ("run", "floor", 1.5), ("exec", "crun", 0.5)];
        let quick = ["start", "state", "kill", "delete"].map(|command| (command, "crun", 0.4));
        let mut judge = |what: String, ratio: Option<Summary>, limit: f64| {
            targets.extend(ratio.map(|ratio| Target {
                what,
                limit: format!("≤ {limit:.2}"),
                measured: format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.q1, ratio.q3),
                met: ratio.median <= limit,
                timed: true,
            }));
        };
        for (command, other, limit) in ratios.into_iter().chain(quick) {
            judge(format!("{command}: time ÷ {other}"), self.ratio(command, other), limit);
        }
        let cost = self.ratio_of("run", LIMITED, "hako");
        judge("run: time with limits ÷ without".into(), cost, COST_OF_LIMITS);
        let cost = self.ratio_of("run", FILTERED, "hako");
        judge("run: time with a known filter ÷ without".into(), cost, COST_OF_A_FILTER);
        let peak = |subject| self.summary("run", subject, |s| s.peak_kib).map(|s| s.median);
        if let (Some(ours), Some(crun)) = (peak("hako"), peak("crun")) {
            targets.push(Target {
                what: "run: peak memory".into(),
                limit: format!("< {crun:.0} KiB"),
                measured: format!("{ours:.0} KiB"),
                met: ours < crun,
                timed: false,
            });
        }
        for (what, count, limit) in self.counts.get("hako").iter().flat_map(|c| c.limits()) {
            targets.push(Target {
                what: format!("run: {what}"),
                limit: format!("≤ {limit}"),
                measured: count.to_string(),
                met: count <= limit,
                timed: false,
            });
        }
        if let (Some(plain), Some(limited)) = (self.counts.get("hako"), self.counts.get(LIMITED)) {
            let limit = limit_with_limits(plain.syscalls);
            targets.push(Target {
                what: "run: system calls with limits".into(),
                limit: format!("≤ {limit}"),
                measured: limited.syscalls.to_string(),
                met: limited.syscalls <= limit,
                timed: false,
            });
        }
        targets
    }

    /// Why this run proves nothing, if so.
    pub fn noise(&self) -> Vec<String> {
        let mut noise = Vec::new();
        let mut check = |what: &str, summary: Option<Summary>, limit: f64| {
            if let Some(spread) = summary.map(|s| s.spread()).filter(|&s| s > limit) {
                noise.push(format!(
                    "{what}: the middle half spreads over {:.0} % of the median (at most {:.0} %)",
                    spread * 100.0,
                    limit * 100.0
                ));
            }
        };
        check("the floor's time", self.summary("run", "floor", |s| s.ms), MAX_FLOOR_SPREAD);
        check("run ÷ crun", self.ratio("run", "crun"), MAX_RATIO_SPREAD);
        check("run ÷ floor", self.ratio("run", "floor"), MAX_RATIO_SPREAD);
        let cost = self.ratio_of("run", LIMITED, "hako");
        check("run with limits ÷ run", cost, MAX_RATIO_SPREAD);
        noise
    }

    pub fn all_met(&self) -> bool {
        self.targets().iter().all(|t| t.met)
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let _ = self.write_markdown(&mut text);
        text
    }

    /// Those that hako is compared with.
    fn others(&self) -> Vec<&'static str> {
        let is_other = |subject: &&str| !OURS.contains(subject);
        match self.subjects.contains(&"hako") {
            true => self.subjects.iter().copied().filter(is_other).collect(),
            false => Vec::new(),
        }
    }

    fn write_markdown(&self, out: &mut String) -> std::fmt::Result {
        let rounds = self.samples.values().map(Vec::len).max().unwrap_or(0);
        writeln!(
            out,
            "Whole-process time in ms, minimum / median of {rounds} interleaved rounds; \
             ratios are medians of pairs\n"
        )?;
        let others = self.others();
        let columns = self
            .subjects
            .iter()
            .map(|s| s.to_string())
            .chain(others.iter().map(|o| format!("hako ÷ {o}")));
        row(out, std::iter::once("command".into()).chain(columns.clone()))?;
        row(out, std::iter::once("---".into()).chain(columns.map(|_| "--:".into())))?;
        for command in COMMANDS.into_iter().filter(|c| self.samples.keys().any(|k| k.0 == *c)) {
            let times = self.subjects.iter().map(|s| {
                self.summary(command, s, |s| s.ms)
                    .map_or("–".into(), |s| format!("{:.2} / {:.2}", s.min, s.median))
            });
            let ratios = others.iter().map(|o| {
                self.ratio(command, o).map_or("–".into(), |r| format!("{:.2}", r.median))
            });
            row(out, std::iter::once(command.into()).chain(times).chain(ratios))?;
        }

        writeln!(out, "\nWhat one `run` needs\n")?;
        row(out, ["", "peak memory, KiB", "syscalls", "tasks", "clones"].map(String::from))?;
        row(out, ["---", "--:", "--:", "--:", "--:"].map(String::from))?;
        for &subject in &self.subjects {
            let peak = self
                .summary("run", subject, |s| s.peak_kib)
                .map_or("–".into(), |s| format!("{:.0}", s.median));
            let counts = match self.counts.get(subject) {
                Some(c) => [c.syscalls, c.tasks, c.clones].map(|n| n.to_string()),
                None => ["–"; 3].map(String::from),
            };
            row(out, [subject.to_string(), peak].into_iter().chain(counts))?;
        }
        for remark in &self.remarks {
            writeln!(out, "\n{remark}")?;
        }

        let targets = self.targets();
        if !targets.is_empty() {
            writeln!(out)?;
            row(out, ["target", "limit", "measured", ""].map(String::from))?;
            row(out, ["---", "---", "---", "---"].map(String::from))?;
            let noisy = !self.noise().is_empty();
            for target in targets {
                let verdict = match target.met {
                    _ if noisy && target.timed => "not judged",
                    true => "ok",
                    false => "**miss**",
                };
                row(out, [target.what, target.limit, target.measured, verdict.into()])?;
            }
        }
        Ok(())
    }

    pub fn json(&self) -> Value {
        let number = |n: f64| (n * 1000.0).round() / 1000.0;
        let summary = |s: Summary| json!({"min": number(s.min), "q1": number(s.q1), "median": number(s.median), "q3": number(s.q3)});
        let mut times = json!({});
        let mut ratios = json!({});
        let mut peaks = json!({});
        for &(command, subject) in self.samples.keys() {
            times[command][subject] =
                self.summary(command, subject, |s| s.ms).map_or(Value::Null, summary);
            peaks[command][subject] = self
                .summary(command, subject, |s| s.peak_kib)
                .map_or(Value::Null, |s| json!(s.median));
            if let Some(ratio) = self.ratio(command, subject).filter(|_| !OURS.contains(&subject)) {
                ratios[command][subject] = summary(ratio);
            }
        }
        let counts: BTreeMap<_, _> = self
            .counts
            .iter()
            .map(|(name, c)| {
                (name, json!({"syscalls": c.syscalls, "tasks": c.tasks, "clones": c.clones}))
            })
            .collect();
        let targets: Vec<_> = self
            .targets()
            .into_iter()
            .map(|t| json!({"target": t.what, "limit": t.limit, "measured": t.measured, "met": t.met}))
            .collect();
        json!({"times_ms": times, "hako_ratios": ratios, "peak_kib": peaks, "counts": counts, "targets": targets,
               "noise": self.noise(), "remarks": self.remarks})
    }
}

impl Counts {
    /// The budget of `run`. The first container below a cgroup enables its controllers there,
    /// which takes nine system calls. Page faults are those of the program in it, too: 40 of C's.
    pub fn limits(&self) -> [(&'static str, usize, usize); 4] {
        [
            ("syscalls", self.syscalls, 300),
            ("tasks", self.tasks, 2),
            ("clones", self.clones, 1),
            ("page faults", self.faults, 220),
        ]
    }
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) -> std::fmt::Result {
    for cell in cells {
        write!(out, "| {cell} ")?;
    }
    writeln!(out, "|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles() {
        let summary = Summary::of([5.0, 1.0, 3.0, 2.0, 4.0].into_iter()).unwrap();
        assert_eq!((summary.min, summary.q1, summary.median, summary.q3), (1.0, 2.0, 3.0, 4.0));
        assert!(Summary::of([].into_iter()).is_none());
    }

    fn results(floor: impl Iterator<Item = f64>) -> Results {
        let mut results = Results { subjects: vec!["floor", "hako", "crun"], ..Results::default() };
        for ms in floor {
            for (subject, factor) in [("floor", 1.0), ("hako", 1.4), ("crun", 3.0)] {
                results.add("run", subject, Sample { ms: ms * factor, peak_kib: 100.0 * factor });
            }
        }
        results
    }

    #[test]
    fn ratios_are_of_pairs_and_judged() {
        let quiet = results((0..20).map(|i| 2.0 + 0.01 * f64::from(i)));
        assert!(quiet.noise().is_empty());
        assert!(quiet.all_met(), "{}", quiet.markdown());
        assert!(
            quiet.markdown().contains("| run: time ÷ floor | ≤ 1.50 | 1.40 (1.40 to 1.40) | ok |")
        );
    }

    #[test]
    fn a_noisy_run_is_not_judged() {
        let noisy = results((0..20).map(|i| if i % 2 == 0 { 2.0 } else { 6.0 }));
        assert_eq!(noisy.noise().len(), 1);
        assert!(noisy.markdown().contains("not judged"));
        assert!(!noisy.markdown().contains("1.40 to 1.40) | ok |"));
    }
}
