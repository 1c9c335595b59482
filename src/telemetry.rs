//! Where log lines go and what they look like.
//!
//! Decides format, level and buffering only; what is logged is the business of whoever logs.
//! Pingora's own messages (it uses `log`) join ours at warning level.
//!
//! Lines below warning level are gathered for up to a tenth of a second, so that a request does
//! not wait for whoever reads them; warnings and errors go out at once, with all lines before them.

use crate::settings::{Log, LogFormat};
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};

/// How long a line may wait.
const PATIENCE: Duration = Duration::from_millis(100);

/// Gathered lines beyond this many bytes go out at once.
const ENOUGH: usize = 32 << 10;

/// One process has one standard error.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Starts logging to standard error.
///
/// # Errors
/// When the level is no valid filter, or logging was started before.
pub fn start(log: &Log) -> anyhow::Result<()> {
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
