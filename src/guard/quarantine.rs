//! Quarantine: callers whose requests were caught several times are refused for a while, or for good.
//!
//! Decides who is in quarantine and until when, from two things that only ever grow: the strikes of a caller,
//! and the times at which somebody lifted its quarantine. Records of the same caller from a file, from another
//! process or from another gateway are therefore put together in any order, as often as one likes, with the
//! same result ([`Record::merge`]).
//!
//! It does not decide what is a strike. Whoever says so must have judged something that the caller itself
//! wrote: a tool or a document may get a request refused, and never its caller a strike.
//!
//! Where a conversation comes again with every turn, the same text strikes the same caller once for as long as
//! that strike counts: the strike has its number of the text ([`Text`]), and two of one number are one, also
//! when several gateways saw it.
//!
//! Callers are known by digests here ([`Who`]); keys and texts are not kept.

mod cells;
mod text;

pub use cells::Cells;
pub use text::Text;

use crate::identity::KeyId;
use crate::settings::{KEPT_STRIKES, QuarantineRules};
use sha2::{Digest as _, Sha256};
use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

/// Bytes of a digest.
const BYTES: usize = 32;

/// What a caller is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    /// A key of this gateway's.
    Key,
    /// What a caller without one calls itself.
    Caller,
}

/// A caller, as a digest of what it is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    kind: Kind,
    digest: [u8; BYTES],
}

impl Who {
    /// Whoever uses this key of the gateway's. By its id, so that a key that is renewed stays the same caller.
    pub fn of_key(key: &KeyId) -> Self {
        Self::new(Kind::Key, key.as_str())
    }

    /// Whoever calls itself so where no key was asked for. Never the same as any key.
    pub fn of_caller(name: &str) -> Self {
        Self::new(Kind::Caller, name)
    }

    fn new(kind: Kind, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"weir quarantine 1\0");
        hash.update(match kind {
            Kind::Key => b"key\0".as_slice(),
            Kind::Caller => b"caller\0".as_slice(),
        });
        hash.update(name.as_bytes());
        Self {
            kind,
            digest: hash.finalize().into(),
        }
    }

    /// The whole digest, for stores: `key:` or `caller:` and 64 hexadecimal digits.
    pub fn to_text(self) -> String {
        self.digits(BYTES)
    }

    /// Reads what [`Who::to_text`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, digits) = text.split_once(':')?;
        let kind = match kind {
            "key" => Kind::Key,
            "caller" => Kind::Caller,
            _ => return None,
        };
        if digits.len() != 2 * BYTES || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut digest = [0; BYTES];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self { kind, digest })
    }

    /// As much of it as people are shown: enough to tell callers apart, not to find a key by.
    pub fn masked(self) -> String {
        self.digits(6)
    }

    fn digits(self, bytes: usize) -> String {
        use std::fmt::Write as _;
        let mut text = String::from(match self.kind {
            Kind::Key => "key:",
            Kind::Caller => "caller:",
        });
        for byte in self.digest.iter().take(bytes) {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// A caller is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantined {
    /// For so many milliseconds more.
    Temporary {
        /// What is left of it, at least 1.
        remaining: u64,
    },
    /// Until somebody lifts it.
    Permanent,
}

impl Quarantined {
    /// The milliseconds that are left of it; `None` for one without an end.
    pub fn remaining(self) -> Option<u64> {
        match self {
            Self::Temporary { remaining } => Some(remaining),
            Self::Permanent => None,
        }
    }
}

/// What a strike led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Struck {
    /// Nothing yet: it is one of so many that count.
    Counted(usize),
    /// The caller is in quarantine from now on.
    Quarantined(Quarantined),
}

/// Which quarantine somebody lifts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// The one for a while. The strikes go on counting towards the other one.
    Temporary,
    /// Any: the caller begins anew.
    Permanent,
}

/// One strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Strike {
    /// When, in Unix milliseconds.
    pub at: u64,
    /// A number of its own, or of the text that it is for, so that the same one is known again.
    pub id: u64,
}

/// All that is known of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its strikes, the oldest first.
    strikes: Vec<Strike>,
    /// When a quarantine for a while was last lifted, in Unix milliseconds; 0 for never.
    lifted: u64,
    /// When everything was last lifted.
    pardoned: u64,
    /// Since when the caller is in quarantine for good; 0 for not at all, or pardoned.
    permanent: u64,
}

impl Record {
    /// A record from its parts, in any order.
    pub fn new(
        strikes: impl IntoIterator<Item = Strike>,
        lifted: u64,
        pardoned: u64,
        permanent: u64,
    ) -> Self {
        let mut record = Self {
            strikes: strikes.into_iter().collect(),
            lifted,
            pardoned,
            permanent,
        };
        record.tidy();
        record
    }

    /// Its strikes, the oldest first.
    pub fn strikes(&self) -> &[Strike] {
        &self.strikes
    }

