//! One attempt: its hold and its body.
//!
//! The first attempt picks the tier with the money in hand; every further one stays on that tier and
//! has a hold of its own. Whether there is a further one is `journey.rs`'s to decide.

use super::context::Admission;
use super::journey::{Journey, Next};
use super::settle::Exchange;
use crate::budget::Balance;
use crate::dialect;
use crate::dialect::form::{Inexpressible, Writing};
use crate::gateway::Gateway;
use crate::identity::AttemptId;
use crate::json::Limits;
use crate::ledger::{Ask, Denied, Grant, Reservation};
use crate::limit::{Claim, Exceeded, Kind, Permit};
use crate::policy::BoundMode;
use crate::provider::{Call, Rewrite};
use crate::refusal::{Exhausted, Refusal};
use crate::route::Candidate;
use crate::surface::Request;
use crate::usage::ServiceTier;
use crate::wire::Dialect;
use bytes::Bytes;
use std::sync::Arc;

/// A prepared attempt.
pub(crate) struct Prepared {
    pub exchange: Exchange,
    pub body: Bytes,
    pub candidate: Arc<Candidate>,
    pub asked_in: Dialect,
    /// Output tokens per choice that were fitted to the budget.
    pub fitted: Option<u64>,
    /// What the agent has left.
    pub remaining: crate::money::Nanos,
}

/// A reservation of which nothing was sent: unless it is, it is given back.
struct Undispatched(Option<Reservation>);

impl Undispatched {
    fn grant(&self) -> Option<&Grant> {
        self.0.as_ref().map(Reservation::grant)
    }

    fn dispatch(mut self) -> Option<Reservation> {
        self.0.take()
    }
}

impl Drop for Undispatched {
    fn drop(&mut self) {
        if let Some(reservation) = self.0.take() {
            reservation.void("never dispatched");
        }
    }
}

