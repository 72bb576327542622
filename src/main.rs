//! Seal, close stray descriptors, parse, dispatch, print the one error.

use clap::Parser;
use hako::cli::Cli;
use hako::report::Report;
use hako::{commands, seal, sys};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = seal::seal() {
        Report::to_stderr().error(&error);
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    // Descriptors the caller left open are the container's only on request.
    let preserved = sys::take_inherited(cli.command.as_ref().map_or(0, commands::preserved_descriptors));
    let marked = sys::cloexec_from(3);
    let report = match Report::open(&cli.global) {
        Ok(report) => report,
        Err(error) => {
            Report::to_stderr().error(&error);
            return ExitCode::FAILURE;
        }
    };
    match commands::run(cli, preserved, marked, &report) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            report.error(&error);
            ExitCode::FAILURE
        }
    }
}
