//! What every model costs: the price table, the policy's own prices, and how a name is found.
//!
//! Decides which entry prices a model. It does not decide what a request may spend, nor what to do
//! with a model that has no price; it only says that there is none. Alias lookup and price lookup
//! are the same function, so a name that is accepted is a name that is priced.
//!
//! A model is looked up as it is written for OpenRouter. For `vendor/model` the table's names are
//! tried in this order: `openrouter/vendor/model`, `vendor/model`, and the vendor's own entry
//! (`openai/gpt-4o-mini` -> `gpt-4o-mini`, `google/gemini-x` -> `gemini/gemini-x`), the last only
//! when that entry is sold by the vendor and is not free there. OpenRouter's variants (`:nitro`,
//! `:online`, ...) are priced as their base model unless the table has them, `:free` is free, and
//! routers such as `openrouter/auto` have no price.
//!
//! What another provider serves is looked up under the names that the provider has for its prices, and
//! an entry counts only when it is sold by that provider, where the table says who sells it. A price of
//! the policy holds for the dated names of its model too (`gpt-4o-2024-08-06`).
//!
//! # Output limits
//!
//! A table's `max_output` is `max_output_tokens`, else the older `max_tokens`, which for some
//! OpenRouter entries is the context window instead. So for `openrouter/<vendor>/<model>` the
//! vendor's own entries of that model are asked too: the same name (for Anthropic with dashes for
//! dots), also with a date; the largest of their limits counts. When the OpenRouter entry's limit equals
//! a context window (its own or one of theirs), theirs replaces it; else the larger of the two holds,
//! so that a bound made of it is never too small. Without such entries the limit stays as it is.
//!
//! # Long-context and tier rates
//!
//! OpenRouter passes the vendors' prices on. Where its entry states no long-context, priority or flex
//! rates and the vendor's own entry of exactly that model has the same base rates, the vendor's sets
//! hold.

mod entry;
mod fields;
mod lookup;
mod price;
pub mod refresh;
mod table;
mod vendors;

pub use entry::FieldError;
pub use lookup::is_dated;
pub use price::{ModelPrice, Rates, Tariff};
pub use table::{Header, TableError};

use crate::money::{Nanos, PicosPerToken};
use once_cell::sync::Lazy;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use table::Table;

/// The table that every build carries.
const BUNDLED: &str = include_str!("../conf/prices/table.json");

/// No model has a longer name, in bytes; a longer one is not looked for.
const LONGEST_NAME: usize = 256;

/// A price that the policy states for a model. What it leaves out is filled in as for the table:
/// cached input costs as much as any input, cache writes follow their vendor's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceOverride {
    /// Input tokens. Zero means free.
    pub input: PicosPerToken,
    /// Output tokens, reasoning included. Zero means free.
    pub output: PicosPerToken,
    /// Input tokens read from the provider's cache.
    pub cache_read: Option<PicosPerToken>,
    /// Input tokens written to the provider's cache.
    pub cache_write: Option<PicosPerToken>,
    /// The most output tokens of one answer; the table's when `None`.
    pub max_output: Option<u64>,
}

/// Whoever serves a model, as far as its price is concerned.
pub trait Seller {
    /// The kind of provider: `openrouter`, `openai`, ...
    fn kind(&self) -> &'static str;

    /// The names under which the table may have `engine` when this seller serves it, best first.
    fn sold_as(&self, engine: &str) -> Vec<String>;
}

/// A price found, and what the name asked for besides.
#[derive(Clone, Copy, Debug)]
pub struct Match<'c> {
    /// The price.
    pub price: &'c ModelPrice,
    /// Whether the name ends in `:online`, so that a web search comes on top of the price.
    pub online: bool,
}

/// Every price known: the policy's over the table's. Cheap to clone and to override.
#[derive(Clone, Debug)]
pub struct Catalog {
    table: Arc<Table>,
    overrides: HashMap<String, ModelPrice>,
    ceiling: Option<Box<ModelPrice>>,
    free: ModelPrice,
    version: Arc<str>,
}

impl Catalog {
    /// The table built into the program, read once.
    pub fn bundled() -> Arc<Self> {
        static CATALOG: Lazy<Arc<Catalog>> = Lazy::new(|| {
            let table = Table::parse(BUNDLED).expect("the bundled table is read by the tests");
            Arc::new(Catalog::of(table))
        });
        Arc::clone(&CATALOG)
    }

    /// A user's own table, as `weir prices refresh` writes it. It replaces the bundled one.
    ///
    /// # Errors
    /// [`TableError`] naming the entry and the field; the path is the caller's to add.
    pub fn from_file(path: &Path) -> Result<Self, TableError> {
        Self::from_text(&std::fs::read_to_string(path)?)
    }

    /// As [`Catalog::from_file`], from the file's text.
    ///
    /// # Errors
    /// [`TableError`] naming the entry and the field.
    pub fn from_text(text: &str) -> Result<Self, TableError> {
        Table::parse(text).map(Self::of)
    }

    fn of(table: Table) -> Self {
        Self {
            version: Arc::from(table.header.version.as_str()),
            table: Arc::new(table),
            overrides: HashMap::new(),
            ceiling: None,
            free: ModelPrice {
                name: "(free variant)".to_owned(),
                ..ModelPrice::default()
            },
        }
    }

    /// This catalogue under the policy's prices, keyed by model. A price replaces the rates of the
    /// entry the name finds at every input length and service tier; fees and limits stay.
    #[must_use]
    pub fn with_overrides(&self, prices: &BTreeMap<String, PriceOverride>) -> Self {
        let mut catalog = self.clone();
        for (model, stated) in prices {
            let price = overridden(lookup::plain(model), stated, self.find(model));
            catalog.overrides.insert(price.name.clone(), price);
        }
        if !prices.is_empty() && !self.version.ends_with("+policy") {
            catalog.version = Arc::from(format!("{}+policy", self.version));
        }
        catalog
    }