impl Journey {
    /// Takes a place among the limits of the key, the agent, the user and their teams.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) async fn claim(
        &mut self,
        gateway: &Gateway,
        request: &Request<'_>,
        now_millis: u64,
    ) -> Result<(), Refusal> {
        let tokens = expected(request, self.body.len());
        let claims = self.identity.claims();
        let permit = gateway.admit(claims, tokens, now_millis / 1000).await;
        self.permit = permit.map_err(limited)?;
        Ok(())
    }

    /// Picks the tier, holds the worst case, and prepares the first attempt.
    ///
    /// # Errors
    /// The refusal to answer with; then nothing is held.
    pub(crate) async fn begin(
        &mut self,
        gateway: &Arc<Gateway>,
        request: &Request<'_>,
        now_millis: u64,
    ) -> Result<Prepared, Refusal> {
        let route = Arc::clone(&self.route);
        let offers = route.offers(&self.live.policy, request, &self.body);
        let reservation = self
            .hold(gateway, request, &offers, &route.models, None, now_millis)
            .await?;
        self.tier = reservation.grant().tier;
        let able = |candidate: &Arc<Candidate>| candidate.asked_in(request.dialect).is_some();
        let first = self.of_tier().iter().position(able);
        let Some(first) = first else {
            reservation.void("never dispatched");
            return Err(self.unable());
        };
        self.at = first;
        match self.prepare(gateway, request, reservation).await {
            Err(refusal) if elsewhere(&refusal) => {
                // Another model of the tier may be with a provider that can say it, or be free.
                while self.advance() {
                    match self.hold_and_prepare(gateway, request, now_millis).await {
                        Ok(prepared) => return Ok(prepared),
                        Err(other) if elsewhere(&other) => {}
                        Err(other) => return Err(other),
                    }
                }
                Err(refusal)
            }
            prepared => prepared,
        }
    }

    /// Holds for the current candidate, or the next that can serve the request, and prepares an
    /// attempt at it.
    ///
    /// # Errors
    /// The refusal to answer with; then nothing is held.
    pub(crate) async fn further(
        &mut self,
        gateway: &Arc<Gateway>,
        now_millis: u64,
    ) -> Result<Prepared, Refusal> {
        loop {
            match self.again(gateway, now_millis).await {
                Err(refusal) if elsewhere(&refusal) && self.advance() => {}
                prepared => return prepared,
            }
        }
    }

    async fn again(
        &mut self,
        gateway: &Arc<Gateway>,
        now_millis: u64,
    ) -> Result<Prepared, Refusal> {
        let body = self.body.clone();
        let limits = Limits { depth: self.depth };
        let mut request = self.surface.parse(&body, limits)?;
        let model = self.model.clone();
        if let Some(model) = &model {
            request.model = Some(model.into());
        }
        self.hold_and_prepare(gateway, &request, now_millis).await
    }

    async fn hold_and_prepare(
        &mut self,
        gateway: &Arc<Gateway>,
        request: &Request<'_>,
        now_millis: u64,
    ) -> Result<Prepared, Refusal> {
        let candidate = self.current().cloned().ok_or(Refusal::Internal)?;
        let offers = [candidate.offer(&self.live.policy, request, &self.body)];
        let names = [candidate
            .targets
            .iter()
            .map(|target| target.name.clone())
            .collect()];
        let tier = Some(self.tier);
        let reservation = self
            .hold(gateway, request, &offers, &names, tier, now_millis)
            .await?;
        self.prepare(gateway, request, reservation).await
    }

    /// Holds the worst case on every account, INTENT written.
    async fn hold(
        &mut self,
        gateway: &Gateway,
        request: &Request<'_>,
        offers: &[crate::budget::Offer],
        models: &[Vec<String>],
        tier: Option<usize>,
        now_millis: u64,
    ) -> Result<Reservation, Refusal> {
        self.holds += 1;
        let agent = &self.identity.agent;
        let ask = Ask {
            id: AttemptId {
                request: self.id,
                number: self.holds,
            },
            agent: &agent.id,
            key: self.identity.key.as_ref(),
            user: self.identity.user.as_ref(),
            accounts: self.accounts(),
            thresholds: &agent.thresholds,
            tier,
            offers,
            models,
            now_millis,
        };
        let held = gateway.book.reserve(ask).await;
        held.map_err(|denied| self.refusal(denied, request))
    }

    /// Writes the body and puts the reservation into an exchange.
    async fn prepare(
        &mut self,
        gateway: &Arc<Gateway>,
        request: &Request<'_>,
        reservation: Reservation,
    ) -> Result<Prepared, Refusal> {
        let held = Undispatched(Some(reservation));
        let candidate = self.current().cloned().ok_or(Refusal::Internal)?;
        let grant = held.grant().ok_or(Refusal::Internal)?;
        let fitted = grant.fitted.then_some(grant.tokens);
        let remaining = grant.balances.first().map(Balance::remaining);
        let asked_in = candidate.asked_in(request.dialect);
        let place = self.place(gateway, &candidate, request).await?;
        let limit = self.bounded_output(request, grant);
        let asked_in = asked_in.ok_or_else(|| self.unable())?;
        let body = Bytes::from(self.write(&candidate, asked_in, request, limit)?);
        self.next = Next::Prepared;
        let exchange = Exchange::new(
            gateway,
            &self.live,
            self.identity.agent.id.clone(),
            held.dispatch(),
            Arc::clone(&candidate),
            request.service_tier.unwrap_or(ServiceTier::Default),
            &body,
        )
        .saying(&self.body)
        .among(place);
        Ok(Prepared {
            exchange,
            body,
            candidate,
            asked_in,
            fitted,
            remaining: remaining.unwrap_or_default(),
        })
    }

    /// A place among the limits of the candidate's model.
    async fn place(
        &self,
        gateway: &Gateway,
        candidate: &Candidate,
        request: &Request<'_>,
    ) -> Result<Option<Permit>, Refusal> {
        let Some(model) = candidate.model() else {
            return Ok(None);
        };
        let claim = Claim {
            kind: Kind::Model,
            id: candidate.name(),
            limits: model.limits,
        };
        let tokens = expected(request, self.body.len());
        let now = super::upstream::now_millis() / 1000;
        let place = gateway.admit([claim], tokens, now).await;
        place.map_err(limited)
    }

    fn write(
        &self,
        candidate: &Candidate,
        dialect: Dialect,
        request: &Request<'_>,
        limit: Option<u64>,
    ) -> Result<Vec<u8>, Refusal> {
        let kind = candidate.block.kind;
        let engine = candidate.engines.first().map_or("", String::as_str);
        let stated = candidate
            .model()
            .and_then(|model| model.deployment.as_deref());
        let first = candidate.block.endpoints.first();
        let call = Call {
            dialect,
            engine,
            stream: request.stream,
            count_tokens: false,
            deployment: stated.or(first.and_then(|endpoint| endpoint.deployment.as_deref())),
            api_version: None,
        };
        let written = kind.model(&call);
        let tiered = !self.identity.agent.tiers.is_empty();
        let together = kind.falls_back() && candidate.model().is_none();
        let fallbacks: &[String] = if together && (tiered || candidate.engines.len() > 1) {
            &candidate.engines
        } else {
            &[]
        };
        if dialect == request.dialect {
            let asked = request.max_tokens.map(|_| request.max_tokens_field);
            let field = kind.output_limit(dialect, engine, asked);
            // Some models know their limit by another name only.
            let renamed = request
                .max_tokens
                .filter(|tokens| *tokens > 0 && field != request.max_tokens_field);
            let limit = limit.or(renamed);
            // A model that stands in the path is in no field of the client's.
            let as_asked = candidate.as_asked && self.model.is_none();
            return Ok(kind.body(
                request,
                &Rewrite {
                    model: (!as_asked).then_some(written),
                    fallbacks: if as_asked { &[] } else { fallbacks },
                    max_tokens: limit.map(|tokens| (field, tokens)),
                },
            ));
        }
        let price = candidate
            .targets
            .first()
            .and_then(|target| target.price.as_ref());
        let default = price.and_then(|price| price.max_output);
        let writing = Writing {
            model: written,
            fallbacks,
            max_tokens: limit,
            default_max_tokens: default.unwrap_or(self.live.policy.default_max_output),
            max_tokens_field: kind.output_limit(dialect, engine, None),
        };
        dialect::request(request.dialect, dialect, &request.object, &writing)
            .map_err(|cannot| untranslatable(&cannot, request.dialect, &candidate.block.name))
    }

    /// The output tokens to write into the body: a fitted number, and under a strict hard cap the
    /// number that money is held for, because a table's limit binds nobody.
    fn bounded_output(&self, request: &Request<'_>, grant: &Grant) -> Option<u64> {
        let hard = self.accounts().iter().any(|account| account.hard);
        let strict = self.live.policy.bound == BoundMode::Strict;
        let promised = hard && strict && request.max_tokens.is_none();
        (request.max_tokens != Some(0) && (grant.fitted || promised)).then_some(grant.tokens)
    }

    /// No provider of the tier has such an API.
    fn unable(&self) -> Refusal {
        Refusal::Untranslatable {
            field: "model".into(),
            why: format!(
                "is served by a provider that has no {} API",
                self.surface.dialect()
            ),
        }
    }

    /// What a denied reservation looks like to the client.
    fn refusal(&self, denied: Denied, request: &Request<'_>) -> Refusal {
        let agent = &self.identity.agent;
        let state = |account: usize, tier: usize, balance: Balance| {
            let spec = self.accounts().get(account).unwrap_or(&agent.account);
            Box::new(Exhausted {
                account: spec.id.clone(),
                agent: agent.id.clone(),
                total: balance.limit,
                spent: balance.posted,
                pending: balance.pending,
                tier,
                models: self.route.models.get(tier).cloned().unwrap_or_default(),
                hard: spec.hard,
                asked: request.model.as_deref().map(str::to_owned),
                stream: request.stream,
                window: balance.period_start,
            })
        };
        match denied {
            Denied::Exhausted {
                account,
                tier,
                balance,
            } => Refusal::BudgetExhausted(state(account, tier, balance)),
            Denied::InFlight {
                account,
                tier,
                balance,
            } => Refusal::BudgetInFlight(state(account, tier, balance)),
            Denied::Unpriced { model, .. } => Refusal::Unpriced { model },
            Denied::Unavailable => Refusal::LedgerUnavailable,
        }
    }
}

