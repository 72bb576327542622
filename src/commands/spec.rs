//! `hako spec`: an example configuration.

use super::Session;
use crate::cli;
use crate::error::{Context, Error, Result};
use crate::host::{Host, Maker};
use crate::namespaces::{
    self, IdKind, IdMapping, inside, is_mapped, map_from_root, own_map_remedy,
};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Writes config.json, but never over an existing one.
pub fn run(session: &Session, args: &cli::Spec, rootless: bool) -> Result<()> {
    let path = args.bundle.as_deref().unwrap_or(Path::new(".")).join(&args.config);
    let host = Host::probe()?;
    let config = if rootless { rootless_config(&host)? } else { config() };
    let text = serde_json::to_string_pretty(&config)
        .map_err(|error| Error::new(format!("cannot encode: {error}")))?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    let mut file = file.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(format!("File {} exists. Remove it first", path.display()))
        }
        _ => Error::os(format!("cannot create {}", path.display()), error),
    })?;
    if rootless && host.maker() != Maker::Root {
        note(&host).into_iter().for_each(|note| session.report.warning(note));
    }
    writeln!(file, "{text}").os(|| format!("cannot write {}", path.display()))
}

/// A shell with the privileges that most programs need.
fn config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "hako",
        "mounts": mounts(),
        "linux": {
            "namespaces": [
                {"type": "pid"},
                {"type": "network"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "cgroup"}
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let mut mount = json!({"destination": destination, "type": kind, "source": source});
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    json!([
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"]
        ),
    ])
}

/// The same for an ordinary user: a user namespace in which they are root, without
/// what such a root may not do. With all ids that there are for them.
fn rootless_config(host: &Host) -> Result<Value> {
    let mut config = config();
    let has_terminal_group = is_mapped(&map(IdKind::Group, host), TTY);
    let linux = &mut config["linux"];
    for kind in [IdKind::User, IdKind::Group] {
        let map = map(kind, host);
        if map.is_empty() {
            return Err(nothing_to_map(kind, host));
        }
        linux[kind.field()] = list(&map);
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        for mount in mounts.iter_mut() {
            // Mounting sysfs takes a network namespace of one's own.
            if mount["destination"] == "/sys" {
                *mount = json!({
                    "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
                });
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| has_terminal_group || option != "gid=5");
            }
        }
    }
    Ok(config)
}

/// Who runs hako is nobody in its user namespace.
fn nothing_to_map(kind: IdKind, host: &Host) -> Error {
    let word = kind.word();
    Error::new(format!("no {word} id can be mapped: hako's own does not exist in the user namespace that hako is in"))
        .hint(own_map_remedy(kind, host.own_map(kind).unwrap_or_default()))
}

/// The group of terminals.
const TTY: u32 = 5;

/// All ids that who runs hako may map: those of the user namespace that they have
/// privilege over, those that the machine gives them, or their own. None if they
/// are nobody.
fn map(kind: IdKind, host: &Host) -> Vec<IdMapping> {
    let own = host.own_id(kind);
    let same = |line: &IdMapping| IdMapping { host: line.container, ..*line };
    match host.own_map(kind) {
        Some(lines) if host.maps_any(kind) && is_mapped(lines, 0) => {
            lines.iter().map(same).collect()
        }
        Some(lines) if host.maps_any(kind) => {
            map_from_root(own, &inside(lines).collect::<Vec<_>>())
        }
        Some(lines) if !is_mapped(lines, own) => Vec::new(),
        _ => {
            let only_own = || vec![IdMapping { container: 0, host: own, size: 1 }];
            host.account().full_map(kind).unwrap_or_else(only_own)
        }
    }
}

fn list(map: &[IdMapping]) -> Value {
    map.iter()
        .map(|range| json!({"containerID": range.container, "hostID": range.host, "size": range.size}))
        .collect()
}

/// What it means to have no more than one id of a kind, and why it is so.
fn note(host: &Host) -> Option<String> {
    let count = |kind| map(kind, host).iter().map(|range| u64::from(range.size)).sum::<u64>();
    let is_single = |kind: &IdKind| count(*kind) < 2;
    let kinds: Vec<IdKind> = [IdKind::User, IdKind::Group].into_iter().filter(is_single).collect();
    let name = match (host.own_id(IdKind::User), host.own_map(IdKind::User)) {
        (0, Some(_)) => "root of the user namespace that hako is in".to_owned(),
        (uid, Some(_)) => format!("user {uid} of the user namespace that hako is in"),
        (_, None) => format!("{} outside", host.account().name),
    };
    let meaning = match kinds[..] {
        [IdKind::User] => format!(
            "one user, root, which is {name}: programs that change to another user will fail"
        ),
        [IdKind::Group] => format!(
            "one group, root's, which is that of {name}: programs that change to another group will fail, and supplementary groups cannot be set"
        ),
        _ => format!(
            "one user, root, which is {name}: programs that change to another user or group will fail, and supplementary groups cannot be set"
        ),
    };
    let parts: Vec<_> = kinds.iter().map(|kind| reason_for_one(*kind, host)).collect();
    let reason = match &parts[..] {
        [] => return None,
        [(one, remedy), (other, same)] if remedy == same => format!("{one}; {other}; {remedy}"),
        parts => {
            let parts: Vec<_> =
                parts.iter().map(|(one, remedy)| format!("{one}; {remedy}")).collect();
            parts.join("; ")
        }
    };
    Some(format!("in the container there is {meaning} ({reason})"))
}

/// And what to do about it.
fn reason_for_one(kind: IdKind, host: &Host) -> (String, String) {
    let account = host.account();
    match (host.own_map(kind).filter(|_| host.maps_any(kind)), account.ids(kind).helper.lack(kind))
    {
        (Some(lines), _) => {
            let reason = format!("/proc/self/{} has {}", kind.map_file(), namespaces::list(lines));
            (reason, "have whoever made that namespace map more".to_owned())
        }
        (None, Some((reason, remedy))) => (reason, remedy.to_owned()),
        (None, None) => account.shortage(kind),
    }
}
