//! Where systemd's manager can be reached.

use crate::user;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::env;
use std::fmt;
use std::os::unix::fs::MetadataExt;

/// Which manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Instance {
    /// The machine's.
    #[default]
    System,
    /// The one of the user who runs hako: `systemctl --user`.
    User,
}

/// The socket of the machine's manager, for root without a broker.
const SYSTEM_PRIVATE: &str = "/run/systemd/private";

impl Instance {
    /// The machine's manager, if it listens to this process; else the user's.
    /// In a user namespace, id 0 may be an ordinary user of the machine: then
    /// the socket of the machine's manager does not belong to it.
    pub fn own() -> Self {
        let owner = std::fs::metadata(SYSTEM_PRIVATE).map(|socket| socket.uid());
        match owner {
            Ok(owner) if owner != geteuid().as_raw() => Instance::User,
            Err(_) if !geteuid().is_root() => Instance::User,
            _ => Instance::System,
        }
    }

    /// Where to try to connect, the best first: the manager itself, because
    /// it answers without a broker in between, then its bus.
    pub fn addresses(self) -> Vec<Address> {
        let runtime_dir = user::runtime_dir();
        match self {
            Instance::System => vec![
                Address::new(Target::Manager, SYSTEM_PRIVATE),
                Address::new(Target::Broker, "/run/dbus/system_bus_socket"),
            ],
            Instance::User => {
                let mut list = Vec::new();
                let below = |name| Some(runtime_dir.as_ref()?.join(name).to_str()?.to_owned());
                let manager = below("systemd/private");
                list.extend(manager.map(|place| Address::new(Target::Manager, place)));
                let session = env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
                let places = session.split(';').filter_map(parse_address);
                list.extend(places.map(|place| Address::new(Target::Broker, place)));
                list.extend(below("bus").map(|place| Address::new(Target::Broker, place)));
                list
            }
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Instance::System => "system",
            Instance::User => "user",
        })
    }
}

/// Who is at the other end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// systemd.
    Manager,
    /// A message bus on which systemd is.
    Broker,
}

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Who is there.
    pub target: Target,
    /// Its path, or `@` and an abstract name (unix(7)).
    pub place: String,
}

impl Address {
    fn new(target: Target, place: impl Into<String>) -> Self {
        Self { target, place: place.into() }
    }
}

/// `unix:path=/run/user/1000/bus,guid=…` (D-Bus Specification, "Server
/// Addresses"). Other transports lead to other machines.
fn parse_address(text: &str) -> Option<String> {
    text.trim().strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", value) => unescape(value),
        ("abstract", value) => unescape(value).map(|name| format!("@{name}")),
        _ => None,
    })
}

/// `%2f` stands for a byte.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_session_buses() {
        for (text, place) in [
            ("unix:path=/run/user/1000/bus", Some("/run/user/1000/bus")),
            ("unix:path=/run/user/1000/bus,guid=0123", Some("/run/user/1000/bus")),
            ("unix:guid=0123,path=/tmp/a%20b", Some("/tmp/a b")),
            ("unix:abstract=/tmp/dbus-x", Some("@/tmp/dbus-x")),
            ("unix:path=/a%2", None),
            ("unix:path=/a%zz", None),
            ("tcp:host=localhost,port=1", None),
            ("", None),
        ] {
            assert_eq!(parse_address(text).as_deref(), place, "{text}");
        }
    }
}
