//! The functions that run inside Redis, and what is said to them.
//!
//! Decides how an ask, an end and an account are written as arguments and how replies are read.
//! What the functions decide is in `library`, which computes as [`crate::ledger::Decision`] does.

mod lease;

pub(super) use lease::{lease, leased};

use crate::budget::account::Based;
use crate::budget::period::Window;
use crate::budget::{AccountSpec, Balance, Offer};
use crate::ledger::shared::{Changed, End, Granted, Moved};
use crate::ledger::{Ask, Denied, Grant, Push};
use crate::money::{MAX_AMOUNT, Nanos};
use redis::Cmd;

/// The library, as it is loaded: one text, in this order.
pub(super) const LIBRARY: &str = concat!(
    include_str!("library/accounts.lua"),
    include_str!("library/holds.lua"),
    include_str!("library/state.lua"),
    include_str!("library/lease.lua"),
    include_str!("library/hints.lua"),
);

/// More output tokens than any answer has, and few enough for exact arithmetic in doubles.
const MOST_TOKENS: u64 = 1_000_000_000_000;

/// The state that a call is made for: what it is refused for when it is another one by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) epoch: String,
    /// The latest count of changes that was seen in it.
    pub(super) seen: u64,
}

/// What a function said, before its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All is well.
    Open,
    /// It is being put together; nothing is granted.
    Recovering,
    /// It is not the state that was known: restarted, flushed, or from before.
    Lost,
    /// Another gateway has begun to put it together.
    Changed,
}

impl State {
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "ok" => Self::Open,
            "recovering" => Self::Recovering,
            "lost" => Self::Lost,
            "changed" => Self::Changed,
            _ => return None,
        })
    }
}

/// What a reservation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reserved {
    /// Granted, at this count of changes.
    Granted(Granted, u64),
    /// Refused by the rules.
    Denied(Denied),
    /// Not decided.
    Undecided(State),
}

/// A call of `function` on the keys of `tenant`.
pub(super) fn call(function: &str, state_key: &str) -> Cmd {
    let mut command = Cmd::new();
    name(&mut command, function, state_key);
    command
}

fn name(command: &mut Cmd, function: &str, state_key: &str) {
    command.arg("FCALL").arg(function).arg(1).arg(state_key);
}

/// The key that names the state of a tenant, and by its hash tag the place of all others.
pub(super) fn state_key(tenant: &str) -> String {
    format!("weir:{{{tenant}}}:state")
}

fn known(command: &mut Cmd, known: &Known) {
    command.arg(&known.epoch).arg(known.seen);
}

fn window(spec: &AccountSpec, now_millis: u64) -> Window {
    let now = i64::try_from(now_millis / 1000).unwrap_or(i64::MAX);
    spec.period.window(now)
}

fn account(command: &mut Cmd, spec: &AccountSpec, now_millis: u64) {
    account_in(command, spec, window(spec, now_millis));
}

fn account_in(command: &mut Cmd, spec: &AccountSpec, window: Window) {
    command
        .arg(spec.id.as_str())
        .arg(spec.period.tag())
        .arg(window.start)
        .arg(spec.limit.0)
        .arg(u8::from(spec.hard))
        .arg(spec.opening.0);
}

fn offer(command: &mut Cmd, offer: &Offer) {
    let most = MAX_AMOUNT.0.unsigned_abs();
    let whole = u64::try_from(offer.per_token.0 / 1000).unwrap_or(most);
    command
        .arg(offer.fixed.at_least_zero().min(MAX_AMOUNT).0)
        .arg(whole.min(most))
        .arg(u64::try_from(offer.per_token.0 % 1000).unwrap_or(0))
        .arg(offer.wanted.min(MOST_TOKENS))
        .arg(offer.minimum.min(MOST_TOKENS))
        .arg(u8::from(offer.unpriced.is_some()));
}

/// The windows that the accounts of an ask are in now, as long as Redis knows of no later ones. Finding
/// one takes a calendar, so it is done once for the question and the answer.
pub(super) fn windows(ask: &Ask<'_>) -> Vec<Window> {
    let accounts = ask.accounts.iter();
    accounts.map(|spec| window(spec, ask.now_millis)).collect()
}

/// The call that reserves, in these `windows`.
pub(super) fn reserve(
    state_key: &str,
    state: &Known,
    source: &str,
    ask: &Ask<'_>,
    windows: &[Window],
) -> Cmd {
    let words = ask.thresholds.len() + 6 * (ask.accounts.len() + ask.offers.len());
    let mut command = Cmd::with_capacity(words + 12, 8 * words + 256);
    name(&mut command, "weir_reserve_1", state_key);
    known(&mut command, state);
    command.arg(source).arg(ask.id.to_string());
    match ask.tier {
        Some(tier) => command.arg(tier),
        None => command.arg(-1),
    };
    command.arg(ask.thresholds.len());
    for threshold in ask.thresholds {
        command.arg(threshold.0);
    }
    command.arg(ask.accounts.len());
    for (spec, window) in ask.accounts.iter().zip(windows) {
        account_in(&mut command, spec, *window);
    }
    command.arg(ask.offers.len());
    for one in ask.offers {
        offer(&mut command, one);
    }
    command
}

/// The words of a reply, in order.
struct Words<'a>(std::slice::Iter<'a, String>);

