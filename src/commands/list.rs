//! `hako list`: all containers.

use super::state::{Shown, print, print_json};
use super::{Container, Session};
use crate::cli::{self, ListFormat};
use crate::error::Result;
use crate::state;

/// Prints all containers. A damaged one is a warning, and the others are shown.
pub fn run(session: &Session, args: &cli::List) -> Result<()> {
    let ids = match state::list(&session.root) {
        // The default directory is made by the first container.
        Err(error) if error.errno == Some(libc::ENOENT) && session.global.root.is_none() => {
            Vec::new()
        }
        result => result?,
    };
    if args.quiet {
        let text: String = ids.iter().map(|id| format!("{id}\n")).collect();
        return print(&text);
    }
    let mut containers: Vec<Container> = Vec::new();
    for id in ids {
        match session.container(&id) {
            Ok(container) => containers.push(container),
            Err(error) => session.report.warning(format!("{id}: {error}")),
        }
    }
    let shown: Vec<Shown> = containers.iter().map(Shown::new).collect();
    match args.format {
        ListFormat::Json => print_json(&shown),
        ListFormat::Table => print(&table(&shown)),
    }
}

/// Columns as wide as their widest cell.
fn table(containers: &[Shown]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(containers.iter().map(|container| {
        [
            container.id.to_owned(),
            container.pid.to_string(),
            container.status.clone(),
            container.bundle.display().to_string(),
            container.created.to_owned(),
            container.owner.clone(),
        ]
    }));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("   ").trim_end())
        })
        .collect()
}
