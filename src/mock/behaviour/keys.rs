//! The text of `key=value` pairs: which keys there are and how their values are read.

use super::{Behaviour, Cost, Cut, Dialect, Digested, UsageForm};
use crate::money::Nanos;

/// Why a `key=value` was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such key.
    #[error("unknown mock key `{key}`{hint}")]
    Unknown {
        /// What was written.
        key: String,
        /// The nearest key that exists, as a question.
        hint: String,
    },
    /// The key does not take this value.
    #[error("mock key `{key}` cannot be `{value}`: wanted {wanted}")]
    Value {
        /// The key.
        key: String,
        /// What was written.
        value: String,
        /// What would have been understood.
        wanted: &'static str,
    },
    /// Not of the form `key=value`.
    #[error("mock directive `{0}` is not key=value")]
    NotAPair(String),
    /// Keys that only make sense together.
    #[error("{0}")]
    Combination(&'static str),
}

const KEYS: &str = "chunks delay_ms lat_ms coalesce split crlf comment done gzip pad headers dialect model \
    fallback tokens_in tokens_out cached reasoning cache_write \
    cache_write_1h tool_use cost usage status code retry_after limit_source error_at \
    error_cost cut_at cut hang_at hang echo html redirect replay fail_first key tag body_sha text tool";

const FLAG: &str = "0 or 1";
const NUMBER: &str = "a whole number";