impl Words<'_> {
    fn text(&mut self) -> Option<&str> {
        self.0.next().map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn nanos(&mut self) -> Option<Nanos> {
        self.number().map(Nanos)
    }

    fn moved(&mut self) -> Option<Moved> {
        Some(Moved {
            turn: self.number()?,
            last: self.number()?,
            first: self.number()?,
            charged: self.nanos()?,
        })
    }

    /// An account, and the start of its window.
    fn balance(&mut self, spec: &AccountSpec) -> Option<Balance> {
        self.balance_in(spec, None)
    }

    /// The same, where its window is known already unless it is another one.
    fn balance_in(&mut self, spec: &AccountSpec, window: Option<&Window>) -> Option<Balance> {
        let (limit, posted, pending) = (self.nanos()?, self.nanos()?, self.nanos()?);
        let period_start: i64 = self.number()?;
        let known = window.filter(|window| window.start == period_start);
        let window = known.copied();
        let window = window.unwrap_or_else(|| spec.period.window(period_start));
        Some(Balance {
            limit,
            posted,
            pending,
            period_start,
            period_end: window.end,
            pushed: self.number::<u8>()? == 1,
        })
    }
}

/// What the reply to [`reserve`] means; `None` when it is none.
pub(super) fn reserved(reply: &[String], ask: &Ask<'_>, windows: &[Window]) -> Option<Reserved> {
    let mut words = Words(reply.iter());
    let word = words.text()?.to_owned();
    if let Some(state) = State::of(&word) {
        return Some(Reserved::Undecided(state));
    }
    let denied = match word.as_str() {
        "granted" => {
            let seen = words.number()?;
            return granted(&mut words, ask, windows)
                .map(|granted| Reserved::Granted(granted, seen));
        }
        "unpriced" => {
            let tier: usize = words.number()?;
            let offer = ask.offers.get(tier).or(ask.offers.last())?;
            Denied::Unpriced {
                tier,
                model: offer.unpriced.clone()?,
            }
        }
        "exhausted" | "inflight" => {
            let (account, tier) = (words.number()?, words.number()?);
            let balance = words.balance(&**ask.accounts.get::<usize>(account)?)?;
            match word.as_str() {
                "exhausted" => Denied::Exhausted {
                    account,
                    tier,
                    balance,
                },
                _ => Denied::InFlight {
                    account,
                    tier,
                    balance,
                },
            }
        }
        // Given back before it was known.
        "ended" => Denied::Unavailable,
        _ => return None,
    };
    Some(Reserved::Denied(denied))
}

fn granted(words: &mut Words<'_>, ask: &Ask<'_>, windows: &[Window]) -> Option<Granted> {
    let (tier, tokens, held) = (words.number()?, words.number()?, words.nanos()?);
    let mut balances = Vec::with_capacity(ask.accounts.len());
    let mut moved = Vec::with_capacity(ask.accounts.len());
    for (index, spec) in ask.accounts.iter().enumerate() {
        balances.push(words.balance_in(spec, windows.get(index))?);
        moved.push(words.moved()?);
    }
    let grant = Grant {
        tier,
        tokens,
        fitted: tokens < ask.wanted(tier),
        held,
        windows: balances
            .iter()
            .map(|balance| balance.period_start)
            .collect(),
        balances,
    };
    Some(Granted { grant, moved })
}

/// The call that says which holds have ended. `source` names a gateway by its chain.
pub(super) fn settle(
    state_key: &str,
    state: &Known,
    own: &str,
    ends: &[End],
    source: impl Fn(&str) -> String,
) -> Cmd {
    let mut command = call("weir_settle_1", state_key);
    known(&mut command, state);
    command.arg(own).arg(ends.len());
    for end in ends {
        command
            .arg(source(&end.chain))
            .arg(end.id.to_string())
            .arg(end.cost.unwrap_or_default().0)
            .arg(end.charges.len());
        for charge in &end.charges {
            command
                .arg(charge.account.as_str())
                .arg(format!("{}:{}", charge.turn.max(1), charge.window))
                .arg(charge.total.0);
        }
    }
    command
}

/// The call that asks for the state of one account.
pub(super) fn balance(state_key: &str, state: &Known, spec: &AccountSpec, now: u64) -> Cmd {
    let mut command = call("weir_balance_1", state_key);
    known(&mut command, state);
    command.arg(1);
    account(&mut command, spec, now);
    command
}

/// What the reply to [`balance`] means.
pub(super) fn balanced(reply: &[String], spec: &AccountSpec) -> Option<Result<Balance, State>> {
    let mut words = Words(reply.iter());
    Some(match State::of(words.text()?)? {
        State::Open | State::Recovering => Ok(words.balance(spec)?),
        state => Err(state),
    })
}

/// The call that sets a limit, a spend, or both.
pub(super) fn push(
    state_key: &str,
    state: &Known,
    source: &str,
    spec: &AccountSpec,
    change: Push,
    now: u64,
) -> Cmd {
    let amount = |amount: Option<Nanos>| amount.map_or_else(String::new, |n| n.0.to_string());
    let mut command = call("weir_push_1", state_key);
    known(&mut command, state);
    command
        .arg(source)
        .arg(now)
        .arg(amount(change.total))
        .arg(amount(change.spent));
    account(&mut command, spec, now);
    command
}

/// What the reply to [`push`] means.
pub(super) fn pushed(reply: &[String], spec: &AccountSpec) -> Option<Result<Changed, State>> {
    let mut words = Words(reply.iter());
    Some(match State::of(words.text()?)? {
        State::Open => {
            let (before, amount) = (words.nanos()?, words.nanos()?);
            let version = words.number()?;
            let _limit_version: u64 = words.number()?;
            Ok(Changed {
                before,
                balance: words.balance(spec)?,
                based: Based { version, amount },
                moved: words.moved()?,
            })
        }
        state => Err(state),
    })
}

/// The call that ends a push which the policy's own limit has overtaken.
pub(super) fn unpush(state_key: &str, state: &Known, spec: &AccountSpec, now: u64) -> Cmd {
    let mut command = call("weir_unpush_1", state_key);
    known(&mut command, state);
    command.arg(now);
    account(&mut command, spec, now);
    command
}
