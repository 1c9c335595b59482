//! The console that budgets come from and spend goes to.
//!
//! Decides where it is, how often it is spoken to, and that its key never travels unencrypted beyond
//! a private network. What is said is in [`crate::console`].

use super::upstream::{self, BaseUrl};
use crate::secret::Secret;
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::units;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How often a console is spoken to unless the policy says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// The longest name of a gateway, in bytes.
const LONGEST_GATEWAY: usize = 64;

/// A console that is switched on.
#[derive(Clone)]
pub struct Console {
    /// The address under which its routes lie.
    pub url: BaseUrl,
    /// The time from one exchange to the next.
    pub interval: Duration,
    /// Sent with every request.
    pub api_key: Secret,
    /// The name it knows this gateway by; `None` for one that the gateway makes up once.
    pub gateway_id: Option<String>,
    /// Certificates to trust besides the system's, as a PEM file.
    pub ca_file: Option<PathBuf>,
}

impl PartialEq for Console {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
            && self.interval == other.interval
            && self.api_key.digest() == other.api_key.digest()
            && self.gateway_id == other.gateway_id
            && self.ca_file == other.ca_file
    }
}

impl fmt::Debug for Console {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("url", &self.url.text)
            .field("interval", &self.interval)
            .field("gateway_id", &self.gateway_id)
            .finish_non_exhaustive()
    }
}

/// Reads the section `console`; nothing when it is switched off or cannot be used.
pub(super) fn read(section: &Section<'_>) -> Option<Console> {
    let enabled = section.or("enabled", false, units::flag, ToString::to_string);
    let url = section.optional("url", |text| address(text, enabled), |url| url.text.clone());
    let interval = section.or("sync_interval_seconds", INTERVAL, interval, |time| {
        units::show_duration(*time)
    });
    let gateway_id = section.optional("gateway_id", gateway_id, Clone::clone);
    let ca_file = section.optional("ca_file", upstream::path, |path| path.display().to_string());
    if !enabled {
        // What is not sent is not missed.
        section.get("api_key");
        return None;
    }
    let off = "or switch it off: enabled: false";
    if section.get("url").is_none() {
        section.error(
            Complaint::new("the console is enabled and `url` is missing").suggesting(format!(
                "name it, such as https://console.jetpatch.com, {off}"
            )),
        );
    }
    let api_key = section.secret("api_key");
    if api_key.is_none() {
        section.error(
            Complaint::new("the console is enabled and `api_key` is missing").suggesting(format!(
                "write api_key: \"${{JETPATCH_API_KEY}}\" and set that variable, {off}"
            )),
        );
    }
    let sendable = |key: &Secret| key.expose().bytes().all(|byte| byte.is_ascii_graphic());
    if api_key.as_ref().is_some_and(|key| !sendable(key)) {
        section.error(Complaint::new(
            "`api_key` is sent as a header and may hold printable ASCII only",
        ));
    }
    Some(Console {
        url: url?,
        interval,
        api_key: api_key.filter(sendable)?,
        gateway_id,
        ca_file,
    })
}

/// The console's address. One that is not used may be as it likes, as long as it is a URL.
fn address(text: &str, used: bool) -> Result<BaseUrl, Complaint> {
    let url = BaseUrl::parse(text).map_err(|complaint| Complaint {
        suggestion: complaint
            .suggestion
            .map(|_| "such as https://console.jetpatch.com".into()),
        ..complaint
    })?;
    if used && !url.https && !is_private(&url) {
        return Err(
            Complaint::new("the key would go to the console unencrypted")
                .suggesting("use https://"),
        );
    }
    Ok(url)
}

/// Whether the address, as it is written, is this machine or one of a private network.
fn is_private(url: &BaseUrl) -> bool {
    match url.host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback(),
        Ok(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_loopback(),
        Err(_) => !url.is_public_name(),
    }
}

fn interval(text: &str) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if !(Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&time) {
        return Err(Complaint::new("must be between 1s and 24h"));
    }
    Ok(time)
}

