//! From a position in a JSON text to a JSON pointer (RFC 6901).
//!
//! The parser's errors carry a line and a column. A crate that tracks the path
//! while parsing would double the code of every type of the specification.

/// The pointer of the value that a parser's error at `line` and `column`, both
/// from 1, is about: the last value that ended before it, or the object or
/// list that starts or ends there. The text is valid JSON.
pub fn pointer_at(text: &[u8], line: usize, column: usize) -> String {
    let walk = Walk::to(text, line, column);
    // An object or list of the wrong kind is complained about before it is read.
    let before = text[..walk.position].iter().rfind(|byte| !byte.is_ascii_whitespace());
    let next = text[walk.position..].iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(before, Some(b':' | b',' | b'[')) && matches!(next, Some(b'{' | b'[')) {
        return walk.pointer();
    }
    walk.found
}

/// The pointer of the object that such a position is in.
pub fn object_at(text: &[u8], line: usize, column: usize) -> String {
    let mut walk = Walk::to(text, line, column);
    walk.path.pop();
    walk.pointer()
}

/// One level of nesting.
enum Level {
    /// In an object, at this key.
    Object(String),
    /// In a list, at this index.
    List(usize),
}

struct Walk<'t> {
    text: &'t [u8],
    position: usize,
    path: Vec<Level>,
    found: String,
}

impl<'t> Walk<'t> {
    /// Past everything that begins before a position.
    fn to(text: &'t [u8], line: usize, column: usize) -> Self {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let start: usize = lines.take(line.saturating_sub(1)).map(<[u8]>::len).sum();
        let end = (start + column).min(text.len());
        let mut walk = Walk { text, position: 0, path: Vec::new(), found: String::new() };
        while walk.position < end {
            walk.step();
        }
        walk
    }

    /// Goes past one token.
    fn step(&mut self) {
        match self.text[self.position] {
            b'{' => self.open(Level::Object(String::new())),
            b'[' => self.open(Level::List(0)),
            b'}' | b']' => {
                self.path.pop();
                self.found = self.pointer();
            }
            b',' => {
                if let Some(Level::List(index)) = self.path.last_mut() {
                    *index += 1;
                }
            }
            b'"' => return self.string(),
            byte if byte.is_ascii_whitespace() || byte == b':' => {}
            _ => return self.word(),
        }
        self.position += 1;
    }

    fn open(&mut self, level: Level) {
        self.found = self.pointer();
        self.path.push(level);
    }

    /// A key, if a colon follows; else a value.
    fn string(&mut self) {
        let start = self.position;
        self.position += 1;
        while self.position < self.text.len() && self.text[self.position] != b'"' {
            self.position += if self.text[self.position] == b'\\' { 2 } else { 1 };
        }
        self.position += 1;
        let literal = &self.text[start..self.position.min(self.text.len())];
        let after =
            self.text[start + literal.len()..].iter().find(|byte| !byte.is_ascii_whitespace());
        match self.path.last_mut() {
            Some(Level::Object(key)) if after == Some(&b':') => {
                *key = serde_json::from_slice(literal).unwrap_or_default();
            }
            _ => self.found = self.pointer(),
        }
    }

    /// A number, true, false or null.
    fn word(&mut self) {
        let end = |byte: &u8| b",]}".contains(byte) || byte.is_ascii_whitespace();
        let length = self.text[self.position..].iter().position(end);
        self.position += length.unwrap_or(self.text.len() - self.position);
        self.found = self.pointer();
    }

    fn pointer(&self) -> String {
        self.path
            .iter()
            .map(|level| match level {
                Level::Object(key) => format!("/{}", crate::plan::Compiler::escape(key)),
                Level::List(index) => format!("/{index}"),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where serde says a number in place of a string is.
    fn wrong(text: &str) -> String {
        #[derive(serde::Deserialize)]
        #[allow(dead_code)]
        struct Inner {
            name: String,
        }
        #[derive(serde::Deserialize)]
        #[allow(dead_code)]
        struct Outer {
            list: Vec<Inner>,
            #[serde(rename = "a/b")]
            other: Option<Inner>,
        }
        let error = serde_json::from_str::<Outer>(text).err().unwrap();
        pointer_at(text.as_bytes(), error.line(), error.column())
    }

    #[test]
    fn errors_are_found_where_they_are() {
        assert_eq!(wrong(r#"{"list": [{"name": "}\"{"}, {"name": 7}]}"#), "/list/1/name");
        assert_eq!(wrong("{\n \"list\": [\n  {\"name\": null}\n ]\n}"), "/list/0/name");
        assert_eq!(wrong(r#"{"list": [{"x": [1, 2, {}]}]}"#), "/list/0");
        assert_eq!(wrong(r#"{"list": [], "a/b": {"name": [] }}"#), "/a~1b/name");
        assert_eq!(wrong(r#"{"a/b": null}"#), "");
        assert_eq!(wrong(r#"{"list": true}"#), "/list");
    }
}
