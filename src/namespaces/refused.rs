//! Why the kernel refuses namespaces, and what to do about it.

use super::apply::own_map;
use super::id_map::{is_mapped, own_map_remedy};
use super::plan::{CloneSet, Kind, names};
use super::subordinate::IdKind;
use crate::cgroups::{self, Placement};
use crate::error::Error;
use rustix::io::Errno;

/// A reason as the end of a sentence, and its remedy.
type Reason = (String, String);

/// What a file of the kernel's says, without the end of its line.
type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// An error of clone3(2), explained.
pub fn clone_refused(clone: &CloneSet, cgroup: &Placement, errno: Errno) -> Error {
    let kinds: Vec<Kind> = clone.new.clone();
    let message = match kinds.as_slice() {
        [] => "cannot clone a process".to_owned(),
        kinds => format!("cannot clone with new namespaces ({})", names(kinds)),
    };
    let error = Error::os(message, errno);
    match errno {
        Errno::AGAIN => error.hint("pids.max of the cgroup or RLIMIT_NPROC is reached"),
        Errno::BUSY => {
            error.hint("the cgroup has controllers enabled for its children: see its cgroup.subtree_control")
        }
        Errno::OPNOTSUPP => cgroups::explain_type(cgroup),
        Errno::ACCESS if !kinds.contains(&Kind::User) => error.hint(format!(
            "a process may be put into {cgroup} by its owner only from the cgroups that were delegated with it: call hako from there"
        )),
        _ => explain(error, &kinds),
    }
}

/// An error of a system call that makes namespaces of these kinds, or needs
/// privilege in a new user namespace.
pub fn explain(error: Error, kinds: &[Kind]) -> Error {
    let read = |path: &str| Some(std::fs::read_to_string(path).ok()?.trim().to_owned());
    let Some((reason, remedy)) = find(error.errno.unwrap_or(0), kinds, &read) else {
        return error;
    };
    Error { message: format!("{}, since {reason}", error.message), ..error }.hint(remedy)
}

/// An id that a process cannot have: of one that its user namespace does not map,
/// the kernel says EINVAL.
pub fn id_refused(kind: IdKind, id: u32, errno: Errno) -> Error {
    let what = format!("cannot change to {} {id}", kind.word());
    if errno != Errno::INVAL {
        return Error::os(what, errno);
    }
    let map = own_map(kind);
    let remedy = match is_mapped(&map, id) {
        // It could not be read.
        true => "choose another id, or have whoever made that namespace map this one".to_owned(),
        false => own_map_remedy(kind, &map),
    };
    Error::os(format!("{what}, which is not mapped in the user namespace"), errno).hint(remedy)
}

fn find(errno: i32, kinds: &[Kind], read: Read) -> Option<Reason> {
    match errno {
        libc::ENOSPC => Some(limit_reached(kinds, read)),
        libc::ENOSYS => filtered(read),
        libc::EPERM | libc::EACCES => {
            switched_off(read).or_else(|| confined(errno, read)).or_else(|| privilege(errno))
        }
        _ => None,
    }
}

/// namespaces(7), "The /proc/sys/user directory"
fn limit_reached(kinds: &[Kind], read: Read) -> Reason {
    let limit = |kind: &Kind| {
        let name = format!("max_{}_namespaces", kind.file());
        let value = read(&format!("/proc/sys/user/{name}"))?;
        Some((kind.name(), name, value))
    };
    let off = kinds.iter().filter_map(limit).find(|(.., value)| value == "0");
    match off {
        Some((kind, name, _)) => (
            format!("{kind} namespaces are switched off (user.{name} is 0)"),
            format!(
                "as root: sysctl -w user.{name}=15000; to keep it, write user.{name}=15000 to /etc/sysctl.d/99-namespaces.conf"
            ),
        ),
        None => (
            format!("a limit of {} namespaces is reached, here or in an outer user namespace", names(kinds)),
            "see /proc/sys/user/max_*_namespaces, also outside of the container that hako is in; user namespaces are 32 deep at most".to_owned(),
        ),
    }
}

/// Filters of older engines answer so, for programs that know clone(2) as well.
fn filtered(read: Read) -> Option<Reason> {
    has_filter(read).then(|| {
        (
            "a seccomp filter that hako runs under refuses it".to_owned(),
            "the outer container needs --privileged, or --security-opt seccomp=unconfined and --cap-add SYS_ADMIN".to_owned(),
        )
    })
}

