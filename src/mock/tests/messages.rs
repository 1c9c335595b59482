//! The Messages interface.

use super::*;
use crate::mock::Parts;

const VERSION: [&str; 2] = ["anthropic-version", "2023-06-01"];

fn message(directive: &str) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": format!("Hello [[{directive}]]")}],
    })
}

async fn post(mock: &MockHandle, body: &Value) -> (u16, String) {
    put(mock, "/v1/messages", VERSION, body).await
}

async fn whole(mock: &MockHandle, body: &Value) -> Value {
    let (status, text) = post(mock, body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn stream(mock: &MockHandle, body: &Value) -> Vec<(String, Value)> {
    let mut body = body.clone();
    body["stream"] = json!(true);
    named(&post(mock, &body).await.1)
}

fn names(events: &[(String, Value)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_message_announces_input_without_what_the_cache_had() {
    let mock = start();
    let body = message("chunks=3 tag=a tokens_in=10 cached=20 cache_write=5 cache_write_1h=2");
    let answer = whole(&mock, &body).await;
    assert_eq!(
        answer["content"],
        json!([{"type": "text", "text": " The weir holds"}])
    );
    assert_eq!(answer["stop_reason"], "end_turn");
    let usage = &answer["usage"];
    assert_eq!(usage["input_tokens"], 10);
    assert_eq!(usage["cache_read_input_tokens"], 20);
    assert_eq!(usage["cache_creation_input_tokens"], 7);
    assert_eq!(usage["cache_creation"]["ephemeral_1h_input_tokens"], 2);
    assert_eq!(usage["output_tokens"], 3);
    assert!(usage.get("cost").is_none());
    let record = ended(&mock, "a").await;
    assert_eq!((record.dialect, record.auth_header), ("messages", None));
    let parts = Parts {
        input: 10,
        cache_read: 20,
        cache_write: 5,
        cache_write_1h: 2,
        output: 3,
        reasoning: 0,
    };
    assert_eq!(record.parts(), Some(parts));
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_recorded_ones() {
    let mock = start();
    let events = stream(&mock, &message("chunks=2 reasoning=4 tag=a")).await;
    let mut expected = vec!["message_start", "content_block_start"];
    expected.extend(["content_block_delta"; 3]);
    expected.extend(["content_block_stop", "content_block_start", "ping"]);
    expected.extend(["content_block_delta"; 2]);
    expected.extend(["content_block_stop", "message_delta", "message_stop"]);
    assert_eq!(names(&events), expected);
    assert!(events.iter().all(|(name, data)| data["type"] == *name));
    assert_eq!(events[0].1["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[1].1["content_block"]["type"], "thinking");
    assert_eq!(events[4].1["delta"]["type"], "signature_delta");
    assert_eq!(events[8].1["delta"]["text"], " The");
    assert_eq!(events[8].1["index"], 1);
    let last = &events[11].1;
    assert_eq!(last["delta"]["stop_reason"], "end_turn");
    assert_eq!(last["usage"]["output_tokens"], 2);
    assert_eq!(last["usage"]["output_tokens_details"]["thinking_tokens"], 4);
    let record = ended(&mock, "a").await;
    assert_eq!(record.announced.unwrap().completion_tokens, 2);
    assert_eq!(record.produced, 2);
}

#[tokio::test]
async fn two_calls_come_one_after_the_other_and_their_pieces_make_json() {
    let mock = start();
    let mut body = message("chunks=5 tool=2");
    body["tools"] = json!([
        {"name": "first", "input_schema": {"type": "object"}},
        {"name": "second", "input_schema": {"type": "object"}},
    ]);
    let events = stream(&mock, &body).await;
    let mut arguments = [String::new(), String::new()];
    let mut indices = Vec::new();
    for (name, data) in &events {
        if name == "content_block_delta" {
            let index = data["index"].as_u64().unwrap();
            let index = usize::try_from(index).unwrap();
            indices.push(index);
            arguments[index].push_str(data["delta"]["partial_json"].as_str().unwrap());
        }
    }
    assert!(indices.is_sorted());
    assert_eq!(
        arguments,
        [r#"{"text":" The weir holds"}"#, r#"{"text":" The weir"}"#]
    );
    let answer = whole(&mock, &body).await;
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][1]["name"], "second");
    assert_eq!(answer["content"][1]["input"], json!({"text": " The weir"}));
}

#[tokio::test]
async fn errors_have_the_shape_and_the_words_of_anthropic() {
    let mock = start();
    for (directive, status, kind, says) in [
        (
            "status=400 code=context_length_exceeded",
            400,
            "invalid_request_error",
            "prompt is too long: 13 tokens > 200000 maximum",
        ),
        ("status=529", 529, "overloaded_error", "Overloaded"),
        ("status=429", 429, "rate_limit_error", "Rate limit"),
        ("status=500 code=billing_error", 500, "billing_error", ""),
    ] {
        let (got, text) = post(&mock, &message(directive)).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, &error["type"]), (status, &json!("error")));
        assert_eq!(error["error"]["type"], kind);
        assert!(text.contains(says), "{text}");
    }
    let events = stream(&mock, &message("chunks=9 error_at=2")).await;
    let (name, data) = events.last().unwrap();
    assert_eq!(
        (name.as_str(), &data["error"]["type"]),
        ("error", &json!("overloaded_error"))
    );
    let deltas = names(&events)
        .iter()
        .filter(|name| **name == "content_block_delta")
        .count();
    assert_eq!(deltas, 2);
    let (status, _) = post(&mock, &message("error_at=2")).await;
    assert_eq!(status, 529);
}

#[tokio::test]
async fn usage_takes_every_form() {
    let mock = start();
    for (form, start, end) in [
        ("off", json!(null), json!(null)),
        ("null", json!(null), json!(null)),
        ("zero", json!(0), json!(0)),
        ("negative", json!(-2), json!(-2)),
        ("huge", json!(i64::MAX - 1), json!(i64::MAX - 1)),
        ("early", json!(2), json!(null)),
        ("string", json!("1"), json!("2")),
    ] {
        let events = stream(&mock, &message(&format!("chunks=2 usage={form}"))).await;
        let at = |name: &str| {
            events
                .iter()
                .find(|(event, _)| event == name)
                .unwrap()
                .1
                .clone()
        };
        let first = at("message_start")["message"]["usage"].clone();
        let last = at("message_delta")["usage"].clone();
        assert_eq!(first["output_tokens"], start, "{form}");
        assert_eq!(last["output_tokens"], end, "{form}");
        let there = at("message_delta").get("usage").is_some();
        assert_eq!(there, !matches!(form, "off" | "early"), "{form}");
    }
    let events = stream(&mock, &message("chunks=2 usage=twice")).await;
    let twice = names(&events)
        .iter()
        .filter(|name| **name == "message_delta")
        .count();
    assert_eq!(twice, 2);
}

#[tokio::test]
async fn a_cut_stream_has_announced_what_its_start_said() {
    let mock = start();
    let mut body = message("chunks=9 cut_at=2 cut=fin cached=4 tag=a");
    body["stream"] = json!(true);
    let url = format!("http://{}/v1/messages", mock.addr);
    let request = client()
        .post(url)
        .header(VERSION[0], VERSION[1])
        .json(&body);
    assert!(request.send().await.unwrap().text().await.is_err());
    let record = ended(&mock, "a").await;
    let says = record.announced.unwrap();
    assert_eq!((says.cached_tokens, says.completion_tokens), (4, 1));
    assert_eq!((record.produced, record.completed), (2, false));
}

#[tokio::test]
async fn a_limit_and_the_place_of_openrouter_are_heeded() {
    let mock = start();
    let mut body = message("chunks=9");
    body["max_tokens"] = json!(4);
    let (status, text) = put(&mock, "/api/v1/messages", VERSION, &body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (status, &answer["stop_reason"]),
        (200, &json!("max_tokens"))
    );
    assert!(answer["usage"]["cost"].is_number());
    let gateway = json!({"messages": [{"role": "user", "content": "[[chunks=1]]"}]});
    let (status, _) = put(&mock, "/api/messages", ["x-none", "1"], &gateway).await;
    assert_eq!(status, 200);
    let (status, text) = put(&mock, "/v1/messages", ["x-none", "1"], &body).await;
    assert_eq!(status, 400);
    assert!(
        text.contains("anthropic-version: header is required"),
        "{text}"
    );
}

#[tokio::test]
async fn tokens_are_counted() {
    let mock = start();
    let body = json!({
        "model": "claude", "system": "12345678",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "1234"}]}],
    });
    let path = "/v1/messages/count_tokens?beta=true";
    let (_, text) = put(&mock, path, VERSION, &body).await;
    assert_eq!(text, r#"{"input_tokens":3}"#);
    assert_eq!(mock.records()[0].dialect, "count_tokens");
}

#[tokio::test]
async fn requests_that_anthropic_refuses_are_refused() {
    let mock = start();
    let call = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "x"});
    let hello = json!({"role": "user", "content": "hello"});
    let with = |name: &str, value: Value| {
        let mut body = message("chunks=1");
        body[name] = value;
        body
    };
    let turns = |turns: Value| with("messages", turns);
    for (body, why) in [
        (with("n", json!(1)), "n: Extra inputs are not permitted"),
        (with("stop", json!("a")), "stop: Extra inputs"),
        (
            with("max_tokens", json!(null)),
            "max_tokens: Field required",
        ),
        (with("temperature", json!(1.5)), "temperature"),
        (
            with("tools", json!([{"type": "function", "function": {}}])),
            "'function'",
        ),
        (with("tools", json!([{"name": "a"}])), "input_schema"),
        (with("tool_choice", json!("auto")), "tool_choice"),
        (
            with(
                "thinking",
                json!({"type": "enabled", "budget_tokens": 2000}),
            ),
            "greater than",
        ),
        (
            with("system", json!([{"type": "text", "text": ""}])),
            "non-empty",
        ),
        (turns(json!([])), "at least one message"),
        (
            turns(json!([{"role": "assistant", "content": "a"}])),
            "first message",
        ),
        (
            turns(json!([{"role": "tool", "content": "a"}])),
            "Unexpected role",
        ),
        (
            turns(json!([{"role": "user", "content": ""}])),
            "non-empty content",
        ),
        (
            turns(json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])),
            "non-empty",
        ),
        (
            turns(json!([{"role": "user", "content": [{"type": "input_text", "text": "a"}]}])),
            "input_text",
        ),
        (
            turns(json!([{"role": "user", "content": "a", "name": "b"}])),
            "messages.0.name",
        ),
        (
            turns(json!([{"role": "user", "content": [result]}])),
            "unexpected `tool_use_id`",
        ),
        (
            turns(json!([hello, {"role": "assistant", "content": [call]}, hello])),
            "without `tool_result`",
        ),
        (
            turns(json!([hello, {"role": "assistant", "content": [call]}])),
            "without `tool_result`",
        ),
        (
            turns(json!([hello, {"role": "assistant", "content": [call]},
                {"role": "user", "content": [{"type": "text", "text": "a"}, result]}])),
            "unexpected `tool_use_id`",
        ),
    ] {
        let (status, text) = post(&mock, &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(text.contains(why), "{body}: {text}");
        assert!(text.contains("invalid_request_error"));
    }
    let body = turns(json!([hello, {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, {"type": "text", "text": "a"}]}]));
    assert_eq!(post(&mock, &body).await.0, 200);
}
