mod of_v1;
mod properties;

use super::titan::verify;
use super::v1::{Asked, Form, Received, Seal, Stamp};
use super::*;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn key() -> Arc<Key> {
    Arc::new(Key::new("k1", SECRET.as_bytes()).unwrap())
}

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/data/titan/hmac_vectors.json")).unwrap()
}

fn signed(
    form: Form,
    titan: bool,
    seal: Option<Seal>,
    pieces: &[&[u8]],
    announced: bool,
) -> (Vec<u8>, Option<String>) {
    let mut signer = Signer::new(form, titan.then(key), seal, announced);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&signer.push(Bytes::copy_from_slice(piece)));
    }
    let closing = signer.finish(1_700_000_000_123);
    out.extend_from_slice(&closing.last);
    (out, closing.header)
}

/// The same bytes in pieces of that size.
fn pieces(bytes: &[u8], size: usize) -> Vec<&[u8]> {
    bytes.chunks(size.max(1)).collect()
}

fn stream(text: &str, size: usize) -> String {
    let (out, _) = signed(
        Form::Stream,
        true,
        None,
        &pieces(text.as_bytes(), size),
        false,
    );
    String::from_utf8(out).unwrap()
}

fn events(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    super::events::data_events(text.as_bytes(), |data| {
        found.extend(serde_json::from_slice::<Value>(data).ok());
        Ok::<(), ()>(())
    })
    .unwrap();
    found
}

#[test]
fn every_vector_comes_out() {
    for vector in vectors() {
        let text = |name: &str| vector[name].as_str().unwrap().to_owned();
        let key = Key::new("seed", text("secret").as_bytes()).unwrap();
        let chunk = text("chunk");
        assert_eq!(key.sign(chunk.as_bytes()), text("signature_nonstream"));
        let choices = json!([{"delta": {"content": chunk}}]).to_string();
        let seq = vector["seq"].as_u64().unwrap();
        let mut statement = titan::Statement::new();
        let signed = statement.of(&choices, seq).unwrap();
        assert_eq!(signed, text("signed_bytes"));
        assert_eq!(key.sign(signed.as_bytes()), text("x_signature"));
        assert!(key.verifies(signed.as_bytes(), &text("x_signature")));
    }
}

