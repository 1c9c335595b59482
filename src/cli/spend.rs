//! `weir spend`: look into the spend log without a running gateway.

use crate::ledger::log;
use clap::{Args, Subcommand};
use std::path::PathBuf;
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
    let summary = log::verify(log)?;
    print!("{summary}");
    Ok(if summary.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}
