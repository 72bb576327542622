//! The command lines that engines and people use all day, understood without
//! clap.
//!
//! clap takes longer to describe the options to itself and to go through them
//! than `start` or `state` take for their work. So what is usual is understood
//! here; about the rest, and about what is wrong, clap decides. Each line that is
//! understood here means the same to clap: tests hold the two together.

use super::exec::{parse_id, parse_user};
use super::{
    Bundle, CgroupManager, Channels, Cli, Command, Create, Delete, Exec, Global, Id, Kill,
    LogFormat, LogLevel, Rootless, Run,
};
use std::ffi::OsString;
use std::slice::Iter;

/// What a command line asks for, if it is a usual one. The first argument is the
/// name of the program.
pub fn parse(arguments: &[OsString]) -> Option<Cli> {
    let mut words = Words { left: arguments.get(1..)?.iter(), value: None };
    let mut global = Global::default();
    let name = loop {
        let word = words.next()?;
        match word.starts_with('-') {
            true => words.option(word, |name, words| global.option(name, words))?,
            false => break word,
        }
    };
    let command = match name {
        "create" => Command::Create(words.rest(&mut global)?),
        "start" => Command::Start(words.rest(&mut global)?),
        "state" => Command::State(words.rest(&mut global)?),
        "kill" => Command::Kill(words.rest(&mut global)?),
        "delete" => Command::Delete(words.rest(&mut global)?),
        "run" => Command::Run(words.rest(&mut global)?),
        "exec" => Command::Exec(words.rest(&mut global)?),
        "pause" => Command::Pause(words.rest(&mut global)?),
        "resume" => Command::Resume(words.rest(&mut global)?),
        _ => return None,
    };
    Some(Cli { global, command: Some(command), version: false })
}

/// The words that are left.
struct Words<'a> {
    left: Iter<'a, OsString>,
    /// What is written behind the option at hand and an equals sign.
    value: Option<&'a str>,
}

impl<'a> Words<'a> {
    /// `None` for what is left to clap: no word, an empty one, one that is not UTF-8.
    fn next(&mut self) -> Option<&'a str> {
        self.left.next()?.to_str().filter(|word| !word.is_empty())
    }

    /// The value of the option at hand. What looks like another option is left to clap.
    fn value(&mut self) -> Option<&'a str> {
        let value = match self.value.take() {
            Some(value) => value,
            None => self.next()?,
        };
        (!value.is_empty() && !value.starts_with('-')).then_some(value)
    }

    /// Has an option taken in, with its value.
    fn option(
        &mut self,
        word: &'a str,
        take: impl FnOnce(&str, &mut Self) -> Option<()>,
    ) -> Option<()> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        self.value = value;
        take(name, self)?;
        self.value.is_none().then_some(())
    }

    /// What stands behind the name of a command.
    fn rest<T: Usual>(mut self, global: &mut Global) -> Option<T> {
        let mut command = T::default();
        let mut count = 0;
        while self.left.len() > 0 {
            let word = self.next()?;
            if word.starts_with('-') {
                self.option(word, |name, words| {
                    global.option(name, words).or_else(|| command.option(name, words))
                })?;
            } else {
                command.plain(count, word, &mut self)?;
                count += 1;
            }
        }
        command.is_whole().then_some(command)
    }
}

/// What is filled in from a command line: the options of a command about one container.
trait Usual: Default {
    /// Where its id belongs.
    fn id(&mut self) -> &mut String;

    /// Takes an option in. `None` if there is none of this name, or it cannot have this value.
    fn option(&mut self, _name: &str, _words: &mut Words) -> Option<()> {
        None
    }

    /// Takes in a word that is no option, and before which `count` others are none.
    fn plain(&mut self, count: usize, word: &str, _words: &mut Words) -> Option<()> {
        (count == 0).then(|| self.id().push_str(word))
    }

    /// Whether nothing is missing.
    fn is_whole(&mut self) -> bool {
        !self.id().is_empty()
    }
}

