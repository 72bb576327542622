//! `hako explain`: the plan, and nothing done.

use super::state::{print, print_json};
use super::{Session, bundle, create};
use crate::cli::{self, ExplainFormat};
use crate::error::Result;

/// Prints what `create` would do.
pub fn run(session: &Session, args: &cli::Explain) -> Result<()> {
    let (mut id, mut bundle) = (args.id.clone(), args.bundle.clone());
    bundle::locate(&mut id, &mut bundle)?;
    let plan = create::compile(session, &id, &bundle, false)?;
    match args.format {
        ExplainFormat::Text => print(&plan.to_string()),
        ExplainFormat::Json => print_json(&plan),
    }
}
