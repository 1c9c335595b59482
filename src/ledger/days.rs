//! What each user spends in a day, where somebody wants to know.
//!
//! Decides that it is an account like any other, without a limit: so it is charged once, survives the
//! process and is told again after a loss by the same records as everything else. It is no part of what
//! a request is told.

use super::Ask;
use crate::budget::AccountSpec;
use crate::budget::period::{Period, PeriodKind};
use crate::budget::warn::Levels;
use crate::identity::{AccountId, UserId};
use crate::money::{MAX_AMOUNT, Nanos};
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The accounts of users that have been seen.
#[derive(Debug, Default)]
pub(super) struct Days(Mutex<HashMap<UserId, Arc<AccountSpec>>>);

impl Days {
    /// The accounts of an ask, with that of its user's day.
    pub(super) fn with(&self, ask: &Ask<'_>) -> Option<Vec<Arc<AccountSpec>>> {
        let user = ask.user?;
        let spec = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(user) {
                Some(spec) => Arc::clone(spec),
                None => {
                    let spec = Arc::new(of(user));
                    known.insert(user.clone(), Arc::clone(&spec));
                    spec
                }
            }
        };
        let mut accounts = Vec::with_capacity(ask.accounts.len() + 1);
        accounts.extend(ask.accounts.iter().map(Arc::clone));
        accounts.push(spec);
        Some(accounts)
    }
}

fn of(user: &UserId) -> AccountSpec {
    AccountSpec {
        id: AccountId::day(user),
        limit: MAX_AMOUNT,
        opening: Nanos::ZERO,
        hard: false,
        period: Period {
            kind: PeriodKind::Daily,
            zone: TimeZone::UTC,
        },
        // It has no limit to come near to.
        warn: Levels::of([]),
    }
}
