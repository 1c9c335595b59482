//! Asks a service of somebody else's whether a text is an attack.
//!
//! Decides how it is asked (as OpenAI's moderations are) and what its answer means; what becomes of a
//! request is decided by those who ask. Neither the text nor the answer is logged.

use crate::policy::guard::Classifier;
use once_cell::sync::OnceCell;
use reqwest::redirect;
use serde::Deserialize;
use serde_json::json;

/// The most bytes of text that are sent: the end of it, which is the newest.
const MOST: usize = 64 << 10;

/// The most bytes of its answer that are read.
const LARGEST: usize = 1 << 20;

/// The way to such services.
#[derive(Default)]
pub struct Asking {
    http: OnceCell<reqwest::Client>,
}

/// It did not judge.
#[derive(Debug, thiserror::Error)]
pub enum Unjudged {
    /// It could not be asked.
    #[error("it cannot be reached: {0}")]
    Away(String),
    /// It answered something else.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Its answer has no verdict.
    #[error("its answer is no moderation")]
    Nonsense,
}

#[derive(Deserialize)]
struct Moderation {
    results: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    flagged: bool,
}

impl Asking {
    /// The newest of the texts that it calls an attack, by its number. Where it does not say which it is, all that
    /// it was shown; nothing where it calls none so.
    ///
    /// # Errors
    /// When it did not say, within its time.
    pub async fn flags(
        &self,
        classifier: &Classifier,
        texts: &[&str],
    ) -> Result<Vec<usize>, Unjudged> {
        let away = |error: reqwest::Error| Unjudged::Away(error.without_url().to_string());
        let http = self.http.get_or_try_init(|| {
            reqwest::Client::builder()
                .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .build()
        });
        let http = http.map_err(away)?;
        let shown = newest(texts);
        let input: Vec<&str> = shown.iter().map(|(_, text)| *text).collect();
        let mut body = json!({ "input": input });
        if let Some(model) = &classifier.model {
            body["model"] = json!(model);
        }
        let mut request = http
            .post(&classifier.url.text)
            .timeout(classifier.timeout)
            .json(&body);
        if let Some(key) = &classifier.api_key {
            request = request.bearer_auth(key.expose());
        }
        let mut answer = request.send().await.map_err(away)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Unjudged::Status(status.as_u16()));
        }
        let mut said = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(away)? {
            if said.len() + piece.len() > LARGEST {
                return Err(Unjudged::Nonsense);
            }
            said.extend_from_slice(&piece);
        }
        let said: Moderation = serde_json::from_slice(&said).map_err(|_| Unjudged::Nonsense)?;
        if said.results.is_empty() {
            return Err(Unjudged::Nonsense);
        }
        Ok(flagged(&shown, &said.results))
    }
}

/// Which texts a verdict is about.
fn flagged(shown: &[(usize, &str)], results: &[Verdict]) -> Vec<usize> {
    let Some(last) = results.iter().rposition(|verdict| verdict.flagged) else {
        return Vec::new();
    };
    let blamed = if results.len() == shown.len() {
        &shown[last..=last]
    } else {
        shown
    };
    blamed.iter().map(|(number, _)| *number).collect()
}

/// The last texts with their numbers, as many as may be sent; the first of them may be cut.
fn newest<'t>(texts: &[&'t str]) -> Vec<(usize, &'t str)> {
    let mut room = MOST;
    let mut newest = Vec::new();
    for (number, text) in texts.iter().enumerate().rev() {
        let from = text.ceil_char_boundary(text.len().saturating_sub(room));
        let part = &text[from..];
        if !part.is_empty() {
            newest.push((number, part));
        }
        room -= part.len();
        if room == 0 {
            break;
        }
    }
    newest.reverse();
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_texts_are_sent_whole_characters_and_no_more_than_that() {
        assert_eq!(newest(&["a", "", "b"]), [(0, "a"), (2, "b")]);
        let long = "ä".repeat(MOST / 2);
        let sent = newest(&["first", &long, "b"]);
        let bytes: usize = sent.iter().map(|(_, text)| text.len()).sum();
        assert!((MOST - 1..=MOST).contains(&bytes), "{bytes}");
        assert_eq!(sent.last(), Some(&(2, "b")));
    }

    #[test]
    fn of_verdicts_on_each_text_the_newest_is_blamed_and_of_one_on_all_every_text() {
        let shown = [(0, "a"), (2, "b"), (3, "c")];
        let said = |flags: &[bool]| -> Vec<Verdict> {
            let one = |flagged: &bool| Verdict { flagged: *flagged };
            flags.iter().map(one).collect()
        };
        assert_eq!(flagged(&shown, &said(&[true, true, false])), [2]);
        assert_eq!(flagged(&shown, &said(&[true])), [0, 2, 3]);
        assert!(flagged(&shown, &said(&[false])).is_empty());
        assert!(flagged(&shown, &said(&[false; 3])).is_empty());
    }
}
