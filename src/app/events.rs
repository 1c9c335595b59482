//! Where events are written: the tasks that do it, and their end.

use crate::feed::{Feed, Lines, Sink, Stream};
use crate::fleet::connect::Connector;
use crate::gateway::Gateway;
use crate::settings::Redis;
use anyhow::Context as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How long Redis may take for a batch: nobody waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last events may take to be written.
const LAST: Duration = Duration::from_secs(2);

const LOOK: Duration = Duration::from_millis(10);

/// Begins to write events where the settings say so, until what is given back is dropped. One thread does it,
/// which serves no requests.
///
/// # Errors
/// When the thread cannot be started, or there is no way to Redis.
pub(super) fn start(gateway: &Arc<Gateway>) -> anyhow::Result<Option<Runtime>> {
    let settings = &gateway.settings;
    let (redis, file) = (&settings.events.redis, &settings.events.file);
    if redis.is_none() && file.is_none() {
        return Ok(None);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("events")
        .enable_all()
        .build()?;
    if let (Some(stream), Some(redis)) = (redis, &settings.stores.redis) {
        let patient = Redis {
            timeout: redis.timeout.max(PATIENCE),
            ..redis.clone()
        };
        let connector = Connector::new(&patient).context("Redis")?;
        let stream = Stream::new(connector, stream.clone());
        let feed = begin(gateway, Sink::Redis);
        let watch = feed.watch();
        runtime.spawn(stream.run(feed, watch));
    }
    if let Some(file) = file {
        let lines = Lines::new(file.clone());
        let feed = begin(gateway, Sink::File);
        let watch = feed.watch();
        runtime.spawn(lines.run(feed, watch));
    }
    Ok(Some(runtime))
}

fn begin(gateway: &Arc<Gateway>, sink: Sink) -> Arc<Feed> {
    gateway.feed.tally(sink).run(true);
    Arc::clone(&gateway.feed)
}

/// Nothing happens any more: waits until what has happened is written, but not for long.
pub(super) fn written(feed: &Feed) {
    feed.close();
    let deadline = Instant::now() + LAST;
    while !feed.is_written() && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
}
