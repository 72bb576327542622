//! The mount table as this process sees it.

use serde_json::{Value, json};

/// Every line of /proc/self/mountinfo; `null` when /proc is missing.
pub fn table() -> Value {
    match std::fs::read_to_string("/proc/self/mountinfo") {
        Ok(text) => text.lines().filter_map(line).collect(),
        Err(_) => Value::Null,
    }
}

/// `id parent device root target options [optional]... - type source super`.
fn line(text: &str) -> Option<Value> {
    let (left, right) = text.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let list = |text: &str| -> Vec<String> { text.split(',').map(String::from).collect() };
    Some(json!({
        "id": left.first()?.parse::<u64>().ok()?,
        "parent": left.get(1)?.parse::<u64>().ok()?,
        "device": left.get(2)?,
        "root": unescape(left.get(3)?),
        "target": unescape(left.get(4)?),
        "options": list(left.get(5)?),
        "propagation": &left[6..],
        "type": right.first()?,
        "source": unescape(right.get(1)?),
        "super_options": list(right.get(2)?),
    }))
}

/// Undoes the kernel's `\040` for a blank and the like.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}
