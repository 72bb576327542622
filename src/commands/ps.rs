//! `hako ps`: the processes of a container.

use super::Session;
use crate::cli::{self, ListFormat};
use crate::error::{Context, Error, Result};
use std::io::Write;
use std::process::{Command, Stdio};

/// Prints the processes: the lines of ps(1) that are about them, or their pids
/// as JSON. Some may have outlived init.
pub fn run(session: &Session, args: &cli::Ps) -> Result<()> {
    let container = session.container(&args.id)?;
    let pids = container.processes()?;
    let text = match args.format {
        ListFormat::Json => {
            let list: Vec<String> = pids.iter().map(i32::to_string).collect();
            format!("[{}]\n", list.join(","))
        }
        ListFormat::Table => select(&run_ps(&args.options)?, &pids)?,
    };
    std::io::stdout().write_all(text.as_bytes()).os(|| "cannot write to standard output")
}

fn run_ps(options: &[String]) -> Result<String> {
    let mut command = Command::new("ps");
    match options {
        [] => command.arg("-ef"),
        options => command.args(options),
    };
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Error::os("cannot execute ps", error)
            .hint("it is in the package procps; --format json does without")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("ps failed: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading, and the lines about `pids`.
fn select(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading.split_whitespace().position(|title| title == "PID").ok_or_else(|| {
        Error::new("couldn't find PID field in ps output")
            .hint("choose options that show it, such as -ef or aux")
    })?;
    let is_ours = |line: &&str| {
        let field = line.split_whitespace().nth(column);
        field.and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid))
    };
    let mut text = format!("{heading}\n");
    for line in lines.filter(is_ours) {
        text.push_str(line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn lines_are_selected_by_their_pid() {
        let table = "UID   PID  PPID CMD\nroot    1     0 init\nroot   12     1 a 1\nroot    2    12 b 12\n";
        assert_eq!(select(table, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 a 1\n");
        assert!(select("TTY CMD\n", &[1]).is_err());
    }
}
