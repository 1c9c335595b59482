use super::*;
use crate::settings::environment::Environment;
use proptest::prelude::*;

const KEY_A: &str = "weir_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const KEY_B: &str = "weir_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn policy(auth: &str, agents: &[&str]) -> Policy {
    let mut text = "cost_routing:\n  agents:\n".to_owned();
    for agent in agents {
        text.push_str(&format!("    {agent}: {{budget_total: 1}}\n"));
    }
    text.push_str(auth);
    let environment = Environment::of([("A", KEY_A), ("B", KEY_B)]);
    crate::policy::parse("policy.yaml", &text, &environment).unwrap()
}

fn with_keys() -> Policy {
    let auth = "auth:
  keys:
    - {id: a, key: '${A}', agent: one, agents: [two], user: ann}
    - {id: b, key: '${B}', agent: two, expires: 2027-01-01}
";
    policy(auth, &["one", "two", "default"])
}

/// The agent's name, the key's id and whether the client's key goes through, or the refusal's code.
fn ask(
    policy: &Policy,
    key: Option<&str>,
    agent: Option<&str>,
    loopback: bool,
) -> Result<(String, Option<String>, bool), &'static str> {
    authenticate(policy, key, agent, None, loopback, 1_700_000_000)
        .map(|found| {
            let key = found.key.map(|key| key.to_string());
            (found.agent.id.to_string(), key, found.passthrough)
        })
        .map_err(|refusal| refusal.code())
}

fn keyed(agent: &str, key: &str) -> Result<(String, Option<String>, bool), &'static str> {
    Ok((agent.into(), Some(key.into()), false))
}

#[test]
fn a_key_decides_the_agent_and_the_header_chooses_only_among_its_own() {
    let policy = with_keys();
    for loopback in [true, false] {
        assert_eq!(ask(&policy, Some(KEY_A), None, loopback), keyed("one", "a"));
        assert_eq!(
            ask(&policy, Some(KEY_A), Some(" "), loopback),
            keyed("one", "a")
        );
        assert_eq!(
            ask(&policy, Some(KEY_A), Some("two"), loopback),
            keyed("two", "a")
        );
        assert_eq!(
            ask(&policy, Some(KEY_B), Some("one"), loopback),
            Err("agent_not_allowed")
        );
        assert_eq!(
            ask(&policy, Some(KEY_A), Some("default"), loopback),
            Err("agent_not_allowed")
        );
        assert_eq!(
            ask(&policy, Some(KEY_A), Some("nobody"), loopback),
            Err("agent_not_allowed")
        );
    }
    let ann = authenticate(&policy, Some(KEY_A), None, None, false, 0).unwrap();
    assert_eq!(
        ann.user.map(|user| user.to_string()).as_deref(),
        Some("ann")
    );
}

#[test]
fn with_keys_nobody_gets_in_without_one_not_even_from_this_machine() {
    let policy = with_keys();
    for loopback in [true, false] {
        assert_eq!(
            ask(&policy, None, Some("one"), loopback),
            Err("missing_api_key")
        );
        assert_eq!(
            ask(&policy, Some(""), None, loopback),
            Err("missing_api_key")
        );
        assert_eq!(
            ask(&policy, Some("weir_"), None, loopback),
            Err("invalid_api_key")
        );
        assert_eq!(
            ask(&policy, Some(&KEY_A[..36]), None, loopback),
            Err("invalid_api_key")
        );
        assert_eq!(
            ask(&policy, Some(&format!("{KEY_A}x")), None, loopback),
            Err("invalid_api_key")
        );
    }
}

#[test]
fn a_key_stops_at_the_first_second_of_its_expiry() {
    let policy = with_keys();
    let at = |now| authenticate(&policy, Some(KEY_B), None, None, false, now).map(|_| ());
    let expiry = 1_798_761_600; // 2027-01-01T00:00:00Z
    assert_eq!(at(expiry - 1), Ok(()));
    assert_eq!(at(expiry), Err(Refusal::ExpiredKey));
}

#[test]
fn without_keys_this_machine_names_its_agent_and_others_are_told_what_to_do() {
    let policy = policy("", &["one"]);
    let open = |agent: &str| Ok((agent.to_owned(), None, true));
    assert_eq!(ask(&policy, None, Some("one"), true), open("one"));
    assert_eq!(
        ask(&policy, Some("sk-for-upstream"), Some("one"), true),
        open("one")
    );
    assert_eq!(ask(&policy, None, None, true), Err("unknown_agent"));
    assert_eq!(
        ask(&policy, Some("sk-for-upstream"), Some("one"), false),
        Err("missing_api_key")
    );
    let refusal = authenticate(&policy, None, None, None, false, 0).unwrap_err();
    assert!(refusal.to_string().contains("weir key new"));
}

#[test]
fn an_unknown_agent_uses_the_default_one_when_there_is_one() {
    let with = policy("", &["one", "default"]);
    assert_eq!(
        ask(&with, None, Some("nobody"), true),
        Ok(("default".into(), None, true))
    );
    assert_eq!(
        ask(&with, None, None, true),
        Ok(("default".into(), None, true))
    );
    let without = policy("", &["one"]);
    let refusal = authenticate(&without, None, Some("no\u{7}body"), None, true, 0).unwrap_err();
    let one = crate::identity::AgentId::new("one").unwrap();
    assert_eq!(
        refusal,
        Refusal::UnknownAgent {
            agent: "nobody".into(),
            available: vec![one]
        }
    );
}

