//! A bundle: a directory with a rootfs, and a config.json that tests edit.

use crate::binaries;
use crate::binaries::copy_program;
use crate::host::cgroup_dir;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A container's bundle. The config is in memory until a [`crate::Runtime`]
/// uses the bundle, and then written to config.json.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    id: String,
    /// The whole configuration, free to edit.
    pub config: Value,
}

impl Bundle {
    /// Makes a rootfs with nothing but the inspector in /bin, and a config
    /// like that of `spec`, without limits and without a seccomp profile.
    pub(crate) fn new(dir: PathBuf, id: &str, cgroup: &str) -> Self {
        let rootfs = dir.join("rootfs");
        fs::create_dir_all(rootfs.join("bin")).expect("a rootfs");
        let default = include_str!("default-config.json");
        let config = serde_json::from_str(default).expect("the default config is JSON");
        let mut bundle = Self { dir, id: id.to_string(), config };
        bundle.install(binaries::inspector(), "bin/inspector");
        bundle.set("/linux/cgroupsPath", cgroup);
        bundle
    }

    /// The bundle's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id of the container that is made from this bundle by default.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The container's cgroup, below the cgroup2 root.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        self.get("/linux/cgroupsPath").as_str().unwrap_or_default()
    }

    /// A file of the container's cgroup, without the end of its last line.
    #[must_use]
    #[track_caller]
    pub fn cgroup_file(&self, name: &str) -> String {
        let path = cgroup_dir(self.cgroup()).join(name);
        let text = fs::read_to_string(&path);
        text.unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_string()
    }

    /// One number of a file of the cgroup with a key and a number on each line.
    #[must_use]
    #[track_caller]
    pub fn cgroup_count(&self, name: &str, key: &str) -> u64 {
        let text = self.cgroup_file(name);
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).parse().expect("a number")
    }

    /// A path in the rootfs, given as seen from inside.
    #[must_use]
    pub fn rootfs(&self, inside: &str) -> PathBuf {
        self.dir.join("rootfs").join(inside.trim_start_matches('/'))
    }

    /// Makes a directory in the rootfs.
    pub fn mkdir(&self, inside: &str) -> PathBuf {
        let path = self.rootfs(inside);
        fs::create_dir_all(&path).expect("a directory in the rootfs");
        path
    }

    /// Writes a file, with its parents, in the rootfs.
    pub fn write(&self, inside: &str, text: &str) -> PathBuf {
        let path = self.rootfs(inside);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("its parent");
        fs::write(&path, text).expect("a file in the rootfs");
        path
    }

    /// Copies a program of the host into the rootfs.
    pub fn install(&self, program: &Path, inside: &str) {
        let path = self.rootfs(inside);
        copy_program(program, &path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode 0755");
    }

    /// Installs the static busybox with its `sh`.
    pub fn install_busybox(&self) {
        self.install(Path::new("/bin/busybox"), "bin/busybox");
        symlink("busybox", self.rootfs("/bin/sh")).expect("a link");
    }

    /// The value at a JSON pointer, `null` when there is none.
    #[must_use]
    pub fn get(&self, pointer: &str) -> &Value {
        self.config.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// Sets the value at a JSON pointer. Missing objects on the way are made;
    /// `-` as the last step appends to an array, which is made when missing.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> &mut Self {
        let mut place = &mut self.config;
        for step in pointer.split('/').skip(1) {
            place = child(place, &step.replace("~1", "/").replace("~0", "~"));
        }
        *place = value.into();
        self
    }

    /// Removes the value at a JSON pointer, which must be there.
    #[track_caller]
    pub fn remove(&mut self, pointer: &str) -> &mut Self {
        let (parent, last) = pointer.rsplit_once('/').expect("a JSON pointer");
        let removed = match self.config.pointer_mut(parent) {
            Some(Value::Object(object)) => object.remove(last).is_some(),
            Some(Value::Array(array)) => last.parse().is_ok_and(|index: usize| {
                index < array.len() && {
                    array.remove(index);
                    true
                }
            }),
            _ => false,
        };
        assert!(removed, "nothing at {pointer} to remove");
        self
    }

    /// Makes the container run the inspector with these words: commands
    /// separated by `--`, or nothing for the full report.
    pub fn inspector(&mut self, chain: &str) -> &mut Self {
        let words = std::iter::once("/bin/inspector").chain(chain.split_whitespace());
        let words: Vec<&str> = words.collect();
        self.set("/process/args", words)
    }

    /// Grants exactly these capabilities: bounding, permitted and effective.
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        let sets = json!({ "bounding": names, "permitted": names, "effective": names });
        self.set("/process/capabilities", sets)
    }

    /// Appends a mount and returns the JSON pointer to it.
    pub fn mount(&mut self, mount: Value) -> String {
        self.set("/mounts/-", mount);
        let last = self.get("/mounts").as_array().map_or(0, Vec::len) - 1;
        format!("/mounts/{last}")
    }

    /// Appends a bind mount of a path on the host.
    pub fn bind(&mut self, source: &Path, destination: &str, options: &[&str]) -> String {
        let mount = json!({
            "destination": destination, "type": "bind", "source": source, "options": options,
        });
        self.mount(mount)
    }

    /// Removes the namespace of this type, so that the host's is inherited.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        self.namespaces().retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Adds a new namespace of this type, or with `path` one to join; an entry
    /// of the same type is replaced.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        self.without_namespace(kind);
        let mut namespace = json!({ "type": kind });
        if let Some(path) = path {
            namespace["path"] = json!(path);
        }
        self.namespaces().push(namespace);
        self
    }

    fn namespaces(&mut self) -> &mut Vec<Value> {
        self.config["linux"]["namespaces"].as_array_mut().expect("a list of namespaces")
    }

    /// Adds a user namespace in which the ids 0 to 65535 are those from `first`
    /// on the host, and gives the rootfs to its root.
    pub fn user_namespace(&mut self, first: u32) -> &mut Self {
        let map = json!([{ "containerID": 0, "hostID": first, "size": 65536 }]);
        self.namespace("user", None);
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        chown_tree(&self.rootfs("/"), first);
        self
    }

    /// Writes config.json.
    pub fn save(&self) {
        let text = serde_json::to_string_pretty(&self.config).expect("a config is JSON");
        self.save_text(&text);
    }

    /// Writes any text to config.json, for configs that are not JSON.
    pub fn save_text(&self, text: &str) {
        fs::write(self.dir.join("config.json"), text).expect("config.json");
    }
}

