//! Sessions: which secret token stands in the system prompt of a conversation.
//!
//! Decides that a conversation keeps its token from turn to turn, that the token changes after a while and the
//! one before is still known then, and who is forgotten when there are too many conversations. A conversation
//! belongs to whoever opened it: the same name given by two callers is two conversations.
//!
//! How a token looks and is found again is decided in [`crate::guard::canary`]; that gateways agree on it is
//! the business of [`crate::custody`].

use super::canary::Canary;
use crate::identity::KeyId;
use crate::settings::Lasting;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Parts that are locked one by one.
const SHARDS: usize = 16;

/// The longest name of a session that counts as one, in bytes: all of it is hashed, none of it is kept.
pub const LONGEST: usize = 1024;

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// Whoever uses this key of the gateway's.
    Key(&'a KeyId),
    /// A caller without one, by what it calls itself.
    Caller(&'a str),
    /// Callers without any name.
    Nobody,
}

/// A session, as a digest of its owner and its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The session that `owner` calls `name`.
    pub fn of(owner: Owner<'_>, name: &str) -> Self {
        let (kind, owner) = match owner {
            Owner::Key(key) => ("key", key.as_str()),
            Owner::Caller(caller) => ("caller", caller),
            Owner::Nobody => ("nobody", ""),
        };
        let mut hash = Sha256::new();
        hash.update(b"weir session 1\0");
        for part in [kind, owner] {
            // With its length before it, no owner and name are another owner and name.
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(name.as_bytes());
        Self(hash.finalize().into())
    }

    /// As much of it as people are shown.
    pub fn masked(&self) -> String {
        self.hex(6)
    }

    /// Its name in a store, for the time that begins with `epoch`.
    pub fn stored(&self, epoch: u64) -> String {
        format!("{}:{epoch}", self.hex(32))
    }

    fn hex(&self, bytes: usize) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(2 * bytes);
        for byte in self.0.iter().take(bytes) {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Two numbers that are spread evenly over all sessions.
    fn spread(&self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, place, ..] = self.0;
        (
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from(place),
        )
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The one that is put into the prompt.
    pub current: Canary,
    /// The one before, which an answer may still give away.
    pub before: Option<Canary>,
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.all()
            .map(Canary::token)
            .eq(other.all().map(Canary::token))
    }
}

impl Eq for Tokens {}

impl Tokens {
    /// Both of them, as far as there are two.
    pub fn all(&self) -> impl Iterator<Item = &Canary> {
        std::iter::once(&self.current).chain(&self.before)
    }

    /// Whether a text holds one of them, written in whatever way.
    pub fn found_in(&self, text: &str) -> bool {
        self.all().any(|canary| canary.found_in(text))
    }
}

#[derive(Clone)]
struct Session {
    tokens: Tokens,
    epoch: u64,
    used: u64,
    /// When a store that is shared last agreed to it.
    agreed: u64,
}

/// The sessions of this process.
pub struct Sessions {
    lasting: Lasting,
    shards: [Mutex<HashMap<SessionId, Session>>; SHARDS],
}

/// What is known of a session.
#[derive(Clone, Debug)]
pub enum Known {
    /// Its tokens of now.
    Now(Tokens),
    /// Its tokens, which a store that is shared should be asked about again.
    Unsure(Tokens),
    /// Nothing, or a token that has had its time.
    Nothing {
        /// The token that has had its time.
        before: Option<Canary>,
    },
}

impl Sessions {
    /// No sessions yet.
    pub fn new(lasting: Lasting) -> Self {
        Self {
            lasting,
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// How long a token is worth keeping.
    pub fn keep(&self) -> Duration {
        self.lasting.idle.max(self.lasting.rotation) + self.lasting.rotation
    }

    /// The number of the time in which a session has one token. Not all sessions change at the same moment.
    pub fn epoch(&self, id: &SessionId, now: u64) -> u64 {
        let rotation = millis(self.lasting.rotation).max(1);
        (now + id.spread().0 % rotation) / rotation
    }

    /// What is known of a session at `now`, in Unix milliseconds.
    pub fn find(&self, id: &SessionId, now: u64) -> Known {
        let mut shard = self.shard(id);
        let Some(session) = shard.get_mut(id) else {
            return Known::Nothing { before: None };
        };
        if self.is_over(session, now) {
            shard.remove(id);
            return Known::Nothing { before: None };
        }
        if session.epoch != self.epoch(id, now) {
            let before = Some(session.tokens.current.clone());
            return Known::Nothing { before };
        }
        session.used = session.used.max(now);
        let tokens = session.tokens.clone();
        let unsure = now.saturating_sub(session.agreed) > millis(self.lasting.idle) / 4;
        if unsure {
            Known::Unsure(tokens)
        } else {
            Known::Now(tokens)
        }
    }

    /// The tokens that an answer must not hold, if the session is known: also after their time.
    pub fn watched(&self, id: &SessionId, now: u64) -> Option<Tokens> {
        let shard = self.shard(id);
        let session = shard
            .get(id)
            .filter(|session| !self.is_over(session, now))?;
        Some(session.tokens.clone())
    }

    /// Gives a session a token for the time of `now`. `agreed` is one on which gateways have agreed; without it
    /// whoever was first in this process has chosen. A token that is replaced is still watched for.
    pub fn put(
        &self,
        id: &SessionId,
        now: u64,
        token: &Canary,
        before: Option<&Canary>,
        agreed: bool,
    ) -> Tokens {
        let epoch = self.epoch(id, now);
        let mut shard = self.shard(id);
        self.room(&mut shard, id, now);
        let new = || Session {
            tokens: Tokens {
                current: token.clone(),
                before: before.cloned(),
            },
            epoch,
            used: now,
            agreed: now,
        };
        match shard.entry(*id) {
            Entry::Vacant(entry) => entry.insert(new()).tokens.clone(),
            Entry::Occupied(entry) => {
                let session = entry.into_mut();
                let is_other = session.tokens.current.token() != token.token();
                if session.epoch != epoch || (agreed && is_other) {
                    let own = is_other.then(|| session.tokens.current.clone());
                    *session = new();
                    session.tokens.before = own.or_else(|| before.cloned());
                }
                session.used = session.used.max(now);
                session.agreed = now;
                session.tokens.clone()
            }
        }
    }

    /// How many sessions are remembered.
    pub fn count(&self) -> usize {
        let lock = |shard: &Mutex<HashMap<SessionId, Session>>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.len()
        };
        self.shards.iter().map(lock).sum()
    }

    fn is_over(&self, session: &Session, now: u64) -> bool {
        now.saturating_sub(session.used) >= millis(self.lasting.idle)
    }

    /// Makes room for one more: whoever was longest without a turn is forgotten.
    fn room(&self, shard: &mut HashMap<SessionId, Session>, id: &SessionId, now: u64) {
        let most = (self.lasting.most / SHARDS).max(1);
        if shard.len() < most || shard.contains_key(id) {
            return;
        }
        shard.retain(|_, session| !self.is_over(session, now));
        if shard.len() < most {
            return;
        }
        // Several at once, so that not every new one has to look through all.
        let mut used: Vec<u64> = shard.values().map(|session| session.used).collect();
        let place = (most / 16).min(used.len() - 1);
        let (_, border, _) = used.select_nth_unstable(place);
        let border = *border;
        shard.retain(|_, session| session.used > border);
    }

    fn shard(&self, id: &SessionId) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        let place = usize::try_from(id.spread().1).unwrap_or_default() % SHARDS;
        self.shards[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u64 {
    // No setting is longer than some years.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const START: u64 = 1_800_000_000_000;

    fn id(name: &str) -> SessionId {
        SessionId::of(Owner::Caller("me"), name)
    }

    fn canary() -> Canary {
        Canary::new().unwrap()
    }

    fn nothing(known: &Known) -> bool {
        matches!(known, Known::Nothing { before: None })
    }

    fn words(tokens: &Tokens) -> Vec<&str> {
        tokens.all().map(Canary::token).collect()
    }

    fn now(sessions: &Sessions, id: &SessionId, at: u64) -> Tokens {
        match sessions.find(id, at) {
            Known::Now(tokens) | Known::Unsure(tokens) => tokens,
            Known::Nothing { .. } => panic!("unknown"),
        }
    }

    #[test]
    fn the_second_turn_of_a_session_has_the_token_of_the_first() {
        let sessions = Sessions::new(Lasting::default());
        let id = id("s");
        assert!(nothing(&sessions.find(&id, START)));
        let first = sessions.put(&id, START, &canary(), None, false);
        assert_eq!(now(&sessions, &id, START + 1), first);
        // Two first turns at the same time: one of them was first.
        assert_eq!(sessions.put(&id, START, &canary(), None, false), first);
        assert!(first.found_in(&first.current.instruction()));
    }

    #[test]
    fn the_same_name_given_by_two_callers_is_two_sessions() {
        let (a, b) = (KeyId::new("a").unwrap(), KeyId::new("b").unwrap());
        let all = [
            SessionId::of(Owner::Key(&a), "s"),
            SessionId::of(Owner::Key(&b), "s"),
            SessionId::of(Owner::Caller("a"), "s"),
            SessionId::of(Owner::Caller("as"), ""),
            SessionId::of(Owner::Nobody, "s"),
            SessionId::of(Owner::Nobody, ""),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
    }

    #[test]
    fn a_token_changes_and_the_one_before_is_still_watched_for() {
        let sessions = Sessions::new(Lasting {
            rotation: Duration::from_secs(3600),
            ..Lasting::default()
        });
        let id = id("s");
        let (one, two) = (canary(), canary());
        sessions.put(&id, START, &one, None, false);
        let Known::Nothing { before } = sessions.find(&id, START + HOUR) else {
            panic!("it has not changed");
        };
        assert_eq!(before.as_ref().unwrap().token(), one.token());
        let tokens = sessions.put(&id, START + HOUR, &two, before.as_ref(), false);
        assert_eq!(words(&tokens), [two.token(), one.token()]);
        assert!(tokens.found_in(one.token()));
        assert_eq!(sessions.watched(&id, START + HOUR), Some(tokens));
    }

    #[test]
    fn a_session_is_forgotten_a_day_after_its_last_turn() {
        let sessions = Sessions::new(Lasting {
            rotation: Duration::from_secs(365 * 24 * 3600),
            ..Lasting::default()
        });
        let id = id("s");
        sessions.put(&id, START, &canary(), None, false);
        now(&sessions, &id, START + 23 * HOUR);
        now(&sessions, &id, START + 46 * HOUR);
        assert!(nothing(&sessions.find(&id, START + 70 * HOUR)));
        assert_eq!((sessions.count(), sessions.watched(&id, START)), (0, None));
    }

    #[test]
    fn there_are_never_more_sessions_than_are_to_be_remembered() {
        let sessions = Sessions::new(Lasting {
            most: 256,
            ..Lasting::default()
        });
        let token = canary();
        for number in 0..10_000 {
            let id = id(&format!("session {number}"));
            let put = sessions.put(&id, START + number, &token, None, false);
            assert_eq!(now(&sessions, &id, START + number), put);
        }
        assert!(sessions.count() <= 256);
    }

    #[test]
    fn what_gateways_agree_on_takes_the_place_of_what_one_has_chosen() {
        let sessions = Sessions::new(Lasting::default());
        let id = id("s");
        let (mine, theirs) = (canary(), canary());
        sessions.put(&id, START, &mine, None, false);
        let tokens = sessions.put(&id, START, &theirs, None, true);
        assert_eq!(words(&tokens), [theirs.token(), mine.token()]);
        let later = START + 7 * HOUR;
        assert!(matches!(
            sessions.find(&id, later),
            Known::Unsure(_) | Known::Nothing { .. }
        ));
    }
}
