//! Reading `config.json`: bytes to a specification, with every complaint a
//! reader would want.

mod locate;
mod required;
mod spec;
mod wording;

pub use spec::{ExecCpuAffinity, Process, Spec};

use crate::error::{Context, Error, Result};
use crate::plan::closest;
use oci_spec::runtime::LinuxResources;
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// Its name in a bundle.
pub const FILE_NAME: &str = "config.json";

/// Where a configuration has what a file of `exec --process` is all of.
const PROCESS: &str = "/process";

/// Larger configurations are refused before they are read. The largest seen
/// from an engine is 17 KB.
pub const LARGEST: u64 = 16 << 20;

/// A configuration as written, and what was noticed about it.
#[derive(Debug)]
pub struct Config {
    /// The specification.
    pub spec: Spec,
    /// Unknown keys, unknown capabilities.
    pub warnings: Vec<String>,
    /// Required values that are missing.
    pub faults: Vec<Error>,
}

/// More unknown keys than this are counted, not listed.
const MANY: usize = 20;

/// Reads a configuration file, which messages call by this name.
///
/// # Errors
/// What is no regular file, too large, or not a configuration; a wrong value
/// is named by its JSON pointer.
pub fn load(path: &Path, name: &str) -> Result<Config> {
    let bytes = read(path).map_err(|error| match error.errno {
        Some(libc::ENOENT) => {
            error.hint("a bundle is a directory with config.json; hako spec writes one")
        }
        _ => error,
    })?;
    parse_named(&bytes, name, "")
}

/// Reads a file with the object "process" of a configuration alone.
///
/// # Errors
/// As [`load`]; pointers lead into that file.
pub fn load_process(path: &Path) -> Result<Config> {
    const BEFORE: &[u8] = br#"{"ociVersion": "1.3.0", "process": "#;
    let bytes = read_given(path)?;
    let name = path.display().to_string();
    check_object(&bytes, &name)?;
    parse_named(&[BEFORE, &bytes, b"}"].concat(), &name, PROCESS)
        .map_err(|error| in_process_file(error, path))
}

/// That bytes are one JSON object, and not the beginning of more.
fn check_object(bytes: &[u8], name: &str) -> Result<()> {
    check_start(bytes, name)?;
    let whole: serde_json::Result<Value> = serde_json::from_slice(bytes);
    whole.map(drop).map_err(|error| not_json(name, bytes, &error))
}

/// The types would take a list of values in the order of their fields.
fn check_start(bytes: &[u8], name: &str) -> Result<()> {
    // U+FEFF, which some editors write first.
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Error::new(format!(
            "{name} is not valid JSON: it begins with a byte order mark"
        ))
        .hint("store it as UTF-8 without one"));
    }
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Ok(()),
        Some(_) => Err(Error::new(format!("{name} is not valid JSON: it must be an object"))),
        None => Err(Error::new(format!("{name} is empty"))),
    }
}

/// Says that an error is about another file than the bundle's, if one was given.
pub fn in_given_file(error: Error, path: Option<&Path>) -> Error {
    match path {
        Some(path) => error.in_document(&path.display().to_string(), ""),
        None => error,
    }
}

/// Says that an error is about such a file.
pub fn in_process_file(error: Error, path: &Path) -> Error {
    error.in_document(&path.display().to_string(), PROCESS)
}

/// Reads a regular file of reasonable size. A FIFO would block for ever, a
/// device could deliver for ever.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).os(|| format!("cannot open {shown}"))?;
    let stat = rustix::fs::fstat(&fd).os(|| format!("cannot examine {shown}"))?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Error::new(format!("{shown} is not a regular file")));
    }
    if stat.st_size as u64 > LARGEST {
        return Err(Error::new(format!(
            "{shown} is {} bytes, more than the {LARGEST} allowed",
            stat.st_size
        )));
    }
    let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
    std::fs::File::from(fd)
        .take(stat.st_size as u64)
        .read_to_end(&mut bytes)
        .os(|| format!("cannot read {shown}"))?;
    Ok(bytes)
}

/// Reads what the caller named: a file as [`read`], or a pipe of the caller's own, such as a
/// shell's `<(…)` or standard input, to its end.
pub fn read_given(path: &Path) -> Result<Vec<u8>> {
    /// `PIPEFS_MAGIC`; a FIFO with a name is on another file system, and anybody's.
    const PIPEFS: u64 = 0x5049_5045;
    let is_pipe = rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == PIPEFS);
    if !is_pipe {
        return read(path);
    }
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).os(|| format!("cannot open {shown}"))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).os(|| format!("cannot read {shown}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::new(format!("{shown} has more than the {LARGEST} bytes allowed")));
    }
    Ok(bytes)
}

/// Parses a configuration.
pub fn parse(bytes: &[u8]) -> Result<Config> {
    parse_named(bytes, FILE_NAME, "")
}

