//! JUnit XML. A known deviation is shown as skipped, so that a red report means news.

use crate::isolation::Outcome;
use crate::results::{Column, Record, Results};
use std::fmt::Write;

pub fn render(results: &Results) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for column in &results.columns {
        suite(&mut text, column);
    }
    text.push_str("</testsuites>\n");
    text
}

fn suite(text: &mut String, column: &Column) {
    let records = &column.records;
    let failures = records.iter().filter(|record| !record.changes().is_empty()).count();
    let skipped = records.iter().filter(|record| excuse(record).is_some()).count();
    let name = escape(&column.subject.label);
    let (tests, time) = (records.len(), column.seconds);
    let _ = writeln!(
        text,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\" time=\"{time:.3}\">"
    );
    for record in records {
        case(text, record);
    }
    text.push_str("  </testsuite>\n");
}

fn case(text: &mut String, record: &Record) {
    let (section, id) = (escape(&record.section), record.id);
    let seconds = std::time::Duration::from_millis(u64::try_from(record.millis).unwrap_or(0));
    let time = seconds.as_secs_f64();
    let _ = write!(text, "    <testcase classname=\"{section}\" name=\"{id}\" time=\"{time:.3}\"");
    let changes = record.changes();
    if !changes.is_empty() {
        let message = escape(&changes.join("; "));
        let body = match &record.outcome {
            Outcome::Fail { expected, got } => format!("expected {expected}\ngot {got}\n"),
            _ => String::new(),
        };
        let body = escape(&format!("{body}{} {}", record.level.name(), record.refs.join(" ")));
        let _ = writeln!(
            text,
            ">\n      <failure message=\"{message}\">{body}</failure>\n    </testcase>"
        );
    } else if let Some(why) = excuse(record) {
        let _ = writeln!(text, ">\n      <skipped message=\"{}\"/>\n    </testcase>", escape(&why));
    } else {
        text.push_str("/>\n");
    }
}

/// Why a case that did not pass is no failure.
fn excuse(record: &Record) -> Option<String> {
    match (&record.outcome, record.excuse()) {
        _ if !record.changes().is_empty() => None,
        (Outcome::Skip { reason }, _) => Some(reason.clone()),
        (Outcome::Fail { .. }, Some(why)) => Some(format!("known deviation: {why}")),
        _ => record.known_left.as_ref().map(|why| format!("known to leave something: {why}")),
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    // Other control characters are not allowed in XML at all.
    text.replace('"', "&quot;").replace(|c: char| c.is_control() && c != '\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn failures_are_news_and_text_is_escaped() {
        let text = render(&sample());
        assert!(text.contains("tests=\"4\" failures=\"1\" skipped=\"2\""));
        assert!(text.contains("got &lt;18&gt; &amp; &quot;more&quot;"));
        assert!(text.contains("<skipped message=\"known deviation: it is old\"/>"));
        assert_eq!(escape("a\u{1b}b"), "a b");
    }
}
