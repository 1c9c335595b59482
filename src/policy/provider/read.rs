//! From the section `providers` of the models file, and the environment, to blocks.

mod endpoint;
mod words;

pub(in crate::policy) use endpoint::warn_unless_azure;
pub(in crate::policy) use words::{dialect, dialects, part};

use super::Block;
use crate::policy::upstream::patience;
use crate::provider;
use crate::provider::Provider as _;
use crate::provider::openrouter::OpenRouter;
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::Section;
use crate::settings::units;
use endpoint::Outer;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use words::{headers, kind, label};

/// The kind of a block that has no kind's name and states none.
const ANY: &str = "openai-compatible";

/// The longest silence accepted from a provider that states none.
const PATIENCE: Duration = Duration::from_secs(120);

/// The blocks of a models file.
#[derive(Default)]
pub(in crate::policy) struct Blocks<'r> {
    read: BTreeMap<String, Arc<Block>>,
    /// Every name that the file gives to a block, those with mistakes included.
    written: BTreeSet<&'r str>,
    /// Blocks that have their kind's own address and no key, and what to set for one.
    keyless: BTreeMap<String, &'static str>,
}

impl<'r> Blocks<'r> {
    /// Reads the section `providers`, and after it the built-in blocks of all kinds that the
    /// environment mentions or that are in `wanted`.
    pub(in crate::policy) fn read(root: &Section<'r>, wanted: &BTreeSet<String>) -> Self {
        let mut section = root.section("providers");
        let mut blocks = Self::default();
        for (name, value) in section.entries() {
            blocks.written.insert(name);
            if let Err(complaint) = label(name) {
                value.error(complaint);
            }
            if name == OpenRouter.name() {
                value.error(
                    Complaint::new("OpenRouter is configured in the policy")
                        .suggesting("write this under cost_routing.openrouter, or give the block another name and `kind: openrouter`"),
                );
                continue;
            }
            blocks.add(name, &value.section());
        }
        let environment = root.reader().environment;
        for kind in provider::ALL {
            let Some(variables) = kind.environment() else {
                continue;
            };
            let is_set = [variables.key, variables.base_url]
                .iter()
                .any(|name| environment.filled(name).is_some());
            let known = blocks.written.contains(kind.name()) || kind.name() == OpenRouter.name();
            if known || !(is_set || wanted.contains(kind.name())) {
                continue;
            }
            // Only its key is set, and there is no address that every one has: for something else.
            let reachable = variables.default_url.is_some()
                || environment.filled(variables.base_url).is_some()
                || wanted.contains(kind.name());
            if !reachable {
                continue;
            }
            blocks.add(kind.name(), &section.section(kind.name()));
        }
        let also = provider::OPENCLAW_GATEWAY;
        if wanted.contains(also) && !blocks.written.contains(also) {
            blocks.add(also, &section.section(also));
        }
        blocks
    }

    fn add(&mut self, name: &str, section: &Section<'_>) {
        let Some((block, keyless)) = block(name, section) else {
            return;
        };
        if let Some(variable) = keyless {
            self.keyless.insert(name.to_owned(), variable);
        }
        self.read.insert(name.to_owned(), Arc::new(block));
    }

    /// The variable that a block of its kind's own address should find its key in, when it has none.
    pub(in crate::policy) fn misses_key(&self, name: &str) -> Option<&'static str> {
        self.keyless.get(name).copied()
    }

    /// The block of that name.
    pub(in crate::policy) fn get(&self, name: &str) -> Option<&Arc<Block>> {
        self.read.get(name)
    }

    /// All of them.
    pub(in crate::policy) fn into_map(self) -> BTreeMap<String, Arc<Block>> {
        self.read
    }

    /// The name of a provider that a model may have.
    ///
    /// # Errors
    /// When it is neither a block nor a kind that is built in.
    pub(in crate::policy) fn known(&self, name: &str) -> Result<String, Complaint> {
        let built_in = provider::ALL
            .iter()
            .filter(|kind| kind.environment().is_some())
            .map(|kind| kind.name());
        let known: BTreeSet<&str> = self.written.iter().copied().chain(built_in).collect();
        if known.contains(name) || name == provider::OPENCLAW_GATEWAY {
            return Ok(name.to_owned());
        }
        if provider::named(name).is_some() {
            return Err(Complaint::new(format!(
                "`{name}` is a kind of provider without an address of its own"
            ))
            .suggesting("describe the server under `providers`, with a base_url, and name that"));
        }
        let known: Vec<&str> = known.into_iter().collect();
        Err(Complaint {
            message: "no provider of this name is built in or described under `providers`".into(),
            suggestion: did_you_mean(name, &known),
        })
    }
}

/// The block, and the variable that it should have a key in, if it has none.
fn block(name: &str, section: &Section<'_>) -> Option<(Block, Option<&'static str>)> {
    let default = provider::named(name).or_else(|| provider::named(ANY))?;
    let kind = section.or("kind", default, kind, |kind| kind.name().to_owned());
    let outer = Outer::read(name, kind, section);
    let headers = headers(section);
    let timeout = section.or("timeout", PATIENCE, patience, |time| {
        units::show_duration(*time)
    });
    let dialects = dialects(section, kind, || kind.dialects().to_vec());
    let private = section.or("allow_private", false, units::flag, ToString::to_string);
    let endpoints = match section.get("endpoints") {
        Some(list) => outer.several(&list),
        None => outer.one(section).into_iter().collect(),
    };
    if endpoints.is_empty() {
        return None;
    }
    let block = Block {
        name: name.to_owned(),
        kind,
        endpoints,
        dialects,
        headers,
        timeout,
        private,
    };
    Some((block, outer.missed.get()))
}
