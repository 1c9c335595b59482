//! HTTP/2 and TLS.

use super::*;
use crate::mock::Tls;

fn certificate() -> (Tls, Vec<u8>) {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .unwrap();
    let certificate = made.cert.pem().into_bytes();
    let key = made.signing_key.serialize_pem().into_bytes();
    (
        Tls {
            certificate: certificate.clone(),
            key,
        },
        certificate,
    )
}

fn builder() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}

#[tokio::test]
async fn http_2_with_prior_knowledge_streams_and_resets() {
    let mock = start();
    let client = builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    let send = async |directive: &str| {
        client
            .post(&url)
            .json(&asking(directive, true))
            .send()
            .await
    };
    let text = send("chunks=3 tag=whole")
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(content(&parse(&text)), " The weir holds");
    let record = ended(&mock, "whole").await;
    assert_eq!(
        (record.protocol, record.produced, record.completed),
        ("h2", 3, true)
    );
    assert!(send("cut_at=1").await.unwrap().text().await.is_err());
    assert!(send("cut=accept").await.is_err());
    let bomb = send("chunks=9000 pad=1000")
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(content(&parse(&bomb)).len(), 9_000_000);
    // The connection carried them all.
    assert_eq!(
        mock.state
            .recorder
            .counters
            .connections
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn a_peer_that_resets_its_stream_is_noticed() {
    let mock = start();
    let client = builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/v1/chat/completions", mock.addr);
    for directive in ["hang_at=1 tag=gone", "chunks=1000000000 tag=gone"] {
        let request = client.post(&url).json(&asking(directive, true));
        let mut response = request.send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
        assert!(ended(&mock, "gone").await.peer_left);
        mock.forget();
    }
    let request = client
        .post(&url)
        .json(&asking("hang_at=1 tag=closed", true));
    let response = request.send().await.unwrap();
    drop((response, client));
    assert!(ended(&mock, "closed").await.peer_left);
}

#[tokio::test]
async fn tls_speaks_both_protocols() {
    let (tls, root) = certificate();
    let mock = Mock::start(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .unwrap();
    let url = format!("https://localhost:{}/v1/chat/completions", mock.addr.port());
    for (http1, protocol) in [(true, "http/1.1"), (false, "h2")] {
        let root = reqwest::Certificate::from_pem(&root).unwrap();
        let client = builder().tls_certs_only([root]);
        let client = if http1 { client.http1_only() } else { client };
        let request = client
            .build()
            .unwrap()
            .post(&url)
            .json(&asking("chunks=2", true));
        let text = request.send().await.unwrap().text().await.unwrap();
        assert_eq!(content(&parse(&text)), " The weir");
        let record = mock.records().pop().unwrap();
        assert_eq!(record.protocol, protocol);
    }
}

#[tokio::test]
async fn useless_certificates_and_addresses_are_errors() {
    let tls = Tls {
        certificate: b"x".to_vec(),
        key: b"y".to_vec(),
    };
    assert!(
        Mock::start(Options {
            tls: Some(tls),
            ..Options::default()
        })
        .is_err()
    );
    let mock = start();
    assert!(
        Mock::start(Options {
            listen: mock.addr,
            ..Options::default()
        })
        .is_err()
    );
}

#[tokio::test]
async fn a_shutdown_lets_answers_finish_within_the_grace() {
    let grace = std::time::Duration::from_secs(3600);
    let mock = Mock::start(Options {
        grace,
        ..Options::default()
    })
    .unwrap();
    let idle = TcpStream::connect(mock.addr).await.unwrap();
    let mut socket = connect(&mock, &request("", &asking("chunks=3 delay_ms=5", true))).await;
    read_to(&mut socket, " The").await;
    let (addr, shutdown) = (mock.addr, tokio::spawn(mock.shutdown()));
    read_to(&mut socket, "[DONE]").await;
    drop(socket);
    shutdown.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(addr).await.is_err());
}
