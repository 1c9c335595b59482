//! The header of an answer, as `curl -D` saves it.

use anyhow::Context as _;

/// The header of the final answer among those that were saved.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) request_id: String,
    pub(super) content_type: String,
    /// Every signature there is; more than one is one too many.
    pub(super) signatures: Vec<String>,
}

impl Head {
    /// Reads the last header of the file that is not informational.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut last: Option<Self> = None;
        for line in text.lines() {
            let line = line.trim_end_matches('\r');
            if let Some(rest) = line.strip_prefix("HTTP/") {
                let status = rest
                    .split(' ')
                    .nth(1)
                    .and_then(|status| status.parse().ok());
                let status: u16 = status.context("a status line cannot be read")?;
                if status >= 200 {
                    last = Some(Self {
                        status,
                        ..Self::default()
                    });
                }
                continue;
            }
            let (Some(head), Some((name, value))) = (&mut last, line.split_once(':')) else {
                continue;
            };
            let value = value.trim_matches([' ', '\t']).to_owned();
            match name.to_ascii_lowercase().as_str() {
                crate::signature::v1::HEADER => head.signatures.push(value),
                "x-weir-request-id" => head.request_id = value,
                "content-type" => head.content_type = value,
                _ => {}
            }
        }
        last.context("there is no header of an answer in the file of --headers")
    }

    /// Whether the body is a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        self.content_type
            .to_ascii_lowercase()
            .starts_with("text/event-stream")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_header_counts() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    X-Weir-Request-Id: req_1\r\nx-weir-signature:  v1 at-end \r\n\r\n";
        let head = Head::parse(text).unwrap();
        assert_eq!((head.status, head.request_id.as_str()), (200, "req_1"));
        assert!(head.is_stream());
        assert_eq!(head.signatures, ["v1 at-end"]);
        let head = Head::parse("HTTP/2 402 \ncontent-type: application/json\n").unwrap();
        assert_eq!((head.status, head.is_stream()), (402, false));
        for broken in ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1\n", "x: y"] {
            assert!(Head::parse(broken).is_err(), "{broken}");
        }
    }
}
