//! From the section `providers` of the models file, and the environment, to blocks.

use super::{Block, Endpoint, FIRST};
use crate::dialect::Dialect;
use crate::policy::upstream::{BaseUrl, header_value, patience};
use crate::provider::openrouter::OpenRouter;
use crate::provider::{self, Call, Provider};
use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::{Reader, Section, Value};
use crate::settings::units;
use http::HeaderName;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The kind of a block that has no kind's name and states none.
const ANY: &str = "openai-compatible";

/// The longest silence accepted from a provider that states none.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest name of a block or an endpoint, in bytes.
const LONGEST_NAME: usize = 64;

/// Headers that Weir sets itself or that belong to one connection.
const OWN_HEADERS: [&str; 19] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "proxy-authorization",
    "cookie",
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "transfer-encoding",
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

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
        if known.contains(name) {
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

fn kind(text: &str) -> Result<&'static dyn Provider, Complaint> {
    let word = text.trim();
    provider::named(word).ok_or_else(|| {
        let names: Vec<&str> = provider::ALL.iter().map(|kind| kind.name()).collect();
        Complaint {
            message: "is no kind of provider".into(),
            suggestion: did_you_mean(word, &names),
        }
    })
}

/// A key that was stated, which may turn out to be none, or nothing stated at all.
type Stated = Option<Option<Secret>>;

/// What the endpoints of a block inherit.
struct Outer<'s> {
    kind: &'static dyn Provider,
    reader: &'s Reader<'s>,
    path: String,
    /// Whether the block has the kind's name.
    built_in: bool,
    base_url: Option<BaseUrl>,
    /// Whether the block's `base_url` was refused, so that nothing is to be said of its absence.
    refused: bool,
    api_key: Stated,
    api_version: Option<String>,
    /// The variable in which a key was looked for and not found.
    missed: Cell<Option<&'static str>>,
}

impl<'s> Outer<'s> {
    fn read(name: &str, kind: &'static dyn Provider, section: &Section<'s>) -> Self {
        let base_url = address(section);
        Self {
            kind,
            reader: section.reader(),
            path: section.path().to_owned(),
            built_in: name == kind.name(),
            refused: base_url.is_none() && section.get("base_url").is_some(),
            base_url,
            api_key: secret(section),
            api_version: azures(section, "api_version", kind),
            missed: Cell::new(None),
        }
    }

    /// The endpoint of a block without a list.
    fn one(&self, section: &Section<'_>) -> Option<Endpoint> {
        self.finish(FIRST.to_owned(), self.base_url.clone(), None, section)
    }

    fn several(&self, list: &Value<'_>) -> Vec<Endpoint> {
        let items = list.list();
        if items.is_empty() {
            list.error(Complaint::new("must name at least one endpoint"));
        }
        let mut names = BTreeSet::new();
        let mut endpoints = Vec::new();
        for (index, value) in items.into_iter().enumerate() {
            let section = value.clone().section();
            let stated = |key| section.optional(key, label, Clone::clone);
            let name = match (stated("name"), stated("region")) {
                (Some(name), region) => {
                    if region.is_some() {
                        section.warn(Complaint::new("has a name and a region; the name is used"));
                    }
                    name
                }
                (None, Some(region)) => region,
                (None, None) => (index + 1).to_string(),
            };
            if !names.insert(name.clone()) {
                value.error(Complaint::new(format!(
                    "the name `{name}` is given to two endpoints"
                )));
            }
            let own = address(&section);
            if own.is_none() && section.get("base_url").is_some() {
                continue;
            }
            let key = secret(&section);
            let deployment = azures(&section, "deployment", self.kind);
            let version = azures(&section, "api_version", self.kind);
            let url = own.or_else(|| self.base_url.clone());
            if let Some(endpoint) = self.finish(name, url, key, &section) {
                endpoints.push(Endpoint {
                    deployment,
                    api_version: version.or(endpoint.api_version),
                    ..endpoint
                });
            }
        }
        endpoints
    }

