//! The Model Gateway's routes as its clients use them.

use crate::support::client::keys;
use crate::support::gateway::Setup;
use crate::support::{Provider, Reply, Seen};
use serde_json::{Value, json};

const TOKEN: &str = "admin-0123456789abcdef0123456789abcdef";

/// The Model Gateway's own file, with its variables and a policy.
fn titan(provider: &Provider) -> Setup {
    models(Setup::new("http://127.0.0.1:9/v1"), provider).policy(
        "cost_routing:\n  spend_log: spend.jsonl\n  agents:\n    default:\n      budget_total: 100\n      \
         hard_cap: true\n      period: daily\n",
    )
}

fn models(setup: Setup, provider: &Provider) -> Setup {
    setup
        .models(
            "models:\n  gpt-4o:\n    provider: openai\n    engine: gpt-4o\n    input_cost: 0.0000025\n    \
             output_cost: 0.00001\n    max_tokens: 8192\n  o3-pro:\n    provider: openai\n    engine: o3-pro\n    \
             input_cost: 0.00002\n    output_cost: 0.00008\n    max_tokens: 100000\n    timeout: 300\ndefaults:\n  \
             self_reflection: o3-pro\n  vitals: gpt-4o\n  experiment: o3-pro\nbudget:\n  daily_limit_usd: 20\n  \
             hard_stop: true\n  warning_threshold: 0.8\n",
        )
        .env("OPENAI_API_KEY", "sk-openai-0123456789")
        .env("OPENAI_BASE_URL", &provider.base_url())
        .env("ADMIN_TOKEN", TOKEN)
        .env("HMAC_SECRET", "0123456789abcdef0123456789abcdef")
}

