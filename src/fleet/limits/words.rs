//! What is said to the functions of limits, and what they say.

use crate::limit::{Claim, Exceeded, Left, Standing};
use redis::Cmd;
use std::time::Duration;

/// The library, as it is loaded.
pub(super) const LIBRARY: &str = include_str!("../limits.lua");

/// More tokens than any minute has, and few enough for exact arithmetic in doubles.
const MOST: u64 = 1_000_000_000_000;

/// How a request ended, as far as limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It counts as it was let in.
    Kept,
    /// It used so many tokens.
    Used(u64),
    /// It does not count.
    Cancelled,
}

/// What has been counted for a request, by claim.
#[derive(Debug)]
pub(super) struct Counted(Vec<CountedClaim>);

#[derive(Debug)]
struct CountedClaim {
    name: String,
    /// Whether it has a place among concurrent requests.
    place: bool,
    /// The tokens; `None` when no minute is counted.
    tokens: Option<u64>,
}

/// Those with limits that can be shared, in the order in which they are looked at everywhere.
pub(super) fn in_order<'a, 'b>(claims: &'a [Claim<'b>]) -> Vec<&'a Claim<'b>> {
    let shared = claims.iter().filter(|claim| claim.limits.can_be_shared());
    let mut shared: Vec<&Claim<'_>> = shared.collect();
    shared.sort_by_key(|claim| (claim.kind, claim.id));
    shared
}

fn name(claim: &Claim<'_>) -> String {
    format!("{}:{}", claim.kind.name(), claim.id)
}

impl Counted {
    pub(super) fn new(claims: &[&Claim<'_>], tokens: u64) -> Self {
        let counted = claims.iter().map(|claim| {
            let limits = &claim.limits;
            let minute = limits.requests_per_minute.is_some() || limits.tokens_per_minute.is_some();
            let most = limits.tokens_per_minute.unwrap_or(MOST).min(MOST);
            CountedClaim {
                name: name(claim),
                place: limits.concurrent_requests.is_some(),
                tokens: minute.then_some(tokens.min(most)),
            }
        });
        Self(counted.collect())
    }

    /// The claims with a place among concurrent requests.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        let places = self.0.iter().filter(|claim| claim.place);
        places.map(|claim| claim.name.as_str())
    }
}

fn call(function: &str, prefix: &str, now: Option<u64>) -> Cmd {
    let mut command = redis::cmd("FCALL");
    command.arg(function).arg(1).arg(prefix);
    command.arg(now.map_or_else(String::new, |now| now.to_string()));
    command
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The call that lets a request in. `now` is the server's own time unless it is given.
pub(super) fn admit(
    prefix: &str,
    now: Option<u64>,
    lapse: Duration,
    permit: &str,
    tokens: u64,
    claims: &[&Claim<'_>],
) -> Cmd {
    let mut command = call("weir_limit_admit_1", prefix, now);
    command.arg(millis(lapse)).arg(permit).arg(tokens.min(MOST));
    claimed(&mut command, claims);
    command
}

/// The call that asks what is left of the limits of claims.
pub(super) fn standing(prefix: &str, now: Option<u64>, claims: &[&Claim<'_>]) -> Cmd {
    let mut command = call("weir_limit_standing_1", prefix, now);
    claimed(&mut command, claims);
    command
}

fn claimed(command: &mut Cmd, claims: &[&Claim<'_>]) {
    let limit =
        |limit: Option<u64>| limit.map_or_else(String::new, |limit| limit.min(MOST).to_string());
    for claim in claims {
        command
            .arg(name(claim))
            .arg(limit(claim.limits.requests_per_minute))
            .arg(limit(claim.limits.tokens_per_minute))
            .arg(limit(claim.limits.concurrent_requests));
    }
}

/// What the reply to [`admit`], or to [`standing`], means; `None` when it is none.
pub(super) fn admitted(
    reply: &[String],
    claims: &[&Claim<'_>],
) -> Option<Result<Standing, Exceeded>> {
    let (word, rest) = reply.split_first()?;
    match (word.as_str(), rest) {
        ("in", words) if words.len() == 9 => Some(Ok(Standing {
            requests: left(&words[..3])?,
            tokens: left(&words[3..6])?,
            concurrent: left(&words[6..])?,
        })),
        ("out", [number, which, limit, wait]) => {
            let claim = claims.get(number.parse::<usize>().ok()?)?;
            let what = match which.as_str() {
                "places" => "concurrent requests",
                "requests" => "requests",
                "tokens" => "tokens",
                _ => return None,
            };
            Some(Err(Exceeded {
                kind: claim.kind,
                what,
                limit: limit.parse().ok()?,
                retry_after: wait.parse().ok()?,
            }))
        }
        _ => None,
    }
}

/// Limit, what is left of it and when all of it is there again; all empty without one.
fn left(words: &[String]) -> Option<Option<Left>> {
    if words.iter().all(String::is_empty) {
        return Some(None);
    }
    let [limit, remaining, reset] = words else {
        return None;
    };
    Some(Some(Left {
        limit: limit.parse().ok()?,
        remaining: remaining.parse().ok()?,
        reset: reset.parse().ok()?,
    }))
}

/// The call that says which requests have ended.
pub(super) fn leave<'a>(
    prefix: &str,
    now: Option<u64>,
    ended: impl ExactSizeIterator<Item = (String, Ending, &'a Counted)>,
) -> Cmd {
    let mut command = call("weir_limit_leave_1", prefix, now);
    command.arg(ended.len());
    for (permit, ending, counted) in ended {
        let (word, used) = match ending {
            Ending::Kept => ("kept", 0),
            Ending::Used(tokens) => ("used", tokens.min(MOST)),
            Ending::Cancelled => ("cancelled", 0),
        };
        command.arg(permit).arg(word).arg(used).arg(counted.0.len());
        for claim in &counted.0 {
            let tokens = claim.tokens;
            command
                .arg(&claim.name)
                .arg(u8::from(claim.place))
                .arg(tokens.map_or_else(String::new, |tokens| tokens.to_string()));
        }
    }
    command
}

/// The call that renews places, of which each is a claim and a permit.
pub(super) fn renew(
    prefix: &str,
    now: Option<u64>,
    lapse: Duration,
    places: &[(String, String)],
) -> Cmd {
    let mut command = call("weir_limit_renew_1", prefix, now);
    command.arg(millis(lapse));
    for (claim, permit) in places {
        command.arg(claim).arg(permit);
    }
    command
}