#[test]
fn the_admin_api_needs_its_token_or_this_machine_while_there_is_none() {
    let token = Secret::new("correct horse battery".into());
    for loopback in [true, false] {
        assert_eq!(
            admin_allowed(Some(&token), Some("correct horse battery"), loopback),
            Ok(())
        );
        for wrong in [
            None,
            Some(""),
            Some("correct horse"),
            Some("correct horse battery "),
            Some("x"),
        ] {
            assert!(matches!(
                admin_allowed(Some(&token), wrong, loopback),
                Err(Refusal::AdminToken(_))
            ));
        }
    }
    for none in [None, Some(&Secret::new(String::new()))] {
        assert_eq!(admin_allowed(none, None, true), Ok(()));
        for anything in [None, Some(""), Some("x")] {
            assert!(admin_allowed(none, anything, false).is_err());
        }
    }
}

#[test]
fn a_key_is_found_in_either_header() {
    assert_eq!(presented(Some("Bearer k"), None), Some("k"));
    assert_eq!(presented(Some("bearer   k "), Some("x")), Some("k"));
    assert_eq!(presented(Some("Basic dTpw"), Some(" x ")), Some("x"));
    assert_eq!(presented(Some("Bearer "), None), None);
    assert_eq!(presented(Some("k"), Some("")), None);
}

/// Keys of which one lists users and one has a user only; budgets for ann and, by the template, bob.
fn with_users() -> Policy {
    let auth = "  users: {ann: {budget_total: 3, period: daily}}
  user_default: {budget_total: 2, hard_cap: false}
auth:
  keys:
    - {id: a, key: '${A}', agent: one, user: ann, users: [bob], limits: {requests_per_minute: 6}}
    - {id: b, key: '${B}', agent: one, user: ann}
";
    policy(auth, &["one"])
}

/// The user and the id and limit of its account, or the refusal's code.
fn user_of(
    policy: &Policy,
    key: &str,
    header: Option<&str>,
    field: Option<&str>,
) -> Result<Option<(String, String, i64)>, &'static str> {
    let found = authenticate(policy, Some(key), None, header, true, 0);
    let found = found.and_then(|mut found| found.choose_user(policy, field).map(|()| found));
    let found = found.map_err(|refusal| refusal.code())?;
    Ok(found.user.map(|user| {
        let account = found.user_account.unwrap();
        (user.to_string(), account.id.to_string(), account.limit.0)
    }))
}

#[test]
fn the_header_chooses_among_the_users_of_the_key() {
    let policy = with_users();
    let ann = Ok(Some(("ann".into(), "user:ann".into(), 3_000_000_000)));
    let bob = Ok(Some(("bob".into(), "user:bob".into(), 2_000_000_000)));
    assert_eq!(user_of(&policy, KEY_A, None, None), ann);
    assert_eq!(user_of(&policy, KEY_A, Some(" "), None), ann);
    assert_eq!(user_of(&policy, KEY_A, Some("bob"), None), bob);
    assert_eq!(user_of(&policy, KEY_A, Some("ann"), None), ann);
    assert_eq!(user_of(&policy, KEY_B, Some("ann"), None), ann);
    for (key, name) in [(KEY_A, "eve"), (KEY_B, "bob"), (KEY_B, "eve")] {
        assert_eq!(
            user_of(&policy, key, Some(name), None),
            Err("user_not_allowed"),
            "{name}"
        );
    }
    let limits = authenticate(&policy, Some(KEY_A), None, None, false, 0)
        .unwrap()
        .limits;
    assert_eq!(limits.requests_per_minute, Some(6));
}

#[test]
fn the_field_chooses_for_keys_that_list_users_and_is_a_mere_tag_for_others() {
    let policy = with_users();
    let user = |key, header, field| {
        user_of(&policy, key, header, Some(field)).map(|found| found.unwrap().0)
    };
    assert_eq!(user(KEY_A, None, "bob"), Ok("bob".into()));
    assert_eq!(user(KEY_A, None, "ann"), Ok("ann".into()));
    assert_eq!(user(KEY_A, None, "  "), Ok("ann".into()));
    assert_eq!(user(KEY_A, None, "customer-17"), Err("user_not_allowed"));
    // The header has chosen already.
    assert_eq!(user(KEY_A, Some("ann"), "bob"), Ok("ann".into()));
    for tag in ["customer-17", "bob", "\u{7}", "é"] {
        assert_eq!(user(KEY_B, None, tag), Ok("ann".into()), "{tag}");
    }
}

#[test]
fn without_keys_a_user_is_one_that_has_a_budget() {
    let policy = policy("  users: {ann: {budget_total: 3}}\n", &["default"]);
    let user = |name| {
        let mut found = authenticate(&policy, None, None, Some(name), true, 0).unwrap();
        found.choose_user(&policy, Some("ann")).unwrap();
        (
            found.user.map(|user| user.to_string()),
            found.user_account.map(|account| account.id.to_string()),
        )
    };
    assert_eq!(user("ann"), (Some("ann".into()), Some("user:ann".into())));
    assert_eq!(user("eve"), (None, None));
}

proptest! {
    #[test]
    fn no_invented_key_gets_in(key in ".{0,64}", agent in proptest::option::of(".{0,32}"), loopback: bool) {
        prop_assume!(key != KEY_A && key != KEY_B);
        prop_assert!(authenticate(&with_keys(), Some(&key), agent.as_deref(), None, loopback, 0).is_err());
    }

    #[test]
    fn a_refusal_repeats_little_and_only_printable_text(agent in "(?s).{0,300}") {
        let refusal = authenticate(&with_keys(), Some(KEY_B), Some(&agent), None, false, 0);
        if let Err(Refusal::ForeignAgent { agent }) = refusal {
            prop_assert!(agent.len() <= 64 && agent.bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
    }
}
