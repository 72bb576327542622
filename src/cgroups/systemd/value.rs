//! Properties of units, and their values.

use super::wire::Writer;
use serde::Serialize;
use std::fmt;

/// A property of a unit (org.freedesktop.systemd1(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Property {
    /// `MemoryMax` …
    pub name: String,
    /// Its value, of the type that systemd expects.
    pub value: Value,
}

impl Property {
    /// A property.
    pub fn new(name: impl Into<String>, value: Value) -> Self {
        Self { name: name.into(), value }
    }
}

/// A value of one of the types that properties of scopes have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `t`; all bits set is infinity
    Uint64(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Uint32s(Vec<u32>),
    /// `ay`: a set of CPUs or memory nodes, lowest bit first
    Bytes(Vec<u8>),
    /// `a(ss)`
    TextPairs(Vec<(String, String)>),
    /// `a(st)`
    TextNumbers(Vec<(String, u64)>),
}

impl Value {
    /// Its type.
    pub fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Int32(_) => "i",
            Value::Uint64(_) => "t",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Uint32s(_) => "au",
            Value::Bytes(_) => "ay",
            Value::TextPairs(_) => "a(ss)",
            Value::TextNumbers(_) => "a(st)",
        }
    }

    /// Appends it to a message.
    pub fn write(&self, to: &mut Writer) {
        match self {
            Value::Bool(value) => to.boolean(*value),
            Value::Int32(value) => to.uint32(value.cast_unsigned()),
            Value::Uint64(value) => to.uint64(*value),
            Value::Text(value) => to.text(value),
            Value::Texts(list) => to.array(4, |to| list.iter().for_each(|text| to.text(text))),
            Value::Uint32s(list) => {
                to.array(4, |to| list.iter().for_each(|number| to.uint32(*number)));
            }
            Value::Bytes(list) => to.array(1, |to| list.iter().for_each(|byte| to.byte(*byte))),
            Value::TextPairs(list) => to.array(8, |to| {
                for (left, right) in list {
                    to.structure();
                    to.text(left);
                    to.text(right);
                }
            }),
            Value::TextNumbers(list) => to.array(8, |to| {
                for (text, number) in list {
                    to.structure();
                    to.text(text);
                    to.uint64(*number);
                }
            }),
        }
    }
}

/// `MemoryMax=67108864`, as systemctl(1) shows properties.
impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |list: Vec<String>| list.join(" ");
        match self {
            Value::Bool(value) => f.write_str(if *value { "yes" } else { "no" }),
            Value::Int32(value) => write!(f, "{value}"),
            Value::Uint64(u64::MAX) => f.write_str("infinity"),
            Value::Uint64(value) => write!(f, "{value}"),
            Value::Text(value) => f.write_str(value),
            Value::Texts(list) => f.write_str(&list.join(" ")),
            Value::Uint32s(list) => f.write_str(&words(list.iter().map(u32::to_string).collect())),
            Value::Bytes(bytes) => f.write_str(&words(set_bits(bytes))),
            Value::TextPairs(list) => {
                f.write_str(&words(list.iter().map(|(a, b)| format!("{a} {b}")).collect()))
            }
            Value::TextNumbers(list) => {
                f.write_str(&words(list.iter().map(|(a, b)| format!("{a} {b}")).collect()))
            }
        }
    }
}

fn set_bits(bytes: &[u8]) -> Vec<String> {
    let bits = bytes.iter().enumerate().flat_map(|(index, byte)| {
        (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| index * 8 + bit)
    });
    bits.map(|bit| bit.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_systemctl_prints_them() {
        for (value, text) in [
            (Value::Bool(true), "yes"),
            (Value::Int32(-1), "-1"),
            (Value::Uint64(u64::MAX), "infinity"),
            (Value::Texts(vec!["a.service".into(), "b.service".into()]), "a.service b.service"),
            (Value::Bytes(vec![0b101, 0b1000_0000]), "0 2 15"),
            (Value::TextPairs(vec![("/dev/null".into(), "rw".into())]), "/dev/null rw"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }
}
