//! Prices that a policy states itself, and whose prices a provider's are.

use super::agents::model;
use super::routing::tokens;
use crate::catalog::{PriceOverride, Seller};
use crate::money::PicosPerToken;
use crate::provider::Provider;
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::units;
use std::collections::BTreeMap;

/// Above this, in pico-dollars per token (a cent), a price was surely meant per something else.
const DEAREST: PicosPerToken = PicosPerToken(10_000_000_000);

impl Seller for dyn Provider + '_ {
    fn kind(&self) -> &'static str {
        self.name()
    }

    fn sold_as(&self, engine: &str) -> Vec<String> {
        self.priced_as(engine)
    }
}

/// Reads the section `prices`.
pub(super) fn read_all(routing: &Section<'_>) -> BTreeMap<String, PriceOverride> {
    let mut prices = BTreeMap::new();
    for (name, value) in routing.section("prices").entries() {
        match model(name) {
            Ok(name) => {
                if let Some(price) = read(&value.section()) {
                    prices.insert(name, price);
                }
            }
            Err(complaint) => value.error(complaint),
        }
    }
    prices
}

/// Reads one price. Zero is a price and means free; a missing one is a mistake.
pub(super) fn read(section: &Section<'_>) -> Option<PriceOverride> {
    let input = section.required("input_usd_per_million", per_million, show);
    let output = section.required("output_usd_per_million", per_million, show);
    let cache_read = section.optional("cache_read_usd_per_million", per_million, show);
    let cache_write = section.optional("cache_write_usd_per_million", per_million, show);
    let max_output = section.optional(
        "max_output_tokens",
        |text| tokens(text, 1),
        ToString::to_string,
    );
    Some(PriceOverride {
        input: input?,
        output: output?,
        cache_read,
        cache_write,
        max_output,
    })
}

fn per_million(text: &str) -> Result<PicosPerToken, Complaint> {
    plausible(units::price_per_million(text)?)
}

/// A price that a model may have.
///
/// # Errors
/// When it is more than a cent per token.
pub(super) fn plausible(price: PicosPerToken) -> Result<PicosPerToken, Complaint> {
    if price > DEAREST {
        return Err(Complaint::new("is more than a cent per token")
            .suggesting("check the unit of the price"));
    }
    Ok(price)
}

fn show(price: &PicosPerToken) -> String {
    units::show_per_million(*price)
}
