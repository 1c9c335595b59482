//! The composition root: reads the configuration, opens the stores, starts the server, ends it.
//!
//! The only place that names concrete stores and joins the proxy with the admin API.

mod leave;
mod share;

use crate::admin::Admin;
use crate::answer::Answer;
use crate::balance::Endpoints;
use crate::catalog::Catalog;
use crate::gateway::{Gateway, Live};
use crate::ledger::Book;
use crate::ledger::log::LogOptions;
use crate::ledger::shared::Shared;
use crate::metrics::Metrics;
use crate::policy::audit::audit;
use crate::policy::{self, Policy};
use crate::proxy::{Front, Local, Proxy};
use crate::settings::environment::Environment;
use crate::settings::file::{Files, Flags};
use crate::settings::problem::{Problem, Problems};
use crate::settings::{self, Settings};
use crate::{telemetry, tokens};
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::listeners::ListenerConfig;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::protocols::l4::stream::L4BufferSettings;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::background_service;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;
use std::fs::DirBuilder;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

/// Read buffer of a client connection: headers are small, bodies are read past it.
const READ_BUFFER: usize = 4 << 10;

/// Runs the gateway until it has left.
///
/// # Errors
/// When the configuration is not valid, the spend log cannot be opened, or an address is taken.
pub fn serve(environment: &Environment, flags: &Flags, upgrade: bool) -> anyhow::Result<()> {
    let files = Files::choose(flags, environment);
    let settings = settings::load(&files, environment).map_err(|problems| invalid(&problems))?;
    telemetry::start(&settings.log)?;
    // reqwest-free as the process is, rustls still wants one provider for all its users.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let endpoints = Arc::new(Endpoints::default());
    let live = load(&files, environment, &endpoints).map_err(|problems| invalid(&problems))?;
    let found = audit(
        &live.policy,
        &settings,
        &live.catalog,
        jiff::Timestamp::now().as_second(),
    );
    for warning in settings
        .warnings
        .iter()
        .chain(&live.policy.warnings)
        .chain(&found)
    {
        tracing::warn!("{warning}");
    }
    if found.iter().any(Problem::is_error) {
        telemetry::flush();
        anyhow::bail!("the configuration is not safe to serve with; `weir check` explains");
    }
    let log = || format!("spend log {}", live.policy.spend_log.display());
    let options = log_options(&live.policy, &settings);
    let fleet = share::fleet(&settings, &options).with_context(log)?;
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

    let reload = {
        let (files, environment) = (files.clone(), environment.clone());
        Box::new(move || {
            load(&files, &environment, &endpoints)
                .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
        })
    };
    let metrics = Metrics::new().context("metrics")?;
    let gateway = Arc::new(Gateway::new(
        live,
        reload,
        settings,
        Arc::clone(&book),
        fleet,
        metrics,
    ));
    let result = run(&gateway, upgrade);
    book.close();
    telemetry::flush();
    result
}

/// Policy and prices from the files, resolved as one.
fn load(files: &Files, environment: &Environment, endpoints: &Endpoints) -> Result<Live, Problems> {
    let policy = policy::load_all(files, environment)?;
    let catalog = Catalog::bundled()
        .with_overrides(&policy.prices)
        .with_ceiling(policy.unpriced_ceiling);
    Ok(Live::new(policy, catalog, endpoints))
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

fn run(gateway: &Arc<Gateway>, upgrade: bool) -> anyhow::Result<()> {
    let settings = &gateway.settings;
    if upgrade {
        private_directory(&settings.upgrade.socket)?;
    }
    let mut server = Server::new_with_opt_and_conf(
        Opt {
            upgrade,
            ..Opt::default()
        },
        server_conf(settings, gateway),
    );
    server.bootstrap();

    let admin = Arc::new(AdminRoutes(Admin::new(gateway)));
    let proxy = Proxy::new(Arc::clone(gateway), admin);
    let mut proxy = HttpProxy::new(proxy, Arc::clone(&server.configuration));
    proxy.handle_init_modules();
    let timeouts = &settings.timeouts;
    let front = Front::new(proxy, timeouts.header, timeouts.keepalive);
    let mut service = Service::new("weir".to_owned(), front);
    let buffered = |endpoint: ListenerConfig| {
        endpoint.l4_buffer(L4BufferSettings::default().read(READ_BUFFER))
    };
    let address = settings.listen.http.to_string();
    if !upgrade {
        // Pingora ends the process without a word when it cannot bind.
        std::net::TcpListener::bind(settings.listen.http)
            .with_context(|| format!("cannot listen on {address}"))?;
    }
    service.add_listener(buffered(ListenerConfig::tcp(&address)));
    if let Some(tls) = &settings.listen.tls {
        let (cert, key) = (
            tls.cert.display().to_string(),
            tls.key.display().to_string(),
        );
        let mut offered = TlsSettings::intermediate(&cert, &key)
            .map_err(|error| anyhow::anyhow!("TLS certificate {cert}: {error}"))?;
        if tls.h2 {
            offered.enable_h2();
        }
        service.add_tls_with_settings(&tls.address.to_string(), None, offered);
    }
    server.add_service(service);
    server.add_service(background_service("leave", leave::Leave::new(gateway)));
    tracing::info!(%address, threads = settings.threads, "listening");
    server.run(RunArgs {
        shutdown_signal: Box::new(leave::Signals::new(gateway)),
    });
    Ok(())
}

/// Makes the directory of the upgrade socket, for this user only: whoever can connect to it gets
/// the listeners.
fn private_directory(socket: &Path) -> anyhow::Result<()> {
    let Some(directory) = socket.parent().filter(|directory| !directory.exists()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("upgrade socket: {}", directory.display()))
}

fn server_conf(settings: &Settings, gateway: &Gateway) -> ServerConf {
    let trusted = settings
        .upstream
        .ca_file
        .clone()
        .or_else(|| gateway.live().policy.upstream.ca_file.clone());
    ServerConf {
        threads: settings.threads,
        work_stealing: false,
        upstream_keepalive_pool_size: settings.upstream.pool_size,
        ca_file: trusted.map(|path| path.display().to_string()),
        upgrade_sock: settings.upgrade.socket.display().to_string(),
        grace_period_seconds: Some(settings.shutdown.grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

/// The admin API as routes of the proxy's listener.
struct AdminRoutes(Admin);

#[async_trait]
impl Local for AdminRoutes {
    fn serves(&self, path: &str) -> bool {
        Admin::serves(path)
    }

    async fn answer(&self, request: http::Request<Bytes>, peer: Option<IpAddr>) -> Answer {
        self.0.answer(request, peer).await
    }
}
