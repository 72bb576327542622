//! For people: what is wrong first, then the numbers.

use crate::isolation::Outcome;
use crate::results::{Column, Record, Results, count, sections};
use crate::times::medians;
use std::fmt::Write;

pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for column in &results.columns {
        let _ = writeln!(text, "{}: {}", column.subject.label, column.subject.version);
        for record in &column.records {
            details(&mut text, record);
        }
        skips(&mut text, column);
        summary(&mut text, column);
    }
    let _ = writeln!(text, "{}", results.host);
    text
}

fn details(text: &mut String, record: &Record) {
    if let Outcome::Fail { expected, got } = &record.outcome {
        let known = record.excuse().map(|why| format!("  (known: {why})"));
        let (id, level, refs) = (record.id, record.level.name(), record.refs.join(" "));
        let _ = writeln!(text, "\nFAIL {id}  {level} {refs}{}", known.unwrap_or_default());
        let _ = writeln!(text, "     expected  {expected}\n     got       {got}");
    } else if !record.changes().is_empty() {
        let _ = writeln!(text, "\n     {}", record.id);
    }
    for change in record.changes().iter().filter(|change| *change != "fails") {
        let _ = writeln!(text, "     {change}");
    }
}

fn skips(text: &mut String, column: &Column) {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for record in &column.records {
        if let Outcome::Skip { reason } = &record.outcome {
            match reasons.iter_mut().find(|(other, _)| other == reason) {
                Some((_, ids)) => ids.push(record.id),
                None => reasons.push((reason, vec![record.id])),
            }
        }
    }
    for (reason, ids) in reasons {
        let _ = writeln!(text, "\nskipped: {reason}\n     {}", ids.join(" "));
    }
}

fn summary(text: &mut String, column: &Column) {
    let _ = writeln!(text, "\n{:56} {:>5} {:>5} {:>5}", "section", "pass", "fail", "skip");
    for section in sections(&column.records) {
        let counts = count(column.records.iter().filter(|record| record.section == section));
        let (pass, fail, skip) = (counts.pass, counts.fail, counts.skip);
        let _ = writeln!(text, "{section:56} {pass:5} {fail:5} {skip:5}");
    }
    let times = column.records.iter().flat_map(|record| &record.times);
    let _ = writeln!(text, "\nmedian times: {}", medians(times));
    let counts = count(&column.records);
    let _ = writeln!(
        text,
        "\n{}: {} passed, {} failed, {} skipped, {} left something behind; {} not as expected; {:.0} s\n",
        column.subject.label,
        counts.pass,
        counts.fail,
        counts.skip,
        counts.left,
        counts.changes,
        column.seconds
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn a_failure_shows_what_was_expected() {
        let text = render(&sample());
        assert!(text.contains("FAIL a.fail  MUST config.md:66\n     expected  umask: 23\n"));
        assert!(text.contains("left behind: cgroup /x"));
        assert!(text.contains("FAIL a.known  MUST config.md:66  (known: it is old)"));
        assert!(text.contains("median times: create 4.5 ms\n"));
        assert!(text.contains("skipped: no SELinux\n     a.skip"));
        assert!(
            text.contains("box: 1 passed, 2 failed, 1 skipped, 1 left something behind; 1 not as")
        );
    }
}
