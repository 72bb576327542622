//! The command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Tests OCI runtimes against the runtime specification 1.3.0.
///
/// Needs root and cgroup v2. Each case runs in pid, mount, cgroup, network, IPC and UTS namespaces
/// of its own. Exit code: 0 when everything is as expected, 1 when a result is not, 2 when the
/// suite could not run, 128 and the number of the signal that ended it.
#[derive(Debug, Parser)]
#[command(name = "oci-conformance", version)]
pub struct Arguments {
    /// A runtime to test: a path, a name in PATH, or LABEL=PATH. Several are compared
    #[arg(long = "runtime", value_name = "PATH", required_unless_present_any = ["list", "coverage", "check_coverage"])]
    pub runtimes: Vec<String>,

    /// Only cases whose id contains one of these
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    pub filter: Vec<String>,

    /// How results are printed
    #[arg(long, value_enum)]
    pub format: Option<Format>,

    /// Print the cases and run none
    #[arg(long)]
    pub list: bool,

    /// Cases that run at the same time [default: number of CPUs]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,

    /// Seconds after which one command of the runtime counts as hanging
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,

    /// Known deviations: results that are expected to fail. One file for each runtime, in order
    #[arg(long, value_name = "FILE")]
    pub deviations: Vec<PathBuf>,

    /// Print which case tests which sentence of the specification, and why some are not tested
    #[arg(long)]
    pub coverage: bool,

    /// Compare that table with the text of the specification in this directory
    #[arg(long, value_name = "DIR")]
    pub check_coverage: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: failures with what was expected, and a summary by section
    Pretty,
    /// Test Anything Protocol 14
    Tap,
    /// Everything that is known
    Json,
    /// JUnit XML, which continuous integration systems show
    Junit,
    /// A table with one column for each runtime
    Markdown,
}
