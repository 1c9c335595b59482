//! The composition root: reads the configuration, opens the stores, starts the server, ends it.
//!
//! The only place that names concrete stores and joins the proxy with the admin API. How processes
//! follow each other is in its parts: `enter` and `leave`, which meet at a `place` for the `handover`.

mod breaker;
mod console;
mod custody;
mod enter;
mod events;
mod handover;
mod inner;
mod leave;
mod listen;
mod notify;
mod place;
mod reload;
mod share;
mod successor;
mod warnings;
mod watch;

use crate::gateway::Gateway;
use crate::gateway::source::{Source, ca_file};
use crate::insight::Insights;
use crate::ledger::Book;
use crate::ledger::log::LogOptions;
use crate::ledger::shared::Shared;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::settings::Settings;
use crate::settings::environment::Environment;
use crate::settings::file::Flags;
use crate::settings::problem::Problems;
use crate::{otel, telemetry, tokens};
use anyhow::Context as _;
use enter::{Arrival, Entry};
use handover::Handed;
use leave::{Connections, Departure, Leave, Told};
use listen::Certificate;
use notify::Manager;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use place::Place;
use reload::Reloads;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Runs the gateway until it has left.
///
/// # Errors
/// When the configuration is not valid, the spend log cannot be opened, an address is taken, or with
/// `upgrade` nobody hands over.
pub fn serve(environment: &Environment, flags: &Flags, upgrade: bool) -> anyhow::Result<()> {
    let reloads = Reloads::start().context("the signal HUP")?;
    let source = Source::new(flags, environment, Path::new("."));
    let settings = source.settings().map_err(|problems| invalid(&problems))?;
    telemetry::start(&settings.log)?;
    // reqwest-free as the process is, rustls still wants one provider for all its users.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let (live, remarks) = source
        .live(&settings)
        .map_err(|problems| invalid(&problems))?;
    for warning in settings.warnings.iter().chain(&remarks) {
        tracing::warn!("{warning}");
    }
    let certificate = settings.listen.tls.as_ref().map(Certificate::read);
    let certificate = certificate.transpose()?;
    let place = Place::of(&settings.upgrade.socket);
    let entry = Entry::begin(&settings, &place, upgrade)?;
    let log = || format!("spend log {}", live.policy.spend_log.display());
    let options = log_options(&live.policy, &settings);
    let fleet = share::fleet(&settings, &options).with_context(log)?;
    if let Some(fleet) = &fleet {
        fleet.tell_of(Arc::clone(source.endpoints()));
    }
    let shared = fleet.clone().map(|fleet| fleet as Arc<dyn Shared>);
    let (book, recovery) =
        Book::open_sharing(options, &live.policy.accounts(), shared).with_context(log)?;
    tracing::info!(
        segment = %recovery.segment.display(),
        records = recovery.records,
        cut_bytes = recovery.cut_bytes,
        orphans = recovery.orphans,
        orphans.usd = %recovery.orphaned,
        live_processes = recovery.live,
        "spend log replayed"
    );
    tokens::warm();
    if let Some(fleet) = &fleet {
        share::wait(fleet, &settings);
    }

    let metrics = Metrics::of(&settings.metrics).context("metrics")?;
    let tracer = otel::start(&settings.otel, &metrics).context("otel")?;
    let limits = share::limits(&settings)?;
    let insights = insights(&settings, &live.policy)?;
    let gateway = Gateway::new(live, source, settings, Arc::clone(&book), fleet, metrics);
    let gateway = gateway.sharing(limits.clone().map(|limits| limits as _));
    let gateway = gateway.keeping(insights.clone());
    let gateway = custody::kept(gateway)?;
    let gateway = Arc::new(gateway.traced(tracer));
    gateway.restore_breaker();
    let _reloading = reloads.serve(&gateway);
    let _events = events::start(&gateway).context("events")?;
    let result = entry
        .finish(&gateway.settings, &place)
        .and_then(|(sockets, handed)| {
            let departure = Departure {
                gateway: Arc::clone(&gateway),
                place,
                sockets,
                manager: Manager::at(environment.filled("NOTIFY_SOCKET")),
                connections: Connections::default(),
                handed_over: AtomicBool::new(false),
            };
            run(&Arc::new(departure), certificate.as_ref(), handed)
        });
    if let Some(limits) = limits {
        limits.close();
    }
    book.close();
    if let Some(insights) = insights {
        insights.close();
    }
    gateway.quarantine.close();
    gateway.audit.close();
    events::written(&gateway.feed);
    gateway.told_all();
    telemetry::flush();
    result
}

/// Begins to keep finished requests, where that is wanted.
fn insights(settings: &Settings, policy: &Policy) -> anyhow::Result<Option<Arc<Insights>>> {
    if !settings.insights.enabled {
        return Ok(None);
    }
    let (stores, log) = (&settings.stores, &policy.spend_log);
    let insights = Insights::start(&settings.insights, stores, log);
    insights.map(Some).context("the thread for insights")
}

fn log_options(policy: &Policy, settings: &Settings) -> LogOptions {
    LogOptions {
        durability: settings.spend_log.durability,
        group_commit: settings.spend_log.group_commit,
        segment_size: settings.spend_log.segment_bytes,
        ..LogOptions::at(&policy.spend_log)
    }
}

fn invalid(problems: &Problems) -> anyhow::Error {
    anyhow::anyhow!("the configuration is not valid\n{problems}")
}

fn run(
    departure: &Arc<Departure>,
    certificate: Option<&Certificate>,
    handed: Option<Handed>,
) -> anyhow::Result<()> {
    let gateway = &departure.gateway;
    let mut server = Server::new_with_opt_and_conf(None, server_conf(gateway));
    server.bootstrap();
    let services = listen::services(
        gateway,
        &server.configuration,
        &departure.sockets,
        certificate,
        &departure.connections,
    )?;
    let services = server.add_services(services);
    let arrival = Arrival {
        departure: Arc::clone(departure),
        handed: Mutex::new(handed),
    };
    let arrival = server.add_service(background_service("arrive", arrival));
    arrival.add_dependencies(&services);
    let console = console::Console(Arc::clone(gateway));
    server.add_service(background_service("console", console));
    let warnings = warnings::Warnings(Arc::clone(gateway));
    server.add_service(background_service("warnings", warnings));
    let levels = breaker::Levels(Arc::clone(gateway));
    server.add_service(background_service("breaker", levels));
    let messages = breaker::Messages(Arc::clone(gateway));
    server.add_service(background_service("webhook", messages));
    let leave = Leave(Arc::clone(departure));
    server.add_service(background_service("leave", leave));
    server.run(RunArgs {
        shutdown_signal: Box::new(Told(Arc::clone(departure))),
    });
    Ok(())
}

fn server_conf(gateway: &Gateway) -> ServerConf {
    let settings = &gateway.settings;
    let trusted = ca_file(settings, &gateway.live().policy);
    ServerConf {
        threads: settings.threads,
        work_stealing: false,
        upstream_keepalive_pool_size: settings.upstream.pool_size,
        ca_file: trusted.map(|path| path.display().to_string()),
        grace_period_seconds: Some(settings.shutdown.grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}
