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

/// One finished request. Names are those of OpenTelemetry's conventions where there are any; what does
/// not apply is `None` and left out.
#[derive(Debug, Serialize)]
pub struct Access<'a> {
    /// The trace that it belongs to.
    #[serde(rename = "trace_id", skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'a str>,
    /// Its span, where one is recorded.
    #[serde(rename = "span_id", skip_serializing_if = "Option::is_none")]
    pub span: Option<&'a str>,
    /// The request's id.
    #[serde(rename = "weir.request.id")]
    pub id: String,
    /// The route, a closed set: a surface, `local`, `other`.
    #[serde(rename = "weir.route")]
    pub route: &'a str,
    /// The path of the surface.
    #[serde(rename = "http.route", skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// The status that the client saw; 0 when it saw none.
    #[serde(rename = "http.response.status_code")]
    pub status: u16,
    /// What went wrong: the code of Weir's own refusal, a kind of failure, or a status.
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    /// What went wrong on a connection, in more words.
    #[serde(rename = "weir.error.detail", skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// The agent whose budget it fell under.
    #[serde(rename = "weir.agent.id", skip_serializing_if = "Option::is_none")]
    pub agent: Option<&'a str>,
    /// The tier, from 0.
    #[serde(rename = "weir.tier", skip_serializing_if = "Option::is_none")]
    pub tier: Option<usize>,
    /// What was asked for.
    #[serde(
        rename = "gen_ai.operation.name",
        skip_serializing_if = "Option::is_none"
    )]
    pub operation: Option<&'a str>,
    /// Who was asked last.
    #[serde(
        rename = "gen_ai.provider.name",
        skip_serializing_if = "Option::is_none"
    )]
    pub provider: Option<&'a str>,
    /// The model that the client asked for.
    #[serde(
        rename = "gen_ai.request.model",
        skip_serializing_if = "Option::is_none"
    )]
    pub asked: Option<&'a str>,
    /// The model that answered, else the one that the provider was asked for.
    #[serde(
        rename = "gen_ai.response.model",
        skip_serializing_if = "Option::is_none"
    )]
    pub model: Option<&'a str>,
    /// Input tokens.
    #[serde(
        rename = "gen_ai.usage.input_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    pub input: Option<u64>,
    /// Output tokens.
    #[serde(
        rename = "gen_ai.usage.output_tokens",
        skip_serializing_if = "Option::is_none"
    )]
    pub output: Option<u64>,
    /// The charge in nano-dollars.
    #[serde(rename = "weir.cost.nano_usd", skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// Where the charge came from.
    #[serde(rename = "weir.cost.source", skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
    /// Connection attempts.
    #[serde(rename = "weir.attempts", skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u16>,
    /// Whether the client left before the end.
    #[serde(
        rename = "weir.client.gone",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub gone: bool,
    /// From header to the first generated token of a stream.
    #[serde(
        rename = "weir.first_token_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_token: Option<u128>,
    /// From header to end.
    #[serde(rename = "weir.duration_ms")]
    pub millis: u128,
}

/// Writes the line of a finished request. It does not go through the subscriber: at tens of thousands
/// a second its generality costs more than the rest of the bookkeeping.
pub fn access(line: &Access<'_>, unix_millis: u64, level: Level) {
    let wanted = if level == Level::INFO {
        tracing::enabled!(target: "weir::access", Level::INFO)
    } else {
        tracing::enabled!(target: "weir::access", Level::DEBUG)
    };
    if !wanted {
        return;
    }
    let at = i64::try_from(unix_millis).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_millisecond(at).unwrap_or_default();
    let mut lines = lines();
    let begin = lines.len();
    let written = if JSON.load(Ordering::Relaxed) {
        json(&mut lines, &at, line, level)
    } else {
        write!(lines, "{at:.3} {level:>5} request ").and_then(|()| text(&mut lines, line))
    };
    if written.is_err() {
        lines.truncate(begin);
    }
    if lines.len() > ENOUGH {
        write_out(&mut lines);
    }
}

fn json(
    out: &mut Vec<u8>,
    at: &jiff::Timestamp,
    line: &Access<'_>,
    level: Level,
) -> io::Result<()> {
    let fields = serde_json::to_vec(line)?;
    write!(
        out,
        r#"{{"timestamp":"{at:.3}","level":"{level}","message":"request","#
    )?;
    // The fields stand beside the others, so their opening brace is left out.
    out.extend_from_slice(fields.get(1..).unwrap_or_default());
    out.push(b'\n');
    Ok(())
}

fn text(out: &mut Vec<u8>, line: &Access<'_>) -> io::Result<()> {
    write!(out, "weir.request.id={} weir.route={}", line.id, line.route)?;
    for (name, value) in [
        ("trace_id", line.trace),
        ("span_id", line.span),
        ("weir.agent.id", line.agent),
        ("gen_ai.provider.name", line.provider),
        ("gen_ai.request.model", line.asked),
        ("gen_ai.response.model", line.model),
        ("weir.cost.source", line.source),
        ("error.type", line.error),
        ("weir.error.detail", line.detail),
    ] {
        if let Some(value) = value {
            // A provider chooses its model's name, and a client the one it asks for.
            write!(out, " {name}=")?;
            out.extend(value.bytes().filter(|byte| (b'!'..=b'~').contains(byte)));
        }
    }
    let tier = line.tier.and_then(|tier| u64::try_from(tier).ok());
    for (name, value) in [
        ("weir.tier", tier),
        ("gen_ai.usage.input_tokens", line.input),
        ("gen_ai.usage.output_tokens", line.output),
        ("weir.attempts", line.attempts.map(u64::from)),
    ] {
        if let Some(value) = value {
            write!(out, " {name}={value}")?;
        }
    }
    if let Some(nanos) = line.cost {
        write!(out, " weir.cost.nano_usd={nanos}")?;
    }
    if line.gone {
        write!(out, " weir.client.gone=true")?;
    }
    let (status, millis) = (line.status, line.millis);
    writeln!(
        out,
        " http.response.status_code={status} weir.duration_ms={millis}"
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
