//! Failures as data: the name of an errno, or what was wrong with a command.

use serde_json::{Value, json};
use std::io;

/// What a command returns.
pub type Outcome<T> = Result<T, Failure>;

/// Why a command failed.
pub enum Failure {
    /// The kernel refused.
    Errno(i32),
    /// The command itself makes no sense; a fault of the test.
    Invalid(String),
}

impl Failure {
    /// `{"errno": NAME}`, or `{"invalid": TEXT}`.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Errno(number) => json!({ "errno": name(*number) }),
            Self::Invalid(text) => json!({ "invalid": text }),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::Errno(number),
            None => Self::Invalid(error.to_string()),
        }
    }
}

impl From<std::num::ParseIntError> for Failure {
    fn from(error: std::num::ParseIntError) -> Self {
        invalid(error)
    }
}

/// A failure of the command itself.
pub fn invalid(text: impl ToString) -> Failure {
    Failure::Invalid(text.to_string())
}

macro_rules! names {
    ($($name:ident)*) => {
        /// The symbolic name of an errno value.
        pub fn name(number: i32) -> String {
            match number {
                $(libc::$name => stringify!($name).to_string(),)*
                other => format!("errno {other}"),
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM
    EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE
    EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE
    EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA EOVERFLOW EUSERS
    ENOTSOCK EOPNOTSUPP EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNRESET
    ENOTCONN ETIMEDOUT ECONNREFUSED EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED
    ENOKEY EKEYEXPIRED EKEYREVOKED
}
