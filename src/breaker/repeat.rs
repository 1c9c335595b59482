//! Agents that ask the same over and over.
//!
//! Decides what is the same (agent and body, byte for byte, by a digest) and how often is too often: so many times
//! within a while. What is kept is bounded: calls that have not come again for a while are forgotten, and sooner
//! when very many different ones come.

use super::Action;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How many calls are kept in each of two generations.
const CALLS: usize = 1024;

/// The most repetitions that rules may ask for.
pub const MOST: u32 = 100;

/// When a repetition is one too many, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What happens then.
    pub action: Action,
    /// How many identical calls are too many.
    pub times: u32,
    /// Within which time.
    pub within: Duration,
    /// How long nothing more is told of the call then, and it is refused where that is wanted.
    pub cool_down: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            action: Action::Observe,
            times: 50,
            within: Duration::from_secs(300),
            cool_down: Duration::from_secs(60),
        }
    }
}

/// What there is to say about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    New,
    /// It has come once too often just now.
    Again {
        /// How often.
        times: u32,
    },
    /// It is refused for so many milliseconds more.
    Refused(u64),
}

/// Calls that were seen.
#[derive(Debug, Default)]
pub struct Calls {
    recent: HashMap<u128, Call>,
    before: HashMap<u128, Call>,
    /// When the recent ones began, in Unix milliseconds.
    since: u64,
}

#[derive(Debug, Default)]
struct Call {
    times: VecDeque<u64>,
    /// Until when it is refused, or nothing is said of it.
    quiet: u64,
}

impl Calls {
    /// Hears of a call at a moment in Unix milliseconds.
    pub fn hear(&mut self, rules: &Rules, call: u128, now: u64) -> Heard {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (within, cool_down) = (millis(rules.within), millis(rules.cool_down));
        if self.recent.len() >= CALLS || now.saturating_sub(self.since) > within.max(cool_down) {
            self.before = std::mem::take(&mut self.recent);
            self.since = now;
        }
        if let Some(known) = self.before.remove(&call) {
            self.recent.insert(call, known);
        }
        let known = self.recent.entry(call).or_default();
        if now < known.quiet {
            return match rules.action {
                Action::Refuse => Heard::Refused(known.quiet - now),
                Action::Off | Action::Observe => Heard::New,
            };
        }
        known.times.push_back(now);
        while known
            .times
            .front()
            .is_some_and(|at| now.saturating_sub(*at) > within)
        {
            known.times.pop_front();
        }
        let times = u32::try_from(known.times.len()).unwrap_or(u32::MAX);
        if times < rules.times {
            return Heard::New;
        }
        known.times.clear();
        known.quiet = now.saturating_add(cool_down);
        Heard::Again { times }
    }

    /// How many calls are kept.
    pub fn len(&self) -> usize {
        self.recent.len() + self.before.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What makes digests of one process another's business: nobody can choose bodies with the same digest who does
/// not know it.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 2]);

/// Bytes that are worked on at once.
const BLOCK: usize = 64;

/// Numbers that tell the parts of a block apart: the first digits of pi.
const PARTS: [u64; 4] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
];

impl Seed {
    /// A seed of random numbers.
    pub const fn new(random: [u64; 2]) -> Self {
        // Odd, so that no bits are lost in multiplying.
        Self([random[0] | 1, random[1] | 1])
    }

    /// The digest of an agent's body: 128 bits, fast rather than secret, for telling apart only.
    pub fn digest(self, agent: &str, body: &[u8]) -> u128 {
        let mut lanes = PARTS.map(|part| part ^ self.0[0]);
        self.fold(&mut lanes, agent.as_bytes());
        self.fold(&mut lanes, body);
        let [first, second, third, fourth] = lanes;
        let half = |key: u64| {
            let one = mixed(first ^ key, second ^ key.rotate_left(16));
            let other = mixed(third ^ key.rotate_left(32), fourth ^ key.rotate_left(48));
            mixed(one ^ key, other ^ PARTS[0])
        };
        u128::from(half(self.0[0])) << 64 | u128::from(half(!self.0[1]))
    }

    fn fold(self, lanes: &mut [u64; 4], bytes: &[u8]) {
        let mut blocks = bytes.chunks_exact(BLOCK);
        for block in &mut blocks {
            self.step(lanes, block);
        }
        let mut last = [0; BLOCK];
        for (to, from) in last.iter_mut().zip(blocks.remainder()) {
            *to = *from;
        }
        self.step(lanes, &last);
        // Where one ends and the next begins is part of it.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        for (lane, part) in lanes.iter_mut().zip(PARTS) {
            *lane = mixed(*lane ^ length, part ^ self.0[1]);
        }
    }

    /// One block: a product for each lane, none of which waits for another.
    fn step(self, lanes: &mut [u64; 4], block: &[u8]) {
        let keys = PARTS.map(|part| part ^ self.0[1]);
        for ((lane, piece), key) in lanes.iter_mut().zip(block.chunks_exact(16)).zip(keys) {
            let (low, high) = piece.split_at(8);
            *lane = mixed(*lane ^ word(low), key ^ word(high));
        }
    }
}

/// Eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// Both halves of a product, folded.
fn mixed(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or(0);
    let high = u64::try_from(product >> 64).unwrap_or(0);
    low ^ high
}
