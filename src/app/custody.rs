//! What is remembered of callers for the guard: its files, and the part in what gateways share.

use crate::custody::{Audit, AuditFiles, Canaries, Quarantine};
use crate::fleet::connect::Connector;
use crate::gateway::Gateway;
use crate::ledger::log::Clock;
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The folder beside the spend log, where nothing else is said.
const FOLDER: &str = "guard";

/// The gateway, with quarantines, canaries and the audit kept where the settings say.
///
/// # Errors
/// When a file cannot be read, the system gives no thread, or there is no way to Redis.
pub(super) fn kept(gateway: Gateway) -> anyhow::Result<Gateway> {
    let settings = &gateway.settings.orchestrator;
    let clock = Clock::default();
    let live = gateway.live();
    let beside = |file: &Option<PathBuf>, name: &str| match file {
        Some(file) => file.clone(),
        None => live.policy.spend_log.with_file_name(FOLDER).join(name),
    };
    let audit = if settings.audit.enabled {
        let files = AuditFiles {
            path: beside(&settings.audit.file, "audit.jsonl"),
            size: settings.audit.size,
            retention: settings.audit.retention,
        };
        let shown = shown("audit", &files.path);
        Audit::start(files, clock.clone()).with_context(shown)?
    } else {
        Audit::off()
    };
    let audit = Arc::new(audit);
    let path = beside(&settings.quarantine_file, "quarantine.jsonl");
    let quarantine = Quarantine::open(settings.quarantine.clone(), clock.clone(), &path)
        .with_context(shown("quarantine", &path))?;
    let quarantine = Arc::new(quarantine.audited(Arc::clone(&audit)));
    let canaries = Arc::new(Canaries::new(settings.sessions.clone(), clock));
    if let Some(redis) = &gateway.settings.stores.redis {
        let connector = Connector::new(redis).context("Redis")?;
        let wards = quarantine.share(connector, redis);
        canaries.share(wards.context("the thread for quarantines")?);
    }
    drop(live);
    Ok(gateway.guarding(quarantine, canaries, audit))
}

fn shown(what: &'static str, path: &Path) -> impl FnOnce() -> String + use<> {
    let path = path.display().to_string();
    move || format!("{what} {path}")
}
