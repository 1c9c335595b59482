//! Leaving without a trace: answers say `Connection: close`, streams end, money is settled.
//!
//! Decides what each signal does. QUIT hands the listeners to the process that waits for them (and is
//! TERM where none does), USR2 starts that process first. On TERM or INT the listeners stay open for a
//! moment, then close. Either way the process goes as soon as nothing is in flight, at the latest
//! after the grace period; a second TERM or INT ends it at once.

use super::events;
use super::handover::{self, Offered};
use super::listen::Sockets;
use super::notify::Manager;
use super::place::Place;
use super::successor::Successor;
use crate::event::{Kind, Upgrade};
use crate::gateway::Gateway;
use anyhow::Context as _;
use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::BackgroundService;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long new connections are still taken, and answered with `Connection: close`, once the process
/// was told to end: whoever spreads requests over several gateways learns of it meanwhile.
const LAME_DUCK: Duration = Duration::from_millis(500);

/// How long nothing must have been in flight.
const QUIET: Duration = Duration::from_millis(500);

/// How long connections without a request are kept after another process took over, so that their
/// clients learn from an answer, and not in the middle of a request, that they end.
const LINGER: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(20);

/// Connections of clients that are open, those without a request included.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(pub(super) Arc<AtomicUsize>);

/// What the process needs to leave.
pub(super) struct Departure {
    pub(super) gateway: Arc<Gateway>,
    pub(super) place: Place,
    pub(super) sockets: Sockets,
    pub(super) manager: Manager,
    pub(super) connections: Connections,
    /// Whether another process has the listeners now.
    pub(super) handed_over: AtomicBool,
}

impl Departure {
    /// From now on every answer says that the connection ends, or no longer.
    fn say(&self, leaving: bool) {
        self.gateway.stopping.store(leaving, Ordering::Relaxed);
    }

    /// Another process takes over, or this one has.
    pub(super) fn told(&self, phase: &'static str) {
        let pid = std::process::id();
        let feed = &self.gateway.feed;
        feed.tell(|| Kind::Upgrade(Upgrade { phase, pid }));
    }

    /// Hands the listeners over; `false` when nobody waits for them.
    async fn hand_over(&self) -> anyhow::Result<bool> {
        let patience = self.gateway.settings.upgrade.wait;
        let offered = handover::offer(&self.place, &self.sockets, patience).await?;
        if offered == Offered::Taken {
            self.handed_over.store(true, Ordering::Release);
            self.told("leaving");
            self.gateway.feed.leave();
            self.place.leave();
        }
        Ok(offered == Offered::Taken)
    }

    /// Starts the process that takes over, and hands over to it.
    async fn upgrade(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.place.is_awaited()?,
            "another process waits to take over; send QUIT to hand over to it"
        );
        let patience = self.gateway.settings.upgrade.wait;
        let mut successor = Successor::start()?;
        tokio::time::timeout(patience, successor.waits(&self.place))
            .await
            .context("the new process is not ready in time (upgrade.wait)")??;
        self.say(true);
        anyhow::ensure!(self.hand_over().await?, "the new process has ended");
        successor.leave();
        Ok(())
    }
}

/// The signals that make the process leave.
struct Signals {
    quit: Signal,
    upgrade: Signal,
    end: End,
}

/// The signals that make it end.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {},
            _ = self.interrupt.recv() => {},
        }
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            quit: signal(SignalKind::quit())?,
            upgrade: signal(SignalKind::user_defined2())?,
            end: End::new()?,
        })
    }
}

/// Waits for the signal to leave.
pub(super) struct Told(pub(super) Arc<Departure>);

