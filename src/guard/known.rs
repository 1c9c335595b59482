//! Texts that came before: a conversation comes again with every turn, longer by one.
//!
//! Decides which texts are known by name, and which findings are kept: those of texts that are worth it, the
//! latest, and no more than fits. No text is kept, only what was found in it and where.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Texts shorter than this are read again in no time.
const SHORTEST: usize = 256;

/// Parts that are locked one by one.
const SHARDS: usize = 16;

/// The most that one generation of a part comes to, in findings.
const ROOM: usize = 16_384;

/// What an entry takes besides.
const OWN: usize = 8;

/// Of this process, so that nobody outside can make two texts that have the same name.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// What a text is known by: a hash under a key, its length, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    hash: u64,
    length: usize,
    /// With escapes of JSON: the same characters mean another text than without.
    escaped: bool,
    /// What was looked for.
    about: u8,
}

impl Name {
    /// A text.
    pub(super) fn of(text: &str) -> Self {
        Self {
            hash: KEY.hash_one(text),
            length: text.len(),
            escaped: false,
            about: 0,
        }
    }

    /// A text as it stands between the quotation marks of a JSON string.
    pub(super) fn of_json(inner: &str) -> Self {
        let escaped = memchr::memchr(b'\\', inner.as_bytes()).is_some();
        Self {
            escaped,
            ..Self::of(inner)
        }
    }

    /// The same for one of several things that are looked for.
    pub(super) const fn about(self, about: u8) -> Self {
        Self { about, ..self }
    }
}

/// How much of the room something takes.
pub(super) trait Weight {
    /// The number of findings.
    fn weight(&self) -> usize;
}

/// What was found, by the names of the texts.
pub(super) struct Known<T> {
    shards: [Mutex<Shard<T>>; SHARDS],
}

/// Two generations: when the younger one is full the older one is forgotten.
struct Shard<T> {
    young: HashMap<Name, Arc<T>>,
    old: HashMap<Name, Arc<T>>,
    size: usize,
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            size: 0,
        }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl<T: Weight> Known<T> {
    /// What is known of a text, else what `read` finds in it.
    pub(super) fn get(&self, name: Name, read: impl FnOnce() -> T) -> Arc<T> {
        let number = usize::try_from(name.hash % 16).unwrap_or_default();
        let shard = self.shards.get(number).filter(|_| name.length >= SHORTEST);
        let Some(shard) = shard else {
            return Arc::new(read());
        };
        if let Some(known) = locked(shard).find(name) {
            return known;
        }
        // Others may look meanwhile; two that read the same text at once are no harm.
        let found = Arc::new(read());
        locked(shard).put(name, &found);
        found
    }
}

fn locked<T>(shard: &Mutex<Shard<T>>) -> std::sync::MutexGuard<'_, Shard<T>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Weight> Shard<T> {
    fn find(&mut self, name: Name) -> Option<Arc<T>> {
        if let Some(known) = self.young.get(&name) {
            return Some(Arc::clone(known));
        }
        let known = self.old.remove(&name)?;
        self.put(name, &known);
        Some(known)
    }

    fn put(&mut self, name: Name, found: &Arc<T>) {
        let size = found.weight() + OWN;
        if size > ROOM / 4 {
            return;
        }
        if self.size + size > ROOM {
            self.old = std::mem::take(&mut self.young);
            self.size = 0;
        }
        if self.young.insert(name, Arc::clone(found)).is_none() {
            self.size += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Found(usize);

    impl Weight for Found {
        fn weight(&self) -> usize {
            0
        }
    }

    #[test]
    fn a_text_is_read_once_and_another_of_its_length_is_another() {
        let known = Known::default();
        let (one, other) = (Name::of(&"a".repeat(300)), Name::of(&"b".repeat(300)));
        let reads = Cell::new(0);
        let read = |what| {
            reads.set(reads.get() + 1);
            Found(what)
        };
        for _ in 0..3 {
            assert_eq!(known.get(one, || read(1)).0, 1);
            assert_eq!(known.get(other, || read(2)).0, 2);
            assert_eq!(known.get(one.about(1), || read(3)).0, 3);
        }
        assert_eq!(reads.get(), 3);
        // Short ones are not worth it.
        for _ in 0..2 {
            known.get(Name::of("short"), || read(4));
        }
        assert_eq!(reads.get(), 5);
    }

    #[test]
    fn what_is_written_with_escapes_is_another_text_than_the_same_without() {
        assert_ne!(Name::of(r"a\nb"), Name::of_json(r"a\nb"));
        assert_eq!(Name::of("a b"), Name::of_json("a b"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let known = Known::default();
        let name = |nth: usize| Name::of(&format!("{nth:0>300}"));
        for nth in 0..100_000 {
            known.get(name(nth), || Found(nth));
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
        assert_eq!(known.get(name(99_999), || Found(0)).0, 99_999);
    }
}
