//! The command line: arguments, then a command, then an exit code.

pub mod check;
pub mod guard;
pub mod insights;
pub mod key;
pub mod ledger;
pub mod mock;
pub mod prices;
pub mod serve;
pub mod spend;
pub mod verify;

use crate::settings::file::Flags;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// A programmable edge proxy for LLM traffic: budgets that cannot be overspent, bills that are true.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::ServeArgs),
    /// Check the configuration and print the settings in force.
    Check(FileArgs),
    /// Run the mock provider.
    Mock(mock::MockArgs),
    /// Make API keys.
    Key(key::KeyArgs),
    /// Show or refresh the price table.
    Prices(prices::PricesArgs),
    /// Look into the spend log.
    Spend(spend::SpendArgs),
    /// Compare spend logs with what gateways share.
    Ledger(ledger::LedgerArgs),
    /// Remove somebody from the insights.
    Insights(insights::InsightsArgs),
    /// Measure how good the guard is, look into its audit.
    Guard(guard::GuardArgs),
    /// Check the signatures of a saved answer.
    Verify(verify::VerifyArgs),
}

/// The files that a user writes.
#[derive(Clone, Debug, Default, Args)]
pub struct FileArgs {
    /// Who may spend what [default: $CONFIG_PATH, else ./policy.yaml]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Which models exist [default: conf/models.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    models: Option<PathBuf>,
    /// How the process runs [default: conf/weir.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FileArgs {
    fn flags(&self) -> Flags {
        Flags {
            policy: self.policy.clone(),
            models: self.models.clone(),
            config: self.config.clone(),
        }
    }
}

/// Runs the command that the arguments name.
///
/// # Errors
/// Whatever keeps the command from doing its work.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Serve(args) => serve::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::run(&args),
        Command::Mock(args) => mock::run(args).map(|()| ExitCode::SUCCESS),
        Command::Key(args) => key::run(&args),
        Command::Prices(args) => prices::run(args),
        Command::Spend(args) => spend::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Insights(args) => insights::run(&args),
        Command::Guard(args) => guard::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}
