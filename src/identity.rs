//! Names as types: agents, keys, users, teams, accounts, models, requests.
//!
//! Decides what a well-formed name is. It does not decide whether anybody by that name exists.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The longest name accepted anywhere, in bytes.
pub const MAX_NAME: usize = 128;

/// Why a name was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty after trimming.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_NAME`] bytes.
    #[error("must be at most {MAX_NAME} bytes long")]
    TooLong,
    /// Contains a control character or one outside printable ASCII.
    #[error("may contain printable ASCII characters only")]
    BadCharacter,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`NameError`] when it is empty, too long, or not printable ASCII.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// An agent: the party whose budget and tiers a request falls under.
    AgentId;
    /// The public id of an API key; never the key itself.
    KeyId;
    /// A person or service behind a key.
    UserId;
    /// A team of agents, users and keys.
    TeamId;
    /// An account in the ledger: `agent:<id>`, `user:<id>`, `team:<id>` or `gateway`.
    AccountId;
}

impl AccountId {
    /// The account of an agent.
    pub fn agent(agent: &AgentId) -> Self {
        Self(format!("agent:{agent}").into())
    }

    /// The account of a user.
    pub fn user(user: &UserId) -> Self {
        Self(format!("user:{user}").into())
    }

    /// The account of what a user spends in a day, whatever the user's own budget is.
    pub fn day(user: &UserId) -> Self {
        Self(format!("day:{user}").into())
    }

    /// The account of a team.
    pub fn team(team: &TeamId) -> Self {
        Self(format!("team:{team}").into())
    }

    /// The account of the whole gateway.
    pub fn gateway() -> Self {
        Self("gateway".into())
    }
}

fn check(text: &str) -> Result<(), NameError> {
    if text.trim().is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(NameError::BadCharacter);
    }
    Ok(())
}

/// The id of one request, `req_` and 26 hexadecimal digits, ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    millis: u64,
    random: u64,
}

/// The part of Unix milliseconds that an id has.
const MILLIS: u64 = 0xff_ffff_ffff;

impl RequestId {
    /// A new id for a request that arrived at `unix_millis`.
    pub fn new(unix_millis: u64) -> Self {
        Self {
            millis: unix_millis & MILLIS,
            random: fastrand::u64(..),
        }
    }

    /// How long ago the request arrived, in milliseconds; 0 for one that is still to come. Right for
    /// requests of the last seventeen years.
    pub fn age(self, now_millis: u64) -> u64 {
        let age = now_millis.wrapping_sub(self.millis) & MILLIS;
        if age > MILLIS / 2 { 0 } else { age }
    }

    /// A number that is spread evenly over all ids.
    pub(crate) fn spread(self) -> u64 {
        self.random
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "req_{:010x}{:016x}", self.millis, self.random)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of one attempt's reservation: the request's id and the number of the attempt, from 1.
/// Written as `req_…-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    /// The request.
    pub request: RequestId,
    /// Which attempt, from 1; 0 is no attempt, see [`AttemptId::lease`].
    pub number: u16,
}

impl AttemptId {
    /// The id of a hold that no request has yet: money that is taken in advance.
    pub fn lease(unix_millis: u64) -> Self {
        Self {
            request: RequestId::new(unix_millis),
            number: 0,
        }
    }

    /// Whether it is the id of one.
    pub fn is_lease(self) -> bool {
        self.number == 0
    }
}

impl std::str::FromStr for AttemptId {
    type Err = NameError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let parts = text
            .strip_prefix("req_")
            .and_then(|rest| rest.split_once('-'));
        let (digits, number) = parts.ok_or(NameError::BadCharacter)?;
        let hex = |range| {
            digits
                .get(range)
                .and_then(|part| u64::from_str_radix(part, 16).ok())
        };
        if digits.len() != 26 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NameError::BadCharacter);
        }
        match (hex(0..10), hex(10..26), number.parse()) {
            (Some(millis), Some(random), Ok(number)) => Ok(Self {
                request: RequestId { millis, random },
                number,
            }),
            _ => Err(NameError::BadCharacter),
        }
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.request, self.number)
    }
}
