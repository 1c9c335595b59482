//! The section `breaker`: when spending is too much, and what happens then.
//!
//! Decides that thresholds are in order, whoever states them, and that a model which takes the place of another is
//! not replaced itself. Variables win over the file. Levels act once somebody has asked for it: by `mode: enforce`,
//! or by one of the variables.

use super::agents::{model, named_zone, zone_name};
use super::upstream::BaseUrl;
use crate::breaker::rules::Models;
use crate::breaker::{Action, Level, Rules, Span, Thresholds, repeat, spike};
use crate::budget::period::{Period, PeriodKind};
use crate::money::Nanos;
use crate::secret::Secret;
use crate::settings::origin::Origin;
use crate::settings::problem::{Complaint, did_you_mean};
use crate::settings::reader::Section;
use crate::settings::units;
use jiff::tz::TimeZone;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The variables of the thresholds, from WARNING up.
pub const VARIABLES: [&str; 4] = [
    "CIRCUIT_BREAKER_WARNING",
    "CIRCUIT_BREAKER_SOFT",
    "CIRCUIT_BREAKER_HARD",
    "CIRCUIT_BREAKER_EMERGENCY",
];

const KEYS: [&str; 4] = ["warning", "soft", "hard", "emergency"];

/// The lengths that a sliding window may have.
const WINDOWS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(31 * 86_400);

const SECOND_TO_DAY: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(86_400);

/// The longest part of a name that models are told by, in bytes.
const LONGEST_PART: usize = 128;

/// The most of them.
const MOST_PARTS: usize = 64;

/// The shortest secret that messages are signed with, in bytes.
const SHORTEST_SECRET: usize = 32;

/// The breaker of a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Breaker {
    /// What happens when.
    pub rules: Rules,
    /// Who is told of a change of level besides the log.
    pub webhook: Option<Webhook>,
}

/// Where a message goes when the level changes.
#[derive(Clone)]
pub struct Webhook {
    /// The address.
    pub url: BaseUrl,
    /// Signs the message, where there is one.
    pub secret: Option<Secret>,
    /// How long one try may take.
    pub timeout: Duration,
}

impl PartialEq for Webhook {
    fn eq(&self, other: &Self) -> bool {
        let digest = |secret: &Option<Secret>| secret.as_ref().map(Secret::digest);
        self.url == other.url
            && self.timeout == other.timeout
            && digest(&self.secret) == digest(&other.secret)
    }
}

