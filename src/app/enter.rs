//! How a process comes to its listeners: it binds them, or takes over those of another process.
//!
//! Decides the order: everything that can be wrong with a new process is found before it touches the
//! one that serves. With `--upgrade` and nobody to take over from, it starts as without.

use super::handover::{self, Handed};
use super::leave::Departure;
use super::listen::Sockets;
use super::place::{Place, Waiting};
use crate::settings::Settings;
use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a process that left on its own may take to close its listeners.
const CLOSING: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(50);

/// The way in.
pub(super) enum Entry {
    /// The sockets are bound.
    Bound(Sockets),
    /// Another process has them.
    Waits(Waiting),
}

impl Entry {
    /// Binds the listeners, or makes sure that this is the process to take them over.
    ///
    /// # Errors
    /// When an address is taken; when another process waits to take over, or the place to meet is
    /// open to other users.
    pub(super) fn begin(settings: &Settings, place: &Place, upgrade: bool) -> anyhow::Result<Self> {
        if upgrade {
            place.private()?;
            let waiting = place.wait()?;
            if place.is_served()? {
                return Ok(Self::Waits(waiting));
            }
            tracing::info!("no process serves here that could hand over; starting without one");
        }
        let sockets = Sockets::open(settings, Vec::new())?;
        let noted = place.private().and_then(|()| place.serve(false));
        if let Err(error) = noted {
            let error = format!("{error:#}");
            tracing::warn!(%error, "no other process can take over from this one (upgrade.socket)");
        }
        Ok(Self::Bound(sockets))
    }

    /// The sockets, once they are this process's, and who must be told that it serves.
    ///
    /// # Errors
    /// When nobody hands them over in time, or an address is taken.
    pub(super) fn finish(
        self,
        settings: &Settings,
        place: &Place,
    ) -> anyhow::Result<(Sockets, Option<Handed>)> {
        let waiting = match self {
            Self::Bound(sockets) => return Ok((sockets, None)),
            Self::Waits(waiting) => waiting,
        };
        let bound = waiting.listen(place)?;
        tracing::info!(
            socket = %place.socket().display(),
            "waiting to take over; send QUIT to {}", place.server()
        );
        crate::telemetry::flush();
        let wanted = settings.addresses().map(|address| address.to_string());
        let wanted: Vec<_> = wanted.collect();
        let handed = handover::receive(&bound, place, &wanted, settings.upgrade.wait)?;
        if let Some(mut handed) = handed {
            let sockets = Sockets::open(settings, std::mem::take(&mut handed.sockets))?;
            return Ok((sockets, Some(handed)));
        }
        tracing::warn!("the process that served has left without handing over");
        let deadline = Instant::now() + CLOSING;
        let sockets = loop {
            match Sockets::open(settings, Vec::new()) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK),
                outcome => break outcome?,
            }
        };
        place.serve(true)?;
        Ok((sockets, None))
    }
}

/// Says that this process serves, once it does.
pub(super) struct Arrival {
    pub(super) departure: Arc<Departure>,
    pub(super) handed: Mutex<Option<Handed>>,
}

#[async_trait]
impl BackgroundService for Arrival {
    async fn start(&self, _: ShutdownWatch) {
        let handed = self
            .handed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(handed) = handed {
            let departure = Arc::clone(&self.departure);
            // The other process lets go of the place when it hears the next line.
            std::thread::spawn(move || {
                if let Err(error) = departure.place.serve(true) {
                    tracing::warn!(%error, "no other process can take over from this one");
                }
            });
            if let Err(error) = handed.serving() {
                tracing::warn!(%error, "the process before did not hear that this one serves");
            }
            self.departure.told("serving");
        }
        self.departure.manager.ready();
        let settings = &self.departure.gateway.settings;
        let address = settings.listen.http;
        tracing::info!(%address, threads = settings.threads, "listening");
    }
}
