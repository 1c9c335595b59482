//! Answers in other dialects than OpenAI's chat completions.

use proptest::prelude::*;

use super::*;

fn of(dialect: Dialect) -> MeterOptions {
    MeterOptions {
        dialect,
        ..options(true, true)
    }
}

/// Reads a stream of events with such data.
fn events(dialect: Dialect, data: &[&str]) -> Reading {
    let text: String = data
        .iter()
        .map(|data| format!("data: {}\n\n", data.replace(['\r', '\n'], " ")))
        .collect();
    let (reading, out) = run(
        AnswerKind::EventStream,
        of(dialect),
        &[text.as_bytes()],
        Some(NOTE),
    );
    if dialect != Dialect::Responses {
        assert_eq!(out, text);
    }
    reading
}

fn whole(dialect: Dialect, text: &str) -> Reading {
    let (reading, out) = run(AnswerKind::Json, of(dialect), &[text.as_bytes()], None);
    assert_eq!(out, text);
    reading
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","type":"message","model":"claude","content":[],
    "usage":{"input_tokens":10,"cache_read_input_tokens":100,"cache_creation_input_tokens":0,"output_tokens":8}}}"#;
const HELLO: &str = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"one two three"}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn delta(usage: &str) -> String {
    format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}"#)
}

#[test]
fn messages_count_what_was_generated_and_nothing_else() {
    let reading = events(
        Dialect::Messages,
        &[
            START,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"a thought"}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"not a word"}}"#,
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"server_tool_use","id":"x","name":"web_search","input":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"query\": \"one two\"}"}}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"web_search_tool_result","tool_use_id":"x","content":[{"title":"not a word","encrypted_content":"nor this"}]}}"#,
            r#"{"index":3,"content_block":{"input":{"k": "v w"},"name":"f","type":"tool_use"},"type":"content_block_start"}"#,
            r#"{"type":"content_block_delta","index":4,"delta":{"type":"citations_delta","citation":{"cited_text":"not a word"}}}"#,
            HELLO,
            &delta(r#"{"output_tokens":30,"server_tool_use":{"web_search_requests":1}}"#),
            STOP,
        ],
    );
    // Two, one and three, one and two, three.
    assert_eq!(reading.own_output, 12);
    assert_eq!(reading.usage.unwrap().searches, 1);
    assert_eq!(
        (reading.id.as_deref(), reading.model.as_deref()),
        (Some("msg_1"), Some("claude"))
    );
    assert!(reading.done && reading.saw_content && !reading.output_open);
    let message = whole(
        Dialect::Messages,
        r#"{"content":[{"type":"text","text":"one two"},{"type":"thinking","thinking":"three"},
            {"type":"tool_use","name":"f","input":{"a":"b c"}},{"type":"bash_code_execution_tool_result",
            "content":{"stdout":"not a word","type":"x"}},{"type":"compaction","content":"so far"}],
            "usage":{"input_tokens":1,"output_tokens":9},"type":"message"}"#,
    );
    assert_eq!((message.own_output, message.usage.unwrap().output), (8, 9));
    assert!(message.done && !message.output_open);
}

