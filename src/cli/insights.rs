//! `weir insights`: what is done with finished requests from a shell, also while gateways run.

use super::FileArgs;
use crate::insight::store::Store;
use crate::insight::{self, Whose};
use crate::policy;
use crate::settings;
use crate::settings::environment::Environment;
use crate::settings::file::Files;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::path::Path;
use std::process::ExitCode;

/// What to do with the insights.
#[derive(Debug, Args)]
pub struct InsightsArgs {
    #[command(subcommand)]
    command: InsightsCommand,
}

#[derive(Debug, Subcommand)]
enum InsightsCommand {
    /// Remove every record of a user or an agent until now, and see to it that none comes back. The
    /// spend log keeps its own.
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Who {
    /// Whom to forget, by the name that keys have for them.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The agent to forget.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
}

#[derive(Debug, Args)]
struct ForgetArgs {
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    files: FileArgs,
}

/// Runs the command.
///
/// # Errors
/// When the configuration is not valid, or the store cannot be reached.
pub fn run(args: &InsightsArgs) -> anyhow::Result<ExitCode> {
    let InsightsCommand::Forget(args) = &args.command;
    let environment = Environment::capture(Path::new("."));
    let files = Files::choose(&args.files.flags(), &environment);
    let settings = settings::load(&files, &environment)
        .map_err(|problems| anyhow::anyhow!("the settings are not valid\n{problems}"))?;
    let policy = policy::load_all(&files, &environment)
        .map_err(|problems| anyhow::anyhow!("the policy is not valid\n{problems}"))?;
    // As in a gateway, one provider for all users of rustls.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = insight::place(&settings.insights, &settings.stores, &policy.spend_log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shown = place.shown();
        let opened = Store::open(&place).await;
        let store = opened.with_context(|| format!("insights at {shown}"))?;
        let until = jiff::Timestamp::now().as_millisecond();
        let user = args
            .who
            .user
            .as_deref()
            .map(|name| ("user", name, Whose::User(name)));
        let agent = args
            .who
            .agent
            .as_deref()
            .map(|name| ("agent", name, Whose::Agent(name)));
        for (kind, name, whose) in user.into_iter().chain(agent) {
            let gone = store
                .forget(whose, until)
                .await
                .with_context(|| format!("insights at {shown}"))?;
            println!("{kind} {name}: {gone} records removed from {shown}");
        }
        store.close().await;
        anyhow::Ok(())
    })?;
    println!("the spend log keeps its own records of them; backups are not touched");
    Ok(ExitCode::SUCCESS)
}
