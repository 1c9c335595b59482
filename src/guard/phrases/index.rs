//! From the first bytes of a word in a text to the entries that it may be of.
//!
//! Nearly all words of a text are of no entry, and one look into a small table of bits says so. A text is
//! compared by its first eight bytes, as a number, ASCII letters without case.

use super::Classes;
use super::entry::{Entry, Text};
use std::collections::HashMap;

/// How many bits of a hash are used.
const BITS: u32 = 14;

/// A word that is looked for.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) text: Text,
    /// The classes that it is a word of by itself.
    pub(super) alone: Classes,
    /// The entries that it is a part of.
    pub(super) entries: Vec<u32>,
    /// What a text must begin with.
    value: u64,
    /// Which of its bytes count.
    mask: u64,
}

impl Anchor {
    fn new(text: Text) -> Self {
        let mask = low(text.text.len());
        Self {
            value: small(head(text.text.as_bytes(), 0)) & mask,
            mask,
            text,
            alone: 0,
            entries: Vec::new(),
        }
    }

    /// Whether a text begins as it does, as far as eight bytes tell.
    #[inline]
    pub(super) fn fits(&self, head: u64) -> bool {
        small(head) & self.mask == self.value
    }

    /// The same, and whether the word ends there if it must.
    #[inline]
    pub(super) fn fits_whole(&self, head: u64) -> bool {
        let length = self.text.text.len();
        self.fits(head)
            && (self.text.open
                || length >= 8
                || !head.to_le_bytes()[length].is_ascii_alphanumeric())
    }

    fn hash(&self) -> usize {
        hash(self.value & low(4.min(self.text.text.len())))
    }
}

/// All anchors by the hashes of their first bytes.
#[derive(Debug)]
pub(super) struct Index {
    /// One bit for each hash that there are anchors for.
    filter: Vec<u64>,
    /// Where the anchors of each hash begin, and in the end where all of them end.
    starts: Vec<u32>,
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

fn hash(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BITS)) as usize
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
        let mut starts = vec![0_u32; (1 << BITS) + 1];
        for hash in anchors.iter().map(Anchor::hash) {
            filter[hash >> 6] |= 1 << (hash & 63);
            starts[hash + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        Self {
            filter,
            starts,
            anchors,
        }
    }

    /// Whether there may be anchors for a text.
    #[inline]
    pub(super) fn may_hold(&self, head: u64) -> bool {
        let is_set = |hash: usize| self.filter[hash >> 6] >> (hash & 63) & 1;
        let [four, three, two] = hashes(head);
        is_set(four) | is_set(three) | is_set(two) != 0
    }

    /// What a text may begin with.
    #[inline]
    pub(super) fn anchors(&self, head: u64) -> impl Iterator<Item = &Anchor> {
        let [four, three, two] = hashes(head);
        // A hash that is there twice is looked up once.
        let three = Some(three).filter(|three| *three != four);
        let two = Some(two).filter(|two| *two != four && Some(*two) != three);
        [Some(four), three, two]
            .into_iter()
            .flatten()
            .flat_map(|hash| {
                let range = self.starts[hash] as usize..self.starts[hash + 1] as usize;
                &self.anchors[range]
            })
    }
}
