//! The scheme `v1`: an answer with what it answers.
//!
//! Decides what is signed: form, key id, time, method, path, request id, status, the client's nonce, the
//! digest of the request's body and that of the answer's, every byte of it. A whole answer carries the
//! signature in its header. A stream, whose header is long gone when its end is known, carries it in a
//! comment line behind its last event; one that was cut off has none.

use super::{Key, hex, unhex};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;

/// The header that carries the signature of a whole answer.
pub const HEADER: &str = "x-weir-signature";

/// The header with which a client makes an answer its own.
pub const NONCE: &str = "x-weir-nonce";

/// What the header says of a stream, whose signature comes last.
pub const AT_END: &str = "v1 at-end";

/// What the last line of a signed stream begins with.
pub const COMMENT: &[u8] = b": weir-signature ";

/// The longest nonce, in bytes.
pub const LONGEST_NONCE: usize = 128;

/// Whether a nonce can be signed: it is a word of a line.
pub fn is_nonce(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_NONCE && text.bytes().all(plain) && text != "-"
}

/// The SHA-256 of some bytes, as it is signed.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// How an answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As one.
    Whole,
    /// As server-sent events.
    Stream,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Stream => "stream",
        }
    }
}

/// What was asked, as far as it is signed.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query, as they were sent.
    pub path: String,
    /// Weir's id of the request.
    pub request_id: String,
    /// The client's nonce.
    pub nonce: Option<String>,
    /// The [`digest`] of the request's body; nothing when it was not read.
    pub body: Option<String>,
}

/// A signature with what it says by itself. Written as
/// `v1 key=… t=… nonce=… request=… body=… mac=…`; a `-` stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The id of the key.
    pub key: String,
    /// When it was signed, in Unix milliseconds.
    pub millis: u64,
    /// The client's nonce.
    pub nonce: Option<String>,
    /// The digest of the request's body.
    pub request: Option<String>,
    /// The digest of the answer's body.
    pub body: String,
    /// The signature proper.
    pub mac: String,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "v1 key={} t={} nonce={} request={} body={} mac={}",
            self.key,
            self.millis,
            word(self.nonce.as_deref()),
            word(self.request.as_deref()),
            self.body,
            self.mac
        )
    }
}

fn word(text: Option<&str>) -> &str {
    text.unwrap_or("-")
}

impl Stamp {
    /// Reads exactly what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix("v1 ")?.split(' ');
        let mut next = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let some = |text: &str| (text != "-").then(|| text.to_owned());
        let stamp = Self {
            key: next("key")?.to_owned(),
            millis: next("t")?.parse().ok()?,
            nonce: some(next("nonce")?),
            request: some(next("request")?),
            body: next("body")?.to_owned(),
            mac: next("mac")?.to_owned(),
        };
        let digits = [Some(&stamp.body), Some(&stamp.mac), stamp.request.as_ref()];
        let sound = stamp.nonce.as_deref().is_none_or(is_nonce)
            && digits
                .into_iter()
                .flatten()
                .all(|digits| unhex(digits).is_some())
            && stamp.to_string() == text;
        sound.then_some(stamp)
    }

    /// The bytes that are signed.
    fn statement(&self, form: Form, asked: &Asked, status: u16) -> String {
        format!(
            "weir-v1\n{}\n{}\n{}\n{}\n{}\n{}\n{status}\n{}\n{}\n{}\n",
            form.name(),
            self.key,
            self.millis,
            asked.method,
            asked.path,
            asked.request_id,
            word(self.nonce.as_deref()),
            word(self.request.as_deref()),
            self.body,
        )
    }
}

/// An answer on its way, all bytes of which are signed at its end.
pub struct Seal {
    key: Arc<Key>,
    asked: Arc<Asked>,
    form: Form,
    status: u16,
    hash: Sha256,
    /// The last two bytes, so that the last line stands by itself.
    tail: [u8; 2],
}

impl Seal {
    /// For an answer of which nothing was sent.
    pub fn new(key: Arc<Key>, asked: Arc<Asked>, form: Form, status: u16) -> Self {
        Self {
            key,
            asked,
            form,
            status,
            hash: Sha256::new(),
            tail: *b"\n\n",
        }
    }

    /// The status has become another one, which the header that waited will have.
    pub const fn set_status(&mut self, status: u16) {
        self.status = status;
    }

    /// How the answer is framed.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Takes in bytes that are sent.
    pub fn update(&mut self, sent: &[u8]) {
        self.hash.update(sent);
        if let [.., before, last] = sent {
            self.tail = [*before, *last];
        } else if let [last] = sent {
            self.tail = [self.tail[1], *last];
        }
    }

