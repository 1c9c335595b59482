//! Where a request may go, tier by tier, with the prices: for agents with tiers resolved once per
//! configuration, so that a request only looks things up.
//!
//! Decides which provider serves a model name and what a request would need there
//! ([`Candidate::offer`]). Which tier it gets is the ledger's to decide, with the money in hand;
//! which candidate and endpoint is tried when, is the proxy's.

mod swap;

pub use swap::Swapped;

use crate::budget::Offer;
use crate::budget::bound::{self, Size, Worst};
use crate::catalog::{Catalog, ModelPrice};
use crate::money::Nanos;
use crate::policy::models::Model;
use crate::policy::provider::Block;
use crate::policy::upstream::BaseUrl;
use crate::policy::{Agent, BoundMode, Policy};
use crate::surface::Request;
use crate::tokens;
use crate::wire::Dialect;
use http::HeaderValue;
use std::sync::Arc;

/// The input held for when a provider adds to it and nobody knows the model's context window.
const UNKNOWN_CONTEXT: u64 = 1_000_000;

/// A model at the provider that serves it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name that the policy or the client uses.
    pub name: String,
    /// What the provider calls it.
    pub engine: String,
    /// Who serves it.
    pub block: Arc<Block>,
    /// What the models file says about it.
    pub model: Option<Arc<Model>>,
    /// Its price there.
    pub price: Option<ModelPrice>,
}

/// One thing to try: a model at a provider, or several where the provider falls back from one to
/// the next by itself.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Who is asked.
    pub block: Arc<Block>,
    /// The models that may answer, in order; never empty.
    pub targets: Vec<Target>,
    /// What the provider calls them.
    pub engines: Arc<[String]>,
    /// The first model's name and the provider's, as headers say them.
    pub headers: [Option<HeaderValue>; 2],
    /// Whether the client named them itself, in the words of this provider: then its own fields stay
    /// as they are.
    pub as_asked: bool,
}

/// The candidates of one tier.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its models, as the policy names them; as the client does, without tiers.
    pub models: Arc<[String]>,
    /// What to try, in order; never empty.
    pub candidates: Vec<Arc<Candidate>>,
    /// The models once more, as a header says them.
    pub header: Option<HeaderValue>,
}

/// The candidates of each tier.
#[derive(Clone, Debug)]
pub struct Route {
    /// The tiers in file order; one for an agent without tiers.
    pub tiers: Vec<Tier>,
    /// The models of each tier once more.
    pub models: Vec<Vec<String>>,
}

/// Finds out who serves a model.
#[derive(Clone, Copy)]
pub struct Directory<'a> {
    /// The configuration.
    pub policy: &'a Policy,
    /// The prices.
    pub catalog: &'a Catalog,
}

