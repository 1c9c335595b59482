//! How an account stands: its limit, what is posted and what is held, now or once a policy and the clock
//! have had their say.

use super::{Account, clamped};
use crate::budget::period::Window;
use crate::budget::{AccountSpec, Balance};
use crate::money::Nanos;

impl Account {
    /// The state under `spec` in the current window, the clock not consulted.
    pub fn standing(&self, spec: &AccountSpec) -> Balance {
        self.show(spec, self.window, self.posted, self.pending)
    }

    /// The state under `spec` at `now`, as [`Account::adopt`] and [`Account::roll`] would leave it.
    pub fn balance(&self, spec: &AccountSpec, now: i64) -> Balance {
        let opening = if self.opened {
            Nanos::ZERO
        } else {
            spec.opening
        };
        let posted = clamped(self.posted + opening);
        let tag = spec.period.tag();
        if tag != self.tag {
            let pending = self.holds.values().map(|held| held.amount).sum();
            return self.show(spec, spec.period.window(now), posted, pending);
        }
        let current = spec.period.window(self.window.start);
        if current.end.is_some_and(|end| now >= end) {
            let window = spec.period.window(now);
            return self.show(spec, window, Nanos::ZERO, Nanos::ZERO);
        }
        let window = Window {
            start: self.window.start,
            end: current.end,
        };
        self.show(spec, window, posted, self.pending)
    }

    fn show(&self, spec: &AccountSpec, window: Window, posted: Nanos, pending: Nanos) -> Balance {
        let pushed = self.pushed.filter(|pushed| pushed.policy == spec.limit);
        Balance {
            limit: pushed.map_or(spec.limit, |pushed| pushed.total),
            posted,
            pending,
            period_start: window.start,
            period_end: window.end,
            pushed: pushed.is_some(),
        }
    }
}
