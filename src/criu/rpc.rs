//! What hako and criu say to each other: criu's `images/rpc.proto`, as far as
//! it is used here.

use super::wire::{Message, Value, fields};
use std::fmt;

/// What criu is asked for, and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Write images of processes.
    Dump = 1,
    /// Make processes from images.
    Restore = 2,
    /// Write images of their memory only.
    PreDump = 4,
    /// By criu: it has come to a certain point.
    Notify = 6,
    /// Tell the version.
    Version = 10,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        [Kind::Dump, Kind::Restore, Kind::PreDump, Kind::Notify, Kind::Version]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }
}

/// Numbers of the fields of `criu_opts`.
pub mod option {
    #![allow(missing_docs)]
    pub const IMAGES_DIR_FD: u32 = 1;
    pub const PID: u32 = 2;
    pub const LEAVE_RUNNING: u32 = 3;
    pub const EXT_UNIX_SK: u32 = 4;
    pub const TCP_ESTABLISHED: u32 = 5;
    pub const EVASIVE_DEVICES: u32 = 6;
    pub const SHELL_JOB: u32 = 7;
    pub const FILE_LOCKS: u32 = 8;
    pub const LOG_LEVEL: u32 = 9;
    pub const LOG_FILE: u32 = 10;
    pub const PAGE_SERVER: u32 = 11;
    pub const NOTIFY_SCRIPTS: u32 = 12;
    pub const ROOT: u32 = 13;
    pub const PARENT_IMG: u32 = 14;
    pub const TRACK_MEM: u32 = 15;
    pub const AUTO_DEDUP: u32 = 16;
    pub const WORK_DIR_FD: u32 = 17;
    pub const LINK_REMAP: u32 = 18;
    pub const EXT_MNT: u32 = 23;
    pub const MANAGE_CGROUPS: u32 = 24;
    pub const CG_ROOT: u32 = 25;
    pub const RST_SIBLING: u32 = 26;
    pub const INHERIT_FD: u32 = 27;
    pub const MANAGE_CGROUPS_MODE: u32 = 34;
    pub const EXTERNAL: u32 = 37;
    pub const EMPTY_NS: u32 = 38;
    pub const JOIN_NS: u32 = 39;
    pub const FREEZE_CGROUP: u32 = 44;
    pub const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub const LAZY_PAGES: u32 = 48;
    pub const ORPHAN_PTS_MASTER: u32 = 50;
    pub const CONFIG_FILE: u32 = 51;
    pub const TCP_CLOSE: u32 = 52;
    pub const LSM_PROFILE: u32 = 53;
    pub const LSM_MOUNT_CONTEXT: u32 = 63;
    pub const NETWORK_LOCK: u32 = 64;
}

/// `criu_req`; with `keep_open` another one may follow.
pub fn request(kind: Kind, options: Option<&Message>, keep_open: bool) -> Message {
    const TYPE: u32 = 1;
    const OPTS: u32 = 2;
    const KEEP_OPEN: u32 = 4;
    let mut request = Message::default();
    request.number(TYPE, kind as i64);
    if let Some(options) = options {
        request.message(OPTS, options);
    }
    request.flag(KEEP_OPEN, keep_open);
    request
}

/// The answer to a notification: criu goes on, or gives up.
pub fn acknowledgement(success: bool) -> Message {
    const TYPE: u32 = 1;
    const NOTIFY_SUCCESS: u32 = 3;
    let mut request = Message::default();
    request.number(TYPE, Kind::Notify as i64).number(NOTIFY_SUCCESS, i64::from(success));
    request
}

/// The messages in `criu_opts` that are a pair: `ext_mount_map`, `join_namespace`,
/// `cgroup_root`.
pub fn pair(first: impl AsRef<std::ffi::OsStr>, second: impl AsRef<std::ffi::OsStr>) -> Message {
    let mut pair = Message::default();
    pair.text(1, first).text(2, second);
    pair
}

/// `inherit_fd` and `criu_page_server_info`: a name and a number.
pub fn numbered(name: &str, number: i64) -> Message {
    let mut message = Message::default();
    message.text(1, name).number(2, number);
    message
}

/// `criu_notify`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notification {
    /// The point that criu has come to.
    pub script: String,
    /// The first process, if there is one yet.
    pub pid: i32,
}

/// `criu_version`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, sublevel) = self;
        match sublevel {
            0 => write!(f, "{major}.{minor}"),
            _ => write!(f, "{major}.{minor}.{sublevel}"),
        }
    }
}

