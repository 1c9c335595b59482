//! Agents and the gateway: budgets, periods, tiers.

use super::guard::{self, Guard};
use super::teams::Teams;
use super::{Agent, BudgetSource, limits};
use crate::budget::AccountSpec;
use crate::budget::period::{Period, PeriodKind};
use crate::budget::tier::Threshold;
use crate::budget::warn::Levels;
use crate::identity::{AccountId, AgentId};
use crate::money::Nanos;
use crate::settings::origin::Origin;
use crate::settings::problem::{Complaint, did_you_mean, nearest};
use crate::settings::reader::{Section, Value};
use crate::settings::units;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The longest model name accepted, in bytes.
const LONGEST_MODEL: usize = 256;

/// Reads the section `agents`: the sound ones, and the names of all that are written.
pub(super) fn read<'r>(
    routing: &Section<'r>,
    zone: Option<&TimeZone>,
    all: &Arc<Guard>,
    teams: &mut Teams<'r>,
) -> (BTreeMap<AgentId, Arc<Agent>>, BTreeSet<&'r str>) {
    let mut section = routing.section("agents");
    let entries = section.entries();
    if entries.is_empty() {
        section.warn(Complaint::new(
            "no agents are configured, so every request will be refused",
        ));
    }
    let names = entries.iter().map(|(name, _)| *name).collect();
    let agents = entries
        .into_iter()
        .filter_map(|(name, value)| agent(name, value, zone, all, teams))
        .collect();
    (agents, names)
}

fn agent<'r>(
    name: &str,
    value: Value<'r>,
    zone: Option<&TimeZone>,
    all: &Arc<Guard>,
    teams: &mut Teams<'r>,
) -> Option<(AgentId, Arc<Agent>)> {
    let id = match AgentId::new(name) {
        Ok(id) => Some(id),
        Err(error) => {
            value.error(Complaint::new(format!("the name {error}")));
            None
        }
    };
    let section = value.section();
    let account = account_in_zone(&section, id.as_ref().map(AccountId::agent), zone);
    let budget_source = section.or("budget_source", BudgetSource::Local, source, |source| {
        source.name().to_owned()
    });
    if let Some(value) = section.get("period_reset") {
        value.warn(Complaint::new(
            "is ignored: when a period ends follows from `period` and `timezone`",
        ));
    }
    teams.agent(name, &section);
    let (thresholds, tiers) = tiers(&section);
    let allowed = allowed(&section);
    let limits = limits::read(&section);
    // An agent without a section of its own has the same one as all.
    let guard = match section.get("guard") {
        Some(own) => Arc::new(guard::read(&own.section(), all)),
        None => Arc::clone(all),
    };
    let account = Arc::new(account?);
    let agent = Agent {
        id: id.clone()?,
        accounts: vec![Arc::clone(&account)],
        account,
        thresholds,
        tiers,
        allowed,
        limits,
        team: None,
        budget_source,
        guard,
    };
    Some((id?, Arc::new(agent)))
}

/// Reads the section `gateway`.
pub(super) fn gateway(section: &Section<'_>, zone: Option<&TimeZone>) -> Option<Arc<AccountSpec>> {
    account(section, Some(AccountId::gateway()), zone).map(Arc::new)
}

/// The account of an agent, a user or a team, which may have a time zone of its own.
pub(super) fn account_in_zone(
    section: &Section<'_>,
    id: Option<AccountId>,
    outer: Option<&TimeZone>,
) -> Option<AccountSpec> {
    let zone = zone_of(section, outer);
    account(section, id, zone.as_ref())
}

/// The models that an agent without tiers may ask for.
fn allowed(agent: &Section<'_>) -> Option<Vec<String>> {
    let list = agent.get("allowed_models")?;
    if agent.get("tiers").is_some() {
        list.warn(
            Complaint::new("is not used: the tiers say which models this agent gets")
                .suggesting("leave out either"),
        );
    }
    Some(names(&list))
}

/// The keys that all accounts share.
fn account(
    section: &Section<'_>,
    id: Option<AccountId>,
    zone: Option<&TimeZone>,
) -> Option<AccountSpec> {
    let money = |amount: &Nanos| units::show_money(*amount);
    let limit = section.required("budget_total", units::money, money);
    let opening = section.or("budget_spent", Nanos::ZERO, units::money, money);
    let kind = section.or("period", PeriodKind::None, period, ToString::to_string);
    let hard = section.or("hard_cap", true, units::flag, ToString::to_string);
    let warn = warn(section, hard);
    // What is recorded must read back.
    if let Some(Err(error)) = id.as_ref().map(|id| AccountId::new(id.as_str())) {
        section.error(Complaint::new(format!(
            "the name, with what it is in front, {error}"
        )));
    }
    Some(AccountSpec {
        id: id?,
        limit: limit?,
        opening,
        hard,
        period: Period {
            kind,
            zone: zone?.clone(),
        },
        warn,
    })
}

/// The warning levels of an account.
fn warn(section: &Section<'_>, hard: bool) -> Levels {
    let whole = |levels: Levels| if hard { levels } else { levels.and_the_limit() };
    let shown = |levels: &Levels| {
        let levels = levels.all().iter();
        let levels: Vec<_> = levels.map(|level| units::show_share(*level)).collect();
        if levels.is_empty() {
            "never".to_owned()
        } else {
            levels.join(", ")
        }
    };
    let path = section.path_of("warn_at");
    let Some(list) = section.get("warn_at") else {
        let levels = Levels::default();
        section.reader().fact(path, shown(&levels), Origin::Default);
        return whole(levels);
    };
    let items = list.list();
    let levels = Levels::of(items.iter().filter_map(|item| item.read(level)));
    section.reader().fact(path, shown(&levels), list.origin());
    whole(levels)
}

