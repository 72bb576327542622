//! The eyes of the tests: a static program that runs inside a container and
//! says, in JSON, what the container really got.
//!
//! A command line is a chain of commands separated by `--`; each prints one
//! JSON value on one line. A command that fails prints `{"errno": "ENOENT"}`
//! and the chain goes on: failures are data for the test to judge.
//! Without arguments it prints the full report.

// The standard library's start-up code ignores SIGPIPE, installs handlers and
// reopens closed descriptors; a report must show what the runtime left.
#![no_main]
#![deny(clippy::undocumented_unsafe_blocks)]

mod commands;
mod errno;
mod files;
mod identity;
mod kernel;
mod mounts;
mod network;
mod processes;
mod report;
mod signals;
mod spying;
mod sys;
mod terminal;

use std::io::Write;

/// The C entry point; arguments come from `std::env`.
///
/// Returns the exit status of the process.
// SAFETY: this is the program's only `main`, with the signature that the C
// start-up code calls.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> libc::c_int {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.is_empty() {
        say(&report::full());
    } else {
        commands::chain(&words);
    }
    0
}

/// Prints one value on one line; a closed stdout is not this program's fault.
fn say(value: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}
