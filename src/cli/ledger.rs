//! `weir ledger`: whether the logs of gateways and the state that they share in Redis agree.
//!
//! Reads only, also while the gateways run. What has to agree is decided in
//! [`crate::fleet::reconcile`]; here it is decided what is read how often, and what a shell is told.

mod show;

use super::{FileArgs, spend};
use crate::fleet::audit::{Auditor, Kept, Phase};
use crate::fleet::reconcile::{Findings, Kind, asked, compare};
use crate::ledger::log::{Clock, Summary};
use crate::ledger::statement::{Statement, verify_live};
use crate::policy;
use crate::settings::environment::Environment;
use crate::settings::file::Files;
use crate::settings::{self, Redis, units};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long after a look there is another one.
const AGAIN: Duration = Duration::from_millis(300);

/// What to do with the ledger.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Compare spend logs with what gateways share in Redis. Exit status 0: they agree; 1: they do
    /// not; 2: they could not be compared.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The logs [default: the policy's]
    #[arg(value_name = "LOG")]
    logs: Vec<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// How long to look again at what does not agree, because it may be on its way.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|complaint| complaint.message)
}

/// One log that was read whole.
struct Read {
    path: PathBuf,
    summary: Summary,
}

/// Everything that is told.
struct Report {
    logs: Vec<Read>,
    statements: Vec<Statement>,
    /// Where there is a Redis.
    shared: Option<(Redis, Kept, Findings)>,
    now_millis: u64,
}

impl Report {
    fn agrees(&self) -> bool {
        let empty = self.logs.iter().all(|log| log.summary.settlements == 0);
        self.shared.as_ref().is_none_or(|(_, kept, findings)| {
            let open = kept.phase == Phase::Open || (kept.phase == Phase::Empty && empty);
            open && findings.unmatched.is_empty()
        })
    }
}

/// Runs the command.
///
/// # Errors
/// None: what keeps it from its work is printed, and its exit status is 2.
pub fn run(args: &LedgerArgs) -> anyhow::Result<ExitCode> {
    let LedgerCommand::Verify(args) = &args.command;
    match verify(args) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("weir: {error:#}");
            Ok(ExitCode::from(2))
        }
    }
}

fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let environment = Environment::capture(Path::new("."));
    let files = Files::choose(&args.files.flags(), &environment);
    let settings = settings::load(&files, &environment)
        .map_err(|problems| anyhow::anyhow!("the settings are not valid\n{problems}"))?;
    // With logs that are named, a policy only says in which windows the oldest rows count.
    let needed = args.logs.is_empty() || !files.policy.is_left_out();
    let policy = needed
        .then(|| policy::load_all(&files, &environment))
        .transpose()
        .map_err(|problems| anyhow::anyhow!("the policy is not valid\n{problems}"))?;
    let specs = policy.as_ref().map(policy::Policy::accounts);
    let specs = specs.unwrap_or_default();
    let logs = match &policy {
        Some(policy) if args.logs.is_empty() => vec![policy.spend_log.clone()],
        _ => args.logs.clone(),
    };
    let Some(redis) = &settings.stores.redis else {
        if !args.json {
            println!("no Redis is set up: what is in the log stands by itself");
            let mut code = ExitCode::SUCCESS;
            for log in &logs {
                code = spend::check(log)?.unwrap_or(code);
            }
            return Ok(code);
        }
        return tell(&alone(&logs)?, args.json);
    };
    let mut report = alone(&logs)?;
    // reqwest-free as the process is, rustls still wants one provider for all its users.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    let read = || -> anyhow::Result<Vec<Statement>> {
        let read = |log: &PathBuf| Ok(Statement::read(log, &specs)?);
        logs.iter().map(read).collect()
    };
    report.statements = read()?;
    let looking = look(redis, &report.statements, args.wait, &read);
    let (kept, mut findings) = runtime
        .block_on(looking)
        .with_context(|| format!("Redis at {}", redis.place()))?;
    name_ends(&mut findings, &logs)?;
    report.now_millis = Clock::default().millis();
    report.shared = Some((redis.clone(), kept, findings));
    tell(&report, args.json)
}

/// The logs by themselves.
fn alone(logs: &[PathBuf]) -> anyhow::Result<Report> {
    let mut report = Report {
        logs: Vec::new(),
        statements: Vec::new(),
        shared: None,
        now_millis: Clock::default().millis(),
    };
    for path in logs {
        let summary = verify_live(path)?;
        anyhow::ensure!(summary.segments > 0, "{}: there is no log", path.display());
        if let Some(damage) = &summary.damage {
            let (path, at, reason) = (damage.path.display(), damage.at, damage.reason);
            anyhow::bail!("{path}: damaged at byte {at}: {reason}");
        }
        let path = path.clone();
        report.logs.push(Read { path, summary });
    }
    Ok(report)
}

/// Compares until everything agrees, or what does not has had `wait` to arrive.
async fn look(
    redis: &Redis,
    before: &[Statement],
    wait: Duration,
    read: &dyn Fn() -> anyhow::Result<Vec<Statement>>,
) -> anyhow::Result<(Kept, Findings)> {
    let started = Instant::now();
    let mut auditor = Auditor::connect(redis).await?;
    let mut previous: Option<Findings> = None;
    loop {
        let now = i64::try_from(Clock::default().millis() / 1000).unwrap_or(i64::MAX);
        let kept = auditor.look(&asked(before, now)).await?;
        let mut findings = compare(before, &kept, &read()?, now);
        let waited = started.elapsed() >= wait;
        if let Some(previous) = previous.replace(findings.clone()).filter(|_| waited) {
            // Under load there is always something on its way, but never the same.
            findings.only_again(&previous);
            return Ok((kept, findings));
        }
        if findings.unmatched.is_empty() && kept.phase == Phase::Open {
            return Ok((kept, findings));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Tells holds that ended while they were looked at from those that no log knows.
fn name_ends(findings: &mut Findings, logs: &[PathBuf]) -> anyhow::Result<()> {
    let unknown = |kind| kind == Kind::HoldNotInLog;
    if !findings.unmatched.iter().any(|one| unknown(one.kind)) {
        return Ok(());
    }
    let summaries = logs.iter().map(|log| verify_live(log));
    let summaries: Vec<Summary> = summaries.collect::<Result<_, _>>()?;
    for one in findings
        .unmatched
        .iter_mut()
        .filter(|one| unknown(one.kind))
    {
        let ended = |summary: &Summary| one.attempt.is_some_and(|id| summary.is_open(id).is_some());
        if summaries.iter().any(ended) {
            one.kind = Kind::HoldEnded;
        }
    }
    Ok(())
}

fn tell(report: &Report, json: bool) -> anyhow::Result<ExitCode> {
    let text = if json {
        show::json(report)
    } else {
        show::text(report)
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).context("standard output")?;
    Ok(if report.agrees() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
