//! The parser's complaints in hako's words: they are made for programmers, in
//! names of Rust's types, and read by people who write configurations.

use crate::error::{Error, name_of};
use crate::plan::closest;
use serde_json::Value;

/// What is wrong with the value at `pointer` in `document`.
pub fn wrong_value(complaint: &str, pointer: &str, document: &Value) -> Error {
    let name = name_of(pointer);
    let found = document.pointer(pointer);
    let error = if let Some(field) = complaint.strip_prefix("missing field ") {
        let field = field.trim_matches('`');
        Error::new(format!("{} is missing", name_of(&format!("{pointer}/{field}"))))
    } else if let Some(field) = complaint.strip_prefix("duplicate field ") {
        let field = field.trim_matches('`');
        Error::new(format!("{} is there twice", name_of(&format!("{pointer}/{field}"))))
    } else if let Some(rest) = complaint.strip_prefix("unknown variant ") {
        unknown_word(rest, &name)
    } else if let Some((_, wanted)) = complaint.split_once("expected ") {
        let found = found.map_or("that".to_owned(), describe);
        Error::new(format!("{name} must be {}, not {found}", describe_type(wanted)))
    } else {
        let found = found.map_or("that".to_owned(), describe);
        Error::new(format!("{name} cannot be {found}: {}", complaint.replace('`', "\"")))
    };
    error.at(pointer)
}

/// `rest` is "`x`, expected one of `a`, `b`", or "expected `a` or `b`".
fn unknown_word(rest: &str, name: &str) -> Error {
    let mut words = rest.split('`').skip(1).step_by(2);
    let typed = words.next().unwrap_or_default();
    let known: Vec<&str> = words.collect();
    let error = Error::new(format!("{name} cannot be {}", quote(typed)));
    match closest(typed, &known) {
        Some(word) => error.hint(format!("did you mean {word}?")),
        None => error.hint(format!("one of {}", known.join(", "))),
    }
}

/// What the parser calls a type.
fn describe_type(wanted: &str) -> &str {
    match wanted {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 18446744073709551615",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "isize" => "a whole number from -9223372036854775808 to 9223372036854775807",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        // An enumeration's names are strings; and so is a path.
        "value" | "path string" | "variant identifier" | "string or map" => "a string",
        wanted if wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the string {}", quote(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Quoted, and cut to what fits into a sentence.
fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// What a parser says about the syntax, without its line and column.
pub fn syntax(complaint: &str) -> String {
    match complaint {
        "recursion limit exceeded" => "it is nested deeper than 127 levels".to_owned(),
        "expected value" => "a value is missing or misspelt".to_owned(),
        "expected ident" => "true, false or null is misspelt".to_owned(),
        "key must be a string" => "a key has no quotation marks".to_owned(),
        "trailing comma" => "there is a comma after the last value".to_owned(),
        "trailing characters" => "something follows after its end".to_owned(),
        "invalid number" => "a number is misspelt".to_owned(),
        "number out of range" => "a number is too large for any use".to_owned(),
        "invalid escape" => "a string has an unknown escape".to_owned(),
        text if text.starts_with("EOF ") => "it ends too early".to_owned(),
        text if text.starts_with("control character") => {
            "a string has a line break or another control character in it".to_owned()
        }
        text if ["surrogate", "unicode", "hex escape"].iter().any(|word| text.contains(word)) => {
            "a string is not valid Unicode".to_owned()
        }
        text => match text.strip_prefix("expected ") {
            Some(signs) => format!("{} is missing", signs.replace('`', "\"")),
            None => text.replace('`', "\""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(complaint: &str, pointer: &str) -> String {
        let document = json!({
            "process": {"user": {"uid": -1}, "args": "sh", "env": ["x".repeat(100)]},
            "mounts": [{"type": null}],
        });
        wrong_value(complaint, pointer, &document).message
    }

    #[test]
    fn types_are_described_and_values_shown() {
        for (complaint, pointer, expected) in [
            (
                "invalid value: integer `-1`, expected u32",
                "/process/user/uid",
                "process.user.uid must be a whole number from 0 to 4294967295, not -1",
            ),
            (
                "invalid type: string \"sh\", expected a sequence",
                "/process/args",
                "process.args must be a list, not the string \"sh\"",
            ),
            (
                "invalid type: null, expected a string",
                "/mounts/0/type",
                "mounts[0].type must be a string, not null",
            ),
            ("missing field `destination`", "/mounts/0", "mounts[0].destination is missing"),
            ("duplicate field `cwd`", "/process", "process.cwd is there twice"),
        ] {
            assert_eq!(said(complaint, pointer), expected);
        }
        let long = said("invalid type: string, expected u32", "/process/env/0");
        assert!(long.contains("xxx\"…") && long.len() < 160, "{long}");
    }

    #[test]
    fn words_that_are_not_known_are_compared() {
        let document = json!({});
        let hint = |typed: &str| {
            let complaint = format!("unknown variant `{typed}`, expected `mount` or `pid`");
            wrong_value(&complaint, "/type", &document).hint.unwrap_or_default()
        };
        assert_eq!(hint("mounts"), "did you mean mount?");
        assert_eq!(hint("galaxy"), "one of mount, pid");
    }
}