impl Directory<'_> {
    /// A model that the policy names: one of the models file, else OpenRouter's.
    pub fn of_policy(&self, name: &str) -> Option<Target> {
        self.described(name)
            .or_else(|| self.at(&self.policy.default_provider, name, name))
    }

    /// A model that a client asks for. `None` when there is no such model.
    pub(crate) fn of_client(&self, name: &str) -> Option<Target> {
        if let Some(target) = self.described(name) {
            return Some(target);
        }
        let prefixed = name.split_once('/').and_then(|(block, engine)| {
            let block = self.policy.providers.get(block)?;
            block
                .has_key()
                .then(|| self.at(&block.name, name, engine))?
        });
        let default = self.policy.providers.get(&self.policy.default_provider);
        let open_router = || self.at(&self.policy.default_provider, name, name);
        if name.contains('/') {
            // Most such names are OpenRouter's own spelling.
            return if default.is_some_and(|block| block.has_key() || is_elsewhere(block)) {
                open_router()
            } else {
                prefixed.or_else(open_router)
            };
        }
        let by_vendor = || {
            let mut blocks = self
                .policy
                .providers
                .values()
                .filter(|block| block.has_key());
            blocks.find_map(|block| {
                let known =
                    block.name != self.policy.default_provider && block.name == block.kind.name();
                let price = known.then(|| self.catalog.find_at(block.kind, name))?;
                price.is_some().then(|| self.at(&block.name, name, name))?
            })
        };
        by_vendor().or_else(|| {
            self.catalog.find_or_ceiling(name)?;
            open_router()
        })
    }

    /// A model of the models file, by its name, an alias or a task.
    fn described(&self, name: &str) -> Option<Target> {
        let aliases = &self.policy.aliases;
        let known = aliases.get(name).map_or(name, String::as_str);
        let model = self.policy.models.get(known)?;
        let mut target = self.at(&model.provider, name, &model.engine)?;
        if model.price.is_some() {
            target.price = self.catalog.find(known).cloned();
        }
        if let (Some(price), Some(limit)) = (&mut target.price, model.max_tokens) {
            price.max_output = Some(limit);
        }
        target.model = Some(Arc::clone(model));
        Some(target)
    }

    fn at(&self, block: &str, name: &str, engine: &str) -> Option<Target> {
        let block = self.policy.providers.get(block)?;
        Some(Target {
            name: name.to_owned(),
            engine: engine.to_owned(),
            price: self.catalog.find_or_ceiling_at(block.kind, engine).cloned(),
            block: Arc::clone(block),
            model: None,
        })
    }

    /// The targets of `names`, each followed by its fallbacks, none twice. The first name that no
    /// model has is the error.
    fn expand<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        find: impl Fn(&Self, &str) -> Option<Target>,
    ) -> Result<Vec<Target>, String> {
        let mut all: Vec<Target> = Vec::new();
        let mut add = |target: Target| {
            if !all.iter().any(|known| known.name == target.name) {
                all.push(target);
            }
        };
        for name in names {
            let target = find(self, name).ok_or_else(|| name.to_owned())?;
            let fallbacks = target.model.as_ref().map(|model| model.fallbacks.clone());
            add(target);
            for name in fallbacks.into_iter().flatten() {
                add(self.of_policy(&name).ok_or(name)?);
            }
        }
        Ok(all)
    }
}

/// Whether the block points to another server than OpenRouter's.
fn is_elsewhere(block: &Block) -> bool {
    let own = BaseUrl::open_router();
    block
        .endpoints
        .iter()
        .any(|endpoint| endpoint.base_url != own)
}

impl Route {
    /// The route of an agent with tiers. Models without a provider are left out; the policy was
    /// checked not to have any.
    pub fn of_agent(agent: &Agent, directory: Directory<'_>) -> Self {
        let tiers = agent.tiers.iter().map(|models| {
            let names = models.iter().map(String::as_str);
            let targets = directory.expand(names, Directory::of_policy);
            Tier {
                header: HeaderValue::try_from(models.join(",")).ok(),
                models: models.clone().into(),
                candidates: candidates(targets.unwrap_or_default(), false),
            }
        });
        Self {
            tiers: tiers.collect(),
            models: agent.tiers.clone(),
        }
    }

    /// The route of a request that names its models itself.
    ///
    /// # Errors
    /// The name that no model has.
    pub fn of_request<'n>(
        names: impl Iterator<Item = &'n str> + Clone,
        directory: Directory<'_>,
    ) -> Result<Self, String> {
        let models: Vec<String> = names.clone().map(str::to_owned).collect();
        let targets = directory.expand(names, Directory::of_client)?;
        Ok(Self {
            tiers: vec![Tier {
                header: HeaderValue::try_from(models.join(",")).ok(),
                models: models.clone().into(),
                candidates: candidates(targets, true),
            }],
            models: vec![models],
        })
    }

    /// The one candidate for a model that takes over in a special case.
    pub fn detour(name: &str, directory: Directory<'_>) -> Option<Arc<Candidate>> {
        let target = directory.of_policy(name)?;
        candidates(vec![target], false).pop()
    }

    /// What the request would need of the first candidate of each tier that can serve it; of the
    /// first one where none can.
    pub fn offers(&self, policy: &Policy, request: &Request<'_>, body: &[u8]) -> Vec<Offer> {
        let offer = |tier: &Tier| {
            let able = tier.first(request.dialect);
            able.or(tier.candidates.first())
                .map(|candidate| candidate.offer(policy, request, body))
        };
        self.tiers.iter().filter_map(offer).collect()
    }
}

