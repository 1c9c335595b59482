//! `weir serve`: run the gateway until it is told to leave.

use crate::app;
use crate::settings::environment::Environment;
use crate::settings::file::Flags;
use clap::Args;
use std::path::{Path, PathBuf};

/// Where the configuration is, and whether to take over from a running process.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Who may spend what [default: $CONFIG_PATH, else ./policy.yaml]
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Which models exist [default: conf/models.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub models: Option<PathBuf>,
    /// How the process runs [default: conf/weir.yaml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Take the listeners over from a running process, which then leaves.
    #[arg(long)]
    pub upgrade: bool,
}

/// Runs the gateway.
///
/// # Errors
/// When the configuration is not valid, the spend log cannot be opened, or an address is taken.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let flags = Flags {
        policy: args.policy.clone(),
        models: args.models.clone(),
        config: args.config.clone(),
    };
    app::serve(&Environment::capture(Path::new(".")), &flags, args.upgrade)
}