/// `prefix` is not part of the document, and so of no pointer in a warning.
fn parse_named(bytes: &[u8], name: &str, prefix: &str) -> Result<Config> {
    check_start(bytes, name)?;
    let mut unknown = Vec::new();
    let (mut spec, mut warnings): (Spec, _) = match deserialize(bytes, &mut unknown) {
        Ok(spec) => (spec, Vec::new()),
        Err(error) => tolerate(bytes, name, &error, &mut unknown)?,
    };
    if spec.linux.is_none() {
        // The type's own default is full of settings nobody asked for.
        spec.linux = serde_json::from_str("{}").ok();
    }
    warnings.extend(unknown.iter().take(MANY).map(|path| unknown_key(name, prefix, path)));
    if unknown.len() > MANY {
        warnings.push(format!("{name}: {} more keys are unknown", unknown.len() - MANY));
    }
    let missing = required::missing(bytes)?;
    if missing.pids_limit
        && let Some(resources) =
            spec.linux.as_mut().and_then(|linux| linux.resources_mut().as_mut())
    {
        resources.set_pids(None);
    }
    Ok(Config { spec, warnings, faults: missing.faults })
}

/// `linux.resources` on its own, and what was noticed about it.
#[derive(Debug)]
pub struct Resources {
    /// The limits.
    pub resources: LinuxResources,
    /// Unknown keys.
    pub warnings: Vec<String>,
}

/// Parses `linux.resources` on its own, from a document of this name. Pointers
/// start there.
///
/// # Errors
/// As [`parse`], and for required values that are missing.
pub fn parse_resources(bytes: &[u8], name: &str) -> Result<Resources> {
    let mut unknown = Vec::new();
    let mut resources: LinuxResources = decode(bytes, name, &mut unknown)?;
    let missing = required::missing_in_resources(bytes)?;
    if missing.pids_limit {
        resources.set_pids(None);
    }
    match Error::all(missing.faults) {
        Some(error) => Err(error),
        None => {
            let warnings = unknown.iter().take(MANY).map(|path| unknown_key(name, "", path));
            let warnings = warnings.collect();
            Ok(Resources { resources, warnings })
        }
    }
}

/// Reads a document of one object. Notes the paths of keys that no type knows.
///
/// # Errors
/// What is no JSON, by line and column; a wrong value, by its pointer.
pub fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    name: &str,
    unknown: &mut Vec<String>,
) -> Result<T> {
    check_object(bytes, name)?;
    deserialize(bytes, unknown).map_err(|error| wrong_value(bytes, &error))
}

/// Notes the paths of keys that no type knows.
fn deserialize<T: DeserializeOwned>(
    bytes: &[u8],
    unknown: &mut Vec<String>,
) -> serde_json::Result<T> {
    unknown.clear();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_ignored::deserialize(&mut deserializer, |path| unknown.push(path.to_string()))?;
    deserializer.end()?;
    Ok(value)
}

/// The cold path, after the first attempt failed: makes up for what the
/// specification allows and the types do not, and tries again.
fn tolerate(
    bytes: &[u8],
    name: &str,
    first: &serde_json::Error,
    unknown: &mut Vec<String>,
) -> Result<(Spec, Vec<String>)> {
    let mut document: Value =
        serde_json::from_slice(bytes).map_err(|syntax| not_json(name, bytes, &syntax))?;
    if first.to_string().starts_with("duplicate field") {
        // Readers differ about which of the two they take.
        return Err(wrong_value(bytes, first));
    }
    let mut warnings = Vec::new();
    drop_unknown_capabilities(&mut document, &mut warnings);
    rename_scheduler_flags(&mut document);
    let repaired = document.to_string().into_bytes();
    deserialize(&repaired, unknown)
        .map(|spec| (spec, warnings))
        .map_err(|error| wrong_value(&repaired, &error))
}

/// What the types do not take, by its pointer instead of a line and a column.
fn wrong_value(bytes: &[u8], error: &serde_json::Error) -> Error {
    let document = serde_json::from_slice(bytes).unwrap_or_default();
    let complaint = SCHEDULER_FLAGS
        .iter()
        .fold(without_position(error), |text, (name, spelt)| text.replace(spelt, name));
    let pointer = match complaint.starts_with("duplicate field") {
        true => locate::object_at(bytes, error.line(), error.column()),
        false => locate::pointer_at(bytes, error.line(), error.column()),
    };
    wording::wrong_value(&complaint, &pointer, &document)
}

fn not_json(name: &str, bytes: &[u8], error: &serde_json::Error) -> Error {
    let line = String::from_utf8_lossy(bytes)
        .lines()
        .nth(error.line().saturating_sub(1))
        .map(|line| line.trim().chars().take(80).collect::<String>())
        .unwrap_or_default();
    let reason = wording::syntax(&without_position(error));
    let (at_line, column) = (error.line(), error.column());
    Error::new(format!(
        "{name} is not valid JSON: {reason}, at line {at_line} column {column}: {line:?}"
    ))
}