#[test]
fn a_stream_of_messages_that_is_cut_has_no_output_of_the_providers() {
    let cut = events(Dialect::Messages, &[START, HELLO]);
    let usage = cut.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output), (110, 100, 0));
    assert!(cut.output_open && !cut.done);
    assert_eq!(cut.own_output, 3);

    for bad in ["-1", "null", "1e9", "{}", "999999999"] {
        let bad = delta(&format!(r#"{{"output_tokens":{bad}}}"#));
        let reading = events(Dialect::Messages, &[START, HELLO, &bad, STOP]);
        assert!(reading.output_open && reading.done, "{bad}");
        assert_eq!(reading.usage, cut.usage, "{bad}");
        assert_eq!(reading.usage_invalid, !bad.contains("null"), "{bad}");
    }
    for none in ["null", "{}"] {
        let reading = events(Dialect::Messages, &[START, HELLO, &delta(none), STOP]);
        assert!(reading.output_open && !reading.usage_invalid, "{none}");
    }
    // Without a start, nobody said what came in.
    let late = events(Dialect::Messages, &[&delta(r#"{"output_tokens":5}"#)]);
    assert_eq!(
        late.usage.map(|usage| (usage.input, usage.output)),
        Some((0, 5))
    );
}

#[test]
fn usages_of_messages_are_never_added_up() {
    let first = delta(r#"{"output_tokens":5}"#);
    let second = delta(r#"{"output_tokens":12,"cache_read_input_tokens":40}"#);
    let reading = events(
        Dialect::Messages,
        &[START, START, &first, &second, &second, STOP],
    );
    let usage = reading.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output), (50, 40, 12));
}

#[test]
fn errors_of_messages_and_google_are_told() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for reading in [
        events(Dialect::Messages, &[START, error]),
        events(Dialect::Messages, &[error]),
        whole(Dialect::Messages, error),
        events(Dialect::Gemini, &[error]),
        whole(Dialect::Gemini, error),
        whole(Dialect::Gemini, &format!(" [ {error} ] ")),
        whole(Dialect::Embeddings, error),
        whole(Dialect::Responses, error),
    ] {
        assert_eq!(reading.error.as_deref(), Some("Overloaded"));
    }
    let bare = events(Dialect::Messages, &[r#"{"type":"error"}"#]);
    assert_eq!(bare.error.as_deref(), Some("error"));
}

fn said(text: &str, more: &str) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}}{more}}}],
            "usageMetadata":{{"promptTokenCount":7,"candidatesTokenCount":{}}},"modelVersion":"g","responseId":"r"}}"#,
        text.len()
    )
}

#[test]
fn the_last_usage_of_google_counts_and_a_reason_to_stop_is_the_end() {
    let first = said("one", "");
    let absurd =
        r#"{"candidates":[],"usageMetadata":{"promptTokenCount":-7,"candidatesTokenCount":1}}"#;
    let last = said("two", r#","finishReason":"STOP","index":0"#);
    let cut = events(Dialect::Gemini, &[&first, absurd]);
    assert_eq!(cut.usage.map(|usage| usage.total()), Some(10));
    assert!(cut.usage_invalid && !cut.done);
    let null = r#"{"usageMetadata":null,"error":null}"#;
    let parts = r#"{"candidates":[{"index":0,"content":{"parts":[
        {"thought":true,"text":" a b"},{"functionCall":{"args":{"x": [ 1, "y z"]},"name":"f"}},
        {"executableCode":{"language":"PYTHON","code":"print()"}},
        {"codeExecutionResult":{"output":"not a word"},"thoughtSignature":"no"}]}}]}"#;
    for reading in [
        events(Dialect::Gemini, &[&first, parts, &last, null]),
        whole(Dialect::Gemini, &format!("[{first},\r\n{parts},{last}]")),
    ] {
        assert!(reading.done && reading.error.is_none() && !reading.usage_invalid);
        assert_eq!(reading.usage.map(|usage| usage.total()), Some(10));
        assert_eq!(
            (reading.id.as_deref(), reading.model.as_deref()),
            (Some("r"), Some("g"))
        );
        // The name, the arguments (two) and the code are three channels' words.
        assert_eq!(reading.own_output, 1 + 2 + 1 + 3 + 1);
    }
    let blocked = events(
        Dialect::Gemini,
        &[r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}"#],
    );
    assert!(blocked.done && !blocked.saw_content);
    assert_eq!(blocked.usage.map(|usage| usage.total()), Some(3));
}

#[test]
fn an_array_that_breaks_off_is_read_as_far_as_it_goes() {
    let text = format!("[{},{}", said("one two", ""), said("three", ""));
    let reading = whole(Dialect::Gemini, &text);
    assert_eq!(reading.usage.map(|usage| usage.total()), Some(12));
    assert!(!reading.done && reading.saw_content);
    let cut = whole(Dialect::Gemini, &text[..text.len() - 10]);
    assert_eq!(cut.usage.map(|usage| usage.total()), Some(14));
    assert!(!cut.done && cut.own_output > 2 + 20);
}

fn embeddings(vectors: &str) -> String {
    format!(
        r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{vectors}}}],
            "model":"text-embedding-3-small","usage":{{"prompt_tokens":5,"total_tokens":5}}}}"#
    )
}

