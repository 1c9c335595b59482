//! `weir guard`: how good the guard is, measured on files with labels, and whether its audit holds.

mod audit;

use clap::{Args, Subcommand};
use std::process::ExitCode;

/// What to do with the guard.
#[derive(Debug, Args)]
pub struct GuardArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look into the audit
    Audit(audit::AuditArgs),
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, or is not of the form it should be.
pub fn run(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Audit(args) => audit::run(args),
    }
}