impl Global {
    fn option(&mut self, name: &str, words: &mut Words) -> Option<()> {
        match name {
            "--root" => self.root = Some(words.value()?.into()),
            "--log" => self.log = Some(words.value()?.into()),
            "--log-format" => {
                self.log_format = match words.value()? {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return None,
                }
            }
            "--log-level" => {
                self.log_level = match words.value()? {
                    "error" => LogLevel::Error,
                    "warning" => LogLevel::Warning,
                    "debug" => LogLevel::Debug,
                    _ => return None,
                }
            }
            "--debug" => self.debug = true,
            "--systemd-cgroup" => self.systemd_cgroup = true,
            "--cgroup-manager" => {
                self.cgroup_manager = Some(match words.value()? {
                    "cgroupfs" => CgroupManager::Cgroupfs,
                    "systemd" => CgroupManager::Systemd,
                    "disabled" => CgroupManager::Disabled,
                    _ => return None,
                })
            }
            "--rootless" => {
                self.rootless = match words.value.take().unwrap_or("true") {
                    "true" => Rootless::True,
                    "false" => Rootless::False,
                    "auto" => Rootless::Auto,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

impl Usual for Id {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }
}

impl Usual for Kill {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn option(&mut self, name: &str, _words: &mut Words) -> Option<()> {
        match name {
            "-a" | "--all" => self.all = true,
            "-r" | "--regex" => self.regex = true,
            _ => return None,
        }
        Some(())
    }

    fn plain(&mut self, count: usize, word: &str, _words: &mut Words) -> Option<()> {
        match count {
            0 => self.id.push_str(word),
            1 => self.signal = word.to_owned(),
            _ => return None,
        }
        Some(())
    }
}

impl Usual for Delete {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn option(&mut self, name: &str, _words: &mut Words) -> Option<()> {
        match name {
            "-f" | "--force" => self.force = true,
            "-r" | "--regex" => self.regex = true,
            _ => return None,
        }
        Some(())
    }
}

impl Bundle {
    /// Those of overlays depend on each other.
    fn option(&mut self, name: &str, words: &mut Words) -> Option<()> {
        match name {
            "-b" | "--bundle" => self.bundle = Some(words.value()?.into()),
            "-f" | "--config" => self.config = Some(words.value()?.into()),
            "--no-pivot" => self.no_pivot = true,
            "--no-new-keyring" => self.no_new_keyring = true,
            _ => return None,
        }
        Some(())
    }
}

impl Channels {
    fn option(&mut self, name: &str, words: &mut Words) -> Option<()> {
        match name {
            "--console-socket" => self.console_socket = Some(words.value()?.into()),
            "--pidfd-socket" => self.pidfd_socket = Some(words.value()?.into()),
            "--pid-file" => self.pid_file = Some(words.value()?.into()),
            "--preserve-fds" => self.preserve_fds = words.value()?.parse().ok()?,
            _ => return None,
        }
        Some(())
    }
}

impl Usual for Create {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn option(&mut self, name: &str, words: &mut Words) -> Option<()> {
        self.bundle.option(name, words).or_else(|| self.channels.option(name, words))
    }
}

impl Usual for Run {
    fn id(&mut self) -> &mut String {
        self.create.id()
    }

    fn option(&mut self, name: &str, words: &mut Words) -> Option<()> {
        match name {
            "-d" | "--detach" => self.detach = true,
            "--keep" => self.keep = true,
            "--no-subreaper" => self.no_subreaper = true,
            _ => return self.create.option(name, words),
        }
        Some(())
    }
}

impl Usual for Exec {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn option(&mut self, name: &str, words: &mut Words) -> Option<()> {
        match name {
            "-p" | "--process" => self.process = Some(words.value()?.into()),
            "-d" | "--detach" => self.detach = true,
            "-t" | "--tty" => self.tty = true,
            "--cwd" => self.cwd = Some(words.value()?.into()),
            "-e" | "--env" => self.env.push(words.value()?.to_owned()),
            "-u" | "--user" => self.user = Some(parse_user(words.value()?).ok()?),
            "-g" | "--additional-gids" => {
                for id in words.value()?.split(',') {
                    self.additional_gids.push(parse_id(id).ok()?);
                }
            }
            "-c" | "--cap" => self.cap.push(words.value()?.to_owned()),
            "--no-new-privs" => self.no_new_privs = true,
            "--apparmor" => self.apparmor = Some(words.value()?.to_owned()),
            "--process-label" => self.process_label = Some(words.value()?.to_owned()),
            "--cgroup" => self.cgroup = Some(words.value()?.into()),
            "--ignore-paused" => self.ignore_paused = true,
            _ => return self.channels.option(name, words),
        }
        Some(())
    }

    /// The program takes all that stands behind it.
    fn plain(&mut self, count: usize, word: &str, words: &mut Words) -> Option<()> {
        if count == 0 {
            self.id.push_str(word);
            return Some(());
        }
        self.args.push(word.to_owned());
        for word in words.left.by_ref() {
            let word = word.to_str().filter(|word| *word != "--")?;
            self.args.push(word.to_owned());
        }
        Some(())
    }

    fn is_whole(&mut self) -> bool {
        !self.id.is_empty() && self.process.is_some() == self.args.is_empty()
    }
}

#[cfg(test)]
mod tests;