async fn proxy(gateway: &crate::support::Gateway, model: &str, body: &Value) -> Reply {
    gateway
        .post(&format!("/proxy/{model}"), &body.to_string())
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_curl_lines_work() {
    let provider = Provider::that("dialect=openai tokens_in=100 tokens_out=50");
    let gateway = titan(&provider).start().await;
    let models = gateway.get("/models").await.json();
    let names: Vec<&str> = models["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["gpt-4o", "o3-pro"]);
    assert_eq!(models["budget"]["daily_limit_usd"], 20.0);
    assert_eq!(models["defaults"]["vitals"], "gpt-4o");

    let asked = json!({"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7, "stream": false});
    for model in ["gpt-4o", "vitals", "task:vitals"] {
        let reply = proxy(&gateway, model, &asked).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let body = reply.json();
        assert_eq!(body["object"], "chat.completion");
        assert!(body["choices"][0]["message"]["content"].is_string());
        assert_eq!(body["usage"]["total_tokens"], 150);
        let cost = &body["cost"];
        assert_eq!(cost["input_cost"], 0.00025);
        assert_eq!(cost["output_cost"], 0.0005);
        assert_eq!(cost["total_cost"], 0.00075);
        assert_eq!(cost["daily_limit"], 20.0);
        assert!(body.get("_execwall").is_none());
    }
    let sent = provider.records().pop().unwrap();
    assert_eq!(sent.body()["model"], "gpt-4o");
    assert_eq!(sent.body()["temperature"], 0.7);
    assert_eq!(
        sent.header("authorization").as_deref(),
        Some("Bearer sk-openai-0123456789")
    );

    let asked =
        json!({"messages": [{"role": "user", "content": "Tell me a story"}], "stream": true});
    let reply = proxy(&gateway, "gpt-4o", &asked).await;
    let events = reply.events();
    let (last, chunks) = events.split_last().unwrap();
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk")
    );
    assert_eq!(last["done"], true);
    assert_eq!(last["usage"]["total_tokens"], 150);
    assert_eq!(last["cost"]["total_cost"], 0.00075);
    assert_eq!(last["cost"]["daily_total"], 0.003);
    assert!(last["trace_id"].is_string() && last["latency_ms"].is_number());
    assert!(reply.done(), "[DONE] comes last: {}", reply.text());

    let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(stats["daily_spent_usd"], 0.003);
    assert_eq!(stats["remaining_usd"], 19.997);
    let reset = gateway.admin(TOKEN, "/budget/reset", Some("{}")).await;
    assert_eq!(reset.json()["message"], "Budget reset successfully");
    let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(stats["daily_spent_usd"], 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_file_and_variables_are_enough_to_start() {
    let provider = Provider::that("dialect=openai tokens_in=100 tokens_out=500000");
    let gateway = models(Setup::bare(), &provider).start().await;
    let asked = json!({"messages": [{"role": "user", "content": "Hello"}]});
    for _ in 0..4 {
        assert_eq!(proxy(&gateway, "gpt-4o", &asked).await.status, 200);
    }
    let refused = proxy(&gateway, "gpt-4o", &asked).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["detail"], "Daily budget exceeded");
    assert!(gateway.output().contains("there is no policy.yaml"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_model_gateway_refused_is_refused_in_its_words() {
    let provider = Provider::start().await;
    let gateway = titan(&provider).start().await;
    let asked =
        json!({"messages": [{"role": "user", "content": "[[cost=19.999999]]"}], "max_tokens": 10});
    let unknown = proxy(&gateway, "gpt-9", &asked).await;
    assert_eq!(
        (unknown.status, unknown.json()["detail"].clone()),
        (404, json!("Unknown model: gpt-9"))
    );
    assert_eq!(proxy(&gateway, "gpt-4o", &asked).await.status, 200);
    gateway.quiet().await;
    let over = proxy(&gateway, "gpt-4o", &asked).await;
    assert_eq!(
        (over.status, over.json()["detail"].clone()),
        (429, json!("Daily budget exceeded"))
    );
    let chat = gateway.chat("x").field("model", "gpt-4o").send().await;
    assert_eq!((chat.status, chat.code()), (402, "budget_exhausted".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_only_responses_serves_answers_in_chat_all_the_same() {
    let speaker = crate::support::speaker::Speaker::start().await;
    let provider = Provider::start().await;
    let gateway = titan(&provider)
        .env("OPENAI_BASE_URL", &format!("{}/v1", speaker.origin()))
        .start()
        .await;
    let asked = json!({"messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello"}]});
    let reply = proxy(&gateway, "self_reflection", &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.json()["choices"][0]["message"]["content"],
        crate::support::speaker::TEXT
    );
    let (path, body) = speaker.last();
    assert_eq!(
        (path.as_str(), body["model"].clone()),
        ("/v1/responses", json!("o3-pro"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_token_opens_these_routes_and_never_goes_to_a_provider() {
    let provider = Provider::start().await;
    let asked =
        json!({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}).to_string();
    // Nothing but the client's own header could go to a provider without a key.
    let gateway = Setup::new(&provider.base_url())
        .env("ADMIN_TOKEN", TOKEN)
        .agent(crate::support::Agent::new("default", "10"))
        .key("one", "a-client-key-of-some-length", "default", "")
        .start()
        .await;
    let reply = gateway
        .admin(TOKEN, "/proxy/openai/gpt-4o-mini", Some(&asked))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(provider.only_record().await.header("authorization"), None);
    let wrong = gateway
        .admin(
            "wrong-token-0123456789",
            "/proxy/openai/gpt-4o-mini",
            Some(&asked),
        )
        .await;
    assert_eq!(
        (wrong.status, wrong.json()["detail"].clone()),
        (401, json!("Invalid token"))
    );
    let chat = gateway
        .admin(TOKEN, "/v1/chat/completions", Some(&asked))
        .await;
    assert_eq!(chat.status, 401, "it is no client key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_days_spending_is_told_by_model_and_outlives_a_crash_but_not_a_reset() {
    let provider = Provider::that("dialect=openai tokens_in=100 tokens_out=50");
    let gateway = titan(&provider).start().await;
    let asked = json!({"messages": [{"role": "user", "content": "Hello"}]});
    for model in ["gpt-4o", "vitals"] {
        assert_eq!(proxy(&gateway, model, &asked).await.status, 200);
    }
    let chat = gateway.chat("x").field("model", "gpt-4o").send().await;
    assert_eq!(chat.status, 200, "{}", chat.text());
    let check = async |gateway: &crate::support::Gateway| {
        let stats = gateway.admin(TOKEN, "/budget/stats", None).await;
        assert_eq!(stats.status, 200, "{}", stats.text());
        let stats = stats.json();
        let names = [
            "daily_limit_usd",
            "daily_spent_usd",
            "models_usage",
            "remaining_usd",
            "tokens",
        ];
        assert_eq!(keys(&stats), names);
        assert_eq!(keys(&stats["tokens"]), ["completion", "prompt"]);
        assert_eq!(stats["models_usage"], json!({"gpt-4o": 0.00225}));
        assert_eq!(stats["tokens"], json!({"prompt": 300, "completion": 150}));
        assert_eq!(stats["daily_limit_usd"], 20.0);
        assert_eq!(stats["daily_spent_usd"], 0.00225);
        assert_eq!(stats["remaining_usd"], 19.99775);
        let budget = gateway.get("/models").await.json()["budget"].clone();
        assert_eq!(budget["models_usage"], stats["models_usage"]);
        assert!(budget.get("tokens").is_none());
    };
    check(&gateway).await;
    let gateway = gateway.restart().await;
    check(&gateway).await;

    let reset = gateway.admin(TOKEN, "/budget/reset", Some("")).await;
    assert_eq!(
        reset.json(),
        json!({"message": "Budget reset successfully"})
    );
    let gateway = gateway.restart().await;
    let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(stats["models_usage"], json!({}));
    assert_eq!(stats["tokens"], json!({"prompt": 0, "completion": 0}));
    assert_eq!(stats["daily_spent_usd"], 0.0);
    assert_eq!(proxy(&gateway, "gpt-4o", &asked).await.status, 200);
    let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(stats["models_usage"], json!({"gpt-4o": 0.00075}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn budgets_are_for_whoever_has_the_token_and_refused_in_the_model_gateways_words() {
    let provider = Provider::start().await;
    let gateway = titan(&provider).start().await;
    let http = crate::support::client::http();
    for (method, path) in [("GET", "/budget/stats"), ("POST", "/budget/reset")] {
        for (sent, said) in [
            (None, "Missing authorization header"),
            (Some("Basic abc"), "Invalid authorization format"),
            (Some("Bearer wrong-token-0123456789"), "Invalid token"),
        ] {
            let mut request = http.request(method.parse().unwrap(), gateway.url(path));
            if let Some(sent) = sent {
                request = request.header("authorization", sent);
            }
            let reply = Reply::read(request.send().await.unwrap()).await;
            assert_eq!(reply.status, 401, "{path} {sent:?}: {}", reply.text());
            assert_eq!(reply.json(), json!({"detail": said}), "{path}");
        }
    }
    assert_eq!(gateway.get("/models").await.status, 200, "is for everybody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_over_the_budget_is_one_event_that_says_so() {
    let provider = Provider::start().await;
    let gateway = titan(&provider).start().await;
    let asked = |stream: bool| json!({"messages": [{"role": "user", "content": "[[cost=21]]"}], "max_tokens": 10, "stream": stream});
    assert_eq!(proxy(&gateway, "gpt-4o", &asked(true)).await.status, 200);
    gateway.quiet().await;
    let over = proxy(&gateway, "gpt-4o", &asked(true)).await;
    assert_eq!(over.status, 429);
    assert_eq!(over.header("content-type"), Some("text/event-stream"));
    assert_eq!(over.header("x-should-retry"), Some("false"));
    let [event] = over.events().try_into().unwrap();
    assert_eq!(event["error"], "Daily budget exceeded");
    assert_eq!(event["status"], 429);
    let stats = json!({"daily_limit_usd": 20.0, "daily_spent_usd": 21.0, "remaining_usd": -1.0});
    assert_eq!(event["budget_stats"], stats);
    let over = proxy(&gateway, "gpt-4o", &asked(false)).await;
    assert_eq!(
        (over.status, over.json()),
        (429, json!({"detail": "Daily budget exceeded"}))
    );
    for surface in ["/v1/chat/completions", "/v1/messages", "/v1/responses"] {
        let body = json!({"model": "gpt-4o", "max_tokens": 10, "max_output_tokens": 10, "input": "x",
            "stream": true, "messages": [{"role": "user", "content": "x"}]});
        let reply = gateway.post(surface, &body.to_string()).await;
        assert_eq!(reply.status, 402, "{surface}: {}", reply.text());
    }
    let told = gateway.output();
    assert!(told.contains("warning.level=0.8"), "{told}");
    assert_eq!(
        told.matches("its requests are refused").count(),
        1,
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_hard_stop_requests_are_served_and_somebody_is_told() {
    let provider = Provider::start().await;
    let mut setup = titan(&provider);
    setup = setup
        .settings("events: {file: {path: events.txt}}")
        .models("");
    let gateway = setup.start().await;
    let file = gateway.directory.join("models.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("hard_stop: true", "hard_stop: false")).unwrap();
    let reload = gateway.admin(TOKEN, "/api/reload", Some("")).await;
    assert_eq!(reload.status, 200, "{}", reload.text());
    let asked = json!({"messages": [{"role": "user", "content": "[[cost=17]]"}], "max_tokens": 10});
    for _ in 0..3 {
        let reply = proxy(&gateway, "gpt-4o", &asked).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let events = crate::support::eventually("both levels", || {
        let text = std::fs::read_to_string(gateway.directory.join("events.txt")).ok()?;
        let all: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let warned = all
            .into_iter()
            .filter(|event| event["type"] == "model.budget.warning");
        Some(warned.collect::<Vec<_>>()).filter(|events| events.len() >= 2)
    });
    let events = events.await;
    let percents: Vec<_> = events
        .iter()
        .map(|event| event["level_percent"].clone())
        .collect();
    assert_eq!(percents, [json!(80.0), json!(100.0)]);
    assert_eq!(events[1]["account"], "gateway");
    let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(stats["remaining_usd"], -31.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_gateways_say_the_same_of_the_day() {
    let provider = Provider::that("dialect=openai tokens_in=100 tokens_out=50");
    let server = crate::support::redis::RedisServer::start();
    let setup = titan(&provider).redis(&format!("url: \"{}\", timeout: 2s", server.url()));
    let (first, second) = (setup.clone().start().await, setup.start().await);
    let asked = json!({"messages": [{"role": "user", "content": "Hello"}]});
    for gateway in [&first, &second, &second] {
        let answer = proxy(gateway, "gpt-4o", &asked).await;
        assert_eq!(answer.status, 200);
        // What was charged a moment ago is part of the day.
        let cost = answer.json()["cost"].clone();
        assert!(
            cost["daily_total"].as_f64() >= cost["total_cost"].as_f64(),
            "{cost}"
        );
    }
    let date = jiff::Timestamp::now().to_string()[..10].replace('-', "");
    let agree = async |usage: Value| {
        let start = std::time::Instant::now();
        loop {
            let mut found = Vec::new();
            for gateway in [&first, &second] {
                let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
                found.push(stats["models_usage"].clone());
            }
            let cost = server
                .command(&["HGETALL", &format!("titan:cost:{date}")])
                .list();
            let pairs = cost.chunks_exact(2);
            let cost: serde_json::Map<String, Value> = pairs
                .map(|pair| (pair[0].clone(), json!(pair[1].parse::<f64>().unwrap())))
                .collect();
            found.push(Value::Object(cost));
            if found.iter().all(|found| *found == usage) {
                return;
            }
            assert!(
                start.elapsed() < crate::support::PATIENCE,
                "{usage} never: {found:?}"
            );
            tokio::time::sleep(crate::support::LOOK).await;
        }
    };
    agree(json!({"gpt-4o": 0.00225})).await;
    let reset = first.admin(TOKEN, "/budget/reset", Some("")).await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    agree(json!({})).await;
    assert_eq!(proxy(&second, "gpt-4o", &asked).await.status, 200);
    agree(json!({"gpt-4o": 0.00075})).await;
}