#[test]
fn text_is_escaped_as_python_escapes_it_however_it_was_written() {
    for (inner, written) in [
        ("plain ~", "plain ~"),
        (r#"\"\\\/\b\f\n\r\t"#, r#"\"\\/\b\f\n\r\t"#),
        ("\u{7f}é€🙂", r"\u007f\u00e9\u20ac\ud83d\ude42"),
        (
            r"\u00E9\u20AC\uD83D\uDE42\u0041\u0022\u000a",
            r#"\u00e9\u20ac\ud83d\ude42A\"\n"#,
        ),
        // Half of a pair, as some providers cut it: Python's reader keeps it, and so is it signed.
        (r"\ud83d", r"\ud83d"),
        (r"\u00", r"\ufffd00"),
    ] {
        let mut out = String::new();
        content::python(inner, &mut out);
        assert_eq!(out, written, "{inner}");
    }
}

#[test]
fn chunks_keep_every_byte_and_get_two_members() {
    let text = "data: {\"id\":\"a\",\"unknown\":[1, 2.50],\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}] }\n\n\
                : keep-alive\n\n\
                event: x\r\nid: }\r\ndata:{\"choices\":[]}\r\nretry: 1\r\n\r\n\
                data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"arguments\":\"}\"}}]}}]}\r\r\
                data: {\"done\":true,\"usage\":{}}\n\ndata: {\"error\":\"x\"}\n\ndata: [DONE]\n\n";
    for size in [1, 2, 7, 40, 10_000] {
        let out = stream(text, size);
        let mut stripped = out.clone();
        for (seq, event) in events(&out)
            .iter()
            .filter(|e| e["choices"].is_array())
            .enumerate()
        {
            let signature = event["x_signature"].as_str().unwrap();
            assert_eq!(event["x_seq"], seq);
            let members = format!(",\"x_signature\":\"{signature}\",\"x_seq\":{seq}");
            assert_eq!(stripped.matches(&members).count(), 1);
            stripped = stripped.replace(&members, "");
        }
        assert_eq!(stripped, text, "in pieces of {size}");
        let checked = verify(&[key()], true, out.as_bytes()).unwrap();
        assert_eq!((checked.signatures, checked.key.as_str()), (3, "k1"));
    }
}

#[test]
fn content_is_that_of_every_choice_and_of_parts_and_legacy_texts() {
    let content = |choices: Value| titan::content(&choices.to_string()).unwrap();
    assert_eq!(
        content(json!([{"message": {"content": "a"}}, {"message": {"content": "b"}}])),
        "ab"
    );
    assert_eq!(
        content(json!([{"message": {"content": null, "tool_calls": []}}])),
        ""
    );
    assert_eq!(content(json!([{"text": "old"}])), "old");
    assert_eq!(
        content(
            json!([{"message": {"content": [{"type": "text", "text": "p"}, {"type": "x"}, 3]}}])
        ),
        "p"
    );
    assert_eq!(
        titan::content(r#"[{"message":{"content":"a","content":"b"}}]"#).unwrap(),
        "b"
    );
    assert_eq!(titan::content("[]").unwrap(), "");
}

#[test]
fn members_of_another_gateway_are_replaced_and_data_on_several_lines_is_joined() {
    let text = "event: e\ndata: {\"x_seq\":9,\"a\\\"b\":1,\ndata: \"choices\":[{\"delta\":{\"content\":\"x\"}}],\"x_signature\":\"00\"}\nid: 1\n\n";
    let out = stream(text, 5);
    assert!(out.starts_with("event: e\ndata: {\"a\\\"b\":1,"), "{out}");
    assert!(out.ends_with("\nid: 1\n\n"));
    assert_eq!(out.matches("x_seq").count(), 1);
    assert_eq!(
        verify(&[key()], true, out.as_bytes()).unwrap().signatures,
        1
    );
    let whole = r#"{"signature":"00","choices":[{"message":{"content":"x"}}]}"#;
    let (out, _) = signed(Form::Whole, true, None, &[whole.as_bytes()], true);
    assert_eq!(out.len(), whole.len() + titan::ROOM);
    assert!(verify(&[key()], false, &out).is_ok());
}

#[test]
fn a_whole_answer_fits_the_room_that_was_announced() {
    let text = "{\"choices\":[{\"message\":{\"content\":\"na\\u00efve 🙂\"}}],\"usage\":{} }\n ";
    for size in [1, 9, 1000] {
        let (out, header) = signed(
            Form::Whole,
            true,
            None,
            &pieces(text.as_bytes(), size),
            true,
        );
        assert_eq!((out.len(), header), (text.len() + titan::ROOM, None));
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["signature"], key().sign("naïve 🙂".as_bytes()));
        assert!(verify(&[key()], false, &out).is_ok());
    }
    for other in [
        "{\"error\":{}}",
        "[]",
        "no json",
        "{\"choices\":3}",
        "{\"choices\":[}",
    ] {
        let (out, _) = signed(Form::Whole, true, None, &[other.as_bytes()], true);
        assert_eq!(out.trim_ascii_end(), other.as_bytes());
        assert_eq!(out.len(), other.len() + titan::ROOM);
        let (out, _) = signed(Form::Whole, true, None, &[other.as_bytes()], false);
        assert_eq!(out, other.as_bytes());
    }
}

#[test]
fn what_is_too_large_goes_on_unsigned_and_in_full() {
    let text = format!("{{\"choices\":[],\"x\":\"{}\"}}", "a".repeat(LARGEST_WHOLE));
    let seal = Seal::new(key(), Arc::default(), Form::Whole, 200);
    let (out, header) = signed(
        Form::Whole,
        true,
        Some(seal),
        &pieces(text.as_bytes(), 1 << 20),
        true,
    );
    assert_eq!((out.len(), header), (text.len() + titan::ROOM, None));
    assert_eq!(out.trim_ascii(), text.as_bytes());
    let event = format!(
        "data: {{\"choices\":[],\"x\":\"{}\"}}\n\n",
        "a".repeat(2 << 20)
    );
    let both = format!("{event}data: {{\"choices\":[]}}\n\n");
    let out = stream(&both, 1 << 16);
    assert!(out.starts_with(&event) && out.contains("\"x_seq\":0"));
}

#[test]
fn an_unfinished_event_at_the_end_is_signed_too() {
    let out = stream(
        "data: {\"choices\":[]}\n\ndata: {\"choices\":[{\"text\":\"x\"}]}",
        3,
    );
    assert_eq!(
        verify(&[key()], true, out.as_bytes()).unwrap().signatures,
        2
    );
    assert!(out.ends_with("\"x_seq\":1}"));
}

#[test]
fn what_was_done_to_a_titan_stream_is_named() {
    let text: String = ["a", "b", "c"]
        .map(|text| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"))
        .concat();
    let out = stream(&text, 50);
    let said = |text: &str| {
        verify(&[key()], true, text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let parts: Vec<&str> = out.split_inclusive("\n\n").collect();
    assert!(said(&[parts[1], parts[0], parts[2]].concat()).contains("reordered"));
    assert!(said(&[parts[0], parts[2]].concat()).contains("left out"));
    assert!(said(&[parts[0], parts[0]].concat()).contains("repeated"));
    assert!(said(&out.replace("\"b\"", "\"B\"")).contains("chunk 1: the signature does not fit"));
    assert!(said(&text).contains("put in, or stripped"));
    assert!(said("data: [DONE]\n\n").contains("no chunks"));
    let other = Arc::new(Key::new("k1", b"another secret of thirty-two bytes").unwrap());
    assert!(verify(std::slice::from_ref(&other), true, out.as_bytes()).is_err());
    assert!(verify(&[other, key()], true, out.as_bytes()).is_ok());
}

fn asked() -> Asked {
    Asked {
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        request_id: "req_1".into(),
        nonce: Some("n-1".into()),
        body: Some(v1::digest(b"{}")),
    }
}

fn check(
    asked: &Asked,
    status: u16,
    form: Form,
    header: Option<&str>,
    body: &[u8],
) -> Result<Stamp, v1::Flaw> {
    let received = Received {
        asked,
        status,
        header,
        form,
        body,
    };
    v1::verify(&[key()], &received)
}

fn seal(form: Form) -> Option<Seal> {
    Some(Seal::new(key(), Arc::new(asked()), form, 200))
}

#[test]
fn ids_and_nonces_are_words_of_a_line() {
    for id in ["", "a b", "a\n", "ü", "a=b", &"x".repeat(65)] {
        assert_eq!(Key::new(id, b"x").unwrap_err(), KeyError::Id, "{id}");
    }
    assert_eq!(Key::new("a", b"").unwrap_err(), KeyError::Empty);
    assert_eq!(format!("{:?}", key()), "Key(k1)");
    for nonce in ["", "-", "a b", "a\n", "ü", &"x".repeat(129)] {
        assert!(!v1::is_nonce(nonce), "{nonce}");
    }
    assert!(v1::is_nonce("c2FsdA==") && v1::is_nonce("6f1c-9"));
    assert!(!key().verifies(b"", "") && !key().verifies(b"", &"G".repeat(64)));
}
