//! Which sentence of the specification is tested by which case, and why some are not.
//!
//! The table (`spec-1.3.0.tsv`) has a row for each normative sentence: where it is, its keywords,
//! a hash of its text, and, when no case tests it, the reason. The cases name their sentences
//! themselves.

mod extract;
mod table;

use crate::case::Case;
use crate::cases;
use crate::cli::Format;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use table::{Row, rows};

/// The section of cases that test no sentence.
const BEYOND: &str = "What engines rely on beyond the specification";

/// File and section of the first sentence that a case tests.
pub fn section_of(case: &Case) -> String {
    let first = case.refs.first().and_then(|key| rows().iter().find(|row| row.key() == *key));
    first.map_or_else(|| BEYOND.to_string(), Row::place)
}

/// The place of a section in the specification.
pub fn section_rank(section: &str) -> usize {
    rows().iter().position(|row| row.place() == section).unwrap_or(usize::MAX)
}

fn cases_of(row: &Row) -> Vec<&'static str> {
    let key = row.key();
    cases::all().filter(|case| case.refs.contains(&key.as_str())).map(|case| case.id).collect()
}

/// The table with its cases, as Markdown or JSON.
pub fn print(format: Format) -> Result<String, String> {
    match format {
        Format::Markdown => Ok(markdown()),
        Format::Json => Ok(json()),
        _ => Err("the coverage is printed as markdown or json".into()),
    }
}

fn markdown() -> String {
    let mut text = String::from("| sentence | section | keyword | cases, or why there is none |\n");
    text.push_str("|---|---|---|---|\n");
    for row in rows() {
        let cases = cases_of(row);
        let tested = cases.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(" ");
        let what = if cases.is_empty() { &row.reason } else { &tested };
        let _ = writeln!(text, "| {} | {} | {} | {what} |", row.key(), row.section, row.keywords);
    }
    text
}

fn json() -> String {
    let row = |row: &Row| {
        serde_json::json!({
            "sentence": row.key(), "section": row.section, "keywords": row.keywords,
            "hash": row.hash, "cases": cases_of(row),
            "untested": (!row.reason.is_empty()).then_some(&row.reason),
        })
    };
    let rows: Vec<_> = rows().iter().map(row).collect();
    serde_json::to_string_pretty(&rows).map(|text| text + "\n").unwrap_or_default()
}

/// Compares the table with the text of a specification. Rows that are missing are printed as they
/// would have to be in the table.
pub fn check(spec: &Path) -> Result<ExitCode, String> {
    let sentences = extract::directory(spec)?;
    let mut faults = 0;
    for sentence in &sentences {
        if !rows().iter().any(|row| row.is(sentence)) {
            println!("missing: {}", sentence.to_line());
            faults += 1;
        }
    }
    for row in rows() {
        if !sentences.iter().any(|sentence| row.is(sentence)) {
            println!("not in this specification: {} {}", row.key(), row.hash);
            faults += 1;
        }
    }
    println!("{} normative sentences, {faults} differences", sentences.len());
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_has_a_case_or_a_reason() {
        let open = rows().iter().filter(|row| cases_of(row).is_empty() == row.reason.is_empty());
        let open: Vec<String> = open.map(Row::key).collect();
        assert!(open.is_empty(), "neither or both: {open:#?}");
    }

    #[test]
    fn every_case_names_sentences_that_exist() {
        let known: Vec<String> = rows().iter().map(Row::key).collect();
        for case in cases::all() {
            for key in case.refs {
                assert!(known.iter().any(|row| row == key), "{}: no sentence {key}", case.id);
            }
            let engine = case.level == crate::case::Level::Engine;
            assert_eq!(case.refs.is_empty(), engine, "{}: level and references", case.id);
        }
    }
}
