//! What every store of balances must do, as tests that are generic over the store.
//!
//! A store's test module calls [`all`] with a way to make an empty one.

use super::{Ask, Denied, Grant, Hold, Ledger, Push};
use crate::budget::period::{Period, PeriodKind};
use crate::budget::tier::Threshold;
use crate::budget::warn::Levels;
use crate::budget::{AccountSpec, Offer};
use crate::identity::{AccountId, AgentId, AttemptId, RequestId};
use crate::money::{Nanos, Picos};
use std::sync::Arc;

/// Noon of 2025-01-31 in UTC.
pub(crate) const NOON: u64 = 1_738_324_800_000;
pub(crate) const DAY: u64 = 86_400_000;

/// An account that is hard and knows no periods.
pub(crate) fn account(id: &str, limit: i64) -> AccountSpec {
    AccountSpec {
        id: AccountId::new(id).unwrap(),
        limit: Nanos(limit),
        opening: Nanos::ZERO,
        hard: true,
        period: Period::none(),
        warn: Levels::default(),
    }
}

pub(crate) fn every(kind: PeriodKind, zone: &str) -> Period {
    Period {
        kind,
        zone: jiff::tz::TimeZone::get(zone).unwrap(),
    }
}

/// An offer whose hold is `cost`, which must not be fitted.
pub(crate) fn fixed(cost: i64) -> Offer {
    Offer {
        fixed: Nanos(cost),
        per_token: Picos(0),
        wanted: 1,
        minimum: 1,
        unpriced: None,
    }
}

pub(crate) fn attempt() -> AttemptId {
    AttemptId {
        request: RequestId::new(NOON),
        number: 1,
    }
}

/// Everything an [`Ask`] borrows.
pub(crate) struct Request {
    pub(crate) agent: AgentId,
    pub(crate) accounts: Vec<Arc<AccountSpec>>,
    pub(crate) thresholds: Vec<Threshold>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) models: Vec<Vec<String>>,
}

impl Request {
    pub(crate) fn new(accounts: &[&Arc<AccountSpec>], offer: Offer) -> Self {
        Self {
            agent: AgentId::new("a").unwrap(),
            accounts: accounts.iter().map(|spec| Arc::clone(spec)).collect(),
            thresholds: Vec::new(),
            offers: vec![offer],
            models: vec![vec!["m/one".into(), "m/two".into()]],
        }
    }

    pub(crate) fn ask(&self, id: AttemptId, now_millis: u64) -> Ask<'_> {
        Ask {
            id,
            agent: &self.agent,
            key: None,
            user: None,
            accounts: &self.accounts,
            thresholds: &self.thresholds,
            tier: None,
            offers: &self.offers,
            models: &self.models,
            now_millis,
        }
    }

    async fn reserve(&self, ledger: &impl Ledger, now: u64) -> Result<(Hold, Grant), Denied> {
        let ask = self.ask(attempt(), now);
        let grant = ledger.reserve(&ask).await?;
        Ok((Hold::new(&ask, &grant), grant))
    }
}

/// Runs every test on stores made by `make`.
pub(crate) async fn all<L: Ledger>(make: impl Fn() -> L) {
    a_hold_becomes_a_charge_once(make()).await;
    a_void_gives_everything_back(make()).await;
    a_hard_account_is_never_held_beyond_its_limit(make()).await;
    every_account_is_held_or_none(make()).await;
    what_does_not_fit_is_fitted_down_to_the_minimum(make()).await;
    the_share_of_the_first_account_decides_the_tier(make()).await;
    soft_accounts_never_refuse(make()).await;
    unpriced_models_are_refused_under_a_hard_limit_only(make()).await;
    an_exhausted_hard_account_refuses_free_requests_too(make()).await;
    a_charge_belongs_to_the_period_it_was_admitted_in(make()).await;
    a_clock_that_goes_back_reopens_nothing(make()).await;
    a_push_holds_until_the_policy_changes(make()).await;
    a_reset_forgets_spend_and_keeps_holds(make()).await;
    opening_spend_is_posted_once(make()).await;
    an_actual_above_the_hold_is_posted_as_it_is(make()).await;
}

async fn a_hold_becomes_a_charge_once(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let request = Request::new(&[&spec], fixed(30));
    let (hold, grant) = request.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(grant.held, Nanos(30));
    assert_eq!(grant.balances[0].pending, Nanos(30));
    assert_eq!(ledger.open_holds().await, 1);
    assert_eq!(
        ledger.settle(&hold, Nanos(10)).await[0].remaining(),
        Nanos(90)
    );
    assert_eq!(
        ledger.settle(&hold, Nanos(10)).await[0].remaining(),
        Nanos(90),
        "settling twice"
    );
    ledger.void(&hold).await;
    assert_eq!(ledger.balance(&spec, NOON).await.posted, Nanos(10));
    assert_eq!(ledger.open_holds().await, 0);
}

