//! Whole answers, and what is put back.

use super::*;

#[test]
fn whole_answers_are_rewritten_where_something_was_found() {
    let body = format!(
        r#"{{"id": "x",  "choices":[{{"index":0,"message":{{"content":"a {KEY}\n","tool_calls":[{{"function":{{"arguments":"{{\"ssn\":\"123-45-6789\"}}"}}}}]}}}}], "usage":{{"n":1}}}}"#
    );
    let mut screen = screen(AnswerKind::Json, enforced());
    assert!(screen.collects());
    let (one, two) = body.split_at(40);
    assert!(
        screen
            .push(Bytes::copy_from_slice(one.as_bytes()))
            .is_empty()
    );
    assert!(
        screen
            .push(Bytes::copy_from_slice(two.as_bytes()))
            .is_empty()
    );
    let expected = body
        .replace(KEY, MARK)
        .replace("123-45-6789", "[REDACTED_SSN_1]");
    assert_eq!(screen.finish(), expected);
}

#[test]
fn whole_answers_without_findings_stay_as_they_are() {
    let body = "{ \"choices\": [ {\"message\": {\"content\": \"caf\\u00e9\"}} ] }\n";
    let mut screen = screen(AnswerKind::Json, enforced());
    let _ = screen.push(Bytes::from(body));
    assert_eq!(screen.finish(), body);
    let mut page = super::screen(AnswerKind::Json, enforced());
    let _ = page.push(Bytes::from(format!("<html>{KEY}</html>")));
    assert_eq!(page.finish(), format!("<html>{MARK}</html>"));
}

#[test]
fn a_named_value_in_a_whole_answer_is_found_by_its_name() {
    let body = r#"{"content":[{"type":"tool_use","input":{"api_key":"x7f3k29dkf83jd0s91","name":"x7f3k29dkf83jd0s91"}}]}"#;
    let mut screen = screen(AnswerKind::Json, enforced());
    let _ = screen.push(Bytes::from(body));
    let left = screen.finish();
    let text = std::str::from_utf8(&left).unwrap();
    assert!(
        text.contains(
            "\"api_key\":\"[REDACTED_API_KEY_GENERIC_API_KEY_1]\",\"name\":\"x7f3k29dkf83jd0s91\""
        ),
        "{text}"
    );
}

#[test]
fn placeholders_are_put_back_in_streams_and_whole_answers() {
    use crate::guard::{Passage, Source, input};
    let body = format!("\"{KEY} 123-45-6789\"");
    let inner = &body[1..body.len() - 1];
    let passages = [Passage::json(Source::User, inner, 0..body.len())];
    let taken = input::Options {
        secrets: Setting::enforce(Action::Redact),
        pii: Setting::enforce(Action::Redact),
        contacts: false,
    };
    let restore = input::redact(&body, &passages, &Rules::bundled(), taken)
        .unwrap()
        .restore;
    let options = Options {
        restore: Some(Arc::new(restore)),
        ..enforced()
    };
    let text = format!("Use {MARK} for [REDACTED_SSN_1], not [REDACTED_SSN_9] or [this].");
    let expected = format!("Use {KEY} for 123-45-6789, not [REDACTED_SSN_9] or [this].");
    for size in [1, 3, 7, 1000] {
        let events: Vec<String> = text
            .as_bytes()
            .chunks(size)
            .map(|part| content(std::str::from_utf8(part).unwrap()))
            .collect();
        let (left, _) = passed(&events, options.clone());
        assert_eq!(read(&left.concat()), expected, "{size}");
    }
    let mut whole = screen(AnswerKind::Json, options);
    let _ = whole.push(Bytes::from(
        json!({"choices": [{"message": {"content": text}}]}).to_string(),
    ));
    let left: Value = serde_json::from_slice(&whole.finish()).unwrap();
    assert_eq!(left["choices"][0]["message"]["content"], expected);
}