/// `criu_resp`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// What it is about; `None` is something that was not asked for.
    pub kind: Option<Kind>,
    /// Whether that went well.
    pub success: bool,
    /// The kernel's reason, if there was one.
    pub errno: Option<i32>,
    /// criu's reason.
    pub message: Option<String>,
    /// With [`Kind::Notify`].
    pub notification: Notification,
    /// With [`Kind::Version`].
    pub version: Version,
}

impl Response {
    /// Reads one; `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut response = Self::default();
        for field in fields(bytes)? {
            match field {
                (1, Value::Number(number)) => response.kind = Kind::of(number),
                (2, Value::Number(number)) => response.success = number != 0,
                (5, Value::Bytes(bytes)) => {
                    for field in fields(bytes)? {
                        match field {
                            (1, Value::Bytes(bytes)) => response.notification.script = text(bytes),
                            (2, Value::Number(number)) => response.notification.pid = number as i32,
                            _ => {}
                        }
                    }
                }
                (7, Value::Number(number)) => response.errno = Some(number as i32),
                (9, Value::Bytes(bytes)) => response.message = Some(text(bytes)),
                (10, Value::Bytes(bytes)) => response.version = decode_version(bytes)?,
                _ => {}
            }
        }
        response.errno = response.errno.filter(|errno| *errno > 0);
        Some(response)
    }
}

fn decode_version(bytes: &[u8]) -> Option<Version> {
    let mut version = Version::default();
    for field in fields(bytes)? {
        match field {
            (1, Value::Number(number)) => version.0 = number as u32,
            (2, Value::Number(number)) => version.1 = number as u32,
            (4, Value::Number(number)) => version.2 = number as u32,
            _ => {}
        }
    }
    Some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_criu_s() {
        let mut options = Message::default();
        options.number(option::IMAGES_DIR_FD, 5).flag(option::LEAVE_RUNNING, true);
        let dump = request(Kind::Dump, Some(&options), false);
        assert_eq!(dump.bytes(), [0x08, 0x01, 0x12, 0x04, 0x08, 0x05, 0x18, 0x01]);
        assert_eq!(request(Kind::Version, None, true).bytes(), [0x08, 0x0a, 0x20, 0x01]);
        assert_eq!(acknowledgement(true).bytes(), [0x08, 0x06, 0x18, 0x01]);
        assert_eq!(acknowledgement(false).bytes(), [0x08, 0x06, 0x18, 0x00]);
        assert_eq!(pair("a", "bc").bytes(), b"\x0a\x01a\x12\x02bc");
        assert_eq!(numbered("a", 4).bytes(), b"\x0a\x01a\x10\x04");
    }

    #[test]
    fn responses_are_understood() {
        let version = [0x08, 0x0a, 0x10, 0x01, 0x52, 0x06, 0x08, 4, 0x10, 2, 0x20, 1];
        let version = Response::decode(&version).unwrap();
        assert_eq!((version.kind, version.success), (Some(Kind::Version), true));
        assert_eq!(version.version, Version(4, 2, 1));
        assert_eq!(version.version.to_string(), "4.2.1");

        let mut notify = Message::default();
        let mut inner = Message::default();
        inner.text(1, "post-restore").number(2, 4711);
        notify.number(1, 6).number(2, 1).message(5, &inner);
        let notify = Response::decode(notify.bytes()).unwrap();
        let expected = Notification { script: "post-restore".into(), pid: 4711 };
        assert_eq!((notify.kind, notify.notification), (Some(Kind::Notify), expected));

        let mut failed = Message::default();
        failed.number(1, 1).number(2, 0).number(7, 52).text(9, "it is no use");
        let failed = Response::decode(failed.bytes()).unwrap();
        assert_eq!((failed.success, failed.errno), (false, Some(52)));
        assert_eq!(failed.message.as_deref(), Some("it is no use"));

        assert_eq!(Response::decode(b"nonsense"), None);
        assert_eq!(Response::decode(&[0x08, 0x7f]).unwrap().kind, None);
    }

    #[test]
    fn versions_are_ordered() {
        assert!(Version(3, 16, 0) <= Version(3, 16, 1));
        assert!(Version(3, 16, 0) <= Version(4, 0, 0));
        assert!(Version(3, 15, 9) < Version(3, 16, 0));
    }
}
