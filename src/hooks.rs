//! Hooks: programs of the container's owner that run at the turning points of
//! its life, with its state on their standard input.

mod ending;
mod note;
mod running;

pub use note::{NAME as NOTE, end_noted};

use crate::error::{Context, Error, Result};
use crate::plan::Compiler;
use ending::Ending;
use oci_spec::runtime::{Hook as SpecHook, Hooks as SpecHooks};
use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Deprecated form of `CreateRuntime`, and before it.
    Prestart,
    /// On the host, when the namespaces exist, before the root is changed.
    CreateRuntime,
    /// In the container's namespaces, before the root is changed.
    CreateContainer,
    /// In the container, before its program is executed.
    StartContainer,
    /// On the host, after the container's program was executed.
    Poststart,
    /// On the host, after the container was deleted.
    Poststop,
}

impl Kind {
    /// Every kind, in the order in which they run.
    pub const ALL: [Kind; 6] = [
        Kind::Prestart,
        Kind::CreateRuntime,
        Kind::CreateContainer,
        Kind::StartContainer,
        Kind::Poststart,
        Kind::Poststop,
    ];

    /// Its name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Prestart => "prestart",
            Kind::CreateRuntime => "createRuntime",
            Kind::CreateContainer => "createContainer",
            Kind::StartContainer => "startContainer",
            Kind::Poststart => "poststart",
            Kind::Poststop => "poststop",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// Absolute path, in the mount namespace and under the root it runs with.
    pub path: PathBuf,
    /// Its arguments, `argv[0]` included.
    pub args: Vec<String>,
    /// Its whole environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// After how many seconds it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

/// All hooks of a container, in the order in which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hooks(BTreeMap<Kind, Vec<Hook>>);

impl Hooks {
    /// The hooks of one kind.
    pub fn of(&self, kind: Kind) -> &[Hook] {
        self.0.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Whether there are some of one of these kinds.
    pub fn has_any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| !self.of(*kind).is_empty())
    }

    /// Whether some run while a container is created.
    pub fn run_in_create(&self) -> bool {
        self.has_any(&[Kind::Prestart, Kind::CreateRuntime, Kind::CreateContainer])
    }
}

/// Resolves the `hooks` of a configuration; faults go to `compiler`.
pub fn plan(spec_hooks: Option<&SpecHooks>, compiler: &mut Compiler) -> Hooks {
    resolve(spec_hooks, &mut |fault| compiler.fault(fault))
}

fn resolve(spec_hooks: Option<&SpecHooks>, fault: &mut impl FnMut(Error)) -> Hooks {
    let Some(spec) = spec_hooks else {
        return Hooks::default();
    };
    let all = [
        (Kind::Prestart, spec.prestart()),
        (Kind::CreateRuntime, spec.create_runtime()),
        (Kind::CreateContainer, spec.create_container()),
        (Kind::StartContainer, spec.start_container()),
        (Kind::Poststart, spec.poststart()),
        (Kind::Poststop, spec.poststop()),
    ];
    let mut hooks = BTreeMap::new();
    for (kind, list) in all {
        let list = list.iter().flatten().enumerate();
        let resolved: Vec<Hook> = list
            .map(|(index, hook)| resolve_one(hook, &format!("/hooks/{kind}/{index}"), fault))
            .collect();
        if !resolved.is_empty() {
            hooks.insert(kind, resolved);
        }
    }
    Hooks(hooks)
}

