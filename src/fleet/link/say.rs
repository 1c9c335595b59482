//! What a gateway says of its holds: which have ended, and which nobody has any more.

use super::{Broken, Link, Up, is_unknown, lock};
use crate::fleet::connect::Connection;
use crate::fleet::functions::{self, State};
use crate::identity::AttemptId;
use crate::ledger::shared::{End, Witness};
use crate::money::Nanos;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Ends that are said in one call.
const BATCH: usize = 64;

impl Link {
    /// Says which holds have ended, in the order in which they did, until it is time for a sign of life.
    pub(super) async fn say(
        &self,
        up: &Up,
        connection: &mut Connection,
        next: Instant,
    ) -> Result<(), Broken> {
        let overtaken = || lock(&self.overtaken).pop();
        while let Some(spec) = overtaken() {
            let now = self.clock.millis();
            let command = functions::unpush(&self.state_key, &up.known(), &spec, now);
            let said = command.query_async::<Vec<String>>(connection).await;
            if let Err(error) = said {
                lock(&self.overtaken).push(spec);
                return Err(error.into());
            }
        }
        loop {
            let batch: Vec<End> = lock(&self.ends).iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                let queued = self.queued.load(Ordering::Relaxed);
                if lock(&self.ends).is_empty() {
                    self.said.send_replace(queued);
                }
                return Ok(());
            }
            let source = |chain: &str| self.source(chain);
            let (known, own) = (up.known(), &up.source);
            let command = functions::settle(&self.state_key, &known, own, &batch, source);
            let reply: Vec<String> = command.query_async(connection).await?;
            let mut words = reply.iter();
            match words.next().and_then(|word| State::of(word)) {
                Some(State::Open | State::Recovering | State::Changed) => {}
                Some(state) => return Err(Broken::Moved(state)),
                None => return Err(Broken::Nonsense),
            }
            if let Some(count) = words.next().and_then(|count| count.parse().ok()) {
                up.saw(count);
            }
            lock(&self.ends).drain(..batch.len());
            if self.settings.firewall_keys {
                self.days(words.as_slice(), connection).await;
            }
            if Instant::now() >= next {
                return Ok(());
            }
        }
    }

    /// Gives back what Redis holds for this gateway and nobody here has any more: twice in a row,
    /// so that nothing is taken away that is just being recorded.
    pub(super) async fn sweep(
        &self,
        up: &Up,
        connection: &mut Connection,
        witness: &Weak<dyn Witness>,
        doubtful: &mut HashSet<AttemptId>,
    ) -> Result<(), Broken> {
        let Some(witness) = witness.upgrade() else {
            return Ok(());
        };
        let mut command = functions::call("weir_holds_1", &self.state_key);
        let held: Vec<String> = command.arg(&up.source).query_async(connection).await?;
        let ids = held.iter().filter_map(|id| id.parse().ok());
        let nobodys = |id: &AttemptId| !witness.has_open(*id) && !self.is_leased(*id);
        let unknown: HashSet<AttemptId> = ids.filter(nobodys).collect();
        for id in unknown.intersection(doubtful) {
            tracing::warn!(attempt = %id, "gave back a hold that nobody has any more");
            self.end(End {
                id: *id,
                chain: Arc::clone(&up.chain),
                cost: None,
                charges: Vec::new(),
            });
        }
        *doubtful = unknown;
        Ok(())
    }

    /// Keeps the AI Firewall's keys: account, start of the day, nano-dollars of each. They are for its
    /// tools only, so a failure is no reason to stop; the next charge writes them again.
    pub(super) async fn days(&self, figures: &[String], connection: &mut Connection) {
        for figure in figures.chunks_exact(3) {
            let Some((key, dollars)) = day(&figure[0], &figure[1], &figure[2]) else {
                continue;
            };
            let mut command = functions::call("weir_day_1", &key);
            command.arg(dollars);
            let written = command.query_async::<Vec<String>>(connection).await;
            let Err(error) = written else { continue };
            tracing::debug!(%error, "a daily key was not written");
            // In a cluster it is on a node of its own, which may have lost its functions.
            if is_unknown(&error) && self.load(connection).await.is_ok() {
                let _ = command.query_async::<Vec<String>>(connection).await;
            }
        }
    }
}

/// The AI Firewall's key of a user's day, and what it holds.
fn day(account: &str, start: &str, nanos: &str) -> Option<(String, String)> {
    let (_, user) = account.split_once(':')?;
    let start = jiff::Timestamp::from_second(start.parse().ok()?).ok()?;
    let date = jiff::tz::TimeZone::UTC.to_datetime(start).date();
    let spent = Nanos(nanos.parse().ok()?);
    Some((format!("budget:{user}:{date}"), spent.to_string()))
}
