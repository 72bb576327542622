//! The command table and the two ways to drive it: a chain on the command
//! line, and `serve`, which reads chains from standard input.

use crate::errno::{Outcome, invalid};
use crate::{files, kernel, processes, report, say, signals, spying, terminal};
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// Runs commands separated by `--`, printing one JSON value for each.
pub fn chain(words: &[String]) {
    for command in words.split(|word| word == "--") {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        if let Some(value) = run(&words).unwrap_or_else(|failure| Some(failure.to_json())) {
            say(&value);
        }
    }
}

/// Runs one command; `None` when it has printed for itself.
fn run(words: &[&str]) -> Outcome<Option<Value>> {
    let value = match *words {
        ["report"] => report::full(),
        ["read", path] => files::read(path)?,
        ["write", path, ref text @ ..] => files::write(path, &text.join(" "))?,
        ["append", path, ref text @ ..] => files::append(path, &text.join(" "))?,
        ["save", path] => files::save(path)?,
        ["count", path] => files::count(path)?,
        ["into", path, ref command @ ..] => into(path, command)?,
        ["lock", path, ref command @ ..] => {
            let _lock = files::lock(path)?;
            return run(command);
        }
        ["open", path, flags] => files::open(path, flags)?,
        ["stat", path] => files::stat(path)?,
        ["follow", path] => files::follow(path)?,
        ["statfs", path] => files::statfs(path)?,
        ["ls", path] => files::list(path)?,
        ["mkdir", path] => files::mkdir(path)?,
        ["unlink", path] => files::unlink(path)?,
        ["symlink", target, path] => files::symlink(target, path)?,
        ["chmod", path, mode] => files::chmod(path, mode)?,
        ["chown", path, uid, gid] => files::chown(path, uid, gid)?,
        ["copy", from, to] => files::copy(from, to)?,
        ["mknod", path, kind, major, minor] => files::mknod(path, kind, major, minor)?,
        ["mount", source, target, kind] => kernel::mount(source, target, kind)?,
        ["umount", target] => kernel::umount(target)?,
        ["syscall", number, ref args @ ..] => kernel::syscall(number, args)?,
        ["syscall-32", number] => kernel::syscall_32(number)?,
        ["alloc", mebibytes] => kernel::alloc(mebibytes)?,
        ["verbs", path] => kernel::verbs(path)?,
        ["run", path, ref args @ ..] => processes::run(path, args, None)?,
        ["run-as", id, path, ref args @ ..] => processes::run(path, args, Some(id))?,
        ["exec", path, ref args @ ..] => processes::exec(path, args)?,
        ["spawn-sleep"] => processes::spawn_sleep()?,
        ["sleep", seconds] => processes::sleep(seconds)?,
        ["exit", code] => processes::exit(code)?,
        ["kill", pid, signal] => signals::kill(pid, signal)?,
        ["signal-self", signal] => signals::signal_self(signal)?,
        ["trap"] => signals::trap()?,
        ["notify", ref lines @ ..] => processes::notify(lines)?,
        ["seize", path] => spying::seize(path)?,
        ["thaw", number] => spying::thaw(number)?,
        ["pry", seconds, mark] => spying::pry(seconds, mark)?,
        ["tty"] => terminal::streams(),
        ["print", ref text @ ..] => return print(&text.join(" ")),
        ["eprint", ref text @ ..] => return eprint(&text.join(" ")),
        ["cat"] => return cat(),
        ["serve"] => return serve(),
        _ => return Err(invalid(format!("no such command: {}", words.join(" ")))),
    };
    Ok(Some(value))
}

/// Runs one command and writes what it says to a file, for hooks: nobody reads what they print.
fn into(path: &str, command: &[&str]) -> Outcome<Value> {
    let value = run(command).unwrap_or_else(|failure| Some(failure.to_json()));
    files::write(path, &value.unwrap_or_default().to_string())
}

/// Prints plain text, for tests that look at the stream itself.
fn print(text: &str) -> Outcome<Option<Value>> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(None)
}

/// Prints plain text on standard error.
fn eprint(text: &str) -> Outcome<Option<Value>> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(None)
}

/// Copies standard input to standard output until its end.
fn cat() -> Outcome<Option<Value>> {
    let bytes = std::io::copy(&mut std::io::stdin(), &mut std::io::stdout())?;
    Ok(Some(json!({ "copied": bytes })))
}

/// Reads one chain a line until the end of input. It lets a test ask a running
/// container one question after another.
fn serve() -> Outcome<Option<Value>> {
    say(&json!("serving"));
    for line in std::io::stdin().lock().lines() {
        let words: Vec<String> = line?.split_whitespace().map(String::from).collect();
        chain(&words);
    }
    Ok(None)
}
