//! What the campaigns have found, each as the smallest story that shows it.

use crate::support::{Agent, Gateway, Provider, Scripted, eventually};

/// Money goes out with the request: an answer whose head came and whose first word did not is no
/// proof that the provider did nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_cut_before_its_first_word_is_charged_for_its_prompt() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    let prompt = "[[cut_at=0 cut=fin]] once upon a time";
    gateway.chat(prompt).stream().send().await;
    gateway.quiet().await;
    let bill = gateway.bill("default").await;
    assert_eq!(bill["source"], "estimated");
    assert!(bill["nano_usd"].as_i64().is_some_and(|nanos| nanos > 0));
    assert!(gateway.events("void").is_empty());
}

/// An error that the provider reports instead of an answer is documented as free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_instead_of_the_first_word_is_free() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    gateway.chat("[[error_at=0]] hello").stream().send().await;
    gateway.quiet().await;
    assert_eq!(gateway.events("void").len(), 1);
    assert!(gateway.bills("default").is_empty());
}

/// A status that HTTP does not have is no documented error: it is not passed on, and not free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_of_no_known_class_is_an_invalid_answer_and_not_free() {
    let provider = Scripted::start(|_, mut peer| async move {
        while peer.request().await.is_some() {
            peer.answer(
                "999 Odd",
                &["Content-Type: application/json"],
                r#"{"choices":[]}"#,
            )
            .await;
        }
    })
    .await;
    let gateway = Gateway::at(&provider.base_url())
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    let reply = gateway.chat("hello").send().await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (502, "upstream_invalid")
    );
    assert_eq!(gateway.bill("default").await["source"], "estimated");
}

/// A kept-alive connection that closes under a request allows another attempt, but proves nothing:
/// when no other attempt gets through, the first may have been worked on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_lost_with_its_connection_is_charged_when_no_retry_gets_through() {
    for _ in 0..10 {
        if lost_with_its_connection().await {
            return;
        }
    }
    panic!("no request was ever sent on a connection that was kept");
}

/// False when the gateway had not put the connection back yet and dialled for the second request:
/// a client has its answer a moment earlier.
async fn lost_with_its_connection() -> bool {
    let (tell, told) = tokio::sync::watch::channel(false);
    let provider = Scripted::start(move |_, mut peer| {
        let tell = tell.clone();
        async move {
            peer.request().await;
            let body = r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":1,"cost":0.000001}}"#;
            peer.answer("200 OK", &["Content-Type: application/json"], body)
                .await;
            peer.request().await;
            tell.send_replace(true);
        }
    })
    .await;
    let gateway = Gateway::at(&provider.base_url())
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    assert_eq!(gateway.chat("hello").send().await.status, 200);
    let (addr, connections) = (provider.addr, provider.connections());
    assert_eq!(connections, 1);
    drop(provider);
    eventually("the end of the provider", || {
        std::net::TcpStream::connect(addr).is_err().then_some(())
    })
    .await;
    let reply = gateway.chat("hello again").send().await;
    assert_eq!(reply.code(), "upstream_unreachable");
    if !*told.borrow() {
        return false;
    }
    let bills = gateway.billed("default", 2).await;
    assert_eq!(bills[1]["source"], "estimated");
    assert!(gateway.events("void").is_empty());
    true
}
