//! `weir serve`: run the gateway until it is told to leave.

use super::FileArgs;
use crate::app;
use crate::settings::environment::Environment;
use clap::Args;
use std::path::Path;

/// Where the configuration is, and whether to take over from a running process.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Take the listeners over from a running process, which then leaves.
    #[arg(long)]
    upgrade: bool,
}

/// Runs the gateway.
///
/// # Errors
/// When the configuration is not valid, the spend log cannot be opened, or an address is taken.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    app::serve(
        &Environment::capture(Path::new(".")),
        &args.files.flags(),
        args.upgrade,
    )
}
