use super::tests::{problems, read, with};
use super::*;

#[test]
fn a_broken_file_reports_all_ten_mistakes_at_their_lines() {
    let text = r#"cost_routing:
  spend_logg: ./spend.jsonl
  openrouter:
    base_url: "ftp://openrouter.ai"
    timeout_seconds: soon
  agents:
    one:
      budget_total: -5
      perod: daily
      hard_cap: maybe
      tiers:
        - threshold: 1.5
          models: [a]
        - threshold: 0.1
          models: []
    two:
      budget_total: .nan
      period: dayly
    one:
      budget_total: 5
auth:
  keys:
    - {id: k, sha256: abc, agent: tow}
"#;
    let shown = problems(text);
    let places: Vec<&str> = shown
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    let wanted = [
        ("2:3", "unknown key\n  help: did you mean `spend_log`?"),
        ("4:15", "must begin with https:// or http://"),
        ("5:22", "must be a duration"),
        ("8:21", "must not be negative"),
        ("9:7", "unknown key\n  help: did you mean `period`?"),
        ("10:17", "must be true or false"),
        ("12:22", "must be between 0 and 1"),
        ("15:19", "at least one model"),
        ("17:21", "must be a finite number"),
        ("18:15", "did you mean `daily`?"),
        ("19:5", "`one` is given twice; first in line 7"),
        ("23:23", "64 hexadecimal digits"),
        ("23:35", "did you mean `two`?"),
    ];
    assert_eq!(
        places,
        wanted.map(|(place, _)| format!("policy.yaml:{place}")),
        "{shown:#?}"
    );
    for (line, (_, part)) in shown.iter().zip(wanted) {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn every_mistake_of_an_agent_is_refused() {
    for (agent, part) in [
        ("{}", "`budget_total` is missing"),
        ("", "`budget_total` is missing"),
        ("[1]", "must be a mapping, is a list"),
        ("{budget_total: .inf}", "finite"),
        ("{budget_total: 1, budget_spent: -1}", "negative"),
        (
            "{budget_total: {a: 1}}",
            "must be a single value, is a mapping",
        ),
        (
            "{budget_total: 1, timezone: Europe/Berlim}",
            "did you mean `Europe/Berlin`?",
        ),
        (
            "{budget_total: 1, period: fortnightly}",
            "must be one of none, hourly",
        ),
        (
            "{budget_total: 1, budget_source: consol}",
            "did you mean `console`?",
        ),
        ("{budget_total: 1, tiers: []}", "at least one tier"),
        (
            "{budget_total: 1, tiers: [{threshold: 0}]}",
            "`models` is missing",
        ),
        (
            "{budget_total: 1, tiers: [{models: [a]}]}",
            "`threshold` is missing",
        ),
        (
            "{budget_total: 1, tiers: [{threshold: 0, models: ['']}]}",
            "name is empty",
        ),
        (
            "{budget_total: 1, tiers: [{threshold: 80, models: [a]}]}",
            "write 0.8 for 80 %",
        ),
        (
            "{budget_total: 1, tiers: {threshold: 0}}",
            "must be a list, is a mapping",
        ),
    ] {
        let text = format!("cost_routing:\n  agents:\n    a: {agent}\n");
        let shown = problems(&text);
        assert!(
            shown
                .iter()
                .any(|line| line.contains(part) && line.contains("policy.yaml:3:")),
            "{agent}: {shown:?}"
        );
        assert!(read(&text).is_err(), "{agent}");
    }
    assert!(
        problems("cost_routing: {agents: {'é': {budget_total: 1}}}")[0].contains("printable ASCII")
    );
}

#[test]
fn what_is_sound_but_probably_not_meant_is_a_warning() {
    for (text, part) in [
        ("cost_routing: {}", "no agents are configured"),
        (&with("execwall: {seccomp: true}\n"), "none of Weir's"),
        (
            "cost_routing: {agents: {a: {budget_total: 1, period_reset: x}}}",
            "is ignored",
        ),
        (
            "cost_routing: {agents: {a: {budget_total: 1, tiers: [{threshold: 0, models: [x]}, {threshold: 0.5, models: [y]}]}}}",
            "never chosen",
        ),
    ] {
        let policy = read(text).unwrap();
        assert!(
            policy
                .warnings
                .iter()
                .any(|warning| warning.to_string().contains(part)),
            "{text}"
        );
    }
    assert!(
        problems("agents: {}\n")
            .iter()
            .any(|line| line.contains("`cost_routing` is missing"))
    );
    assert!(problems("- a\n")[0].contains("must be a mapping, is a list"));
}

#[test]
fn keys_are_checked_against_the_agents_and_each_other() {
    let digest = "0".repeat(64);
    let keys = |list: &str| with(&format!("auth: {{keys: [{list}]}}\n"));
    let sound = format!("{{id: k, sha256: {digest}, agent: a}}");
    assert_eq!(read(&keys(&sound)).unwrap().keys.len(), 1);
    for (list, part) in [
        (
            format!("{sound}, {{id: l, sha256: {digest}, agent: a}}"),
            "is the same key as `k`",
        ),
        (
            format!("{sound}, {{id: k, sha256: {}, agent: a}}", "1".repeat(64)),
            "given to two keys",
        ),
        (
            format!("{{id: k, sha256: {digest}, agent: b}}"),
            "no agent of this name",
        ),
        (
            format!("{{id: k, sha256: {digest}, agent: a, agents: [b]}}"),
            "no agent of this name",
        ),
        (
            format!("{{id: k, sha256: {digest}, key: x, agent: a}}"),
            "both",
        ),
        ("{id: k, agent: a}".into(), "neither"),
        (
            "{id: k, key: '${NOT_SET}', agent: a}".into(),
            "the key is empty (${NOT_SET} is not set)",
        ),
        ("{id: k, key: short, agent: a}".into(), "shorter than 16"),
        (format!("{{sha256: {digest}, agent: a}}"), "`id` is missing"),
        (format!("{{id: k, sha256: {digest}}}"), "`agent` is missing"),
        (
            format!("{{id: k, sha256: {digest}, agent: a, expires: tomorrow}}"),
            "must be a date",
        ),
        (
            format!("{{id: k, sha256: {digest}, agent: a, expires: 2027-02-30}}"),
            "must be a date",
        ),
        (
            format!("{{id: k, sha256: {digest}, agent: a, expire: 2027-02-03}}"),
            "did you mean `expires`?",
        ),
    ] {
        assert!(read(&keys(&list)).is_err(), "{list}");
        assert!(
            problems(&keys(&list))
                .iter()
                .any(|line| line.contains(part)),
            "{list}: {:?}",
            problems(&keys(&list))
        );
    }
    assert_eq!(keys::moment("2027-01-01").unwrap(), 1_798_761_600);
    assert_eq!(
        keys::moment("2027-01-01T01:00:00+01:00").unwrap(),
        1_798_761_600
    );
}

#[test]
fn no_secret_shows_anywhere() {
    let text = with(
        "  openrouter: {api_key: 'sk-literal-sesame', title: '${SESAME_KEY}', base_url: 'https://sesame:sesame@host'}
  console: {enabled: true, url: 'https://console', api_key: '${SESAME_KEY}'}
auth:
  keys:
    - {id: k, key: weir_sesame_sesame_sesame, agent: a}
    - {id: l, key: sesame, agent: a}
    - {id: m, sha256: sesame, agent: '${SESAME_KEY}'}
",
    );
    let environment = Environment::of([
        ("SESAME_KEY", "from-sesame-street"),
        ("OPENROUTER_API_KEY", "sesame"),
    ]);
    let problems = parse("policy.yaml", &text, &environment).unwrap_err();
    assert_eq!(problems.errors(), 4, "{problems}");
    assert!(
        !format!("{problems} {problems:?}").contains("sesame"),
        "{problems}"
    );

    let text = text
        .replace("https://sesame:sesame@host", "https://host")
        .lines()
        .filter(|line| !line.contains("id: l") && !line.contains("id: m"))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let policy = parse("policy.yaml", &text, &environment).unwrap();
    let shown = format!(
        "{policy:?} {:?} {:?} {:?}",
        policy.facts, policy.warnings, policy.upstream
    );
    assert!(!shown.contains("sesame"), "{shown}");
    let facts: Vec<String> = policy.facts.iter().map(ToString::to_string).collect();
    let line = "cost_routing.openrouter.api_key = set, 17 characters   (policy.yaml:3)";
    assert!(facts.iter().any(|fact| fact == line), "{facts:#?}");
    assert!(
        facts
            .iter()
            .any(|fact| fact.starts_with("cost_routing.openrouter.title = set, 18 characters"))
    );
}
