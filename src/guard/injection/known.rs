//! Texts that were read before: a conversation comes again with every turn, longer by one.
//!
//! Decides which readings are kept: those of texts that are worth it, the latest, and no more than fits. It
//! knows a text by a hash under a key of its own, which nobody outside can aim at, and its length; no text is
//! kept, only where words of which class were.

use super::read::Reading;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Texts shorter than this are read again in no time.
const SHORTEST: usize = 256;

/// Parts that are locked one by one.
const SHARDS: usize = 16;

/// The most that one generation of a part comes to, in words and rules that were found.
const ROOM: usize = 16_384;

/// What a reading takes besides.
const OWN: usize = 8;

/// Readings by their texts.
pub(super) struct Known {
    key: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

/// Two generations: when the younger one is full the older one is forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<(u64, usize), Arc<Reading>>,
    old: HashMap<(u64, usize), Arc<Reading>>,
    size: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            key: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Known {
    /// The reading of a text: the one that is known, else what `read` makes of it.
    pub(super) fn reading(&self, text: &str, read: impl FnOnce() -> Reading) -> Arc<Reading> {
        if text.len() < SHORTEST {
            return Arc::new(read());
        }
        let name = (self.key.hash_one(text), text.len());
        let number = usize::try_from(name.0 % 16).unwrap_or_default();
        let Some(shard) = self.shards.get(number) else {
            return Arc::new(read());
        };
        if let Some(known) = locked(shard).find(name) {
            return known;
        }
        // Others may look meanwhile; two that read the same text at once are no harm.
        let reading = Arc::new(read());
        locked(shard).put(name, &reading);
        reading
    }
}

fn locked(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn find(&mut self, name: (u64, usize)) -> Option<Arc<Reading>> {
        if let Some(known) = self.young.get(&name) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(&name)?;
        self.put(name, &known);
        Some(known)
    }

    fn put(&mut self, name: (u64, usize), reading: &Arc<Reading>) {
        let size = reading.hits.len() + reading.fired.len() + OWN;
        if size > ROOM / 4 {
            return;
        }
        if self.size + size > ROOM {
            self.old = std::mem::take(&mut self.young);
            self.size = 0;
        }
        if self.young.insert(name, Arc::clone(reading)).is_none() {
            self.size += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn of(length: usize) -> Reading {
        Reading {
            length,
            ..Reading::default()
        }
    }

    #[test]
    fn a_text_is_read_once_and_another_of_its_length_is_another() {
        let known = Known::default();
        let (one, other) = ("a".repeat(300), "b".repeat(300));
        let reads = Cell::new(0);
        let read = |length| {
            reads.set(reads.get() + 1);
            of(length)
        };
        for _ in 0..3 {
            assert_eq!(known.reading(&one, || read(1)).length, 1);
            assert_eq!(known.reading(&other, || read(2)).length, 2);
        }
        assert_eq!(reads.get(), 2);
        // Short ones are not worth it.
        for _ in 0..2 {
            known.reading("short", || read(3));
        }
        assert_eq!(reads.get(), 4);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let known = Known::default();
        for nth in 0..100_000 {
            let text = format!("{nth:0>300}");
            known.reading(&text, || of(nth));
        }
        let kept: usize = known
            .shards
            .iter()
            .map(|shard| {
                let shard = locked(shard);
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(kept <= 2 * SHARDS * ROOM / OWN, "{kept}");
        let last = format!("{:0>300}", 99_999);
        assert_eq!(known.reading(&last, || of(0)).length, 99_999);
    }
}
