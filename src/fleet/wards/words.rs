//! What is said to Redis about callers and sessions, and what it says.

use super::super::connect::Connection;
use crate::guard::quarantine::{KEPT, Record, Strike, Who};
use redis::streams::StreamReadReply;
use redis::{Pipeline, RedisError, Value};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Changes that the stream of news keeps, about.
const NEWS: usize = 10_000;

/// News that are taken at once.
const BATCH: usize = 1_000;

/// How long a record without an end is kept, in milliseconds: ten years.
const LONG: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// The fields of a caller's record.
pub(super) type Fields = HashMap<String, String>;

/// What adding to a record is answered with; the fields come last.
pub(super) type Added = (Value, Value, Value, Value, Fields);

/// The names of keys.
pub(super) struct Words {
    prefix: String,
}

impl Words {
    pub(super) fn new(tenant: &str) -> Self {
        Self {
            prefix: format!("weir:{{{tenant}}}:"),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}q:{name}", self.prefix)
    }

    fn caller(&self, who: &Who) -> String {
        format!("{}q:w:{}", self.prefix, who.to_text())
    }

    /// Adds what is known of a caller, and reads the sum, in one step. `ends` is when the record does.
    pub(super) fn add(&self, who: &Who, record: &Record, ends: Option<u64>, now: u64) -> Pipeline {
        let key = self.caller(who);
        let ends = ends.unwrap_or_else(|| now.saturating_add(LONG));
        let keep = ends.saturating_sub(now).max(1);
        let mut set = redis::cmd("HSET");
        set.arg(&key).arg("v").arg(1);
        for strike in record.strikes() {
            set.arg(format!("s:{}", strike.id)).arg(strike.at);
        }
        for (letter, at) in ["l", "p", "f"].iter().zip(record.times()) {
            if at > 0 {
                set.arg(format!("{letter}:{at}")).arg(at);
            }
        }
        let mut pipeline = redis::pipe();
        pipeline.atomic().add_command(set);
        // A record may only be kept longer: another gateway may know that it has no end.
        for how in ["NX", "GT"] {
            let mut expire = redis::cmd("PEXPIRE");
            expire.arg(&key).arg(keep).arg(how);
            pipeline.add_command(expire);
            if how == "NX" {
                pipeline.ignore();
            }
        }
        let mut index = redis::cmd("ZADD");
        index
            .arg(self.key("index"))
            .arg("GT")
            .arg(ends)
            .arg(who.to_text());
        pipeline.add_command(index);
        let mut news = redis::cmd("XADD");
        news.arg(self.key("news")).arg("MAXLEN").arg("~").arg(NEWS);
        news.arg("*").arg("w").arg(who.to_text());
        pipeline.add_command(news);
        let mut all = redis::cmd("HGETALL");
        all.arg(&key);
        pipeline.add_command(all);
        pipeline
    }

    /// The place of the latest news.
    pub(super) async fn last(&self, connection: &mut Connection) -> Result<String, RedisError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.key("news")).arg("+").arg("-");
        command.arg("COUNT").arg(1);
        let found: redis::streams::StreamRangeReply = command.query_async(connection).await?;
        let last = found.ids.into_iter().next();
        Ok(last.map_or_else(|| "0-0".to_owned(), |entry| entry.id))
    }

    /// Everybody who has a record.
    pub(super) async fn index(
        &self,
        connection: &mut Connection,
        now: u64,
    ) -> Result<Vec<Who>, RedisError> {
        let mut forget = redis::cmd("ZREMRANGEBYSCORE");
        forget.arg(self.key("index")).arg("-inf").arg(now);
        let mut all = redis::cmd("ZRANGE");
        all.arg(self.key("index")).arg(0).arg(-1);
        let mut pipeline = redis::pipe();
        pipeline.add_command(forget).ignore();
        pipeline.add_command(all);
        let (all,): (Vec<String>,) = pipeline.query_async(connection).await?;
        Ok(all.iter().filter_map(|text| Who::parse(text)).collect())
    }

    /// The fields of some records.
    pub(super) async fn records(
        &self,
        connection: &mut Connection,
        callers: &[Who],
    ) -> Result<Vec<Fields>, RedisError> {
        let mut pipeline = redis::pipe();
        for who in callers {
            let mut all = redis::cmd("HGETALL");
            all.arg(self.caller(who));
            pipeline.add_command(all);
        }
        if callers.is_empty() {
            return Ok(Vec::new());
        }
        pipeline.query_async(connection).await
    }

    /// Says that everything is there.
    pub(super) async fn mark(&self, connection: &mut Connection) -> Result<(), RedisError> {
        let mut command = redis::cmd("SET");
        command.arg(self.key("mark")).arg(1);
        command.exec_async(connection).await
    }

    /// Whose records have changed since `last`, and the place after that; `None` when what was said before is
    /// lost.
    pub(super) async fn news(
        &self,
        connection: &mut Connection,
        last: &str,
    ) -> Result<Option<(Vec<Who>, String)>, RedisError> {
        let mut mark = redis::cmd("EXISTS");
        mark.arg(self.key("mark"));
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(BATCH).arg("STREAMS");
        read.arg(self.key("news")).arg(last);
        let mut pipeline = redis::pipe();
        pipeline.add_command(mark).add_command(read);
        let (there, news): (bool, Option<StreamReadReply>) =
            pipeline.query_async(connection).await?;
        if !there {
            return Ok(None);
        }
        let mut callers = BTreeSet::new();
        let mut last = last.to_owned();
        let entries = news.into_iter().flat_map(|news| news.keys);
        for entry in entries.flat_map(|stream| stream.ids) {
            callers.extend(entry.get::<String>("w").and_then(|text| Who::parse(&text)));
            last = entry.id;
        }
        Ok(Some((callers.into_iter().collect(), last)))
    }

    /// Sets the token of a session unless it has one, and reads the one before it.
    pub(super) fn token(
        &self,
        session: &str,
        before: Option<&str>,
        mine: &str,
        keep: Duration,
    ) -> Pipeline {
        let key = |session: &str| format!("{}s:{session}", self.prefix);
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(key(session)).arg(mine).arg("NX").arg("GET");
        let mut earlier = redis::cmd("GET");
        // A key that nobody sets, where nothing was before.
        earlier.arg(before.map_or_else(|| key("none"), key));
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(key(session)).arg(keep);
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline
            .add_command(set)
            .add_command(earlier)
            .add_command(expire);
        pipeline
    }
}

impl Words {
    /// Reads the tokens of two sessions.
    pub(super) fn tokens(&self, sessions: &[String; 2]) -> Pipeline {
        let mut pipeline = redis::pipe();
        for session in sessions {
            let mut get = redis::cmd("GET");
            get.arg(format!("{}s:{session}", self.prefix));
            pipeline.add_command(get);
        }
        pipeline
    }
}

/// A record of its fields; `None` when there is none.
pub(super) fn record(fields: &Fields) -> Option<Record> {
    if fields.is_empty() {
        return None;
    }
    let mut strikes = Vec::with_capacity(fields.len().min(KEPT));
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
