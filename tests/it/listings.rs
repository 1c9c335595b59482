//! Lists of models, and the routes of the Model Gateway that are answered here.

use crate::support::{Agent, Gateway, Provider, Reply, client};
use serde_json::{Value, json};

const KEY: &str = "weir-test-key-0123456789";
const OTHER: &str = "weir-test-key-9876543210";
const TOKEN: &str = "admin-token-0123456789abcdef0123456789abcdef";

async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = client::http().get(gateway.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::read(request.send().await.expect("an answer")).await
}

fn ids(list: &Value) -> Vec<&str> {
    let data = list["data"].as_array().unwrap();
    data.iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_shown_the_models_of_its_agent_and_no_others() {
    let provider = Provider::start().await;
    let tiered = Agent::new("tiered", "10")
        .tier("0.50", &["openai/gpt-4o", "openai/gpt-4o-mini"])
        .tier(
            "0.00",
            &["openai/gpt-4o-mini", "mistralai/mistral-7b-instruct"],
        );
    let gateway = Gateway::over(&provider)
        .agent(tiered)
        .agent(Agent::new("side", "10"))
        .agent(Agent::new("free", "10").untiered())
        .key("laptop", KEY, "tiered", "agents: [side]")
        .key("other", OTHER, "free", "")
        .start()
        .await;
    let bearer = format!("Bearer {KEY}");
    let list = get(&gateway, "/v1/models", &[("authorization", &bearer)]).await;
    assert_eq!(list.status, 200, "{}", list.text());
    let list = list.json();
    let names = [
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
        "mistralai/mistral-7b-instruct",
    ];
    assert_eq!(ids(&list), names);
    // What OpenAI's SDKs read, and what Anthropic's do.
    assert_eq!(list["object"], "list");
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!(names[0]), &json!(names[2]))
    );
    let model = json!({
        "id": "openai/gpt-4o", "object": "model", "created": 0, "owned_by": "openai",
        "type": "model", "display_name": "openai/gpt-4o", "created_at": "1970-01-01T00:00:00Z",
    });
    assert_eq!(list["data"][0], model);
    let same = get(&gateway, "/v1/models?limit=1000", &[("x-api-key", KEY)]).await;
    assert_eq!(same.json(), list);
    let one = get(&gateway, "/v1/models/openai/gpt-4o", &[("x-api-key", KEY)]).await;
    assert_eq!((one.status, one.json()), (200, model.clone()));
    // The SDKs escape the slash.
    let escaped = get(
        &gateway,
        "/v1/models/openai%2Fgpt-4o",
        &[("x-api-key", KEY)],
    )
    .await;
    assert_eq!((escaped.status, escaped.json()), (200, model));

    let side = [("x-api-key", KEY), ("x-agent-id", "side")];
    let side = get(&gateway, "/v1/models", &side).await.json();
    assert_eq!(ids(&side), ["openai/gpt-4o-mini"]);
    let foreign = [("x-api-key", KEY), ("x-agent-id", "free")];
    let foreign = get(&gateway, "/v1/models", &foreign).await;
    assert_eq!(
        (foreign.status, foreign.code()),
        (403, "agent_not_allowed".into())
    );
    let free = get(&gateway, "/v1/models", &[("x-api-key", OTHER)])
        .await
        .json();
    assert_eq!((ids(&free).len(), &free["first_id"]), (0, &Value::Null));

    for (path, key) in [
        ("/v1/models/openai/gpt-5", KEY),
        ("/v1/models/gpt-4o", KEY),
        ("/v1/models/openai/gpt-4o", OTHER),
    ] {
        let reply = get(&gateway, path, &[("x-api-key", key)]).await;
        assert_eq!(
            (reply.status, reply.code()),
            (404, "model_not_found".into()),
            "{path}"
        );
        assert_eq!(reply.json()["error"]["param"], "model");
    }
    for headers in [&[][..], &[("x-api-key", "nope")]] {
        for path in ["/v1/models", "/v1/models/openai/gpt-4o"] {
            let reply = get(&gateway, path, headers).await;
            assert_eq!(reply.status, 401, "{path}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    let method = gateway.post("/v1/models", "{}").await;
    assert_eq!(
        (method.status, method.code()),
        (405, "method_not_allowed".into())
    );
    assert!(
        provider.records().is_empty(),
        "none of this is a provider's business"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_this_machine_sees_the_list_and_web_pages_do_not() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let list = gateway.get("/v1/models").await.json();
    assert_eq!(ids(&list), ["openai/gpt-4o-mini"]);
    let page = get(&gateway, "/v1/models", &[("origin", "https://example.com")]).await;
    assert_eq!(page.status, 401);
}

/// A directory with this models file.
fn with_models(text: &str) -> std::path::PathBuf {
    let directory = crate::support::gateway::new_directory();
    std::fs::create_dir(directory.join("conf")).unwrap();
    std::fs::write(directory.join("conf/models.yaml"), text).unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_models_file_is_listed_with_its_prices_and_tasks() {
    let provider = Provider::start().await;
    let directory = with_models(
        "models:
  gpt-4o:
    provider: openai
    input_cost: 0.0000025
    output_cost: 0.00001
    max_tokens: 8192
  gpt-4o-mini: {provider: openai}
defaults:
  vitals: gpt-4o
",
    );
    let gateway = Gateway::over(&provider)
        .env("OPENAI_API_KEY", "sk-0123456789abcdef")
        .agent(Agent::new("default", "10").untiered())
        .agent(
            Agent::new("few", "10")
                .untiered()
                .line("allowed_models: [vitals]"),
        )
        .start_in(directory)
        .await;
    let models = gateway.get("/models").await.json();
    assert_eq!(
        models["models"][0],
        json!({
            "name": "gpt-4o", "provider": "openai", "input_cost": 0.0000025,
            "output_cost": 0.00001, "max_tokens": 8192, "supports_streaming": true,
        })
    );
    // What the file does not state is the price table's.
    let mini = &models["models"][1];
    assert_eq!(
        (&mini["name"], &mini["input_cost"], &mini["output_cost"]),
        (
            &json!("gpt-4o-mini"),
            &json!(0.000_000_15),
            &json!(0.000_000_6)
        )
    );
    assert_eq!(mini["max_tokens"], 16_384);
    assert_eq!(models["models"].as_array().unwrap().len(), 2);
    assert_eq!(models["defaults"], json!({"vitals": "gpt-4o"}));

    let list = gateway.get("/v1/models").await.json();
    assert_eq!(ids(&list), ["gpt-4o", "gpt-4o-mini", "vitals"]);
    let vitals = gateway.get("/v1/models/vitals").await.json();
    assert_eq!(
        (&vitals["id"], &vitals["owned_by"]),
        (&json!("vitals"), &json!("openai"))
    );
    let few = get(&gateway, "/v1/models", &[("x-agent-id", "few")]).await;
    assert_eq!(ids(&few.json()), ["vitals"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_gateways_budget_is_that_of_the_whole_gateway() {
    let provider = Provider::start().await;
    let directory = with_models(
        "budget:\n  daily_limit_usd: 20\n  hard_stop: true\n  warning_threshold: 0.8\n",
    );
    let gateway = Gateway::over(&provider)
        .env("ADMIN_TOKEN", TOKEN)
        .start_in(directory)
        .await;
    for cost in ["0.25", "0.5"] {
        let reply = gateway.chat(&format!("[[cost={cost}]]")).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    gateway.billed("default", 2).await;
    gateway.quiet().await;

    // The list is open to everybody, as it always was.
    let open = gateway.get("/models").await;
    assert_eq!(open.status, 200, "{}", open.text());
    let open = open.json();
    assert!(open["models"].is_array() && open["defaults"].is_object());
    let budget = json!({
        "daily_limit_usd": 20.0, "daily_spent_usd": 0.75, "remaining_usd": 19.25,
        "models_usage": {"openai/gpt-4o-mini": 0.75},
    });
    assert_eq!(open["budget"], budget);
    let stats = gateway.admin(TOKEN, "/budget/stats", None).await;
    assert_eq!(stats.status, 200, "{}", stats.text());
    let mut stats = stats.json();
    let tokens = stats.as_object_mut().unwrap().remove("tokens").unwrap();
    assert_eq!(stats, budget);
    for kind in ["prompt", "completion"] {
        assert!(tokens[kind].as_u64().unwrap() > 0, "{tokens}");
    }

    for path in ["/budget/stats", "/budget/reset"] {
        let ask = async |authorization: Option<&str>| {
            let url = gateway.url(path);
            let mut request = match path {
                "/budget/stats" => client::http().get(url),
                _ => client::http().post(url),
            };
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let reply = Reply::read(request.send().await.unwrap()).await;
            (reply.status, reply.json())
        };
        for (sent, said) in [
            (None, "Missing authorization header"),
            (Some("Basic YTpi"), "Invalid authorization format"),
        ] {
            assert_eq!(ask(sent).await, (401, json!({"detail": said})), "{path}");
        }
        let wrong = ask(Some("Bearer wrong-token")).await;
        assert_eq!(wrong, (401, json!({"detail": "Invalid token"})), "{path}");
    }
    let account = gateway
        .admin(TOKEN, "/api/spend/default", None)
        .await
        .json();
    assert_eq!(account["budget_spent"], 0.75, "nothing was reset");

    let reset = gateway.admin(TOKEN, "/budget/reset", Some("")).await;
    let said = json!({"message": "Budget reset successfully"});
    assert_eq!((reset.status, reset.json()), (200, said));
    let stats = gateway.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(
        stats,
        json!({
            "daily_limit_usd": 20.0, "daily_spent_usd": 0.0, "remaining_usd": 20.0,
            "models_usage": {}, "tokens": {"prompt": 0, "completion": 0},
        })
    );
    let account = gateway
        .admin(TOKEN, "/api/spend/default", None)
        .await
        .json();
    assert_eq!(
        account["budget_spent"], 0.75,
        "the agents' own stay as they are"
    );
    let resets = gateway.events("reset");
    assert_eq!(resets.len(), 1, "a reset is a record");
    let kept = gateway.restart().await;
    let stats = kept.admin(TOKEN, "/budget/stats", None).await.json();
    assert_eq!(stats["daily_spent_usd"], 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_daily_limit_the_days_spending_is_shown_all_the_same() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    assert_eq!(gateway.chat("[[cost=0.125]]").send().await.status, 200);
    gateway.bill("default").await;
    gateway.quiet().await;
    let budget = &gateway.get("/models").await.json()["budget"];
    assert_eq!(budget["daily_limit_usd"], Value::Null);
    assert_eq!(budget["remaining_usd"], Value::Null);
    assert_eq!(budget["daily_spent_usd"], 0.125);
    let stats = gateway.get("/budget/stats").await;
    assert_eq!(stats.json()["daily_spent_usd"], 0.125);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_where_each_system_had_it() {
    let provider = Provider::start().await;
    let gateway = Gateway::over(&provider).start().await;
    let health = gateway.get("/health").await;
    assert_eq!(health.status, 200);
    assert_eq!(health.json()["status"], "ok");
    assert_eq!(health.json(), gateway.get("/api/health").await.json());
    for path in [
        "/health/",
        "/models/",
        "/budget",
        "/budget/stats/x",
        "/v1/modelsx",
        "/v1/models/a/b/c",
        "/v1/models/a%2Fb/c",
        "/v1/models/a%25",
    ] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
}
