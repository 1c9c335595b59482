//! A service of somebody else's that judges texts, too.

use crate::policy::upstream::BaseUrl;
use crate::secret::Secret;
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::units;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Where texts are judged, and what if they are not.
#[derive(Clone)]
pub struct Classifier {
    /// The whole address, which is asked as OpenAI's `/v1/moderations` is.
    pub url: BaseUrl,
    /// Its key.
    pub api_key: Option<Secret>,
    /// The model that it is to ask.
    pub model: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether a request passes that it did not judge.
    pub passes_unjudged: bool,
}

impl PartialEq for Classifier {
    fn eq(&self, other: &Self) -> bool {
        let key = |one: &Self| one.api_key.as_ref().map(Secret::digest);
        self.url.text == other.url.text
            && self.model == other.model
            && self.timeout == other.timeout
            && self.passes_unjudged == other.passes_unjudged
            && key(self) == key(other)
    }
}

impl Eq for Classifier {}

/// Without its key.
impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("host", &self.url.host)
            .finish_non_exhaustive()
    }
}

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> Option<Classifier> {
    let url = section.required("url", address, |url| url.text.clone());
    let api_key = section.secret("api_key");
    let model = section.optional(
        "model",
        |text| Ok(text.trim().to_owned()),
        |model: &String| model.clone(),
    );
    let timeout = section.or("timeout", Duration::from_secs(1), patience, |time| {
        units::show_duration(*time)
    });
    let passes_unjudged = section.or("on_failure", false, passes, |passes| {
        if *passes { "pass" } else { "refuse" }.to_owned()
    });
    Some(Classifier {
        url: url?,
        api_key,
        model,
        timeout,
        passes_unjudged,
    })
}

fn passes(text: &str) -> Result<bool, Complaint> {
    match text.trim() {
        "pass" => Ok(true),
        "refuse" => Ok(false),
        _ => Err(Complaint::new("must be pass or refuse")),
    }
}

fn patience(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if (Duration::from_millis(10)..=Duration::from_secs(30)).contains(&time) {
        return Ok(time);
    }
    Err(Complaint::new("must be between 10ms and 30s"))
}

/// Prompts go there: nobody in between reads them, or it is in one's own network.
fn address(text: &str) -> Result<BaseUrl, Complaint> {
    let url = BaseUrl::parse(text).map_err(|complaint| Complaint {
        suggestion: complaint
            .suggestion
            .map(|_| "such as https://guard.example.com/v1/moderations".into()),
        ..complaint
    })?;
    let near = match url.host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => !url.host.contains('.'),
    };
    if url.https || near {
        return Ok(url);
    }
    Err(Complaint::new("prompts would go there unencrypted").suggesting("use https://"))
}
