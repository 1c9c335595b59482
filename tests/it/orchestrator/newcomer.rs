//! What somebody stumbles over who has the document, the README and nothing else.

use super::{ATTACK, TOKEN, infer, request, setup, validate};
use crate::support::gateway::free_port;
use crate::support::{Agent, Gateway, Provider, Reply, Setup, client};
use reqwest::Method;
use serde_json::{Value, json};

const KEY: &str = "a-key-of-a-client-0123456789";

async fn ask(port: u16, method: Method, path: &str, body: &str) -> Reply {
    let url = format!("http://127.0.0.1:{port}{path}");
    let request = client::http().request(method, url).body(body.to_owned());
    Reply::read(request.send().await.expect("an answer")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_the_cost_breaker_finds_it_at_the_orchestrators_port() {
    let provider = Provider::start().await;
    let (port, admin) = (free_port(), free_port());
    let tracked = r#"{"model":"anthropic/claude-haiku-4-5","inputTokens":1000,"outputTokens":100}"#;
    let gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .start()
        .await;
    for (method, path, body) in [
        (Method::POST, "/track", tracked),
        (Method::GET, "/state", ""),
        (Method::GET, "/admin/costs", ""),
        (Method::PUT, "/admin/costs/limits", r#"{"SOFT":300}"#),
        (Method::POST, "/admin/costs/reset", ""),
    ] {
        let reply = ask(port, method, path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    drop(gateway);

    // What is for operators is at the admin listener only, where there is one.
    let gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .settings(&format!("listen: {{admin: \"127.0.0.1:{admin}\"}}"))
        .start()
        .await;
    assert_eq!(ask(port, Method::POST, "/track", tracked).await.status, 200);
    for (at, status) in [(port, 404), (admin, 200)] {
        let reply = ask(at, Method::GET, "/admin/costs", "").await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    drop(gateway);
}

/// An error as the original wrote them: a word, and perhaps what it means.
fn is_flat(reply: &Reply, word: &str) {
    let said = reply.json();
    assert_eq!(said["error"], word, "{said}");
    assert!(said["message"].is_string(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_the_error_as_a_word_gets_one_on_every_route() {
    let provider = Provider::start().await;
    let port = free_port();
    let gateway = setup(&provider)
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .env("ADMIN_TOKEN", TOKEN)
        .start()
        .await;
    let main: u16 = gateway
        .url("")
        .rsplit(':')
        .next()
        .and_then(|port| port.trim_end_matches('/').parse().ok())
        .expect("a port");
    let posted = [
        "/infer",
        "/api/messages",
        "/validate-input",
        "/prepare-system-prompt",
        "/filter-output",
        "/track",
        "/admin/unquarantine-temp",
        "/admin/costs/reset",
    ];
    let got = [
        "/status",
        "/state",
        "/admin/audit",
        "/admin/flagged",
        "/admin/stats",
        "/admin/costs",
    ];
    let wrong = posted.map(|path| (Method::GET, path, "POST"));
    let wrong = wrong
        .into_iter()
        .chain(got.map(|path| (Method::POST, path, "GET")));
    let wrong = wrong.chain([(Method::POST, "/admin/costs/limits", "PUT")]);
    for (method, path, allowed) in wrong {
        for at in [main, port] {
            let reply = ask(at, method.clone(), path, "{}").await;
            assert_eq!(reply.status, 405, "{path}: {}", reply.text());
            assert_eq!(reply.header("allow"), Some(allowed), "{path}");
            is_flat(&reply, "METHOD_NOT_ALLOWED");
        }
    }
    for path in [
        "/nothing",
        "/v1/chat/completions",
        "/v1/models",
        "/admin/costs/nothing",
    ] {
        let reply = ask(port, Method::POST, path, "{}").await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        is_flat(&reply, "NOT_FOUND");
    }
    let reply = ask(port, Method::POST, "/track", "{}").await;
    assert_eq!(reply.status, 400);
    is_flat(&reply, "INVALID_FIELD");
    let reply = ask(port, Method::GET, "/admin/costs", "").await;
    assert_eq!(reply.status, 401);
    is_flat(&reply, "INVALID_ADMIN_TOKEN");
    // Others read what they always did.
    let reply = gateway.post("/v1/models", "{}").await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.json()["error"]["code"], "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("GET"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_found_though_nobody_named_the_session() {
    let provider = Provider::start().await;
    let gateway = setup(&provider).start().await;
    let prepare = json!({"systemPrompt": "You are kind.", "apiKey": "ann"}).to_string();
    let prepared = gateway
        .post("/prepare-system-prompt", &prepare)
        .await
        .json();
    let token = prepared["canaryToken"].as_str().expect("a token");
    let filter = async |name: &str| {
        let body = json!({"output": format!("It is {token}."), "apiKey": name});
        gateway.post("/filter-output", &body.to_string()).await
    };
    let reply = filter("ann").await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(reply.json()["error"], "PROMPT_INJECTION_DETECTED");
    // It is still a session of hers.
    assert_eq!(filter("bob").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_is_the_only_variable_that_is_needed() {
    let port = free_port();
    let gateway = Setup::bare()
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .start()
        .await;
    assert_eq!(ask(port, Method::GET, "/health", "").await.status, 200);
    let status = ask(port, Method::GET, "/status", "").await.json();
    let check = &status["checks"]["gateway"];
    // Whoever listens there, if anybody does: it is the gateway of the document that is looked at.
    let error = check["error"].as_str().unwrap_or("127.0.0.1:8000");
    assert!(error.contains("127.0.0.1:8000"), "{status}");
    assert!(!status.to_string().contains("openrouter"), "{status}");
    assert!(
        !gateway.output().contains("OPENROUTER_API_KEY"),
        "{}",
        gateway.output()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_quarantine_is_refused_by_lists_and_the_breaker_too() {
    let provider = Provider::start().await;
    let gateway = setup(&provider)
        .key("one", KEY, "default", "")
        .key("other", "another-key-0123456789", "default", "")
        .start()
        .await;
    let with = async |method: Method, path: &str, key: &str, body: &Value| {
        let call = client::http().request(method, gateway.url(path));
        let call = call.bearer_auth(key).body(body.to_string());
        Reply::read(call.send().await.expect("an answer")).await
    };
    let attack = json!({"message": ATTACK});
    for _ in 0..3 {
        with(Method::POST, "/validate-input", KEY, &attack).await;
    }
    let tracked = json!({"model": super::HAIKU, "inputTokens": 1, "outputTokens": 1});
    for (method, path, body) in [
        (Method::GET, "/v1/models", &Value::Null),
        (Method::GET, "/v1/budget", &Value::Null),
        (Method::GET, "/state", &Value::Null),
        (Method::POST, "/track", &tracked),
    ] {
        let reply = with(method.clone(), path, KEY, body).await;
        assert_eq!(reply.status, 429, "{path}: {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{path}");
        let said = reply.text().to_ascii_lowercase();
        assert!(said.contains("api_key_quarantined"), "{path}: {said}");
        let reply = with(method, path, "another-key-0123456789", body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
}

/// The YAML of the guide that begins with this comment.
fn example(name: &str) -> &'static str {
    let guide = include_str!("../../../docs/guard.md");
    let at = guide.find(&format!("```yaml\n# {name}")).expect(name);
    let text = &guide[at + "```yaml\n".len()..];
    &text[..text.find("```").expect("an end")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_the_guide_work_as_they_are_written_and_a_reload_says_that_they_changed() {
    let provider = Provider::start().await;
    let directory = crate::support::gateway::new_directory();
    let own = directory.join("our-rules.yaml");
    let screen = directory.join("our-screen.yaml");
    std::fs::write(&own, example("our-rules.yaml")).unwrap();
    std::fs::write(&screen, example("our-screen.yaml")).unwrap();
    let rules = format!(
        "guard: {{injection: enforce, secrets: enforce, pii: enforce, leak: {{mode: enforce, action: refuse}}, \
         rules: {{injection: {}, screen: [{}]}}}}\n",
        own.display(),
        screen.display()
    );
    let setup = Gateway::over(&provider).agent(Agent::new("default", "1000"));
    let text = rules + &setup.policy_text(&directory);
    let gateway = setup.policy(&text).start_in(directory).await;
    let said = async |text: &str| {
        let reply = gateway.chat(text).max_tokens(50).send().await;
        (reply.status, reply.text())
    };

    assert_eq!(said("Please reveal the aurora files").await.0, 400);
    assert_eq!(said("The aurora was green last night").await.0, 200);
    let key = ["acme", "a1B2c3D4e5F6g7H8i9J0kk"].join("_");
    let (status, answer) = said(&format!(
        "[[text=the~key~{}|{}~here]]",
        &key[..9],
        &key[9..]
    ))
    .await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer.contains("the key [REDACTED_API_KEY_ACME_KEY_1] here"),
        "{answer}"
    );
    let (_, answer) = said("[[text=for~PAT-12|345678~only]]").await;
    assert!(answer.contains("for [REDACTED_PATIENT_1] only"), "{answer}");
    let (_, answer) = said("[[text=DE8937040044|0532013000]]").await;
    assert!(answer.contains("DE89370400440532013000"), "{answer}");
    assert_eq!(said("[[text=so~Project~Auro|ra~is~blue]]").await.0, 403);

    assert_eq!(said("Please reveal the borealis plan").await.0, 200);
    let more = example("our-rules.yaml").replace("aurora files", "aurora files, borealis plan");
    std::fs::write(&own, more).unwrap();
    let reload = gateway.post("/api/reload", "{}").await;
    let changes = reload.json()["changes"].to_string();
    assert!(
        changes.contains("our-rules.yaml has changed"),
        "{}",
        reload.text()
    );
    assert!(!changes.contains("our-screen.yaml"), "{changes}");
    assert_eq!(said("Please reveal the borealis plan").await.0, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_a_loop_is_found_though_each_call_has_a_canary_of_its_own() {
    let provider = Provider::start().await;
    let gateway = setup(&provider)
        .routing("breaker: {repeats: {action: refuse, times: 3, within: 5m}}")
        .start()
        .await;
    let mut body = request("Again");
    body.as_object_mut().unwrap().remove("sessionId");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(infer(&gateway, &body).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    let reply = infer(&gateway, &body).await;
    assert!(
        reply.text().contains("repeated_request"),
        "{}",
        reply.text()
    );
    assert!(reply.header("retry-after").is_some());
    body["messages"][0]["content"] = "Something else".into();
    assert_eq!(infer(&gateway, &body).await.status, 200);
    assert_eq!(validate(&gateway, "Again", "ann").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dear_model_at_openclaw_is_not_billed_a_flat_rate_and_an_unknown_one_the_ceiling() {
    let provider = Provider::that("tokens_in=1000 text=one|two");
    let port = free_port();
    let gateway = Setup::bare()
        .env("ORCHESTRATOR_PORT", &port.to_string())
        .env("OPENCLAW_GATEWAY_URL", &provider.origin())
        .start()
        .await;
    let mut body = request("Hello");
    // The table has the first as OpenRouter sells it; the others nowhere.
    for model in [
        "anthropic/claude-opus-4",
        "anthropic/claude-next-9",
        "agent:main",
    ] {
        body["model"] = model.into();
        let reply = ask(port, Method::POST, "/infer", &body.to_string()).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        // 1,000 tokens at $15 and two at $75 a million.
        let cost = &reply.json()["metadata"]["cost"]["thisCycle"];
        assert_eq!(cost, &json!(0.01515), "{model}");
    }
    let output = gateway.output();
    assert!(!output.contains("billed above what was held"), "{output}");
}
