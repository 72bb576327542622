//! A table that compares runtimes. It says nothing that changes from run to run.

use crate::isolation::Outcome;
use crate::results::{Record, Results, count, sections};
use std::fmt::Write;

pub fn render(results: &Results) -> String {
    let mut text = String::new();
    head(&mut text, results);
    let Some(first) = results.columns.first() else { return text };
    for section in sections(&first.records) {
        table(&mut text, results, section);
    }
    reasons(&mut text, results);
    text
}

fn head(text: &mut String, results: &Results) {
    text.push_str("| | runtime | passed | failed | skipped | left something behind |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for column in &results.columns {
        let counts = count(&column.records);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            column.subject.label,
            column.subject.version,
            counts.pass,
            counts.fail,
            counts.skip,
            counts.left
        );
    }
    let _ = writeln!(text, "\nHost: {}.", results.host);
    text.push_str("✔ passed, ✘ failed, – skipped, ✚ left something behind.\n");
}

fn table(text: &mut String, results: &Results, section: &str) {
    let labels: Vec<&str> = results.columns.iter().map(|c| c.subject.label.as_str()).collect();
    let _ = writeln!(text, "\n## {section}\n\n| case | level | {} |", labels.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(labels.len()));
    let Some(first) = results.columns.first() else { return };
    for (index, record) in first.records.iter().enumerate() {
        if record.section != section {
            continue;
        }
        let marks = results.columns.iter().filter_map(|column| column.records.get(index));
        let marks: Vec<String> = marks.map(mark).collect();
        let level = record.level.name();
        let _ = writeln!(text, "| `{}` | {level} | {} |", record.id, marks.join(" | "));
    }
}

fn mark(record: &Record) -> String {
    let sign = match record.outcome {
        Outcome::Pass => "✔",
        Outcome::Fail { .. } => "✘",
        Outcome::Skip { .. } => "–",
    };
    format!("{sign}{}", if record.left.is_empty() { "" } else { " ✚" })
}

/// Why something failed, as the files of known deviations say, and why something was skipped.
fn reasons(text: &mut String, results: &Results) {
    for column in &results.columns {
        let lines: Vec<String> = column.records.iter().flat_map(known).collect();
        if !lines.is_empty() {
            let label = &column.subject.label;
            let _ = writeln!(text, "\n## What is known about {label}\n\n{}", lines.join("\n"));
        }
    }
    let mut skipped: Vec<String> = Vec::new();
    for record in results.columns.iter().flat_map(|column| &column.records) {
        if let Outcome::Skip { reason } = &record.outcome {
            let line = format!("- `{}`: {reason}", record.id);
            if !skipped.contains(&line) {
                skipped.push(line);
            }
        }
    }
    if !skipped.is_empty() {
        let _ = writeln!(text, "\n## Skipped on this host\n\n{}", skipped.join("\n"));
    }
}

fn known(record: &Record) -> Vec<String> {
    let line = |why: &String| format!("- `{}`: {why}", record.id);
    let reasons = [&record.known_fail, &record.known_left, &record.known_maybe];
    reasons.into_iter().flatten().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn one_column_for_each_runtime() {
        let mut results = sample();
        let mut other = sample().columns.remove(0);
        other.subject.label = "crate".into();
        results.columns.push(other);
        let text = render(&results);
        assert!(text.contains(
            "## config.md Mounts\n\n| case | level | box | crate |\n|---|---|---|---|\n"
        ));
        assert!(text.contains("| `a.fail` | MUST | ✘ ✚ | ✘ ✚ |"));
        assert!(text.contains("## What is known about box\n\n- `a.known`: it is old\n"));
        assert!(text.contains("- `a.skip`: no SELinux"));
    }
}
