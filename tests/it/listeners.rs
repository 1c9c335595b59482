//! Listeners beside the first one: the admin API's own, and TLS. An upgrade hands over all of them.

use crate::secure::with_tls;
use crate::support::client::{Call, builder, chat_body, request};
use crate::support::gateway::{free_port, new_directory};
use crate::support::{Gateway, Provider, Raw, Reply};
use std::net::SocketAddr;

async fn get(address: SocketAddr, path: &str) -> u16 {
    let mut raw = Raw::connect(address).await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: weir.test\r\n\r\n");
    raw.send(head.as_bytes()).await;
    raw.reply().await.status
}

/// The admin API is at one address only, clients are served at the other only.
async fn are_apart(public: SocketAddr, admin: SocketAddr) {
    for path in [
        "/api/spend",
        "/api/spend/default",
        "/api/health",
        "/metrics",
        "/budget/stats",
    ] {
        assert_eq!(get(public, path).await, 404, "{path} for clients");
        // No budget of a day is configured, which that route says in its own way.
        let status = get(admin, path).await;
        assert!(
            status == 200 || path == "/budget/stats",
            "{path} for operators: {status}"
        );
    }
    for address in [public, admin] {
        assert_eq!(get(address, "/health").await, 200, "{address}");
    }
    assert_eq!(get(public, "/v1/models").await, 200);
    assert_eq!(get(admin, "/v1/models").await, 404);
    let chat = request(&[], &chat_body("[[cost=0.25]]", false));
    for (address, status) in [(public, 200), (admin, 404)] {
        let mut raw = Raw::connect(address).await;
        raw.send(&chat).await;
        assert_eq!(raw.reply().await.status, status, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_api_has_a_listener_of_its_own_and_keeps_it_through_an_upgrade() {
    let provider = Provider::start().await;
    let port = free_port();
    let mut gateway = Gateway::over(&provider)
        .settings(&format!("listen: {{admin: \"127.0.0.1:{port}\"}}"))
        .start()
        .await;
    let admin = SocketAddr::from(([127, 0, 0, 1], port));
    are_apart(gateway.addr, admin).await;
    // An operator's connection is told like a client's.
    let mut kept = Raw::connect(admin).await;
    let spend = b"GET /api/spend/default HTTP/1.1\r\nhost: weir.test\r\n\r\n";
    kept.send(spend).await;
    assert!(!kept.reply().await.closes());
    let waiting = gateway.successor().await;
    let successor = gateway.hand_over(waiting).await;
    kept.send(spend).await;
    let last = kept.reply().await;
    assert_eq!((last.status, last.closes()), (200, true));
    assert_eq!(gateway.wait_exit().await, Some(0));
    are_apart(successor.addr, admin).await;
    let reset = Reply::read(
        crate::support::client::http()
            .post(format!("http://{admin}/api/reset/default"))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(reset.status, 200, "{}", reset.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_named_before_anything_is_touched() {
    let provider = Provider::start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = new_directory();
    let said = Gateway::over(&provider)
        .settings(&format!("listen: {{admin: \"{address}\"}}"))
        .fails_in(&directory)
        .await;
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
    assert!(!directory.join("spend.jsonl").exists());
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_clients_notice_no_upgrade() {
    let provider = Provider::start().await;
    let directory = new_directory();
    let (setup, port, pem) = with_tls(Gateway::over(&provider), &directory);
    let mut gateway = setup.start_in(directory).await;
    let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let base = format!("https://localhost:{port}");
    for http2 in [true, false] {
        let client = builder().tls_certs_only([certificate.clone()]);
        let client = match http2 {
            true => client,
            false => client.http1_only(),
        };
        let client = client.build().unwrap();
        let call = |prompt: &str| Call::new(&client, &base, prompt);
        let open = call("[[chunks=150 delay_ms=10]]").stream().open().await;
        assert_eq!(call("x").send().await.status, 200);
        let waiting = gateway.successor().await;
        let successor = gateway.hand_over(waiting).await;
        for _ in 0..3 {
            assert_eq!(call("x").send().await.status, 200);
        }
        let reply = Reply::read(open).await;
        assert!(reply.complete && reply.done(), "{}", reply.text());
        assert_eq!(gateway.wait_exit().await, Some(0));
        assert_eq!(call("x").send().await.status, 200);
        gateway = successor;
    }
}
