use super::*;
use serde_json::{Value, json};

mod recorded;
mod split;
mod whole;

pub(super) const KEY: &str = "sk-ant-q7Zx2Lm9Kp4Tv8Rb3Wn6Yc5Hs1";
const MARK: &str = "[REDACTED_API_KEY_ANTHROPIC_KEY_1]";

pub(super) fn enforced() -> Options {
    Options {
        secrets: Setting::enforce(Action::Redact),
        pii: Setting::enforce(Action::Redact),
        contacts: true,
        leak: Setting::observe(),
        ..Options::default()
    }
}

fn screen(kind: AnswerKind, options: Options) -> Screen {
    Screen::new(Dialect::Chat, kind, Rules::bundled(), options)
}

/// Passes events one by one: what left for each, and at the end.
fn passed(events: &[String], options: Options) -> (Vec<String>, Screen) {
    let mut screen = screen(AnswerKind::EventStream, options);
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut left: Vec<String> = events
        .iter()
        .map(|event| text(screen.push(Bytes::from(event.clone()))))
        .collect();
    left.push(text(screen.finish()));
    (left, screen)
}

pub(super) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

pub(super) fn chat(index: u64, delta: &Value) -> String {
    event(
        &json!({"id": "x1", "choices": [{"index": index, "delta": delta, "finish_reason": null}]}),
    )
}

fn content(text: &str) -> String {
    chat(0, &json!({"content": text}))
}

