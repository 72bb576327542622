//! Annotations `org.systemd.property.NAME`: properties for the container's
//! scope, in GVariant's text format.
//!
//! Whoever writes a container's annotations need not be whoever owns the
//! machine. Properties that start, stop or depend on other units, or that
//! undo the limits of the container, are none of theirs (CVE-2024-3154): only
//! those in [`ALLOWED`] are passed on.

use super::value::{Property, Value};
use crate::error::Error;
use crate::plan::{Compiler, closest};
use std::collections::BTreeMap;

/// What the keys of these annotations begin with.
pub const PREFIX: &str = "org.systemd.property.";

#[derive(Debug, Clone, Copy)]
enum Type {
    Bool,
    Int32,
    Uint64,
    Text,
    Texts,
}

/// Properties that concern nothing but the end of the scope itself and the
/// order in which it and other units are stopped.
const ALLOWED: [(&str, Type); 16] = [
    ("After", Type::Texts),
    ("Before", Type::Texts),
    ("CollectMode", Type::Text),
    ("DefaultDependencies", Type::Bool),
    ("Description", Type::Text),
    ("Documentation", Type::Texts),
    ("FinalKillSignal", Type::Int32),
    ("KillMode", Type::Text),
    ("KillSignal", Type::Int32),
    ("OOMPolicy", Type::Text),
    ("RestartKillSignal", Type::Int32),
    ("RuntimeMaxUSec", Type::Uint64),
    ("SendSIGHUP", Type::Bool),
    ("SendSIGKILL", Type::Bool),
    ("TimeoutStopUSec", Type::Uint64),
    ("WatchdogSignal", Type::Int32),
];

/// The properties that a configuration asks for.
pub fn plan<'a>(
    annotations: impl Iterator<Item = (&'a String, &'a String)>,
    compiler: &mut Compiler,
) -> Vec<Property> {
    let ours: BTreeMap<_, _> = annotations
        .filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, (key, text))))
        .collect();
    let mut properties = Vec::new();
    for (name, (key, text)) in ours {
        match parse(name, text) {
            Ok(property) => properties.push(property),
            Err(error) => {
                compiler.fault(error.at(format!("/annotations/{}", Compiler::escape(key))));
            }
        }
    }
    properties
}

/// One property. Times may be named by seconds (`TimeoutStopSec`), as in unit
/// files; on the bus there are microseconds only.
fn parse(name: &str, text: &str) -> Result<Property, Error> {
    let (wanted, in_seconds) = match name.strip_suffix("USec") {
        Some(_) => (name.to_owned(), false),
        None => match name.strip_suffix("Sec") {
            Some(stem) => (format!("{stem}USec"), true),
            None => (name.to_owned(), false),
        },
    };
    let Some((known, kind)) = ALLOWED.iter().find(|(known, _)| *known == wanted) else {
        return Err(refuse(&wanted));
    };
    let value = match in_seconds {
        true => seconds(text).map(Value::Uint64),
        false => value(*kind, text),
    };
    value.map(|value| Property::new(*known, value)).ok_or_else(|| {
        let example = match kind {
            _ if in_seconds => "10",
            Type::Bool => "true",
            Type::Int32 => "15",
            Type::Uint64 => "uint64 10000000",
            Type::Text => "'inactive-or-failed'",
            Type::Texts => "['network.target']",
        };
        Error::new(format!("{text:?} is no value for the systemd property {name}"))
            .hint(format!("an example: {example}"))
    })
}

fn refuse(name: &str) -> Error {
    let known = ALLOWED.map(|(known, _)| known);
    let error = Error::new(format!("the systemd property {name} may not be set by an annotation"));
    match closest(name, &known) {
        Some(known) => error.hint(format!("did you mean {known}?")),
        None => {
            error.hint(format!("allowed are {}; limits go into linux.resources", known.join(", ")))
        }
    }
}

fn value(kind: Type, text: &str) -> Option<Value> {
    let text = text.trim();
    Some(match kind {
        Type::Bool => Value::Bool(match untyped(text, &["boolean"]) {
            "true" => true,
            "false" => false,
            _ => return None,
        }),
        Type::Int32 => Value::Int32(untyped(text, INTEGERS).parse().ok()?),
        Type::Uint64 => Value::Uint64(unsigned(untyped(text, INTEGERS))?),
        Type::Text => Value::Text(only(texts(untyped(text, &["string"]))?)?),
        Type::Texts => {
            let list = text.strip_prefix("@as").unwrap_or(text).trim();
            let inside = list.strip_prefix('[')?.strip_suffix(']')?.trim();
            Value::Texts(if inside.is_empty() { Vec::new() } else { texts(inside)? })
        }
    })
}

const INTEGERS: &[&str] = &[
    "byte", "int16", "uint16", "int32", "uint32", "int64", "uint64", "@n", "@i", "@u", "@x", "@t",
];

