//! From the first bytes of a word in a text to the entries that it may be of.
//!
//! Nearly all words of a text are of no entry, and one look into a small table of bits says so. A text is
//! compared by its first eight bytes, as a number, ASCII letters without case.

use super::Classes;
use super::entry::{Entry, Text};
use std::collections::HashMap;

/// How many bits of a hash the filter uses: it must be small enough to stay near the processor, and large
/// enough to say no nearly always.
const BITS: u32 = 16;

/// How many bits of a hash the table uses.
const TABLE_BITS: u32 = 11;

/// A word that is looked for.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) text: Text,
    /// The classes that it is a word of by itself.
    pub(super) alone: Classes,
    /// The entries that it is a part of.
    pub(super) entries: Vec<u32>,
}

/// The beginning of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// What a text must begin with.
    value: u64,
    /// Which of its bytes count.
    mask: u64,
}

impl Key {
    pub(super) fn of(text: &str) -> Self {
        let mask = low(text.len());
        Self {
            value: small(head(text.as_bytes(), 0)) & mask,
            mask,
        }
    }

    /// Whether a text begins as it does, as far as eight bytes tell.
    #[inline]
    pub(super) fn fits(self, head: u64) -> bool {
        small(head) & self.mask == self.value
    }
}

impl Anchor {
    fn new(text: Text) -> Self {
        Self {
            text,
            alone: 0,
            entries: Vec::new(),
        }
    }

    /// Whether the word ends in a text that begins as it does, as far as eight bytes tell.
    #[inline]
    pub(super) fn ends(&self, head: u64) -> bool {
        let length = self.text.text.len();
        self.text.open
            || length >= 8
            || !self.text.text.is_ascii()
            || !head.to_le_bytes()[length].is_ascii_alphanumeric()
    }

    fn hash(&self) -> usize {
        hash(self.text.key.value & low(4.min(self.text.text.len())))
    }
}

/// All anchors by the hashes of their first bytes.
#[derive(Debug)]
pub(super) struct Index {
    /// One bit for each hash that there are anchors for.
    filter: Vec<u64>,
    /// Where the anchors of each hash begin, and in the end where all of them end.
    starts: Vec<u16>,
    /// What texts must begin with, in the order of the anchors.
    keys: Vec<Key>,
    anchors: Vec<Anchor>,
}

/// The first eight bytes at a place as a number; zeros behind the end.
#[inline]
pub(super) fn head(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    let head = rest.first_chunk::<8>().copied().unwrap_or_else(|| {
        let mut head = [0; 8];
        head[..rest.len()].copy_from_slice(rest);
        head
    });
    u64::from_le_bytes(head)
}

/// With ASCII letters made small.
#[inline]
fn small(head: u64) -> u64 {
    head | 0x2020_2020_2020_2020
}

/// The first `length` bytes of a number.
fn low(length: usize) -> u64 {
    if length >= 8 {
        u64::MAX
    } else {
        (1 << (8 * length)) - 1
    }
}

/// The place of a hash in the table.
fn row(hash: usize) -> usize {
    hash >> (BITS - TABLE_BITS)
}

fn hash(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BITS)) as usize
}

/// As [`u8::is_ascii_alphanumeric`], without a branch.
#[inline]
const fn in_word(byte: u8) -> bool {
    ((byte | 0x20).wrapping_sub(b'a') < 26) | (byte.wrapping_sub(b'0') < 10)
}

/// The hashes under which a text is looked for: of its first four bytes, of the first three and of the
/// first two.
#[inline]
fn hashes(head: u64) -> [usize; 3] {
    let head = small(head);
    [
        hash(head & low(4)),
        hash(head & low(3)),
        hash(head & low(2)),
    ]
}

impl Index {
    pub(super) fn new(entries: &[Entry]) -> Self {
        let mut known: HashMap<&Text, usize> = HashMap::new();
        let mut anchors: Vec<Anchor> = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            for text in entry.anchors() {
                let index = *known.entry(text).or_insert_with(|| {
                    anchors.push(Anchor::new(text.clone()));
                    anchors.len() - 1
                });
                if entry.is_single() {
                    anchors[index].alone |= 1 << entry.class;
                } else if let Ok(number) = u32::try_from(number) {
                    anchors[index].entries.push(number);
                }
            }
        }
        anchors.sort_by_key(Anchor::hash);
        let mut filter = vec![0_u64; 1 << (BITS - 6)];
        let mut starts = vec![0_u16; (1 << TABLE_BITS) + 1];
        // More than fit into a number of that size are too many for a file.
        anchors.truncate(usize::from(u16::MAX));
        for hash in anchors.iter().map(Anchor::hash) {
            filter[hash >> 6] |= 1 << (hash & 63);
            starts[row(hash) + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Self {
            filter,
            starts,
            keys: anchors.iter().map(|anchor| anchor.text.key).collect(),
            anchors,
        }
    }

    /// Whether there may be anchors for a text that stand there as whole words.
    #[inline]
    pub(super) fn may_hold(&self, head: u64) -> bool {
        let is_set = |hash: usize| self.filter[hash >> 6] >> (hash & 63) & 1 != 0;
        let [_, _, third, fourth, ..] = head.to_le_bytes();
        let (third, fourth) = (in_word(third), in_word(fourth));
        let [four, three, two] = hashes(head);
        // Words of two and three bytes have no open end. All of it is worked out, without a branch: nobody can
        // tell how long the next word is.
        is_set(four) | (third & !fourth & is_set(three)) | (!third & is_set(two))
    }

    /// What a text begins with, as far as eight bytes tell.
    #[inline]
    pub(super) fn anchors(&self, head: u64) -> impl Iterator<Item = &Anchor> {
        let [four, three, two] = hashes(head).map(row);
        // A row that is there twice is looked up once.
        let three = Some(three).filter(|three| *three != four);
        let two = Some(two).filter(|two| *two != four && Some(*two) != three);
        [Some(four), three, two]
            .into_iter()
            .flatten()
            .flat_map(|row| usize::from(self.starts[row])..usize::from(self.starts[row + 1]))
            .filter(move |index| self.keys[*index].fits(head))
            .map(|index| &self.anchors[index])
    }
}
