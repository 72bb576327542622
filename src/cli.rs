//! The command line: types only.

mod checkpoint;
mod exec;
mod update;
mod usage;
mod usual;

pub use checkpoint::{CgroupsMode, Checkpoint, Connections, NetworkLock, PageServer, Restore};
pub use exec::{Exec, User};
pub use update::{Events, Ps, Update};
pub use usage::{status_of, wrong_usage};

use crate::cgroups::Manager;
use crate::config::FILE_NAME;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Exit status of a command that failed.
pub const FAILED: u8 = 1;
/// The same of `exec`, whose callers tell it from the program's own.
pub const EXEC_FAILED: u8 = 255;

/// hako (箱): an OCI container runtime
#[derive(Debug, Parser)]
#[command(name = "hako", disable_version_flag = true, args_override_self = true)]
pub struct Cli {
    /// Options of every command
    #[command(flatten)]
    pub global: Global,
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Print the version
    #[arg(short = 'v', long)]
    pub version: bool,
}

/// Options that may stand before and after the command.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Directory for the state of containers [default: /run/hako, or $XDG_RUNTIME_DIR/hako]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// File for messages, instead of standard error; or journald:NAME, or syslog:NAME
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<OsString>,
    /// Format of messages: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
    /// Which messages: error, warning or debug
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "warning",
        hide_possible_values = true
    )]
    pub log_level: LogLevel,
    /// Tell more: --log-level debug
    #[arg(long, global = true)]
    pub debug: bool,
    /// Place containers with systemd
    #[arg(long, global = true)]
    pub systemd_cgroup: bool,
    /// Who places containers: cgroupfs (hako itself), systemd or disabled (nobody)
    #[arg(long, global = true, value_name = "MANAGER", hide_possible_values = true)]
    pub cgroup_manager: Option<CgroupManager>,
    /// Do without the cgroup that only root can make: true, false or auto
    #[arg(
        long, global = true, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        hide_possible_values = true, default_value = "auto", default_missing_value = "true"
    )]
    pub rootless: Rootless,
}

impl Global {
    /// What `--rootless` says; `None` for auto.
    pub fn rootless(&self) -> Option<bool> {
        match self.rootless {
            Rootless::True => Some(true),
            Rootless::False => Some(false),
            Rootless::Auto => None,
        }
    }

    /// The manager that is asked for, by name or by `--systemd-cgroup`.
    pub fn cgroup_manager(&self) -> Manager {
        match (self.cgroup_manager, self.systemd_cgroup) {
            (Some(CgroupManager::Cgroupfs), _) => Manager::Cgroupfs,
            (None, false) => Manager::Auto,
            (Some(CgroupManager::Systemd), _) | (None, true) => Manager::Systemd,
            (Some(CgroupManager::Disabled), _) => Manager::Disabled,
        }
    }
}

/// `--cgroup-manager`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CgroupManager {
    /// hako makes a cgroup
    Cgroupfs,
    /// systemd makes a unit
    Systemd,
    /// Nobody makes one
    Disabled,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line, for engines
    Json,
}

/// `--log-level`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Errors alone
    Error,
    /// Warnings, too
    #[default]
    #[value(aliases = ["warn", "info"])]
    Warning,
    /// All there is
    #[value(alias = "trace")]
    Debug,
}

/// `--rootless`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    /// Always
    True,
    /// Never
    False,
    /// When hako does not run as root
    #[default]
    Auto,
}

/// Parses the command line.
pub fn parse() -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    usual::parse(&arguments).map_or_else(|| Cli::try_parse_from(join_rootless(arguments)), Ok)
}

