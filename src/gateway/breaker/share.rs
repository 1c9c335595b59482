//! What gateways with one Redis tell each other of what they spend.
//!
//! Decides that each says its own figures only, slot by slot and always whole, so that saying them again changes
//! nothing, and that what was heard never becomes less. While Redis is away a gateway goes on with what it heard
//! last and what it spends itself, and stays at the last level of all at least.

use super::journal::What;
use super::{Gateway, Level, Standing, now};
use crate::breaker::tracker::Limits;
use crate::fleet::Fleet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the others are asked.
const EVERY: Duration = Duration::from_millis(500);

/// How often all slots are said and asked for, not only the last ones.
const ALL: Duration = Duration::from_secs(60);

/// What was said and heard.
pub(super) struct Shares {
    fleet: Arc<Fleet>,
    /// What Redis has of this gateway, by slot, and since when that counts.
    said: BTreeMap<i64, (i64, i64)>,
    tag: String,
    asked: Option<Instant>,
    all: Option<Instant>,
    limits: i64,
}

/// What this gateway has to say.
struct Own {
    tag: String,
    slots: BTreeMap<i64, i64>,
    after: i64,
    /// Every slot of the window, from the last.
    all: Vec<i64>,
    kept: i64,
}

impl Shares {
    pub(super) fn new(fleet: Arc<Fleet>) -> Self {
        Self {
            fleet,
            said: BTreeMap::new(),
            tag: String::new(),
            asked: None,
            all: None,
            limits: 0,
        }
    }

    /// Says what is new, and hears what others say, unless that was a moment ago.
    pub(super) async fn round(&mut self, gateway: &Gateway) {
        if self.asked.is_some_and(|asked| asked.elapsed() < EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        if !self.fleet.figures().up {
            // Whatever Redis has by then, it is said and asked for again.
            self.all = None;
            gateway.breaker.owed.store(true, Ordering::Release);
            return;
        }
        if self.exchange(gateway).await.is_none() {
            self.all = None;
            gateway.breaker.owed.store(true, Ordering::Release);
        }
    }

    async fn exchange(&mut self, gateway: &Gateway) -> Option<()> {
        // Before anybody hears what makes it so.
        if gateway.breaker.owed.swap(false, Ordering::AcqRel) {
            self.raise(gateway).await?;
        }
        self.hear_changes(gateway).await?;
        let (_, own) = gateway
            .with_known(|known| {
                let span = known.rules().span.clone();
                let window = known.tracker.window();
                let (now, after) = (now(), window.after());
                Own {
                    tag: span.tag(),
                    slots: window
                        .by_slot()
                        .map(|(slot, cost)| (slot, cost.0))
                        .collect(),
                    after,
                    all: span.slots(span.first(now).max(span.slot(after)), now),
                    kept: span.kept(now),
                }
            })
            .await?;
        let whole = self.all.is_none_or(|all| all.elapsed() >= ALL) || self.tag != own.tag;
        if whole {
            self.said.clear();
            self.tag.clone_from(&own.tag);
        }
        for (slot, cost) in &own.slots {
            let figures = (*cost, own.after);
            if self.said.get(slot) != Some(&figures) {
                let told = self.fleet.breaker_tell(&own.tag, *slot, figures, own.kept);
                told.await.ok()?;
                self.said.insert(*slot, figures);
            }
        }
        self.said.retain(|slot, _| own.slots.contains_key(slot));
        let asked: Vec<i64> = if whole {
            own.all.clone()
        } else {
            own.all.iter().copied().take(2).collect()
        };
        let mut heard = Vec::new();
        for slot in asked {
            for (who, cost, after) in self.fleet.breaker_others(&own.tag, slot).await.ok()? {
                if after >= own.after {
                    heard.push((slot, who, cost));
                }
            }
        }
        let after = own.after;
        gateway
            .with_known(move |known| {
                // It may have begun anew meanwhile.
                if known.tracker.window().after() == after {
                    for (slot, who, cost) in &heard {
                        known.tracker.window_mut().hear(*slot, who, *cost);
                    }
                    if !heard.is_empty() {
                        known.touch();
                    }
                }
                let standing = known.standing();
                // What all together have spent is known now.
                known.among(standing.level);
            })
            .await?;
        if whole {
            self.all = Some(Instant::now());
        }
        Some(())
    }

    /// Puts the level there that was told without Redis, unless a higher one is there.
    async fn raise(&self, gateway: &Gateway) -> Option<()> {
        let level = gateway.breaker.level();
        let span = gateway.live().policy.breaker.rules.span.clone();
        let (tag, kept) = (span.tag(), span.kept(now()));
        let there = self.fleet.breaker_begin(&tag, level.name(), kept);
        let there = there.await.ok()?.and_then(|name| Level::named(&name));
        if there.is_some_and(|there| there < level) {
            let put = self.fleet.breaker_level(&tag, level.name(), kept);
            put.await.ok()?;
        }
        Some(())
    }

    /// Takes over limits and resets that somebody else was told of.
    async fn hear_changes(&mut self, gateway: &Gateway) -> Option<()> {
        let said = self.fleet.breaker_said().await.ok()?;
        if let Some(until) = said.get("reset").and_then(|text| text.parse::<i64>().ok()) {
            let (_, after) = gateway
                .with_known(|known| known.tracker.window().after())
                .await?;
            if until > after {
                let _ = gateway.write(move |_| Some(What::Reset { until })).await;
            }
        }
        let limits = said.get("limits").and_then(|text| text.split_once(' '));
        if let Some((at, text)) = limits
            && let Ok(at) = at.parse::<i64>()
            && at > self.limits
            && let Ok(limits) = serde_json::from_str::<Limits>(text)
        {
            let (_, known) = gateway
                .with_known(|known| known.tracker.limits().clone())
                .await?;
            if known != limits {
                let _ = gateway.write(move |_| Some(What::Limits { limits })).await;
            }
            self.limits = at;
        }
        Some(())
    }
}

impl Gateway {
    /// How things stand among all gateways: alone, a gateway stays where all of them were.
    pub(super) fn standing_among(&self, standing: Standing, floor: Level) -> Standing {
        let alone = self.fleet.as_ref().is_some_and(|fleet| !fleet.figures().up);
        if alone && standing.level < floor {
            return Standing {
                level: floor,
                ..standing
            };
        }
        standing
    }
}
