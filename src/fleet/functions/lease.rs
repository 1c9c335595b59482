//! The call that takes money in advance, and its answer.

use super::{Known, State, Words, account, call, known};
use crate::fleet::lease::{Answer, Wish};
use crate::fleet::share::Holds;
use crate::settings;
use redis::Cmd;

/// The call that asks for leases: all of this gateway.
pub(in crate::fleet) fn lease(
    state_key: &str,
    state: &Known,
    source: &str,
    terms: &settings::Lease,
    wishes: &[Wish],
    now_millis: u64,
) -> Cmd {
    let mut command = call("weir_lease_1", state_key);
    known(&mut command, state);
    let time = u64::try_from(terms.time.as_millis()).unwrap_or(u64::MAX);
    command
        .arg(source)
        .arg(time)
        .arg(terms.share.0)
        .arg(terms.max.0)
        .arg(wishes.len());
    for wish in wishes {
        command
            .arg(wish.id.to_string())
            .arg(wish.amount.0)
            .arg(wish.specs.len());
        for spec in &wish.specs {
            account(&mut command, spec, now_millis);
        }
    }
    command
}

/// What was said to wishes.
#[derive(Debug)]
pub(in crate::fleet) struct Leased {
    /// The count of changes.
    pub(in crate::fleet) seen: u64,
    /// One answer for each wish.
    pub(in crate::fleet) answers: Vec<Answer>,
    /// What other gateways have leased.
    pub(in crate::fleet) others: Holds,
}

/// What the reply to [`lease`] means; `None` when it is none.
pub(in crate::fleet) fn leased(reply: &[String], wishes: &[Wish]) -> Option<Result<Leased, State>> {
    let mut words = Words(reply.iter());
    match State::of(words.text()?)? {
        State::Open => {}
        state => return Some(Err(state)),
    }
    let seen = words.number()?;
    let mut answers = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let (held, target) = (words.nanos()?, words.nanos()?);
        let accounts = match words.text()? {
            "1" => {
                let specs = wish.specs.iter();
                let read = specs.map(|spec| Some((words.balance(spec)?, words.moved()?)));
                Some(read.collect::<Option<Vec<_>>>()?)
            }
            _ => None,
        };
        answers.push(Answer {
            held,
            target,
            accounts,
        });
    }
    let others = crate::fleet::share::holds_of(words.text()?)?;
    Some(Ok(Leased {
        seen,
        answers,
        others,
    }))
}
