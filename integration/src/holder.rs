//! Namespaces that somebody holds for others, as rootless engines do.

use crate::user::User;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A process in a user namespace of a user's, with all their ids, and in further
/// namespaces that belong to it. It ends when this is dropped.
#[derive(Debug)]
pub struct Holder {
    child: Child,
    kinds: Vec<String>,
}

impl Holder {
    /// Makes them; `kinds` are options of unshare(1): `--mount`, `--net`.
    #[must_use]
    pub fn new(user: &User, kinds: &[&str]) -> Self {
        Self::make(user.words(), &["--user", "--map-root-user", "--map-auto"], kinds)
    }

    /// Further namespaces, made by root of these.
    #[must_use]
    pub fn below(&self, kinds: &[&str]) -> Self {
        Self::make(self.words(), &[], kinds)
    }

    fn make((program, words): (String, Vec<String>), user: &[&str], kinds: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(words)
            .arg("unshare")
            .args(user)
            .args(kinds)
            .args(["sh", "-c", "echo ready; exec sleep 1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process that holds namespaces");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        stdout.read_line(&mut line).expect("its word");
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let holder = Self { child, kinds };
        assert_eq!(line, "ready\n", "unshare failed");
        holder
    }

    /// The path of one of its namespaces: `user`, `net`, `mnt`.
    #[must_use]
    pub fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.child.id())
    }

    /// The same namespace, as the inspector reports it.
    #[must_use]
    pub fn namespace(&self, file: &str) -> Value {
        json!(fs::read_link(self.path(file)).expect("a namespace"))
    }

    /// A program, and the words before those of a command, that make it one of
    /// root's in there.
    pub(crate) fn words(&self) -> (String, Vec<String>) {
        let target = self.child.id().to_string();
        let words = ["--target", &target, "--user", "--setuid", "0", "--setgid", "0"];
        let words = words.map(str::to_owned).into_iter().chain(self.kinds.iter().cloned());
        ("nsenter".to_owned(), words.collect())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
