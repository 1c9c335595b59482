//! Vectors by a model, which is asked through the gateway itself.
//!
//! Decides that a request for vectors is a request as any other, to this process's own listener: it is
//! routed, counted, billed to its agent and refused when that agent's budget is used up. What it cannot
//! get now is asked for again later.

use super::vector::Vector;
use crate::settings::embedding::EmbeddingModel;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect;
use serde::Deserialize;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Says whose budget pays.
const AGENT: HeaderName = HeaderName::from_static("x-agent-id");

/// Bytes of one text that are sent: models take about eight thousand tokens, and no token is
/// shorter than a byte.
const LONGEST: usize = 8_000;

/// The largest answer, in bytes: 512 vectors of 3,072 numbers with twenty digits would be half of it.
const LARGEST: usize = 64 << 20;

/// Why there are no vectors.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The request or a text in it was refused, and would be again.
    #[error("it was refused with status {0}")]
    Refused(u16),
    /// Not now: no budget, too many requests, or nobody there.
    #[error("it was answered with status {0}")]
    Later(u16),
    /// There was no answer.
    #[error("there was no answer: {0}")]
    Unreachable(String),
    /// What came back is not a vector of 384 numbers for every text.
    #[error(
        "the answer is not {} numbers for each text; a model that can do several sizes needs `dimensions: {}`",
        super::DIMENSIONS,
        super::DIMENSIONS
    )]
    Answer,
}

/// A model behind this gateway.
pub struct Model {
    http: reqwest::Client,
    url: String,
    settings: EmbeddingModel,
    name: String,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    embedding: Vec<f32>,
}

impl Model {
    /// The model as it is reached at the gateway's own listener.
    ///
    /// # Errors
    /// [`ModelError::Unreachable`] when there can be no client.
    pub fn new(settings: &EmbeddingModel, listener: SocketAddr) -> Result<Self, ModelError> {
        let failed = |error: &dyn std::fmt::Display| ModelError::Unreachable(error.to_string());
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::try_from(&settings.agent).map_err(|error| failed(&error))?;
        headers.insert(AGENT, agent);
        if let Some(key) = &settings.api_key {
            let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()));
            let mut bearer = bearer.map_err(|_| failed(&"the key cannot be sent"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(settings.timeout)
            .pool_max_idle_per_host(1)
            .default_headers(headers)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            http,
            url: format!("http://{}/v1/embeddings", reachable(listener)),
            settings: settings.clone(),
            name: format!("model:{}", settings.name),
        })
    }

    /// The name of its vectors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many texts one request may have.
    pub fn batch(&self) -> usize {
        self.settings.batch
    }

    /// Whether answers get a vector, too.
    pub fn responses(&self) -> bool {
        self.settings.responses
    }

    /// Whose budget pays.
    pub fn agent(&self) -> &str {
        &self.settings.agent
    }

    /// The vectors of some texts, in their order. A vector without a direction is `None`.
    ///
    /// # Errors
    /// [`ModelError`]; nothing is tried again here.
    pub async fn embed(&self, texts: &[&str]) -> Result<Vec<Option<Vector>>, ModelError> {
        let failed =
            |error: reqwest::Error| ModelError::Unreachable(error.without_url().to_string());
        let input: Vec<&str> = texts.iter().map(|text| shortened(text)).collect();
        let mut body = json!({"model": self.settings.name, "input": input});
        if self.settings.dimensions {
            body["dimensions"] = super::DIMENSIONS.into();
        }
        let request = self
            .http
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let mut answer = request.send().await.map_err(failed)?;
        match answer.status().as_u16() {
            200 => {}
            status @ (400 | 413 | 422) => return Err(ModelError::Refused(status)),
            status => return Err(ModelError::Later(status)),
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > LARGEST {
                return Err(ModelError::Answer);
            }
            body.extend_from_slice(&part);
        }
        read(&body, texts.len())
    }
}

/// The vectors of an answer to so many texts.
fn read(body: &[u8], texts: usize) -> Result<Vec<Option<Vector>>, ModelError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| ModelError::Answer)?;
    let mut vectors: Vec<Option<Option<Vector>>> = vec![None; texts];
    for entry in answer.data {
        if entry.embedding.len() != super::DIMENSIONS {
            return Err(ModelError::Answer);
        }
        let place = vectors.get_mut(entry.index).ok_or(ModelError::Answer)?;
        *place = Some(Vector::unit(entry.embedding));
    }
    let vectors: Option<Vec<_>> = vectors.into_iter().collect();
    vectors.ok_or(ModelError::Answer)
}

/// As much of a text as is sent.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// Where a listener is reached from this machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn entry(index: usize, numbers: usize) -> Value {
        json!({"object": "embedding", "index": index, "embedding": vec![0.5; numbers]})
    }

    fn answer(data: &[Value]) -> Vec<u8> {
        json!({"object": "list", "data": data, "model": "m"})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn an_answer_in_any_order_is_read_in_the_order_of_the_texts() {
        let mut second = entry(1, 384);
        second["embedding"][0] = (-9.0).into();
        let vectors = read(&answer(&[second, entry(0, 384)]), 2).unwrap();
        assert!(vectors[0].as_ref().unwrap().numbers()[0] > 0.0);
        assert!(vectors[1].as_ref().unwrap().numbers()[0] < 0.0);
    }

    #[test]
    fn an_answer_of_another_shape_is_none() {
        for body in [
            answer(&[entry(0, 384)]),
            answer(&[entry(0, 384), entry(2, 384)]),
            answer(&[entry(0, 384), entry(1, 1536)]),
            b"{}".to_vec(),
            b"not json".to_vec(),
        ] {
            assert!(matches!(read(&body, 2), Err(ModelError::Answer)));
        }
    }

    #[test]
    fn a_listener_of_all_addresses_is_reached_over_loopback() {
        for (listener, reached) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("10.0.0.7:8080", "10.0.0.7:8080"),
        ] {
            assert_eq!(
                reachable(listener.parse().unwrap()),
                reached.parse().unwrap()
            );
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(LONGEST);
        assert_eq!(shortened(&text).len(), LONGEST);
        assert_eq!(shortened("short"), "short");
    }
}
