//! Gemini's own interface.

use super::*;

const KEY: [&str; 2] = ["x-goog-api-key", "k"];
const WHOLE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";

fn asking(directive: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": format!("Hello [[{directive}]]")}]}]})
}

async fn whole(mock: &MockHandle, body: &Value) -> Value {
    let (status, text) = put(mock, WHOLE, KEY, body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn stream(mock: &MockHandle, body: &Value) -> Vec<Value> {
    parse(&put(mock, STREAM, KEY, body).await.1)
}

#[tokio::test]
async fn thoughts_and_tool_results_come_on_top_and_cached_tokens_are_inside() {
    let mock = start();
    let directive = "chunks=3 tokens_in=50 cached=30 reasoning=6 tool_use=4 tag=a";
    let answer = whole(&mock, &asking(directive)).await;
    let parts = &answer["candidates"][0]["content"]["parts"];
    assert_eq!(parts[0]["thought"], true);
    assert_eq!(parts[1], json!({"text": " The weir holds"}));
    assert_eq!(answer["candidates"][0]["finishReason"], "STOP");
    let usage = &answer["usageMetadata"];
    assert_eq!(usage["promptTokenCount"], 50);
    assert_eq!(usage["cachedContentTokenCount"], 30);
    assert_eq!(usage["candidatesTokenCount"], 3);
    assert_eq!(usage["thoughtsTokenCount"], 6);
    assert_eq!(usage["toolUsePromptTokenCount"], 4);
    assert_eq!(usage["totalTokenCount"], 63);
    assert_eq!(answer["modelVersion"], "gemini-2.5-pro");
    let record = ended(&mock, "a").await;
    assert_eq!(
        (record.dialect, record.auth_header),
        ("gemini", Some("x-goog-api-key"))
    );
    assert_eq!(record.model_asked.as_deref(), Some("gemini-2.5-pro"));
    let parts = record.parts().unwrap();
    assert_eq!((parts.input, parts.cache_read), (24, 30));
    assert_eq!((parts.output, parts.reasoning), (3, 6));
}

#[tokio::test]
async fn every_event_of_a_stream_has_the_usage_so_far() {
    let mock = start();
    let mut body = asking("chunks=9 tag=a");
    body["generationConfig"] =
        json!({"maxOutputTokens": 2, "thinkingConfig": {"includeThoughts": true}});
    let events = stream(&mock, &body).await;
    let counts: Vec<&Value> = events
        .iter()
        .map(|event| &event["usageMetadata"]["candidatesTokenCount"])
        .collect();
    assert_eq!(counts, [0, 0, 1, 2, 2]);
    let thoughts = |event: &Value| event["candidates"][0]["content"]["parts"][0]["thought"] == true;
    assert_eq!(events.iter().filter(|event| thoughts(event)).count(), 2);
    let last = &events[4]["candidates"][0];
    assert_eq!(last["finishReason"], "MAX_TOKENS");
    let record = ended(&mock, "a").await;
    assert!(record.stream && record.completed);
    assert_eq!(record.announced.unwrap().completion_tokens, 2);
}

#[tokio::test]
async fn a_cut_stream_has_announced_what_it_came_to() {
    let mock = start();
    let body = asking("chunks=9 cut_at=3 cut=fin tokens_out=2 tag=a");
    let url = format!("http://{}{STREAM}", mock.addr);
    let request = client().post(url).header(KEY[0], KEY[1]).json(&body);
    assert!(request.send().await.unwrap().text().await.is_err());
    let record = ended(&mock, "a").await;
    assert_eq!(record.produced, 3);
    assert_eq!(record.announced.unwrap().completion_tokens, 2);
}

#[tokio::test]
async fn calls_are_whole_parts() {
    let mock = start();
    let mut body = asking("chunks=5 tool=2");
    body["tools"] = json!([{"functionDeclarations": [{"name": "a"}, {"name": "b"}]}]);
    let call =
        |event: &Value| event["candidates"][0]["content"]["parts"][0]["functionCall"].clone();
    let events = stream(&mock, &body).await;
    assert_eq!(events.len(), 3);
    assert_eq!(
        call(&events[0]),
        json!({"name": "a", "args": {"text": " The weir holds"}})
    );
    assert_eq!(call(&events[1])["name"], "b");
    let answer = whole(&mock, &body).await;
    let parts = answer["candidates"][0]["content"]["parts"]
        .as_array()
        .unwrap();
    assert_eq!(parts.len(), 2);
    assert_eq!(
        parts[1]["functionCall"]["args"],
        json!({"text": " The weir"})
    );
}

#[tokio::test]
async fn errors_have_the_shape_and_the_words_of_google() {
    let mock = start();
    for (directive, status, name, says) in [
        (
            "status=400 code=context_length_exceeded",
            400,
            "INVALID_ARGUMENT",
            "The input token count (13) exceeds the maximum number of tokens allowed (1048576).",
        ),
        (
            "status=429 retry_after=7",
            429,
            "RESOURCE_EXHAUSTED",
            r#""retryDelay":"7s""#,
        ),
        ("status=503", 503, "UNAVAILABLE", "overloaded"),
        (
            "status=400 code=FAILED_PRECONDITION",
            400,
            "FAILED_PRECONDITION",
            "",
        ),
    ] {
        let (got, text) = put(&mock, WHOLE, KEY, &asking(directive)).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((got, &error["error"]["code"]), (status, &json!(status)));
        assert_eq!(error["error"]["status"], name);
        assert!(text.contains(says), "{text}");
    }
    let events = stream(&mock, &asking("chunks=9 error_at=2")).await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[2]["error"]["code"], 503);
}

#[tokio::test]
async fn usage_takes_every_form() {
    let mock = start();
    for (form, count) in [
        ("off", json!(null)),
        ("null", json!(null)),
        ("zero", json!(0)),
        ("negative", json!(-2)),
        ("huge", json!(i64::MAX - 1)),
        ("string", json!("2")),
    ] {
        let body = asking(&format!("chunks=2 usage={form}"));
        for event in [&stream(&mock, &body).await[2], &whole(&mock, &body).await] {
            assert_eq!(
                event["usageMetadata"]["candidatesTokenCount"], count,
                "{form}"
            );
            assert_eq!(
                event.get("usageMetadata").is_some(),
                form != "off",
                "{form}"
            );
        }
    }
    let events = stream(&mock, &asking("chunks=2 usage=early")).await;
    assert_eq!(events[0]["usageMetadata"]["candidatesTokenCount"], 2);
    assert!(
        events[1..]
            .iter()
            .all(|event| event.get("usageMetadata").is_none())
    );
    assert_eq!(
        stream(&mock, &asking("chunks=2 usage=twice")).await.len(),
        4
    );
}

#[tokio::test]
async fn the_key_belongs_in_its_header() {
    let mock = Mock::start(Options {
        require_key: Some("k".to_owned()),
        ..Options::default()
    })
    .unwrap();
    for (path, header, status) in [
        (WHOLE.to_owned(), KEY, 200),
        (WHOLE.to_owned(), ["x-goog-api-key", "other"], 401),
        (WHOLE.to_owned(), ["authorization", "Bearer k"], 403),
        (format!("{WHOLE}?key=k"), KEY, 400),
        (STREAM.replace("?alt=sse", ""), KEY, 400),
    ] {
        let (got, text) = put(&mock, &path, header, &asking("chunks=1")).await;
        assert_eq!(got, status, "{path} {header:?}: {text}");
        assert!(status == 200 || text.contains(r#""status":"#), "{text}");
    }
}

#[tokio::test]
async fn tokens_are_counted() {
    let mock = start();
    let path = "/v1beta/models/gemini-2.5-pro:countTokens";
    let body = json!({"contents": [{"parts": [{"text": "12345"}]}]});
    assert_eq!(
        put(&mock, path, KEY, &body).await,
        (200, r#"{"totalTokens":2}"#.to_owned())
    );
}

#[tokio::test]
async fn requests_that_google_refuses_are_refused() {
    let mock = start();
    let with = |name: &str, value: Value| {
        let mut body = asking("chunks=1");
        body[name] = value;
        body
    };
    let turns = |turns: Value| with("contents", turns);
    let hello = json!({"role": "user", "parts": [{"text": "hello"}]});
    let call = json!({"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]});
    let result = |name: &str| {
        json!({"role": "user", "parts": [
        {"functionResponse": {"name": name, "response": {"x": "y"}}}]})
    };
    for (body, why) in [
        (with("messages", json!([])), "Unknown name \\\"messages\\\""),
        (
            with("generationConfig", json!({"max_tokens": 3})),
            "generation_config",
        ),
        (
            with("generationConfig", json!({"candidateCount": 2})),
            "Multiple candidates",
        ),
        (with("tools", json!([{"type": "function"}])), "tools[0]"),
        (
            with(
                "tools",
                json!([{"functionDeclarations": [{"name": "f", "parameters":
                {"type": "object", "properties": {"a": {"type": "object", "$schema": "x"}}}}]}]),
            ),
            "$schema",
        ),
        (turns(json!([])), "not specified"),
        (
            turns(json!([{"role": "assistant", "parts": [{"text": "a"}]}])),
            "valid role",
        ),
        (
            turns(json!([{"role": "user", "parts": []}])),
            "must not be empty",
        ),
        (
            turns(json!([{"role": "user", "parts": [{}]}])),
            "oneof field",
        ),
        (
            turns(json!([{"role": "user", "content": "a"}])),
            "Unknown name",
        ),
        (
            turns(json!([call, result("f")])),
            "immediately after a user turn",
        ),
        (
            turns(json!([hello, result("f")])),
            "number of function response parts",
        ),
        (
            turns(json!([hello, call, hello])),
            "number of function response parts",
        ),
        (turns(json!([hello, call, result("g")])), "names (g)"),
        (turns(json!([hello, call])), "end with a user role"),
    ] {
        let (status, text) = put(&mock, WHOLE, KEY, &body).await;
        assert_eq!(status, 400, "{body}");
        assert!(text.contains(why), "{body}: {text}");
        assert!(text.contains("INVALID_ARGUMENT"));
    }
    let snake =
        json!({"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a_b": 1}}}]});
    for call in [call, snake] {
        let body = turns(json!([hello, call, result("f")]));
        let (status, text) = put(&mock, WHOLE, KEY, &body).await;
        assert_eq!(status, 200, "{text}");
    }
}