/// `--rootless true` as runc has it, beside `--rootless` alone: the next word is its value only
/// if it can be.
fn join_rootless(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let is_value = ["true", "false", "auto"].iter().any(|value| argument == *value);
        match joined.last_mut() {
            Some(option) if is_value && option == "--rootless" => {
                option.push("=");
                option.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
}

/// One of these is given. The type of its options is described in the same words: what is built
/// late has the last one.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Create a container, ready to be started
    Create(Create),
    /// Run the program of a created container
    Start(Id),
    /// Print the state of a container
    State(Id),
    /// Send a signal to the first process of a container
    Kill(Kill),
    /// Remove a container that is not running
    Delete(Delete),
    /// Create and start a container, and wait for it
    Run(Run),
    /// Execute another program in a container
    Exec(Exec),
    /// List containers
    List(List),
    /// List the processes of a container
    Ps(Ps),
    /// Stop all processes of a container
    Pause(Id),
    /// Let the processes of a paused container go on
    Resume(Id),
    /// Change the limits of a container
    Update(Update),
    /// Save the processes of a container, to restore them later (needs criu)
    Checkpoint(Checkpoint),
    /// Make a container from a checkpoint, and wait for it (needs criu)
    Restore(Restore),
    /// Print statistics of a container, and when it runs out of memory
    Events(Events),
    /// Write an example config.json; with --rootless, one for an unprivileged user
    Spec(Spec),
    /// Print what this runtime supports, as JSON
    Features,
    /// Print what lets a shell complete commands, options and ids
    Completion(Completion),
    /// Print what would be done to create a container, and do nothing
    Explain(Explain),
}

// A container. A comment for the documentation would be shown by all commands that have this.
#[derive(Debug, Default, Args)]
#[allow(missing_docs)]
pub struct Id {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Default, Args)]
pub struct Bundle {
    /// Directory with config.json [default: the current one]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Configuration file [default: config.json in the bundle]
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Put a writable layer over the rootfs: on a tmpfs, or with =DIR in DIR
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub overlay: Option<String>,
    /// With --overlay: a further read-only layer above the rootfs, topmost first
    #[arg(long, value_name = "DIR", requires = "overlay")]
    pub overlay_lower: Vec<PathBuf>,
    /// Enter the rootfs without pivot_root
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
}

/// Create a container, ready to be started
#[derive(Debug, Clone, Default, Args)]
pub struct Create {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub bundle: Bundle,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub channels: Channels,
}

/// What a new process shares with the caller besides the standard streams.
#[derive(Debug, Clone, Default, Args)]
pub struct Channels {
    /// Unix socket that receives the terminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that receives a pidfd of the process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// File that receives the pid of the process
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Pass this many file descriptors on, from number 3
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    pub preserve_fds: u32,
}

/// Create and start a container, and wait for it
#[derive(Debug, Clone, Default, Args)]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub create: Create,
    /// Do not wait for the container
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container when it ends
    #[arg(long)]
    pub keep: bool,
    /// Do not adopt orphans of the container
    #[arg(long)]
    pub no_subreaper: bool,
}

/// Send a signal to the first process of a container
#[derive(Debug, Args)]
pub struct Kill {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// Signal, by name or number
    #[arg(value_name = "SIGNAL", default_value = DEFAULT_SIGNAL, allow_negative_numbers = true)]
    pub signal: String,
    /// Send it to all processes of the container
    #[arg(short, long)]
    pub all: bool,
    /// ID is a regular expression: send it to every container whose id it fits
    #[arg(short, long)]
    pub regex: bool,
}

/// What `kill` sends where it is not told what.
const DEFAULT_SIGNAL: &str = "SIGTERM";

impl Default for Kill {
    fn default() -> Self {
        Self { id: String::new(), signal: DEFAULT_SIGNAL.to_owned(), all: false, regex: false }
    }
}

/// Remove a container that is not running
#[derive(Debug, Default, Args)]
pub struct Delete {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    /// End it first if it still runs
    #[arg(short, long)]
    pub force: bool,
    /// ID is a regular expression: remove every container whose id it fits
    #[arg(short, long)]
    pub regex: bool,
}

/// List containers
#[derive(Debug, Args)]
pub struct List {
    /// Format of the list: table or json
    #[arg(short, long, default_value = "table", hide_possible_values = true)]
    pub format: ListFormat,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Write an example config.json; with --rootless, one for an unprivileged user
#[derive(Debug, Args)]
pub struct Spec {
    /// Directory to write config.json to
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Another name for it
    #[arg(short = 'f', long, value_name = "FILE", default_value = FILE_NAME)]
    pub config: PathBuf,
}

/// Print what lets a shell complete commands, options and ids
#[derive(Debug, Args)]
pub struct Completion {
    /// For which: bash, zsh or fish
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub shell: Shell,
}

/// A shell that completes words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU's
    Bash,
    /// With its `bashcompinit`
    Zsh,
    /// The friendly one
    Fish,
}

/// Print what would be done to create a container, and do nothing
#[derive(Debug, Args)]
pub struct Explain {
    /// Id the container would have
    #[arg(value_name = "ID", default_value = "container")]
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub bundle: Bundle,
    /// Format of the plan: text or json
    #[arg(long, default_value = "text", hide_possible_values = true)]
    pub format: ExplainFormat,
}

/// How plans are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_command_is_described_by_itself_as_in_the_list() {
        let mut built = Cli::command();
        built.build();
        for listed in Cli::command().get_subcommands() {
            let name = listed.get_name();
            let about = built.find_subcommand(name).and_then(clap::Command::get_about);
            assert_eq!(about, listed.get_about(), "{name}");
        }
    }
}
