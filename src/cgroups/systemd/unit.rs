//! What: the unit for a container, by its names.

use super::address::Instance;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A scope, as the state file remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Whose unit it is.
    pub instance: Instance,
    /// `docker-0123.scope` …
    pub name: String,
}

/// `system/docker-0123.scope`
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.instance, self.name)
    }
}

impl FromStr for Unit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split_once('/');
        let instances = [Instance::System, Instance::User];
        let found = parts.and_then(|(instance, name)| {
            let instance = instances.into_iter().find(|known| known.to_string() == instance)?;
            Some(Unit { instance, name: name.to_owned() })
        });
        found.ok_or_else(|| Error::new(format!("{text:?} is no unit")))
    }
}

/// Longest name of a unit (systemd.unit(5)).
const LONGEST: usize = 255;

const SCOPE: &str = ".scope";
const SLICE: &str = ".slice";

/// The slice and the scope that `cgroupsPath` names as `slice:prefix:name`.
/// Where it names none, they are the instance's default slice, and a name made
/// from the container's id.
pub fn parse_path(path: &str, id: &str, instance: Instance) -> Result<(String, String), Error> {
    let (slice, scope) = match path {
        "" => (String::new(), format!("hako-{}{SCOPE}", escape(id))),
        path => {
            let parts: Vec<&str> = path.split(':').collect();
            let [slice, prefix, name] = parts[..] else {
                return Err(Error::new(format!("cgroupsPath {path:?} is not SLICE:PREFIX:NAME"))
                    .hint("systemd names cgroups like system.slice:docker:0123; for a path, leave out --systemd-cgroup"));
            };
            (slice.to_owned(), scope_name(prefix, name)?)
        }
    };
    let slice = match (slice.is_empty(), instance) {
        (false, _) => slice,
        (true, Instance::System) => format!("system{SLICE}"),
        (true, Instance::User) => format!("user{SLICE}"),
    };
    check_name(&slice)?;
    check_name(&scope)?;
    Ok((slice, scope))
}

fn scope_name(prefix: &str, name: &str) -> Result<String, Error> {
    if name.is_empty() {
        return Err(Error::new("cgroupsPath has no name after its last colon")
            .hint("the form is SLICE:PREFIX:NAME"));
    }
    if name.ends_with(SLICE) {
        return Err(Error::new(format!("{name} is a slice, which holds no processes of its own"))
            .hint("a container is a scope: let its name not end in .slice"));
    }
    Ok(format!("{prefix}-{name}{SCOPE}"))
}

fn check_name(name: &str) -> Result<(), Error> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if name.len() > LONGEST {
        return Err(Error::new(format!("{name} is longer than a unit's name can be ({LONGEST})")));
    }
    if name.bytes().all(valid) {
        return Ok(());
    }
    Err(Error::new(format!("{name:?} is no name for a unit of systemd"))
        .hint("letters, digits and : - _ . \\ @ are allowed"))
}

/// Characters that names of units cannot have, as systemd-escape(1) has them.
fn escape(id: &str) -> String {
    let escaped = id.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte) => {
            char::from(byte).to_string()
        }
        byte => format!("\\x{byte:02x}"),
    });
    escaped.collect()
}

/// Where a slice is below the manager's cgroup: `a-b.slice` is in `a.slice`
/// (systemd.slice(5)).
pub fn expand_slice(slice: &str) -> Result<PathBuf, Error> {
    let invalid = || {
        Error::new(format!("{slice:?} is no slice"))
            .hint("for example system.slice, or pods-web.slice, which is in pods.slice")
    };
    let name = slice.strip_suffix(SLICE).ok_or_else(invalid)?;
    let mut path = PathBuf::from("/");
    if name == "-" {
        return Ok(path);
    }
    if name.split('-').any(str::is_empty) {
        return Err(invalid());
    }
    for (end, _) in name.match_indices('-') {
        path.push(cgroup_name(&format!("{}{SLICE}", &name[..end])));
    }
    path.push(cgroup_name(slice));
    Ok(path)
}

/// The name of a unit's cgroup. systemd keeps it apart from the kernel's files.
pub fn cgroup_name(unit: &str) -> String {
    match unit.starts_with(['_', '.']) {
        true => format!("_{unit}"),
        false => unit.to_owned(),
    }
}

/// The cgroup of the manager of the machine, found by the first process: that
/// is in `init.scope`, directly below it.
pub fn manager_root(cgroup_of_first: &str) -> Option<PathBuf> {
    let path = cgroup_of_first.lines().find_map(|line| line.strip_prefix("0::"))?;
    Path::new(path).parent().filter(|_| path.ends_with("/init.scope")).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_slices_and_scopes() {
        use Instance::{System, User};
        for (path, instance, slice, scope) in [
            ("", System, "system.slice", "hako-web.scope"),
            ("", User, "user.slice", "hako-web.scope"),
            ("system.slice:docker:01", System, "system.slice", "docker-01.scope"),
            (":docker:01", System, "system.slice", "docker-01.scope"),
            (":docker:01", User, "user.slice", "docker-01.scope"),
            ("pods-web.slice::01", System, "pods-web.slice", "-01.scope"),
            ("-.slice:a:b", System, "-.slice", "a-b.scope"),
        ] {
            let expected = (slice.to_owned(), scope.to_owned());
            assert_eq!(parse_path(path, "web", instance).unwrap(), expected, "{path}");
        }
        assert_eq!(parse_path("", "a+b", System).unwrap().1, "hako-a\\x2bb.scope");
    }

    #[test]
    fn other_paths_are_refused() {
        let long = format!("::{}", "x".repeat(250));
        for path in [
            "/web",
            "web",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "::",
            "a.slice:b:c.slice",
            "a.slice:b:c/d",
            "a/b.slice:c:d",
            "a.slice:b c:d",
            "a.slice:b:\u{e4}",
            &long,
        ] {
            assert!(parse_path(path, "web", Instance::System).is_err(), "{path}");
        }
    }

    #[test]
    fn units_are_noted_as_text() {
        for instance in [Instance::System, Instance::User] {
            let unit = Unit { instance, name: "a-b.scope".to_owned() };
            assert_eq!(unit.to_string().parse::<Unit>().unwrap(), unit);
        }
        for text in ["", "a-b.scope", "global/a-b.scope"] {
            assert!(text.parse::<Unit>().is_err(), "{text}");
        }
    }

    #[test]
    fn slices_are_in_slices() {
        for (slice, path) in [
            ("system.slice", "/system.slice"),
            ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
            ("-.slice", "/"),
        ] {
            assert_eq!(expand_slice(slice).unwrap(), Path::new(path), "{slice}");
        }
        for slice in ["", ".slice", "a", "a.scope", "-a.slice", "a-.slice", "a--b.slice"] {
            assert!(expand_slice(slice).is_err(), "{slice}");
        }
    }

    #[test]
    fn the_manager_is_above_its_first_process() {
        for (text, root) in [
            ("0::/init.scope\n", Some("/")),
            ("4:memory:/x\n0::/machine/init.scope\n", Some("/machine")),
            ("0::/\n", None),
            ("1:name=systemd:/\n", None),
        ] {
            assert_eq!(manager_root(text).as_deref(), root.map(Path::new), "{text}");
        }
    }
}