/// A warning level: `0.8` or `80%`.
pub(super) fn level(text: &str) -> Result<Threshold, Complaint> {
    let share = match text.trim().strip_suffix('%') {
        Some(percent) => {
            let percent = units::money(percent.trim_end())?;
            units::share(&Nanos(percent.0 / 100).to_string())?
        }
        None => units::share(text)?,
    };
    if share.0 == 0 {
        return Err(Complaint::new("must be above 0").suggesting("leave it out"));
    }
    Ok(share)
}

fn source(text: &str) -> Result<BudgetSource, Complaint> {
    match text.trim() {
        "local" => Ok(BudgetSource::Local),
        "console" | "jetpatch" => Ok(BudgetSource::Console),
        other => Err(Complaint {
            message: "must be local or console".into(),
            suggestion: did_you_mean(other, &["local", "console"]),
        }),
    }
}

fn period(text: &str) -> Result<PeriodKind, Complaint> {
    let word = text.trim().to_ascii_lowercase();
    word.parse().map_err(|error| Complaint {
        message: format!("{error}"),
        suggestion: nearest(&word, PeriodKind::ALL.map(PeriodKind::name))
            .map(|name| format!("did you mean `{name}`?")),
    })
}

/// The time zone of `cost_routing`; nothing when it is a wrong one.
pub(super) fn zone(section: &Section<'_>) -> Option<TimeZone> {
    let there = section.get("timezone").is_some();
    let zone = section.optional("timezone", named_zone, zone_name);
    if there {
        return zone;
    }
    section
        .reader()
        .fact(section.path_of("timezone"), "UTC", Origin::Default);
    Some(TimeZone::UTC)
}

/// The time zone of an agent, else `outer`; nothing when it is a wrong one.
fn zone_of(section: &Section<'_>, outer: Option<&TimeZone>) -> Option<TimeZone> {
    match section.get("timezone") {
        Some(_) => section.optional("timezone", named_zone, zone_name),
        None => outer.cloned(),
    }
}

pub(super) fn zone_name(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}

pub(super) fn named_zone(text: &str) -> Result<TimeZone, Complaint> {
    let name = text.trim();
    if name.eq_ignore_ascii_case("utc") {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        let known: Vec<String> = jiff::tz::db()
            .available()
            .map(|zone| zone.to_string())
            .collect();
        let complaint = Complaint::new("is no known IANA time zone");
        match nearest(name, known.iter().map(String::as_str)) {
            Some(zone) => complaint.suggesting(format!("did you mean `{zone}`?")),
            None => complaint.suggesting("such as UTC, Europe/Berlin or America/New_York"),
        }
    })
}

fn tiers(agent: &Section<'_>) -> (Vec<Threshold>, Vec<Vec<String>>) {
    let Some(list) = agent.get("tiers") else {
        return Default::default();
    };
    let items = list.list();
    if items.is_empty() {
        list.error(
            Complaint::new("must name at least one tier")
                .suggesting("leave `tiers` out for an agent that gets the model it asks for"),
        );
    }
    let mut lowest: Option<Threshold> = None;
    let mut read = (Vec::new(), Vec::new());
    for (number, value) in items.into_iter().enumerate() {
        let section = value.clone().section();
        let threshold =
            section.required("threshold", units::share, |share| units::show_share(*share));
        let models = models(&section);
        let Some(threshold) = threshold else { continue };
        if number > 0 && lowest.is_some_and(|lowest| threshold >= lowest) {
            value.warn(
                Complaint::new(
                    "this tier is never chosen: an earlier one has the same or a lower threshold",
                )
                .suggesting("write tiers from the highest threshold to the lowest"),
            );
        }
        lowest = Some(lowest.map_or(threshold, |lowest| lowest.min(threshold)));
        read.0.push(threshold);
        read.1.push(models);
    }
    read
}

fn models(tier: &Section<'_>) -> Vec<String> {
    let Some(list) = tier.get("models") else {
        tier.error(Complaint::new("`models` is missing"));
        return Vec::new();
    };
    names(&list)
}

/// A list of models that is not empty.
fn names(list: &Value<'_>) -> Vec<String> {
    let items = list.list();
    if items.is_empty() {
        list.error(Complaint::new("must name at least one model"));
    }
    let read: Vec<(String, String)> = items
        .iter()
        .filter_map(|item| {
            let name = item.read(model)?;
            Some((item.origin().cover(name.clone()), name))
        })
        .collect();
    let (shown, models): (Vec<String>, Vec<String>) = read.into_iter().unzip();
    list.reader()
        .fact(list.path(), shown.join(", "), list.origin());
    models
}

/// The name of a model.
///
/// # Errors
/// When it is empty, too long, or not printable.
pub(super) fn model(text: &str) -> Result<String, Complaint> {
    let name = text.trim();
    if name.is_empty() {
        return Err(Complaint::new("the model's name is empty"));
    }
    if name.len() > LONGEST_MODEL || name.chars().any(char::is_control) {
        return Err(Complaint::new(format!(
            "must be printable and at most {LONGEST_MODEL} bytes long"
        )));
    }
    Ok(name.to_owned())
}