    /// This catalogue with a price for models that have none; see [`Catalog::find_or_ceiling`].
    #[must_use]
    pub fn with_ceiling(&self, ceiling: Option<PriceOverride>) -> Self {
        let mut catalog = self.clone();
        catalog.ceiling =
            ceiling.map(|stated| Box::new(overridden("(unpriced ceiling)", &stated, None)));
        catalog
    }

    /// The version of the table, with `+policy` when the policy overrides prices.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Where the table comes from.
    pub fn header(&self) -> &Header {
        &self.table.header
    }

    /// How many models the table prices.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the table prices nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The price of a model; `None` when it has none. Free is a price.
    pub fn find(&self, model: &str) -> Option<&ModelPrice> {
        self.resolve(model).map(|found| found.price)
    }

    /// The price of a model, or the ceiling for models without one.
    pub fn find_or_ceiling(&self, model: &str) -> Option<&ModelPrice> {
        self.find(model).or(self.ceiling.as_deref())
    }

    /// The price of what `seller` calls `engine`; `None` when it has none. At OpenRouter that is
    /// [`Catalog::find`].
    pub fn find_at(&self, seller: &(impl Seller + ?Sized), engine: &str) -> Option<&ModelPrice> {
        let kind = seller.kind();
        if kind == lookup::OPENROUTER {
            return self.find(engine);
        }
        if engine.len() > LONGEST_NAME {
            return None;
        }
        let stated = |name: &str| self.overrides.get(lookup::plain(name));
        let dated = || lookup::undated(engine).and_then(stated);
        let names = seller.sold_as(engine);
        let by_name = || names.iter().find_map(|name| stated(name));
        let priced = || {
            if lookup::is_router(engine) {
                return None;
            }
            names.iter().find_map(|name| {
                let price = self.table.get(name)?;
                let sellers = lookup::sellers(kind);
                // What somebody gives away is not free at whoever else runs it.
                let sold = if sellers.is_empty() {
                    !price.is_free()
                } else {
                    sellers.contains(&price.provider.as_str())
                };
                sold.then_some(price)
            })
        };
        stated(engine)
            .or_else(by_name)
            .or_else(dated)
            .or_else(priced)
    }

    /// As [`Catalog::find_at`], or the ceiling for models without a price.
    pub fn find_or_ceiling_at(
        &self,
        seller: &(impl Seller + ?Sized),
        engine: &str,
    ) -> Option<&ModelPrice> {
        self.find_at(seller, engine).or(self.ceiling.as_deref())
    }

    /// The price of the model that an answer names, when `asked` was asked for: the answer's own, or,
    /// when it names a dated version of `asked` that has no price, that of `asked`.
    pub fn find_answered_at(
        &self,
        seller: &(impl Seller + ?Sized),
        asked: &str,
        answered: &str,
    ) -> Option<&ModelPrice> {
        self.find_at(seller, answered).or_else(|| {
            let same = answered == asked || lookup::is_dated(answered, asked);
            same.then(|| self.find_at(seller, asked)).flatten()
        })
    }

    /// The price of a model and what its name asks for besides.
    pub fn resolve(&self, model: &str) -> Option<Match<'_>> {
        if model.len() > LONGEST_NAME {
            return None;
        }
        let router = lookup::is_router(model);
        lookup::stages(lookup::plain(model)).find_map(|stage| {
            let candidates = lookup::candidates(stage.model);
            let stated = candidates
                .iter()
                .find_map(|c| self.overrides.get(c.name.as_ref()));
            let priced = || {
                let found = |(rank, c): (usize, &lookup::Candidate<'_>)| {
                    let price = self.table.get(&c.name)?;
                    let vendors_own = rank >= 2;
                    let sold_by =
                        c.providers.is_empty() || c.providers.contains(&price.provider.as_str());
                    // What a vendor gives away itself is not free at OpenRouter.
                    (sold_by && !(vendors_own && price.is_free())).then_some(price)
                };
                candidates.iter().enumerate().find_map(found)
            };
            let free = || lookup::is_free_variant(stage.model).then_some(&self.free);
            let price = match stated {
                Some(price) => Some(price),
                None if router => None,
                None => priced().or_else(free),
            };
            price.map(|price| Match {
                price,
                online: stage.online,
            })
        })
    }
}

/// The price that the policy states, over what the table says about the same model.
fn overridden(name: &str, stated: &PriceOverride, table: Option<&ModelPrice>) -> ModelPrice {
    let family = entry::Family::of(name);
    let (cache_write, cache_write_1h) = family.cache_writes(stated.input, stated.cache_write, None);
    ModelPrice {
        name: name.to_owned(),
        rates: Rates {
            input: stated.input,
            cache_read: stated.cache_read.unwrap_or(stated.input),
            cache_write,
            cache_write_1h,
            output: stated.output,
            reasoning: stated.output,
            audio_input: stated.input,
            audio_output: stated.output,
            image_input: stated.input,
        },
        max_output: stated
            .max_output
            .or(table.and_then(|price| price.max_output)),
        max_input: table.and_then(|price| price.max_input),
        per_request: table.map_or(Nanos::ZERO, |price| price.per_request),
        search: table.map_or(Nanos::ZERO, |price| price.search),
        image: table.map_or(Nanos::ZERO, |price| price.image),
        ..ModelPrice::default()
    }
}

#[cfg(test)]
mod tests;