    /// The signature of all that was sent by now.
    fn stamp(&self, now_millis: u64) -> Stamp {
        let mut stamp = Stamp {
            key: self.key.id().to_owned(),
            millis: now_millis,
            nonce: self.asked.nonce.clone(),
            request: self.asked.body.clone(),
            body: hex(&self.hash.clone().finalize()),
            mac: String::new(),
        };
        let statement = stamp.statement(self.form, &self.asked, self.status);
        stamp.mac = self.key.sign(statement.as_bytes());
        stamp
    }

    /// The value of [`HEADER`], for a whole answer.
    pub fn header(&self, now_millis: u64) -> String {
        self.stamp(now_millis).to_string()
    }

    /// The last bytes of a stream.
    pub fn comment(mut self, now_millis: u64) -> Vec<u8> {
        let mut last = Vec::with_capacity(400);
        if !matches!(self.tail[1], b'\n' | b'\r') {
            // A stream that ends within a line: the next one must not be a part of it.
            last.extend_from_slice(b"\n\n");
            self.update(b"\n\n");
        }
        last.extend_from_slice(COMMENT);
        last.extend_from_slice(self.stamp(now_millis).to_string().as_bytes());
        last.extend_from_slice(b"\n\n");
        last
    }
}

/// What is known of an answer that is to be checked.
#[derive(Clone, Debug)]
pub struct Received<'a> {
    /// What was asked. A nonce or a body's digest that is there must be the one that was signed.
    pub asked: &'a Asked,
    /// The status.
    pub status: u16,
    /// The value of [`HEADER`].
    pub header: Option<&'a str>,
    /// Whether it is a stream.
    pub form: Form,
    /// The body, every byte of it.
    pub body: &'a [u8],
}

/// What is wrong with an answer that was signed in this scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is no signature.
    #[error("no v1 signature in the header")]
    Unsigned,
    /// A stream without its last line.
    #[error("no v1 signature at the end: the stream was cut off, added to, or never signed")]
    CutOff,
    /// The signature is not written as signatures are.
    #[error("the signature cannot be read: it was changed")]
    Unreadable,
    /// It is by a key that is not known here.
    #[error("signed with the key `{0}`, which is not known here")]
    UnknownKey(String),
    /// The body is another one.
    #[error("the body is not the one that was signed: it was changed or cut off")]
    Body,
    /// The answer is one to another request.
    #[error("the nonce is not the one that was sent: this answers another request")]
    Nonce,
    /// The answer is one to another request.
    #[error("the request's body is not the one that was answered")]
    Request,
    /// The request was refused before its body was read.
    #[error("the answer is not bound to the body of a request: it was given before one was read")]
    Unbound,
    /// Something else that was signed is another one, or the secret is.
    #[error(
        "the signature is wrong: method, path, request id, status, form, time, nonce or a digest was changed, or the secret is another one"
    )]
    Mac,
}

/// Checks an answer.
///
/// # Errors
/// What is wrong with it.
pub fn verify(keys: &[Arc<Key>], received: &Received<'_>) -> Result<Stamp, Flaw> {
    let (text, body) = match received.form {
        Form::Whole => (received.header.ok_or(Flaw::Unsigned)?, received.body),
        Form::Stream => last_line(received.body).ok_or(Flaw::CutOff)?,
    };
    let stamp = Stamp::parse(text).ok_or(Flaw::Unreadable)?;
    let mut named = keys.iter().filter(|key| key.id() == stamp.key).peekable();
    if named.peek().is_none() {
        return Err(Flaw::UnknownKey(stamp.key));
    }
    if stamp.body != digest(body) {
        return Err(Flaw::Body);
    }
    let asked = received.asked;
    if asked.nonce.is_some() && asked.nonce != stamp.nonce {
        return Err(Flaw::Nonce);
    }
    let statement = stamp.statement(received.form, asked, received.status);
    if !named.any(|key| key.verifies(statement.as_bytes(), &stamp.mac)) {
        return Err(Flaw::Mac);
    }
    match (&asked.body, &stamp.request) {
        (Some(_), None) => Err(Flaw::Unbound),
        (Some(sent), Some(answered)) if sent != answered => Err(Flaw::Request),
        _ => Ok(stamp),
    }
}

/// The signature in the last line of a stream, and everything before that line.
fn last_line(body: &[u8]) -> Option<(&str, &[u8])> {
    let rest = body.strip_suffix(b"\n\n")?;
    let start = rest
        .iter()
        .rposition(|byte| matches!(byte, b'\n' | b'\r'))
        .map_or(0, |at| at + 1);
    let signature = rest[start..].strip_prefix(COMMENT)?;
    Some((std::str::from_utf8(signature).ok()?, &body[..start]))
}
