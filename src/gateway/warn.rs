//! Budgets that run out, told: warning levels that were passed, and requests refused for want of money.
//!
//! Decides how both are said: an event, a count, and a line of the log. Every level that is passed has a
//! line; of refusals, the first of each account, period and limit, and the first after the spend was
//! lower. Which level is passed is decided in [`crate::budget`], and among gateways in
//! [`super::watch`].

use super::Gateway;
use crate::budget::tier::WHOLE;
use crate::budget::warn::Passed;
use crate::event::{self, Kind};
use crate::identity::{AccountId, RequestId};
use crate::money::Nanos;
use crate::refusal::Exhausted;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Exhausted budgets of which the log has told.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<AccountId, Known>>);

/// An exhausted budget as it was last seen.
#[derive(Clone, Copy, Debug)]
struct Known {
    window: i64,
    limit: Nanos,
    spent: Nanos,
}

impl Told {
    /// Whether that is news.
    fn is_news(&self, state: &Exhausted) -> bool {
        let now = Known {
            window: state.window,
            limit: state.total,
            spent: state.spent,
        };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match told.insert(state.account.clone(), now) {
            None => true,
            Some(before) => {
                (before.window, before.limit) != (now.window, now.limit) || now.spent < before.spent
            }
        }
    }
}

impl Gateway {
    /// An account has passed a warning level.
    pub fn warned(&self, passed: &Passed) {
        let level = passed.level.0 / (WHOLE / 1_000_000);
        tracing::warn!(
            account.id = %passed.account,
            warning.level = %Nanos(i64::from(passed.level.0)),
            spent.usd = %passed.total,
            limit.usd = %passed.limit,
            "a budget has passed a warning level"
        );
        self.metrics.warned(&passed.account);
        self.feed.tell(|| {
            Kind::Warning(event::Warning {
                account: passed.account.clone(),
                level,
                total: passed.total,
                limit: passed.limit,
                window: passed.window,
            })
        });
    }

    /// A request was refused because a budget is used up.
    pub fn exceeded(&self, id: RequestId, state: &Exhausted) {
        if self.exhausted.is_news(state) {
            tracing::warn!(
                account.id = %state.account,
                agent.id = %state.agent,
                spent.usd = %state.spent,
                limit.usd = %state.total,
                "a budget is used up; its requests are refused"
            );
        }
        self.metrics.exceeded(&state.account);
        self.feed.tell(|| {
            let asked = state.asked.as_deref();
            let model = asked.or(state.models.first().map(String::as_str));
            Kind::Exceeded(event::Exceeded {
                account: state.account.clone(),
                total: state.spent,
                limit: state.total,
                model: model.unwrap_or_default().into(),
                id,
                agent: state.agent.clone(),
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::AgentId;

    #[test]
    fn a_refusal_is_news_once_for_a_period_and_a_limit() {
        let told = Told::default();
        let news = |window, limit, spent| {
            told.is_news(&Exhausted {
                account: AccountId::gateway(),
                agent: AgentId::new("a").unwrap(),
                total: Nanos(limit),
                spent: Nanos(spent),
                pending: Nanos::ZERO,
                tier: 0,
                models: Vec::new(),
                hard: true,
                asked: None,
                stream: false,
                window,
            })
        };
        let seen = [
            news(0, 10, 10),
            news(0, 10, 11),
            news(0, 20, 20),
            news(86_400, 20, 20),
            news(86_400, 20, 19),
            news(86_400, 20, 19),
        ];
        assert_eq!(seen, [true, false, true, true, true, false]);
    }
}
