//! An ordinary user of the machine, for one test.

use crate::bundle::Bundle;
use crate::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// Who runs the runtime instead of root. Their entries in /etc exist for the
/// test's thread only, mounted over the files of the host.
#[derive(Clone, Debug)]
pub struct User {
    uid: u32,
    name: &'static str,
    /// Their `XDG_RUNTIME_DIR`.
    runtime_dir: PathBuf,
    home: PathBuf,
    /// The first of their [`User::SUBORDINATES`] further ids, if they have some.
    first: Option<u32>,
    /// The cgroup they are in, in one that is delegated to them.
    cgroup: Option<PathBuf>,
    /// The words of a program of theirs that starts the runtime.
    launcher: Vec<String>,
}

impl User {
    /// How many ids a user has besides their own, if any.
    pub const SUBORDINATES: u32 = 65_536;
    const FIRST: u32 = 700_100_000;

    /// A user whom nobody else knows.
    pub(crate) fn made_up(scratch: &Scratch, has_subordinates: bool) -> Self {
        let (uid, name) = (54_321, "hako-user");
        let runtime_dir = scratch.dir("run");
        let user = Self::new(scratch, uid, name, runtime_dir, has_subordinates);
        let account = format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", user.home.display());
        cover(scratch, "passwd", |text| text + &account);
        cover(scratch, "group", |text| format!("{text}{name}:x:{uid}:\n"));
        user
    }

    /// The user of the guest, 1000, who has a session of systemd's.
    pub(crate) fn in_session(scratch: &Scratch) -> Self {
        Self::new(scratch, 1000, "user", "/run/user/1000".into(), true)
    }

    fn new(
        scratch: &Scratch,
        uid: u32,
        name: &'static str,
        runtime_dir: PathBuf,
        has_subordinates: bool,
    ) -> Self {
        let first = has_subordinates.then_some(Self::FIRST);
        let home = scratch.dir("home");
        let ids = first.map(|first| format!("{name}:{first}:{}\n", Self::SUBORDINATES));
        for file in ["subuid", "subgid"] {
            cover(scratch, file, |_| ids.clone().unwrap_or_default());
        }
        let user = Self { uid, name, runtime_dir, home, first, cgroup: None, launcher: Vec::new() };
        for dir in [&user.home, &user.runtime_dir, &scratch.dir("io")] {
            user.own(dir);
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).expect("mode 0700");
        }
        user
    }

    /// Their id, which is their group's as well.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The first of their further ids.
    ///
    /// # Panics
    /// When they have none.
    #[must_use]
    pub fn first_subordinate(&self) -> u32 {
        self.first.expect("a user with further ids")
    }

    /// Their login name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Their home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where the state of their containers is.
    pub(crate) fn state_root(&self) -> PathBuf {
        self.runtime_dir.join("hako")
    }

    /// Gives them everything below a path.
    pub fn own(&self, path: &Path) {
        lchown(path, Some(self.uid), Some(self.uid)).expect("to give a file away");
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path).expect("a directory").flatten() {
                self.own(&entry.path());
            }
        }
    }

    /// Delegates a cgroup that is made for it, and puts them into one below it.
    pub(crate) fn delegate(&mut self, cgroup: &Path) {
        let own = cgroup.join("shell");
        fs::create_dir_all(&own).expect("a cgroup");
        for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
            lchown(cgroup.join(file), Some(self.uid), Some(self.uid)).expect("to delegate it");
        }
        self.own(&own);
        self.cgroup = Some(own);
    }

    /// Lets a program of theirs start the runtime.
    pub(crate) fn launch_by(&mut self, words: &[&str]) {
        self.launcher = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Removes the cgroup that they were in.
    pub(crate) fn leave_cgroup(&self) {
        self.cgroup.iter().for_each(|cgroup| drop(fs::remove_dir(cgroup)));
    }

    /// A program, and the words before those of a command, that make it theirs.
    pub(crate) fn words(&self) -> (String, Vec<String>) {
        let uid = self.uid.to_string();
        let words =
            ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--inh-caps=-all"];
        let mut words = words.map(str::to_owned).to_vec();
        words.extend(self.launcher.iter().cloned());
        let program = match &self.cgroup {
            None => words.remove(0),
            Some(cgroup) => {
                let procs = cgroup.join("cgroup.procs").to_string_lossy().into_owned();
                let enter = ["-c", "echo $$ >\"$0\" && exec \"$@\"", &procs].map(str::to_owned);
                words.splice(0..0, enter);
                "/bin/sh".to_owned()
            }
        };
        (program, words)
    }

    /// What a login sets.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let path = |path: &Path| path.to_string_lossy().into_owned();
        // Not root's, which may lead where the user cannot go.
        [
            ("HOME", path(&self.home)),
            ("USER", self.name.to_owned()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("XDG_RUNTIME_DIR", path(&self.runtime_dir)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Makes a bundle one for them: without what they cannot have, and with a user
    /// namespace of all their ids unless they are root of one.
    pub(crate) fn adapt(&self, bundle: &mut Bundle, needs_namespace: bool) {
        if needs_namespace {
            let maps = self.maps();
            bundle.namespace("user", None);
            bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
        }
        bundle.remove("/linux/cgroupsPath");
        if self.first.is_none() {
            // The group 5 of terminals is not mapped.
            bundle.remove("/mounts/2/options/5");
        }
        self.own(bundle.dir());
    }

    fn maps(&self) -> Value {
        let mut maps = vec![json!({ "containerID": 0, "hostID": self.uid, "size": 1 })];
        maps.extend(
            self.first.map(
                |first| json!({ "containerID": 1, "hostID": first, "size": Self::SUBORDINATES }),
            ),
        );
        maps.into()
    }

    /// What is below a path and belongs to somebody else, with the owner.
    #[must_use]
    pub fn foreign_files(&self, path: &Path) -> Vec<String> {
        let Ok(metadata) = path.symlink_metadata() else { return Vec::new() };
        let mut found = Vec::new();
        for owner in [metadata.uid(), metadata.gid()] {
            let is_further = self
                .first
                .is_some_and(|first| (first..first + Self::SUBORDINATES).contains(&owner));
            if owner != self.uid && !is_further {
                found.push(format!("{} is {owner}'s", path.display()));
            }
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                found.extend(self.foreign_files(&entry.path()));
            }
        }
        found
    }

    /// The same for all places where the runtime keeps things of theirs.
    pub(crate) fn foreign_places(&self) -> Vec<String> {
        let places = [self.home.clone(), self.state_root()];
        places.iter().flat_map(|place| self.foreign_files(place)).collect()
    }
}

/// Shows the test's thread another file in /etc; the file itself stays as it is.
fn cover(scratch: &Scratch, name: &str, change: impl Fn(String) -> String) {
    let original = Path::new("/etc").join(name);
    let text = fs::read_to_string(&original).unwrap_or_else(|error| {
        panic!("{}: {error}; the package uidmap (shadow-utils) has it", original.display())
    });
    let copy = scratch.dir("etc").join(name);
    fs::write(&copy, change(text)).expect("a file in the scratch directory");
    scratch.bind(&copy, &original, false);
}
