//! What the breaker tells, and that each change of level is told once.
//!
//! Decides who tells: of the processes of one log whoever writes so into its journal first, of gateways with one
//! Redis whoever puts the level there first. While Redis is away each tells by itself. A change is a line of the
//! log, an event, a count, and a message for the webhook, where there is one; spikes and repetitions are the same
//! without a message.

use super::journal::What;
use super::{Breaker, Level, lock, now};
use crate::breaker::spike::{Spike, What as Of};
use crate::breaker::{Action, Standing};
use crate::event::{self, Kind};
use crate::gateway::Gateway;
use crate::identity::{AgentId, RequestId};
use crate::money::Nanos;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::error::TrySendError;

/// A change of level, for a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Tells messages apart: tries of one have the same.
    pub id: RequestId,
    /// When, in Unix milliseconds.
    pub at: i64,
    /// The level it is at.
    pub level: Level,
    /// The level it was at.
    pub before: Level,
    /// How things stand.
    pub standing: Standing,
}

impl Gateway {
    /// The level is another one than was told last: tells it, unless somebody else did.
    pub(super) async fn tell_level(&self, standing: Standing, before: Level) {
        let level = standing.level;
        let known = Arc::clone(&self.breaker.known);
        let wrote = move || {
            let mut known = lock(&known);
            let mut told = known.told;
            let wrote = known.journal.append(now(), |news| {
                let last = news.iter().rev().find_map(|entry| match entry.what {
                    What::Told { level } => Some(level),
                    _ => None,
                });
                told = last.unwrap_or(told);
                (told != level).then_some(What::Told { level })
            });
            match wrote {
                Ok(news) => {
                    if let Err(error) = known.apply(&news) {
                        tracing::warn!(%error, "the breaker does not know what was spent last");
                    }
                }
                // Better told twice, after the next start, than never.
                Err(error) => tracing::warn!(%error, "the breaker's file cannot be written"),
            }
            known.told = level;
            known.touch();
            told
        };
        let Ok(told) = tokio::task::spawn_blocking(wrote).await else {
            return;
        };
        if told == level {
            return;
        }
        let before = self.claim_level(level, before).await;
        if let Some(before) = before {
            self.changed(standing, before);
        }
    }

    /// Takes it on to tell of a level; gives the one before, or nothing when another gateway has told.
    async fn claim_level(&self, level: Level, before: Level) -> Option<Level> {
        let Some(fleet) = &self.fleet else {
            return Some(before);
        };
        let span = self.live().policy.breaker.rules.span.clone();
        let claimed = fleet
            .breaker_level(&span.tag(), level.name(), span.kept(now()))
            .await;
        match claimed {
            // Nobody knows, so it is told.
            Err(_) => {
                self.breaker.owed.store(true, Ordering::Release);
                Some(before)
            }
            Ok(None) => Some(before),
            Ok(Some(there)) if there == level.name() => None,
            Ok(Some(there)) => Some(Level::named(&there).unwrap_or(before)),
        }
    }

    fn changed(&self, standing: Standing, before: Level) {
        let level = standing.level;
        let threshold = standing.threshold();
        if level > before {
            tracing::warn!(
                breaker.level = level.name(),
                breaker.before = before.name(),
                total.usd = %standing.total,
                threshold.usd = %threshold,
                "the cost breaker is at a higher level"
            );
        } else {
            tracing::info!(
                breaker.level = level.name(),
                breaker.before = before.name(),
                total.usd = %standing.total,
                threshold.usd = %threshold,
                "the cost breaker is at a lower level"
            );
        }
        self.metrics.breaker_changed(level);
        self.feed.tell(|| {
            Kind::Breaker(event::Breaker {
                level: level.name(),
                before: before.name(),
                total: standing.total,
                threshold,
            })
        });
        if self.live().policy.breaker.webhook.is_none() {
            return;
        }
        let at = now();
        let id = RequestId::new(u64::try_from(at).unwrap_or(0));
        let alert = Alert {
            id,
            at,
            level,
            before,
            standing,
        };
        self.breaker.send(alert, self);
    }

    /// An agent spends far more than it did.
    pub(super) fn spiked(&self, action: Action, spike: &Spike, request: RequestId) {
        let amount = |number: u64| match spike.what {
            Of::Dollars => format!("${}", Nanos(i64::try_from(number).unwrap_or(i64::MAX))),
            Of::Tokens => format!("{number} tokens"),
        };
        tracing::warn!(
            agent.id = %spike.agent,
            breaker.found = spike.what.name(),
            breaker.action = action.name(),
            last_minute = amount(spike.rate),
            usual_below = amount(spike.limit),
            "an agent spends far more than it did"
        );
        let agent = AgentId::new(&spike.agent).ok();
        self.found_in(request, agent, spike.what.name(), action, 1);
    }

    /// An agent asks the same over and over.
    pub fn repeated(&self, id: RequestId, agent: &AgentId, action: Action, times: u32) {
        tracing::warn!(
            agent.id = %agent,
            breaker.found = "repeat",
            breaker.action = action.name(),
            times,
            "an agent asks the same over and over"
        );
        self.found_in(id, Some(agent.clone()), "repeat", action, times);
    }

    fn found_in(
        &self,
        id: RequestId,
        agent: Option<AgentId>,
        rule: &'static str,
        action: Action,
        count: u32,
    ) {
        self.metrics.breaker_found(rule, action);
        let Some(agent) = agent else { return };
        self.feed.tell(|| {
            Kind::Finding(event::Finding {
                id,
                agent,
                control: "breaker",
                rule: rule.into(),
                action: if action == Action::Refuse {
                    "refused"
                } else {
                    "flagged"
                },
                severity: "MEDIUM",
                count,
            })
        });
    }
}

impl Breaker {
    fn send(&self, alert: Alert, gateway: &Gateway) {
        match self.alerts.try_send(alert) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                gateway.metrics.breaker_sent("dropped");
                tracing::warn!("too many messages wait for the breaker's webhook; one is dropped");
            }
            // Nobody sends any more.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}
