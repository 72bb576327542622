//! Finds the normative sentences in the text of the specification.

use super::table::key;
use std::fs;
use std::path::Path;

/// The files that bind a runtime on Linux.
const FILES: [&str; 8] = [
    "spec.md",
    "bundle.md",
    "runtime.md",
    "runtime-linux.md",
    "config.md",
    "config-linux.md",
    "features.md",
    "features-linux.md",
];

/// Words of RFC 2119 that demand something; the longer ones first.
const KEYWORDS: [&str; 9] = [
    "NOT RECOMMENDED",
    "MUST NOT",
    "SHALL NOT",
    "SHOULD NOT",
    "MUST",
    "SHALL",
    "SHOULD",
    "REQUIRED",
    "RECOMMENDED",
];

/// A sentence with a keyword.
#[derive(Debug, PartialEq)]
pub struct Sentence {
    file: &'static str,
    line: usize,
    nth: usize,
    keywords: String,
    section: String,
    /// Of its text.
    pub hash: String,
}

impl Sentence {
    /// How cases name it.
    pub fn key(&self) -> String {
        key(self.file, self.line, self.nth)
    }

    /// Its line in the stored table, without a reason.
    pub fn to_line(&self) -> String {
        format!("{}\t{}\t{}\t{}", self.key(), self.keywords, self.hash, self.section)
    }
}

/// All normative sentences of a checkout.
pub fn directory(dir: &Path) -> Result<Vec<Sentence>, String> {
    let mut all = Vec::new();
    for file in FILES {
        let path = dir.join(file);
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        all.extend(sentences(file, &text));
    }
    Ok(all)
}

/// The normative sentences of one file.
fn sentences(file: &'static str, text: &str) -> Vec<Sentence> {
    let mut found: Vec<Sentence> = Vec::new();
    for block in blocks(text) {
        for (line, sentence) in block.sentences() {
            let keywords = keywords(&sentence);
            if keywords.is_empty() {
                continue;
            }
            let nth = 1 + found.iter().filter(|other| other.line == line).count();
            let keywords = keywords.join("/");
            let (section, hash) = (block.section.clone(), hash(&sentence));
            found.push(Sentence { file, line, nth, keywords, section, hash });
        }
    }
    found
}

/// A paragraph, a list item or a row of a table.
#[derive(Default)]
struct Block {
    section: String,
    lines: Vec<(usize, String)>,
}

impl Block {
    /// Its sentences, each with the line of its first keyword.
    fn sentences(&self) -> Vec<(usize, String)> {
        let mut all = Vec::new();
        let (mut sentence, mut first) = (String::new(), None);
        for (number, line) in &self.lines {
            for word in line.split_whitespace() {
                if begins(word) && ends(&sentence) {
                    all.push((first.take().unwrap_or(*number), std::mem::take(&mut sentence)));
                }
                if !sentence.is_empty() {
                    sentence.push(' ');
                }
                sentence.push_str(word);
                if first.is_none() && !keywords(&sentence).is_empty() {
                    first = Some(*number);
                }
            }
        }
        let last = self.lines.last().map_or(0, |(number, _)| *number);
        all.push((first.unwrap_or(last), sentence));
        all
    }
}

/// Whether a word can begin a sentence.
fn begins(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase() || "`*[(".contains(c))
}

/// Whether a text can be the end of a sentence.
fn ends(text: &str) -> bool {
    let text = text.trim_end_matches([')', ']']);
    text.ends_with(['.', '?']) && !text.ends_with("e.g.") && !text.ends_with("i.e.")
}

fn blocks(text: &str) -> Vec<Block> {
    let (mut all, mut block, mut section, mut code) =
        (Vec::new(), Block::default(), String::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let fence = line.starts_with("```");
        if fence || code || line.is_empty() || opens(line) {
            all.push(std::mem::take(&mut block));
        }
        code ^= fence;
        if code || fence {
            continue;
        }
        if let Some(heading) = line.strip_prefix('#') {
            section = title(heading);
        } else if !line.is_empty() {
            block.section.clone_from(&section);
            block.lines.push((number, line.to_string()));
        }
        if is_row(line) {
            all.push(std::mem::take(&mut block));
        }
    }
    all.push(block);
    all.retain(|block| !block.lines.is_empty());
    all
}

/// Whether a line begins a block: a heading, an item, a row, a quotation, a link definition.
fn opens(line: &str) -> bool {
    let numbered =
        line.split_once(". ").is_some_and(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()));
    let link = line.starts_with('[') && line.contains("]:");
    numbered
        || link
        || is_row(line)
        || line.starts_with(['#', '>'])
        || line.starts_with("* ")
        || line.starts_with("- ")
}

fn is_row(line: &str) -> bool {
    line.matches('|').count() >= 2
}

/// A heading without its anchor.
fn title(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let text = text.rsplit_once("/>").map_or(text, |(_, title)| title);
    text.trim().to_string()
}

/// The keywords of a text, each once. A longer one hides the shorter in it.
fn keywords(text: &str) -> Vec<&'static str> {
    let mut rest = text.to_string();
    let mut found = Vec::new();
    for keyword in KEYWORDS {
        if let Some(without) = remove_word(&rest, keyword) {
            found.push(keyword);
            rest = without;
        }
    }
    found
}

/// The text without a keyword that stands alone; `None` when there is none.
fn remove_word(text: &str, keyword: &str) -> Option<String> {
    let mut parts = text.split(keyword).peekable();
    let mut kept = parts.next()?.to_string();
    let mut removed = false;
    for part in parts {
        let inside =
            kept.ends_with(char::is_alphanumeric) || part.starts_with(char::is_alphanumeric);
        if inside {
            kept.push_str(keyword);
        } else {
            removed = true;
        }
        kept.push_str(part);
    }
    removed.then_some(kept)
}

/// FNV-1a, 32 bits, of a text: enough to notice a change.
fn hash(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_found_where_their_keyword_is() {
        let text = "# <a name=\"x\" />Things\n\nA thing is, e.g. This,\nand it MUST be. It MUST NOT\n\
                    be two. MAY it?\n\n```\nMUST\n```\n* **a** (REQUIRED) first.\n| b | SHOULD |\n";
        let found = sentences("spec.md", text);
        let found: Vec<_> = found.iter().map(|s| (s.key(), s.keywords.as_str())).collect();
        let wanted = [
            ("spec.md:4".to_string(), "MUST"),
            ("spec.md:4#2".to_string(), "MUST NOT"),
            ("spec.md:10".to_string(), "REQUIRED"),
            ("spec.md:11".to_string(), "SHOULD"),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_sentence_has_the_section_above_it() {
        let found = sentences("spec.md", "## <a name=\"y\" />One\nIt MUST.\n## Two\nIt SHOULD.\n");
        assert_eq!(found.iter().map(|s| s.section.as_str()).collect::<Vec<_>>(), ["One", "Two"]);
    }

    #[test]
    fn a_keyword_stands_alone() {
        assert_eq!(keywords("MUSTARD MUST NOT"), ["MUST NOT"]);
        assert_eq!(keywords("**MUST NOT** and MUST"), ["MUST NOT", "MUST"]);
    }

    #[test]
    fn a_changed_sentence_has_another_hash() {
        assert_ne!(hash("it MUST be"), hash("it MUST not be"));
        assert_eq!(hash(""), "811c9dc5");
    }
}
