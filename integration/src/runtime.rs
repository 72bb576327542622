//! The runtime under test, with a world of its own for one test.

use crate::binaries;
use crate::bundle::Bundle;
use crate::command::{Command, Running};
use crate::container::{Container, Made};
use crate::holder::Holder;
use crate::host::{cgroup_dir, enter_private_mounts, is_peer, unify_cgroups};
use crate::leftovers::{Traces, processes_using, sweep_cgroup};
use crate::output::Output;
use crate::scratch::Scratch;
use crate::user::User;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

/// The runtime with its own state directory, scratch directory and parent
/// cgroup. Make one in the thread of the test that uses it.
pub struct Runtime {
    program: PathBuf,
    name: String,
    root: PathBuf,
    scratch: Scratch,
    counter: AtomicU32,
    systemd: bool,
    /// For every command, also after the shell code of [`Command::before`].
    env: Vec<(String, String)>,
    /// Who runs it, unless it is root.
    user: Option<User>,
    /// Where the user is root, unless that is nowhere.
    holder: Option<Holder>,
    /// May do harm and leave things behind: they are removed without a word.
    victim: bool,
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime {
    /// A fresh world: nothing in it exists yet.
    #[must_use]
    pub fn new() -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        enter_private_mounts();
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        // The process id in the name tells `leaks.sh` whether it is in use. Of equal
        // length, no name is the beginning of another.
        let name = format!("hako-test-{}-{world:04}", std::process::id());
        let mut scratch = Scratch::new(&name);
        if is_peer() {
            scratch.stand_alone();
        }
        let root = scratch.path().join("state");
        scratch.dir("io");
        Self {
            program: binaries::runtime(),
            name,
            root,
            scratch,
            counter: AtomicU32::new(0),
            systemd: false,
            env: Vec::new(),
            user: None,
            holder: None,
            victim: false,
        }
    }

    /// The same for an ordinary user with further ids (subuid(5)): every command
    /// is theirs, with the state where it is by default.
    #[must_use]
    pub fn as_user() -> Self {
        Self::new().for_user()
    }

    /// The same with this program, for a user with further ids.
    #[must_use]
    pub fn for_user(self) -> Self {
        self.of(|scratch| User::made_up(scratch, true))
    }

    /// The same for a user who has no id but their own.
    #[must_use]
    pub fn as_lone_user() -> Self {
        Self::new().of(|scratch| User::made_up(scratch, false))
    }

    /// The same for the guest's user, who has a session of systemd's.
    #[must_use]
    pub fn as_session_user() -> Self {
        Self::new().of(User::in_session)
    }

    /// The same for a user who is root of a user namespace, as rootless engines
    /// are, and of further ones: `--mount`, `--net`, as for unshare(1).
    #[must_use]
    pub fn as_namespace_root(kinds: &[&str]) -> Self {
        Self::as_user().in_namespaces(kinds)
    }

    /// Makes a user's runtime such a one, from now on: a new mount namespace has
    /// what is mounted by now.
    #[must_use]
    pub fn in_namespaces(mut self, kinds: &[&str]) -> Self {
        self.holder = Some(Holder::new(self.user(), kinds));
        self
    }

