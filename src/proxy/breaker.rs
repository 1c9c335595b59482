//! What the cost breaker does to a request, before any money is held for it.
//!
//! Decides the order: an agent that is refused for a while, then a call that came too often, then the level. All
//! attempts of a request stay at the level that it was let in at. Counting tokens costs nothing: it is refused at
//! EMERGENCY only.

use super::context::Context;
use super::inner;
use crate::auth::Identity;
use crate::breaker::repeat::Heard;
use crate::breaker::{Action, Level};
use crate::gateway::{Gateway, Live};
use crate::identity::AgentId;
use crate::refusal::Refusal;
use crate::route::{Candidate, Route, Swapped};
use crate::surface::{Request, Surface};
use http::HeaderValue;
use std::sync::Arc;

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Judged {
    /// The level that acts on it; OK where none does.
    pub level: Level,
    /// The model that another one takes the place of, as a header says it.
    pub from: Option<HeaderValue>,
}

/// Looks at a request and gives the route that is left of its own.
///
/// # Errors
/// The refusal to answer with.
pub(super) fn judge(
    gateway: &Gateway,
    live: &Live,
    identity: &Identity,
    ctx: &Context,
    request: &Request<'_>,
    body: &[u8],
    route: Arc<Route>,
) -> Result<(Arc<Route>, Judged), Refusal> {
    let surface = ctx.surface.unwrap_or(Surface::Chat);
    let counting = surface == Surface::CountTokens;
    if !counting {
        behaves(gateway, live, &identity.agent.id, ctx, body)?;
    }
    let level = gateway.breaker.level();
    let least = if counting {
        Level::Emergency
    } else {
        Level::Soft
    };
    if level < least {
        return Ok((route, Judged::default()));
    }
    let rules = &live.policy.breaker.rules;
    let able = |candidate: &Candidate| {
        // A vector of another model is of no use.
        surface != Surface::Embeddings && candidate.asked_in(request.dialect).is_some()
    };
    let acts = |action: &'static str, would: &'static str| {
        let action = if rules.enforced { action } else { would };
        gateway.metrics.breaker_acted(action);
    };
    match gateway.at_level(live, &route, able) {
        Err(limit) => {
            acts("refused", "would_refuse");
            if rules.enforced {
                return Err(Refusal::CostLimit(limit));
            }
            Ok((route, Judged::default()))
        }
        Ok((_, _)) if counting => Ok((route, Judged::default())),
        Ok((level, Swapped::Other(other, from))) => {
            acts("downgraded", "would_downgrade");
            if !rules.enforced {
                return Ok((route, Judged::default()));
            }
            let from = HeaderValue::try_from(from).ok();
            Ok((Arc::new(other), Judged { level, from }))
        }
        Ok((level, _)) => {
            let level = if rules.enforced { level } else { Level::Ok };
            Ok((route, Judged { level, from: None }))
        }
    }
}

/// Whether the agent may go on as it does.
fn behaves(
    gateway: &Gateway,
    live: &Live,
    agent: &AgentId,
    ctx: &Context,
    body: &[u8],
) -> Result<(), Refusal> {
    let rules = &live.policy.breaker.rules;
    let now = ctx.unix_millis;
    if rules.spikes.action == Action::Refuse
        && let Some(left) = gateway.breaker.paused(agent, now)
    {
        return Err(Refusal::Paused {
            code: "spend_spike",
            why: "This agent spends far more than it did and is stopped for a while",
            retry_after_seconds: left.div_ceil(1000),
        });
    }
    let call = inner::asker().and_then(|asker| asker.call);
    let call = call.as_ref().map_or(body, <[u8; 32]>::as_slice);
    let left = match gateway.breaker.hear(rules, agent, call, now) {
        Heard::New => return Ok(()),
        Heard::Refused(left) => left,
        Heard::Again { times } => {
            let action = rules.repeats.action;
            gateway.repeated(ctx.id, agent, action, times);
            if action != Action::Refuse {
                return Ok(());
            }
            u64::try_from(rules.repeats.cool_down.as_millis()).unwrap_or(u64::MAX)
        }
    };
    Err(Refusal::Paused {
        code: "repeated_request",
        why: "This agent has sent the same request too often",
        retry_after_seconds: left.div_ceil(1000),
    })
}
