//! What the console answers, and what that means here.
//!
//! Decides which answers are used: whole ones, in which every amount is one. What a budget may change
//! is decided here as well: limits as they are said, spend only upwards. No part of an answer is
//! quoted in an error.

use crate::budget::Balance;
use crate::identity::{AccountId, AgentId};
use crate::json::{self, JsonError, Limits};
use crate::ledger::log::tail::Position;
use crate::money::Nanos;
use crate::policy::{Agent, BudgetSource};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The longest revision, in bytes.
const LONGEST_REVISION: usize = 64;

/// The deepest nesting of an answer.
const DEPTH: usize = 16;

/// Why an answer is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadAnswer {
    /// It does not end in time to be one.
    #[error("it answered with more than 1 MiB")]
    TooLarge,
    /// It is no JSON, or none that every reader reads alike.
    #[error("its answer is not one JSON object: {0}")]
    Json(#[from] JsonError),
    /// It is another object.
    #[error("its answer is not one of the protocol, at line {line}, column {column}")]
    Shape {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A budget that cannot be meant.
    #[error("budget {index} of its answer: {reason}")]
    Budget {
        /// From 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What the console has of the spend log.
    pub(super) acknowledged: Position,
    /// The budgets it wants.
    pub(super) budgets: Vec<Wanted>,
}

/// A budget that the console wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) account: AccountId,
    /// The limit.
    total: Option<Nanos>,
    /// The spend that it knows of.
    spent: Option<Nanos>,
    /// The start of the window of that spend, in Unix seconds; 0 for none.
    window: i64,
    /// Acts once.
    pub(super) revision: String,
}

/// What a budget comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another limit.
    Limit(Nanos),
    /// At least so much spend in the window.
    Raise(Nanos, i64),
    /// The console's figure of the spend means nothing here.
    Keep,
}

#[derive(Deserialize)]
struct Raw<'a> {
    acknowledged: Position,
    #[serde(borrow, default)]
    budgets: Option<Vec<RawBudget<'a>>>,
}

#[derive(Deserialize)]
struct RawBudget<'a> {
    #[serde(borrow, default)]
    agent_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    budget_total: Option<&'a RawValue>,
    #[serde(borrow, default)]
    budget_spent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    period_start: Option<Cow<'a, str>>,
    #[serde(borrow)]
    revision: &'a RawValue,
}

impl Answer {
    /// Reads the body of an answer.
    ///
    /// # Errors
    /// [`BadAnswer`] when anything in it is not as it must be.
    pub(super) fn parse(body: &[u8]) -> Result<Self, BadAnswer> {
        json::object(body, Limits { depth: DEPTH })?;
        let raw: Raw<'_> = serde_json::from_slice(body).map_err(|error| BadAnswer::Shape {
            line: error.line(),
            column: error.column(),
        })?;
        let mut named = BTreeSet::new();
        let budgets = raw.budgets.unwrap_or_default().into_iter().enumerate();
        let budgets = budgets.map(|(index, raw)| {
            let bad = |reason| BadAnswer::Budget { index, reason };
            let wanted = raw.read().map_err(bad)?;
            if !named.insert(wanted.account.clone()) {
                return Err(bad("the account is named twice"));
            }
            Ok(wanted)
        });
        Ok(Self {
            budgets: budgets.collect::<Result<_, _>>()?,
            acknowledged: raw.acknowledged,
        })
    }
}

impl RawBudget<'_> {
    fn read(&self) -> Result<Wanted, &'static str> {
        let by_agent = match &self.agent_id {
            Some(name) => {
                let agent = AgentId::new(name).map_err(|_| "agent_id is no name")?;
                Some(AccountId::agent(&agent))
            }
            None => None,
        };
        let by_account = match &self.account {
            Some(name) => Some(AccountId::new(name).map_err(|_| "account is no name")?),
            None => None,
        };
        let account = match (by_agent, by_account) {
            (Some(agent), Some(account)) if agent != account => {
                return Err("agent_id and account are not the same");
            }
            (Some(account), _) | (None, Some(account)) => account,
            (None, None) => return Err("agent_id or account is missing"),
        };
        let total = amount(self.budget_total)?;
        let spent = amount(self.budget_spent)?;
        if total.is_none() && spent.is_none() {
            return Err("budget_total or budget_spent is missing");
        }
        let window = match &self.period_start {
            Some(text) => {
                let start: jiff::Timestamp = text
                    .parse()
                    .map_err(|_| "period_start is no time in RFC 3339")?;
                start.as_second()
            }
            None => 0,
        };
        Ok(Wanted {
            account,
            total,
            spent,
            window,
            revision: revision(self.revision)?,
        })
    }
}