    /// Where the user is root.
    ///
    /// # Panics
    /// When that is nowhere.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        self.holder.as_ref().expect("a runtime of a namespace's root")
    }

    fn of(mut self, user: impl Fn(&Scratch) -> User) -> Self {
        let user = user(&self.scratch);
        // The workspace may be where the user cannot go.
        let program = self.file("bin/hako", "");
        self.scratch.bind(&self.program, &program, false);
        self.root = user.state_root();
        self.env = user.environment();
        (self.program, self.user) = (program, Some(user));
        self
    }

    /// The same with a cgroup that is delegated to the user: they are in one below
    /// it, next to which their containers may be.
    #[must_use]
    pub fn with_delegated_cgroup(mut self) -> Self {
        let cgroup = cgroup_dir(&self.name);
        self.user.as_mut().expect("a runtime of a user's").delegate(&cgroup);
        self
    }

    /// The same, started by another program of the user's, whose words these are.
    #[must_use]
    pub fn launched_by(mut self, words: &[&str]) -> Self {
        self.user.as_mut().expect("a runtime of a user's").launch_by(words);
        self
    }

    /// The cgroup below which its containers are.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.name
    }

    /// The user who runs it.
    ///
    /// # Panics
    /// When that is root.
    #[must_use]
    pub fn user(&self) -> &User {
        self.user.as_ref().expect("a runtime of a user's")
    }

    /// Another runtime in such a world, to see an attack succeed: it sees all
    /// files but the world's read-only, and what it leaves behind is removed, and
    /// no fault of the test.
    #[must_use]
    pub fn peer(program: &str) -> Self {
        let mut world = Self::new();
        unify_cgroups();
        world.program = binaries::peer(program);
        world.fall_victim();
        world
    }

    /// A debug build of hako, which makes faults on purpose when it is asked to.
    #[must_use]
    pub fn debug_build() -> Self {
        let mut world = Self::new();
        world.program = binaries::debug_build().to_path_buf();
        world
    }

    /// A debug build of hako that takes the directory `resctrl` of its scratch
    /// directory for the file system of that name.
    #[must_use]
    pub fn with_resctrl() -> Self {
        let mut world = Self::debug_build();
        let directory = world.dir("resctrl").to_string_lossy().into_owned();
        world.env.push(("HAKO_RESCTRL".to_owned(), directory));
        world
    }

    /// A debug build of hako that leaves out some of its defences, in the same way
    /// as a peer.
    #[must_use]
    pub fn weakened(defences: &str) -> Self {
        let mut world = Self::debug_build();
        world.env.push(("HAKO_WEAKEN".to_owned(), defences.to_owned()));
        world.fall_victim();
        world
    }

    fn fall_victim(&mut self) {
        self.victim = true;
        self.scratch.stand_alone();
    }

    /// Whether what it leaves behind is no fault.
    pub(crate) fn is_victim(&self) -> bool {
        self.victim
    }

    /// The same with `--systemd-cgroup`, and scopes for its bundles.
    #[must_use]
    pub fn with_systemd() -> Self {
        let mut runtime = Self::new();
        runtime.systemd = true;
        runtime
    }

    /// A new bundle with a rootfs, a config and a container id of its own.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        let number = self.next();
        let id = format!("{}-{number}", self.name);
        let dir = self.scratch.dir(&format!("bundle-{number}"));
        let cgroup = match self.systemd {
            true => format!("system.slice:test:{id}"),
            false => format!("/{}/{id}", self.name),
        };
        let mut bundle = Bundle::new(dir, &id, &cgroup);
        if let Some(user) = &self.user {
            user.adapt(&mut bundle, self.holder.is_none());
        }
        bundle
    }

    fn next(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The directory that is passed as `--root`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The program under test.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The test's scratch directory.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Makes a directory below the scratch directory.
    #[must_use]
    pub fn dir(&self, name: &str) -> PathBuf {
        self.scratch.dir(name)
    }

    /// Writes a file below the scratch directory.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("its parent");
        fs::write(&path, text).expect("a file in the scratch directory");
        path
    }

    /// Makes a FIFO that nobody writes to: whoever opens it carelessly hangs.
    #[must_use]
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).expect("a FIFO");
        path
    }

    /// Mounts a tmpfs below the scratch directory, visible to this test only.
    #[must_use]
    pub fn tmpfs(&self, name: &str) -> PathBuf {
        self.scratch.tmpfs(name)
    }

    /// Binds a path over another, visible to this test only.
    pub fn bind(&self, source: &Path, target: &Path, recursive: bool) {
        self.scratch.bind(source, target, recursive);
    }

    /// The program without any argument.
    #[must_use]
    pub fn bare(&self) -> Command {
        let files = self.scratch.path().join(format!("io/{}", self.next()));
        let prefix = self.holder.as_ref().map(Holder::words);
        let command = match prefix.or(self.user.as_ref().map(User::words)) {
            None => Command::new(&self.program, &files),
            Some((program, words)) => {
                Command::new(program.as_ref(), &files).args(words).arg(&self.program)
            }
        };
        self.env.iter().fold(command, |command, (name, value)| command.env(name, value))
    }

    /// A command in this world: `--root ROOT` and then these words. A user has
    /// such a directory anyway.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let manager = self.systemd.then_some("--systemd-cgroup");
        let command = self.bare();
        let command = match &self.user {
            None => command.arg("--root").arg(&self.root),
            Some(_) => command,
        };
        command.args(manager).args(words)
    }

    /// Writes the bundle's config.json and prepares `verb --bundle DIR ID`,
    /// for `create` and `run`, to which a test may still add things.
    #[must_use]
    pub fn on_bundle(&self, words: &[&str], bundle: &Bundle) -> Command {
        bundle.save();
        if let Some(user) = &self.user {
            user.own(&bundle.dir().join("config.json"));
        }
        self.command(words).arg("--bundle").arg(bundle.dir()).last(bundle.id())
    }

    /// `run` in the foreground, to the end. Whatever the outcome, nothing of
    /// the container may remain.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Output {
        self.finish(self.on_bundle(&["run"], bundle), bundle)
    }

    /// Runs a prepared `run` to its end and verifies that nothing remains.
    #[track_caller]
    pub fn finish(&self, command: Command, bundle: &Bundle) -> Output {
        let output = command.output();
        self.verify_gone(bundle, &output);
        output
    }

    /// Fails the test when anything of the bundle's container remains.
    #[track_caller]
    pub fn verify_gone(&self, bundle: &Bundle, output: &Output) {
        let (id, cgroup) = (bundle.id(), bundle.cgroup());
        if self.victim {
            let _ = self.command(&["delete", "--force", id]).output();
            return sweep_cgroup(cgroup);
        }
        let remaining = Traces { root: &self.root, id, cgroup, pid: None }.remaining();
        if !remaining.is_empty() {
            let _ = self.command(&["delete", "--force", id]).output();
            sweep_cgroup(cgroup);
        }
        assert!(remaining.is_empty(), "there is left: {remaining:?}\n{output}");
    }

    /// Runs a chain of inspector commands in a new container; one value each.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, bundle: &Bundle, chain: &str) -> Vec<Value> {
        let mut bundle = bundle.clone();
        bundle.inspector(chain);
        self.run(&bundle).ok().values()
    }

    /// Runs a container that makes the inspector's full report.
    #[must_use]
    #[track_caller]
    pub fn inspect(&self, bundle: &Bundle) -> Value {
        self.ask(bundle, "report").swap_remove(0)
    }

    /// Runs the bundle with the program it names, which must be the inspector,
    /// and returns its full report.
    #[must_use]
    #[track_caller]
    pub fn inspect_as_is(&self, bundle: &Bundle) -> Value {
        self.run(bundle).ok().json()
    }

    /// `run` must be refused with an error that points to this place in
    /// config.json; nothing may remain.
    #[track_caller]
    pub fn refuses(&self, bundle: &Bundle, pointer: &str) -> Output {
        let output = self.run(bundle);
        output.refuses(pointer);
        output
    }

    /// `create`, which must succeed.
    #[must_use]
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Container<'_> {
        self.make(self.on_bundle(&["create"], bundle), bundle)
    }

    /// Runs a prepared `create` or `run --detach`, which must succeed, and
    /// takes charge of the container. It reads stdin from a pipe.
    #[must_use]
    #[track_caller]
    pub fn make(&self, command: Command, bundle: &Bundle) -> Container<'_> {
        let pid_file = self.scratch.path().join(format!("io/{}.pid", self.next()));
        let mut command = command.arg("--pid-file").arg(&pid_file).stdin(Stdio::piped()).spawn();
        let stdin = command.take_stdin();
        let output = command.wait_for_end();
        if output.code != Some(0) {
            self.verify_gone(bundle, &output);
        }
        let _ = output.ok();
        let pid = fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok());
        let made = Made { files: command.files(), stdin, pid: pid.expect("a pid file") };
        Container::adopt(self, bundle.id(), bundle.cgroup(), made)
    }

    /// A running container whose inspector answers [`Container::ask`].
    #[must_use]
    #[track_caller]
    pub fn serve(&self, bundle: &Bundle) -> Container<'_> {
        let mut bundle = bundle.clone();
        bundle.inspector("serve");
        let container = self.create(&bundle);
        container.start();
        container.await_greeting();
        container
    }

    /// `run` in the foreground, not waited for; stdin is a pipe.
    #[must_use]
    pub fn foreground(&self, bundle: &Bundle) -> Running {
        self.on_bundle(&["run"], bundle).stdin(Stdio::piped()).spawn()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let parent = cgroup_dir(&self.name);
        if self.victim {
            return sweep_cgroup(&self.name);
        }
        self.user.iter().for_each(User::leave_cgroup);
        let cgroups: Vec<_> = fs::read_dir(&parent).into_iter().flatten().flatten().collect();
        let cgroups = cgroups.iter().filter(|entry| entry.path().is_dir());
        let cgroups: Vec<String> =
            cgroups.map(|entry| format!("cgroup {}", entry.path().display())).collect();
        let processes = processes_using(self.scratch.path());
        let mounts = self.scratch.foreign_mounts();
        let foreign: Vec<String> = self.user.iter().flat_map(User::foreign_places).collect();
        sweep_cgroup(&self.name);
        if std::thread::panicking() {
            return;
        }
        assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}");
        assert!(processes.is_empty(), "processes are left: {processes:?}");
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
        assert!(foreign.is_empty(), "there are files of others: {foreign:?}");
    }
}