impl Behaviour {
    /// The defaults changed by `key=value` pairs separated by spaces.
    ///
    /// # Errors
    /// [`KeyError`] for the first pair that is not understood.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut behaviour = Self::default();
        behaviour.apply(text)?;
        behaviour.check()?;
        Ok(behaviour)
    }

    /// Changes this behaviour by `key=value` pairs separated by spaces.
    ///
    /// # Errors
    /// [`KeyError`] for the first pair that is not understood.
    pub fn apply(&mut self, text: &str) -> Result<(), KeyError> {
        for pair in text.split_ascii_whitespace() {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| KeyError::NotAPair(pair.to_owned()))?;
            self.set(key, value)?;
        }
        Ok(())
    }

    /// Changes this behaviour by a query string, percent-decoded.
    ///
    /// # Errors
    /// [`KeyError`] for the first pair that is not understood.
    pub fn apply_query(&mut self, query: &str) -> Result<(), KeyError> {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| KeyError::NotAPair(pair.to_owned()))?;
            self.set(&percent_decoded(key), &percent_decoded(value))?;
        }
        Ok(())
    }

    /// Changes this behaviour by the `[[key=value ...]]` directives in the first 8 KiB of a body,
    /// in their order. Other double brackets (nested JSON arrays) are passed over.
    ///
    /// # Errors
    /// [`KeyError`] for the first pair that is not understood.
    pub fn apply_directives(&mut self, body: &[u8]) -> Result<(), KeyError> {
        let mut rest = &body[..body.len().min(8192)];
        while let Some(start) = memchr::memmem::find(rest, b"[[") {
            rest = &rest[start + 2..];
            let key = rest
                .iter()
                .take_while(|b| b.is_ascii_lowercase() || **b == b'_')
                .count();
            if key == 0 || rest.get(key) != Some(&b'=') {
                continue;
            }
            let Some(end) = memchr::memmem::find(rest, b"]]") else {
                continue;
            };
            if let Ok(text) = std::str::from_utf8(&rest[..end]) {
                // Inside a JSON string, so quotes and slashes may be escaped.
                if text.contains('\\') {
                    self.apply(&text.replace("\\\"", "\"").replace("\\/", "/"))?;
                } else {
                    self.apply(text)?;
                }
            }
            rest = &rest[end..];
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), KeyError> {
        let wrong = |wanted: &'static str| KeyError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            wanted,
        };
        let number = || value.parse::<u64>().map_err(|_| wrong(NUMBER));
        let size = || {
            value
                .parse::<usize>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| wrong(NUMBER))
        };
        let flag = || match value {
            "1" | "on" | "true" => Ok(true),
            "0" | "off" | "false" => Ok(false),
            _ => Err(wrong(FLAG)),
        };
        let amount = || Nanos::parse_usd(value).map_err(|_| wrong("decimal dollars"));
        match key {
            "chunks" => self.chunks = number()?,
            "delay_ms" => self.delay_ms = number()?,
            "lat_ms" => self.lat_ms = number()?,
            "coalesce" => self.coalesce = flag()?,
            "split" => self.split = Some(size()?),
            "crlf" => self.crlf = flag()?,
            "comment" => self.comment = flag()?,
            "done" => self.done = Some(flag()?),
            "gzip" => self.gzip = flag()?,
            "pad" => self.pad = Some(size()?),
            "headers" => self.headers = value.parse().map_err(|_| wrong(NUMBER))?,
            "dialect" => {
                self.dialect = match value {
                    "openrouter" => Dialect::OpenRouter,
                    "openai" => Dialect::OpenAi,
                    _ => return Err(wrong("openrouter or openai")),
                }
            }
            "model" => self.model = Some(value.to_owned()),
            "fallback" => self.fallback = flag()?,
            "tokens_in" => self.tokens_in = Some(number()?),
            "tokens_out" => self.tokens_out = Some(number()?),
            "cached" => self.cached = number()?,
            "reasoning" => self.reasoning = number()?,
            "cache_write" => self.cache_write = number()?,
            "cache_write_1h" => self.cache_write_1h = number()?,
            "tool_use" => self.tool_use = number()?,
            "cost" => self.cost = cost(value).ok_or_else(|| wrong("dollars, off or wrong:TEXT"))?,
            "usage" => {
                self.usage = usage(value).ok_or_else(|| {
                    wrong("on, off, null, negative, huge, zero, twice, early or string")
                })?;
            }
            "status" => {
                self.status = Some(
                    value
                        .parse()
                        .ok()
                        .filter(|status| (300..=599).contains(status) && *status != 304)
                        .ok_or_else(|| wrong("a status from 300 to 599, not 304"))?,
                );
            }
            "code" => self.code = Some(value.to_owned()),
            "retry_after" => self.retry_after = Some(value.to_owned()),
            "limit_source" => self.limit_source = Some(value.to_owned()),
            "error_at" => self.error_at = Some(number()?),
            "error_cost" => self.error_cost = Some(amount()?),
            "cut_at" => self.cut_at = Some(number()?),
            "cut" => {
                self.cut = Some(match value {
                    "rst" => Cut::Reset,
                    "fin" => Cut::Close,
                    "accept" => Cut::Accept,
                    _ => return Err(wrong("rst, fin or accept")),
                });
            }
            "hang_at" => self.hang_at = Some(number()?),
            "hang" if value == "headers" => self.hang_headers = true,
            "hang" => return Err(wrong("headers (or use hang_at=N)")),
            "echo" if value == "auth" => self.echo_auth = true,
            "echo" => return Err(wrong("auth")),
            "html" => self.html = flag()?,
            "redirect" => self.redirect = Some(value.to_owned()),
            "replay" => {
                if value.is_empty() || value.starts_with('.') || value.contains(['/', '\\']) {
                    return Err(wrong("a file name inside the recorded directory"));
                }
                self.replay = Some(value.to_owned());
            }
            "fail_first" => self.fail_first = number()?,
            "key" => self.key = Some(value.to_owned()),
            "tag" => self.tag = Some(value.to_owned()),
            "body_sha" => {
                self.body_sha = match value {
                    "0" => Digested::Nothing,
                    "1" => Digested::Body,
                    "messages" => Digested::Messages,
                    _ => return Err(wrong("0, 1 or messages")),
                }
            }
            "text" => {
                let chunks = value.split('|').map(|chunk| chunk.replace('~', " "));
                self.text = Some(chunks.collect());
            }
            "tool" => {
                self.tool = match value {
                    "0" | "off" | "false" => 0,
                    "1" | "on" | "true" => 1,
                    "2" => 2,
                    _ => return Err(wrong("0, 1 or 2")),
                }
            }
            _ => {
                let near = KEYS
                    .split_ascii_whitespace()
                    .map(|known| (strsim::damerau_levenshtein(known, key), known))
                    .min()
                    .filter(|(distance, _)| *distance <= 2);
                return Err(KeyError::Unknown {
                    key: key.to_owned(),
                    hint: near.map_or_else(String::new, |(_, known)| format!(", is it `{known}`?")),
                });
            }
        }
        Ok(())
    }
}