/// An amount, as a number or as text.
fn amount(raw: Option<&RawValue>) -> Result<Option<Nanos>, &'static str> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    let text = inner.unwrap_or(raw);
    let plain = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    if !text.bytes().all(plain) || text.starts_with(['-', '+']) {
        return Err("an amount is not one in US dollars, 0 or more");
    }
    let amount = Nanos::parse_usd(text).map_err(|_| "an amount is no number, or is too large")?;
    Ok(Some(amount))
}

/// A revision: a whole number or short text.
fn revision(raw: &RawValue) -> Result<String, &'static str> {
    const WRONG: &str = "revision is neither a whole number nor 1 to 64 printable characters";
    let raw = raw.get();
    let text = if raw.starts_with('"') {
        serde_json::from_str(raw).map_err(|_| WRONG)?
    } else if raw.bytes().all(|byte| byte.is_ascii_digit()) {
        raw.to_owned()
    } else {
        return Err(WRONG);
    };
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !(1..=LONGEST_REVISION).contains(&text.len()) || !printable {
        return Err(WRONG);
    }
    Ok(text)
}

/// Whether the console may set an agent's budget.
pub(super) fn may_set(agent: &Agent) -> bool {
    agent.budget_source == BudgetSource::Console
}

/// What a budget comes to for an account in this state. Nothing when it is as it should be.
pub(super) fn steps(wanted: &Wanted, balance: &Balance) -> Vec<Step> {
    let mut steps = Vec::new();
    let in_force = |total| balance.pushed && balance.limit == total;
    if let Some(total) = wanted.total.filter(|total| !in_force(*total)) {
        steps.push(Step::Limit(total));
    }
    if let Some(spent) = wanted.spent {
        let window = balance.period_end.map_or(0, |_| balance.period_start);
        if window != wanted.window || spent < balance.posted {
            steps.push(Step::Keep);
        } else if spent > balance.posted {
            steps.push(Step::Raise(spent, balance.period_start));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Answer, BadAnswer> {
        Answer::parse(text.as_bytes())
    }

    fn budget(fields: &str) -> Result<Wanted, BadAnswer> {
        let text = format!(r#"{{"acknowledged":{{}},"budgets":[{{{fields}}}]}}"#);
        parse(&text).map(|mut answer| answer.budgets.remove(0))
    }

    fn balance(limit: i64, posted: i64) -> Balance {
        Balance {
            limit: Nanos(limit),
            posted: Nanos(posted),
            ..Balance::default()
        }
    }

    #[test]
    fn an_answer_says_what_is_stored_and_what_is_wanted() {
        let answer = parse(
            r#"{"acknowledged": {"main": "41-c471697b1fd08bda"}, "later": {"x": [1]},
                "budgets": [{"agent_id": "a", "budget_total": 80.5, "revision": 7},
                            {"account": "agent:b", "budget_total": "0.000000001",
                             "budget_spent": 3, "period_start": "2025-01-01T00:00:00Z",
                             "revision": "r-8", "note": "new fields do no harm"}]}"#,
        );
        let answer = answer.unwrap();
        assert_ne!(answer.acknowledged, Position::default());
        let [a, b] = &answer.budgets[..] else {
            panic!("two budgets")
        };
        assert_eq!((a.account.as_str(), a.revision.as_str()), ("agent:a", "7"));
        assert_eq!((a.total, a.spent), (Some(Nanos(80_500_000_000)), None));
        assert_eq!(
            (b.account.as_str(), b.revision.as_str()),
            ("agent:b", "r-8")
        );
        assert_eq!((b.total, b.spent), (Some(Nanos(1)), Some(Nanos::usd(3))));
        assert_eq!(b.window, 1_735_689_600);
        assert!(parse(r#"{"acknowledged":{}}"#).unwrap().budgets.is_empty());
        assert!(parse(r#"{"acknowledged":{},"budgets":null}"#).is_ok());
    }

    #[test]
    fn an_answer_with_one_mistake_is_not_used_at_all_and_not_quoted() {
        for bad in [
            "",
            "null",
            "[]",
            "<html>sesame</html>",
            r#"{"acknowledged":{}"#,
            r#"{"acknowledged":{}}{}"#,
            r#"{"acknowledged":{},"acknowledged":{}}"#,
            r#"{"budgets":[]}"#,
            r#"{"acknowledged":null}"#,
            r#"{"acknowledged":"sesame"}"#,
            r#"{"acknowledged":{"main":"sesame"}}"#,
            r#"{"acknowledged":{},"budgets":{}}"#,
            r#"{"acknowledged":{},"budgets":["sesame"]}"#,
            r#"{"acknowledged":{},"budgets":[{"agent_id":"a","budget_total":1e400,"revision":1}]}"#,
        ] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
        for bad in [
            r#""revision":1,"budget_total":1"#,
            r#""agent_id":"a","budget_total":1"#,
            r#""agent_id":"a","revision":1"#,
            r#""agent_id":"","budget_total":1,"revision":1"#,
            r#""agent_id":"sesame\n","budget_total":1,"revision":1"#,
            r#""agent_id":"a","account":"agent:b","budget_total":1,"revision":1"#,
            r#""agent_id":"a","budget_total":-1,"revision":1"#,
            r#""agent_id":"a","budget_total":-0,"revision":1"#,
            r#""agent_id":"a","budget_total":"NaN","revision":1"#,
            r#""agent_id":"a","budget_total":" 1","revision":1"#,
            r#""agent_id":"a","budget_total":true,"revision":1"#,
            r#""agent_id":"a","budget_total":[1],"revision":1"#,
            r#""agent_id":"a","budget_total":9007200,"revision":1"#,
            r#""agent_id":"a","budget_total":1e300,"revision":1"#,
            r#""agent_id":"a","budget_total":1,"budget_spent":-2,"revision":1"#,
            r#""agent_id":"a","budget_total":1,"revision":null"#,
            r#""agent_id":"a","budget_total":1,"revision":1.5"#,
            r#""agent_id":"a","budget_total":1,"revision":-1"#,
            r#""agent_id":"a","budget_total":1,"revision":"""#,
            r#""agent_id":"a","budget_total":1,"revision":"a\u0000""#,
            r#""agent_id":"a","budget_spent":1,"period_start":"today","revision":1"#,
            r#""agent_id":"a","budget_total":1,"revision":1},{"account":"agent:a","budget_total":2,"revision":1"#,
        ] {
            let error = budget(bad).expect_err(bad).to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
        let long = "9".repeat(65);
        assert!(
            budget(&format!(
                r#""agent_id":"a","budget_total":1,"revision":{long}"#
            ))
            .is_err()
        );
    }

    #[test]
    fn a_limit_acts_unless_it_is_in_force() {
        let wanted = budget(r#""agent_id":"a","budget_total":5,"revision":1"#).unwrap();
        let five = Nanos::usd(5);
        assert_eq!(steps(&wanted, &balance(1, 0)), [Step::Limit(five)]);
        let policys = balance(five.0, 0);
        assert_eq!(
            steps(&wanted, &policys),
            [Step::Limit(five)],
            "the policy's own may change tomorrow"
        );
        let pushed = Balance {
            pushed: true,
            ..policys
        };
        assert_eq!(steps(&wanted, &pushed), []);
    }

    #[test]
    fn spend_only_rises_and_only_in_its_own_window() {
        let wanted = budget(r#""agent_id":"a","budget_spent":3,"revision":1"#).unwrap();
        let three = Nanos::usd(3);
        assert_eq!(steps(&wanted, &balance(0, 1)), [Step::Raise(three, 0)]);
        assert_eq!(steps(&wanted, &balance(0, three.0)), []);
        assert_eq!(steps(&wanted, &balance(0, three.0 + 1)), [Step::Keep]);
        let today = Balance {
            period_start: 1_735_689_600,
            period_end: Some(1_735_776_000),
            ..balance(0, 1)
        };
        assert_eq!(steps(&wanted, &today), [Step::Keep], "of which day?");
        let dated = |start: &str| {
            let fields =
                format!(r#""agent_id":"a","budget_spent":3,"period_start":"{start}","revision":1"#);
            steps(&budget(&fields).unwrap(), &today)
        };
        assert_eq!(dated("2024-12-31T00:00:00Z"), [Step::Keep]);
        let raise = [Step::Raise(three, 1_735_689_600)];
        assert_eq!(dated("2025-01-01T00:00:00Z"), raise);
        assert_eq!(dated("2025-01-01T01:00:00+01:00"), raise);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(text in "\\PC{0,80}", number in "[-+0-9.eE]{0,30}", word in "\\PC{0,20}") {
            let _ = parse(&text);
            for fields in [
                format!(r#""agent_id":"a","budget_total":{number},"revision":1"#),
                format!(r#""agent_id":"a","budget_total":"{number}","revision":1"#),
                format!(r#""account":"{word}","budget_total":1,"revision":"{word}""#),
                format!(r#""agent_id":"a","budget_spent":1,"period_start":"{word}","revision":{number}"#),
            ] {
                if let Ok(wanted) = budget(&fields) {
                    prop_assert!(wanted.total.unwrap_or_default() >= Nanos::ZERO);
                }
            }
        }
    }
}