/// A gateway's name, which is a part of a path.
fn gateway_id(text: &str) -> Result<String, Complaint> {
    let name = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let dots = name.bytes().all(|byte| byte == b'.');
    if dots || name.len() > LONGEST_GATEWAY || !name.bytes().all(plain) {
        return Err(Complaint::new(format!(
            "must be 1 to {LONGEST_GATEWAY} letters, digits, `-`, `_` or `.`"
        )));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::policy::{Policy, parse};
    use crate::settings::environment::Environment;
    use crate::settings::problem::Problems;
    use std::time::Duration;

    fn read(console: &str) -> Result<Policy, Problems> {
        let environment = Environment::of([("JETPATCH_API_KEY", "jp-sesame")]);
        let agents = "agents: {a: {budget_total: 1}}";
        let text = format!("cost_routing: {{console: {console}, {agents}}}");
        parse("policy.yaml", &text, &environment)
    }

    #[test]
    fn the_example_switched_on_is_a_console() {
        let policy = read(
            "{enabled: true, url: 'https://console.jetpatch.com', api_key: '${JETPATCH_API_KEY}'}",
        );
        let policy = policy.unwrap();
        let console = policy.console.clone().unwrap();
        assert_eq!(console.url.text, "https://console.jetpatch.com");
        assert_eq!(console.interval, Duration::from_secs(30));
        assert!(console.api_key.expose() == "jp-sesame");
        assert_eq!(console.gateway_id, None);
        let shown = format!("{console:?} {policy:?} {:?}", policy.facts);
        assert!(!shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn one_that_is_off_misses_nothing() {
        for console in [
            "{}",
            "{enabled: false, api_key: '${UNSET}'}",
            "{url: 'http://console.example.com'}",
        ] {
            let policy = read(console).unwrap();
            assert!(policy.console.is_none(), "{console}");
            assert!(
                policy.warnings.iter().all(|w| !w.path.contains("console")),
                "{console}"
            );
        }
    }

    #[test]
    fn one_that_cannot_work_is_an_error_that_says_what_to_do() {
        for (console, part) in [
            ("{enabled: true, api_key: k}", "`url` is missing"),
            ("{enabled: true, url: 'https://h'}", "`api_key` is missing"),
            (
                "{enabled: true, url: 'https://h', api_key: '${UNSET}'}",
                "set that variable",
            ),
            (
                "{enabled: true, url: 'https://h', api_key: 'a b'}",
                "printable ASCII",
            ),
            (
                "{enabled: true, url: 'http://console.example.com', api_key: k}",
                "use https://",
            ),
            (
                "{enabled: true, url: 'http://8.8.8.8', api_key: k}",
                "use https://",
            ),
            (
                "{enabled: true, url: 'http://169.254.169.254', api_key: k}",
                "link-local",
            ),
            ("{sync_interval_seconds: 0}", "between 1s and 24h"),
            ("{sync_interval_seconds: 25h}", "between 1s and 24h"),
            ("{gateway_id: 'a/b'}", "letters, digits"),
            ("{gateway_id: '..'}", "letters, digits"),
            ("{enable: true}", "did you mean `enabled`?"),
        ] {
            let shown = read(console).unwrap_err().to_string();
            assert!(shown.contains(part), "{console}: {shown}");
            assert!(!shown.contains("sesame"), "{shown}");
        }
    }

    #[test]
    fn unencrypted_is_for_private_networks() {
        for url in [
            "http://127.0.0.1:1",
            "http://localhost:1/base",
            "http://10.1.2.3",
            "http://[fd00::1]",
            "http://console:8080",
            "http://console.default.svc",
        ] {
            let console = format!("{{enabled: true, url: '{url}', api_key: k, gateway_id: eu-1}}");
            let console = read(&console).unwrap().console.unwrap();
            assert_eq!(console.gateway_id.as_deref(), Some("eu-1"), "{url}");
        }
    }
}