fn finish(index: u64) -> String {
    event(&json!({"id": "x1", "choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}))
}

/// The content of a chat stream, as a client puts it together.
pub(super) fn read(stream: &str) -> String {
    let mut all = String::new();
    for line in stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
    {
        if let Ok(value) = serde_json::from_str::<Value>(line) {
            all.push_str(
                value["choices"][0]["delta"]["content"]
                    .as_str()
                    .unwrap_or_default(),
            );
        }
    }
    all
}

#[test]
fn words_leave_at_once_and_byte_by_byte() {
    let words = [
        "Hello", " there", ",", " this", " is", " plain", " text", ".\n", " Done", "!",
    ];
    let events: Vec<String> = words.iter().map(|word| content(word)).collect();
    let (left, screen) = passed(&events, enforced());
    assert_eq!(left[..events.len()], events);
    assert_eq!(screen.findings(), []);
}

#[test]
fn a_secret_in_pieces_waits_and_is_replaced() {
    let mut events = vec![content("The key: ")];
    events.extend(
        KEY.as_bytes()
            .chunks(5)
            .map(|part| content(std::str::from_utf8(part).unwrap())),
    );
    events.push(content(" and"));
    events.push(content(" more"));
    let (left, screen) = passed(&events, enforced());
    assert_eq!(left[0], events[0]);
    assert!(left[1..events.len() - 2].iter().all(String::is_empty));
    assert_eq!(read(&left.concat()), format!("The key: {MARK} and more"));
    assert_eq!(left[events.len() - 1], events[events.len() - 1]);
    let found = screen.findings();
    assert_eq!(
        (found.len(), found[0].count, found[0].action),
        (1, 1, Action::Redact)
    );
    assert!(!format!("{found:?}").contains("q7Zx"));
}

#[test]
fn the_end_of_a_choice_decides_what_waits() {
    let events = [content(KEY), finish(0), "data: [DONE]\n\n".to_owned()];
    let (left, _) = passed(&events, enforced());
    assert_eq!(left[0], "");
    assert_eq!(read(&left[1]), MARK);
    assert!(left[1].ends_with(&events[1]));
    assert_eq!(left[2], events[2]);
}

#[test]
fn a_stream_that_breaks_off_leaves_nothing_behind() {
    let (left, _) = passed(&[content("x "), content(KEY)], enforced());
    assert_eq!(read(&left.concat()), format!("x {MARK}"));
    let whole = content(&format!("a {KEY}"));
    let cut = whole.trim_end().to_owned();
    let (left, _) = passed(&[cut], enforced());
    assert_eq!(read(&left.concat()), format!("a {MARK}"));
}

#[test]
fn a_refused_answer_ends_before_anything_of_the_finding_left() {
    let options = Options {
        secrets: Setting::enforce(Action::Refuse),
        ..Options::default()
    };
    let mut events = vec![content("Hello ")];
    events.extend(
        KEY.as_bytes()
            .chunks(3)
            .map(|part| content(std::str::from_utf8(part).unwrap())),
    );
    events.push(content(". More"));
    let (left, screen) = passed(&events, options);
    assert_eq!(screen.refused(), Some(Control::Secret));
    assert_eq!(left.concat(), events[0]);
}

#[test]
fn observing_changes_and_delays_nothing() {
    let options = Options {
        secrets: Setting::observe(),
        pii: Setting::observe(),
        leak: Setting::observe(),
        ..Options::default()
    };
    let mut events: Vec<String> = KEY
        .chars()
        .map(|letter| content(&letter.to_string()))
        .collect();
    events.extend([" my", " system", " prompt", " a@b", ".com", " x"].map(content));
    let (left, screen) = passed(&events, options);
    assert_eq!(left[..events.len()], events);
    let rules: Vec<_> = screen
        .findings()
        .iter()
        .map(|found| (found.rule.to_string(), found.count))
        .collect();
    assert_eq!(
        rules,
        [
            ("anthropic_key".into(), 1),
            ("system prompt".into(), 1),
            ("email".into(), 1)
        ]
    );
}

#[test]
fn choices_arguments_and_reasoning_are_texts_of_their_own() {
    let halves = KEY.split_at(12);
    let call = |index: u64, part: &str| {
        chat(
            0,
            &json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]}),
        )
    };
    let events = [
        chat(0, &json!({"content": halves.0})),
        chat(1, &json!({"content": "plain "})),
        call(0, "{\"key\":\"sk-ant-"),
        call(1, "{\"other\":1"),
        chat(0, &json!({"content": halves.1})),
        call(0, "q7Zx2Lm9Kp4Tv8Rb3Wn6Yc5Hs1\"}"),
        chat(0, &json!({"reasoning_content": "sk-"})),
        finish(0),
        finish(1),
    ];
    let (left, screen) = passed(&events, enforced());
    let all = left.concat();
    assert_eq!(screen.findings()[0].count, 2);
    assert!(all.contains(MARK) && !all.contains("q7Zx") && all.contains("\"sk-\""));
    assert!(all.contains(&events[1]) && all.contains(&events[3]));
}

#[test]
fn escapes_are_seen_through() {
    let escaped = KEY.replace('s', "\\u0073").replace('k', "\\u006b");
    let raw = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"x {escaped} y\"}}}}]}}\n\n"
    );
    let (left, _) = passed(&[raw], enforced());
    assert_eq!(read(&left.concat()), format!("x {MARK} y"));
    let twice = KEY.replace('s', "\\u0073");
    let call = chat(
        0,
        &json!({"tool_calls": [{"index": 0, "function": {"arguments": format!("{{\"k\":\"{twice}\"}}")}}]}),
    );
    let (left, _) = passed(&[call], enforced());
    assert!(
        left.concat()
            .contains(&format!("{{\\\"k\\\":\\\"{MARK}\\\"}}")),
        "{left:?}"
    );
}

#[test]
fn what_is_said_of_single_tokens_goes_with_them() {
    let chunk = event(
        &json!({"choices": [{"index": 0, "delta": {"content": format!("{KEY} ")}, "logprobs": {"content": [{"token": "sk"}]}}]}),
    );
    let (left, _) = passed(&[chunk], enforced());
    assert!(left.concat().contains("\"logprobs\":null"));
    // As the Responses API has them, and something else of that name.
    let part = |key: &str, value: serde_json::Value| {
        let part = json!({"text": KEY, key: value});
        event(&json!({"type": "response.completed", "response": {"output": [{"content": [part]}]}}))
    };
    let tokens = part("logprobs", json!([{"token": "sk"}]));
    let other = part("logprobs", json!(["sk", KEY]));
    let (left, _) = passed(&[tokens, other], enforced());
    assert!(left[0].contains("\"logprobs\":[]"), "{left:?}");
    assert!(left.concat().contains("\"sk\",\"[RED") && !left.concat().contains(KEY));
}

