//! The Responses interface.

use super::*;

fn asking(directive: &str) -> Value {
    json!({"model": "openai/gpt-4o", "input": format!("Hello [[{directive}]]")})
}

async fn post(mock: &MockHandle, body: &Value) -> (u16, String) {
    put(mock, "/v1/responses", ["authorization", "Bearer k"], body).await
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

#[tokio::test]
async fn a_response_has_usage_with_details_and_openrouters_a_cost() {
    let mock = start();
    let body = asking("chunks=3 tokens_in=100 cached=40 reasoning=2 tag=a");
    let answer = whole(&mock, &body).await;
    assert_eq!(answer["object"], "response");
    assert_eq!(answer["output"][0]["type"], "reasoning");
    assert_eq!(answer["output"][1]["content"][0]["text"], " The weir holds");
    let usage = &answer["usage"];
    assert_eq!(usage["input_tokens"], 100);
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 40);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!(usage["total_tokens"], 103);
    assert!(usage["cost"].is_number());
    let record = ended(&mock, "a").await;
    assert_eq!(
        (record.dialect, record.auth_header),
        ("responses", Some("authorization"))
    );
    let parts = record.parts().unwrap();
    assert_eq!(
        (parts.input, parts.cache_read, parts.output, parts.reasoning),
        (60, 40, 1, 2)
    );
    assert_eq!(
        record.announced.unwrap().cost_nanos,
        Some(100 * 2500 + 3 * 10_000)
    );
    let answer = whole(&mock, &asking("chunks=1 dialect=openai")).await;
    assert!(answer["usage"].get("cost").is_none());
}

#[tokio::test]
async fn a_stream_has_the_events_of_the_recorded_ones() {
    let mock = start();
    let mut body = asking("chunks=2 dialect=openai");
    body["stream"] = json!(true);
    let (_, text) = post(&mock, &body).await;
    assert!(!text.contains("[DONE]"));
    let events = named(&text);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (name, data)) in events.iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
        assert_eq!(data["type"], *name);
    }
    assert_eq!(events[6].1["text"], " The weir");
    assert!(events[0].1["response"]["usage"].is_null());
    let last = &events[9].1["response"];
    assert_eq!(last["status"], "completed");
    assert_eq!(last["usage"]["output_tokens"], 2);
    assert_eq!(last["output"][0]["content"][0]["text"], " The weir");
    body["input"] = json!("[[chunks=1]]");
    assert!(post(&mock, &body).await.1.ends_with("\n\ndata: [DONE]\n\n"));
}

#[tokio::test]
async fn a_summary_of_the_reasoning_comes_first_when_asked_for() {
    let mock = start();
    let mut body = asking("chunks=1");
    body["reasoning"] = json!({"effort": "low", "summary": "auto"});
    let events = stream(&mock, &body).await;
    assert_eq!(events[2].1["item"]["type"], "reasoning");
    assert_eq!(events[4].0, "response.reasoning_summary_text.delta");
    let text = events
        .iter()
        .find(|(name, _)| name == "response.output_text.delta");
    assert_eq!(text.unwrap().1["output_index"], 1);
}

#[tokio::test]
async fn the_arguments_of_two_calls_are_interleaved() {
    let mock = start();
    let mut body = asking("chunks=5 tool=2");
    body["tools"] = json!([{"type": "function", "name": "a"}, {"type": "function", "name": "b"}]);
    let events = stream(&mock, &body).await;
    let deltas: Vec<u64> = events
        .iter()
        .filter(|(name, _)| name == "response.function_call_arguments.delta")
        .map(|(_, data)| data["output_index"].as_u64().unwrap())
        .collect();
    assert_eq!(deltas, [0, 1, 0, 1, 0]);
    let output = &events.last().unwrap().1["response"]["output"];
    assert_eq!(output[1]["name"], "b");
    assert_eq!(output[0]["arguments"], r#"{"text":" The weir holds"}"#);
    assert_eq!(
        whole(&mock, &body).await["output"][1]["arguments"],
        r#"{"text":" The weir"}"#
    );
}

#[tokio::test]
async fn failures_and_limits_have_events_of_their_own() {
    let mock = start();
    let events = stream(
        &mock,
        &asking("chunks=9 error_at=2 error_cost=0.5 code=rate_limit tag=a"),
    )
    .await;
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "response.failed");
    assert_eq!(data["response"]["error"]["code"], "rate_limit");
    assert_eq!(data["response"]["usage"]["output_tokens"], 2);
    let record = ended(&mock, "a").await;
    assert_eq!(record.announced.unwrap().cost_nanos, Some(500_000_000));
    assert_eq!(
        whole(&mock, &asking("error_at=1")).await["status"],
        "failed"
    );
    let mut body = asking("chunks=99");
    body["max_output_tokens"] = json!(16);
    let events = stream(&mock, &body).await;
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "response.incomplete");
    assert_eq!(
        data["response"]["incomplete_details"]["reason"],
        "max_output_tokens"
    );
    assert_eq!(data["response"]["usage"]["output_tokens"], 16);
}