impl Tier {
    /// The first candidate whose provider can be asked for a client of that dialect.
    fn first(&self, dialect: Dialect) -> Option<&Arc<Candidate>> {
        self.candidates
            .iter()
            .find(|candidate| candidate.asked_in(dialect).is_some())
    }
}

/// One candidate where all targets are with one provider that falls back itself, else one for each
/// target.
fn candidates(targets: Vec<Target>, as_asked: bool) -> Vec<Arc<Candidate>> {
    let together = targets.first().is_some_and(|first| {
        let plain =
            |target: &Target| target.block.name == first.block.name && target.model.is_none();
        first.block.kind.falls_back() && targets.iter().all(plain)
    });
    let groups = if together {
        vec![targets]
    } else {
        targets.into_iter().map(|target| vec![target]).collect()
    };
    let candidate = |targets: Vec<Target>| {
        let block = Arc::clone(&targets.first()?.block);
        Some(Arc::new(Candidate {
            block,
            engines: targets.iter().map(|target| target.engine.clone()).collect(),
            as_asked: as_asked && together,
            headers: [&targets.first()?.name, &targets.first()?.block.name]
                .map(|text| HeaderValue::try_from(text).ok()),
            targets,
        }))
    };
    groups.into_iter().filter_map(candidate).collect()
}

impl Candidate {
    /// The dialect in which its provider is asked for a client that speaks `client`; `None` when
    /// there is no way.
    pub fn asked_in(&self, client: Dialect) -> Option<Dialect> {
        let model = self
            .targets
            .first()
            .and_then(|target| target.model.as_ref());
        match model.and_then(|model| model.dialect) {
            Some(only) if client != Dialect::Embeddings => Some(only),
            _ => self.block.speaks(client),
        }
    }

    /// The first model's name, as the policy or the client has it.
    pub fn name(&self) -> &str {
        self.targets.first().map_or("", |target| &target.name)
    }

    /// The price that the models file states, for a candidate of one model.
    pub fn own_price(&self) -> Option<&ModelPrice> {
        let target = self.targets.first()?;
        let stated = target.model.as_ref()?.price.is_some();
        target.price.as_ref().filter(|_| stated)
    }

    /// What the models file says about the first model.
    pub fn model(&self) -> Option<&Arc<Model>> {
        self.targets.first()?.model.as_ref()
    }

    /// What the request would need. `body` is the request's, as it arrived.
    pub fn offer(&self, policy: &Policy, request: &Request<'_>, body: &[u8]) -> Offer {
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
        let prices = self.targets.iter().map(|target| target.price.as_ref());
        let worst: Vec<Worst> = prices.flatten().map(worst).collect();
        let unpriced = self.targets.iter().find(|target| target.price.is_none());
        bound::offer(size, &worst, unpriced.map(|target| target.name.clone()))
    }

    /// The upper bound of the request's input tokens.
    fn input(&self, policy: &Policy, request: &Request<'_>, body: &[u8]) -> u64 {
        let prices = || {
            self.targets
                .iter()
                .filter_map(|target| target.price.as_ref())
        };
        if request.unseen_input {
            let window = prices().map(|price| price.max_input.unwrap_or(UNKNOWN_CONTEXT));
            return window.max().unwrap_or(UNKNOWN_CONTEXT);
        }
        let text = match policy.bound {
            BoundMode::Strict => count(body.len()),
            // Any of them may answer: the most that a tokenizer of theirs makes of it.
            BoundMode::Estimate => {
                let engines = self.engines.iter();
                engines
                    .map(|engine| tokens::prompt_estimate(body, engine))
                    .max()
                    .unwrap_or(0)
            }
        };
        let tools = request.object.get("tools").is_some();
        let hidden = prices().map(|price| price.hidden_input(tools)).max();
        text.saturating_add(count(request.media_parts).saturating_mul(policy.media_tokens))
            .saturating_add(hidden.unwrap_or(0))
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