/// Without the word for its type in front: what the type must be is known.
fn untyped<'a>(text: &'a str, types: &[&str]) -> &'a str {
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) if types.contains(&first) => rest.trim(),
        _ => text,
    }
}

fn unsigned(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Seconds with a fraction, as microseconds.
fn seconds(text: &str) -> Option<u64> {
    const MICROSECONDS: u64 = 1_000_000;
    let text = untyped(text.trim(), INTEGERS);
    let text = untyped(text, &["double", "@d"]);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(MICROSECONDS)?.checked_add(digits.parse().ok()?)
}

fn only(mut list: Vec<String>) -> Option<String> {
    if list.len() == 1 { list.pop() } else { None }
}

/// `'a', "b"`
fn texts(text: &str) -> Option<Vec<String>> {
    let mut list = Vec::new();
    let mut rest = text.trim();
    loop {
        let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (one, after) = quoted(&rest[1..], quote)?;
        list.push(one);
        let after = after.trim_start();
        if after.is_empty() {
            return Some(list);
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

/// Up to the closing quote; and what comes after it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut result = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\0' => return None,
            '\\' => result.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('\\' | '\'' | '"') => same,
                _ => return None,
            }),
            _ if character == quote => return Some((result, text.get(index + 1..)?)),
            _ => result.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_in_text_format() {
        let texts = |list: &[&str]| Value::Texts(list.iter().map(|&text| text.into()).collect());
        for (name, text, value) in [
            ("KillSignal", "15", Value::Int32(15)),
            ("KillSignal", "int32 9", Value::Int32(9)),
            ("TimeoutStopUSec", "uint64 10000000", Value::Uint64(10_000_000)),
            ("TimeoutStopUSec", "@t 1000", Value::Uint64(1000)),
            ("TimeoutStopUSec", " 1000 ", Value::Uint64(1000)),
            ("TimeoutStopSec", "uint64 10", Value::Uint64(10_000_000)),
            ("TimeoutStopSec", "1.5", Value::Uint64(1_500_000)),
            ("TimeoutStopSec", "double 0.0000019", Value::Uint64(1)),
            ("RuntimeMaxSec", "3", Value::Uint64(3_000_000)),
            ("DefaultDependencies", "true", Value::Bool(true)),
            ("SendSIGHUP", "boolean false", Value::Bool(false)),
            ("CollectMode", "'inactive-or-failed'", Value::Text("inactive-or-failed".into())),
            ("CollectMode", "string \"inactive\"", Value::Text("inactive".into())),
            ("Description", r"'it\'s'", Value::Text("it's".into())),
            ("After", "['a.service', \"b.service\"]", texts(&["a.service", "b.service"])),
            ("After", "@as []", texts(&[])),
        ] {
            let property = parse(name, text).unwrap();
            assert_eq!(property.value, value, "{name} {text}");
            assert_eq!(property.name, name.replace("Sec", "USec").replace("UUSec", "USec"));
        }
    }

    #[test]
    fn other_values_are_refused() {
        for (name, text) in [
            ("KillSignal", "'15'"),
            ("KillSignal", "4294967296"),
            ("KillSignal", ""),
            ("TimeoutStopUSec", "-1"),
            ("TimeoutStopUSec", "'10s'"),
            ("TimeoutStopSec", "-1"),
            ("TimeoutStopSec", "inf"),
            ("TimeoutStopSec", "1.x"),
            ("TimeoutStopSec", "1e3"),
            ("TimeoutStopSec", "NaN"),
            ("TimeoutStopSec", "18446744073709551615"),
            ("DefaultDependencies", "yes"),
            ("CollectMode", "inactive"),
            ("CollectMode", "'a"),
            ("CollectMode", "'a' 'b'"),
            ("CollectMode", "'a', 'b'"),
            ("After", "'a.service'"),
            ("After", "['a.service',]"),
            ("After", "['a.service'"),
        ] {
            assert!(parse(name, text).is_err(), "{name} {text}");
        }
    }

    #[test]
    fn only_harmless_properties_may_be_set() {
        for name in [
            "ExecStart",
            "ExecStopPost",
            "SuccessAction",
            "FailureAction",
            "OnFailure",
            "Wants",
            "Requires",
            "Conflicts",
            "Slice",
            "PIDs",
            "Delegate",
            "MemoryMax",
            "DeviceAllow",
            "",
            "Sec",
            "USec",
        ] {
            assert!(parse(name, "'x'").is_err(), "{name}");
        }
        assert_eq!(refuse("Killmode").hint.unwrap(), "did you mean KillMode?");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", index in 0..ALLOWED.len()) {
            let _ = parse(ALLOWED[index].0, &text);
            let _ = parse("TimeoutStopSec", &text);
        }
    }
}
