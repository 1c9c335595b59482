//! Signing what leaves: the last thing that is done to the bytes of an answer.
//!
//! Decides when the header of an answer waits for its signature, and what becomes of an announced
//! length. Which answers are signed is the policy's, how is [`crate::signature`]'s.

use super::context::Admission;
use super::head::{announced_length, is_stream, unknown_length};
use super::receive::text;
use super::relay::joined;
use super::settle::Phase;
use super::upstream::now_millis;
use crate::answer::Answer;
use crate::identity::RequestId;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::signature::v1::{self, AT_END, Asked, Form, HEADER, NONCE, Seal};
use crate::signature::{Key, Signer, titan};
use crate::surface::Surface;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;
use std::sync::Arc;

/// Carries the signature of a whole answer.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static(HEADER);

/// How the answer to a request is signed. By default not at all.
#[derive(Default)]
pub(crate) struct Signing {
    titan: Option<Arc<Key>>,
    v1: Option<(Arc<Key>, Arc<Asked>)>,
    /// The answer that is on its way.
    signer: Option<Box<Signer>>,
}

impl Signing {
    /// For a request whose header was read.
    ///
    /// # Errors
    /// A nonce that cannot be signed.
    pub(crate) fn of(
        policy: &Policy,
        surface: Surface,
        request: &RequestHeader,
        id: RequestId,
    ) -> Result<Self, Refusal> {
        let signatures = &policy.signatures;
        let titan = signatures.titan(surface).cloned();
        let asked = request.headers.contains_key(NONCE);
        let Some(key) = signatures.v1(surface, asked) else {
            return Ok(Self {
                titan,
                ..Self::default()
            });
        };
        let nonce = text(&request.headers, NONCE);
        if asked && !nonce.is_some_and(v1::is_nonce) {
            return Err(Refusal::BadRequest(
                "x-weir-nonce must be 1 to 128 letters, digits or any of -_.~+/=",
            ));
        }
        let asked = Asked {
            method: request.method.to_string(),
            path: String::from_utf8_lossy(request.raw_path()).into_owned(),
            request_id: id.to_string(),
            nonce: nonce.map(str::to_owned),
            body: None,
        };
        Ok(Self {
            titan,
            v1: Some((Arc::clone(key), Arc::new(asked))),
            signer: None,
        })
    }

    /// The body that is going to be answered.
    pub(crate) fn read(&mut self, body: &[u8]) {
        if let Some((_, asked)) = &mut self.v1 {
            Arc::make_mut(asked).body = Some(v1::digest(body));
        }
    }

    /// Whether something comes after the last event of a stream.
    pub(super) const fn closes_streams(&self) -> bool {
        self.v1.is_some()
    }

    /// Signs an answer of Weir's own.
    pub(super) fn own(&self, answer: &mut Answer) {
        let Some(mut seal) = self.seal(Form::Whole, answer.status) else {
            return;
        };
        seal.update(&answer.body);
        let stamp = HeaderValue::try_from(seal.header(now_millis()));
        answer.headers.extend(stamp.map(|stamp| (SIGNATURE, stamp)));
    }

    fn seal(&self, form: Form, status: StatusCode) -> Option<Seal> {
        let (key, asked) = self.v1.as_ref()?;
        let (key, asked) = (Arc::clone(key), Arc::clone(asked));
        Some(Seal::new(key, asked, form, status.as_u16()))
    }

    /// Prepares for an answer whose header is ready for the client.
    ///
    /// # Errors
    /// When a header of ours cannot be written.
    pub(super) fn begin(
        &mut self,
        response: &mut ResponseHeader,
        admission: &mut Admission,
    ) -> Result<()> {
        let success = response.status.is_success();
        let form = if success && is_stream(response) {
            Form::Stream
        } else {
            Form::Whole
        };
        let titan = self.titan.clone().filter(|_| success);
        let seal = self.seal(form, response.status);
        if titan.is_none() && seal.is_none() {
            return Ok(());
        }
        let length = announced_length(response);
        if form == Form::Stream {
            if seal.is_some() {
                response.insert_header(SIGNATURE, AT_END)?;
            }
            if length.is_some() {
                unknown_length(response, admission)?;
            }
        } else if length == Some(0) || matches!(response.status.as_u16(), 204 | 304) {
            // Nothing follows that could be waited for.
            if let Some(seal) = seal {
                response.insert_header(SIGNATURE, seal.header(now_millis()))?;
            }
            return Ok(());
        }
        let announced = form == Form::Whole && length.is_some();
        if let (Some(length), true, true) = (length, announced, titan.is_some()) {
            let length = HeaderValue::from(length.saturating_add(titan::ROOM));
            response.insert_header(header::CONTENT_LENGTH, length)?;
        }
        let signer = Signer::new(form, titan, seal, announced);
        if signer.header_waits() {
            admission.link.keep_back();
            if admission.exchange.phase() == Phase::Dispatched {
                // The answer has begun, though nothing of it is to be seen: there is no other attempt.
                admission.exchange.enter(Phase::Answering);
            }
        }
        self.signer = Some(Box::new(signer));
        Ok(())
    }

    /// Signs a piece of an answer; `done` when it is the last one.
    pub(super) fn pass(
        &mut self,
        piece: Option<Bytes>,
        done: bool,
        admission: &Admission,
    ) -> Option<Bytes> {
        let Some(signer) = &mut self.signer else {
            return piece;
        };
        if admission.again {
            // Another model takes over: this answer is dropped.
            self.signer = None;
            return piece;
        }
        let waited = signer.header_waits();
        let mut out = signer.push(piece.unwrap_or_default());
        if done {
            if let Some(status) = admission.link.status() {
                signer.set_status(status.as_u16());
            }
            let closing = signer.finish(now_millis());
            out = joined(out, closing.last).unwrap_or_default();
            let header = closing.header.map(HeaderValue::try_from);
            if let Some(Ok(header)) = header {
                admission.link.put(SIGNATURE, header);
            }
        }
        if waited && !signer.header_waits() {
            admission.link.release();
        }
        (!out.is_empty()).then_some(out)
    }

    /// Signs the last bytes of a stream that broke off, `last` being what is said about it.
    pub(super) fn broken_off(&mut self, last: Bytes) -> Bytes {
        let Some(signer) = &mut self.signer else {
            return last;
        };
        let out = signer.push(last);
        joined(out, signer.finish(now_millis()).last).unwrap_or_default()
    }
}