#[tokio::test]
async fn usage_takes_every_form() {
    let mock = start();
    for (form, count) in [
        ("off", json!(null)),
        ("null", json!(null)),
        ("zero", json!(0)),
        ("negative", json!(-1)),
        ("huge", json!(i64::MAX - 1)),
        ("string", json!("1")),
    ] {
        let body = asking(&format!("chunks=1 usage={form}"));
        let events = stream(&mock, &body).await;
        let streamed = &events.last().unwrap().1["response"];
        assert_eq!(streamed["usage"]["output_tokens"], count, "{form}");
        assert_eq!(streamed.get("usage").is_some(), form != "off", "{form}");
        assert_eq!(whole(&mock, &body).await["usage"]["output_tokens"], count);
    }
    let events = stream(&mock, &asking("chunks=1 usage=early")).await;
    assert_eq!(events[0].1["response"]["usage"]["output_tokens"], 1);
    assert!(events.last().unwrap().1["response"].get("usage").is_none());
    let events = stream(&mock, &asking("chunks=1 usage=twice")).await;
    let completed = events
        .iter()
        .filter(|(name, _)| name == "response.completed");
    assert_eq!(completed.count(), 2);
}

#[tokio::test]
async fn requests_that_openai_refuses_are_refused() {
    let mock = start();
    let with = |name: &str, value: Value| {
        let mut body = asking("dialect=openai");
        body[name] = value;
        body
    };
    let call = json!({"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"});
    let result = json!({"type": "function_call_output", "call_id": "c", "output": "x"});
    // The directive is in the instructions, which are read like any text.
    let items = |items: Value| {
        let mut body = with("input", items);
        body["instructions"] = json!("[[dialect=openai]]");
        body
    };
    for (body, why) in [
        (
            with("messages", json!([])),
            "Unknown parameter: 'messages'.",
        ),
        (with("top_k", json!(1)), "unknown_parameter"),
        (with("max_tokens", json!(20)), "'max_tokens'"),
        (with("max_output_tokens", json!(5)), ">= 16"),
        (
            with(
                "tools",
                json!([{"type": "function", "function": {"name": "a"}}]),
            ),
            "tools[0].name",
        ),
        (
            with("tool_choice", json!({"type": "function", "function": {}})),
            "tool_choice.name",
        ),
        (
            items(json!([{"role": "tool", "content": "a"}])),
            "Invalid value: 'tool'",
        ),
        (
            items(json!([{"role": "user", "content": [{"type": "text", "text": "a"}]}])),
            "input_text",
        ),
        (
            items(json!([{"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}])),
            "output_text",
        ),
        (
            items(json!([result])),
            "No tool call found for function call output with call_id c.",
        ),
        (
            items(json!([call])),
            "No tool output found for function call c.",
        ),
    ] {
        let (status, text) = post(&mock, &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(text.contains(why), "{body}: {text}");
    }
    assert_eq!(post(&mock, &items(json!([call, result]))).await.0, 200);
    let mut continued = items(json!([result]));
    continued["previous_response_id"] = json!("resp_1");
    assert_eq!(post(&mock, &continued).await.0, 200);
    let mut routed = asking("chunks=1");
    routed["provider"] = json!({"order": ["a"]});
    assert_eq!(post(&mock, &routed).await.0, 200);
}
