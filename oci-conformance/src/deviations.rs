//! Known deviations of a runtime: results that are expected not to be as they should, so that
//! continuous integration notices *changes*.
//!
//! One line for each: `fail ID WHY` for a case that fails, `left ID WHY` for one that leaves
//! something behind, `maybe ID WHY` for one whose result differs from run to run or from host to
//! host. `#` begins a comment.

use crate::cases;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// The deviations of one runtime.
#[derive(Debug, Default)]
pub struct Deviations {
    cases: BTreeMap<String, Known>,
}

/// What is known about one case: the reasons.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Why it fails.
    pub fail: Option<String>,
    /// Why it leaves something behind.
    pub left: Option<String>,
    /// Why its result is no news.
    pub maybe: Option<String>,
}

impl Deviations {
    /// Reads a file; without one there are none.
    pub fn of(path: Option<&PathBuf>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}:{error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut cases: BTreeMap<String, Known> = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let mut words = line.splitn(3, char::is_whitespace);
            let (kind, id) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let why = words.next().unwrap_or_default().trim().to_string();
            if !cases::all().any(|case| case.id == id) {
                return Err(format!("{number}: there is no case {id}"));
            }
            if why.is_empty() {
                return Err(format!("{number}: {id} needs a reason"));
            }
            let known = cases.entry(id.to_string()).or_default();
            match kind {
                "fail" => known.fail = Some(why),
                "left" => known.left = Some(why),
                "maybe" => known.maybe = Some(why),
                other => return Err(format!("{number}: no `{other}`, but fail, left or maybe")),
            }
        }
        Ok(Self { cases })
    }

    /// What is known about a case.
    pub fn of_case(&self, id: &str) -> Known {
        self.cases.get(id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_kind_a_case_and_a_reason() {
        let id = cases::all().next().unwrap().id;
        let text = format!("# all of them\nfail {id}  it is  old # really\n\nleft {id} a mount\n");
        let known = Deviations::parse(&text).unwrap().of_case(id);
        assert_eq!(known.fail.as_deref(), Some("it is  old"));
        assert_eq!(known.left.as_deref(), Some("a mount"));
        assert_eq!(known.maybe, None);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let id = cases::all().next().unwrap().id;
        let error = |text: &str| Deviations::parse(text).unwrap_err();
        assert_eq!(error("\nfail no.such why"), "2: there is no case no.such");
        assert_eq!(error(&format!("fail {id}")), format!("1: {id} needs a reason"));
        assert_eq!(error(&format!("odd {id} why")), "1: no `odd`, but fail, left or maybe");
    }
}
