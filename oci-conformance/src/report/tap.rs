//! The Test Anything Protocol, version 14.

use crate::isolation::Outcome;
use crate::results::{Record, Results};
use std::fmt::Write;

pub fn render(results: &Results) -> String {
    let records = results.columns.iter().flat_map(|column| {
        column.records.iter().map(move |record| (&column.subject.label, record))
    });
    let mut text = String::from("TAP version 14\n");
    let total: usize = results.columns.iter().map(|column| column.records.len()).sum();
    let _ = writeln!(text, "1..{total}");
    for (number, (label, record)) in (1..).zip(records) {
        line(&mut text, number, label, record);
    }
    text
}

fn line(text: &mut String, number: usize, label: &str, record: &Record) {
    let ok =
        matches!(record.outcome, Outcome::Pass | Outcome::Skip { .. }) && record.left.is_empty();
    let (not, id) = (if ok { "" } else { "not " }, record.id);
    let directive = match (&record.outcome, record.excuse()) {
        // To be done are only those that are as bad as known.
        _ if !record.changes().is_empty() => String::new(),
        (Outcome::Skip { reason }, _) => format!(" # SKIP {reason}"),
        (_, Some(why)) => format!(" # TODO {why}"),
        (Outcome::Pass, None) => {
            record.known_left.as_ref().map(|why| format!(" # TODO {why}")).unwrap_or_default()
        }
        _ => String::new(),
    };
    let _ = writeln!(text, "{not}ok {number} - {label} {id}{directive}");
    if !ok {
        let _ = writeln!(text, "  ---");
        if let Outcome::Fail { expected, got } = &record.outcome {
            let _ = writeln!(text, "  expected: {}\n  got: {}", quote(expected), quote(got));
        }
        let _ =
            writeln!(text, "  level: {}\n  spec: {}", record.level.name(), record.refs.join(" "));
        if !record.left.is_empty() {
            let _ = writeln!(text, "  left: {}", quote(&record.left.join(", ")));
        }
        let _ = writeln!(text, "  ...");
    }
}

/// A JSON string is a YAML string.
fn quote(text: &str) -> String {
    serde_json::json!(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn directives_and_details() {
        let text = render(&sample());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..4],
            ["TAP version 14", "1..4", "ok 1 - box a.pass", "not ok 2 - box a.fail"]
        );
        assert!(lines.contains(&r#"  got: "<18> & \"more\"""#));
        assert!(lines.contains(&"ok 3 - box a.skip # SKIP no SELinux"));
        assert!(lines.contains(&"not ok 4 - box a.known # TODO it is old"));
    }
}