impl fmt::Debug for Webhook {
    /// Never the address: some of them are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Reads the section `breaker`, and the variables. `zone` is the one of the policy.
pub(super) fn read(section: &Section<'_>, zone: Option<&TimeZone>) -> Breaker {
    let default = Rules::default();
    let environment = section.reader().environment;
    let asked = VARIABLES
        .iter()
        .any(|name| environment.filled(name).is_some());
    let enforced = section.or("mode", asked, mode, |enforced| {
        if *enforced { "enforce" } else { "observe" }.to_owned()
    });
    let rules = Rules {
        enforced,
        thresholds: thresholds(section, default.thresholds),
        span: span(section, zone),
        dear: dear(&section.section("downgrade"), default.dear),
        economy: economy(&section.section("economy"), default.economy),
        spikes: spikes(&section.section("spikes")),
        repeats: repeats(&section.section("repeats")),
    };
    Breaker {
        rules,
        webhook: section
            .get("webhook")
            .and_then(|value| webhook(&value.section())),
    }
}

fn mode(text: &str) -> Result<bool, Complaint> {
    match text.trim() {
        "enforce" => Ok(true),
        "observe" => Ok(false),
        other => Err(Complaint {
            message: "must be observe or enforce".into(),
            suggestion: did_you_mean(other, &["observe", "enforce"]),
        }),
    }
}

fn thresholds(section: &Section<'_>, default: Thresholds) -> Thresholds {
    let mut amounts = [Nanos::ZERO; 4];
    let names = KEYS.into_iter().zip(VARIABLES);
    for ((amount, (key, variable)), level) in amounts.iter_mut().zip(names).zip(Level::STEPS) {
        let default = default.of(level).unwrap_or_default();
        let reader = section.reader();
        let stated = reader.environment.filled(variable).map(units::money);
        *amount = match stated {
            Some(Ok(stated)) => {
                // The file's own is overruled, and still has to be an amount.
                let _ = section.resolve(key, units::money);
                let shown = units::show_money(stated);
                reader.fact(section.path_of(key), shown, Origin::Variable(variable));
                stated
            }
            Some(Err(complaint)) => {
                reader.report_variable(variable, complaint);
                let _ = section.get(key);
                default
            }
            None => section.or(key, default, units::money, |amount| {
                units::show_money(*amount)
            }),
        };
    }
    Thresholds::new(amounts).unwrap_or_else(|wrong| {
        section.error(Complaint::new(wrong.to_string()).suggesting(
            "state all four: warning, soft, hard and emergency, each more than the one before",
        ));
        default
    })
}

fn span(section: &Section<'_>, outer: Option<&TimeZone>) -> Span {
    let zone = match section.get("timezone") {
        Some(_) => section.optional("timezone", named_zone, zone_name),
        None => outer.cloned(),
    };
    let zone = zone.unwrap_or(TimeZone::UTC);
    let read = |text: &str| {
        let kinds = PeriodKind::ALL.into_iter().skip(1);
        if let Some(kind) = kinds.clone().find(|kind| kind.name() == text.trim()) {
            let zone = zone.clone();
            return Ok(Span::Calendar(Period { kind, zone }));
        }
        let length = units::duration(text).map_err(|_| {
            let names: Vec<&str> = kinds.clone().map(PeriodKind::name).collect();
            Complaint {
                message:
                    "must be a duration, which slides, or one of hourly, daily, weekly, monthly"
                        .into(),
                suggestion: did_you_mean(text.trim(), &names).or(Some("such as 24h".into())),
            }
        })?;
        within(length, &WINDOWS, "1s and 31d").map(Span::Sliding)
    };
    section.or("window", Rules::default().span, read, |span| match span {
        Span::Sliding(length) => units::show_duration(*length),
        Span::Calendar(period) => period.kind.name().to_owned(),
    })
}

fn within(
    time: Duration,
    range: &RangeInclusive<Duration>,
    shown: &str,
) -> Result<Duration, Complaint> {
    if range.contains(&time) {
        return Ok(time);
    }
    Err(Complaint::new(format!("must be between {shown}")))
}

fn parts(section: &Section<'_>, default: Vec<String>) -> Vec<String> {
    let Some(list) = section.get("models") else {
        let path = section.path_of("models");
        section
            .reader()
            .fact(path, default.join(","), Origin::Default);
        return default;
    };
    let parts: Vec<String> = list
        .list()
        .iter()
        .filter_map(|item| item.read(part))
        .collect();
    if parts.is_empty() || parts.len() > MOST_PARTS {
        list.error(Complaint::new(format!(
            "must list 1 to {MOST_PARTS} parts of names"
        )));
    }
    section
        .reader()
        .fact(list.path(), parts.join(","), list.origin());
    parts
}

fn part(text: &str) -> Result<String, Complaint> {
    let part = text.trim().to_ascii_lowercase();
    if part.is_empty() || part.len() > LONGEST_PART {
        return Err(Complaint::new(format!(
            "must be a part of a model's name, of 1 to {LONGEST_PART} bytes"
        )));
    }
    Ok(part)
}

fn to(section: &Section<'_>) -> Option<String> {
    section.optional("to", |text| model(text.trim()), Clone::clone)
}

fn dear(section: &Section<'_>, default: Models) -> Models {
    let named = parts(section, default.named);
    let stated = section.get("to").is_some();
    let to = to(section).or(default.to.filter(|_| !stated));
    let models = Models { named, to };
    if models.to.as_deref().is_some_and(|to| models.has(to)) {
        section.error(Complaint::new(
            "`to` is one of the models that it is to replace",
        ));
    }
    models
}

fn economy(section: &Section<'_>, default: Models) -> Models {
    let models = Models {
        named: parts(section, default.named),
        to: to(section),
    };
    if models.to.as_deref().is_some_and(|to| !models.has(to)) {
        section.error(Complaint::new(
            "`to` has none of the names in `models`, which are all that runs",
        ));
    }
    models
}

fn action(text: &str) -> Result<Action, Complaint> {
    let text = text.trim();
    // YAML's older readers take a bare `off` for a switch, and people write one.
    let text = if text == "false" { "off" } else { text };
    let found = Action::ALL.into_iter().find(|action| action.name() == text);
    let names = Action::ALL.map(Action::name);
    found.ok_or_else(|| Complaint {
        message: format!("must be one of {}", names.join(", ")),
        suggestion: did_you_mean(text, &names),
    })
}

fn show_action(action: &Action) -> String {
    action.name().to_owned()
}

fn time(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let read = |text: &str| within(units::duration(text)?, &SECOND_TO_DAY, "1s and 24h");
    section.or(key, default, read, |time| units::show_duration(*time))
}

fn number(
    section: &Section<'_>,
    key: &'static str,
    default: u32,
    range: RangeInclusive<u32>,
) -> u32 {
    let read = |text: &str| {
        let number = u32::try_from(units::count(text)?).ok();
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                Complaint::new(format!(
                    "must be between {} and {}",
                    range.start(),
                    range.end()
                ))
            })
    };
    section.or(key, default, read, ToString::to_string)
}

