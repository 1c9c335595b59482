//! The day's spending by model, for the Model Gateway's routes.
//!
//! Decides who is asked: this gateway's spend log, and with Redis what the other gateways have said of
//! theirs. Nothing of it is on the way of a request: it is read when somebody wants to see it, and told
//! to the others every few seconds.

use super::Gateway;
use crate::fleet::{Fleet, Others};
use crate::ledger::day::{Day, Today};
use std::sync::{Arc, Mutex, PoisonError};

/// The reader of the day.
#[derive(Clone, Debug)]
pub(super) struct Reader(Arc<Mutex<Today>>);

impl Reader {
    pub(super) fn new(today: Today) -> Self {
        Self(Arc::new(Mutex::new(today)))
    }

    /// Runs `act` on the reader, where waiting for files holds nobody up.
    async fn with(&self, act: impl FnOnce(&mut Today) -> Day + Send + 'static) -> Day {
        let today = Arc::clone(&self.0);
        let read = move || act(&mut today.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    /// The figures up to now.
    async fn look(&self) -> Day {
        self.with(|today| match today.look(now()) {
            Ok(day) => day.clone(),
            Err(error) => {
                tracing::warn!(%error, "the day's spending cannot be read");
                Day::default()
            }
        })
        .await
    }

    async fn clear(&self, instant: String) {
        self.with(|today| {
            today.clear(instant);
            Day::default()
        })
        .await;
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The date of a moment, UTC.
fn date(now: i64) -> String {
    let at = jiff::Timestamp::from_second(now).unwrap_or_default();
    jiff::tz::TimeZone::UTC.to_datetime(at).date().to_string()
}

impl Gateway {
    /// What was settled today (UTC), by all gateways that share their budgets.
    pub async fn today(&self) -> Day {
        match &self.fleet {
            None => self.day.look().await,
            Some(fleet) => self.own_and_others(fleet).await.1,
        }
    }

    /// What this gateway has settled today, and all together. While Redis is away, this one's alone.
    async fn own_and_others(&self, fleet: &Fleet) -> (Day, Day) {
        let others = fleet.others(&date(now())).await;
        let Others { reset, days } = others.unwrap_or_default();
        if let Some(reset) = reset {
            self.day.clear(reset).await;
        }
        let own = self.day.look().await;
        let mut all = own.clone();
        for day in &days {
            all.join(day);
        }
        (own, all)
    }

    /// Counts what is settled today from zero again, after the gateway's account was reset.
    pub async fn clear_today(&self) {
        let live = self.live();
        // A reset of an account stands in the log, which says so itself.
        if live.policy.gateway.is_none() {
            self.day.clear(Today::instant(now())).await;
        }
        if let Some(fleet) = &self.fleet {
            let own = self.day.look().await;
            let told = fleet.reset_day(&date(now()), &own.after).await;
            if told.is_err() {
                tracing::warn!("the other gateways were not told that the day begins anew");
            }
        }
    }

    /// Tells the other gateways what this one has settled, unless it is what they know: `told`.
    pub(super) async fn tell_day(&self, told: &mut (Day, Day)) {
        let Some(fleet) = &self.fleet else { return };
        let date = date(now());
        let (own, all) = self.own_and_others(fleet).await;
        if own != told.0 && fleet.tell_day(&date, &own).await.is_ok() {
            told.0 = own;
        }
        // Whoever has a models file may have the Model Gateway's tools.
        let titan = !self.live().policy.models.is_empty();
        if titan && all != told.1 && fleet.tell_titan(&date, &all).await.is_ok() {
            told.1 = all;
        }
    }
}
