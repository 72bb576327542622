//! A conformance suite for OCI runtimes on Linux: every sentence of the runtime specification that
//! binds a runtime and can be tested is a case, and so is what container engines rely on beyond it.
//!
//! The suite knows a runtime only as a path, and drives it with the command line that runc made
//! common: `create --bundle DIR --pid-file FILE ID`, `start`, `state`, `kill`, `delete`.

mod bundle;
mod case;
mod cases;
mod cgroup;
mod cli;
mod command;
mod container;
mod context;
mod coverage;
mod deviations;
mod holder;
mod host;
mod isolation;
mod leftovers;
mod report;
mod results;
mod runner;
mod runtime;
mod subject;
mod times;
mod unix;

use clap::Parser;
use cli::{Arguments, Format};
use runner::Outcome;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    // What the suite starts itself as, one process for each layer of isolation.
    if let Some(code) = isolation::enter_stage() {
        return code;
    }
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("oci-conformance: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, String> {
    if let Some(spec) = &arguments.check_coverage {
        return coverage::check(spec);
    }
    if arguments.coverage {
        return print(&coverage::print(arguments.format.unwrap_or(Format::Markdown))?);
    }
    let chosen = cases::matching(&arguments.filter);
    if arguments.list {
        return print(&report::list(&chosen));
    }
    if chosen.is_empty() {
        return Err("no case matches --filter; `--list` prints them all".into());
    }
    let format = arguments.format.unwrap_or(Format::Pretty);
    let progress = std::io::stderr().is_terminal() && format != Format::Pretty;
    let results = match runner::run(arguments, &chosen, progress)? {
        Outcome::Complete(results) => results,
        Outcome::Interrupted(signal) => {
            eprintln!("oci-conformance: ended by signal {signal}");
            return Ok(ExitCode::from(128 + signal));
        }
    };
    print(&report::render(format, &results))?;
    Ok(if results.changes() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints to standard output; a reader that has gone away is no fault.
fn print(text: &str) -> Result<ExitCode, String> {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(ExitCode::SUCCESS)
}