    /// When a quarantine for a while was last lifted, when everything was, and since when it is in
    /// quarantine for good; 0 for never.
    pub fn times(&self) -> [u64; 3] {
        [self.lifted, self.pardoned, self.permanent]
    }

    /// Takes over what another record of the same caller knows. `true` when that was news.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.strikes.extend(&other.strikes);
        self.lifted = self.lifted.max(other.lifted);
        self.pardoned = self.pardoned.max(other.pardoned);
        self.permanent = self.permanent.max(other.permanent);
        self.tidy();
        *self != before
    }

    fn tidy(&mut self) {
        // Of two of one number the later one stays: it counts for longer, and nothing else depends on it.
        self.strikes
            .sort_unstable_by_key(|strike| (strike.id, Reverse(strike.at)));
        self.strikes.dedup_by_key(|strike| strike.id);
        self.strikes.sort_unstable();
        let old = self.strikes.len().saturating_sub(KEPT_STRIKES);
        self.strikes.drain(..old);
        if self.permanent <= self.pardoned {
            self.permanent = 0;
        }
    }

    /// Whether there is a strike of that number that counts at `now`, or would if nobody had lifted it.
    pub fn has_struck(&self, id: u64, now: u64, rules: &QuarantineRules) -> bool {
        let window = millis(rules.window);
        self.strikes
            .iter()
            .any(|strike| strike.id == id && now.saturating_sub(strike.at) < window)
    }

    /// Adds a strike, unless it is there already, and notes when it is the one that leads to a quarantine for
    /// good.
    pub fn strike(&mut self, strike: Strike, rules: &QuarantineRules) {
        if self.has_struck(strike.id, strike.at, rules) {
            return;
        }
        // Whoever is struck now was let in before, whatever the clock of the one who lifted it says.
        let at = strike.at.max(self.lifted + 1).max(self.pardoned + 1);
        self.strikes.push(Strike { at, ..strike });
        self.tidy();
        self.settle(rules);
    }

    /// Notes a quarantine for good that the strikes of several records together have led to.
    pub fn settle(&mut self, rules: &QuarantineRules) {
        if self.permanent > 0 {
            return;
        }
        let after = self.pardoned;
        let last = self.strikes.iter().filter(|strike| strike.at > after);
        let reached = last
            .filter(|last| self.counted(after, last.at, rules) >= rules.permanent)
            .map(|last| last.at)
            .min();
        self.permanent = reached.unwrap_or(0);
    }

    /// Lifts a quarantine.
    pub fn lift(&mut self, lift: Lift, now: u64) {
        // Another gateway's clock may be ahead of this one: what it has counted is lifted, too.
        let last = self.strikes.last().map_or(0, |strike| strike.at);
        let at = now.max(last).max(self.permanent);
        match lift {
            Lift::Temporary => self.lifted = self.lifted.max(at),
            Lift::Permanent => self.pardoned = self.pardoned.max(at),
        }
        self.tidy();
    }

    /// Whether the caller is in quarantine at `now`, in Unix milliseconds.
    pub fn state(&self, rules: &QuarantineRules, now: u64) -> Option<Quarantined> {
        if self.permanent > self.pardoned {
            return Some(Quarantined::Permanent);
        }
        let hold = millis(rules.hold);
        // A clock that was set back must not make it longer.
        let remaining = self.until(rules)?.saturating_sub(now).min(hold);
        (remaining > 0).then_some(Quarantined::Temporary { remaining })
    }

    /// How many strikes count towards a quarantine for a while at `now`.
    pub fn count(&self, rules: &QuarantineRules, now: u64) -> usize {
        self.counted(self.lifted.max(self.pardoned), now, rules)
    }

    /// When the last quarantine for a while ends, or has ended.
    fn until(&self, rules: &QuarantineRules) -> Option<u64> {
        let after = self.lifted.max(self.pardoned);
        let last = self.strikes.iter().rev();
        let mut last = last.take_while(|strike| strike.at > after);
        let led = last.find(|last| self.counted(after, last.at, rules) >= rules.strikes);
        led.map(|last| last.at.saturating_add(millis(rules.hold)))
    }

    /// The strikes after `after` that count at `now`, `now` included.
    fn counted(&self, after: u64, now: u64, rules: &QuarantineRules) -> usize {
        let window = millis(rules.window);
        let counts =
            |strike: &&Strike| strike.at > after && strike.at <= now && now - strike.at < window;
        self.strikes.iter().filter(counts).count()
    }

    /// When nothing of it matters any more; `None` for never.
    pub fn ends(&self, rules: &QuarantineRules) -> Option<u64> {
        if self.permanent > self.pardoned {
            return None;
        }
        let last = self.strikes.last().map_or(0, |strike| strike.at);
        // That it was lifted must outlive what it has lifted.
        let last = last.max(self.lifted).max(self.pardoned);
        Some(last.saturating_add(millis(rules.window) + millis(rules.hold)))
    }
}

/// A time in milliseconds.
fn millis(time: Duration) -> u64 {
    // No rule is longer than some years.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
