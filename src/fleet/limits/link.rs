//! The connection over which limits are asked for, and what Redis has yet to hear.
//!
//! A thread of its own connects, says which requests have ended and renews the places of those that
//! have not. What is said may be said twice. Requests that end while Redis is away are told of
//! later; their places lapse by themselves if that is too late.

use super::super::connect::{Connection, Connector};
use super::words::{self, Counted, Ending};
use arc_swap::ArcSwapOption;
use redis::RedisError;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The first wait before connecting again; it doubles up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(25);
const LAST_WAIT: Duration = Duration::from_millis(500);

/// How often a condition is looked at that is about to come true.
const LOOK: Duration = Duration::from_millis(2);

/// A connection that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(10);

/// Requests that are told of in one call.
const BATCH: usize = 64;

/// Places that are renewed in one call.
const CHUNK: usize = 256;

/// Requests that have ended and are remembered while Redis is away.
const KEPT: usize = 10_000;

/// Why the thread begins again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("Redis is slow, or refused to count a request")]
    Suspect,
}

/// A request that has ended.
struct Ended {
    permit: u64,
    ending: Ending,
    counted: Arc<Counted>,
}

/// What the thread and the requests share.
pub(super) struct Link {
    connector: Connector,
    /// What all keys begin with.
    pub(super) prefix: String,
    /// How long places last without being renewed.
    pub(super) lapse: Duration,
    timeout: Duration,
    /// What permits of this process begin with.
    owner: String,
    permits: AtomicU64,
    up: ArcSwapOption<Connection>,
    /// Requests in flight that Redis has counted, or would have.
    open: Mutex<HashMap<u64, Arc<Counted>>>,
    ended: Mutex<VecDeque<Ended>>,
    wake: Notify,
    /// Whether connecting was tried, with or without success.
    tried: AtomicBool,
    broken: AtomicBool,
    closed: AtomicBool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between half of it and all of it, so that gateways do not all come back at once.
fn jittered(wait: Duration) -> Duration {
    let most = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(most / 2..=most))
}

