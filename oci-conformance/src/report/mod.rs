//! The formats of a report.

mod junit;
mod markdown;
mod pretty;
mod tap;

use crate::case::Case;
use crate::cli::Format;
use crate::results::Results;

/// Everything in one format.
pub fn render(format: Format, results: &Results) -> String {
    match format {
        Format::Pretty => pretty::render(results),
        Format::Tap => tap::render(results),
        Format::Json => json(results),
        Format::Junit => junit::render(results),
        Format::Markdown => markdown::render(results),
    }
}

/// The cases, one a line: id, level, references.
pub fn list(cases: &[&Case]) -> String {
    let line =
        |case: &&Case| format!("{:44} {:7} {}\n", case.id, case.level.name(), case.refs.join(" "));
    cases.iter().map(line).collect()
}

fn json(results: &Results) -> String {
    // Plain data always has a JSON form.
    serde_json::to_string_pretty(results).map(|text| text + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;
    use serde_json::Value;

    #[test]
    fn json_has_everything() {
        let value: Value = serde_json::from_str(&render(Format::Json, &sample())).unwrap();
        let column = &value["columns"][0];
        assert_eq!(column["subject"]["version"], "box 1.0");
        assert_eq!(column["records"][1]["outcome"], "fail");
        assert_eq!(column["records"][1]["expected"], "umask: 23");
        assert_eq!(column["records"][1]["left"][0], "cgroup /x");
        assert_eq!(column["records"][2]["reason"], "no SELinux");
    }
}