/// The place one step down, made when missing.
fn child<'v>(place: &'v mut Value, step: &str) -> &'v mut Value {
    if step == "-" && place.is_null() {
        *place = json!([]);
    }
    if !place.is_array() {
        return &mut place[step];
    }
    let array = place.as_array_mut().expect("just asked");
    let index = if step == "-" { array.len() } else { step.parse().expect("an array index") };
    if index == array.len() {
        array.push(Value::Null);
    }
    &mut array[index]
}

fn chown_tree(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("to give the rootfs away");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("a directory of the rootfs").flatten() {
            chown_tree(&entry.path(), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(config: Value) -> Bundle {
        Bundle { dir: PathBuf::new(), id: String::new(), config }
    }

    #[test]
    fn set_makes_what_is_missing() {
        let mut bundle = bundle(json!({ "list": [1] }));
        bundle.set("/a/b", 1).set("/list/-", 2).set("/new/-", 3).set("/list/0", 0).set("/x~1y", 4);
        let expected = json!({ "a": { "b": 1 }, "list": [0, 2], "new": [3], "x/y": 4 });
        assert_eq!(bundle.config, expected);
    }

    #[test]
    fn remove_takes_members_and_elements() {
        let mut bundle = bundle(json!({ "a": { "b": 1 }, "list": [1, 2] }));
        bundle.remove("/a/b").remove("/list/0");
        assert_eq!(bundle.config, json!({ "a": {}, "list": [2] }));
    }

    #[test]
    #[should_panic(expected = "nothing at /a/c to remove")]
    fn remove_notices_a_slip_of_the_pen() {
        bundle(json!({ "a": { "b": 1 } })).remove("/a/c");
    }

    #[test]
    fn the_default_config_is_one_for_set() {
        let config = serde_json::from_str(include_str!("default-config.json")).unwrap();
        let mut bundle = bundle(config);
        assert_eq!(bundle.mount(json!({})), "/mounts/7");
        bundle.without_namespace("uts").namespace("pid", Some("/proc/1/ns/pid"));
        assert_eq!(bundle.get("/linux/namespaces").as_array().unwrap().len(), 5);
    }
}
