//! What each key does to an answer.

use super::*;

#[tokio::test]
async fn the_readme_request_has_usage_and_an_exact_cost() {
    let mock = start();
    let body = json!({
        "model": "openrouter/auto",
        "models": ["anthropic/claude-3.5-sonnet", "openai/gpt-4o"],
        "route": "fallback",
        "messages": [{"role": "user", "content": "Hello"}],
    });
    let text = post(&mock, &body).await.text().await.unwrap();
    assert!(text.contains(r#""cost":0.000966,"#), "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["model"], "anthropic/claude-3.5-sonnet");
    assert_eq!(answer["usage"]["total_tokens"], 66);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["id"], "gen-mock-1");
}

#[tokio::test]
async fn a_stream_ends_with_usage_on_an_empty_delta() {
    let mock = start();
    let text = post(&mock, &asking("chunks=3", true))
        .await
        .text()
        .await
        .unwrap();
    assert!(text.ends_with("\n\ndata: [DONE]\n\n"));
    let events = parse(&text);
    assert_eq!(events.len(), 6);
    assert_eq!(content(&events), " The weir holds");
    let last = &events[5];
    assert_eq!(last["choices"][0]["delta"]["content"], "");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["usage"]["completion_tokens"], 3);
    assert!(last["usage"]["cost"].is_number());
    assert!(events[..5].iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn the_openai_dialect_announces_usage_only_when_asked() {
    let mock = start();
    let events = events(&mock, "chunks=1 dialect=openai").await;
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    let mut body = asking("chunks=1 dialect=openai", true);
    body["stream_options"] = json!({"include_usage": true});
    let events = parse(&post(&mock, &body).await.text().await.unwrap());
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 1);
    assert!(last["usage"].get("cost").is_none());
    assert!(
        others
            .iter()
            .all(|event| event["usage"].is_null() && event.get("usage").is_some())
    );
}

#[tokio::test]
async fn keys_rise_from_process_to_query_to_header_to_prompt() {
    let behaviour =
        super::super::Behaviour::parse("chunks=1 tokens_in=1 cached=1 reasoning=1").unwrap();
    let mock = Mock::start(Options {
        behaviour,
        ..Options::default()
    })
    .unwrap();
    let url = format!(
        "http://{}/any/v1/chat/completions?tokens_in=2&cached=2&reasoning=2",
        mock.addr
    );
    let request = client().post(url).header("x-mock", "cached=3 reasoning=3");
    let answer: Value = request
        .json(&asking("reasoning=4", false))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 1);
    assert_eq!(usage["prompt_tokens"], 2);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 4);
}

#[tokio::test]
async fn an_unknown_key_is_a_bad_request() {
    let mock = start();
    let response = post(&mock, &asking("chunk=1", false)).await;
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("is it `chunks`?"));
    assert_eq!(
        mock.records()[0].refused.as_deref(),
        Some("unknown mock key `chunk`, is it `chunks`?")
    );
}

