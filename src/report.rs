//! The only place that prints errors and warnings.

mod log;

use crate::cli::{Global, LogFormat, LogLevel};
use crate::error::{Error, Result};
use crate::state::timestamp;
use log::Log;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::io::Write;

/// Where messages go, and in which form.
#[derive(Debug)]
pub struct Report {
    log: Option<Log>,
    json: bool,
    level: LogLevel,
    warnings: RefCell<Vec<String>>,
}

impl Report {
    /// As people see it.
    pub fn to_stderr() -> Self {
        Self { log: None, json: false, level: LogLevel::Warning, warnings: RefCell::default() }
    }

    /// As a command line says that could not be understood as a whole: engines
    /// look for the reason in the log.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let arguments: Vec<String> = arguments.collect();
        let value = |name: &str| {
            arguments.iter().enumerate().find_map(|(index, argument)| {
                match argument.strip_prefix(name)? {
                    "" => arguments.get(index + 1).cloned(),
                    rest => rest.strip_prefix('=').map(str::to_owned),
                }
            })
        };
        Self {
            log: value("--log").and_then(|target| Log::open(target.as_ref()).ok()),
            json: value("--log-format").is_some_and(|format| format == "json"),
            ..Self::to_stderr()
        }
    }

    /// As the command line says.
    pub fn open(global: &Global) -> Result<Self> {
        Ok(Self {
            log: global.log.as_deref().map(Log::open).transpose()?,
            json: global.log_format == LogFormat::Json,
            level: if global.debug { LogLevel::Debug } else { global.log_level },
            warnings: RefCell::default(),
        })
    }

    /// The one error: for people on standard error, for engines as exactly one
    /// line in the log. (podman reads the log as one JSON object, containerd
    /// takes its last line of level "error".)
    pub fn error(&self, error: &Error) {
        let mut fields = details(error);
        let warnings = self.warnings.take();
        if !self.json {
            warnings.iter().for_each(|warning| self.write_warning(warning));
        } else if !warnings.is_empty() {
            fields.insert("warnings".into(), warnings.into());
        }
        if let Some(log) = &self.log {
            self.write(Some(log), "error", &sentence(error), fields);
            tell(&text(error));
        } else if self.json {
            self.write(None, "error", &sentence(error), fields);
        } else {
            tell(&text(error));
        }
    }

    /// Something worth telling that is no failure. Kept until it is clear
    /// whether an error follows.
    pub fn warning(&self, message: impl Into<String>) {
        if self.level >= LogLevel::Warning {
            self.warnings.borrow_mut().push(message.into());
        }
    }

    /// The same with the error's place and advice.
    pub fn warning_of(&self, error: &Error) {
        self.warning([vec![error.to_string()], advice(error)].concat().join("; "));
    }

    /// Tells the warnings: what they were about has succeeded.
    pub fn succeeded(&self) {
        self.warnings.take().iter().for_each(|warning| self.write_warning(warning));
    }

    /// Standard error belongs to the container when there is a log.
    fn write_warning(&self, message: &str) {
        match &self.log {
            Some(log) => self.write(Some(log), "warning", message, Map::new()),
            None => tell(&format!("hako: warning: {message}\n")),
        }
    }

    /// What `--debug` asks for.
    pub fn debug(&self, message: &str) {
        if self.level >= LogLevel::Debug {
            self.write(self.log.as_ref(), "debug", message, Map::new());
        }
    }

    /// One line, to standard error where there is no log.
    fn write(&self, to: Option<&Log>, level: &str, message: &str, mut fields: Map<String, Value>) {
        let time = timestamp();
        let line = if self.json {
            fields.insert("level".into(), level.into());
            fields.insert("msg".into(), message.into());
            fields.insert("time".into(), time.into());
            Value::Object(fields).to_string()
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}")
        };
        let line = format!("{line}\n");
        match to {
            Some(log) => log.write(level, message, &line),
            None => tell(&line),
        }
    }
}

/// To standard error. There is nobody to tell when that cannot be written to.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// More faults than this are counted, not listed.
const MANY: usize = 20;

fn more(error: &Error) -> Option<String> {
    let more = error.others.len().saturating_sub(MANY);
    (more > 0).then(|| format!("{more} more faults"))
}

/// All faults in one line.
fn sentence(error: &Error) -> String {
    let mut sentence = error.to_string();
    for other in error.others.iter().take(MANY) {
        sentence.push_str("; ");
        sentence.push_str(&other.to_string());
    }
    if let Some(more) = more(error) {
        sentence.push_str(&format!("; {more}"));
    }
    sentence
}

/// For programs that want more than a sentence.
fn details(error: &Error) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(key.to_owned(), value);
        }
    };
    add("step", (!error.context.is_empty()).then(|| error.context.join(": ").into()));
    add("pointer", error.pointer.clone().map(Value::from));
    add("errno", error.errno.map(Value::from));
    add("hint", error.hint.clone().map(Value::from));
    fields
}

/// A sentence, where in config.json, and what to do:
///
/// ```text
/// hako: create web: mount /data: cannot open source /srv/data: no such file or directory (ENOENT)
///   config.json: /mounts/7/source   hint: a bind source must exist on the host before create
/// ```
fn text(error: &Error) -> String {
    let mut text = format!("hako: {}\n", one_line(&error.to_string()));
    add_advice(&mut text, error);
    for other in error.others.iter().take(MANY) {
        text.push_str(&format!("  and: {}\n", one_line(&other.to_string())));
        add_advice(&mut text, other);
    }
    if let Some(more) = more(error) {
        text.push_str(&format!("  and: {more}\n"));
    }
    text
}

/// Names from a configuration can contain anything.
fn one_line(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escape).collect()
}

fn add_advice(text: &mut String, error: &Error) {
    let parts: Vec<String> = advice(error).iter().map(|part| one_line(part)).collect();
    if !parts.is_empty() {
        text.push_str(&format!("  {}\n", parts.join("   ")));
    }
}

/// Where it is, and what to do.
fn advice(error: &Error) -> Vec<String> {
    let document = error.document.as_deref().unwrap_or("config.json");
    let pointer = error.pointer.as_ref().map(|pointer| match pointer.as_str() {
        "" => document.to_owned(),
        pointer => format!("{document}: {pointer}"),
    });
    let hint = error.hint.as_ref().map(|hint| format!("hint: {hint}"));
    pointer.into_iter().chain(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_sentence_place_and_advice() {
        let mut error = Error::os("cannot open source /srv/data", libc::ENOENT)
            .within("mount /data")
            .within("create web")
            .at("/mounts/7/source")
            .hint("make it");
        error.others.push(Error::new("second").at("/root"));
        let expected = "hako: create web: mount /data: cannot open source /srv/data: no such file or directory (ENOENT)\n  \
                        config.json: /mounts/7/source   hint: make it\n  and: second\n  config.json: /root\n";
        assert_eq!(text(&error), expected);
        assert!(sentence(&error).ends_with("; second"));
    }
}
