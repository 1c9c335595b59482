//! Requests that servers could read differently, and JSON that parsers could.

use crate::support::client::{chat_body, request};
use crate::support::{Gateway, Provider, Seen};

const JSON: &str = "Content-Type: application/json";

/// Sends bytes on a connection of their own; status and code of the answer.
async fn answer_to(gateway: &Gateway, bytes: &[u8]) -> (u16, String) {
    let mut raw = gateway.raw().await;
    raw.send(bytes).await;
    let reply = raw.reply().await;
    let empty = reply.body.is_empty();
    (
        reply.status,
        if empty { "empty".into() } else { reply.code() },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_two_readings_reaches_nobody() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let body = chat_body("x", false);
    let length = format!("Content-Length: {}", body.len());
    let chunked = "Transfer-Encoding: chunked";
    let in_chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let bad = (400, "bad_request".to_owned());
    let raw = |head: &str, headers: &[&str], body: &str| {
        let mut text = format!("{head}\r\n");
        for header in headers {
            text += &format!("{header}\r\n");
        }
        format!("{text}\r\n{body}").into_bytes()
    };
    let post = "POST /v1/chat/completions HTTP/1.1";
    for (what, bytes) in [
        (
            "both lengths",
            raw(post, &["Host: a", JSON, &length, chunked], &in_chunks),
        ),
        ("no host", raw(post, &[JSON, &length], &body)),
        (
            "HTTP/1.0 with a body",
            raw(
                "POST /v1/chat/completions HTTP/1.0",
                &["Host: a", JSON, &length],
                &body,
            ),
        ),
        (
            "upgrade",
            raw(
                post,
                &[
                    "Host: a",
                    "Connection: upgrade",
                    "Upgrade: websocket",
                    JSON,
                    &length,
                ],
                &body,
            ),
        ),
        (
            "h2c",
            raw(
                post,
                &[
                    "Host: a",
                    "Connection: Upgrade, HTTP2-Settings",
                    "Upgrade: h2c",
                    "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
                    JSON,
                    &length,
                ],
                &body,
            ),
        ),
        (
            "a large header",
            raw(
                post,
                &[
                    "Host: a",
                    JSON,
                    &length,
                    &format!("X-Big: {}", "x".repeat(70_000)),
                ],
                &body,
            ),
        ),
        ("many headers", {
            let many: Vec<String> = (0..120).map(|n| format!("X-{n}: 1")).collect();
            let mut headers = vec!["Host: a", JSON, &length];
            headers.extend(many.iter().map(String::as_str));
            raw(post, &headers, &body)
        }),
    ] {
        assert_eq!(answer_to(&gateway, &bytes).await, bad, "{what}");
    }
    // What the HTTP parser itself refuses gets any 4xx, or a closed connection.
    for (what, bytes) in [
        (
            "two hosts",
            raw(post, &["Host: a", "Host: b", JSON, &length], &body),
        ),
        (
            "two lengths",
            raw(
                post,
                &["Host: a", JSON, &length, "Content-Length: 3"],
                &body,
            ),
        ),
        (
            "the same length twice",
            raw(post, &["Host: a", JSON, &length, &length], &body),
        ),
        (
            "a negative length",
            raw(post, &["Host: a", JSON, "Content-Length: -1"], &body),
        ),
        (
            "a signed length",
            raw(
                post,
                &["Host: a", JSON, &format!("Content-Length: +{}", body.len())],
                &body,
            ),
        ),
        (
            "a folded header",
            raw(
                post,
                &["Host: a", "X-A: 1\r\n X-Agent-ID: b", JSON, &length],
                &body,
            ),
        ),
        (
            "space before the colon",
            raw(
                post,
                &["Host: a", "Content-Length : 5", JSON, &length],
                &body,
            ),
        ),
        (
            "odd codings",
            raw(
                post,
                &["Host: a", JSON, "Transfer-Encoding: xchunked"],
                &in_chunks,
            ),
        ),
        (
            "codings twice",
            raw(
                post,
                &["Host: a", JSON, chunked, "Transfer-Encoding: identity"],
                &in_chunks,
            ),
        ),
        (
            "a bad chunk size",
            raw(post, &["Host: a", JSON, chunked], "zz\r\n{}\r\n0\r\n\r\n"),
        ),
        ("no HTTP", b"hello\r\n\r\n".to_vec()),
    ] {
        let mut connection = gateway.raw().await;
        connection.send(&bytes).await;
        connection.half_close().await;
        let text = connection.rest().await;
        let text = String::from_utf8_lossy(&text);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4"),
            "{what}: {text}"
        );
    }
    assert!(provider.records().is_empty(), "{:?}", provider.records());
    assert_eq!(gateway.get("/api/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_exact_path_is_the_route() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let body = chat_body("x", false);
    for path in [
        "/v1/../v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/chat/%63ompletions",
        "/v1%2Fchat%2Fcompletions",
        "/v1/%2e%2e/v1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat/completions%00",
        "/v1/models/../chat/completions",
        "/api/../v1/chat/completions",
        "/metrics/",
    ] {
        let bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\n{JSON}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = answer_to(&gateway, bytes.as_bytes()).await;
        assert_eq!(answer, (404, "not_found".into()), "{path}");
    }
    assert!(provider.records().is_empty());
    // A query is none of the route's business, and does not go upstream.
    let bytes = format!(
        "POST /v1/chat/completions?beta=true&status=500 HTTP/1.1\r\nHost: a\r\n{JSON}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(answer_to(&gateway, bytes.as_bytes()).await.0, 200);
    let record = provider.only_record().await;
    assert_eq!(record.request.as_ref().unwrap().query, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_no_plain_json_are_refused_unread() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    for (headers, status) in [
        (&[("content-encoding", "gzip")][..], 415),
        (&[("content-encoding", "br")], 415),
        (&[("content-encoding", "identity, gzip")], 415),
        (&[("content-type", "text/plain")], 415),
        (
            &[("content-type", "application/x-www-form-urlencoded")],
            415,
        ),
        (&[("content-type", "multipart/form-data; boundary=x")], 415),
        (&[("content-type", "application/jsonx")], 415),
        (&[("content-type", "")], 415),
        (&[("content-type", "application/json; charset=utf-8")], 200),
        (
            &[
                ("content-type", "Application/JSON"),
                ("content-encoding", "identity"),
            ],
            200,
        ),
    ] {
        let call = headers
            .iter()
            .fold(gateway.chat("x"), |call, (name, value)| {
                call.header(name, value)
            });
        let reply = call.send().await;
        assert_eq!(reply.status, status, "{headers:?}");
    }
    assert_eq!(provider.records().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_parsers_read_differently_is_refused() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let message = r#""messages":[{"role":"user","content":"x"}]"#;
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let cases: Vec<(String, &str)> = vec![
        (
            format!(r#"{{{message},"max_tokens":1,"max_tokens":100000}}"#),
            "invalid_json",
        ),
        (
            format!(r#"{{{message},"max_tokens":1,"max_\u0074okens":100000}}"#),
            "invalid_json",
        ),
        (
            format!(r#"{{{message},"metadata":{{"a":1,"a":2}}}}"#),
            "invalid_json",
        ),
        (format!(r#"{{{message},"x":{deep}}}"#), "invalid_json"),
        (
            format!(r#"{{{message},"temperature":1e400}}"#),
            "invalid_json",
        ),
        (
            format!(r#"{{{message},"temperature":NaN}}"#),
            "invalid_json",
        ),
        (format!(r#"{{{message},"temperature":.5}}"#), "invalid_json"),
        (format!(r#"{{{message},"temperature":01}}"#), "invalid_json"),
        (format!(r#"{{{message},"user":"\ud800"}}"#), "invalid_json"),
        (
            format!(r#"{{{message},"user":"\udc00\ud800"}}"#),
            "invalid_json",
        ),
        (format!("{{{message},\"user\":\"a\nb\"}}"), "invalid_json"),
        (format!(r#"{{{message},}}"#), "invalid_json"),
        (format!(r#"{{{message}}} {{}}"#), "invalid_json"),
        (format!("\u{feff}{{{message}}}"), "invalid_json"),
        (format!("{{{message}}} // why"), "invalid_json"),
        (String::new(), "invalid_json"),
        ("null".into(), "invalid_json"),
        ("[]".into(), "invalid_json"),
        (
            format!(r#"{{{message},"n":18446744073709551616}}"#),
            "invalid_field",
        ),
        (format!(r#"{{{message},"n":4294967297}}"#), "invalid_field"),
        (format!(r#"{{{message},"n":0}}"#), "invalid_field"),
        (format!(r#"{{{message},"n":-1}}"#), "invalid_field"),
        (format!(r#"{{{message},"n":"2"}}"#), "invalid_field"),
        (format!(r#"{{{message},"max_tokens":-5}}"#), "invalid_field"),
        (format!(r#"{{{message},"max_tokens":0}}"#), "invalid_field"),
        (
            format!(r#"{{{message},"max_tokens":1.5}}"#),
            "invalid_field",
        ),
        (
            format!(r#"{{{message},"max_tokens":"100"}}"#),
            "invalid_field",
        ),
        (
            format!(r#"{{{message},"max_tokens":[1]}}"#),
            "invalid_field",
        ),
        (format!(r#"{{{message},"stream":"true"}}"#), "invalid_field"),
        (format!(r#"{{{message},"model":5}}"#), "invalid_field"),
        (r#"{"messages":"hi"}"#.into(), "invalid_field"),
        (r#"{"model":"x"}"#.into(), "invalid_field"),
    ];
    for (body, code) in cases {
        let reply = gateway.chat("").raw(body.clone()).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{body}");
    }
    let mut invalid = format!(r#"{{{message},"user":"?"}}"#).into_bytes();
    let at = invalid.iter().position(|byte| *byte == b'?').unwrap();
    invalid[at] = 0xff;
    let reply = gateway.chat("").raw(invalid).send().await;
    assert_eq!((reply.status, reply.code()), (400, "invalid_json".into()));
    assert!(provider.records().is_empty());
    assert_eq!(gateway.account("default").await["budget_held"], 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_strip_or_forge_headers_on_their_way_upstream() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .upstream("api_key: sk-or-configured")
        .upstream("referer: https://example.com")
        .start()
        .await;
    let body = chat_body("x", false);
    let length = format!("Content-Length: {}", body.len());
    let bytes = request(
        &[
            JSON,
            &length,
            "Connection: keep-alive, authorization, x-title, http-referer, content-length, content-type",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: keep-alive",
            "Proxy-Authorization: Basic YTpi",
            "TE: gzip",
            "Trailer: x",
            "Authorization: Bearer sk-forged",
            "X-Api-Key: sk-forged",
            "X-Title: forged",
            "HTTP-Referer: https://forged.example",
            "X-Request-Id: forged",
            "X-Forwarded-For: 1.2.3.4",
            "X-Forwarded-Host: forged",
            "X-Real-IP: 1.2.3.4",
            "Forwarded: for=1.2.3.4",
            "Cookie: session=1",
            "Accept-Encoding: gzip, br",
            "X-Agent-ID: default",
            "X-Stainless-Lang: python",
            "OpenAI-Beta: assistants=v2",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "User-Agent: story/1.0",
        ],
        &body,
    );
    assert_eq!(answer_to(&gateway, &bytes).await.0, 200);
    let record = provider.only_record().await;
    assert_eq!(record.refused, None);
    for (name, value) in [
        ("authorization", Some("Bearer sk-or-configured")),
        ("http-referer", Some("https://example.com")),
        ("x-title", Some("Weir")),
        ("accept-encoding", Some("identity")),
        ("user-agent", Some("story/1.0")),
        ("openai-beta", Some("assistants=v2")),
        ("content-type", Some("application/json")),
        ("x-api-key", None),
        ("x-forwarded-for", None),
        ("x-forwarded-host", None),
        ("x-real-ip", None),
        ("forwarded", None),
        ("cookie", None),
        ("te", None),
        ("trailer", None),
        ("x-agent-id", None),
        ("x-stainless-lang", None),
        ("expect", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(record.header(name).as_deref(), value, "{name}");
    }
    assert!(record.header("traceparent").is_some());
    assert!(record.header("x-request-id").unwrap().starts_with("req_"));
    let host = record.header("host").unwrap();
    assert!(provider.base_url().contains(&host), "{host}");
}
