//! Where events go, and what became of them there.

use crate::event::Kind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Where events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A stream in Redis.
    Redis,
    /// A file of lines.
    File,
    /// Whoever is connected by WebSocket.
    WebSocket,
    /// Whoever reads an answer that does not end (server-sent events).
    Sse,
}

impl Sink {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Redis, Self::File, Self::WebSocket, Self::Sse];

    /// The name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::File => "file",
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
        }
    }

    pub(super) const fn number(self) -> usize {
        match self {
            Self::Redis => 0,
            Self::File => 1,
            Self::WebSocket => 2,
            Self::Sse => 3,
        }
    }
}

/// What became of the events of one sink.
#[derive(Debug, Default)]
pub struct Tally {
    used: AtomicBool,
    running: AtomicBool,
    up: AtomicBool,
    lost: AtomicU64,
    watchers: AtomicUsize,
    dropped: AtomicU64,
}

impl Tally {
    /// It is used: what it does shows in the metrics from now on.
    pub fn begin(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// It writes, or does no more: [`super::Feed::is_written`] waits for it.
    pub fn run(&self, running: bool) {
        if running {
            self.begin();
        }
        self.running.store(running, Ordering::Release);
    }

    pub(super) fn runs(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Events arrive there, or do no more.
    pub fn is_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    /// So many events did not arrive there.
    pub fn lose(&self, events: u64) {
        if events > 0 {
            self.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// A watcher was sent away for being too slow.
    pub fn drop_watcher(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self) {
        self.begin();
        self.watchers.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn figures(&self) -> SinkFigures {
        SinkFigures {
            used: self.used.load(Ordering::Relaxed),
            up: self.up.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            watchers: self.watchers.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// A watcher's place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    feed: std::sync::Arc<super::Feed>,
    sink: Sink,
}

impl Place {
    /// A place for one more watcher, when there are fewer than `most` on all ways together.
    pub fn take(feed: &std::sync::Arc<super::Feed>, sink: Sink, most: usize) -> Option<Self> {
        feed.tally(sink).enter();
        let place = Self {
            feed: std::sync::Arc::clone(feed),
            sink,
        };
        let taken = Sink::ALL.map(|sink| feed.tally(sink).watchers.load(Ordering::Acquire));
        (taken.iter().sum::<usize>() <= most).then_some(place)
    }

    /// What became of the events on this way.
    pub fn tally(&self) -> &Tally {
        self.feed.tally(self.sink)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tally().watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What has been told, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that somebody watched, in the order of [`Kind::NAMES`].
    pub told: [u64; Kind::NAMES.len()],
    /// Each sink, in the order of [`Sink::ALL`].
    pub sinks: [SinkFigures; Sink::ALL.len()],
}

/// What became of the events of one sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkFigures {
    /// Whether it is used at all.
    pub used: bool,
    /// Whether events arrive there.
    pub up: bool,
    /// Events that did not arrive there.
    pub lost: u64,
    /// Who watches on this way.
    pub watchers: usize,
    /// Watchers that were sent away for being too slow.
    pub dropped: u64,
}
