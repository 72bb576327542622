//! The stored table.

use super::extract::Sentence;
use std::sync::OnceLock;

/// One normative sentence.
#[derive(Debug)]
pub struct Row {
    /// The file of the specification.
    pub file: String,
    /// The line of the first keyword.
    pub line: usize,
    /// Which of the sentences with a keyword in that line, from 1.
    pub nth: usize,
    /// MUST, SHOULD and so on.
    pub keywords: String,
    /// Of the text.
    pub hash: String,
    /// The heading above it.
    pub section: String,
    /// Why no case tests it; empty when one does.
    pub reason: String,
}

impl Row {
    /// How cases name it.
    pub fn key(&self) -> String {
        key(&self.file, self.line, self.nth)
    }

    /// File and section.
    pub fn place(&self) -> String {
        format!("{} {}", self.file, self.section)
    }

    /// Whether it stands for this sentence.
    pub fn is(&self, sentence: &Sentence) -> bool {
        self.key() == sentence.key() && self.hash == sentence.hash
    }
}

/// `FILE:LINE`, with `#N` from the second sentence of a line on.
pub fn key(file: &str, line: usize, nth: usize) -> String {
    if nth == 1 { format!("{file}:{line}") } else { format!("{file}:{line}#{nth}") }
}

/// All rows, in the order of the specification.
pub fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let lines = include_str!("spec-1.3.0.tsv").lines();
        lines.filter(|line| !line.starts_with('#')).filter_map(parse).collect()
    })
}

fn parse(line: &str) -> Option<Row> {
    let mut columns = line.split('\t').map(String::from);
    let key = columns.next()?;
    let (file, place) = key.split_once(':')?;
    let (number, nth) = place.split_once('#').unwrap_or((place, "1"));
    Some(Row {
        file: file.to_string(),
        line: number.parse().ok()?,
        nth: nth.parse().ok()?,
        keywords: columns.next()?,
        hash: columns.next()?,
        section: columns.next()?,
        reason: columns.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_row() {
        let lines = include_str!("spec-1.3.0.tsv").lines();
        let lines = lines.filter(|line| !line.starts_with('#')).count();
        assert_eq!(rows().len(), lines);
    }

    #[test]
    fn no_sentence_is_there_twice() {
        let mut keys: Vec<String> = rows().iter().map(Row::key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
