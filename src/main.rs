//! Seal, close stray descriptors, parse, dispatch, print the one error.

#![no_main]

use hako::cli;
use hako::commands::{self, Inherited};
use hako::report::Report;
use hako::weaken::{Defence, lacks};
use hako::{fault, seal, sys};

hako::entry!(run);

fn run() -> u8 {
    fault::refuse_call();
    let seal = match seal::seal() {
        Ok(seal) => seal,
        Err(error) => {
            Report::to_stderr().error(&error);
            return cli::FAILED;
        }
    };
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(usage) => {
            if !usage.use_stderr() {
                let _ = usage.print();
                return 0;
            }
            Report::from_arguments(std::env::args()).error(&cli::wrong_usage(&usage));
            return cli::status_of(&usage);
        }
    };
    // Descriptors the caller left open are the container's only on request.
    let count = cli.command.as_ref().map_or(0, commands::preserved_descriptors);
    let preserved = sys::take_inherited(count, seal.descriptor());
    let marked = match lacks(Defence::Descriptors) {
        false => sys::cloexec_from(3),
        true => Ok(()),
    };
    let inherited = Inherited { preserved, marked, seal };
    let report = match Report::open(&cli.global) {
        Ok(report) => report,
        Err(error) => {
            Report::to_stderr().error(&error);
            return cli::FAILED;
        }
    };
    let failure = commands::failure_status(cli.command.as_ref());
    match commands::run(cli, inherited, &report) {
        Ok(status) => status,
        Err(error) => {
            report.error(&error);
            failure
        }
    }
}
