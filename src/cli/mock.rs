//! `weir mock`: a stand-in for OpenRouter on a local port.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::mock::{Behaviour, Mock, Options, Tls};

/// Run a stand-in for OpenRouter that answers, fails and records as it is told.
#[derive(clap::Args, Clone, Debug)]
pub struct MockArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// Behaviour of every answer as `key=value`, for example `--set chunks=8 --set delay_ms=50`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Log of request bodies, appended to
    #[arg(long, value_name = "PATH", default_value = "openrouter_requests.log")]
    pub log: PathBuf,
    /// Keep no log of request bodies
    #[arg(long)]
    pub no_log: bool,
    /// Append a record of every exchange to this file, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How many records `GET /requests` shows
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub keep: usize,
    /// Keep headers and bodies of the requests in those records
    #[arg(long)]
    pub keep_requests: bool,
    /// Folder of recorded answers for `replay=NAME`
    #[arg(long, value_name = "DIR")]
    pub recorded: Option<PathBuf>,
    /// Answer 401 to requests without this bearer key
    #[arg(long, value_name = "KEY")]
    pub require_key: Option<String>,
    /// Serve TLS with this certificate chain (PEM)
    #[arg(long, value_name = "PEM", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "PEM", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,
    /// Seconds that answers under way may take after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub grace: u64,
}

/// Runs the mock until SIGTERM or SIGINT.
///
/// # Errors
/// When a file, the address or a `key=value` is of no use.
pub fn run(args: MockArgs) -> anyhow::Result<()> {
    let mut runtime = if args.threads > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    if args.threads > 1 {
        runtime.worker_threads(args.threads);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .context("no runtime for the mock")?;
    runtime.block_on(serve(args))
}

async fn serve(args: MockArgs) -> anyhow::Result<()> {
    let scheme = if args.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    // Before the mock listens: whoever sees it listening may already end it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mock = Mock::start(options(args)?)?;
    let mut out = std::io::stdout();
    writeln!(out, "mock listening on {scheme}://{}", mock.addr)?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    mock.shutdown().await;
    Ok(())
}

fn options(args: MockArgs) -> anyhow::Result<Options> {
    let tls = match args.tls_cert.zip(args.tls_key) {
        Some((certificate, key)) => Some(Tls {
            certificate: std::fs::read(&certificate)
                .with_context(|| format!("cannot read {}", certificate.display()))?,
            key: std::fs::read(&key).with_context(|| format!("cannot read {}", key.display()))?,
        }),
        None => None,
    };
    Ok(Options {
        listen: args.listen,
        behaviour: Behaviour::parse(&args.set.join(" "))?,
        require_key: args.require_key,
        log: (!args.no_log).then_some(args.log),
        record: args.record,
        recorded: args.recorded,
        keep: args.keep,
        keep_requests: args.keep_requests,
        tls,
        grace: Duration::from_secs(args.grace),
    })
}
