//! Labels of security modules: an AppArmor profile, an SELinux context.

use super::attributes::Op;
use crate::config;
use crate::error::{Context, Error, Result};
use crate::plan::{ChildOp, Compiler};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Labels of the process; what `exec` inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Labels {
    /// Name of a profile that is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// `user:role:type:level`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<String>,
}

/// Something that is written to a file below `/proc/self/attr` (proc(5)). It
/// is the kernel's business when it comes into force: at execve, or when a key
/// is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attribute {
    /// Its name below `attr`.
    pub file: &'static str,
    /// All that is written.
    pub text: String,
}

/// Resolves `process.apparmorProfile` and `process.selinuxLabel`.
pub fn plan(process: &config::Process, compiler: &mut Compiler) -> Labels {
    Labels {
        apparmor: plan_apparmor(process.apparmor_profile.as_deref(), compiler),
        selinux: plan_selinux(process.selinux_label.as_deref(), "/process/selinuxLabel", compiler),
    }
}

/// A profile's name; an empty one is none.
fn plan_apparmor(profile: Option<&str>, compiler: &mut Compiler) -> Option<String> {
    const POINTER: &str = "/process/apparmorProfile";
    let profile = profile.filter(|profile| !profile.is_empty())?;
    compiler.refuse_nul_at(POINTER, profile);
    if !compiler.host.has_apparmor() {
        compiler.fault(
            Error::new(format!("AppArmor profile {profile:?}: this host has no AppArmor"))
                .at(POINTER)
                .hint("leave it out, or boot a kernel with AppArmor enabled"),
        );
    }
    Some(profile.to_owned())
}

/// A context; an empty one is none.
pub fn plan_selinux(label: Option<&str>, pointer: &str, compiler: &mut Compiler) -> Option<String> {
    let label = label.filter(|label| !label.is_empty())?;
    compiler.refuse_nul_at(pointer, label);
    if !compiler.host.has_selinux() {
        compiler.fault(
            Error::new(format!("SELinux label {label:?}: this host has no SELinux"))
                .at(pointer)
                .hint("leave it out, or boot a kernel with SELinux enabled"),
        );
    }
    Some(label.to_owned())
}

/// Init's steps while /proc is still the host's, after all hooks that are to
/// run without the labels.
pub fn plan_labels(labels: &Labels, compiler: &mut Compiler) {
    for (pointer, attribute) in labels.attributes() {
        compiler.child_at(pointer, ChildOp::Process(Op::Label(attribute)));
    }
}

impl Labels {
    /// Replaces those that are given.
    pub fn change(
        &mut self,
        apparmor: Option<&str>,
        selinux: Option<&str>,
        compiler: &mut Compiler,
    ) {
        if let Some(profile) = plan_apparmor(apparmor, compiler) {
            self.apparmor = Some(profile);
        }
        if let Some(label) = plan_selinux(selinux, "/process/selinuxLabel", compiler) {
            self.selinux = Some(label);
        }
    }

    /// What is written where. Nothing for sockets: execve forgets that, and
    /// init makes none.
    fn attributes(&self) -> Vec<(&'static str, Attribute)> {
        let mut attributes = Vec::new();
        if let Some(profile) = &self.apparmor {
            let attribute = Attribute { file: "apparmor/exec", text: format!("exec {profile}") };
            attributes.push(("/process/apparmorProfile", attribute));
        }
        if let Some(label) = &self.selinux {
            // The session keyring is made later.
            for file in ["keycreate", "exec"] {
                let attribute = Attribute { file, text: label.clone() };
                attributes.push(("/process/selinuxLabel", attribute));
            }
        }
        attributes
    }
}

impl Attribute {
    /// Writes it, through a file of which it is certain that it is the kernel's.
    pub fn apply(&self) -> Result<()> {
        let failed = |errno: Errno| {
            let error = Error::os(format!("cannot set {self}"), errno);
            match (self.file, errno) {
                ("apparmor/exec", Errno::NOENT) => {
                    error.hint("the profile is not loaded: see apparmor_parser(8) and aa-status(8)")
                }
                (_, Errno::INVAL) => error.hint("the loaded policy does not know this label"),
                _ => error,
            }
        };
        let file = open_own(&format!("attr/{}", self.file))?;
        rustix::io::write(file, self.text.as_bytes()).map(drop).map_err(failed)
    }
}

/// Opens a file of this process for writing. Nothing that somebody mounted over
/// /proc, or inside it, can take its place.
fn open_own(path: &str) -> Result<rustix::fd::OwnedFd> {
    const PROC_ROOT_INODE: u64 = 1;
    let message = || format!("cannot open {path} in /proc");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).os(message)?;
    let kind = rustix::fs::fstatfs(&proc).os(message)?.f_type;
    let inode = rustix::fs::fstat(&proc).os(message)?.st_ino;
    if kind != rustix::fs::PROC_SUPER_MAGIC || inode != PROC_ROOT_INODE {
        return Err(Error::new(format!("{}: it is not a procfs", message())));
    }
    let own = rustix::fs::readlinkat(&proc, "self", Vec::new()).os(message)?;
    let path = format!("{}/{path}", own.to_string_lossy());
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
        .os(message)
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file {
            "apparmor/exec" => {
                write!(f, "AppArmor profile {}", self.text.trim_start_matches("exec "))
            }
            "keycreate" => write!(f, "SELinux label {} of keys", self.text),
            _ => write!(f, "SELinux label {}", self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(labels: &Labels) -> Vec<(&'static str, String)> {
        labels.attributes().into_iter().map(|(_, one)| (one.file, one.text)).collect()
    }

    #[test]
    fn exactly_this_is_written() {
        assert_eq!(written(&Labels::default()), []);
        let apparmor = Labels { apparmor: Some("docker-default".into()), selinux: None };
        let expected = ("apparmor/exec", "exec docker-default".to_owned());
        assert_eq!(written(&apparmor), [expected]);
        let label = "system_u:system_r:container_t:s0:c1,c2".to_owned();
        let selinux = Labels { apparmor: None, selinux: Some(label.clone()) };
        assert_eq!(written(&selinux), [("keycreate", label.clone()), ("exec", label)]);
    }

    #[test]
    fn own_files_are_opened_and_nothing_else() {
        assert!(open_own("comm").is_ok());
        assert!(open_own("../../etc/passwd").is_err());
        // A link of the kernel's own, which leads anywhere.
        assert!(open_own("cwd").is_err());
        assert!(open_own("missing").is_err());
    }
}