    /// An endpoint with what the block and the environment say where it is silent itself.
    fn finish(
        &self,
        name: String,
        stated: Option<BaseUrl>,
        key: Stated,
        section: &Section<'_>,
    ) -> Option<Endpoint> {
        let own_address = stated.is_none();
        let base_url = match stated {
            Some(url) => url,
            None if self.refused => return None,
            None => self.kinds_address(section)?,
        };
        let api_key = match key.or_else(|| self.api_key.clone()) {
            Some(stated) => stated,
            None if own_address || self.built_in => self.kinds_key(section),
            None => None,
        };
        Some(Endpoint {
            name,
            base_url,
            api_key,
            fallback_key: None,
            deployment: None,
            api_version: self.api_version.clone(),
        })
    }

    /// Where the kind is reached when the file does not say.
    fn kinds_address(&self, section: &Section<'_>) -> Option<BaseUrl> {
        let fact = |url: &BaseUrl, origin| {
            self.reader
                .fact(section.path_of("base_url"), url.text.clone(), origin);
        };
        let variables = self.kind.environment();
        let set = variables.and_then(|variables| {
            let text = self.reader.environment.filled(variables.base_url)?;
            Some((variables.base_url, text))
        });
        if let Some((variable, text)) = set {
            return match BaseUrl::parse(text) {
                Ok(url) => {
                    fact(&url, Origin::Variable(variable));
                    Some(url)
                }
                Err(complaint) => {
                    self.reader.report_variable(variable, complaint);
                    None
                }
            };
        }
        let own = variables.and_then(|variables| variables.default_url);
        match own.map(BaseUrl::parse) {
            Some(Ok(url)) => {
                fact(&url, Origin::Default);
                Some(url)
            }
            _ => {
                let hint = match variables {
                    Some(variables) => format!(
                        "set {}, or write base_url under {}",
                        variables.base_url, self.path
                    ),
                    None => "such as http://localhost:8000/v1".to_owned(),
                };
                section.error(Complaint::new("`base_url` is missing").suggesting(hint));
                None
            }
        }
    }

    /// The key that the environment has for the kind.
    fn kinds_key(&self, section: &Section<'_>) -> Option<Secret> {
        let variables = self.kind.environment()?;
        let variable = variables.key;
        let Some(key) = self.reader.environment.filled(variable).map(str::trim) else {
            let redirected = self.reader.environment.filled(variables.base_url).is_some();
            if self.base_url.is_none() && !redirected {
                self.missed.set(Some(variable));
            }
            return None;
        };
        self.reader.fact(
            section.path_of("api_key"),
            masked(key),
            Origin::Variable(variable),
        );
        Some(Secret::new(key.to_owned()))
    }
}

fn address(section: &Section<'_>) -> Option<BaseUrl> {
    section.optional("base_url", BaseUrl::parse, |url| url.text.clone())
}

fn secret(section: &Section<'_>) -> Stated {
    section.get("api_key")?;
    Some(section.secret("api_key"))
}

/// A setting that only Azure has.
fn azures(section: &Section<'_>, key: &'static str, kind: &'static dyn Provider) -> Option<String> {
    let value = section.optional(key, part, Clone::clone)?;
    warn_unless_azure(section, key, kind);
    Some(value)
}

/// Warns about a setting that providers of this kind do not have.
pub(in crate::policy) fn warn_unless_azure(
    section: &Section<'_>,
    key: &'static str,
    kind: &'static dyn Provider,
) {
    let is_azure = provider::named("azure").is_some_and(|azure| azure == kind);
    if let Some(value) = section.get(key).filter(|_| !is_azure) {
        value.warn(Complaint::new(format!(
            "is for Azure; providers of the kind {} have none",
            kind.name()
        )));
    }
}

/// A part of an address, such as a deployment.
///
/// # Errors
/// When it is empty, too long, or not printable ASCII.
pub(in crate::policy) fn part(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if text.is_empty() || text.len() > LONGEST_NAME || !plain {
        return Err(Complaint::new(format!(
            "must be 1 to {LONGEST_NAME} printable ASCII characters without spaces"
        )));
    }
    Ok(text.to_owned())
}