fn has_filter(read: Read) -> bool {
    let status = read("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Settings by which distributions keep user namespaces from ordinary users.
fn switched_off(read: Read) -> Option<Reason> {
    let is = |name: &str, value: &str| {
        read(&format!("/proc/sys/kernel/{name}")).as_deref() == Some(value)
    };
    if is("unprivileged_userns_clone", "0") {
        return Some((
            "ordinary users may make no user namespaces (kernel.unprivileged_userns_clone is 0)".to_owned(),
            "as root: sysctl -w kernel.unprivileged_userns_clone=1; to keep it, write kernel.unprivileged_userns_clone=1 to /etc/sysctl.d/99-namespaces.conf".to_owned(),
        ));
    }
    if is("apparmor_restrict_unprivileged_userns", "1") {
        return Some((
            "AppArmor leaves no privilege to user namespaces of ordinary users (kernel.apparmor_restrict_unprivileged_userns is 1)".to_owned(),
            "as root, give hako a profile: write abi <abi/4.0>, profile hako /usr/local/bin/hako flags=(unconfined) { userns, }, with the path that hako is at, to /etc/apparmor.d/hako and run apparmor_parser -r on it; or, for all programs: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned(),
        ));
    }
    None
}

/// By a profile of AppArmor's, by SELinux, or by a filter.
fn confined(errno: i32, read: Read) -> Option<Reason> {
    let profile = read("/proc/self/attr/apparmor/current").unwrap_or_default();
    if errno == libc::EACCES && !profile.is_empty() && profile != "unconfined" {
        return Some((
            format!("the AppArmor profile of hako refuses it: {profile}"),
            "add the line userns, to the profile, or run hako without it (in docker: --security-opt apparmor=unconfined)".to_owned(),
        ));
    }
    if errno == libc::EACCES && read("/sys/fs/selinux/enforce").as_deref() == Some("1") {
        let label = read("/proc/self/attr/current").unwrap_or_default();
        return Some((
            format!("SELinux refuses it to {}", label.trim_end_matches('\0')),
            "as root, allow its domain user_namespace { create }: ausearch -m avc -ts recent | audit2allow -M hako && semodule -i hako.pp".to_owned(),
        ));
    }
    filtered(read)
}

fn privilege(errno: i32) -> Option<Reason> {
    (errno == libc::EPERM).then(|| {
        (
            "hako may not".to_owned(),
            "making namespaces needs root, or a new user namespace; and that needs a root directory that is not chroot's".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";
    const RESTRICT: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    const PROFILE: &str = "/proc/self/attr/apparmor/current";
    const STATUS: &str = "/proc/self/status";
    const ENFORCE: &str = "/sys/fs/selinux/enforce";
    const LABEL: &str = "/proc/self/attr/current";

    fn found(errno: i32, files: &[(&str, &str)]) -> String {
        let read = |path: &str| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        };
        let found = find(errno, &[Kind::Pid, Kind::User], &read);
        found.map(|(reason, remedy)| format!("{reason} | {remedy}")).unwrap_or_default()
    }

    #[test]
    fn each_reason_has_its_sentence_and_its_command() {
        let limits = |users| {
            [
                ("/proc/sys/user/max_pid_namespaces", "9"),
                ("/proc/sys/user/max_user_namespaces", users),
            ]
        };
        for (errno, files, words) in [
            (
                libc::ENOSPC,
                &limits("0")[..],
                &["user namespaces are switched off", "sysctl -w user.max_user_namespaces=15000"][..],
            ),
            (libc::ENOSPC, &limits("9"), &["a limit of pid, user namespaces is reached"]),
            (
                libc::EPERM,
                &[(CLONE, "0")],
                &[
                    "(kernel.unprivileged_userns_clone is 0)",
                    "sysctl -w kernel.unprivileged_userns_clone=1",
                ],
            ),
            (
                libc::EPERM,
                &[(CLONE, "1"), (RESTRICT, "1")],
                &["AppArmor leaves no privilege", "userns, }"],
            ),
            (
                libc::EACCES,
                &[(RESTRICT, "1")],
                &["kernel.apparmor_restrict_unprivileged_userns is 1"],
            ),
            (
                libc::EACCES,
                &[(PROFILE, "box (enforce)")],
                &["profile of hako refuses it: box", "userns,"],
            ),
            (
                libc::EACCES,
                &[(ENFORCE, "1"), (LABEL, "user_t\0")],
                &["SELinux refuses it to user_t |", "semodule -i hako.pp"],
            ),
            (libc::EACCES, &[(ENFORCE, "0")], &[]),
            (libc::EPERM, &[(PROFILE, "unconfined")], &["hako may not", "needs root"]),
            (
                libc::EPERM,
                &[(STATUS, "Name:\thako\nSeccomp:\t2")],
                &["seccomp filter", "--privileged"],
            ),
            (libc::ENOSYS, &[(STATUS, "Seccomp:\t2")], &["seccomp filter"]),
            (libc::ENOSYS, &[(STATUS, "Seccomp:\t0")], &[]),
            (libc::EACCES, &[(PROFILE, "unconfined")], &[]),
            (libc::EINVAL, &[], &[]),
        ] {
            let found = found(errno, files);
            assert!(words.iter().all(|word| found.contains(word)), "{errno} {files:?}: {found}");
            assert!(!words.is_empty() || found.is_empty(), "{errno} {files:?}: {found}");
        }
    }
}
