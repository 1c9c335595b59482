//! Records on their way into the log: fields as JSON, written by hand into a buffer.
//!
//! Decides the fields of each kind. `seq`, `prev` and `crc` are put around them by the writer, which
//! is why everything here begins and ends inside an object that is already open. Readers of the
//! Execwall OR Gate's log understand settlements and resets unchanged.

mod end;

use crate::budget::AccountSpec;
use crate::budget::account::{Account, Based, Changes, Kept};
use crate::identity::{AccountId, AgentId, AttemptId, KeyId, UserId};
use crate::ledger::Push;
use crate::money::Nanos;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

pub(in crate::ledger) use end::{settle, void};

/// Who and what an open reservation is for: its INTENT record, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ledger) struct Party {
    pub(in crate::ledger) id: AttemptId,
    pub(in crate::ledger) agent: AgentId,
    pub(in crate::ledger) key: Option<KeyId>,
    pub(in crate::ledger) user: Option<UserId>,
    pub(in crate::ledger) model: String,
    pub(in crate::ledger) tier: usize,
    pub(in crate::ledger) held: Nanos,
    /// The accounts and the window each was charged in.
    pub(in crate::ledger) accounts: Vec<(AccountId, i64)>,
    /// The chain of the process that holds it.
    pub(in crate::ledger) chain: Arc<str>,
}

/// A JSON string. Almost every one is copied as it is.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
    if text.as_bytes().iter().all(plain) {
        out.extend_from_slice(text.as_bytes());
    } else {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0..0x20 => put(out, format_args!("\\u{byte:04x}")),
                _ => out.push(byte),
            }
        }
    }
    out.push(b'"');
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    out.write_fmt(text).unwrap_or_default();
}

/// A decimal integer.
pub(in crate::ledger) fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    natural(out, value.unsigned_abs());
}

/// A decimal integer without a sign.
pub(in crate::ledger) fn natural(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn text_field(out: &mut Vec<u8>, name: &str, text: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, text);
}

fn number_field(out: &mut Vec<u8>, name: &str, value: i64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    integer(out, value);
}

fn count_field(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    natural(out, value);
}

/// `req_…-1`, as its `Display` writes it.
fn id_field(out: &mut Vec<u8>, id: AttemptId) {
    put(out, format_args!(",\"id\":\"{id}\""));
}

/// Exact dollars as a JSON number, as `Display` of [`Nanos`] writes it.
fn dollars(out: &mut Vec<u8>, amount: Nanos) {
    const BASE: u64 = 1_000_000_000;
    if amount.0 < 0 {
        out.push(b'-');
    }
    let nanos = amount.0.unsigned_abs();
    natural(out, nanos / BASE);
    out.push(b'.');
    let mut fraction = nanos % BASE;
    let mut digit = BASE / 10;
    loop {
        out.push(b'0' + u8::try_from(fraction / digit).unwrap_or(0));
        fraction %= digit;
        digit /= 10;
        if fraction == 0 || digit == 0 {
            break;
        }
    }
}

thread_local! {
    /// The second last written on this thread, and its text.
    static SECOND: Cell<(u64, [u8; 19])> = const { Cell::new((u64::MAX, [0; 19])) };
}

