//! What is done to the breaker from outside: spend that others tell of, limits, resets.
//!
//! Decides that each of them stands in the journal before it acts, and that gateways with one Redis hear of limits
//! and resets.

use super::journal::{Entry, What};
use super::known::{DEFAULT, Known, UNKNOWN};
use super::{Level, Standing, now};
use crate::breaker::{NotAscending, Spent};
use crate::gateway::Gateway;
use crate::money::Nanos;
use crate::secret::KeyDigest;
use crate::usage::{ServiceTier, Usage};
use std::collections::BTreeMap;
use std::io;

/// The longest name of a user that is kept, in characters.
const LONGEST: usize = 128;

/// How much of a key's digest is shown.
const SHOWN: usize = 12;

/// Something that was spent elsewhere, as somebody told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The model.
    pub model: String,
    /// Input tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// The person behind it.
    pub user: Option<String>,
    /// The key, or what they use for one. It is kept as a digest.
    pub key: Option<String>,
    /// The id of the key of ours that it was told with, for when they name none.
    pub key_id: Option<String>,
}

/// What that came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its cost by the price table.
    pub cost: Nanos,
    /// How things stand with it.
    pub standing: Standing,
}

/// Why something was not counted.
#[derive(Debug, thiserror::Error)]
pub enum NotTracked {
    /// Nobody knows what it costs.
    #[error("the model has no known price")]
    Unpriced,
    /// It cannot be kept.
    #[error("the breaker's file cannot be written")]
    NotKept,
}

/// Why limits were not set.
#[derive(Debug, thiserror::Error)]
pub enum NotLimited {
    /// They would not be in order.
    #[error(transparent)]
    Order(#[from] NotAscending),
    /// They cannot be kept.
    #[error("the breaker's file cannot be written")]
    NotKept,
}

impl Gateway {
    /// Counts something that was spent elsewhere.
    ///
    /// # Errors
    /// When the model has no price and none is stated for such models, or when it cannot be kept. Nothing is
    /// counted then.
    pub async fn track(&self, told: Told) -> Result<Tracked, NotTracked> {
        let live = self.live();
        let usage = Usage {
            input: told.input,
            output: told.output,
            ..Usage::default()
        };
        let target = live.directory().of_client(&told.model);
        let price = target.as_ref().and_then(|target| target.price.as_ref());
        let price = price.or_else(|| live.catalog.find_or_ceiling(&told.model));
        let price = price.ok_or(NotTracked::Unpriced)?;
        let cost = price.cost(&usage, ServiceTier::Default);
        let key = match told.key.as_deref().map(str::trim) {
            None | Some("" | DEFAULT) => told.key_id.unwrap_or_else(|| DEFAULT.to_owned()),
            Some(key) => match live.policy.keys.find(key) {
                Some(known) => known.id.to_string(),
                None => digest(key),
            },
        };
        let spent = Spent {
            at: now(),
            model: told.model.as_str().into(),
            user: shown(told.user.as_deref()).into(),
            key: key.into(),
            agent: None,
            input: told.input,
            output: told.output,
            cost,
        };
        let wrote = self.write(move |_| Some(What::Track(spent))).await;
        match wrote {
            Some((standing, Ok(()))) => Ok(Tracked { cost, standing }),
            _ => Err(NotTracked::NotKept),
        }
    }

    /// Sets limits by hand, for each of these levels.
    ///
    /// # Errors
    /// When the thresholds would not be in order, or when it cannot be kept. Nothing is changed then.
    pub async fn limit_costs(
        &self,
        change: BTreeMap<Level, Nanos>,
    ) -> Result<Standing, NotLimited> {
        let limited = self
            .with_known(move |known| {
                let limits = known.tracker.limited(known.rules(), &change)?;
                let written = limits.clone();
                write(known, |_| Some(What::Limits { limits: written }))
                    .map_err(|_| NotLimited::NotKept)?;
                Ok::<_, NotLimited>(limits)
            })
            .await;
        let (standing, limits) = limited.ok_or(NotLimited::NotKept)?;
        let limits = limits?;
        if let Some(fleet) = &self.fleet
            && let Ok(text) = serde_json::to_string(&limits)
        {
            let text = format!("{} {text}", now());
            if fleet.breaker_say("limits", &text).await.is_err() {
                tracing::warn!("the other gateways were not told of the breaker's limits");
            }
        }
        self.breaker.settled();
        Ok(standing)
    }

    /// Begins anew: what was spent up to now does not count any more, whoever spent it.
    ///
    /// # Errors
    /// When it cannot be kept. Nothing is changed then.
    pub async fn reset_costs(&self) -> io::Result<Standing> {
        let until = now();
        let wrote = self.write(move |_| Some(What::Reset { until })).await;
        let (standing, wrote) = wrote.ok_or_else(|| io::Error::other("broken off"))?;
        wrote?;
        if let Some(fleet) = &self.fleet
            && fleet
                .breaker_say("reset", &until.to_string())
                .await
                .is_err()
        {
            tracing::warn!("the other gateways were not told that the breaker begins anew");
        }
        self.breaker.settled();
        Ok(standing)
    }

    /// Writes a line and acts on it.
    pub(super) async fn write(
        &self,
        decide: impl FnOnce(&[Entry]) -> Option<What> + Send + 'static,
    ) -> Option<(Standing, io::Result<()>)> {
        let wrote = self.with_known(|known| write(known, decide)).await;
        self.breaker.settled();
        wrote
    }
}

fn write(known: &mut Known, decide: impl FnOnce(&[Entry]) -> Option<What>) -> io::Result<()> {
    let news = known.journal.append(now(), decide)?;
    known.apply(&news).map_err(io::Error::other)
}

/// What is kept of a key: the beginning of its digest.
fn digest(key: &str) -> String {
    let hex = KeyDigest::of(key.as_bytes()).to_hex();
    let short: String = hex.chars().take(SHOWN).collect();
    format!("sha256:{short}")
}

fn shown(user: Option<&str>) -> String {
    let user = user.map(str::trim).filter(|user| !user.is_empty());
    let plain = user.unwrap_or(UNKNOWN).chars().filter(|c| !c.is_control());
    plain.take(LONGEST).collect()
}
