//! What is said to the functions of `wards.lua`, and what they say.

use crate::guard::quarantine::{Record, Strike, Who};
use crate::settings::KEPT_STRIKES;
use redis::Cmd;
use std::collections::HashMap;
use std::time::Duration;

/// The library, as it is loaded.
pub(super) const LIBRARY: &str = include_str!("../wards.lua");

/// How long a record without an end is kept, in milliseconds: ten years.
const LONG: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// The fields of a caller's record.
pub(super) type Fields = HashMap<String, String>;

/// The names of keys.
pub(super) struct Words {
    prefix: String,
}

/// What was changed by others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// The name of the state that it is about.
    pub mark: String,
    /// The number up to which it tells.
    pub seq: u64,
    /// Whose records.
    pub callers: Vec<Who>,
}

impl Words {
    pub(super) fn new(tenant: &str) -> Self {
        Self {
            prefix: format!("weir:{{{tenant}}}:q:"),
        }
    }

    fn call(&self, function: &str) -> Cmd {
        let mut command = redis::cmd("FCALL");
        command.arg(format!("weir_wards_{function}_2"));
        command.arg(1).arg(&self.prefix);
        command
    }

    /// Begins a state where there is none, and asks for everybody who has a record.
    pub(super) fn open(&self, now: u64, mark: &str) -> Cmd {
        let mut command = self.call("open");
        command.arg(now).arg(mark);
        command
    }

    /// Adds what is known of a caller, and asks for the sum. `ends` is when the record does.
    pub(super) fn add(&self, who: &Who, record: &Record, ends: Option<u64>, now: u64) -> Cmd {
        let mut command = self.call("add");
        let ends = ends.unwrap_or_else(|| now.saturating_add(LONG));
        command.arg(who.to_text()).arg(now).arg(ends);
        command.arg("v").arg(1);
        for strike in record.strikes() {
            command.arg(format!("s:{}", strike.id)).arg(strike.at);
        }
        for (letter, at) in ["l", "p", "f"].iter().zip(record.times()) {
            if at > 0 {
                command.arg(format!("{letter}:{at}")).arg(at);
            }
        }
        command
    }

    /// Asks whose record has changed after `seq`.
    pub(super) fn news(&self, seq: u64) -> Cmd {
        let mut command = self.call("news");
        command.arg(seq);
        command
    }

    /// Asks for the record of a caller.
    pub(super) fn record(&self, who: &Who) -> Cmd {
        let mut command = redis::cmd("HGETALL");
        command.arg(format!("{}w:{}", self.prefix, who.to_text()));
        command
    }

    /// Asks for the token of a session, which is `mine` where it has none, and for the one before it.
    pub(super) fn token(&self, session: &str, before: &str, mine: &str, keep: Duration) -> Cmd {
        let mut command = self.call("token");
        let keep = u64::try_from(keep.as_millis())
            .unwrap_or(LONG)
            .clamp(1, LONG);
        command.arg(session).arg(before).arg(keep).arg(mine);
        command
    }
}

/// Reads news; `None` when it is no such thing.
pub(super) fn news(reply: &[String]) -> Option<News> {
    let [mark, seq, callers @ ..] = reply else {
        return None;
    };
    Some(News {
        mark: mark.clone(),
        seq: seq.parse().ok()?,
        callers: callers.iter().filter_map(|text| Who::parse(text)).collect(),
    })
}

/// A record of its fields; `None` when there is none.
pub(super) fn record(fields: &Fields) -> Option<Record> {
    if fields.is_empty() {
        return None;
    }
    let mut strikes = Vec::with_capacity(fields.len().min(KEPT_STRIKES));
    let mut times = [0_u64; 3];
    for (name, value) in fields {
        let Some((letter, rest)) = name.split_once(':') else {
            continue;
        };
        let Ok(at) = value.parse::<u64>() else {
            continue;
        };
        match letter {
            "s" => strikes.extend(rest.parse().ok().map(|id| Strike { at, id })),
            "l" => times[0] = times[0].max(at),
            "p" => times[1] = times[1].max(at),
            "f" => times[2] = times[2].max(at),
            _ => {}
        }
    }
    Some(Record::new(strikes, times[0], times[1], times[2]))
}
