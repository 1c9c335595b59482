//! TLS and HTTP/2, on both sides.

use crate::support::gateway::{free_port, new_directory};
use crate::support::{Agent, Gateway, Provider, Reply, Setup};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use std::path::Path;
use weir::mock::{Options, Tls};

/// A certificate for `localhost` and its key, as PEM text.
fn certificate() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// A setup with a TLS listener as well, its port and the certificate.
pub(crate) fn with_tls(setup: Setup, directory: &Path) -> (Setup, u16, String) {
    let (cert, key) = certificate();
    std::fs::write(directory.join("cert.pem"), &cert).unwrap();
    std::fs::write(directory.join("key.pem"), key).unwrap();
    let port = free_port();
    let setup = setup.settings(&format!(
        "listen: {{tls: {{address: \"127.0.0.1:{port}\", cert: cert.pem, key: key.pem}}}}"
    ));
    (setup, port, cert)
}

fn trusting(pem: &str) -> reqwest::ClientBuilder {
    let certificate = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    crate::support::client::builder()
        .tls_certs_only([certificate])
        // The name is looked up on this machine; IPv6 is not listened on.
        .resolve("localhost", ([127, 0, 0, 1], 0).into())
}

fn body(prompt: &str, stream: bool) -> Value {
    json!({"messages": [{"role": "user", "content": prompt}], "stream": stream})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_clients_are_served_over_http2_and_http1() {
    let provider = Provider::start().await;
    let directory = new_directory();
    let (setup, port, pem) = with_tls(Gateway::over(&provider), &directory);
    let gateway = setup.start_in(directory).await;
    let url = format!("https://localhost:{port}/v1/chat/completions");
    let two = trusting(&pem).build().unwrap();
    let one = trusting(&pem).http1_only().build().unwrap();
    for (client, version) in [
        (&two, http::Version::HTTP_2),
        (&one, http::Version::HTTP_11),
    ] {
        for stream in [false, true] {
            let request = client.post(&url).json(&body("[[chunks=3]]", stream));
            let response = request.send().await.unwrap();
            assert_eq!(response.version(), version);
            let close = response
                .headers()
                .get("connection")
                .is_some_and(|c| c == "close");
            assert!(!close, "{version:?}: the connection is kept");
            let reply = Reply::read(response).await;
            assert_eq!((reply.status, reply.complete), (200, true));
            assert!(reply.metadata().is_some());
        }
        let large = body(
            &format!("[[body_sha=messages]] {}", "y".repeat(4 << 20)),
            false,
        );
        let response = client.post(&url).json(&large).send().await.unwrap();
        let reply = Reply::read(response).await;
        assert!(reply.text().contains("bytes=41943"), "{}", reply.text());
        let refused = client.post(&url).body("x").send().await.unwrap();
        assert_eq!(refused.status(), 415);
    }
    // Many streams over one connection.
    let calls: Vec<_> = (0..40)
        .map(|number| {
            let request = two
                .post(&url)
                .json(&body("[[chunks=20 delay_ms=2]]", number % 2 == 0));
            tokio::spawn(async move { Reply::read(request.send().await.unwrap()).await })
        })
        .collect();
    for call in calls {
        let reply = call.await.unwrap();
        assert_eq!((reply.status, reply.complete), (200, true));
    }
    gateway.quiet().await;
    let produced: i64 = provider
        .records()
        .iter()
        .map(|record| record.produced_cost_nanos)
        .sum();
    assert_eq!(gateway.spend("default").0, produced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_client_that_leaves_pays_exactly_what_the_provider_produced() {
    let provider = Provider::start().await;
    let directory = new_directory();
    let (setup, port, pem) = with_tls(Gateway::over(&provider), &directory);
    let gateway = setup.start_in(directory).await;
    let url = format!("https://localhost:{port}/v1/chat/completions");
    for (number, whole_connection) in [false, true].into_iter().enumerate() {
        let client = trusting(&pem).build().unwrap();
        let prompt = format!("[[chunks=40 delay_ms=5 tag=h2-{number}]]");
        let request = client.post(&url).json(&body(&prompt, true));
        let mut response = request.send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        // Dropping the answer resets its stream; dropping the client ends the connection.
        drop(response);
        if whole_connection {
            drop(client);
        }
        let record = provider.ended(&format!("h2-{number}")).await;
        assert_eq!((record.completed, record.produced), (true, 40));
        let bills = gateway.billed("default", number + 1).await;
        assert_eq!(bills[number]["nano_usd"], record.produced_cost_nanos);
    }
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_spoken_to_over_tls_and_http2_when_it_offers_them() {
    let (cert, key) = certificate();
    let provider = Provider::with(Options {
        tls: Some(Tls {
            certificate: cert.clone().into_bytes(),
            key: key.into_bytes(),
        }),
        ..Options::default()
    });
    let directory = new_directory();
    let file = directory.join("ca.pem");
    std::fs::write(&file, &cert).unwrap();
    let setup = Gateway::over(&provider)
        .upstream(&format!("ca_file: \"{}\"", file.display()))
        .agent(Agent::new("default", "1000"));
    let gateway = setup.clone().start_in(directory).await;
    for stream in [false, true] {
        let call = gateway.chat("[[chunks=30 tag=h2]]").field("stream", stream);
        let reply = call.send().await;
        assert_eq!(
            (reply.status, reply.complete),
            (200, true),
            "{}",
            reply.text()
        );
    }
    let large = gateway.chat(&format!("[[body_sha=messages]] {}", "z".repeat(4 << 20)));
    assert!(large.send().await.text().contains("bytes=41943"));
    let reply = gateway.chat("[[status=429 retry_after=3]]").send().await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("3"))
    );
    let cut = gateway
        .chat("[[cut_at=10 cut=rst delay_ms=1]]")
        .stream()
        .send()
        .await;
    assert!(!cut.done());
    assert!(
        provider
            .records()
            .iter()
            .all(|record| record.protocol == "h2")
    );
    assert!(
        provider
            .records()
            .iter()
            .all(|record| record.refused.is_none())
    );
    assert_eq!(gateway.billed("default", 4).await.len(), 4);

    provider.forget();
    let directory = new_directory();
    let settings = format!(
        "upstream: {{http2: never, ca_file: \"{}\"}}",
        file.display()
    );
    let plain = Gateway::over(&provider)
        .settings(&settings)
        .start_in(directory)
        .await;
    assert_eq!(plain.chat("x").send().await.status, 200);
    assert_eq!(provider.records()[0].protocol, "http/1.1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_with_a_certificate_nobody_vouches_for_gets_no_key() {
    let (certificate, key) = certificate();
    let provider = Provider::with(Options {
        tls: Some(Tls {
            certificate: certificate.into_bytes(),
            key: key.into_bytes(),
        }),
        ..Options::default()
    });
    let gateway = Gateway::over(&provider).start().await;
    let reply = gateway.chat("x").send().await;
    assert_eq!(
        (reply.status, reply.code()),
        (502, "upstream_unreachable".into())
    );
    assert!(provider.records().is_empty());
    gateway.quiet().await;
    assert_eq!(gateway.bills("default").len(), 0);
}