fn spikes(section: &Section<'_>) -> spike::Rules {
    let default = spike::Rules::default();
    spike::Rules {
        action: section.or("action", default.action, action, show_action),
        factor: number(section, "factor", default.factor, 2..=1000),
        dollars: section.or("dollars_per_minute", default.dollars, units::money, |usd| {
            units::show_money(*usd)
        }),
        tokens: section.or(
            "tokens_per_minute",
            default.tokens,
            units::count,
            ToString::to_string,
        ),
        cool_down: time(section, "cool_down", default.cool_down),
    }
}

fn repeats(section: &Section<'_>) -> repeat::Rules {
    let default = repeat::Rules::default();
    repeat::Rules {
        action: section.or("action", default.action, action, show_action),
        times: number(section, "times", default.times, 2..=repeat::MOST),
        within: time(section, "within", default.within),
        cool_down: time(section, "cool_down", default.cool_down),
    }
}

fn webhook(section: &Section<'_>) -> Option<Webhook> {
    let url = section.required("url", address, |url| format!("{}:{}", url.host, url.port));
    let there = section.get("secret").is_some();
    let secret = section.secret("secret");
    let long = |secret: &Secret| secret.expose().len() >= SHORTEST_SECRET;
    if there && !secret.as_ref().is_some_and(long) {
        section.error(
            Complaint::new(format!(
                "the secret that messages are signed with needs at least {SHORTEST_SECRET} bytes"
            ))
            .suggesting("make one with: openssl rand -hex 32"),
        );
    }
    let timeout = section.or("timeout", Duration::from_secs(5), patience, |time| {
        units::show_duration(*time)
    });
    Some(Webhook {
        url: url?,
        secret,
        timeout,
    })
}

fn patience(text: &str) -> Result<Duration, Complaint> {
    let range = Duration::from_millis(100)..=Duration::from_secs(60);
    within(units::duration(text)?, &range, "100ms and 60s")
}

/// Where messages may go: nobody in between reads them, or to this machine.
fn address(text: &str) -> Result<BaseUrl, Complaint> {
    let url = BaseUrl::parse(text).map_err(|complaint| Complaint {
        suggestion: complaint
            .suggestion
            .map(|_| "such as https://hooks.example.com/weir".into()),
        ..complaint
    })?;
    let here = match url.host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => url.host.eq_ignore_ascii_case("localhost"),
    };
    if url.https || here {
        return Ok(url);
    }
    Err(Complaint::new("the message would go there unencrypted").suggesting("use https://"))
}

impl Breaker {
    /// What is otherwise than before and no setting shows.
    pub(super) fn changes(&self, before: &Self) -> Option<String> {
        let digest = |breaker: &Self| {
            let secret = breaker.webhook.as_ref()?.secret.as_ref();
            secret.map(Secret::digest)
        };
        let both = digest(before).zip(digest(self));
        both.is_some_and(|(was, is)| was != is)
            .then(|| "the breaker's messages are signed with another secret".to_owned())
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
