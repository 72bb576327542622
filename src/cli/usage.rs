//! A command line that could not be understood, in hako's words.

use super::{Cli, EXEC_FAILED, FAILED};
use crate::error::Error;
use crate::plan::closest;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong with the command line. `--help` shows how it is right.
pub fn wrong_usage(usage: &clap::Error) -> Error {
    let context = |kind| usage.get(kind).map(text).unwrap_or_default();
    let option = option_name(&context(ContextKind::InvalidArg));
    let value = context(ContextKind::InvalidValue);
    let error = match usage.kind() {
        ErrorKind::UnknownArgument if option.starts_with('-') => {
            Error::new(format!("there is no option {option}"))
        }
        ErrorKind::UnknownArgument => Error::new(format!("{option:?} is one word too many")),
        ErrorKind::InvalidSubcommand => unknown_command(&context(ContextKind::InvalidSubcommand)),
        ErrorKind::InvalidValue if value.is_empty() => {
            // podman knows by the words in brackets that there is such an option.
            Error::new(format!("{option} needs a value (flag needs an argument)"))
        }
        ErrorKind::InvalidValue => {
            let known = context(ContextKind::ValidValue);
            Error::new(format!("{option} cannot be {value:?}: it is one of {known}"))
        }
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(usage).map(ToString::to_string);
            Error::new(format!("{option} cannot be {value:?}: {}", plain(reason.as_deref())))
        }
        ErrorKind::TooManyValues => Error::new(format!("{option} takes no value")),
        ErrorKind::NoEquals => Error::new(format!("{option} takes its value after =")),
        ErrorKind::MissingRequiredArgument => Error::new(format!("{option} is missing")),
        ErrorKind::ArgumentConflict => {
            let other = option_name(&context(ContextKind::PriorArg));
            let both = if other == option { "twice".to_owned() } else { format!("with {other}") };
            Error::new(format!("{option} cannot be used {both}"))
        }
        ErrorKind::InvalidUtf8 => Error::new("an argument is not valid UTF-8"),
        _ => Error::new(first_line(&usage.render().to_string())),
    };
    error.hint("see hako --help, or --help after the command")
}

/// Exit status of such a command. Engines know from runc which faults of `exec` are
/// found before it begins: all but a missing program and a user that is no number.
pub fn status_of(usage: &clap::Error) -> u8 {
    let argument = usage.get(ContextKind::InvalidArg).map(text).unwrap_or_default();
    match (usage.kind(), option_name(&argument).as_str()) {
        (ErrorKind::MissingRequiredArgument, "PROGRAM")
        | (ErrorKind::ValueValidation, "--user") => EXEC_FAILED,
        _ => FAILED,
    }
}

fn unknown_command(typed: &str) -> Error {
    let error = Error::new(format!("there is no command {typed:?}"));
    let commands = Cli::command();
    let names: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
    match closest(typed, &names) {
        Some(name) => error.hint(format!("did you mean {name}?")),
        None => error,
    }
}

fn text(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(list) => list.join(", "),
        other => other.to_string(),
    }
}

/// Without what stands for its value: `--root` of `--root <DIR>`, `ID` of `<ID>`.
fn option_name(argument: &str) -> String {
    let name = match argument.starts_with('-') {
        true => argument.split(['=', ' ', '[']).next().unwrap_or_default(),
        false => argument.trim_matches(['<', '>', '[', ']', '.']),
    };
    name.to_owned()
}

/// Why a value was not taken, by whom it was not.
fn plain(reason: Option<&str>) -> String {
    match reason {
        None => "it is no such value".to_owned(),
        Some(reason) if reason.ends_with("found in string") => "it is no whole number".to_owned(),
        Some(reason) if reason.starts_with("number too ") => "it is too large".to_owned(),
        Some(reason) => match reason.split_once(" is not in ") {
            Some((_, range)) => format!("it is not from {}", range.replace("..=", " to ")),
            None => reason.to_owned(),
        },
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn every_fault_has_a_sentence() {
        for (line, sentence) in [
            ("frob", "there is no command \"frob\""),
            ("create", "ID is missing"),
            ("create a b", "\"b\" is one word too many"),
            ("create --nosuch a", "there is no option --nosuch"),
            ("--root", "--root needs a value (flag needs an argument)"),
            ("--log-format xml list", "--log-format cannot be \"xml\": it is one of text, json"),
            ("create --preserve-fds x a", "--preserve-fds cannot be \"x\": it is no whole number"),
            (
                "create --preserve-fds -1 a",
                "--preserve-fds cannot be \"-1\": it is not from 0 to 4294967295",
            ),
            ("delete --force=x a", "--force takes no value"),
            ("create --overlay-lower d a", "--overlay is missing"),
            ("exec --process f a sh", "--process cannot be used with PROGRAM"),
        ] {
            let usage = Cli::try_parse_from(std::iter::once("hako").chain(line.split(' ')));
            assert_eq!(wrong_usage(&usage.unwrap_err()).message, sentence, "{line}");
        }
    }
}
