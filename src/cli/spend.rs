//! `weir spend`: look into the spend log without a running gateway.

use crate::ledger::log::{self, LogError};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with the spend log.
#[derive(Debug, Args)]
pub struct SpendArgs {
    #[command(subcommand)]
    command: SpendCommand,
}

#[derive(Debug, Subcommand)]
enum SpendCommand {
    /// Check every record of a log and its rotated segments, and add them up.
    Verify {
        /// The log.
        #[arg(value_name = "FILE", default_value = "./spend.jsonl")]
        log: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When the log cannot be read.
pub fn run(args: &SpendArgs) -> anyhow::Result<ExitCode> {
    let SpendCommand::Verify { log } = &args.command;
    Ok(check(log)?.unwrap_or(ExitCode::SUCCESS))
}

/// Prints what a log says; an exit status when it is damaged.
pub(super) fn check(path: &Path) -> Result<Option<ExitCode>, LogError> {
    let summary = log::verify(path)?;
    println!("{} records in {} files", summary.records, summary.segments);
    for (agent, settled) in &summary.settled {
        println!("{agent}: ${settled} settled");
    }
    println!("{} reservations without an end", summary.open);
    println!(
        "{} charged in full because nothing was known",
        summary.unresolved
    );
    if summary.torn_bytes > 0 {
        println!(
            "{} bytes of a torn end, which the next start cuts off",
            summary.torn_bytes
        );
    }
    let Some(damage) = summary.damage else {
        println!("every record is whole");
        return Ok(None);
    };
    println!(
        "{}: damaged at byte {}: {}",
        damage.path.display(),
        damage.at,
        damage.reason
    );
    Ok(Some(ExitCode::from(2)))
}
