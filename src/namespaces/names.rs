//! Host name, domain name and kernel parameters: what namespaces hold.

use super::plan::{CloneSet, Kind, Op};
use crate::config::Spec;
use crate::error::Error;
use crate::plan::{ChildOp, Compiler, needs_namespace};
use oci_spec::runtime::Linux;
use std::collections::BTreeMap;

/// Longest name the kernel takes (uname(2)).
const LONGEST_NAME: usize = 64;

/// `hostname`, `domainname` and `linux.sysctl`.
pub fn plan_names(spec: &Spec, linux: &Linux, clone: &CloneSet, compiler: &mut Compiler) {
    plan_name(spec.hostname.as_deref(), "hostname", Op::Hostname, clone, compiler);
    plan_name(spec.domainname.as_deref(), "domainname", Op::Domainname, clone, compiler);
    let sysctls: BTreeMap<_, _> = linux.sysctl().iter().flatten().collect();
    for (key, value) in sysctls {
        plan_sysctl(key, value, clone, compiler);
    }
}

fn plan_name(
    name: Option<&str>,
    field: &str,
    op: fn(String) -> Op,
    clone: &CloneSet,
    compiler: &mut Compiler,
) {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return;
    };
    let pointer = format!("/{field}");
    compiler.refuse_nul_at(&pointer, name);
    if name.len() > LONGEST_NAME {
        let error = Error::new(format!("{field} is longer than {LONGEST_NAME} bytes"));
        compiler.fault(error.at(pointer.clone()));
    }
    if clone.is_inherited(Kind::Uts) {
        compiler.fault(
            Error::new(format!("{field} without a UTS namespace would rename the host"))
                .at(pointer.clone())
                .hint(needs_namespace(Kind::Uts)),
        );
    }
    compiler.child_at(pointer, ChildOp::Namespace(op(name.to_owned())));
}

fn plan_sysctl(key: &str, value: &str, clone: &CloneSet, compiler: &mut Compiler) {
    let pointer = format!("/linux/sysctl/{}", Compiler::escape(key));
    compiler.refuse_nul_at(&pointer, key);
    compiler.refuse_nul_at(&pointer, value);
    let path = match sysctl_path(key) {
        Ok(path) => path,
        Err(reason) => {
            compiler.fault(Error::new(format!("sysctl {key:?}: {reason}")).at(pointer));
            return;
        }
    };
    match sysctl_namespace(&path) {
        None => compiler.fault(
            Error::new(format!("sysctl {key:?} is not in a separate kernel namespace: it would change the host"))
                .at(pointer.clone())
                .hint("only net.*, fs.mqueue.*, kernel.domainname and the System V IPC parameters are namespaced"),
        ),
        Some(kind) if clone.is_inherited(kind) => compiler.fault(
            Error::new(format!("sysctl {key:?} needs a {kind} namespace: it would change the host"))
                .at(pointer.clone())
                .hint(needs_namespace(kind)),
        ),
        Some(_) => {}
    }
    let op = Op::Sysctl { path, value: value.to_owned() };
    compiler.child_at(pointer, ChildOp::Namespace(op));
}

/// `net.ipv4.ip_forward` or `net/ipv4/ip_forward` to the path below
/// `/proc/sys`. As in sysctl(8), the first separator decides which of the two
/// is meant, so that `net/ipv4/conf/eth0.1/…` works too.
fn sysctl_path(key: &str) -> Result<String, &'static str> {
    let dotted = key.find(['.', '/']).is_none_or(|first| key.as_bytes()[first] == b'.');
    let path: String = key
        .chars()
        .map(|c| match c {
            '.' if dotted => '/',
            '/' if dotted => '.',
            other => other,
        })
        .collect();
    let valid = |component: &str| !component.is_empty() && component != "." && component != "..";
    path.split('/').all(valid).then_some(path).ok_or("is not a parameter name")
}

/// Which kind of namespace holds the parameter (sysctl documentation, proc(5)).
fn sysctl_namespace(path: &str) -> Option<Kind> {
    const IPC: &[&str] = &[
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "kernel/msg_next_id",
        "kernel/sem_next_id",
        "kernel/shm_next_id",
        "kernel/auto_msgmni",
    ];
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some(Kind::Ipc)
    } else if path.starts_with("net/") {
        Some(Kind::Network)
    } else if path == "kernel/domainname" {
        Some(Kind::Uts)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_decides() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.1/rp_filter").unwrap(),
            "net/ipv4/conf/eth0.1/rp_filter"
        );
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.rp_filter").unwrap(),
            "net/ipv4/conf/eth0.1/rp_filter"
        );
        for bad in ["", "net..x", "net/../kernel", "/net", "net.ipv4."] {
            assert!(sysctl_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parameters_know_their_namespace() {
        assert_eq!(sysctl_namespace("kernel/shmmni"), Some(Kind::Ipc));
        assert_eq!(sysctl_namespace("fs/mqueue/msg_max"), Some(Kind::Ipc));
        assert_eq!(sysctl_namespace("net/core/somaxconn"), Some(Kind::Network));
        assert_eq!(sysctl_namespace("kernel/core_pattern"), None);
        assert_eq!(sysctl_namespace("network"), None);
    }
}