fn resolve_one(hook: &SpecHook, pointer: &str, fault: &mut impl FnMut(Error)) -> Hook {
    let mut blame = |what: String, key: &str| {
        fault(Error::new(what).at(format!("{pointer}/{key}")));
    };
    let path = hook.path().clone();
    let shown = path.to_string_lossy().into_owned();
    if !path.is_absolute() {
        blame(format!("hook path {shown:?} is not absolute"), "path");
    }
    if shown.contains('\0') {
        blame(format!("hook path {shown:?} contains a NUL byte"), "path");
    }
    let mut args = hook.args().clone().unwrap_or_default();
    let env = hook.env().clone().unwrap_or_default();
    for (key, list) in [("args", &args), ("env", &env)] {
        for (index, value) in list.iter().enumerate() {
            let key = format!("{key}/{index}");
            if value.contains('\0') {
                blame(format!("{value:?} contains a NUL byte"), &key);
            }
            if key.starts_with("env") && value.find('=').unwrap_or(0) == 0 {
                blame(format!("{value:?} is not NAME=VALUE"), &key);
            }
        }
    }
    if args.is_empty() {
        args.push(shown);
    }
    let timeout = hook.timeout().and_then(|seconds| {
        let valid = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        if valid.is_none() {
            blame(
                format!("hook timeout {seconds} is not a number of seconds from 1 to {}", u32::MAX),
                "timeout",
            );
        }
        valid
    });
    Hook { path, args, env, timeout }
}

/// Where hooks run, and with what.
#[derive(Debug)]
pub struct Site<'a> {
    /// The container's state, as JSON.
    pub state_json: &'a [u8],
    /// Where they start: on the host in the bundle, in the container in `/`.
    pub directory: &'a Path,
    /// The container's state directory, for a note of the hook that runs. Hooks in
    /// the container need none: they end with init.
    pub noted_in: Option<BorrowedFd<'a>>,
}

/// Runs the hooks of one kind, one after the other, and stops at the first
/// that fails. Who asks hako to end meanwhile ends the hook that runs on the host.
///
/// # Errors
/// `error running createRuntime hook #0: PATH: exit status 3 after 12 ms, stderr: "…"`
pub fn run(hooks: &Hooks, kind: Kind, site: &Site) -> Result<()> {
    let ending = match (hooks.of(kind), site.noted_in) {
        ([], _) | (_, None) => None,
        _ => Ending::listen(),
    };
    outcomes(hooks, kind, site, ending.as_ref()).collect()
}

/// Waits until init speaks, or ends, which may take as long as the `hooks` that it
/// runs.
///
/// # Errors
/// hako is asked to end; then init is to be ended, and its hooks with it.
pub fn wait_for_init(hooks: &Hooks, socket: BorrowedFd) -> Result<()> {
    if !hooks.has_any(&[Kind::CreateContainer, Kind::StartContainer]) {
        return Ok(());
    }
    let Some(ending) = Ending::listen() else { return Ok(()) };
    let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::new(&ending, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).os(|| "cannot wait for init")?;
    if !fds[0].revents().is_empty() {
        return Ok(());
    }
    ending.hear();
    Err(Error::new("ended while hooks ran in the container: hako was told to end"))
}

/// Runs all hooks of one kind, whichever of them fail, and returns the failures:
/// of a `poststop` hook they are no more than warnings. Each time hako is asked to
/// end, it ends the hook that runs; what it was asked before is why they run.
pub fn run_all_warn(hooks: &Hooks, kind: Kind, site: &Site) -> Vec<Error> {
    if hooks.of(kind).is_empty() {
        return Vec::new();
    }
    let ending = Ending::listen();
    let forget = || ending.iter().for_each(Ending::forget);
    forget();
    let outcomes = outcomes(hooks, kind, site, ending.as_ref()).inspect(|_| forget());
    outcomes.filter_map(Result::err).collect()
}

/// Runs one hook for each item that is asked for.
fn outcomes(
    hooks: &Hooks,
    kind: Kind,
    site: &Site,
    ending: Option<&Ending>,
) -> impl Iterator<Item = Result<()>> {
    let list = hooks.of(kind).iter().enumerate();
    list.map(move |(index, hook)| {
        running::run(hook, site, ending).map_err(|error| {
            error
                .at(format!("/hooks/{kind}/{index}"))
                .within(format!("error running {kind} hook #{index}"))
        })
    })
}

#[cfg(test)]
mod tests;
