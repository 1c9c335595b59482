//! `weir guard`: how good the guard is, measured on files with labels, and whether its audit holds.

mod audit;
mod injection;
mod screen;
mod transform;

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
    /// Measure what it finds, and what it finds wrongly
    Measure(MeasureArgs),
    /// Look into the audit
    Audit(audit::AuditArgs),
}

#[derive(Debug, Args)]
struct MeasureArgs {
    #[command(subcommand)]
    what: Measure,
}

#[derive(Debug, Subcommand)]
enum Measure {
    /// Attacks on the instructions
    Injection(injection::InjectionArgs),
    /// Keys, tokens and passwords
    Secrets(screen::SecretsArgs),
    /// Personal data
    Pii(screen::PiiArgs),
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, or is not of the form it should be.
pub fn run(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Measure(measure) => match &measure.what {
            Measure::Injection(args) => injection::run(args),
            Measure::Secrets(args) => screen::secrets(args),
            Measure::Pii(args) => screen::pii(args),
        },
        Command::Audit(args) => audit::run(args),
    }
}
