//! The shared ledger on real Redis servers.

mod contract;
mod lease;
mod loss;

use super::connect::Connector;
use super::server::RedisServer;
use super::{Figures, Fleet};
use crate::budget::{AccountSpec, Balance};
use crate::identity::AttemptId;
use crate::ledger::contract::NOON;
use crate::ledger::log::{Clock, LogOptions, identity};
use crate::ledger::scratch::Scratch;
use crate::ledger::{Ask, Book, Denied, Grant, Hold, Ledger, Push, Reservation};
use crate::money::Nanos;
use crate::settings;
use crate::settings::environment::Environment;
use crate::usage::{Bill, CostSource, Usage};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Settings that find out about a bad day quickly.
fn settings(server: &RedisServer, tenant: &str) -> settings::Redis {
    let text = format!(
        "stores: {{redis: {{url: '{}', tenant: {tenant}, timeout: 2s, recovery_wait: 20s}}}}",
        server.url()
    );
    let settings = settings::parse("weir.yaml", &text, &Environment::default());
    settings.unwrap().stores.redis.unwrap()
}

/// A tenant of its own.
fn tenant() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One gateway's book, with what it holds open.
struct Shelf {
    book: Option<Arc<Book>>,
    fleet: Arc<Fleet>,
    scratch: Arc<Scratch>,
    clock: Arc<AtomicU64>,
    settings: settings::Redis,
    open: Mutex<HashMap<AttemptId, Reservation>>,
}

impl Shelf {
    fn open(settings: settings::Redis) -> Self {
        Self::on(Arc::new(Scratch::new()), settings)
    }

    /// A gateway on the log of another one that has ended.
    fn on(scratch: Arc<Scratch>, settings: settings::Redis) -> Self {
        let clock = Arc::new(AtomicU64::new(NOON));
        let at = Arc::clone(&clock);
        let clock_of_log = Clock::new(move || at.load(Ordering::Relaxed));
        let connector = Connector::new(&settings).unwrap();
        let id = identity(&scratch.log()).unwrap();
        let fleet = Fleet::new(
            connector,
            id,
            &scratch.log(),
            settings.clone(),
            clock_of_log.clone(),
        );
        let fleet = Arc::new(fleet);
        let mut options = LogOptions::at(scratch.log());
        options.clock = clock_of_log;
        let (book, _) = Book::open_sharing(options, &[], Some(Arc::clone(&fleet) as _)).unwrap();
        Self {
            book: Some(book),
            fleet,
            scratch,
            clock,
            settings,
            open: Mutex::default(),
        }
    }

    fn book(&self) -> &Arc<Book> {
        self.book.as_ref().unwrap()
    }

    fn figures(&self) -> Figures {
        self.fleet.figures()
    }

    /// Waits until grants are possible, or are not.
    async fn is_up(&self, up: bool) {
        let start = Instant::now();
        while self.figures().up != up {
            assert!(start.elapsed() < Duration::from_secs(30), "never up: {up}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until everything that ended was heard by Redis.
    async fn is_heard(&self) {
        let start = Instant::now();
        while self.figures().backlog > 0 {
            assert!(start.elapsed() < Duration::from_secs(30), "never heard");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// What a `kill -9` leaves, as a gateway that starts again.
    async fn killed_and_started(self) -> Self {
        let copy = Arc::new(self.scratch.killed());
        let (settings, now) = (self.settings.clone(), self.clock.load(Ordering::Relaxed));
        // What the dead process would still have said is not said.
        self.fleet.cut();
        let after = Self::on(copy, settings);
        after.clock.store(now, Ordering::Relaxed);
        for (_, reservation) in self.open.lock().unwrap().drain() {
            std::mem::forget(reservation);
        }
        after.is_up(true).await;
        after
    }
}

fn bill(cost: Nanos) -> Bill {
    Bill {
        cost,
        source: CostSource::Provider,
        usage: Usage::default(),
        model: "m/one".into(),
        prices: "2025-01".into(),
    }
}

#[async_trait::async_trait]
impl Ledger for Shelf {
    async fn reserve(&self, ask: &Ask<'_>) -> Result<Grant, Denied> {
        self.is_up(true).await;
        self.clock.store(ask.now_millis, Ordering::Relaxed);
        let reservation = self.book().reserve(*ask).await?;
        let grant = reservation.grant().clone();
        self.open.lock().unwrap().insert(ask.id, reservation);
        Ok(grant)
    }

    async fn settle(&self, hold: &Hold, actual: Nanos) -> Vec<Balance> {
        let reservation = self.open.lock().unwrap().remove(&hold.id);
        if let Some(reservation) = reservation {
            let _ = reservation.settle(bill(actual));
        }
        let now = self.clock.load(Ordering::Relaxed);
        let mut balances = Vec::new();
        for spec in &hold.accounts {
            balances.push(self.balance(spec, now).await);
        }
        balances
    }

    async fn void(&self, hold: &Hold) {
        let reservation = self.open.lock().unwrap().remove(&hold.id);
        if let Some(reservation) = reservation {
            reservation.void("test");
        }
    }

    async fn push(&self, spec: &AccountSpec, change: Push, now: u64) -> Balance {
        self.is_up(true).await;
        self.clock.store(now, Ordering::Relaxed);
        let book = self.book();
        book.push(spec, change.total, change.spent, "test")
            .await
            .unwrap()
    }

    async fn reset(&self, spec: &AccountSpec, now: u64) -> Nanos {
        self.is_up(true).await;
        self.clock.store(now, Ordering::Relaxed);
        self.book().reset(spec, "test").await.unwrap()
    }

    async fn balance(&self, spec: &AccountSpec, now: u64) -> Balance {
        self.is_up(true).await;
        self.clock.store(now, Ordering::Relaxed);
        self.book().balance(spec).await
    }

    async fn open_holds(&self) -> usize {
        self.open.lock().unwrap().len()
    }
}