async fn a_void_gives_everything_back(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let request = Request::new(&[&spec], fixed(30));
    let (hold, _) = request.reserve(&ledger, NOON).await.unwrap();
    ledger.void(&hold).await;
    ledger.settle(&hold, Nanos(10)).await;
    assert_eq!(ledger.balance(&spec, NOON).await.remaining(), Nanos(100));
}

async fn a_hard_account_is_never_held_beyond_its_limit(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let request = Request::new(&[&spec], fixed(60));
    let (hold, _) = request.reserve(&ledger, NOON).await.unwrap();
    let denied = request.reserve(&ledger, NOON).await.unwrap_err();
    assert!(
        matches!(denied, Denied::InFlight { account: 0, .. }),
        "{denied:?}"
    );
    ledger.settle(&hold, Nanos(60)).await;
    let denied = request.reserve(&ledger, NOON).await.unwrap_err();
    assert!(
        matches!(denied, Denied::Exhausted { account: 0, .. }),
        "{denied:?}"
    );
    let exact = Request::new(&[&spec], fixed(40));
    exact.reserve(&ledger, NOON).await.unwrap();
}

async fn every_account_is_held_or_none(ledger: impl Ledger) {
    let agent = Arc::new(account("agent:a", 100));
    let gateway = Arc::new(account("gateway", 50));
    let request = Request::new(&[&agent, &gateway], fixed(30));
    let (_, grant) = request.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(grant.balances[0].pending, Nanos(30));
    assert_eq!(grant.balances[1].pending, Nanos(30));
    let denied = request.reserve(&ledger, NOON).await.unwrap_err();
    assert!(
        matches!(denied, Denied::InFlight { account: 1, .. }),
        "the tightest: {denied:?}"
    );
    assert_eq!(ledger.balance(&agent, NOON).await.pending, Nanos(30));
}

async fn what_does_not_fit_is_fitted_down_to_the_minimum(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let offer = Offer {
        fixed: Nanos(10),
        per_token: Picos(1000),
        wanted: 500,
        minimum: 50,
        unpriced: None,
    };
    let request = Request::new(&[&spec], offer);
    let (_, grant) = request.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(
        (grant.tokens, grant.fitted, grant.held),
        (90, true, Nanos(100))
    );
    let denied = request.reserve(&ledger, NOON).await.unwrap_err();
    assert!(matches!(denied, Denied::InFlight { .. }), "{denied:?}");
}

async fn the_share_of_the_first_account_decides_the_tier(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let mut request = Request::new(&[&spec], fixed(0));
    request.thresholds = vec![Threshold(800_000_000), Threshold(300_000_000), Threshold(0)];
    request.offers = vec![fixed(21), fixed(50), fixed(1)];
    for tier in 0..3 {
        let (_, grant) = request.reserve(&ledger, NOON).await.unwrap();
        assert_eq!(grant.tier, tier, "pending counts");
    }
}

async fn soft_accounts_never_refuse(ledger: impl Ledger) {
    let spec = Arc::new(AccountSpec {
        hard: false,
        ..account("agent:a", 100)
    });
    let request = Request::new(&[&spec], fixed(80));
    request.reserve(&ledger, NOON).await.unwrap();
    let (_, grant) = request.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(grant.balances[0].remaining(), Nanos(-60));
    assert!(!grant.fitted);
}

async fn unpriced_models_are_refused_under_a_hard_limit_only(ledger: impl Ledger) {
    let offer = Offer {
        unpriced: Some("m/x".into()),
        ..fixed(5)
    };
    let hard = Arc::new(account("agent:a", 100));
    let denied = Request::new(&[&hard], offer.clone())
        .reserve(&ledger, NOON)
        .await
        .unwrap_err();
    assert_eq!(
        denied,
        Denied::Unpriced {
            tier: 0,
            model: "m/x".into()
        }
    );
    let soft = Arc::new(AccountSpec {
        hard: false,
        ..account("agent:b", 100)
    });
    let (_, grant) = Request::new(&[&soft], offer)
        .reserve(&ledger, NOON)
        .await
        .unwrap();
    assert_eq!(grant.held, Nanos::ZERO);
}

async fn an_exhausted_hard_account_refuses_free_requests_too(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let free = Request::new(&[&spec], fixed(0));
    let (hold, _) = Request::new(&[&spec], fixed(100))
        .reserve(&ledger, NOON)
        .await
        .unwrap();
    free.reserve(&ledger, NOON).await.unwrap();
    ledger.settle(&hold, Nanos(100)).await;
    let denied = free.reserve(&ledger, NOON).await.unwrap_err();
    assert!(matches!(denied, Denied::Exhausted { .. }), "{denied:?}");
}

