//! A bundle: a directory with a rootfs, and a config.json that a case edits.

use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

/// A container's bundle. The configuration is in memory until the bundle is used.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    /// The whole configuration, free to edit.
    pub config: Value,
}

impl Bundle {
    /// Makes a rootfs with nothing but the inspector in /bin, and a modest configuration: five
    /// namespaces and cgroup, the default file systems, three capabilities, no limits, no seccomp.
    pub fn make(dir: PathBuf, inspector: &Path, cgroups_path: &str) -> io::Result<Self> {
        let config = serde_json::from_str(include_str!("default-config.json"))?;
        let mut bundle = Self { dir, config };
        fs::create_dir_all(bundle.inside("/bin"))?;
        for dir in ["/proc", "/dev", "/sys", "/tmp"] {
            fs::create_dir(bundle.inside(dir))?;
        }
        // A link costs nothing; another file system needs a copy.
        let program = bundle.inside("/bin/inspector");
        fs::hard_link(inspector, &program).or_else(|_| fs::copy(inspector, &program).map(drop))?;
        bundle.set("/linux/cgroupsPath", cgroups_path);
        Ok(bundle)
    }

    /// The bundle's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the rootfs, given as seen from inside.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Makes a directory in the rootfs.
    pub fn mkdir(&self, path: &str) -> io::Result<PathBuf> {
        let path = self.inside(path);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Writes a file in the rootfs, with its parents.
    pub fn write(&self, path: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.inside(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The value at a JSON pointer, `null` when there is none.
    pub fn get(&self, pointer: &str) -> &Value {
        self.config.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Sets the value at a JSON pointer. Missing objects on the way are made; `-` as the last step
    /// appends to a list, which is made when missing.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> &mut Self {
        let mut place = &mut self.config;
        for step in pointer.split('/').skip(1) {
            place = child(place, &step.replace("~1", "/").replace("~0", "~"));
        }
        *place = value.into();
        self
    }

    /// Removes a member of an object.
    pub fn remove(&mut self, pointer: &str) -> &mut Self {
        if let Some((parent, last)) = pointer.rsplit_once('/')
            && let Some(Value::Object(object)) = self.config.pointer_mut(parent)
        {
            object.remove(last);
        }
        self
    }

    /// Makes the container run the inspector with these words: commands separated by `--`, or
    /// nothing for the full report.
    pub fn inspector(&mut self, chain: &str) -> &mut Self {
        let words = std::iter::once("/bin/inspector").chain(chain.split_whitespace());
        self.set("/process/args", words.collect::<Vec<_>>())
    }

    /// Grants exactly these capabilities: bounding, permitted and effective.
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        let sets = json!({ "bounding": names, "permitted": names, "effective": names });
        self.set("/process/capabilities", sets)
    }

    /// Appends a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, options: &[&str]) -> &mut Self {
        let mount = json!({
            "destination": destination, "type": kind, "source": kind, "options": options,
        });
        self.set("/mounts/-", mount)
    }

    /// Appends a mount with a source.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) -> &mut Self {
        let mount = json!({
            "destination": destination, "type": "bind", "source": source, "options": options,
        });
        self.set("/mounts/-", mount)
    }

    /// Removes the namespace of this type, so that the runtime's is inherited.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        if let Some(Value::Array(list)) = self.config.pointer_mut("/linux/namespaces") {
            list.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Adds a new namespace of this type, or with `path` one to join; an entry of the same type is
    /// replaced.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        self.without_namespace(kind);
        let namespace = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        self.set("/linux/namespaces/-", namespace)
    }

    /// Adds a user namespace in which the ids 0 to 65535 are those from `first` on the host, and
    /// gives the rootfs to its root.
    pub fn user_namespace(&mut self, first: u32) -> io::Result<&mut Self> {
        let map = json!([{ "containerID": 0, "hostID": first, "size": 65536 }]);
        self.namespace("user", None);
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        give_directories(&self.inside("/"), first)?;
        Ok(self)
    }

    /// Adds a hook that runs this program of the host.
    pub fn hook(&mut self, kind: &str, program: &Path, args: &[&str]) -> &mut Self {
        let args: Vec<&str> = std::iter::once("hook").chain(args.iter().copied()).collect();
        self.set(&format!("/hooks/{kind}/-"), json!({ "path": program, "args": args }))
    }

    /// Writes config.json.
    pub fn save(&self) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&self.config)?;
        fs::write(self.dir.join("config.json"), text)
    }
}

/// The place one step down, made when missing.
fn child<'v>(place: &'v mut Value, step: &str) -> &'v mut Value {
    if step == "-" && place.is_null() {
        *place = json!([]);
    }
    let Value::Array(list) = place else {
        if !place.is_object() {
            *place = json!({});
        }
        return &mut place[step];
    };
    let index = step.parse().unwrap_or(list.len());
    while list.len() <= index {
        list.push(Value::Null);
    }
    &mut list[index]
}

/// Directories only: files may be links that other bundles share.
fn give_directories(path: &Path, id: u32) -> io::Result<()> {
    lchown(path, Some(id), Some(id))?;
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            give_directories(&entry.path(), id)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(config: Value) -> Bundle {
        Bundle { dir: PathBuf::new(), config }
    }

    #[test]
    fn set_makes_what_is_missing() {
        let mut bundle = bundle(json!({ "list": [1], "scalar": 1 }));
        bundle.set("/a/b", 1).set("/list/-", 2).set("/new/-", 3).set("/list/0", 0);
        bundle.set("/x~1y", 4).set("/scalar/z", 5);
        let expected = json!({
            "a": { "b": 1 }, "list": [0, 2], "new": [3], "x/y": 4, "scalar": { "z": 5 },
        });
        assert_eq!(bundle.config, expected);
    }

    #[test]
    fn a_namespace_is_replaced_not_repeated() {
        let mut bundle = bundle(json!({ "linux": { "namespaces": [{ "type": "pid" }] } }));
        bundle.namespace("pid", Some("/proc/1/ns/pid")).namespace("uts", None);
        let expected = json!([{ "type": "pid", "path": "/proc/1/ns/pid" }, { "type": "uts" }]);
        assert_eq!(bundle.get("/linux/namespaces"), &expected);
    }

    #[test]
    fn the_default_configuration_is_json() {
        let config: Value = serde_json::from_str(include_str!("default-config.json")).unwrap();
        assert_eq!(config["process"]["args"][0], "/bin/inspector");
    }
}
