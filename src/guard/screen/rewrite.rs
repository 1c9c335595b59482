//! JSON and events with some of their strings changed, and everything else as it was.

use std::ops::Range;

/// What stands in the place of a part of a document.
pub(super) enum Part {
    /// The text of a string, without its quotation marks.
    Text(String),
    /// JSON.
    Raw(&'static str),
}

/// The document with its parts replaced.
pub(super) fn document(json: &str, mut parts: Vec<(Range<usize>, Part)>) -> String {
    parts.sort_by_key(|(at, _)| at.start);
    let mut out = String::with_capacity(json.len() + 64);
    let mut from = 0;
    for (at, part) in parts {
        if at.start < from {
            continue;
        }
        out.push_str(&json[from..at.start]);
        match part {
            Part::Text(text) => out.push_str(&quoted(&text)),
            Part::Raw(raw) => out.push_str(raw),
        }
        from = at.end;
    }
    out.push_str(&json[from..]);
    out
}

/// A text as it stands between the quotation marks of a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = serde_json::to_string(text).unwrap_or_default();
    quoted.pop();
    if !quoted.is_empty() {
        quoted.remove(0);
    }
    quoted
}

/// The data of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// There is none: comments, or nothing at all.
    None,
    /// One line, and where its value is.
    Line(Range<usize>),
    /// Several lines, joined.
    Lines(Vec<u8>),
}

/// Finds the data of an event, which may begin with a byte order mark.
pub(super) fn data(event: &[u8]) -> Data {
    let mut found: Option<Range<usize>> = None;
    let mut joined: Option<Vec<u8>> = None;
    let mut at = if event.starts_with(b"\xEF\xBB\xBF") {
        3
    } else {
        0
    };
    while at < event.len() {
        let end =
            memchr::memchr2(b'\n', b'\r', &event[at..]).map_or(event.len(), |length| at + length);
        if let Some(value) = value(&event[at..end]) {
            let value = at + value..end;
            match (&mut joined, &found) {
                (Some(joined), _) => {
                    joined.push(b'\n');
                    joined.extend_from_slice(&event[value]);
                }
                (None, Some(first)) => {
                    joined = Some([&event[first.clone()], b"\n", &event[value]].concat())
                }
                (None, None) => found = Some(value),
            }
        }
        at = end + 1;
    }
    match (joined, found) {
        (Some(lines), _) => Data::Lines(lines),
        (None, Some(line)) => Data::Line(line),
        (None, None) => Data::None,
    }
}

/// Where the value of a data line begins; `None` for any other line.
fn value(line: &[u8]) -> Option<usize> {
    match line.strip_prefix(b"data")? {
        [] => Some(4),
        [b':', b' ', ..] => Some(6),
        [b':', ..] => Some(5),
        _ => None,
    }
}

/// Whether an event consists of comments and empty lines.
pub(super) fn is_comment(event: &[u8]) -> bool {
    let mut lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    lines.all(|line| line.is_empty() || line[0] == b':')
}

/// The event with other data, in lines of its own.
pub(super) fn event(event: &[u8], data: &Data, json: &str) -> Vec<u8> {
    if let Data::Line(at) = data {
        return [&event[..at.start], json.as_bytes(), &event[at.end..]].concat();
    }
    let mut out = Vec::with_capacity(event.len() + json.len());
    for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if !line.is_empty() && value(line).is_none() {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    for line in json.split('\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_an_event_is_found_and_replaced() {
        let line = b"event: x\r\ndata: {\"a\":1}\r\n\r\n";
        let Data::Line(at) = data(line) else { panic!() };
        assert_eq!(&line[at.clone()], b"{\"a\":1}");
        assert_eq!(
            event(line, &Data::Line(at), "{}"),
            b"event: x\r\ndata: {}\r\n\r\n"
        );
        let lines = b"data: {\ndata: \"a\":1}\nid: 7\n\n";
        assert_eq!(data(lines), Data::Lines(b"{\n\"a\":1}".to_vec()));
        assert_eq!(
            event(lines, &data(lines), "{\n}"),
            b"id: 7\ndata: {\ndata: }\n\n"
        );
        assert_eq!(data(b": ping\n\n"), Data::None);
        assert!(is_comment(b": ping\n\n") && !is_comment(b"id: 1\n\n"));
    }

    #[test]
    fn only_what_is_replaced_changes() {
        let json = r#"{ "a" : "x\u0041", "l":[1], "b":"y" }"#;
        let at = |part: &str| {
            json.find(part)
                .map(|start| start..start + part.len())
                .unwrap()
        };
        let parts = vec![
            (at("y"), Part::Text("\"\n".into())),
            (at("[1]"), Part::Raw("null")),
        ];
        assert_eq!(
            document(json, parts),
            r#"{ "a" : "x\u0041", "l":null, "b":"\"\n" }"#
        );
    }
}