async fn a_charge_belongs_to_the_period_it_was_admitted_in(ledger: impl Ledger) {
    let period = every(PeriodKind::Monthly, "Europe/Berlin");
    let spec = Arc::new(AccountSpec {
        period,
        ..account("agent:a", 100)
    });
    let request = Request::new(&[&spec], fixed(60));
    let (january, grant) = request.reserve(&ledger, NOON).await.unwrap();
    let (_, next) = request.reserve(&ledger, NOON + DAY).await.unwrap();
    assert_eq!(next.balances[0].pending, Nanos(60), "a new month");
    assert!(grant.windows[0] < next.windows[0]);
    let after = ledger.settle(&january, Nanos(50)).await;
    assert_eq!(after[0].posted, Nanos::ZERO, "charged to January");
    assert_eq!(ledger.balance(&spec, NOON + DAY).await.pending, Nanos(60));
}

async fn a_clock_that_goes_back_reopens_nothing(ledger: impl Ledger) {
    let period = every(PeriodKind::Daily, "America/New_York");
    let spec = Arc::new(AccountSpec {
        period,
        ..account("agent:a", 100)
    });
    let request = Request::new(&[&spec], fixed(60));
    let (hold, _) = request.reserve(&ledger, NOON + DAY).await.unwrap();
    ledger.settle(&hold, Nanos(60)).await;
    let denied = request.reserve(&ledger, NOON).await.unwrap_err();
    assert!(matches!(denied, Denied::Exhausted { .. }), "{denied:?}");
    assert_eq!(ledger.balance(&spec, NOON).await.posted, Nanos(60));
}

async fn a_push_holds_until_the_policy_changes(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let push = Push {
        total: Some(Nanos(500)),
        spent: Some(Nanos(20)),
    };
    let balance = ledger.push(&spec, push, NOON).await;
    assert_eq!(
        (balance.limit, balance.posted, balance.pushed),
        (Nanos(500), Nanos(20), true)
    );
    let request = Request::new(&[&spec], fixed(400));
    let (hold, _) = request.reserve(&ledger, NOON).await.unwrap();
    let spent = Push {
        total: None,
        spent: Some(Nanos(30)),
    };
    assert_eq!(
        ledger.push(&spec, spent, NOON).await.pending,
        Nanos(400),
        "holds stay"
    );
    ledger.void(&hold).await;
    assert_eq!(ledger.balance(&spec, NOON).await.limit, Nanos(500));
    let changed = account("agent:a", 120);
    let balance = ledger.balance(&changed, NOON).await;
    assert_eq!(
        (balance.limit, balance.posted, balance.pushed),
        (Nanos(120), Nanos(30), false)
    );
}

async fn a_reset_forgets_spend_and_keeps_holds(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let request = Request::new(&[&spec], fixed(30));
    let (first, _) = request.reserve(&ledger, NOON).await.unwrap();
    ledger.settle(&first, Nanos(30)).await;
    let (second, _) = request.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(ledger.reset(&spec, NOON).await, Nanos(30));
    assert_eq!(ledger.balance(&spec, NOON).await.remaining(), Nanos(70));
    ledger.settle(&second, Nanos(30)).await;
    assert_eq!(ledger.balance(&spec, NOON).await.posted, Nanos(30));
}

async fn opening_spend_is_posted_once(ledger: impl Ledger) {
    let spec = Arc::new(AccountSpec {
        opening: Nanos(40),
        ..account("agent:a", 100)
    });
    assert_eq!(
        ledger.balance(&spec, NOON).await.remaining(),
        Nanos(60),
        "before anybody used it"
    );
    let request = Request::new(&[&spec], fixed(10));
    for left in [50, 40] {
        let (_, grant) = request.reserve(&ledger, NOON).await.unwrap();
        assert_eq!(grant.balances[0].remaining(), Nanos(left));
    }
    let reloaded = Request::new(&[&Arc::new((*spec).clone())], fixed(10));
    let (_, grant) = reloaded.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(
        grant.balances[0].remaining(),
        Nanos(30),
        "the same account after a reload"
    );
}

async fn an_actual_above_the_hold_is_posted_as_it_is(ledger: impl Ledger) {
    let spec = Arc::new(account("agent:a", 100));
    let request = Request::new(&[&spec], fixed(60));
    let (hold, _) = request.reserve(&ledger, NOON).await.unwrap();
    assert_eq!(
        ledger.settle(&hold, Nanos(130)).await[0].remaining(),
        Nanos(-30)
    );
}
