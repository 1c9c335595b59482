//! Where requests go: the provider's address, key and patience.
//!
//! Nothing a client sends ever reaches this. Which addresses are acceptable is decided in `url.rs`.

mod url;

pub use url::BaseUrl;

use super::provider;
use crate::provider::Provider as _;
use crate::provider::openrouter::OpenRouter;
use crate::secret::Secret;
use crate::settings::origin::{Origin, masked};
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::units;
use crate::wire::Dialect;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The variable that holds the provider's key when nothing else does.
pub const KEY_VARIABLE: &str = "OPENROUTER_API_KEY";

/// The provider.
#[derive(Clone)]
pub struct Upstream {
    /// Its address.
    pub base_url: BaseUrl,
    /// The key in the policy; sent with every request.
    pub api_key: Option<Secret>,
    /// The key in the environment, for when the policy has none and the client brought none.
    pub fallback_key: Option<Secret>,
    /// The longest silence accepted from it.
    pub timeout: Duration,
    /// Sent as `HTTP-Referer`; nothing when empty.
    pub referer: String,
    /// Sent as `X-Title`; nothing when empty.
    pub title: String,
    /// Certificates to trust besides the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// The dialects that it understands.
    pub dialects: Vec<Dialect>,
    /// Whether its public name may resolve to an address of a private network.
    pub private: bool,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            base_url: BaseUrl::open_router(),
            api_key: None,
            fallback_key: None,
            timeout: Duration::from_secs(120),
            referer: String::new(),
            title: "Weir".to_owned(),
            ca_file: None,
            dialects: dialects(&BaseUrl::open_router()),
            private: false,
        }
    }
}

impl fmt::Debug for Upstream {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("base_url", &self.base_url.text)
            .field("api_key", &self.api_key.is_some())
            .field("fallback_key", &self.fallback_key.is_some())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The dialects of what is reached at `url` as OpenRouter is: all of OpenRouter's own, and of anything
/// else those that such servers have had from the start.
pub(super) fn dialects(url: &BaseUrl) -> Vec<Dialect> {
    if url.is_of(&BaseUrl::open_router()) {
        return OpenRouter.dialects().to_vec();
    }
    vec![Dialect::Chat, Dialect::Completions, Dialect::Embeddings]
}

/// Reads the section `openrouter`.
pub(super) fn read(section: &Section<'_>) -> Upstream {
    let default = Upstream::default();
    let reader = section.reader();
    let base_url = section.or("base_url", default.base_url, BaseUrl::parse, |url| {
        url.text.clone()
    });
    let api_key = section.secret("api_key");
    let fallback = reader.environment.filled(KEY_VARIABLE).map(str::trim);
    if let (None, Some(key)) = (&api_key, fallback) {
        reader.fact(
            section.path_of("api_key"),
            masked(key),
            Origin::Variable(KEY_VARIABLE),
        );
    }
    let timeout = section.or("timeout_seconds", default.timeout, patience, |time| {
        units::show_duration(*time)
    });
    let header = |key, default| section.or(key, default, header_value, Clone::clone);
    let spoken = provider::read::dialects(section, &OpenRouter, || dialects(&base_url));
    let private = section.or(
        "allow_private",
        !base_url.is_of(&BaseUrl::open_router()),
        units::flag,
        ToString::to_string,
    );
    Upstream {
        dialects: spoken,
        private,
        base_url,
        api_key,
        fallback_key: fallback.map(|key| Secret::new(key.to_owned())),
        timeout,
        referer: header("referer", default.referer),
        title: header("title", default.title),
        ca_file: section.optional("ca_file", path, |path| path.display().to_string()),
    }
}

/// How long a silence may be.
///
/// # Errors
/// When it is no duration between 10 ms and a day.
pub(super) fn patience(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if time < Duration::from_millis(10) || time > Duration::from_secs(86_400) {
        return Err(Complaint::new("must be between 10ms and 24h"));
    }
    Ok(time)
}

/// A path to a file.
///
/// # Errors
/// When it is empty.
pub(super) fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.trim().is_empty() {
        return Err(Complaint::new("the path is empty"));
    }
    Ok(PathBuf::from(text))
}

/// What can be sent as the value of a header.
///
/// # Errors
/// When it is anything but printable ASCII.
pub(super) fn header_value(text: &str) -> Result<String, Complaint> {
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(Complaint::new(
            "is sent as a header and may hold printable ASCII only",
        ));
    }
    Ok(text.to_owned())
}