/// Whether another model may serve what this one refuses.
const fn elsewhere(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Untranslatable { .. } | Refusal::RateLimited { .. }
    )
}

/// The tokens that a request is expected to use: a quarter of its bytes, and the output it asks for.
fn expected(request: &Request<'_>, bytes: usize) -> u64 {
    let input = u64::try_from(bytes / 4).unwrap_or(u64::MAX);
    let output = request.max_tokens.unwrap_or(0);
    input.saturating_add(output.saturating_mul(request.choices))
}

fn limited(exceeded: Exceeded) -> Refusal {
    Refusal::RateLimited {
        what: exceeded.what,
        scope: format!("this {} (limit {})", exceeded.kind.name(), exceeded.limit),
        retry_after_seconds: exceeded.retry_after,
    }
}

/// A request that a provider's dialect cannot express.
fn untranslatable(cannot: &Inexpressible, client: Dialect, block: &str) -> Refusal {
    let (field, why) = cannot.explain(client);
    Refusal::Untranslatable {
        field,
        why: format!("{why} (provider {block})"),
    }
}

impl Admission {
    /// Puts a prepared attempt in force.
    pub(crate) fn take(&mut self, prepared: Prepared) {
        self.link.set_body(prepared.body);
        // The exchange before, if it was not closed yet, settles as it is dropped.
        self.exchange = prepared.exchange;
        self.candidate = prepared.candidate;
        self.asked_in = prepared.asked_in;
        self.fitted = prepared.fitted;
        self.remaining = prepared.remaining;
        self.relay = super::relay::Relay::default();
    }
}
