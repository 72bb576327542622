//! The one error type: what was being done, to which object, where in
//! `config.json` it was asked for, why it failed, and what to do about it.
//!
//! An error is built where a call fails, gains context on the way up, crosses
//! the parent/child socket unchanged and is printed once, by [`crate::report`].

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Shorthand used throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that explains itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Error {
    /// What was being done, outermost first: `["create web", "mount /data"]`.
    pub context: Vec<String>,
    /// The failed action and its object: `cannot open source /srv/data`.
    pub message: String,
    /// The kernel's answer, when a system call failed.
    pub errno: Option<i32>,
    /// JSON pointer (RFC 6901) into `config.json`, or into `document`.
    pub pointer: Option<String>,
    /// The file that `pointer` leads into, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// What the reader can do about it.
    pub hint: Option<String>,
    /// Further faults of the same configuration, reported together.
    pub others: Vec<Error>,
}

impl Error {
    /// A failure with no system call behind it.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            context: Vec::new(),
            message: message.into(),
            errno: None,
            pointer: None,
            document: None,
            hint: None,
            others: Vec::new(),
        }
    }

    /// A failed system call.
    pub fn os(message: impl Into<String>, errno: impl Errno) -> Self {
        Self { errno: errno.raw(), ..Self::new(message) }
    }

    /// Says what was being done when this happened (called on the way up).
    #[must_use]
    pub fn within(mut self, step: impl Into<String>) -> Self {
        self.context.insert(0, step.into());
        self
    }

    /// Sets the JSON pointer, unless a deeper place already knows better.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer.get_or_insert_with(|| pointer.into());
        self
    }

    /// Places the error below `pointer`, where a step knows a part of it only.
    #[must_use]
    pub fn below(mut self, pointer: &str) -> Self {
        self.pointer = Some(match self.pointer {
            Some(deeper) if deeper.starts_with('/') => deeper,
            Some(part) => format!("{pointer}/{part}"),
            None => pointer.to_owned(),
        });
        self
    }

    /// Says that pointers lead into another document than `config.json`, in
    /// which `prefix` is missing.
    #[must_use]
    pub fn in_document(mut self, document: &str, prefix: &str) -> Self {
        self.document = Some(document.to_owned());
        self.pointer = self
            .pointer
            .map(|pointer| pointer.strip_prefix(prefix).map_or(pointer.clone(), str::to_owned));
        self.others =
            self.others.into_iter().map(|other| other.in_document(document, prefix)).collect();
        self
    }

    /// Forgets places below `pointer`: what is there was not asked for there.
    #[must_use]
    pub fn not_below(mut self, pointer: &str) -> Self {
        self.pointer.take_if(|place| place.starts_with(pointer));
        self.others = self.others.into_iter().map(|other| other.not_below(pointer)).collect();
        self
    }

    /// Sets the hint, unless a deeper place already knows better.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The faults that [`Error::all`] has joined.
    pub fn apart(&self) -> impl Iterator<Item = Error> {
        let first = Error { others: Vec::new(), ..self.clone() };
        std::iter::once(first).chain(self.others.clone())
    }

    /// Joins all faults of a configuration into one error; `None` if there are
    /// none. Of several at one place the first counts: it may be why there are
    /// others.
    pub fn all(mut faults: Vec<Error>) -> Option<Error> {
        let mut places = BTreeSet::new();
        faults.retain(|fault| fault.pointer.clone().is_none_or(|place| places.insert(place)));
        if faults.is_empty() {
            return None;
        }
        let mut first = faults.remove(0);
        first.others.append(&mut faults);
        Some(first)
    }
}

impl fmt::Display for Error {
    /// One sentence: `create web: mount /data: cannot open source /srv/data: No such file …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.context {
            write!(f, "{step}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", describe_errno(errno))?;
        }
        Ok(())
    }
}

/// What a sentence calls the place that a JSON pointer leads to:
/// `mounts[0].options`, or `the document` as a whole.
pub fn name_of(pointer: &str) -> String {
    let mut name = String::new();
    for key in pointer.split('/').skip(1) {
        let key = key.replace("~1", "/").replace("~0", "~");
        if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()) {
            name.push_str(&format!("[{key}]"));
        } else if key.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !key.is_empty() {
            name.push_str(if name.is_empty() { "" } else { "." });
            name.push_str(&key);
        } else {
            name.push_str(&format!("[{key:?}]"));
        }
    }
    if name.is_empty() { "the document".to_owned() } else { name }
}

/// `no such file or directory (ENOENT)`: in lower case, as engines match it.
fn describe_errno(errno: i32) -> String {
    let errno = nix::errno::Errno::from_raw(errno);
    format!("{} ({errno:?})", errno.desc().to_lowercase())
}

/// Anything that carries a kernel error number.
pub trait Errno {
    /// The number, if there is one.
    fn raw(&self) -> Option<i32>;
}

impl Errno for i32 {
    fn raw(&self) -> Option<i32> {
        Some(*self)
    }
}

impl Errno for rustix::io::Errno {
    fn raw(&self) -> Option<i32> {
        Some(self.raw_os_error())
    }
}

impl Errno for nix::errno::Errno {
    fn raw(&self) -> Option<i32> {
        Some(*self as i32)
    }
}

impl Errno for std::io::Error {
    fn raw(&self) -> Option<i32> {
        self.raw_os_error()
    }
}

/// Turns the result of a system call into ours, with a sentence made only on failure.
pub trait Context<T> {
    /// `open(path).os(|| format!("cannot open {path}"))?`
    fn os<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Errno> Context<T> for std::result::Result<T, E> {
    fn os<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|errno| Error::os(message(), errno))
    }
}
