//! What a finished command said, and the judgements tests make about it.

use crate::host::is_peer;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// The result of one command.
#[derive(Debug)]
pub struct Output {
    /// The arguments, for messages.
    pub command: String,
    /// The exit code, unless a signal ended the command.
    pub code: Option<i32>,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// Everything on standard output, the container's included.
    pub stdout: String,
    /// Everything on standard error, the container's included.
    pub stderr: String,
    /// How long the command took.
    pub elapsed: Duration,
}

impl Output {
    /// Fails the test unless the command succeeded.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.code == Some(0), "expected success\n{self}");
        self
    }

    /// Fails the test unless the command failed with exit code 1 and one error
    /// that contains `text`. Peers use words of their own.
    #[track_caller]
    pub fn fails(&self, text: &str) {
        let failed = if is_peer() { self.code != Some(0) } else { self.code == Some(1) };
        assert!(failed, "expected exit code 1\n{self}");
        assert!(is_peer() || self.stderr.contains(text), "expected `{text}` in the error\n{self}");
        assert!(!self.stderr.contains("panicked"), "a panic is not an error message\n{self}");
    }

    /// Fails the test unless the command failed with an error that points to
    /// this place in config.json, or to one below it.
    #[track_caller]
    pub fn refuses(&self, pointer: &str) {
        self.fails("hako: ");
        let points = self.stderr.lines().filter_map(|line| {
            let place = line.trim_start().strip_prefix("config.json: ")?;
            place.split_whitespace().next()?.strip_prefix(pointer)
        });
        let points = points.into_iter().any(|rest| rest.is_empty() || rest.starts_with('/'));
        assert!(is_peer() || points, "expected `config.json: {pointer}` in the error\n{self}");
    }

    /// Every line of standard output as JSON: one value for each command that
    /// the inspector ran.
    #[must_use]
    #[track_caller]
    pub fn values(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).ok();
        let values: Option<Vec<Value>> = self.stdout.lines().map(parse).collect();
        values.unwrap_or_else(|| panic!("expected one JSON value a line\n{self}"))
    }

    /// Standard output as one JSON value.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("expected JSON: {error}\n{self}"),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  command: {}", self.command)?;
        writeln!(f, "  code: {:?}, signal: {:?}, {:?}", self.code, self.signal, self.elapsed)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in text.lines() {
                writeln!(f, "  {name}: {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(stderr: &str) -> Output {
        Output {
            command: String::new(),
            code: Some(1),
            signal: None,
            stdout: String::new(),
            stderr: stderr.to_string(),
            elapsed: Duration::ZERO,
        }
    }

    const TEXT: &str = "hako: run x: bad\n  config.json: /mounts/7/source      hint: none\n";

    #[test]
    fn a_pointer_or_one_above_it_is_recognised() {
        failed(TEXT).refuses("/mounts/7/source");
        failed(TEXT).refuses("/mounts/7");
    }

    #[test]
    #[should_panic(expected = "expected `config.json: /mounts/70`")]
    fn another_pointer_is_not() {
        failed(&TEXT.replace("/mounts/7", "/mounts/700")).refuses("/mounts/70");
    }

    #[test]
    #[should_panic(expected = "expected exit code 1")]
    fn success_is_no_refusal() {
        Output { code: Some(0), ..failed(TEXT) }.refuses("/mounts/7");
    }

    #[test]
    #[should_panic(expected = "expected one JSON value a line")]
    fn noise_on_stdout_is_noticed() {
        let _ = Output { stdout: "{}\nnoise\n".into(), ..failed("") }.values();
    }
}