/// serde_json adds where it happened.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(sentence, _)| sentence).to_owned()
}

/// A capability that this hako does not know is warned about, not refused
/// (config.md, "Linux Process").
fn drop_unknown_capabilities(document: &mut Value, warnings: &mut Vec<String>) {
    let sets = document.pointer_mut("/process/capabilities").and_then(Value::as_object_mut);
    let mut unknown = Vec::new();
    for list in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut)
    {
        list.retain(|name| {
            let known = oci_spec::runtime::Capability::deserialize(name).is_ok();
            if let (false, Some(name)) = (known, name.as_str()) {
                unknown.push(name.to_owned());
            }
            known || !name.is_string()
        });
    }
    unknown.sort();
    unknown.dedup();
    if !unknown.is_empty() {
        let more = match unknown.len().saturating_sub(MANY) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        unknown.truncate(MANY);
        let names = unknown.join(" ");
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{names}]{more}"));
    }
}

/// Scheduler flags as the specification spells them, and as the types do.
const SCHEDULER_FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// The specification's names, in the spelling of the types.
fn rename_scheduler_flags(document: &mut Value) {
    let flags = document.pointer_mut("/process/scheduler/flags").and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        if let Some((_, name)) = SCHEDULER_FLAGS.iter().find(|(name, _)| flag == name) {
            *flag = Value::from(*name);
        }
    }
}

/// Keys of `config.json` that are worth suggesting for a misspelt one.
const KNOWN_KEYS: &[&str] = &[
    "ociVersion",
    "process",
    "root",
    "hostname",
    "domainname",
    "mounts",
    "hooks",
    "annotations",
    "linux",
    "terminal",
    "consoleSize",
    "user",
    "args",
    "env",
    "cwd",
    "capabilities",
    "rlimits",
    "noNewPrivileges",
    "apparmorProfile",
    "selinuxLabel",
    "oomScoreAdj",
    "scheduler",
    "ioPriority",
    "execCPUAffinity",
    "uid",
    "gid",
    "umask",
    "additionalGids",
    "path",
    "readonly",
    "destination",
    "type",
    "source",
    "options",
    "uidMappings",
    "gidMappings",
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
    "timeout",
    "namespaces",
    "devices",
    "cgroupsPath",
    "resources",
    "rootfsPropagation",
    "seccomp",
    "sysctl",
    "maskedPaths",
    "readonlyPaths",
    "mountLabel",
    "intelRdt",
    "memoryPolicy",
    "personality",
    "timeOffsets",
    "netDevices",
    "bounding",
    "effective",
    "inheritable",
    "permitted",
    "ambient",
    "fileMode",
    "major",
    "minor",
    "hostID",
    "containerID",
    "size",
    "memory",
    "cpu",
    "pids",
    "blockIO",
    "hugepageLimits",
    "rdma",
    "unified",
];

fn unknown_key(name: &str, prefix: &str, path: &str) -> String {
    // serde_ignored writes "process.?.cwd" for an optional "process".
    let keys: Vec<&str> = path.split('.').filter(|key| *key != "?").collect();
    let pointer: String = keys.iter().map(|key| format!("/{key}")).collect();
    let suggestion = keys
        .last()
        .and_then(|key| closest(key, KNOWN_KEYS))
        .map(|known| format!(", did you mean {known:?}?"))
        .unwrap_or_default();
    let pointer = pointer.strip_prefix(prefix).unwrap_or(&pointer);
    format!("{name}: {pointer} is unknown{suggestion}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_gets_a_suggestion() {
        let config = parse(br#"{"ociVersion": "1.0.0", "mounst": []}"#).unwrap();
        assert_eq!(config.warnings, ["config.json: /mounst is unknown, did you mean \"mounts\"?"]);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_pointer() {
        let error =
            parse(br#"{"ociVersion": "1.0.0", "process": {"cwd": "/", "user": {"uid": "0"}}}"#)
                .unwrap_err();
        assert_eq!(error.pointer.as_deref(), Some("/process/user/uid"));
    }

    #[test]
    fn unknown_capabilities_are_warned_about() {
        let config = br#"{"ociVersion": "1.0.0", "process": {"cwd": "/", "capabilities": {"bounding": ["CAP_NEW", "CAP_KILL"]}}}"#;
        let config = parse(config).unwrap();
        assert_eq!(config.warnings, ["ignoring unknown or unavailable capabilities: [CAP_NEW]"]);
    }

    #[test]
    fn damaged_documents_are_refused() {
        for text in [
            "",
            "{",
            "[]",
            "nul",
            "{\"ociVersion\": 1}",
            "{} {}",
            "{\"process\": {\"user\": {\"uid\": -1}}}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
    }
}