/// `"timestamp":"2025-01-01T12:00:00.123000"`: the first field of every record's body.
fn timestamp(out: &mut Vec<u8>, millis: u64) {
    let second = millis / 1000;
    let (cached, mut text) = SECOND.get();
    if cached != second {
        let instant = i64::try_from(second)
            .ok()
            .and_then(|s| jiff::Timestamp::from_second(s).ok());
        let civil = jiff::tz::TimeZone::UTC.to_datetime(instant.unwrap_or(jiff::Timestamp::MAX));
        let shown = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        for (to, from) in text.iter_mut().zip(shown.bytes()) {
            *to = from;
        }
        SECOND.set((second, text));
    }
    out.extend_from_slice(b"\"timestamp\":\"");
    out.extend_from_slice(&text);
    let thousands = millis % 1000;
    out.push(b'.');
    for digit in [thousands / 100, thousands / 10 % 10, thousands % 10] {
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
    out.extend_from_slice(b"000\"");
}

fn event(out: &mut Vec<u8>, millis: u64, event: &str) {
    timestamp(out, millis);
    text_field(out, "event", event);
}

/// Both names of an account: ours, and the agent's when it is one's.
fn account(out: &mut Vec<u8>, id: &AccountId) {
    if let Some(agent) = id.as_str().strip_prefix("agent:") {
        text_field(out, "agent_id", agent);
    }
    text_field(out, "account", id.as_str());
}

fn caller(out: &mut Vec<u8>, key: Option<&KeyId>, user: Option<&UserId>) {
    if let Some(key) = key {
        text_field(out, "key", key.as_str());
    }
    if let Some(user) = user {
        text_field(out, "user", user.as_str());
    }
}

/// INTENT: money is held and a request may go out.
pub(in crate::ledger) fn intent(out: &mut Vec<u8>, now: u64, party: &Party, models: &[String]) {
    event(out, now, "intent");
    id_field(out, party.id);
    text_field(out, "agent_id", party.agent.as_str());
    count_field(out, "tier", u64::try_from(party.tier).unwrap_or(u64::MAX));
    out.extend_from_slice(b",\"models\":[");
    for (index, model) in models.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        string(out, model);
    }
    out.push(b']');
    number_field(out, "held", party.held.0);
    out.extend_from_slice(b",\"accounts\":[");
    for (index, (id, window)) in party.accounts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.push(b'[');
        string(out, id.as_str());
        out.push(b',');
        integer(out, *window);
        out.push(b']');
    }
    out.push(b']');
    caller(out, party.key.as_ref(), party.user.as_ref());
}

/// A budget set from outside.
pub(in crate::ledger) fn budget(
    out: &mut Vec<u8>,
    now: u64,
    spec: &AccountSpec,
    change: Push,
    window: i64,
    based: Option<Based>,
    by: &str,
) {
    event(out, now, "budget");
    account(out, &spec.id);
    if let Some(total) = change.total {
        number_field(out, "total", total.0);
    }
    if let Some(spent) = change.spent {
        number_field(out, "spent", spent.0);
    }
    number_field(out, "policy", spec.limit.0);
    number_field(out, "period", window);
    base(out, based);
    text_field(out, "by", by);
}

/// What is posted besides charges, as a shared store said.
fn base(out: &mut Vec<u8>, based: Option<Based>) {
    if let Some(based) = based {
        number_field(out, "base", based.amount.0);
        count_field(out, "version", based.version);
    }
}

/// A reset: the spend of the current window forgotten.
pub(in crate::ledger) fn reset(
    out: &mut Vec<u8>,
    now: u64,
    id: &AccountId,
    previous: Nanos,
    window: i64,
    based: Option<Based>,
    by: &str,
) {
    event(out, now, "reset");
    account(out, id);
    out.extend_from_slice(b",\"previous_spent\":");
    dollars(out, previous);
    number_field(out, "period", window);
    base(out, based);
    text_field(out, "by", by);
}

/// An account's first appearance, or its move to another period.
pub(in crate::ledger) fn adopted(
    out: &mut Vec<u8>,
    now: u64,
    spec: &AccountSpec,
    state: &Account,
    changes: Changes,
) {
    let first = changes.opened;
    event(out, now, if first { "open" } else { "period" });
    account(out, &spec.id);
    if first {
        number_field(out, "opening", spec.opening.0);
    }
    text_field(out, "every", state.tag());
    number_field(out, "period", state.window().start);
    if state.turn() > 0 {
        count_field(out, "turn", state.turn());
        number_field(out, "charged", state.charged().0);
    }
}

/// A push that ended because the policy's own limit changed.
pub(in crate::ledger) fn limit(out: &mut Vec<u8>, now: u64, spec: &AccountSpec) {
    event(out, now, "limit");
    account(out, &spec.id);
    number_field(out, "policy", spec.limit.0);
}

/// Everything a projection knows, so that replay can start here.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::ledger) struct Snapshot {
    pub(in crate::ledger) version: u32,
    pub(in crate::ledger) accounts: Vec<KeptAccount>,
    pub(in crate::ledger) open: Vec<KeptHold>,
    /// The last record of every other chain that is part of this state.
    pub(in crate::ledger) folded: BTreeMap<String, u64>,
    /// What other chains have charged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::ledger) charged: Vec<KeptCharge>,
}

