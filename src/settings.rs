//! How the process runs: `conf/weir.yaml` and the environment, resolved.
//!
//! Decides every setting's default, unit and bounds, and which of file and variable wins (the
//! variable). It does not decide who may spend what; that is [`crate::policy`], which reads its
//! file with the same reader: [`yaml`] makes the tree, [`reader`] the typed values, [`problem`] the
//! diagnostics.

pub mod embedding;
pub mod environment;
mod events;
pub mod expand;
pub mod file;
pub mod fingerprint;
pub mod firewall;
mod insights;
mod orchestrator;
pub mod origin;
mod own_address;
pub mod problem;
pub mod reader;
pub mod restart;
mod sections;
mod stores;
pub mod units;
mod watching;
pub mod yaml;

pub use events::{EVENTS_PORT, EventFile, EventStream, Events};
pub use insights::{InsightSettings, InsightText};
pub use orchestrator::{
    AuditSettings, KEPT_STRIKES, Lasting, MessageLimits, ORCHESTRATOR_PORT, Orchestrator,
    QuarantineRules,
};
pub use sections::{
    Admin, Drain, Durability, Http2, Limits, Listen, Log, LogFormat, Reload, Shutdown, SpendLog,
    Timeouts, Tls, Upgrade, UpstreamLink,
};
pub use stores::{
    DATABASE_URL, Lease, Node, Postgres, PostgresServer, PostgresTls, REDIS_URL, Redis, RedisTls,
    Sentinel, Server, Stores,
};
pub use watching::{Metrics, Otel, Propagate};

use environment::Environment;
use file::Files;
use origin::Fact;
use problem::{Problem, Problems};
use reader::Reader;
use std::net::SocketAddr;

/// How the process runs. Fixed while it does.
#[derive(Clone)]
pub struct Settings {
    /// Where clients connect.
    pub listen: Listen,
    /// Threads that serve requests.
    pub threads: usize,
    /// What a request may be at most.
    pub limits: Limits,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// What is still read from the provider after the client left.
    pub drain: Drain,
    /// How the record of truth is written.
    pub spend_log: SpendLog,
    /// How the provider is connected to.
    pub upstream: UpstreamLink,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// How a new process takes over.
    pub upgrade: Upgrade,
    /// Whether a change of the files takes effect by itself.
    pub reload: Reload,
    /// What is logged.
    pub log: Log,
    /// What is measured.
    pub metrics: Metrics,
    /// Where traces and metrics are sent.
    pub otel: Otel,
    /// The admin API.
    pub admin: Admin,
    /// What is kept outside this process.
    pub stores: Stores,
    /// Where events go.
    pub events: Events,
    /// What is kept of finished requests.
    pub insights: InsightSettings,
    /// The routes of the API Orchestrator.
    pub orchestrator: Orchestrator,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Problem>,
    /// Every setting in force and where it came from.
    pub facts: Vec<Fact>,
}

impl Settings {
    /// Every address that the process listens on.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let own = [self.events.websocket, self.orchestrator.listen];
        self.listen.all().chain(own.into_iter().flatten())
    }
}

/// Reads the settings file, if there is one, and the environment. Where the AI Firewall's variables are
/// the policy, its port is the default.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(files: &Files, environment: &Environment) -> Result<Settings, Problems> {
    let chosen = &files.config;
    let text = if chosen.is_left_out() {
        String::new()
    } else {
        file::read(&chosen.path)?
    };
    let file = chosen.path.display().to_string();
    if !firewall::is_in_force(files, environment) {
        return parse(&file, &text, environment);
    }
    let mut settings = read(&file, &text, environment, &firewall::listen(environment))?;
    let remark = firewall::remark(&settings, environment);
    settings.warnings.extend(remark);
    Ok(settings)
}

/// Checks the text of a settings file called `file`; no text at all gives the defaults.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str, environment: &Environment) -> Result<Settings, Problems> {
    read(file, text, environment, &Listen::default())
}

/// The settings, which listen at `listen` unless they say otherwise.
fn read(
    file: &str,
    text: &str,
    environment: &Environment,
    listen: &Listen,
) -> Result<Settings, Problems> {
    let reader = Reader::new(file, environment);
    let node = reader.parse(text);
    let mut settings = match &node {
        Some(node) => sections::read::read(&reader.root(node), listen),
        None => sections::read::read(&reader.absent(), listen),
    };
    settings.insights.embedding.at = settings.listen.http;
    let findings = reader.finish()?;
    settings.warnings.extend(findings.warnings);
    settings.facts = findings.facts;
    Ok(settings)
}

#[cfg(test)]
#[path = "settings/tests.rs"]
mod tests;
