//! Where log lines go and what they look like.
//!
//! Decides format, level and buffering only; what is logged is the business of whoever logs.
//! Pingora's own messages (it uses `log`) join ours at warning level.
//!
//! Lines below warning level are gathered for up to a tenth of a second, so that a request does
//! not wait for whoever reads them; warnings and errors go out at once, with all lines before them.

use crate::settings::{Log, LogFormat};
use serde::Serialize;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};

/// How long a line may wait.
const PATIENCE: Duration = Duration::from_millis(100);

/// Gathered lines beyond this many bytes go out at once.
const ENOUGH: usize = 32 << 10;

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// One process has one standard error.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Starts logging to standard error.
///
/// # Errors
/// When the level is no valid filter, or logging was started before.
pub fn start(log: &Log) -> anyhow::Result<()> {
    JSON.store(log.format == LogFormat::Json, Ordering::Relaxed);
    let filter = EnvFilter::try_new(format!("pingora=warn,{}", log.level))?;
    let lines = fmt::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(Gathered);
    let started = match log.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging: {error}"))?;
    std::thread::Builder::new()
        .name("log-lines".to_owned())
        .spawn(|| {
            loop {
                std::thread::sleep(PATIENCE);
                flush();
            }
        })?;
    Ok(())
}

/// One finished request. Units are part of the names; what does not apply is `None` and left out.
#[derive(Debug, Serialize)]
pub struct Access<'a> {
    /// The request's id.
    #[serde(rename = "request.id")]
    pub id: String,
    /// The agent whose budget it fell under.
    #[serde(rename = "agent.id")]
    pub agent: &'a str,
    /// The tier, from 0.
    pub tier: usize,
    /// The model that answered, else the one asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The status that the client saw; 0 when it saw none.
    pub status: u16,
    /// The code of Weir's own refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'a str>,
    /// Connection attempts.
    pub attempts: u16,
    /// The charge in nano-dollars.
    #[serde(rename = "cost.nanos", skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// Where the charge came from.
    #[serde(rename = "cost.source", skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// Input tokens.
    #[serde(rename = "tokens.input", skip_serializing_if = "Option::is_none")]
    pub input: Option<u64>,
    /// Output tokens.
    #[serde(rename = "tokens.output", skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Whether the client left before the end.
    #[serde(rename = "client.gone", skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// From header to end.
    #[serde(rename = "duration_ms")]
    pub millis: u128,
    /// What went wrong upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
}

/// Writes the line of a finished request, at `info`. It does not go through the subscriber: at
/// tens of thousands a second its generality costs more than the rest of the bookkeeping.
pub fn access(line: &Access<'_>, unix_millis: u64) {
    if !tracing::enabled!(target: "weir::access", Level::INFO) {
        return;
    }
    let at = i64::try_from(unix_millis).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    let mut lines = lines();
    let begin = lines.len();
    let written = if JSON.load(Ordering::Relaxed) {
        json(&mut lines, &at, line)
    } else {
        write!(lines, "{at:.3}  INFO request ").and_then(|()| text(&mut lines, line))
    };
    if written.is_err() {
        lines.truncate(begin);
    }
    if lines.len() > ENOUGH {
        write_out(&mut lines);
    }
}

fn json(out: &mut Vec<u8>, at: &jiff::Timestamp, line: &Access<'_>) -> io::Result<()> {
    let fields = serde_json::to_vec(line)?;
    write!(
        out,
        r#"{{"timestamp":"{at:.3}","level":"INFO","message":"request","#
    )?;
    // The fields stand beside the others, so their opening brace is left out.
    out.extend_from_slice(fields.get(1..).unwrap_or_default());
    out.push(b'\n');
    Ok(())
}

fn text(out: &mut Vec<u8>, line: &Access<'_>) -> io::Result<()> {
    write!(
        out,
        "request.id={} agent.id={} tier={}",
        line.id, line.agent, line.tier
    )?;
    for (name, value) in [
        ("model", line.model),
        ("refused", line.refused),
        ("cost.source", line.source),
        ("error", line.error),
    ] {
        if let Some(value) = value {
            // A provider chooses its model's name.
            write!(out, " {name}=")?;
            out.extend(value.bytes().filter(|byte| (b'!'..=b'~').contains(byte)));
        }
    }
    for (name, value) in [("tokens.input", line.input), ("tokens.output", line.output)] {
        if let Some(value) = value {
            write!(out, " {name}={value}")?;
        }
    }
    if let Some(nanos) = line.cost {
        write!(out, " cost.nanos={nanos}")?;
    }
    if line.gone {
        write!(out, " client.gone=true")?;
    }
    let (status, attempts, millis) = (line.status, line.attempts, line.millis);
    writeln!(
        out,
        " status={status} attempts={attempts} duration_ms={millis}"
    )
}

/// Writes what was gathered; to be called before the process ends.
pub fn flush() {
    write_out(&mut lines());
}

fn lines() -> MutexGuard<'static, Vec<u8>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_out(lines: &mut Vec<u8>) {
    if !lines.is_empty() {
        // There is nowhere to report that standard error is gone.
        let _ = io::stderr().write_all(lines);
        lines.clear();
    }
}

/// Gives the place to write a line to.
struct Gathered;

/// The place for one line.
struct Line {
    lines: MutexGuard<'static, Vec<u8>>,
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Gathered {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            lines: lines(),
            urgent: true,
        }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line {
        Line {
            lines: lines(),
            urgent: *of.level() <= Level::WARN,
        }
    }
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.lines.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        write_out(&mut self.lines);
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.urgent || self.lines.len() > ENOUGH {
            write_out(&mut self.lines);
        }
    }
}
