//! What OpenAI's older interfaces, Azure and OpenRouter have of their own.

use super::*;

const BEARER: [&str; 2] = ["authorization", "Bearer k"];
const AZURE: &str = "/openai/deployments/four/chat/completions?api-version=2024-10-21";

async fn at(mock: &MockHandle, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = put(mock, path, BEARER, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn azure_wants_its_version_and_its_key_and_never_charges() {
    let mock = start();
    let mut body = asking("chunks=2 tag=a", true);
    body["model"] = json!(null);
    body["stream_options"] = json!({"include_usage": true});
    let (status, text) = put(&mock, AZURE, ["api-key", "k"], &body).await;
    assert_eq!(status, 200, "{text}");
    let events = parse(&text);
    assert_eq!(events[0]["choices"], json!([]));
    assert!(events[0]["prompt_filter_results"].is_array());
    assert_eq!(events[1]["model"], "four");
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 2);
    assert!(usage.get("cost").is_none());
    let record = ended(&mock, "a").await;
    assert_eq!(
        (record.dialect, record.auth_header),
        ("azure", Some("api-key"))
    );
    let (path, _) = AZURE.split_once('?').unwrap();
    let (status, _) = put(&mock, path, ["api-key", "k"], &body).await;
    assert_eq!(status, 404);
    assert_eq!(put(&mock, AZURE, BEARER, &body).await.0, 401);
    let filtered = asking("status=400 code=content_filter", false);
    let (_, text) = put(&mock, AZURE, ["api-key", "k"], &filtered).await;
    assert!(text.contains("ResponsibleAIPolicyViolation"), "{text}");
}

#[tokio::test]
async fn a_key_in_two_headers_is_refused() {
    let mock = start();
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    let request = client().post(url).header("x-api-key", "k").bearer_auth("k");
    let response = request
        .json(&asking("chunks=1", false))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn the_dialect_of_openai_takes_only_documented_fields() {
    let mock = start();
    for field in [
        "top_k",
        "models",
        "provider",
        "usage",
        "reasoning",
        "transforms",
    ] {
        let mut body = asking("chunks=1 dialect=openai", false);
        body[field] = json!([]);
        let (status, error) = at(&mock, "/v1/chat/completions", &body).await;
        let why = format!("Unrecognized request argument supplied: {field}");
        assert_eq!((status, &error["error"]["message"]), (400, &json!(why)));
        let text = body.to_string().replace("openai", "openrouter");
        let body = serde_json::from_str(&text).unwrap();
        assert_eq!(
            at(&mock, "/v1/chat/completions", &body).await.0,
            200,
            "{field}"
        );
    }
}

#[tokio::test]
async fn a_tool_message_must_answer_a_call_of_the_message_before() {
    let mock = start();
    let hello = json!({"role": "user", "content": "[[chunks=1]]"});
    let call = json!({"role": "assistant", "content": null, "tool_calls":
        [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "x"});
    for (messages, why) in [
        (json!([hello, call, result("c"), hello]), ""),
        (
            json!([hello, result("c")]),
            "must be a response to a preceding message",
        ),
        (json!([hello, call, result("d")]), "'d' not found"),
        (
            json!([hello, call, hello, result("c")]),
            "must be followed by tool messages",
        ),
        (json!([hello, call]), "must be followed by tool messages"),
    ] {
        let body = json!({"model": "a", "messages": messages});
        let (status, answer) = at(&mock, "/v1/chat/completions", &body).await;
        assert_eq!(status, if why.is_empty() { 200 } else { 400 }, "{body}");
        assert!(answer.to_string().contains(why), "{body}: {answer}");
    }
}

#[tokio::test]
async fn two_calls_of_a_chat_are_interleaved() {
    let mock = start();
    let mut body = asking("chunks=5 tool=2", true);
    body["tools"] = json!([
        {"type": "function", "function": {"name": "a"}},
        {"type": "function", "function": {"name": "b"}},
    ]);
    let mut arguments = [String::new(), String::new()];
    let mut indices = Vec::new();
    for event in parse(&post(&mock, &body).await.text().await.unwrap()) {
        let call = &event["choices"][0]["delta"]["tool_calls"][0];
        if let Some(index) = call["index"].as_u64() {
            indices.push(index);
            let piece = call["function"]["arguments"].as_str().unwrap();
            arguments[usize::try_from(index).unwrap()].push_str(piece);
        }
    }
    assert_eq!(indices, [0, 1, 0, 1, 0, 1, 0]);
    assert_eq!(
        arguments,
        [r#"{"text":" The weir holds"}"#, r#"{"text":" The weir"}"#]
    );
    body["stream"] = json!(false);
    let answer: Value = post(&mock, &body).await.json().await.unwrap();
    let calls = &answer["choices"][0]["message"]["tool_calls"];
    assert_eq!(
        (&calls[0]["id"], &calls[1]["id"]),
        (&json!("call_mock_0"), &json!("call_mock_0_1"))
    );
    assert_eq!(calls[1]["function"]["arguments"], r#"{"text":" The weir"}"#);
}

#[tokio::test]
async fn an_error_has_the_code_that_was_asked_for() {
    let mock = start();
    for (directive, code, says) in [
        (
            "status=400 dialect=openai code=context_length_exceeded",
            "/error/code",
            "resulted in",
        ),
        (
            "status=400 dialect=openai code=content_policy_violation",
            "/error/code",
            "safety",
        ),
        (
            "status=429 dialect=openai code=insufficient_quota",
            "/error/type",
            "quota",
        ),
        (
            "status=400 code=context_length_exceeded",
            "/error/metadata/error_type",
            "resulted in",
        ),
    ] {
        let (_, error) = at(&mock, "/v1/chat/completions", &asking(directive, false)).await;
        let (_, name) = directive.split_once("code=").unwrap();
        assert_eq!(error.pointer(code), Some(&json!(name)), "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(says));
    }
    let text = post(&mock, &asking("error_at=1 code=my_code", true))
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains(r#""error_type":"my_code""#), "{text}");
}

#[tokio::test]
async fn a_legacy_completion_speaks_of_text() {
    let mock = start();
    let mut body = json!({"model": "openai/gpt-4o", "prompt": "Hello [[chunks=2 tag=a]]", "n": 2});
    let (_, answer) = at(&mock, "/v1/completions", &body).await;
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][1]["text"], " The weir");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    assert_eq!(
        ended(&mock, "a").await.announced.unwrap().completion_tokens,
        4
    );
    body["stream"] = json!(true);
    body["max_tokens"] = json!(1);
    let (_, text) = put(&mock, "/v1/completions", BEARER, &body).await;
    assert!(text.ends_with("data: [DONE]\n\n"));
    let events = parse(&text);
    assert_eq!(events[0]["choices"][0]["text"], " The");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 2);
    body["prompt"] = json!("[[chunks=9 error_at=1 dialect=openai]]");
    let (_, text) = put(&mock, "/v1/completions", BEARER, &body).await;
    assert_eq!(
        parse(&text).last().unwrap()["error"]["message"],
        "Provider returned error"
    );
    body["messages"] = json!([]);
    let (status, error) = at(&mock, "/v1/completions", &body).await;
    assert_eq!(status, 400);
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .ends_with("messages")
    );
}

#[tokio::test]
async fn embeddings_are_the_same_for_the_same_text_in_either_coding() {
    let mock = start();
    let body = json!({"model": "e", "input": ["Hello [[tag=a]]", "x", "x"], "dimensions": 3});
    let (status, answer) = at(&mock, "/v1/openai/embeddings", &body).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer["data"][1]["embedding"],
        answer["data"][2]["embedding"]
    );
    assert_ne!(
        answer["data"][0]["embedding"],
        answer["data"][1]["embedding"]
    );
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 3);
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    assert!(answer["usage"].get("completion_tokens").is_none());
    let record = ended(&mock, "a").await;
    assert_eq!(record.dialect, "embeddings");
    let says = record.announced.unwrap();
    assert_eq!((says.prompt_tokens, says.completion_tokens), (5, 0));
    assert_eq!(says.cost_nanos, Some(5_000));
    let body = json!({"model": "e", "input": [1, 2, 3], "encoding_format": "base64"});
    let (_, answer) = at(&mock, "/v1/embeddings", &body).await;
    assert_eq!(answer["usage"]["total_tokens"], 3);
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 44);
    for (field, value) in [
        ("input", json!("")),
        ("dimensions", json!(0)),
        ("top_k", json!({})),
    ] {
        let mut body = json!({"model": "e", "input": "[[dialect=openai]]"});
        body[field] = value;
        let dialect = "/v1/embeddings?dialect=openai";
        assert_eq!(at(&mock, dialect, &body).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn a_text_is_said_in_the_chunks_it_was_divided_into() {
    let mock = start();
    let events = events(&mock, r#"text=sk-|a"b|~end"#).await;
    let pieces: Vec<&str> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .filter(|piece| !piece.is_empty())
        .collect();
    assert_eq!(pieces, ["sk-", "a\"b", " end"]);
    let body = json!({"model": "m", "max_tokens": 9, "messages":
        [{"role": "user", "content": "[[text=one|~two tag=a]]"}]});
    let version = ["anthropic-version", "2023-06-01"];
    let (_, text) = put(&mock, "/v1/messages", version, &body).await;
    assert!(text.contains(r#""text":"one two""#), "{text}");
    assert_eq!(ended(&mock, "a").await.produced, 2);
}