/// The name of a block or an endpoint, which is shown in headers and metrics.
fn label(text: &str) -> Result<String, Complaint> {
    let name = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
        return Err(Complaint::new(format!(
            "the name must be 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores"
        )));
    }
    Ok(name.to_owned())
}

fn headers(section: &Section<'_>) -> Vec<(String, String)> {
    let mut section = section.section("headers");
    let mut read: Vec<(String, String)> = Vec::new();
    for (written, value) in section.entries() {
        let name = match header_name(written) {
            Ok(name) => name,
            Err(complaint) => {
                value.error(complaint);
                continue;
            }
        };
        let Some(text) = value.read(header_value) else {
            continue;
        };
        if read.iter().any(|(other, _)| *other == name) {
            value.error(Complaint::new(format!("`{name}` is given twice")));
        }
        let origin = value.origin();
        let shown = if origin.variables().is_empty() {
            text.clone()
        } else {
            masked(&text)
        };
        value.reader().fact(value.path(), shown, origin);
        read.push((name, text));
    }
    read
}

fn header_name(text: &str) -> Result<String, Complaint> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Complaint::new("is no valid name of a header"))?;
    if OWN_HEADERS.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
        return Err(Complaint::new("this header is Weir's to set")
            .suggesting("a key belongs in `api_key`; headers that frame a request cannot be set"));
    }
    Ok(name.as_str().to_owned())
}

/// Reads the list `dialects`, or `speaks`; what is not stated is `default`.
pub(in crate::policy) fn dialects(
    section: &Section<'_>,
    kind: &'static dyn Provider,
    default: impl FnOnce() -> Vec<Dialect>,
) -> Vec<Dialect> {
    let (list, alias) = (section.get("dialects"), section.get("speaks"));
    if let (Some(_), Some(alias)) = (&list, &alias) {
        alias.error(Complaint::new(
            "is the same as `dialects`, which is there as well",
        ));
    }
    let Some(list) = list.or(alias) else {
        let default = default();
        let origin = Origin::Default;
        section
            .reader()
            .fact(section.path_of("dialects"), shown(&default), origin);
        return default;
    };
    let mut read = Vec::new();
    let items = list.list();
    if items.is_empty() {
        list.error(Complaint::new("must name at least one dialect"));
    }
    for item in items {
        let Some(dialect) = item.read(dialect) else {
            continue;
        };
        if !is_addressable(kind, dialect) {
            item.error(Complaint {
                message: format!(
                    "a provider of the kind {} has no route for {dialect}",
                    kind.name()
                ),
                suggestion: None,
            });
        }
        if !read.contains(&dialect) {
            read.push(dialect);
        }
    }
    section
        .reader()
        .fact(list.path(), shown(&read), list.origin());
    read
}

fn shown(dialects: &[Dialect]) -> String {
    let names: Vec<&str> = dialects.iter().map(|dialect| dialect.name()).collect();
    names.join(", ")
}

/// Whether a kind has a route for a dialect: one of those it always has, or one that is not just the
/// route it falls back to, which is that of its first dialect.
fn is_addressable(kind: &'static dyn Provider, dialect: Dialect) -> bool {
    let path = |dialect| {
        let call = Call {
            dialect,
            engine: "x",
            stream: false,
            count_tokens: false,
            deployment: None,
            api_version: None,
        };
        kind.path(&call)
    };
    let dialects = kind.dialects();
    dialects.contains(&dialect)
        || dialects
            .first()
            .is_some_and(|first| path(dialect) != path(*first))
}

/// The name of a dialect.
///
/// # Errors
/// When there is none of that name.
pub(in crate::policy) fn dialect(text: &str) -> Result<Dialect, Complaint> {
    let word = text.trim();
    Dialect::ALL
        .into_iter()
        .find(|dialect| dialect.name() == word)
        .ok_or_else(|| Complaint {
            message: "is no dialect".into(),
            suggestion: did_you_mean(word, &Dialect::ALL.map(Dialect::name)),
        })
}