#[test]
fn values_are_found_by_the_name_in_an_event_before() {
    let parts = [
        "my",
        " api",
        "_key",
        " =",
        " \"",
        "x7f3k29dk",
        "f83jd0s91",
        "\"",
        " ok",
    ];
    let events: Vec<String> = parts.iter().map(|part| content(part)).collect();
    let (left, _) = passed(&events, enforced());
    assert_eq!(
        read(&left.concat()),
        "my api_key = \"[REDACTED_API_KEY_GENERIC_API_KEY_1]\" ok"
    );
}

#[test]
fn numbers_wait_until_they_are_decided() {
    let events: Vec<String> = [
        "Card 4111",
        " 1111",
        " 1111",
        " 1111",
        " ok",
        " 42",
        " apples",
    ]
    .map(content)
    .into();
    let (left, _) = passed(&events, enforced());
    assert_eq!(
        read(&left.concat()),
        "Card [REDACTED_CREDIT_CARD_1] ok 42 apples"
    );
    assert_eq!(left[6], [&events[5][..], &events[6][..]].concat());
}

#[test]
fn keys_of_many_lines_wait_to_their_end() {
    let mut text = "-----BEGIN RSA PRIVATE KEY-----\n".to_owned();
    for line in 0..30 {
        text.push_str(&format!(
            "{line:02}{}\n",
            "MIIEowIBAAKCAQEAq7Zx2Lm9Kp4Tv8Rb3Wn6Yc5Hs1Jd0GfA"
        ));
    }
    text.push_str("-----END RSA PRIVATE KEY-----\nbye now");
    let characters: Vec<char> = text.chars().collect();
    let events: Vec<String> = characters
        .chunks(7)
        .map(|part| content(&part.iter().collect::<String>()))
        .collect();
    let (left, screen) = passed(&events, enforced());
    assert_eq!(
        read(&left.concat()),
        "[REDACTED_API_KEY_PRIVATE_KEY_1]\nbye now"
    );
    assert_eq!(
        screen.findings()[0].severity,
        crate::guard::finding::Severity::Critical
    );
}

#[test]
fn a_run_without_an_end_is_replaced_as_a_whole() {
    let mut events: Vec<String> = vec![content("see ")];
    events.extend((0..40).map(|_| content(&"a1B2".repeat(250))));
    events.push(content(" end"));
    let (left, screen) = passed(&events, enforced());
    assert_eq!(
        read(&left.concat()),
        "see [REDACTED_API_KEY_LONG_RUN_1] end"
    );
    assert_eq!(&*screen.findings()[0].rule, "long_run");
}

#[test]
fn nothing_waits_for_ever_for_a_text_that_has_stopped() {
    let mut events = vec![chat(0, &json!({"reasoning_content": "it is 42"}))];
    events.extend((0..40).map(|_| content(" word")));
    let (left, _) = passed(&events, enforced());
    let held = left.iter().take_while(|left| left.is_empty()).count();
    assert_eq!(held, 9);
    assert_eq!(left.concat(), events.concat());
}

#[test]
fn comments_do_not_wait() {
    let events = [content("sk-"), ": ping\n\n".to_owned(), content("x ")];
    let (left, _) = passed(&events, enforced());
    assert_eq!(left[1], ": ping\n\n");
    assert_eq!(left[2], [&events[0][..], &events[2][..]].concat());
}

