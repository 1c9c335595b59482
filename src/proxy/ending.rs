//! What is put in at the end of an answer: settled first, so that it says what is true.
//!
//! Decides which surface gets what. The forms are `execwall.rs`'s and `titan.rs`'s.

use super::context::Admission;
use super::execwall::Execwall;
use super::titan::{self, Costs};
use crate::gateway::Gateway;
use crate::identity::RequestId;
use crate::money::Nanos;
use crate::stream::Place;
use crate::surface::Surface;
use std::time::Instant;

/// What is put in at the end of an answer.
pub(crate) enum Ending {
    /// `_execwall`.
    Execwall(Box<Execwall>),
    /// The Model Gateway's amounts.
    Titan,
}

impl Ending {
    /// What is put in at the end of this answer; nothing on most surfaces.
    pub(crate) fn of(admission: &Admission) -> Option<Self> {
        match admission.journey.surface {
            Surface::Chat if admission.journey.live.policy.metadata => {
                Some(Self::Execwall(Box::new(Execwall::new(admission))))
            }
            Surface::Titan => Some(Self::Titan),
            _ => None,
        }
    }

    /// The most bytes that it takes as a member of a JSON answer.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Execwall(execwall) => execwall.room(),
            Self::Titan => titan::room(),
        }
    }

    /// Settles, and writes it in the form that fits its place.
    pub(crate) fn text(
        &self,
        gateway: &Gateway,
        admission: &mut Admission,
        place: Place,
        arrived: Instant,
        id: RequestId,
    ) -> Option<Vec<u8>> {
        let fallback = admission.remaining;
        let outcome = admission.exchange.close();
        let bill = outcome.bill.clone();
        let cost = bill.as_ref().map_or(Nanos::ZERO, |bill| bill.cost);
        let balance = outcome.settled.as_ref().map(|settled| settled.balance);
        // The gateway's account is the last one that a request is charged to.
        let last = outcome.settled.as_ref().and_then(|settled| settled.shared);
        match self {
            Self::Execwall(execwall) => {
                let remaining = balance.map_or(fallback, |balance| balance.limit - balance.posted);
                let asked = admission.candidate.engines.first().cloned();
                let reading = admission.exchange.meter()?.reading();
                execwall.text(place, cost, remaining, reading, asked.as_deref())
            }
            Self::Titan => {
                let live = &admission.journey.live;
                let daily = live.policy.gateway.as_ref();
                let usage = bill.as_ref().map(|bill| bill.usage).unwrap_or_default();
                let costs = Costs {
                    input: bill.as_ref().map_or(Nanos::ZERO, |bill| {
                        admission.exchange.input_cost(bill).min(cost)
                    }),
                    total: cost,
                    daily: daily.map_or(balance.unwrap_or_default(), |spec| {
                        last.unwrap_or_else(|| gateway.book.glance(spec))
                    }),
                };
                let closing = titan::Closing {
                    usage,
                    latency_ms: arrived.elapsed().as_millis(),
                    trace_id: &id.to_string(),
                };
                titan::text(place, &costs, &closing)
            }
        }
    }
}
