use super::*;
use crate::auth::{self, Identity};
use crate::budget::period::PeriodKind;
use crate::money::Nanos;
use crate::policy::tests::{problems, read};

const SHA: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Agents `a`, `b` and `c`, and these lines inside `cost_routing`.
fn with(lines: &str) -> String {
    format!(
        "cost_routing:\n  agents:\n    a: {{budget_total: 5}}\n    b: {{budget_total: 5}}\n    c: {{budget_total: 5}}\n{lines}"
    )
}

fn keys(list: &str) -> String {
    format!("auth: {{keys: [{list}]}}\n")
}

fn ids<'a>(accounts: impl IntoIterator<Item = &'a Arc<AccountSpec>>) -> Vec<&'a str> {
    accounts.into_iter().map(|spec| spec.id.as_str()).collect()
}

/// That each of these parts is in one of the problems, of which there are as many, all errors.
fn wrong(text: &str, parts: &[&str]) {
    let shown = problems(text);
    assert!(read(text).is_err(), "{shown:#?}");
    for part in parts {
        assert!(
            shown.iter().any(|line| line.contains(part)),
            "{part}\n{shown:#?}"
        );
    }
    assert_eq!(shown.len(), parts.len(), "{shown:#?}");
}

#[test]
fn a_team_has_an_account_as_an_agent_has_and_limits() {
    let policy = read(&with(
        "  timezone: Europe/Berlin
  teams:
    x: {budget_total: 9, budget_spent: 2, period: weekly, agents: [a, b], limits: {requests_per_minute: 7}}
    y: {budget_total: 1, hard_cap: false, timezone: UTC, agents: [c]}
",
    ))
    .unwrap();
    assert_eq!(policy.warnings, []);
    let x = &policy.teams["x"];
    assert_eq!(x.account.id.as_str(), "team:x");
    assert_eq!(
        (x.account.limit, x.account.opening, x.account.hard),
        (Nanos::usd(9), Nanos::usd(2), true)
    );
    assert_eq!(x.account.period.kind, PeriodKind::Weekly);
    assert_eq!(x.account.period.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(x.limits.requests_per_minute, Some(7));
    let y = &policy.teams["y"];
    assert!(!y.account.hard && y.account.period.zone.iana_name() == Some("UTC"));
    assert_eq!(ids(&policy.agents["a"].accounts), ["agent:a", "team:x"]);
    assert_eq!(ids(&policy.agents["c"].accounts), ["agent:c", "team:y"]);
    let all = policy.accounts();
    assert_eq!(
        ids(&all),
        ["agent:a", "agent:b", "agent:c", "team:x", "team:y"]
    );
    let facts: Vec<String> = policy.facts.iter().map(ToString::to_string).collect();
    for line in [
        "cost_routing.teams.x.budget_total = $9.00   (policy.yaml:8)",
        "cost_routing.teams.x.agents = a, b   (policy.yaml:8)",
        "cost_routing.teams.x.limits.requests_per_minute = 7   (policy.yaml:8)",
        "cost_routing.teams.y.hard_cap = false   (policy.yaml:9)",
    ] {
        assert!(facts.iter().any(|fact| fact == line), "{line}\n{facts:#?}");
    }
}

#[test]
fn both_directions_say_the_same() {
    let listed = with(
        "  users: {u: {budget_total: 1}}\n  teams: {x: {budget_total: 9, agents: [a], users: [u]}}\n",
    );
    let named = listed
        .replace("a: {budget_total: 5}", "a: {budget_total: 5, team: x}")
        .replace("u: {budget_total: 1}", "u: {budget_total: 1, team: x}")
        .replace(", agents: [a], users: [u]", "");
    let twice = listed
        .replace("a: {budget_total: 5}", "a: {budget_total: 5, team: x}")
        .replace("users: [u]", "users: [u, u]");
    for text in [listed, named, twice] {
        let policy = read(&text).unwrap();
        assert_eq!(policy.warnings, [], "{text}");
        let id = TeamId::new("x").unwrap();
        let members = policy.members(&id);
        assert_eq!((members.agents, members.users), (vec!["a"], vec!["u"]));
        assert_eq!(ids(&policy.agents["a"].accounts), ["agent:a", "team:x"]);
        assert_eq!(ids(&policy.agents["b"].accounts), ["agent:b"]);
        assert_eq!(policy.user_teams["u"].id, id);
    }
}

#[test]
fn whoever_is_in_two_teams_is_an_error_that_names_both_places() {
    let text = with(
        "  users:
    u: {budget_total: 1, team: y}
  teams:
    x: {budget_total: 9, agents: [a], users: [u]}
    y: {budget_total: 9, agents: [b, a]}
",
    )
    .replace("b: {budget_total: 5}", "b: {budget_total: 5, team: x}");
    wrong(
        &text,
        &[
            "policy.yaml:9:47: error: cost_routing.teams.x.users[0]: the user `u` belongs to the team `y` already: \
             cost_routing.users.u.team (policy.yaml:7)",
            "cost_routing.teams.y.agents[0]: the agent `b` belongs to the team `x` already: \
             cost_routing.agents.b.team (policy.yaml:4)",
            "cost_routing.teams.y.agents[1]: the agent `a` belongs to the team `x` already: \
             cost_routing.teams.x.agents[0] (policy.yaml:9)",
        ],
    );
}

#[test]
fn names_that_nobody_has_are_errors_with_suggestions() {
    let text = with(
        "  users: {ann: {budget_total: 1, team: reserch}}
  user_default: {budget_total: 1, team: nobodys}
  teams:
    research: {budget_total: 9, agents: [d, a], users: [anne, bob], team: al}
    all: {budget_total: 9}
",
    )
    .replace(
        "a: {budget_total: 5}",
        "a: {budget_total: 5, team: researc}",
    ) + &keys(&format!(
        "{{id: k, sha256: {SHA}, agent: a, user: bob, team: Al}}"
    ));
    wrong(
        &text,
        &[
            "agents.a.team: no team of this name is configured\n  help: did you mean `research`?",
            "users.ann.team: no team of this name is configured\n  help: did you mean `research`?",
            "user_default.team: no team of this name is configured\n  help: one of: all, research",
            "teams.research.agents[0]: no agent of this name is configured",
            "teams.research.users[0]: no user of this name is configured\n  help: did you mean `ann`?",
            "teams.research.team: no team of this name is configured\n  help: did you mean `all`?",
            "keys[0].team: no team of this name is configured\n  help: did you mean `all`?",
            "teams.all: nobody belongs to this team",
        ],
    );
}

#[test]
fn teams_may_be_part_of_others_and_none_of_itself() {
    let policy = read(&with(
        "  gateway: {budget_total: 99}
  teams:
    all: {budget_total: 9}
    dev: {budget_total: 9, team: all}
    core: {budget_total: 9, team: dev, agents: [a]}
    ops: {budget_total: 9, team: all, agents: [b]}
",
    ))
    .unwrap();
    assert_eq!(policy.warnings, []);
    let accounts = |agent: &str| policy.agents[agent].accounts.clone();
    assert_eq!(
        ids(&accounts("a")),
        ["agent:a", "team:core", "team:dev", "team:all", "gateway"]
    );
    assert_eq!(
        ids(&accounts("b")),
        ["agent:b", "team:ops", "team:all", "gateway"]
    );
    assert_eq!(ids(&accounts("c")), ["agent:c", "gateway"]);
    let all = TeamId::new("all").unwrap();
    assert_eq!(policy.members(&all).teams, ["dev", "ops"]);

    wrong(
        &with(
            "  teams:
    one: {budget_total: 1, team: two, agents: [a]}
    two: {budget_total: 1, team: three}
    three: {budget_total: 1, team: two}
    self: {budget_total: 1, team: self}
",
        ),
        &[
            "cost_routing.teams.two.team: no team is part of itself: two -> three -> two",
            "cost_routing.teams.self.team: no team is part of itself: self -> self",
        ],
    );
}

#[test]
fn a_line_of_teams_has_an_end() {
    // Named so that once those above come first and once those inside do.
    for up in [true, false] {
        let name = |level: usize| format!("t{:04}", if up { level } else { 5000 - level });
        let of = |levels: usize| {
            let mut text = with("  teams:\n");
            for level in 0..levels {
                let parent = match level {
                    0 => String::new(),
                    _ => format!(", team: {}", name(level - 1)),
                };
                text += &format!("    {}: {{budget_total: 1{parent}}}\n", name(level));
            }
            let last = format!("{}: {{", name(levels - 1));
            text.replace(&last, &format!("{last}agents: [a], "))
        };
        let deepest = read(&of(DEEPEST)).unwrap();
        assert_eq!(deepest.agents["a"].accounts.len(), 1 + DEEPEST);
        let shown = problems(&of(DEEPEST + 1));
        assert_eq!(shown.len(), 1, "{shown:#?}");
        assert!(shown[0].contains("more than 16 teams stand one above the other"));
        assert!(read(&of(3000)).is_err());
    }
}

#[test]
fn a_team_with_nobody_in_it_is_remarked_on() {
    let text = with("  teams:\n    x: {budget_total: 1}\n    y: {budget_total: 1, agents: []}\n");
    let shown = problems(&text);
    assert_eq!(shown.len(), 2, "{shown:#?}");
    assert!(shown[0].contains("warning: cost_routing.teams.x: nobody belongs to this team"));
    let key = keys(&format!("{{id: k, sha256: {SHA}, agent: a, team: x}}"));
    let policy = read(&(text + &key)).unwrap();
    assert_eq!(policy.warnings.len(), 1, "{:?}", policy.warnings);
    let id = TeamId::new("x").unwrap();
    assert_eq!(policy.members(&id).keys, ["k"]);
}

#[test]
fn a_teams_name_is_the_name_of_an_account() {
    let long = "x".repeat(124);
    let text = with(&format!(
        "  teams:\n    {long}: {{budget_total: 1, agents: [a]}}\n    'é': {{budget_total: 1}}\n    z: {{limit: 1}}\n"
    ));
    let shown = problems(&text).join("\n");
    for part in [
        "the name, with what it is in front, must be at most 128 bytes",
        "the name may contain printable ASCII",
        "teams.z: `budget_total` is missing",
        "teams.z.limit: unknown key",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}

#[test]
fn a_list_of_a_team_wins_over_the_team_of_everybody() {
    let text = with(
        "  users: {ann: {budget_total: 1}}
  user_default: {budget_total: 2, team: guests}
  teams: {guests: {budget_total: 9}, staff: {budget_total: 9, users: [bob]}}
",
    ) + &keys(&format!(
        "{{id: k, sha256: {SHA}, agent: a, users: [ann, bob, eve]}}"
    ));
    let policy = read(&text).unwrap();
    assert_eq!(policy.warnings, []);
    assert_eq!(policy.user_teams["bob"].id.as_str(), "staff");
    assert_eq!(policy.user_teams["eve"].id.as_str(), "guests");
    assert!(!policy.user_teams.contains_key("ann"));
}

const KEY: &str = "a-client-key-of-some-length";

fn falls(policy: &Policy, agent: Option<&str>, user: Option<&str>) -> Identity {
    let key = (!policy.keys.is_empty()).then_some(KEY);
    auth::authenticate(policy, key, agent, user, true, 0).unwrap()
}

#[test]
fn a_request_falls_under_every_team_of_agent_user_and_key_once() {
    let digest = crate::secret::KeyDigest::of(KEY.as_bytes()).to_hex();
    let text = with(
        "  gateway: {budget_total: 99}
  users: {ann: {budget_total: 1}}
  teams:
    all: {budget_total: 9, limits: {tokens_per_minute: 9}}
    dev: {budget_total: 9, team: all, agents: [a], limits: {concurrent_requests: 3}}
    staff: {budget_total: 9, team: all, users: [ann, bob]}
    project: {budget_total: 9, limits: {requests_per_minute: 2}}
",
    ) + &keys(&format!(
        "{{id: k, sha256: {digest}, agent: a, agents: [b], users: [ann, bob, eve], team: project}}"
    ));
    let policy = read(&text).unwrap();
    let under = |agent, user| {
        let identity = falls(&policy, agent, user);
        ids(identity.accounts(&policy).iter()).join(" ")
    };
    assert_eq!(
        under(None, Some("ann")),
        "agent:a user:ann team:dev team:all team:staff team:project gateway"
    );
    // Without a budget of one's own, in a team all the same.
    assert_eq!(
        under(Some("b"), Some("bob")),
        "agent:b team:staff team:all team:project gateway"
    );
    assert_eq!(
        under(Some("b"), Some("eve")),
        "agent:b team:project gateway"
    );
    // The field of the body chooses as the header does.
    let mut identity = falls(&policy, Some("b"), None);
    identity.choose_user(&policy, Some("bob")).unwrap();
    assert_eq!(
        ids(identity.accounts(&policy).iter()).join(" "),
        "agent:b team:staff team:all team:project gateway"
    );
    let identity = falls(&policy, None, Some("ann"));
    let claims = identity.claims();
    let teams: Vec<&str> = claims
        .filter(|claim| claim.kind == crate::limit::Kind::Team)
        .map(|claim| claim.id)
        .collect();
    assert_eq!(teams, ["dev", "all", "staff", "project"]);
}

#[test]
fn where_only_the_agents_own_accounts_matter_they_are_shared() {
    let policy = read(&with(
        "  users: {ann: {budget_total: 1}}\n  teams: {x: {budget_total: 9, agents: [a, b], users: [ann]}}\n",
    ))
    .unwrap();
    for agent in ["a", "b", "c"] {
        let identity = falls(&policy, Some(agent), None);
        let accounts = identity.accounts(&policy);
        assert!(matches!(accounts, std::borrow::Cow::Borrowed(_)), "{agent}");
    }
    let of = |user| {
        let identity = falls(&policy, Some("a"), Some(user));
        ids(identity.accounts(&policy).iter()).join(" ")
    };
    assert_eq!(of("ann"), "agent:a user:ann team:x");
}

#[test]
fn agents_that_use_the_default_one_are_in_its_team() {
    let text = "cost_routing:
  agents: {default: {budget_total: 1, team: x}}
  teams: {x: {budget_total: 1}}
";
    let policy = read(text).unwrap();
    let identity = falls(&policy, Some("whoever"), None);
    assert_eq!(
        ids(identity.accounts(&policy).iter()),
        ["agent:default", "team:x"]
    );
}
