//! What Weir adds to an answer, and what it leaves alone.

use crate::support::{Gateway, Peer, Provider, Reply, Scripted, Seen};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_answer_keeps_its_fields_and_gains_one() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let reply = gateway
        .chat("[[chunks=3]]")
        .field("model", "my/model")
        .send()
        .await;
    let body = reply.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["usage"]["completion_tokens"], 3);
    assert_eq!(
        body["_execwall"]["models_allowed"],
        json!(["openai/gpt-4o-mini"])
    );
    assert_eq!(body["_execwall"]["original_model"], "my/model");
    assert_eq!(reply.header("x-weir-agent"), Some("default"));
    assert_eq!(reply.header("x-weir-tier"), Some("0"));
    assert_eq!(reply.header("x-weir-models"), Some("openai/gpt-4o-mini"));
    let id = reply.header("x-weir-request-id").unwrap();
    assert!(id.starts_with("req_"), "{id}");
    assert_eq!(gateway.bill("default").await["request_id"], id);
    let record = provider.only_record().await;
    assert_eq!(record.header("x-request-id").as_deref(), Some(id));
    // The provider's own id passes through.
    assert!(
        reply
            .header("x-request-id")
            .unwrap()
            .starts_with("req_mock_")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_is_the_last_chunk_before_done() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let kinds = [
        "",
        "dialect=openai",
        "crlf=1 comment=1",
        "split=7",
        "coalesce=1",
        "usage=off",
    ];
    for kind in kinds {
        for include in [false, true] {
            let call = gateway.chat(&format!("[[chunks=4 {kind}]]")).stream();
            let call = call.field("stream_options", json!({"include_usage": include}));
            let reply = call.send().await;
            let text = reply.text().replace("\r\n", "\n");
            let at = text.find("\"_execwall\"").expect(kind);
            let rest: Vec<&str> = text[at..].split("\n\n").collect();
            assert_eq!(rest[1..], ["data: [DONE]", ""], "{kind}");
            assert_eq!(
                crate::support::client::events(&text).last().unwrap()["choices"],
                json!([])
            );
        }
    }
}

/// Sends the same request to the provider and through the gateway.
async fn both(provider: &Provider, gateway: &Gateway, prompt: &str, stream: bool) -> [Reply; 2] {
    let client = crate::support::client::http();
    let direct = provider.base_url();
    let direct = crate::support::client::Call::new(&client, direct.trim_end_matches("/v1"), prompt);
    let through = gateway.chat(prompt);
    // The gateway asks for usage; the mock must be asked by the other request as well.
    let prepare = |call: crate::support::client::Call| {
        let call = call
            .field("stream", stream)
            .field("model", "openai/gpt-4o-mini");
        if stream {
            call.field("stream_options", json!({"include_usage": true}))
        } else {
            call
        }
    };
    [prepare(direct).send().await, prepare(through).send().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_metadata_not_a_byte_is_changed() {
    let provider = Provider::with(weir::mock::Options {
        recorded: Some("tests/recorded".into()),
        ..Default::default()
    });
    let gateway = Gateway::over(&provider)
        .routing("metadata: false")
        .start()
        .await;
    // Ids and times differ from answer to answer, and only they.
    let neutral = |reply: &Reply| {
        let text = reply.text();
        text.split(',')
            .filter(|field| !field.contains("\"id\":") && !field.contains("\"created\":"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for stream in [false, true] {
        for prompt in [
            "[[chunks=5]]",
            "[[crlf=1 comment=1]]",
            "[[split=3 tool=1]]",
            "[[dialect=openai]]",
        ] {
            let [direct, through] = both(&provider, &gateway, prompt, stream).await;
            assert_eq!(neutral(&direct), neutral(&through), "{prompt}");
            assert!(!through.text().contains("_execwall"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_but_valid_answers_pass_unchanged() {
    const JSON: &str = "{ \"usage\" : {\"prompt_tokens\":3,\"completion_tokens\":1,\"cost\":1e-3}\n,\"choices\":[],\"x\":1.50, \"u\":\"\\u00e9\" }\n";
    const STREAM: &str = ":hello\n\nevent: message\nid: 7\nretry: 10\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\ndata:{\"choices\":[]}\n\n\n\ndata: [DONE]\n\n: bye\n\n";
    let upstream = Scripted::start(|_, mut peer: Peer| async move {
        while let Some(request) = peer.request().await {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            if body["stream"] == true {
                peer.answer("200 OK", &["Content-Type: text/event-stream"], STREAM)
                    .await;
            } else {
                peer.answer("200 OK", &["Content-Type: application/json"], JSON)
                    .await;
            }
        }
    })
    .await;
    let gateway = Gateway::at(&upstream.base_url())
        .routing("metadata: false")
        .start()
        .await;
    assert_eq!(gateway.chat("x").send().await.text(), JSON);
    assert_eq!(gateway.bill("default").await["nano_usd"], 1_000_000);
    assert_eq!(gateway.chat("x").stream().send().await.text(), STREAM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_usage_chunk_nobody_asked_for_is_taken_out_and_asked_for_upstream() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .routing("metadata: false")
        .start()
        .await;
    let prompt = "[[dialect=openai chunks=3]]";
    let plain = gateway.chat(prompt).stream().send().await;
    assert!(plain.done());
    assert!(
        plain
            .events()
            .iter()
            .all(|event| event["choices"] != json!([]))
    );
    let asked = gateway
        .chat(prompt)
        .stream()
        .field("stream_options", json!({"include_usage": true, "other": 1}))
        .send()
        .await;
    let events = asked.events();
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 3);
    let bodies: Vec<Value> = provider.records().iter().map(Seen::body).collect();
    assert_eq!(bodies[0]["stream_options"], json!({"include_usage": true}));
    assert_eq!(
        bodies[1]["stream_options"],
        json!({"include_usage": true, "other": 1})
    );
    let bills = gateway.billed("default", 2).await;
    assert_eq!(bills[0]["nano_usd"], bills[1]["nano_usd"]);
    assert_eq!(bills[0]["source"], "usage");
}
