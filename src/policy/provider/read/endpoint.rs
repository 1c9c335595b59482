//! The endpoints of a block, and what they inherit.
//!
//! Decides which address and which key each has: its own, the block's, or those that the environment
//! has for the kind. A key from a variable goes to the kind's own address only, or to where a block of
//! the kind's name says.

use super::words::{label, part};
use crate::policy::provider::{Endpoint, FIRST};
use crate::policy::upstream::BaseUrl;
use crate::provider::{self, Provider};
use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::Complaint;
use crate::settings::reader::{Reader, Section, Value};
use std::cell::Cell;
use std::collections::BTreeSet;

/// A key that was stated, which may turn out to be none, or nothing stated at all.
type Stated = Option<Option<Secret>>;

/// What the endpoints of a block inherit.
pub(super) struct Outer<'s> {
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
    pub(super) missed: Cell<Option<&'static str>>,
}

impl<'s> Outer<'s> {
    pub(super) fn read(name: &str, kind: &'static dyn Provider, section: &Section<'s>) -> Self {
        let base_url = address(section);
        Self {
            kind,
            reader: section.reader(),
            path: section.path().to_owned(),
            built_in: provider::named(name) == Some(kind),
            refused: base_url.is_none() && section.get("base_url").is_some(),
            base_url,
            api_key: secret(section),
            api_version: azures(section, "api_version", kind),
            missed: Cell::new(None),
        }
    }

    /// The endpoint of a block without a list.
    pub(super) fn one(&self, section: &Section<'_>) -> Option<Endpoint> {
        self.finish(FIRST.to_owned(), self.base_url.clone(), None, section)
    }

    pub(super) fn several(&self, list: &Value<'_>) -> Vec<Endpoint> {
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
