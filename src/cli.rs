//! The command line: arguments, then a command, then an exit code.

pub mod check;
pub mod key;
pub mod mock;
pub mod prices;
pub mod serve;
pub mod spend;

use clap::{Parser, Subcommand};
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
    Check(check::CheckArgs),
    /// Run the mock provider.
    Mock(mock::MockArgs),
    /// Make API keys.
    Key(key::KeyArgs),
    /// Show or refresh the price table.
    Prices(prices::PricesArgs),
    /// Look into the spend log.
    Spend(spend::SpendArgs),
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
    }
}
