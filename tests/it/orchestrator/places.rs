//! Where the routes are: with all others, and on a port of their own that a new process takes over.

use super::{TOKEN, request, setup};
use crate::support::gateway::free_port;
use crate::support::{Provider, Reply, client};

async fn get(port: u16, path: &str) -> Reply {
    let url = format!("http://127.0.0.1:{port}{path}");
    Reply::read(client::http().get(url).send().await.expect("an answer")).await
}

async fn post(port: u16, path: &str, body: &str) -> Reply {
    let url = format!("http://127.0.0.1:{port}{path}");
    let request = client::http().post(url).body(body.to_owned());
    Reply::read(request.send().await.expect("an answer")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_port_has_its_routes_and_no_others() {
    let provider = Provider::that("text=Hello");
    let port = free_port();
    let gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .env("ADMIN_TOKEN", TOKEN)
        .start()
        .await;
    for path in ["/health", "/status"] {
        assert_eq!(get(port, path).await.status, 200, "{path}");
    }
    let reply = post(port, "/infer", &request("Hello").to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(get(port, "/admin/audit").await.status, 401);
    for path in [
        "/metrics",
        "/api/spend",
        "/v1/models",
        "/v1/chat/completions",
    ] {
        assert_eq!(get(port, path).await.status, 404, "{path}");
    }
    // On the others' port, too; a body as large as any model takes is no trouble.
    let large = request(&"a".repeat(3900)).to_string() + &" ".repeat(3 << 20);
    let reply = gateway.post("/infer", &large).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_admin_listener_only_callers_routes_are_there() {
    let provider = Provider::that("text=Hello");
    let (port, admin) = (free_port(), free_port());
    let gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .settings(&format!("listen: {{admin: \"127.0.0.1:{admin}\"}}"))
        .start()
        .await;
    assert_eq!(
        post(port, "/infer", &request("Hello").to_string())
            .await
            .status,
        200
    );
    assert_eq!(get(port, "/admin/audit").await.status, 404);
    assert_eq!(gateway.get("/admin/audit").await.status, 404);
    assert_eq!(get(admin, "/admin/audit").await.status, 200);
    assert_eq!(
        gateway
            .post("/infer", &request("Hello").to_string())
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_variables_alone_are_enough() {
    let provider = Provider::that("text=Hello");
    let port = free_port();
    let gateway = crate::support::Setup::bare()
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .env("OPENCLAW_GATEWAY_URL", &provider.origin())
        .start()
        .await;
    let reply = post(port, "/infer", &request("Hello").to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["output"], "Hello");
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_its_port_over_and_forgets_nobody() {
    let provider = Provider::that("text=Hello");
    let port = free_port();
    let mut gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .start()
        .await;
    let attack = request(super::ATTACK).to_string();
    for _ in 0..3 {
        post(port, "/infer", &attack).await;
    }
    let waiting = gateway.successor().await;
    let successor = gateway.hand_over(waiting).await;
    let hello = request("Hello").to_string();
    assert_eq!(post(port, "/infer", &hello).await.status, 429);
    let mut other = request("Hello");
    other["apiKey"] = "another".into();
    let reply = post(port, "/infer", &other.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(successor.get("/health").await.status, 200);
}