impl Link {
    pub(super) fn new(
        connector: Connector,
        tenant: &str,
        lapse: Duration,
        timeout: Duration,
    ) -> Self {
        Self {
            connector,
            prefix: format!("weir:{{{tenant}}}:l:"),
            lapse,
            timeout,
            owner: format!("{:016x}", fastrand::u64(..)),
            permits: AtomicU64::new(0),
            up: ArcSwapOption::empty(),
            open: Mutex::default(),
            ended: Mutex::default(),
            wake: Notify::new(),
            tried: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Starts the thread.
    pub(super) fn start(self: Arc<Self>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("weir-limits".to_owned())
            .spawn(move || runtime.block_on(self.run()))?;
        Ok(())
    }

    /// Waits until connecting was tried, but not for longer than `patience`.
    pub(super) fn tried(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && !self.tried.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
        }
    }

    /// What may be asked now, if anything.
    pub(super) fn up(&self) -> Option<Arc<Connection>> {
        self.up.load_full()
    }

    /// A request found that Redis cannot be asked: nobody else has to find out by waiting.
    pub(super) fn suspect(&self, up: &Arc<Connection>) {
        let current = self.up.load();
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, up)) {
            self.up.store(None);
            self.broken.store(true, Ordering::Release);
            self.wake.notify_one();
        }
    }

    /// A new permit, for a request that is about to be counted.
    pub(super) fn permit(&self) -> u64 {
        self.permits.fetch_add(1, Ordering::Relaxed)
    }

    /// A request is in flight: its places are renewed.
    pub(super) fn enter(&self, permit: u64, counted: &Arc<Counted>) {
        lock(&self.open).insert(permit, Arc::clone(counted));
    }

    /// The name of a permit among those of all gateways.
    pub(super) fn name_of(&self, permit: u64) -> String {
        format!("{}-{permit}", self.owner)
    }

    /// A request has ended.
    pub(super) fn left(&self, permit: u64, ending: Ending, counted: Arc<Counted>) {
        lock(&self.open).remove(&permit);
        let mut ended = lock(&self.ended);
        if ended.len() >= KEPT {
            ended.pop_front();
        }
        ended.push_back(Ended {
            permit,
            ending,
            counted,
        });
        drop(ended);
        self.wake.notify_one();
    }

    /// Waits until what has ended was said, as long as a command may take, and ends the thread.
    pub(super) fn close(&self) {
        let deadline = Instant::now() + self.timeout;
        self.wake.notify_one();
        while Instant::now() < deadline && self.up().is_some() && !lock(&self.ended).is_empty() {
            std::thread::sleep(LOOK);
        }
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Ends the thread as a crash would: what has ended is not said.
    #[cfg(test)]
    pub(super) fn stop_at_once(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    async fn run(self: Arc<Self>) {
        let mut wait = FIRST_WAIT;
        let mut complaint = None;
        while !self.closed.load(Ordering::Acquire) {
            let begun = Instant::now();
            let Err(reason) = self.live().await else {
                return;
            };
            self.tried.store(true, Ordering::Release);
            if begun.elapsed() >= STEADY {
                // It went well for so long that this is another story.
                (wait, complaint) = (FIRST_WAIT, None);
            }
            let reason = reason.to_string();
            if complaint.as_ref() != Some(&reason) {
                tracing::warn!(%reason, "limits are not shared at present");
                complaint = Some(reason);
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// Connects, and serves until the connection breaks or the thread is to end.
    async fn live(&self) -> Result<(), Broken> {
        let connection = self.connect().await?;
        self.broken.store(false, Ordering::Release);
        self.up.store(Some(Arc::new(connection.clone())));
        self.tried.store(true, Ordering::Release);
        let served = self.serve(connection).await;
        self.up.store(None);
        served
    }

    /// A connection to a server that has the functions.
    async fn connect(&self) -> Result<Connection, RedisError> {
        let mut connection = self.connector.connect().await?;
        let nothing = words::renew(&self.prefix, None, self.lapse, &[]);
        match nothing.exec_async(&mut connection).await {
            Err(error) if error.to_string().contains("Function not found") => {
                let mut load = redis::cmd("FUNCTION");
                load.arg("LOAD").arg("REPLACE").arg(words::LIBRARY);
                load.exec_async(&mut connection).await?;
            }
            known => known?,
        }
        Ok(connection)
    }

    /// Says what has ended and renews what has not, until something breaks.
    async fn serve(&self, mut connection: Connection) -> Result<(), Broken> {
        let mut next = Instant::now();
        while !self.closed.load(Ordering::Acquire) {
            if self.broken.load(Ordering::Acquire) {
                return Err(Broken::Suspect);
            }
            if Instant::now() >= next {
                self.renew(&mut connection).await?;
                next = Instant::now() + self.lapse / 3;
            }
            self.say(&mut connection).await?;
            let left = next.saturating_duration_since(Instant::now());
            // Waking up by time or by name: both go round the loop.
            let _ = tokio::time::timeout(left, self.wake.notified()).await;
        }
        Ok(())
    }

    /// Renews all places. What has ended meanwhile is said afterwards, and so has the last word.
    async fn renew(&self, connection: &mut Connection) -> Result<(), RedisError> {
        let places: Vec<(String, String)> = lock(&self.open)
            .iter()
            .flat_map(|(permit, counted)| {
                let claims = counted.places();
                claims.map(|claim| (claim.to_owned(), self.name_of(*permit)))
            })
            .collect();
        for chunk in places.chunks(CHUNK) {
            let command = words::renew(&self.prefix, None, self.lapse, chunk);
            command.exec_async(connection).await?;
        }
        Ok(())
    }

    /// Says which requests have ended. Nothing is forgotten before Redis has heard it.
    async fn say(&self, connection: &mut Connection) -> Result<(), RedisError> {
        loop {
            let batch: Vec<Ended> = {
                let mut ended = lock(&self.ended);
                let count = ended.len().min(BATCH);
                ended.drain(..count).collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            let words = batch
                .iter()
                .map(|one| (self.name_of(one.permit), one.ending, &*one.counted));
            let command = words::leave(&self.prefix, None, words);
            if let Err(error) = command.exec_async(connection).await {
                let mut ended = lock(&self.ended);
                batch
                    .into_iter()
                    .rev()
                    .for_each(|one| ended.push_front(one));
                return Err(error);
            }
        }
    }
}
