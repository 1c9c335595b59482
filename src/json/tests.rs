use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

fn check(text: &str) -> Result<Object<'_>, JsonError> {
    object(text.as_bytes(), Limits::default())
}

fn reason(text: &str) -> &'static str {
    check(text).unwrap_err().reason
}

#[test]
fn fields_keep_their_order_and_their_bytes() {
    let text = " {\"b\" : [1, 2 ] ,\n\"a\":{\"x\":\"}\"},\"\\u0063\":1.50,\"d\":null} \n";
    let object = check(text).unwrap();
    let fields: Vec<_> = object
        .iter()
        .map(|field| (&*field.key, field.raw_key, field.value))
        .collect();
    assert_eq!(
        fields,
        [
            ("b", "\"b\"", "[1, 2 ]"),
            ("a", "\"a\"", "{\"x\":\"}\"}"),
            ("c", "\"\\u0063\"", "1.50"),
            ("d", "\"d\"", "null"),
        ]
    );
    assert_eq!((object.get("c"), object.get("e")), (Some("1.50"), None));
    assert_eq!(check("{}").unwrap().iter().count(), 0);
}

#[test]
fn what_readers_disagree_about_is_refused() {
    for (text, expected) in [
        ("{\"a\":1,\"a\":2}", "duplicate key"),
        ("{\"a\":1,\"\\u0061\":2}", "duplicate key"),
        ("{\"x\":[{\"a\":{},\"b\":0,\"a\":{}}]}", "duplicate key"),
        ("{\"a\":\"\\ud83d\"}", "lone surrogate in a string"),
        ("{\"a\":\"\\ud83d\\u0041\"}", "lone surrogate in a string"),
        ("{\"a\":\"\\ude00\"}", "lone surrogate in a string"),
        ("{\"\\ude00\":1}", "lone surrogate in a string"),
        ("{\"a\":1e400}", "number out of range"),
        ("{\"a\":-1e400}", "number out of range"),
        ("{\"a\":NaN}", "expected a value"),
        ("{\"a\":Infinity}", "expected a value"),
        ("{\"a\":-Infinity}", "invalid number"),
        ("\u{FEFF}{}", "not an object"),
        ("{\"a\":\"\t\"}", "control character in a string"),
        ("{\"a\":1}{", "unexpected bytes after the object"),
        ("{\"a\":1}\0", "unexpected bytes after the object"),
        ("[]", "not an object"),
        ("\"a\"", "not an object"),
        ("", "not an object"),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
    assert_eq!(
        object(b"{\"a\":\"\xFF\"}", Limits::default()),
        Err(JsonError::new("invalid UTF-8", 6))
    );
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":[1,]}",
        "{\"a\":[,]}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":-}",
        "{\"a\":0x1}",
        "{\"a\":tru}",
        "{\"a\":truex}",
        "{\"a\":nul}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\",
        "{\"a\":\"",
        "{'a':1}",
        "{\"a\":1}//",
        "{\"a\":[}",
        "{\"a\":{]}",
        "{\"a\":1]",
        "{\"a\":\"\\ud83d\\u12",
        "{\"a\":1 \"b\":2}",
        "{\"a\":[1 2]}",
        "{\"a\"::1}",
        "}",
        "{}}",
    ] {
        assert!(check(text).is_err(), "{text}");
        assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
    }
}

#[test]
fn depth_is_limited_and_costs_no_stack() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(check(&nested(63)).is_ok());
    assert_eq!(reason(&nested(64)), "nested too deeply");
    let deep = nested(1_000_000);
    assert!(object(deep.as_bytes(), Limits { depth: 2_000_000 }).is_ok());
}

#[test]
fn numbers_are_compared_with_the_range_of_f64_only_when_they_might_leave_it() {
    let long = "9".repeat(308);
    let longer = "9".repeat(310);
    for (number, fits) in [
        ("1.7976931348623157e308", true),
        ("1.8e308", false),
        ("0e999999999999", true),
        ("1e-999999", true),
        (long.as_str(), true),
        (longer.as_str(), false),
    ] {
        assert_eq!(
            check(&format!("{{\"a\":{number}}}")).is_ok(),
            fits,
            "{number}"
        );
    }
}

#[test]
fn a_duplicate_among_many_keys_is_found() {
    for count in [15, 16, 17, 18, 100] {
        for twice in [0, 14, count - 1] {
            let mut text = String::from("{\"o\":{");
            for key in 0..count {
                write!(text, "\"k{key}\":[{{\"z\":1}}],").unwrap();
            }
            let good = format!("{text}\"last\":1}},\"p\":0}}");
            assert!(check(&good).is_ok(), "{count}");
            let bad = format!("{text}\"k{twice}\":1}}}}");
            assert_eq!(reason(&bad), "duplicate key", "{count} {twice}");
        }
    }
}

