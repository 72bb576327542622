//! What a case is, and how it says its verdict.

use crate::context::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Display;

/// How binding a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A MUST, MUST NOT, REQUIRED of the specification.
    Must,
    /// A SHOULD, SHOULD NOT, RECOMMENDED of the specification.
    Should,
    /// No keyword of the specification demands it, but container engines rely on it: it describes
    /// it, or leaves it open.
    Engine,
}

impl Level {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::Engine => "engine",
        }
    }
}

/// One case: a container, or a few, and what must be true of them.
pub struct Case {
    /// `THEME.WHAT`, unique.
    pub id: &'static str,
    /// How binding it is.
    pub level: Level,
    /// The sentences it tests: `FILE:LINE` in the specification 1.3.0; `FILE:LINE#2` is the second
    /// normative sentence that has its keyword in that line.
    pub refs: &'static [&'static str],
    /// The test itself.
    pub run: fn(&mut Context) -> Verdict,
}

/// `Ok` is a pass.
pub type Verdict = Result<(), Stop>;

/// Why a case ended early.
#[derive(Debug, PartialEq)]
pub enum Stop {
    /// The runtime did not do what it should.
    Fail {
        /// What was looked at, and what it should have been.
        expected: String,
        /// What it was.
        got: String,
    },
    /// This host cannot run the case.
    Skip(String),
    /// The suite could not do its part.
    Suite(String),
}

impl From<std::io::Error> for Stop {
    #[track_caller]
    fn from(error: std::io::Error) -> Self {
        let place = std::panic::Location::caller();
        Self::Suite(format!("{}:{}: {error}", place.file(), place.line()))
    }
}

impl From<rustix::io::Errno> for Stop {
    #[track_caller]
    fn from(errno: rustix::io::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

/// A failure.
pub fn fail(expected: impl Display, got: impl Display) -> Stop {
    Stop::Fail { expected: expected.to_string(), got: got.to_string() }
}

/// A host that cannot run the case.
pub fn skip(reason: impl Display) -> Stop {
    Stop::Skip(reason.to_string())
}

/// Compares as JSON, so that a report's value and a plain one can be given alike.
pub fn expect(what: &str, got: impl Serialize, wanted: impl Serialize) -> Verdict {
    let (got, wanted) = (json!(got), json!(wanted));
    if got == wanted { Ok(()) } else { Err(fail(format!("{what}: {wanted}"), got)) }
}

/// Demands a condition; `got` says what was seen instead.
pub fn ensure(holds: bool, expected: impl Display, got: impl Display) -> Verdict {
    if holds { Ok(()) } else { Err(fail(expected, got)) }
}

/// Demands that a command of the inspector was refused by the kernel, with any of these errors.
pub fn expect_errno(what: &str, got: &Value, wanted: &[&str]) -> Verdict {
    let refused = got["errno"].as_str().is_some_and(|name| wanted.contains(&name));
    ensure(refused, format!("{what}: {}", wanted.join(" or ")), got)
}

/// Whether a list in a report contains a text.
pub fn contains(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_expected_and_what_was_got() {
        let stop = expect("umask", json!(18), 0o27).unwrap_err();
        assert_eq!(stop, fail("umask: 23", "18"));
        assert_eq!(expect("umask", json!(23), 0o27), Ok(()));
    }

    #[test]
    fn an_errno_may_be_one_of_several() {
        let refused = json!({ "errno": "EROFS" });
        assert_eq!(expect_errno("write", &refused, &["EACCES", "EROFS"]), Ok(()));
        assert!(expect_errno("write", &json!("ok"), &["EROFS"]).is_err());
    }
}
