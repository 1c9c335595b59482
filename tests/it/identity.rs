//! Who may spend whose budget, and which credentials go where.

use crate::support::{Agent, Gateway, Provider, Seen};
use serde_json::json;

const KEY: &str = "weir-test-key-0123456789";
const OTHER: &str = "weir-test-key-9876543210";
const EXPIRED: &str = "weir-test-key-of-last-year";

fn with_keys(provider: &Provider) -> crate::support::Setup {
    Gateway::over(provider)
        .agent(Agent::new("main", "10"))
        .agent(Agent::new("side", "10"))
        .agent(Agent::new("foreign", "10"))
        .agent(Agent::new("default", "10"))
        .key("laptop", KEY, "main", "agents: [side], user: ann")
        .key("other", OTHER, "foreign", "")
        .key("old", EXPIRED, "main", "expires: \"2020-01-01T00:00:00Z\"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_wrong_or_expired_key_opens_nothing() {
    let provider = Provider::start().await;
    let gateway = with_keys(&provider).start().await;
    let refused = async |call: crate::support::client::Call, code: &str| {
        let reply = call.send().await;
        assert_eq!((reply.status, reply.code().as_str()), (401, code));
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert_eq!(reply.json()["error"]["type"], "authentication_error");
    };
    refused(gateway.chat("x"), "missing_api_key").await;
    refused(gateway.chat("x").agent("main"), "missing_api_key").await;
    refused(gateway.chat("x").key(""), "missing_api_key").await;
    let basic = gateway.chat("x").header("authorization", "Basic YTpi");
    refused(basic, "missing_api_key").await;
    refused(
        gateway.chat("x").key("wrong-key-0123456789"),
        "invalid_api_key",
    )
    .await;
    // All of a key, or nothing.
    refused(
        gateway.chat("x").key(&KEY[..KEY.len() - 1]),
        "invalid_api_key",
    )
    .await;
    refused(gateway.chat("x").key(&format!("{KEY}0")), "invalid_api_key").await;
    refused(
        gateway.chat("x").header("x-api-key", "nope"),
        "invalid_api_key",
    )
    .await;
    refused(gateway.chat("x").key(EXPIRED), "expired_api_key").await;
    assert!(provider.records().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_spends_for_its_own_agents_only() {
    let provider = Provider::start().await;
    let gateway = with_keys(&provider).start().await;
    let bearer = gateway.chat("x").key(KEY).send().await;
    assert_eq!(bearer.header("x-weir-agent"), Some("main"));
    let header = gateway.chat("x").header("x-api-key", KEY).send().await;
    assert_eq!(header.header("x-weir-agent"), Some("main"));
    let scheme = gateway
        .chat("x")
        .header("authorization", &format!("bearer {KEY}"));
    assert_eq!(scheme.send().await.status, 200);
    let side = gateway.chat("x").key(KEY).agent("side").send().await;
    assert_eq!(side.header("x-weir-agent"), Some("side"));
    for name in ["foreign", "default", "nobody", "Main"] {
        let reply = gateway.chat("x").key(KEY).agent(name).send().await;
        assert_eq!(
            (reply.status, reply.code()),
            (403, "agent_not_allowed".into())
        );
        assert_eq!(reply.json()["detail"]["agent_id"], name);
        assert_eq!(reply.json()["error"]["type"], "permission_error");
    }
    assert_eq!(gateway.bills("main").len(), 3);
    assert_eq!(gateway.bills("side").len(), 1);
    assert_eq!(gateway.bills("foreign").len(), 0);
    let bill = &gateway.bills("side")[0];
    assert_eq!(
        (&bill["key"], &bill["user"]),
        (&json!("laptop"), &json!("ann"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_weirs_never_goes_upstream() {
    let provider = Provider::start().await;
    // No upstream key at all: the place where a client's header is passed on without keys.
    let gateway = with_keys(&provider).start().await;
    gateway.chat("a").key(KEY).agent("side").send().await;
    gateway.chat("b").header("x-api-key", KEY).send().await;
    let both = gateway
        .chat("c")
        .key(KEY)
        .header("x-api-key", "sk-or-other");
    both.send().await;
    assert_eq!(provider.records().len(), 3);
    for record in provider.records() {
        let received = format!("{:?}", record.request);
        assert!(!received.contains(KEY), "{received}");
        for header in ["authorization", "x-api-key", "x-agent-id"] {
            assert_eq!(record.header(header), None, "{header}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_authorization_goes_upstream_only_where_the_policy_has_no_key() {
    let provider = Provider::start().await;
    let sent = async |setup: crate::support::Setup| {
        provider.forget();
        let gateway = setup.start().await;
        gateway.chat("x").key("sk-or-of-the-client").send().await;
        provider.only_record().await.header("authorization")
    };
    let own = Gateway::over(&provider);
    assert_eq!(
        sent(own.clone()).await.as_deref(),
        Some("Bearer sk-or-of-the-client")
    );
    let fallback = own.clone().env("OPENROUTER_API_KEY", "sk-or-environment");
    assert_eq!(
        sent(fallback.clone()).await.as_deref(),
        Some("Bearer sk-or-of-the-client")
    );
    let configured = own.upstream("api_key: sk-or-configured");
    assert_eq!(
        sent(configured).await.as_deref(),
        Some("Bearer sk-or-configured")
    );
    provider.forget();
    let gateway = fallback.start().await;
    gateway.chat("x").send().await;
    let header = provider.only_record().await.header("authorization");
    assert_eq!(header.as_deref(), Some("Bearer sk-or-environment"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_this_machine_is_served_and_web_pages_are_not() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .agent(Agent::new("named", "10"))
        .start()
        .await;
    let agent_of = async |call: crate::support::client::Call| {
        let reply = call.send().await;
        reply.header("x-weir-agent").map(str::to_owned)
    };
    assert_eq!(
        agent_of(gateway.chat("x")).await.as_deref(),
        Some("default")
    );
    assert_eq!(
        agent_of(gateway.chat("x").agent("named")).await.as_deref(),
        Some("named")
    );
    assert_eq!(
        agent_of(gateway.chat("x").agent("other")).await.as_deref(),
        Some("default")
    );
    let page = gateway
        .chat("x")
        .header("origin", "http://localhost:3000")
        .send()
        .await;
    assert_eq!((page.status, page.code()), (401, "missing_api_key".into()));
    let admin = crate::support::client::http()
        .post(gateway.url("/api/reset/default"))
        .header("origin", "http://evil.example")
        .send()
        .await
        .unwrap();
    assert_eq!(admin.status(), 403);
    assert_eq!(provider.records().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_whose_name_points_to_this_machine_reads_and_spends_nothing() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider)
        .agent(Agent::new("default", "10"))
        .start()
        .await;
    let status = async |path: &str, host: &str| {
        let asked = crate::support::client::http().get(gateway.url(path));
        let answer = asked.header("host", host).send().await;
        answer.expect("an answer").status().as_u16()
    };
    // A browser sends no Origin when a page reads from its own host.
    let page = "rebound.example.com:8080";
    for (path, refused) in [
        ("/v1/models", 401),
        ("/api/budget", 403),
        ("/admin/stats", 403),
    ] {
        assert_eq!(status(path, page).await, refused, "{path}");
        assert_eq!(status(path, "localhost:8080").await, 200, "{path}");
    }
    let spent = gateway.chat("x").header("host", page).send().await;
    assert_eq!(
        (spent.status, spent.code()),
        (401, "missing_api_key".into())
    );
    assert!(provider.records().is_empty());
}