#[tokio::test]
async fn max_tokens_stops_an_answer_and_n_multiplies_it() {
    let mock = start();
    let mut body = asking("chunks=9", false);
    body["n"] = json!(3);
    body["max_completion_tokens"] = json!(4);
    let answer: Value = post(&mock, &body).await.json().await.unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    assert_eq!(answer["choices"][2]["finish_reason"], "length");
    assert_eq!(
        answer["choices"][2]["message"]["content"],
        " The weir holds the"
    );
    body["stream"] = json!(true);
    let events = parse(&post(&mock, &body).await.text().await.unwrap());
    let of_last = events
        .iter()
        .filter(|event| event["choices"][0]["index"] == 2);
    let text: String = of_last
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, " The weir holds the");
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn announced_numbers_can_be_set_and_the_cost_follows() {
    let mock = start();
    let usage = &answer(&mock, "tokens_in=1000 tokens_out=100").await["usage"];
    assert_eq!(usage["total_tokens"], 1100);
    assert_eq!(usage["cost"].to_string(), "0.0035");
    assert_eq!(
        answer(&mock, "cost=0.123456789").await["usage"]["cost"].to_string(),
        "0.123456789"
    );
    assert!(
        answer(&mock, "cost=off").await["usage"]
            .get("cost")
            .is_none()
    );
    let text = post(&mock, &asking("cost=wrong:1e400", false))
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains(r#""cost":1e400,"#));
    let text = post(&mock, &asking("cost=wrong:NaN", true))
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains(r#""cost":"NaN","#));
    assert_eq!(
        answer(&mock, "cost=wrong:negative").await["usage"]["cost"],
        -0.5
    );
}

#[tokio::test]
async fn usage_comes_in_every_bad_form() {
    let mock = start();
    assert!(answer(&mock, "usage=off").await.get("usage").is_none());
    assert!(answer(&mock, "usage=null").await["usage"].is_null());
    assert_eq!(
        answer(&mock, "usage=negative chunks=2").await["usage"]["completion_tokens"],
        -2
    );
    assert_eq!(
        answer(&mock, "usage=huge").await["usage"]["prompt_tokens"],
        i64::MAX - 1
    );
    assert_eq!(answer(&mock, "usage=zero").await["usage"]["cost"], 0.0);
    assert_eq!(
        answer(&mock, "usage=string chunks=2").await["usage"]["completion_tokens"],
        "2"
    );
    let text = post(&mock, &asking("usage=twice", false))
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(text.matches(r#""usage":{"#).count(), 2);
    for (form, places) in [
        ("off", vec![]),
        ("twice", vec![3, 4]),
        ("early", vec![0]),
        ("on", vec![3]),
    ] {
        let events = events(&mock, &format!("chunks=1 usage={form}")).await;
        let found: Vec<usize> = (0..events.len())
            .filter(|at| events[*at]["usage"].is_object())
            .collect();
        assert_eq!(found, places, "{form}");
    }
    assert!(events(&mock, "usage=null").await.last().unwrap()["usage"].is_null());
}

#[tokio::test]
async fn the_answering_model_can_be_named_or_fall_back() {
    let mock = start();
    assert_eq!(answer(&mock, "model=x/y").await["model"], "x/y");
    let mut body = asking("fallback=1", false);
    assert_eq!(post(&mock, &body).await.status(), 400);
    body["models"] = json!(["a/a", "b/b"]);
    let answered: Value = post(&mock, &body).await.json().await.unwrap();
    assert_eq!(answered["model"], "b/b");
}

#[tokio::test]
async fn errors_look_like_the_dialect() {
    let mock = start();
    let directive = "status=402 retry_after=7 limit_source=openrouter_in_flight_budget";
    let response = post(&mock, &asking(directive, true)).await;
    assert_eq!(response.status(), 402);
    assert_eq!(response.headers()["retry-after"], "7");
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["code"], 402);
    assert_eq!(
        error["error"]["metadata"]["limit_source"],
        "openrouter_in_flight_budget"
    );
    let error = answer(&mock, "status=429 dialect=openai").await;
    assert_eq!(error["error"]["code"], "rate_limit_exceeded");
    assert!(error["error"]["param"].is_null());
}

#[tokio::test]
async fn pages_redirects_and_echoed_keys() {
    let mock = start();
    let page = post(&mock, &asking("html=1", true)).await;
    assert_eq!(page.status(), 502);
    assert!(
        page.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let redirect = post(&mock, &asking("redirect=http://127.0.0.1:1/x", true)).await;
    assert_eq!(redirect.status(), 307);
    assert_eq!(redirect.headers()["location"], "http://127.0.0.1:1/x");
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    let request = client()
        .post(url)
        .bearer_auth("sk-or-v1-x")
        .json(&asking("echo=auth status=403", false));
    let echo = request.send().await.unwrap();
    assert_eq!(echo.status(), 403);
    assert!(echo.text().await.unwrap().contains("Bearer sk-or-v1-x"));
}

#[tokio::test]
async fn an_error_in_the_middle_carries_its_cost() {
    let mock = start();
    let events = events(&mock, "chunks=9 error_at=2 error_cost=0.25").await;
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["choices"][0]["finish_reason"], "error");
    assert_eq!(events[3]["error"]["code"], 502);
    assert_eq!(events[3]["usage"]["cost"], 0.25);
    let record = &mock.records()[0];
    assert_eq!(
        (record.produced, record.announced.unwrap().cost_nanos),
        (2, Some(250_000_000))
    );
    let only = post(&mock, &asking("error_at=0", true))
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(parse(&only).len(), 1);
    assert!(!only.contains("[DONE]"));
    assert!(!parse(&only)[0].as_object().unwrap().contains_key("usage"));
    let json = answer(&mock, "error_at=1").await;
    assert_eq!(json["choices"][0]["finish_reason"], "error");
}

#[tokio::test]
async fn the_first_attempts_of_a_key_fail() {
    let mock = start();
    for status in [503, 503, 200] {
        assert_eq!(
            post(&mock, &asking("key=a fail_first=2", false))
                .await
                .status(),
            status
        );
    }
    assert_eq!(
        post(&mock, &asking("key=b fail_first=1 status=429", false))
            .await
            .status(),
        429
    );
    assert_eq!(
        post(&mock, &asking("key=b fail_first=1 status=429", false))
            .await
            .status(),
        200
    );
    assert_eq!(
        mock.records().iter().map(|r| r.attempt).collect::<Vec<_>>(),
        [1, 2, 3, 1, 2]
    );
    mock.forget();
    assert_eq!(
        post(&mock, &asking("key=a fail_first=1", false))
            .await
            .status(),
        503
    );
}

#[tokio::test]
async fn the_received_body_is_digested() {
    use sha2::{Digest as _, Sha256};
    let mock = start();
    let body = json!({
        "messages": [{"role": "user", "content": format!("[[body_sha=1]]{}", "ü".repeat(700_000))}],
    });
    let sent = body.to_string();
    let hash = crate::secret::KeyDigest::of(sent.as_bytes()).to_hex();
    let answer: Value = post(&mock, &body).await.json().await.unwrap();
    let expected = format!("sha256={hash} bytes={}", sent.len());
    assert_eq!(answer["choices"][0]["message"]["content"], expected);
    let body = asking("body_sha=messages", true);
    let events = parse(&post(&mock, &body).await.text().await.unwrap());
    let messages = body["messages"].to_string();
    let hash = Sha256::digest(messages.as_bytes());
    assert!(content(&events).starts_with(&format!("sha256={:02x}{:02x}", hash[0], hash[1])));
}

#[tokio::test]
async fn a_tool_call_has_whole_arguments_either_way() {
    let mock = start();
    let mut body = asking("tool=1 chunks=3", false);
    body["tools"] = json!([{"type": "function", "function": {"name": "look_up"}}]);
    let answer: Value = post(&mock, &body).await.json().await.unwrap();
    let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "look_up");
    assert_eq!(call["arguments"], r#"{"text":" The weir holds"}"#);
    body["stream"] = json!(true);
    let events = parse(&post(&mock, &body).await.text().await.unwrap());
    let parts = events.iter().filter_map(|event| {
        event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str()
    });
    assert_eq!(
        parts.collect::<String>(),
        call["arguments"].as_str().unwrap()
    );
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
}

#[tokio::test]
async fn comments_padding_headers_and_a_missing_done() {
    let mock = start();
    let response = post(
        &mock,
        &asking("chunks=2 comment=1 pad=9 headers=3 done=off", true),
    )
    .await;
    assert_eq!(response.headers()["x-mock-2"].len(), 88);
    let text = response.text().await.unwrap();
    assert!(text.starts_with(": OPENROUTER PROCESSING\n\n"));
    assert!(!text.contains("[DONE]"));
    assert_eq!(content(&parse(&text)), " xxxxxxxx xxxxxxxx");
}

#[tokio::test]
async fn an_answer_is_compressed_unasked() {
    use std::io::Read as _;
    let mock = start();
    for stream in [false, true] {
        let response = post(&mock, &asking("gzip=1 chunks=2", stream)).await;
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let bytes = response.bytes().await.unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains(" weir"), "{text}");
    }
}

#[tokio::test]
async fn a_recorded_answer_is_replayed_byte_for_byte() {
    let folder = std::env::temp_dir().join(format!("weir-mock-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let stream = ": a\r\n\r\ndata: {\"x\":\"\u{e9}\"}\n\ndata: [DONE]\n\ntail";
    std::fs::write(folder.join("a.sse"), stream).unwrap();
    std::fs::write(folder.join("b.err.json"), "{ }").unwrap();
    let mock = Mock::start(Options {
        recorded: Some(folder.clone()),
        ..Options::default()
    })
    .unwrap();
    for keys in ["", " split=2", " coalesce=1"] {
        let response = post(&mock, &asking(&format!("replay=a.sse{keys}"), true)).await;
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/event-stream")
        );
        assert_eq!(response.text().await.unwrap(), stream);
    }
    assert_eq!(mock.records()[0].produced, 4);
    let error = post(&mock, &asking("replay=b.err.json", true)).await;
    assert_eq!(
        (error.status().as_u16(), error.text().await.unwrap()),
        (400, "{ }".to_owned())
    );
    let missing = post(&mock, &asking("replay=none.sse", true)).await;
    assert!(missing.text().await.unwrap().contains("replay=none.sse"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(start_paused = true)]
async fn latency_and_delays_follow_the_schedule() {
    // Paused time jumps to the next timer whenever all tasks wait, so this takes no time itself.
    let mock = start();
    let begun = tokio::time::Instant::now();
    let mut socket = connect(
        &mock,
        &request("", &asking("chunks=5 delay_ms=1000 lat_ms=300", true)),
    )
    .await;
    read_to(&mut socket, "[DONE]").await;
    assert!(begun.elapsed() >= std::time::Duration::from_millis(5300));
}