/// What another chain has charged in a window of an account.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct KeptCharge {
    pub(in crate::ledger) chain: String,
    pub(in crate::ledger) account: AccountId,
    #[serde(default, skip_serializing_if = "is_never")]
    pub(in crate::ledger) turn: u64,
    pub(in crate::ledger) period: i64,
    pub(in crate::ledger) total: i64,
}

/// One account in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct KeptAccount {
    account: AccountId,
    opened: bool,
    every: String,
    /// How often a store that gateways share says that this has changed.
    #[serde(default, skip_serializing_if = "is_never")]
    turn: u64,
    period: i64,
    posted: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pushed: Option<(i64, i64)>,
    /// When it was pushed, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "is_never")]
    pushed_at: u64,
    /// What the chain's own records have charged of it; absent where nobody counted that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charged: Option<i64>,
    /// What other chains' records have charged of it.
    #[serde(default, skip_serializing_if = "is_zero")]
    elsewhere: i64,
    /// Version and amount of what is posted besides charges, as a shared store said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    based: Option<(u64, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<(i64, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier_charged: Vec<(i64, i64)>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_never(number: &u64) -> bool {
    *number == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(amount: &i64) -> bool {
    *amount == 0
}

impl KeptAccount {
    pub(in crate::ledger) fn of(id: &AccountId, account: &Account) -> Self {
        let kept = account.kept();
        Self {
            account: id.clone(),
            opened: kept.opened,
            every: kept.tag,
            turn: kept.turn,
            period: kept.window.start,
            posted: kept.posted.0,
            pushed: kept.pushed.map(|pushed| (pushed.total.0, pushed.policy.0)),
            pushed_at: kept.pushed.map_or(0, |pushed| pushed.at),
            charged: Some(kept.charged.0),
            elsewhere: kept.elsewhere.0,
            based: kept.based.map(|based| (based.version, based.amount.0)),
            earlier: kept
                .earlier
                .iter()
                .map(|(start, posted, _)| (*start, posted.0))
                .collect(),
            earlier_charged: kept
                .earlier
                .iter()
                .map(|(start, _, charged)| (*start, charged.0))
                .collect(),
        }
    }

    pub(in crate::ledger) fn restore(self) -> (AccountId, Account) {
        let pushed = self
            .pushed
            .map(|(total, policy)| crate::budget::account::Pushed {
                total: Nanos(total),
                policy: Nanos(policy),
                at: self.pushed_at,
            });
        let earlier: BTreeMap<i64, i64> = self.earlier_charged.into_iter().collect();
        let account = Account::restored(Kept {
            opened: self.opened,
            tag: self.every,
            turn: self.turn,
            window: crate::budget::period::Window {
                start: self.period,
                end: None,
            },
            posted: Nanos(self.posted),
            pushed,
            charged: Nanos(self.charged.unwrap_or(self.posted)),
            elsewhere: Nanos(self.elsewhere),
            based: self.based.map(|(version, amount)| Based {
                version,
                amount: Nanos(amount),
            }),
            earlier: self
                .earlier
                .into_iter()
                .map(|(start, posted)| {
                    let charged = earlier.get(&start).copied().unwrap_or(posted);
                    (start, Nanos(posted), Nanos(charged))
                })
                .collect(),
        });
        (self.account, account)
    }
}

/// One open hold in a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::ledger) struct KeptHold {
    pub(in crate::ledger) id: String,
    pub(in crate::ledger) agent_id: AgentId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ledger) key: Option<KeyId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ledger) user: Option<UserId>,
    pub(in crate::ledger) model: String,
    pub(in crate::ledger) tier: usize,
    pub(in crate::ledger) held: i64,
    pub(in crate::ledger) accounts: Vec<(AccountId, i64)>,
    pub(in crate::ledger) chain: String,
}

/// A header, footer or checkpoint.
pub(in crate::ledger) fn snapshot(out: &mut Vec<u8>, now: u64, kind: &str, state: &Snapshot) {
    event(out, now, kind);
    out.extend_from_slice(b",\"state\":");
    // Plain structs with text keys serialise into a vector without fail.
    serde_json::to_writer(out, state).unwrap_or_default();
}