#[test]
fn embeddings_are_no_text_however_many_they_are() {
    let numbers = format!("[{}1]", "-0.0123456789,".repeat(1_500_000));
    for text in [
        embeddings(&numbers),
        embeddings("\"3QwAvA==\\\"[\""),
        embeddings("[]"),
    ] {
        for size in [1 << 14, 1 << 20, usize::MAX] {
            let mut meter = Meter::new(AnswerKind::Json, of(Dialect::Embeddings));
            let body = Bytes::from(text.clone());
            let mut at = 0;
            while at < body.len() {
                let piece = body.slice(at..body.len().min(at.saturating_add(size)));
                at += piece.len();
                let passed = meter.push(piece.clone());
                assert_eq!(
                    (passed.as_ptr(), passed.len()),
                    (piece.as_ptr(), piece.len())
                );
            }
            assert_eq!(meter.finish(), Finish::nothing());
            let reading = meter.reading();
            assert_eq!(
                reading.usage.map(|usage| (usage.input, usage.output)),
                Some((5, 0))
            );
            assert_eq!(reading.model.as_deref(), Some("text-embedding-3-small"));
            assert_eq!(
                (reading.own_output, reading.saw_content, reading.done),
                (0, false, true)
            );
        }
        let cut = whole(Dialect::Embeddings, &text[..text.len() - 30]);
        assert_eq!((cut.own_output, cut.usage, cut.done), (0, None, false));
    }
    let page = whole(Dialect::Embeddings, "<html>a page of text</html>");
    assert_eq!((page.own_output, page.usage, page.done), (0, None, false));
}

#[test]
fn what_a_response_repeats_is_counted_once() {
    let end = |kind: &str, more: &str| {
        format!(
            r#"{{"type":"response.{kind}","response":{{"id":"resp_1","status":"{kind}","model":"gpt","output":[
                {{"type":"message","content":[{{"type":"output_text","text":"one two"}}]}}]{more},
                "usage":{{"input_tokens":9,"input_tokens_details":{{"cached_tokens":4}},"output_tokens":6,
                "output_tokens_details":{{"reasoning_tokens":2}},"total_tokens":15}}}}}}"#
        )
    };
    for (kind, more, error) in [
        ("completed", "", None),
        (
            "incomplete",
            r#","incomplete_details":{"reason":"max_output_tokens"}"#,
            None,
        ),
        (
            "failed",
            r#","error":{"code":"server_error","message":"oh"}"#,
            Some("oh"),
        ),
    ] {
        let reading = events(
            Dialect::Responses,
            &[
                r#"{"type":"response.created","response":{"id":"resp_1","usage":null,"error":null}}"#,
                r#"{"type":"response.output_text.delta","delta":"one "}"#,
                r#"{"type":"response.output_text.delta","delta":"two"}"#,
                r#"{"type":"response.output_text.done","text":"one two"}"#,
                r#"{"type":"response.content_part.done","part":{"type":"output_text","text":"one two"}}"#,
                r#"{"type":"response.output_item.done","item":{"content":[{"text":"one two"}]}}"#,
                &end(kind, more),
            ],
        );
        let usage = reading.usage.unwrap();
        let parts = (usage.input, usage.cache_read, usage.output, usage.reasoning);
        assert_eq!((reading.own_output, parts), (2, (9, 4, 6, 2)), "{kind}");
        assert_eq!(reading.error.as_deref(), error);
        assert!(reading.done);
    }
}

const PARTS: [&str; 12] = [
    "data: ",
    "\n\n",
    "\r\n",
    "[",
    START,
    HELLO,
    "{\"usage\":{\"input_tokens\":",
    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
    "}",
    "]",
    "\"",
    "7,",
];

proptest! {
    #[test]
    fn no_answer_of_any_dialect_panics_or_changes(
        parts in proptest::collection::vec((0..PARTS.len(), "\\PC{0,6}"), 0..20),
        step in 1_usize..64,
        dialect in 0..Dialect::ALL.len(),
    ) {
        let dialect = Dialect::ALL[dialect];
        let text: String = parts.iter().map(|(at, noise)| format!("{}{noise}", PARTS[*at])).collect();
        for kind in [AnswerKind::Json, AnswerKind::EventStream] {
            let options = MeterOptions { dialect, ..options(false, false) };
            let pieces: Vec<_> = text.as_bytes().chunks(step).collect();
            let (cut, out) = run(kind, options, &pieces, None);
            prop_assert_eq!(&out, &text);
            let (once, _) = run(kind, options, &[text.as_bytes()], None);
            prop_assert_eq!(cut, once);
        }
    }
}