#[test]
fn parts_that_are_not_text_are_counted_however_they_are_written() {
    let parts = |content: &str| {
        let text = format!(
            r#"{{"x":1,"messages":[{{"role":"user","content":"s"}},{{"content":{content}}}]}}"#
        );
        let object = check(&text).unwrap();
        assert_eq!(object.messages(), Some(2));
        object.media_parts()
    };
    assert_eq!(
        parts(r#"[{"type":"text","text":"a"},{"type":"input_text"},{"type":"refusal"}]"#),
        0
    );
    assert_eq!(parts(r#"[{"typ\u0065":"te\u0078t"}]"#), 0);
    assert_eq!(
        parts(r#"[{"type":"image_url","image_url":{"type":"text"}}]"#),
        1
    );
    assert_eq!(
        parts(r#"[{"image_url":{"type":"text"},"type":"im\u0061ge_url"},{"type":"file"},{}]"#),
        3
    );
    assert_eq!(parts(r#"[{"type":["text"]},{"type":null},"text"]"#), 2);
    assert_eq!(parts(r#"{"type":"image_url"}"#), 0);
    let sound = r#"{"messages":[{"role":"assistant","audio":{"id":"a"}},{"audio":null}]}"#;
    assert_eq!(check(sound).unwrap().media_parts(), 1);
    let escaped =
        r#"{"mess\u0061ges":[{"cont\u0065nt":[{"type":"image_url"}]}],"content":[{"type":"x"}]}"#;
    assert_eq!(check(escaped).unwrap().media_parts(), 1);
    assert_eq!(
        check(r#"{"a":{"messages":[{}]}}"#).unwrap().messages(),
        None
    );
}

#[test]
fn strings_are_decoded() {
    assert_eq!(
        string(r#""a\n\"\u00e9\ud83d\ude00\\""#).as_deref(),
        Some("a\n\"é😀\\")
    );
    assert_eq!(string("1"), None);
    assert_eq!(string("\""), None);
    assert!(matches!(string("\"plain\""), Some(Cow::Borrowed("plain"))));
    assert_eq!(
        unescape("\\ud83d x \\q \\ü \\u12 \\"),
        "\u{FFFD} x \u{FFFD} \u{FFFD} \u{FFFD}12 \u{FFFD}"
    );
}

/// Any JSON value, with the characters that matter.
fn value() -> impl Strategy<Value = Value> {
    let text = "[a-c\"\\\\\u{0}\u{1f}\n é€😀/]{0,40}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((text, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Value> {
    proptest::collection::vec(("[a-d\"\\\\é]{0,3}", value()), 0..24)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
}

/// `value` as text, with every other non-ASCII or special character as an escape, and white space.
fn written(value: &Value, pretty: bool, escape: bool) -> String {
    let text = if pretty {
        serde_json::to_string_pretty(value).unwrap()
    } else {
        value.to_string()
    };
    if !escape {
        return text;
    }
    let mut out = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").unwrap();
            }
        }
    }
    out
}

/// Whether the stricter rules explain that text which serde_json accepts was refused.
fn stricter(reason: &str) -> bool {
    matches!(
        reason,
        "duplicate key" | "not an object" | "nested too deeply"
    )
}

proptest! {
    #[test]
    fn what_serde_writes_is_accepted_and_read_alike(value in document(), pretty: bool, escape: bool) {
        let text = written(&value, pretty, escape);
        let object = check(&text).unwrap();
        let read: Map<String, Value> = object
            .iter()
            .map(|field| {
                assert_eq!(string(field.raw_key).unwrap(), field.key);
                (field.key.to_string(), serde_json::from_str(field.value).unwrap())
            })
            .collect();
        prop_assert_eq!(Value::Object(read), serde_json::from_str::<Value>(&text).unwrap());
    }

    #[test]
    fn after_mutations_both_readers_agree(
        value in document(),
        escape: bool,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..4),
    ) {
        let mut bytes = written(&value, false, escape).into_bytes();
        for (index, byte, how) in edits {
            let at = index.index(bytes.len().max(1));
            let byte = b"\"\\{}[],:0e-.u\n dtn\xC3"[usize::from(byte) % 19];
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        let theirs = serde_json::from_slice::<Value>(&bytes);
        match object(&bytes, Limits::default()) {
            Ok(_) => prop_assert!(theirs.is_ok(), "{:?} {}", theirs, String::from_utf8_lossy(&bytes)),
            Err(error) => prop_assert!(
                theirs.is_err() || stricter(error.reason),
                "{:?} {}", error, String::from_utf8_lossy(&bytes)
            ),
        }
    }

    #[test]
    fn strings_end_where_they_end_at_any_alignment(
        text in "[a-z\"\\\\\u{1}\n😀]{0,90}", tail in "[a-z\"\\\\]{0,70}", escape: bool, at: prop::sample::Index,
    ) {
        let raw = written(&Value::from(text), false, escape);
        let escaped = raw.contains('\\');
        let all = format!("{raw}{tail}");
        prop_assert_eq!(text::check_string(all.as_bytes(), 1), Ok((raw.len(), escaped)));
        prop_assert_eq!(text::string_end(all.as_bytes(), 1), Some(raw.len() - 1));
        let open = &raw[..raw.len() - 1];
        prop_assert!(text::check_string(open.as_bytes(), 1).is_err());
        prop_assert_eq!(text::string_end(open.as_bytes(), 1), None);
        let mut bytes = all.into_bytes();
        let at = 1 + at.index(raw.len() - 1);
        bytes.insert(at, 0x1f);
        let found = text::check_string(&bytes, 1).unwrap_err();
        prop_assert!(found.at <= at && found.at + 12 > at, "{:?} {}", found, at);
    }

    #[test]
    fn decoding_agrees_with_serde(text in "\\PC{0,60}", escape: bool) {
        let raw = written(&Value::from(text.clone()), false, escape);
        prop_assert_eq!(string(&raw).unwrap(), text);
    }

    #[test]
    fn no_text_makes_the_decoder_or_the_cursor_panic(text in "[\\\\\"ud83e0{}\\[\\]:,é ]{0,40}") {
        let _ = unescape(&text);
        let _ = Cursor::new(&text).object(|_, value| value.skip().map(drop));
        let _ = Cursor::new(&text).skip();
    }
}