#[test]
fn what_cannot_be_read_is_refused_where_answers_may_be_changed() {
    for bad in ["data: {\"a\":\n\n", "data: hello\n\n"] {
        let (left, screen) = passed(&[content("a "), bad.to_owned(), content("b")], enforced());
        assert_eq!(screen.refused(), Some(Control::Secret));
        assert_eq!(left.concat(), content("a "));
        let observed = Options {
            secrets: Setting::observe(),
            ..Options::default()
        };
        let (left, screen) = passed(&[bad.to_owned()], observed);
        assert_eq!((screen.refused(), &left[0][..]), (None, bad));
    }
}

#[test]
fn unknown_events_are_searched_as_a_whole() {
    let unknown = event(
        &json!({"type": "something.new", "deep": [{"er": {"text": format!("a {KEY}")}}], "n": 1}),
    );
    let harmless = event(&json!({"type": "something.new", "deep": [{"er": {"text": "nothing"}}]}));
    let (left, _) = passed(&[unknown, harmless.clone()], enforced());
    assert!(left[0].contains(MARK) && left[1] == harmless);
}

#[test]
fn texts_that_are_repeated_at_the_end_are_replaced_in_the_same_way() {
    let delta = |text: &str| {
        event(
            &json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []}),
        )
    };
    let whole = format!("Key {KEY}");
    let events = [
        delta("Key sk-ant-"),
        delta("q7Zx2Lm9Kp4Tv8Rb3Wn6Yc5Hs1"),
        event(
            &json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": whole}),
        ),
        event(
            &json!({"type": "response.completed", "response": {"output": [{"content": [{"text": whole}]}]}}),
        ),
    ];
    let (left, _) = passed(&events, enforced());
    let all = left.concat();
    assert_eq!(
        (all.matches(MARK).count(), all.contains("q7Zx")),
        (3, false)
    );
    assert!(all.contains("\"logprobs\":[]"));
}

#[test]
fn blocks_of_messages_are_followed_by_their_index() {
    let delta = |index: u64, text: &str| {
        let data = json!({"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}});
        format!("event: content_block_delta\n{}", event(&data))
    };
    let stop = |index: u64| event(&json!({"type": "content_block_stop", "index": index}));
    let events = [
        event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "sk-ant-"}}),
        ),
        delta(0, "q7Zx2Lm9Kp4"),
        delta(1, "1 2 "),
        delta(0, "Tv8Rb3Wn6Yc5Hs1"),
        stop(0),
        stop(1),
    ];
    let (left, _) = passed(&events, enforced());
    let all = left.concat();
    assert!(
        all.contains(MARK) && !all.contains("q7Zx") && all.contains(&events[2]),
        "{all}"
    );
}

#[test]
fn the_token_of_a_session_refuses_the_answer() {
    let watches: Watches = Arc::new(|| {
        let mut all = String::new();
        Box::new(move |piece: &str| {
            all.push_str(piece);
            all.contains("CANARY_TOKEN_7f")
        })
    });
    let options = |canary| Options {
        canary,
        watches: Some(Arc::clone(&watches)),
        ..Options::default()
    };
    let events: Vec<String> = ["Sure: ", "CAN", "ARY", "_TOKEN", "_7", "f-1", " there"]
        .map(content)
        .into();
    let (left, screen) = passed(&events, options(Mode::Enforce));
    assert_eq!(screen.refused(), Some(Control::Canary));
    assert_eq!(left.concat(), events[0]);
    let (left, screen) = passed(&events, options(Mode::Observe));
    assert_eq!((screen.refused(), left.concat()), (None, events.concat()));
    assert_eq!(screen.findings()[0].control, Control::Canary);
}

#[test]
fn pieces_that_are_called_a_message_are_followed_too() {
    let message =
        |text: &str| event(&json!({"choices": [{"index": 0, "message": {"content": text}}]}));
    let (one, two) = KEY.split_at(10);
    let (left, _) = passed(&[message(one), message(two), finish(0)], enforced());
    assert!(left.concat().contains(MARK) && !left.concat().contains(two));
}
