use crate::policy::models::{self, Models};
use crate::policy::provider::Block;
use crate::settings::environment::Environment;
use crate::settings::problem::Problems;
use crate::wire::Dialect;
use proptest::prelude::*;
use std::time::Duration;

const KEYS: [(&str, &str); 3] = [
    ("OPENAI_API_KEY", "sk-sesame-openai"),
    ("AZURE_EU_KEY", "sesame-azure-eu"),
    ("TEAM_TAG", "sesame-tag"),
];

fn read_with(text: &str, variables: &[(&str, &str)]) -> Result<Models, Problems> {
    let environment = Environment::of(variables.iter().copied());
    models::parse("models.yaml", text, &environment)
}

fn read(text: &str) -> Models {
    read_with(text, &KEYS).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    let problems = read_with(text, &KEYS).err().unwrap_or(Problems(Vec::new()));
    problems.0.iter().map(ToString::to_string).collect()
}

fn names(models: &Models) -> Vec<&str> {
    models.providers.keys().map(String::as_str).collect()
}

fn key(block: &Block, endpoint: usize) -> Option<&str> {
    let key = block.endpoints[endpoint].api_key.as_ref();
    key.map(crate::secret::Secret::expose)
}

fn facts(models: &Models) -> String {
    let lines: Vec<String> = models.facts.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn a_built_in_block_is_there_when_its_variables_or_a_model_mention_it() {
    let none: [(&str, &str); 0] = [];
    assert!(names(&read_with("", &none).unwrap()).is_empty());
    let models = read_with(
        "",
        &[
            ("OPENAI_API_KEY", "k"),
            ("ANTHROPIC_BASE_URL", "https://claude.example.com"),
            ("GEMINI_API_KEY", " "),
            ("OPENROUTER_API_KEY", "k"),
        ],
    )
    .unwrap();
    assert_eq!(names(&models), ["anthropic", "openai"]);
    let openai = &models.providers["openai"];
    assert_eq!(openai.kind.name(), "openai");
    assert_eq!(
        openai.endpoints[0].base_url.text,
        "https://api.openai.com/v1"
    );
    assert_eq!(
        (openai.timeout, openai.private),
        (Duration::from_secs(120), false)
    );
    assert_eq!(openai.dialects, openai.kind.dialects());
    assert_eq!(key(openai, 0), Some("k"));
    let anthropic = &models.providers["anthropic"];
    assert_eq!(anthropic.endpoints[0].base_url.host, "claude.example.com");
    assert!(!anthropic.has_key());

    let wanted = read_with("models: {m: {provider: google}}", &none).unwrap();
    assert_eq!(names(&wanted), ["google"]);
    assert_eq!(
        wanted.warnings[0].to_string(),
        "models.yaml:1:24: warning: models.m.provider: `google` has no key: set GEMINI_API_KEY\n  help: or write api_key under providers.google"
    );
}

#[test]
fn a_provider_without_a_key_is_remarked_on_once_and_only_at_its_own_address() {
    let two = "models: {m: {provider: openai}, n: {provider: openai}}";
    let none: [(&str, &str); 0] = [];
    assert_eq!(read_with(two, &none).unwrap().warnings.len(), 1);
    let elsewhere = [("OPENAI_BASE_URL", "http://localhost:8000/v1")];
    assert_eq!(read_with(two, &elsewhere).unwrap().warnings, []);
    let text = format!("{two}\nproviders: {{openai: {{base_url: 'http://localhost:8000/v1'}}}}");
    assert_eq!(read_with(&text, &none).unwrap().warnings, []);
}

#[test]
fn azure_has_no_address_of_its_own() {
    let text = "models: {m: {provider: azure, deployment: prod-4o}}";
    let found = errors(text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .contains("providers.azure: `base_url` is missing\n  help: set AZURE_OPENAI_ENDPOINT"),
        "{found:?}"
    );
    let set = [
        ("AZURE_OPENAI_API_KEY", "k"),
        ("AZURE_OPENAI_ENDPOINT", "https://x.openai.azure.com/"),
    ];
    let models = read_with(text, &set).unwrap();
    assert_eq!(models.warnings, []);
    assert_eq!(models.models["m"].deployment.as_deref(), Some("prod-4o"));
    let azure = &models.providers["azure"];
    assert_eq!(
        azure.endpoints[0].base_url.text,
        "https://x.openai.azure.com"
    );
    // A key alone belongs to some other program.
    assert!(names(&read_with("", &set[..1]).unwrap()).is_empty());
}

#[test]
fn a_block_says_everything_that_a_provider_may_need() {
    let models = read("providers:
  house:
    base_url: http://vllm:8000/v1
    api_key: '${AZURE_EU_KEY}'
    headers: {X-Team: '${TEAM_TAG}', x-plain: yes}
    timeout: 5m
    speaks: [chat, responses, chat]
    allow_private: true
  azure:
    api_version: 2024-10-21
    endpoints:
      - {region: eu, base_url: 'https://eu.example.com', api_key: '${AZURE_EU_KEY}', deployment: d-eu}
      - {name: us, base_url: 'https://us.example.com', api_version: preview}
  second:
    kind: openrouter
    base_url: https://openrouter.ai/api/v1
    api_key: k
");
    assert_eq!(models.warnings, []);
    let house = &models.providers["house"];
    assert_eq!(house.kind.name(), "openai-compatible");
    assert_eq!(house.dialects, [Dialect::Chat, Dialect::Responses]);
    assert_eq!(
        (house.timeout, house.private),
        (Duration::from_secs(300), true)
    );
    assert_eq!(house.endpoints[0].name, "1");
    assert_eq!(key(house, 0), Some("sesame-azure-eu"));
    let header = |index: usize| {
        let (name, value) = &house.headers[index];
        (name.as_str(), value.as_str())
    };
    assert_eq!(header(0), ("x-team", "sesame-tag"));
    assert_eq!(header(1), ("x-plain", "yes"));

    let azure = &models.providers["azure"];
    assert_eq!(azure.kind.name(), "azure");
    let [eu, us] = &azure.endpoints[..] else {
        panic!("{:?}", azure.endpoints.len());
    };
    assert_eq!((eu.name.as_str(), us.name.as_str()), ("eu", "us"));
    assert_eq!(
        (eu.deployment.as_deref(), eu.api_version.as_deref()),
        (Some("d-eu"), Some("2024-10-21"))
    );
    assert_eq!(
        (us.deployment.as_deref(), us.api_version.as_deref()),
        (None, Some("preview"))
    );
    assert_eq!(
        (key(azure, 0), key(azure, 1)),
        (Some("sesame-azure-eu"), None)
    );
    assert_eq!(models.providers["second"].kind.name(), "openrouter");

    let facts = facts(&models);
    assert!(!facts.contains("sesame"), "{facts}");
    for line in [
        "providers.house.headers.X-Team = set, 10 characters   (models.yaml:5, from ${TEAM_TAG})",
        "providers.house.headers.x-plain = yes   (models.yaml:5)",
        "providers.house.speaks = chat, responses   (models.yaml:7)",
        "providers.house.api_key = set, 15 characters   (models.yaml:4, from ${AZURE_EU_KEY})",
        "providers.azure.endpoints[0].region = eu   (models.yaml:12)",
        "providers.openai.api_key = set, 16 characters   (environment variable OPENAI_API_KEY)",
        "providers.openai.base_url = https://api.openai.com/v1   (default)",
    ] {
        assert!(facts.contains(line), "{line}\n{facts}");
    }
    let shown = format!("{:?}", models.providers);
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn endpoints_inherit_from_their_block_and_the_environment() {
    let models = read(
        "providers:
  openai:
    timeout: 30
    endpoints: [{name: a}, {base_url: 'https://eu.api.openai.com/v1'}, {api_key: own-key}]
",
    );
    let openai = &models.providers["openai"];
    let all: Vec<(&str, &str, Option<&str>)> = openai
        .endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| {
            let host = endpoint.base_url.host.as_str();
            (endpoint.name.as_str(), host, key(openai, index))
        })
        .collect();
    assert_eq!(
        all,
        [
            ("a", "api.openai.com", Some("sk-sesame-openai")),
            ("2", "eu.api.openai.com", Some("sk-sesame-openai")),
            ("3", "api.openai.com", Some("own-key")),
        ]
    );
}

#[test]
fn a_key_from_a_variable_goes_to_no_other_server() {
    let models = read(
        "providers:
  mirror: {kind: openai, base_url: 'https://mirror.example.com/v1'}
  mine: {kind: openai}
  silent: {kind: openai, api_key: ''}
",
    );
    assert_eq!(key(&models.providers["mirror"], 0), None);
    assert_eq!(key(&models.providers["mine"], 0), Some("sk-sesame-openai"));
    assert_eq!(key(&models.providers["silent"], 0), None);
}

#[test]
fn every_mistake_of_a_block_is_reported_at_once() {
    let text = "providers:
  house:
    kind: opnai
    base_url: http://169.254.169.254/v1
    dialects: [chatt]
    headers: {Authorization: x, 'a b': x, X-A: 1, x-a: 2, x-b: \"a\\nb\", Content-Length: 5}
    timeout: soon
    allow_private: maybe
    urll: x
  pair:
    endpoints:
      - {name: a, base_url: 'http://h/v1'}
      - {name: a, base_url: 'ftp://h'}
      - {name: 'b c'}
  bare: {}
  openrouter: {base_url: 'https://openrouter.ai/api/v1'}
  'no name!': {base_url: 'http://h'}
  claude: {kind: anthropic, dialects: [chat]}
  both: {base_url: 'http://h', dialects: [chat], speaks: [chat]}
  none: {base_url: 'http://h', endpoints: []}
";
    let found = errors(text);
    for part in [
        "3:11: error: providers.house.kind: is no kind of provider\n  help: did you mean `openai`?",
        "4:15: error: providers.house.base_url: is a link-local address",
        "5:16: error: providers.house.dialects[0]: is no dialect\n  help: did you mean `chat`?",
        "Authorization: this header is Weir's to set",
        "is no valid name of a header",
        "`x-a` is given twice",
        "printable ASCII only",
        "Content-Length: this header is Weir's to set",
        "providers.house.timeout: must be a duration",
        "allow_private: must be true or false",
        "providers.house.urll: unknown key",
        "the name `a` is given to two endpoints",
        "endpoints[1].base_url: the URL must begin with",
        "endpoints[2].name: the name must be",
        "providers.bare: `base_url` is missing",
        "OpenRouter is configured in the policy",
        "no name!\": the name must be",
        "a provider of the kind anthropic has no route for chat",
        "is the same as `dialects`",
        "must name at least one endpoint",
    ] {
        assert!(
            found.iter().any(|line| line.contains(part)),
            "{part}\n{found:#?}"
        );
    }
    // The endpoint without a usable name has no address either.
    assert_eq!(found.len(), 21, "{found:#?}");
}

#[test]
fn a_variable_with_a_bad_address_is_named() {
    let problems = read_with("", &[("OPENAI_BASE_URL", "https://sesame@h/v1")]).unwrap_err();
    let shown = problems.to_string();
    assert!(
        shown.starts_with("environment: error: OPENAI_BASE_URL: a base URL may not hold a user"),
        "{shown}"
    );
    assert!(!shown.contains("sesame"));
}

#[test]
fn what_is_azures_alone_is_remarked_on_elsewhere() {
    let models = read(
        "providers: {openai: {api_version: v1}}
models: {m: {provider: openai, deployment: d}, n: {provider: openrouter, deployment: d}}
",
    );
    let shown: Vec<String> = models.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown.iter().all(|line| line.contains("is for Azure")));
}

#[test]
fn a_block_speaks_what_it_can_say_the_clients_words_in() {
    let models = read(
        "providers:
  chats: {base_url: 'http://h', dialects: [chat]}
  claude: {kind: anthropic, api_key: k}
  vectors: {base_url: 'http://h', dialects: [embeddings]}
",
    );
    let speaks = |name: &str, client| models.providers[name].speaks(client);
    assert_eq!(speaks("chats", Dialect::Messages), Some(Dialect::Chat));
    assert_eq!(speaks("claude", Dialect::Chat), Some(Dialect::Messages));
    assert_eq!(speaks("claude", Dialect::Embeddings), None);
    assert_eq!(speaks("vectors", Dialect::Chat), None);
}

#[test]
fn a_public_name_may_not_turn_out_private_unless_allowed() {
    let models = read(
        "providers:
  public: {base_url: 'https://api.example.com'}
  allowed: {base_url: 'https://api.example.com', allow_private: on}
  inside: {base_url: 'http://vllm:8000'}
",
    );
    let may = |name: &str| {
        let block = &models.providers[name];
        block.may_be_private(&block.endpoints[0])
    };
    assert_eq!(
        (may("public"), may("allowed"), may("inside")),
        (false, true, true)
    );
}

proptest! {
    #[test]
    fn no_section_makes_it_panic(text in "(?s).{0,60}|(\\{|\\}|[a-z_]{1,9}|: |, |\\[|\\]|'){0,24}") {
        let _ = read_with(&format!("providers:\n  {text}"), &KEYS);
        let _ = read_with(&format!("providers: {{openai: {{{text}}}, a: {{endpoints: [{{{text}}}]}}}}"), &KEYS);
    }
}
