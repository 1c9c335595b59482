use crate::breaker::{Action, Level, Span};
use crate::money::Nanos;
use crate::policy::{Policy, changes, parse};
use crate::settings::environment::Environment;
use crate::settings::problem::Problems;
use std::time::Duration;

fn read_with(breaker: &str, variables: &[(&str, &str)]) -> Result<Policy, Problems> {
    let environment = Environment::of(variables.iter().copied());
    let agents = "agents: {a: {budget_total: 1}}";
    let text = format!("cost_routing: {{breaker: {breaker}, {agents}}}");
    parse("policy.yaml", &text, &environment)
}

fn read(breaker: &str) -> Result<Policy, Problems> {
    read_with(breaker, &[])
}

fn amounts(policy: &Policy) -> Vec<i64> {
    let all = policy.breaker.rules.thresholds.all();
    all.map(|(_, from)| from.0 / 1_000_000_000).collect()
}

#[test]
fn without_a_word_levels_are_told_and_nothing_is_done() {
    let policy = read("{}").unwrap();
    assert!(!policy.breaker.rules.enforced);
    assert_eq!(amounts(&policy), [100, 250, 500, 1000]);
    assert_eq!(
        policy.breaker.rules.span,
        Span::Sliding(Duration::from_secs(86_400))
    );
    assert!(policy.breaker.webhook.is_none());
    assert!(read("{mode: enforce}").unwrap().breaker.rules.enforced);
}

#[test]
fn a_variable_wins_over_the_file_and_asks_for_levels_to_act() {
    let soft = [("CIRCUIT_BREAKER_SOFT", "300")];
    let policy = read_with("{soft: 200, hard: $600}", &soft).unwrap();
    assert_eq!(amounts(&policy), [100, 300, 600, 1000]);
    assert!(policy.breaker.rules.enforced);
    let observed = read_with("{mode: observe}", &soft).unwrap();
    assert!(!observed.breaker.rules.enforced);
    let wrong = read_with("{}", &[("CIRCUIT_BREAKER_HARD", "a lot")]).unwrap_err();
    assert!(
        wrong.to_string().contains("CIRCUIT_BREAKER_HARD"),
        "{wrong}"
    );
    let order = read_with("{}", &[("CIRCUIT_BREAKER_EMERGENCY", "50")]).unwrap_err();
    assert!(
        order
            .to_string()
            .contains("EMERGENCY ($50.0) must be more than HARD ($500.0)"),
        "{order}"
    );
}

#[test]
fn everything_can_be_said_otherwise() {
    let policy = read(
        "{mode: enforce, warning: 1, soft: 2, hard: 3.5, emergency: 4, window: monthly, timezone: Europe/Berlin, \
         downgrade: {models: [Opus, gpt-5], to: openai/gpt-4o-mini}, economy: {models: [mini], to: openai/gpt-4o-mini}, \
         spikes: {action: refuse, factor: 3, dollars_per_minute: 0.5, tokens_per_minute: 1000, cool_down: 1m}, \
         repeats: {action: off, times: 5, within: 2m, cool_down: 30s}, \
         webhook: {url: 'http://127.0.0.1:9/hook', timeout: 2s}}",
    )
    .unwrap();
    let rules = &policy.breaker.rules;
    assert_eq!(rules.thresholds.of(Level::Hard), Some(Nanos(3_500_000_000)));
    assert_eq!(rules.span.tag(), "monthly-Europe/Berlin");
    assert_eq!(rules.dear.named, ["opus", "gpt-5"]);
    assert_eq!(rules.economy.to.as_deref(), Some("openai/gpt-4o-mini"));
    assert_eq!(rules.spikes.action, Action::Refuse);
    assert_eq!((rules.spikes.factor, rules.spikes.tokens), (3, 1000));
    assert_eq!(rules.repeats.action, Action::Off);
    assert_eq!(rules.repeats.within, Duration::from_secs(120));
    let webhook = policy.breaker.webhook.as_ref().unwrap();
    assert_eq!(webhook.timeout, Duration::from_secs(2));
}

#[test]
fn what_cannot_work_is_an_error_that_says_what_to_do() {
    for (breaker, part) in [
        (
            "{soft: 90}",
            "SOFT ($90.0) must be more than WARNING ($100.0)",
        ),
        ("{warning: 0}", "must be more than zero"),
        ("{warning: -1}", "must not be negative"),
        ("{mode: on}", "observe or enforce"),
        ("{window: dayly}", "did you mean `daily`?"),
        ("{window: 90d}", "between 1s and 31d"),
        ("{window: none}", "or one of hourly"),
        ("{timezone: Europe/Berlni}", "time zone"),
        ("{soft_limit: 3}", "unknown key"),
        ("{downgrade: {models: [sonnet]}}", "is one of the models"),
        ("{downgrade: {models: []}}", "must list 1 to 64"),
        (
            "{economy: {to: openai/gpt-4o}}",
            "has none of the names in `models`",
        ),
        ("{spikes: {action: block}}", "off, observe, refuse"),
        ("{spikes: {factor: 1}}", "between 2 and 1000"),
        ("{repeats: {times: 101}}", "between 2 and 100"),
        ("{repeats: {within: 2d}}", "between 1s and 24h"),
        ("{webhook: {}}", "`url` is missing"),
        (
            "{webhook: {url: 'http://hooks.example.com'}}",
            "use https://",
        ),
        ("{webhook: {url: 'http://10.0.0.1'}}", "use https://"),
        (
            "{webhook: {url: 'https://169.254.169.254/x'}}",
            "link-local",
        ),
        (
            "{webhook: {url: 'https://h', secret: short}}",
            "at least 32 bytes",
        ),
        (
            "{webhook: {url: 'https://h', timeout: 2m}}",
            "between 100ms and 60s",
        ),
    ] {
        let shown = read(breaker).unwrap_err().to_string();
        assert!(shown.contains(part), "{breaker}: {shown}");
    }
}

#[test]
fn a_secret_is_never_shown_and_another_one_is_told() {
    let of = |secret: &str| {
        let webhook = "{webhook: {url: 'https://hooks.example.com/T0/SESAME', secret: '${S}'}}";
        read_with(webhook, &[("S", secret)]).unwrap()
    };
    let (old, new) = (of(&"sesame-1".repeat(4)), of(&"sesame-2".repeat(4)));
    let shown = format!("{:?} {:?}", old.breaker, old.facts);
    assert!(
        !shown.contains("sesame") && !shown.contains("SESAME"),
        "{shown}"
    );
    assert_eq!(
        changes::between(&old, &new),
        ["the breaker's messages are signed with another secret"]
    );
}