fn cost(value: &str) -> Option<Cost> {
    if value == "off" {
        return Some(Cost::Off);
    }
    let Some(text) = value.strip_prefix("wrong:") else {
        return Nanos::parse_usd(value).ok().map(Cost::Exactly);
    };
    Some(Cost::Wrong(match text {
        "negative" => "-0.5".to_owned(),
        text if text.starts_with("raw:") => text["raw:".len()..].to_owned(),
        text if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() => {
            text.to_owned()
        }
        text => crate::mock::shape::quoted(text),
    }))
}

fn usage(value: &str) -> Option<UsageForm> {
    Some(match value {
        "on" | "1" => UsageForm::On,
        "off" | "0" => UsageForm::Off,
        "null" => UsageForm::Null,
        "negative" => UsageForm::Negative,
        "huge" => UsageForm::Huge,
        "zero" => UsageForm::Zero,
        "twice" => UsageForm::Twice,
        "early" => UsageForm::Early,
        "string" => UsageForm::Text,
        _ => return None,
    })
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (b'+', _) => {
                decoded.push(b' ');
                at += 1;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_named_with_what_was_probably_meant() {
        assert_eq!(
            Behaviour::parse("chunk=3").unwrap_err().to_string(),
            "unknown mock key `chunk`, is it `chunks`?"
        );
        assert!(matches!(
            Behaviour::parse("chunks"),
            Err(KeyError::NotAPair(_))
        ));
        assert!(matches!(
            Behaviour::parse("chunks=x"),
            Err(KeyError::Value { .. })
        ));
        assert!(matches!(
            Behaviour::parse("replay=../x"),
            Err(KeyError::Value { .. })
        ));
    }

    #[test]
    fn every_listed_key_is_understood() {
        for key in KEYS.split_ascii_whitespace() {
            let mut behaviour = Behaviour::default();
            let known = ["1", "503", "openai", "rst", "headers", "auth"]
                .iter()
                .any(|value| behaviour.set(key, value).is_ok());
            assert!(known, "{key}");
        }
    }

    #[test]
    fn keys_that_need_another_say_so() {
        for text in ["cut=rst", "fail_first=2", "error_cost=1", "code=a"] {
            assert!(
                matches!(Behaviour::parse(text), Err(KeyError::Combination(_))),
                "{text}"
            );
        }
        assert!(Behaviour::parse("cut=accept").is_ok());
    }

    #[test]
    fn a_wrong_cost_is_kept_as_the_json_text_to_send() {
        for (text, sent) in [
            ("negative", "-0.5"),
            ("-3", "-3"),
            ("1e400", "1e400"),
            ("NaN", "\"NaN\""),
            ("\"0.1\"", "\"0.1\""),
            ("raw:NaN", "NaN"),
            ("null", "null"),
        ] {
            let behaviour = Behaviour::parse(&format!("cost=wrong:{text}")).unwrap();
            assert_eq!(behaviour.cost, Cost::Wrong(sent.to_owned()));
        }
    }

    #[test]
    fn a_directive_is_found_between_nested_arrays_and_only_early() {
        let mut behaviour = Behaviour::default();
        let body =
            br#"{"x":[[1,2]],"m":"[[a b]] hi [[chunks=3 redirect=http:\/\/a\/]] [[chunks=5]]"}"#;
        behaviour.apply_directives(body).unwrap();
        assert_eq!(behaviour.chunks, 5);
        assert_eq!(behaviour.redirect.as_deref(), Some("http://a/"));
        let mut late = vec![b' '; 8190];
        late.extend_from_slice(b"[[chunks=7]]");
        behaviour.apply_directives(&late).unwrap();
        assert_eq!(behaviour.chunks, 5);
    }

    #[test]
    fn a_query_is_percent_decoded() {
        let mut behaviour = Behaviour::default();
        behaviour
            .apply_query("redirect=http%3A%2F%2Fa%2F&tag=a+b&chunks=2")
            .unwrap();
        assert_eq!(behaviour.redirect.as_deref(), Some("http://a/"));
        assert_eq!(behaviour.tag.as_deref(), Some("a b"));
        assert!(behaviour.apply_query("api=1").is_err());
    }
}
