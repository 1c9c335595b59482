//! The console: spend goes there, budgets come from there, and Weir does without it for as long as
//! it takes.
//!
//! Decides when it is spoken to. `docs/console.md` is the protocol; `message` and `answer` are its
//! two directions, `client` is the way there, `spend` is what waits, `session` is one exchange after
//! the other, and `kept` is what survives a restart. It does not decide what a budget does: that is [`crate::ledger::Book`], whose own
//! figures of what was spent no console lowers.

mod answer;
mod client;
mod kept;
mod message;
mod session;
mod spend;

use crate::gateway::Gateway;
use crate::policy::console::Console;
use kept::Home;
use session::Session;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The most settlements of one exchange.
const BATCH: usize = 500;

/// The longest wait for a console that is away, in intervals, and the time that caps it for long
/// intervals.
const PATIENCE: (u32, Duration) = (10, Duration::from_secs(600));

/// How often the policy and the process are looked at between exchanges.
const LOOK: Duration = Duration::from_millis(500);

/// The same, once the process leaves.
const HURRY: Duration = Duration::from_millis(20);

/// Why an exchange came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// There was no answer.
    #[error("{0}")]
    Unreachable(String),
    /// The answer was not there in time.
    #[error("no whole answer within {} seconds", client::TIMEOUT.as_secs())]
    Slow,
    /// The key does not open it.
    #[error("it refused the key (status {0}); check console.api_key and what the key may do there")]
    Refused(u16),
    /// It answered, but did not do it.
    #[error("it answered with status {0}")]
    Status(u16),
    /// What it answered is not the protocol.
    #[error("{0}; nothing of its answer was used")]
    Answer(#[from] answer::BadAnswer),
    /// Something on this side.
    #[error("{0}")]
    Here(String),
}

impl Failure {
    /// The name in the metrics: one of a closed set.
    fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Slow => "timeout",
            Self::Refused(_) => "refused",
            Self::Status(_) => "status",
            Self::Answer(_) => "bad_answer",
            Self::Here(_) => "local",
        }
    }
}

/// Speaks to the console of the policy in force, whenever there is one, until the process leaves.
pub async fn run(gateway: &Arc<Gateway>, mut leaving: watch::Receiver<bool>) {
    let mut link = Link::new(gateway);
    let mut due = Instant::now();
    loop {
        let left = *leaving.borrow() && gateway.in_flight.load(Ordering::Acquire) == 0;
        let live = gateway.live();
        let console = live.policy.console.as_ref();
        if link.turn_to(console) || left || Instant::now() >= due {
            due = link.round().await;
        }
        if left {
            return;
        }
        let look = if *leaving.borrow() { HURRY } else { LOOK };
        let pause = due.saturating_duration_since(Instant::now()).min(look);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            told = leaving.changed(), if !*leaving.borrow() => {
                if told.is_err() {
                    return;
                }
            }
        }
    }
}

/// The exchanges with one console after the other.
struct Link {
    gateway: Arc<Gateway>,
    log: PathBuf,
    console: Option<Arc<Console>>,
    /// Held by one process of this log at a time.
    home: Option<Home>,
    session: Option<Session>,
    /// Exchanges that failed since the last that did not, and the name of the last failure.
    failures: u32,
    failed: Option<&'static str>,
    greeted: bool,
}

impl Link {
    fn new(gateway: &Arc<Gateway>) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            log: gateway.live().policy.spend_log.clone(),
            console: None,
            home: None,
            session: None,
            failures: 0,
            failed: None,
            greeted: false,
        }
    }

    /// Takes the policy's console, and says whether that is another one than before.
    fn turn_to(&mut self, console: Option<&Arc<Console>>) -> bool {
        let same = self.console.as_ref() == console;
        if !same {
            self.console = console.map(Arc::clone);
            self.session = None;
            self.failures = 0;
            if self.console.is_none() {
                self.home = None;
                self.gateway.metrics.console_backlog(0);
            }
        }
        !same
    }

    /// One round: an exchange, and more of them while there is more to say. When the next is due.
    async fn round(&mut self) -> Instant {
        let began = Instant::now();
        let Some(console) = self.console.clone() else {
            return began + LOOK;
        };
        match self.exchanges(&console).await {
            Ok(false) => began + LOOK,
            Ok(true) => {
                self.succeeded(&console);
                began + console.interval
            }
            Err(failure) => {
                self.failed(&console, &failure);
                Instant::now() + wait(console.interval, self.failures, fastrand::u32(50..=100))
            }
        }
    }

    /// Whether there were any: another process of this log may be speaking to the console.
    async fn exchanges(&mut self, console: &Arc<Console>) -> Result<bool, Failure> {
        if self.home.is_none() {
            let here =
                |error: std::io::Error| Failure::Here(format!("beside the spend log: {error}"));
            self.home = Home::claim(&self.log).map_err(here)?;
        }
        let Some(home) = &self.home else {
            return Ok(false);
        };
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::begin(console, home)?),
        };
        let mut first = true;
        while session
            .exchange(&self.gateway, console, home, std::mem::take(&mut first))
            .await?
        {
            self.gateway.metrics.console_synced("ok");
        }
        Ok(true)
    }

    fn succeeded(&mut self, console: &Console) {
        self.gateway.metrics.console_synced("ok");
        let url = &console.url.text;
        if self.failed.take().is_some() {
            tracing::info!(console.url = %url, "the console is back");
        } else if !self.greeted {
            tracing::info!(console.url = %url, "synchronised with the console");
        }
        self.greeted = true;
        self.failures = 0;
    }

    fn failed(&mut self, console: &Console, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        self.gateway.metrics.console_synced(failure.name());
        let url = &console.url.text;
        // Told once, until something changes.
        if self.failed.replace(failure.name()) == Some(failure.name()) {
            tracing::debug!(console.url = %url, error = %failure, "no exchange with the console");
        } else if matches!(failure, Failure::Refused(_)) {
            tracing::error!(console.url = %url, error = %failure, "no exchange with the console");
        } else {
            tracing::warn!(
                console.url = %url,
                error = %failure,
                "no exchange with the console; budgets stay as they are and spend is kept for it"
            );
        }
    }
}

/// The time until the next try, after so many failures. `percent` is how much of it a gateway takes,
/// so that not all of them come back at once.
fn wait(interval: Duration, failures: u32, percent: u32) -> Duration {
    let doublings = failures.saturating_sub(1);
    let times = 2_u32.saturating_pow(doublings).min(PATIENCE.0);
    let longest = PATIENCE.1.max(interval);
    (interval * times).min(longest) * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_is_away_is_asked_ever_more_rarely_but_never_given_up() {
        let interval = Duration::from_secs(30);
        let waits: Vec<u64> = (1..8)
            .map(|failures| wait(interval, failures, 100).as_secs())
            .collect();
        assert_eq!(waits, [30, 60, 120, 240, 300, 300, 300]);
        assert_eq!(wait(interval, u32::MAX, 50).as_secs(), 150);
        let hour = Duration::from_secs(3600);
        assert_eq!(
            wait(hour, 9, 100),
            hour,
            "never longer than it takes anyway"
        );
        let day = Duration::from_secs(86_400);
        assert_eq!(wait(day, u32::MAX, 100), day);
    }
}
