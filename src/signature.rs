//! Signatures of answers: the Model Gateway's `titan` scheme, and `v1`, which covers the whole
//! exchange.
//!
//! Decides which bytes are signed, how a signature is written, and whether one is right. What is signed
//! is what leaves: [`Signer`] sees an answer after everybody else. Which answers are signed with which
//! keys is the policy's ([`crate::policy::signatures`]); the clock and the sockets are the proxy's.
//! `docs/signatures.md` has both schemes byte by byte.

mod content;
mod events;
mod signer;
pub mod titan;
pub mod v1;

pub use signer::Signer;

use crate::secret::KeyDigest;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;

/// The fewest bytes of a secret that answers are signed with.
pub const SHORTEST_SECRET: usize = 32;

/// The longest id of a key, in bytes.
const LONGEST_ID: usize = 64;

/// The largest whole answer that is kept to be signed, in bytes. The same is read for its bill.
pub const LARGEST_WHOLE: usize = 16 << 20;

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id is part of a line that is read back word by word.
    #[error("must be 1 to {LONGEST_ID} letters, digits, `-`, `_` or `.`")]
    Id,
    /// There is no secret.
    #[error("the secret is empty")]
    Empty,
}

/// A key: its id, and what HMAC-SHA256 makes of its secret, computed once.
#[derive(Clone)]
pub struct Key {
    id: String,
    digest: KeyDigest,
    state: Hmac<Sha256>,
}

impl fmt::Debug for Key {
    /// Its id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.digest == other.digest
    }
}

impl Key {
    /// A key of that id. Secrets of any length verify; those that sign should have
    /// [`SHORTEST_SECRET`] bytes.
    ///
    /// # Errors
    /// An id that cannot be written, or no secret.
    pub fn new(id: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(plain) {
            return Err(KeyError::Id);
        }
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        // HMAC takes keys of every length.
        let state = Hmac::new_from_slice(secret).map_err(|_| KeyError::Empty)?;
        Ok(Self {
            id: id.to_owned(),
            digest: KeyDigest::of(secret),
            state,
        })
    }

    /// Its public id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The HMAC-SHA256 of `text`, as 64 lower-case hexadecimal digits.
    pub fn sign(&self, text: &[u8]) -> String {
        let mut mac = self.state.clone();
        mac.update(text);
        hex(&mac.finalize().into_bytes())
    }

    /// Whether `signature` is what [`Key::sign`] gives. Takes the same time wherever they differ.
    pub fn verifies(&self, text: &[u8], signature: &str) -> bool {
        let Some(bytes) = unhex(signature) else {
            return false;
        };
        let mut mac = self.state.clone();
        mac.update(text);
        mac.verify_slice(&bytes).is_ok()
    }
}

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// The 32 bytes that 64 lower-case hexadecimal digits stand for.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