impl Told {
    /// Hands over when told so, and comes back when this process is to end.
    async fn watch(&self, mut signals: Signals) {
        loop {
            let outcome = tokio::select! {
                () = signals.end.told() => return self.end(signals.end).await,
                _ = signals.quit.recv() => {
                    tracing::info!("told to hand over");
                    self.0.say(true);
                    tokio::select! {
                        () = signals.end.told() => return self.end(signals.end).await,
                        handed = self.0.hand_over() => handed,
                    }
                }
                _ = signals.upgrade.recv() => {
                    tracing::info!("told to start a new process and to hand over to it");
                    tokio::select! {
                        () = signals.end.told() => return self.end(signals.end).await,
                        upgraded = self.0.upgrade() => upgraded.map(|()| true),
                    }
                }
            };
            match outcome {
                Ok(true) => {
                    tracing::info!("handed over; requests in flight are finished here");
                    end_at_once_when_told_again(&self.0, signals.end, true);
                    return;
                }
                Ok(false) => {
                    let socket = self.0.place.socket().display();
                    tracing::warn!(%socket, "nobody waits to take over: ending, as for TERM");
                    return self.end(signals.end).await;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(%error, "not handed over; this process goes on");
                    self.0.say(false);
                }
            }
        }
    }

    async fn end(&self, end: End) {
        self.0.say(true);
        self.0.manager.stopping();
        tracing::info!("leaving");
        end_at_once_when_told_again(&self.0, end, false);
        tokio::time::sleep(LAME_DUCK).await;
        self.0.place.leave();
        self.0.gateway.feed.leave();
    }
}

/// Somebody who sends a second signal does not want to wait. After a hand-over the first one is that
/// for the whole gateway: what this process still has to finish, it may.
fn end_at_once_when_told_again(departure: &Arc<Departure>, mut end: End, handed_over: bool) {
    let departure = Arc::clone(departure);
    tokio::spawn(async move {
        if handed_over {
            end.told().await;
        }
        end.told().await;
        let cut = departure.gateway.in_flight.load(Ordering::Acquire);
        tracing::warn!(requests.cut = cut, "told again: ending at once");
        departure.gateway.book.close();
        crate::telemetry::flush();
        std::process::exit(if cut > 0 { 1 } else { 0 });
    });
}

#[async_trait]
impl ShutdownSignalWatch for Told {
    async fn recv(&self) -> ShutdownSignal {
        match Signals::new() {
            Ok(signals) => self.watch(signals).await,
            Err(error) => {
                tracing::error!(%error, "signals cannot be received; the process can only be killed");
                return std::future::pending().await;
            }
        }
        // The listeners are handed over by then, or nobody is to have them.
        ShutdownSignal::GracefulTerminate
    }
}

/// Ends the process once nothing is in flight.
pub(super) struct Leave(pub(super) Arc<Departure>);

impl Leave {
    /// Whether there is something to wait for.
    fn busy(&self, since: Instant) -> bool {
        let departure = &self.0;
        let lingering = departure.handed_over.load(Ordering::Acquire)
            && since.elapsed() < LINGER
            && departure.connections.0.load(Ordering::Relaxed) > 0;
        lingering || departure.gateway.in_flight.load(Ordering::Acquire) > 0
    }
}

#[async_trait]
impl BackgroundService for Leave {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.wait_for(|told| *told).await.is_err() {
            return;
        }
        let gateway = &self.0.gateway;
        let (since, grace) = (Instant::now(), gateway.settings.shutdown.grace);
        let mut quiet_since = since;
        while quiet_since.elapsed() < QUIET {
            if since.elapsed() >= grace {
                let left = gateway.in_flight.load(Ordering::Acquire);
                tracing::warn!(requests.cut = left, ?grace, "the grace period is over");
                // Pingora drops what is left, which settles it, and comes back to whoever started it.
                return;
            }
            if self.busy(since) {
                quiet_since = Instant::now();
            }
            tokio::time::sleep(LOOK).await;
        }
        gateway.book.close();
        events::written(&gateway.feed);
        gateway.told_all();
        self.0.place.leave();
        tracing::info!("left");
        crate::telemetry::flush();
        // Pingora would wait for its whole grace period.
        std::process::exit(0);
    }
}
