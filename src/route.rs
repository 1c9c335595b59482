//! Where an agent's requests may go, tier by tier, with the prices: resolved once per
//! configuration, so that a request only looks things up.
//!
//! Decides what a request would need on each tier ([`Route::offers`]). Which tier it gets is the
//! ledger's to decide, with the money in hand.

use crate::budget::Offer;
use crate::budget::bound::{self, Size, Worst};
use crate::catalog::{Catalog, ModelPrice};
use crate::money::Nanos;
use crate::policy::{Agent, BoundMode, Policy};
use crate::surface::Request;
use crate::tokens;
use std::sync::Arc;

/// The candidates of each tier.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// The models of each tier, as the policy names them.
    pub models: Vec<Vec<String>>,
    /// The same, to be shared with each request.
    shared: Vec<Arc<[String]>>,
    /// Their prices; `None` for a model without one.
    prices: Vec<Vec<Option<ModelPrice>>>,
}

impl Route {
    /// The route of an agent with tiers.
    pub fn of_agent(agent: &Agent, catalog: &Catalog) -> Self {
        Self::over(agent.tiers.clone(), catalog)
    }

    /// The route of a request that names its models itself, for an agent without tiers.
    pub fn of_models<'a>(models: impl Iterator<Item = &'a str>, catalog: &Catalog) -> Self {
        Self::over(vec![models.map(str::to_owned).collect()], catalog)
    }

    fn over(models: Vec<Vec<String>>, catalog: &Catalog) -> Self {
        let price = |model: &String| catalog.find_or_ceiling(model).cloned();
        Self {
            prices: models
                .iter()
                .map(|tier| tier.iter().map(price).collect())
                .collect(),
            shared: models.iter().map(|tier| tier.clone().into()).collect(),
            models,
        }
    }

    /// The models of a tier; none for a number beyond the last.
    pub fn tier(&self, number: usize) -> Arc<[String]> {
        self.shared
            .get(number)
            .map_or_else(|| Arc::from([]), Arc::clone)
    }

    /// What the request would need on each tier. `body` is the request's, as it arrived.
    pub fn offers(&self, policy: &Policy, request: &Request<'_>, body: &[u8]) -> Vec<Offer> {
        let strict = policy.bound == BoundMode::Strict;
        let input = self.input(policy, request, body);
        let tier = request.service_tier;
        let size = Size {
            input,
            max_tokens: request.max_tokens,
            choices: request.choices,
            extra_output: count(request.prediction_bytes),
            fit_down_to: policy.fit_max_tokens.then_some(policy.min_output_tokens),
        };
        let media = i64::try_from(request.media_parts).unwrap_or(i64::MAX);
        let worst = |price: &ModelPrice| Worst {
            input: match (strict, media) {
                (true, 0) => price.worst_text_input(input, tier),
                _ => price.worst_input(input, strict, tier),
            },
            output: price.worst_output(input, tier, request.audio_output || request.image_output),
            fees: price.per_request
                + Nanos(price.image.0.saturating_mul(media))
                + server_tools(policy, request, price),
            max_output: price.max_output.unwrap_or(policy.default_max_output),
        };
        self.models
            .iter()
            .zip(&self.prices)
            .map(|(models, prices)| {
                let unpriced = models.iter().zip(prices).find(|(_, price)| price.is_none());
                let worst: Vec<Worst> = prices.iter().flatten().map(worst).collect();
                bound::offer(size, &worst, unpriced.map(|(model, _)| model.clone()))
            })
            .collect()
    }

    /// The upper bound of the request's input tokens.
    fn input(&self, policy: &Policy, request: &Request<'_>, body: &[u8]) -> u64 {
        let text = match policy.bound {
            BoundMode::Strict => count(body.len()),
            // The tier is not known yet: the most that any candidate's tokenizer makes of it.
            BoundMode::Estimate => {
                let models = self.models.iter().flatten();
                models
                    .map(|model| tokens::prompt_estimate(body, model))
                    .max()
                    .unwrap_or(0)
            }
        };
        let tools = request.object.get("tools").is_some();
        let prices = self.prices.iter().flatten().flatten();
        let hidden = prices
            .map(|price| price.hidden_input(tools))
            .max()
            .unwrap_or(0);
        text.saturating_add(count(request.media_parts).saturating_mul(policy.media_tokens))
            .saturating_add(hidden)
    }
}

fn server_tools(policy: &Policy, request: &Request<'_>, price: &ModelPrice) -> Nanos {
    if request.server_tools {
        policy.server_tool_fee.max(price.search)
    } else {
        Nanos::ZERO
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
