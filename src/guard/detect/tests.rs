use super::*;
use serde::Deserialize;

fn found(text: &str) -> Vec<(String, String)> {
    let found = Rules::bundled().find(text, Wanted::ALL);
    let told = found.iter().map(|found| {
        (
            found.about.rule.to_string(),
            text[found.span.clone()].to_owned(),
        )
    });
    told.collect()
}

#[track_caller]
fn one(text: &str, rule: &str, value: &str) {
    assert_eq!(found(text), [(rule.to_owned(), value.to_owned())], "{text}");
}

/// Letters and digits that look like chance.
fn chance(length: usize) -> String {
    let letters = b"q7Zx2Lm9Kp4Tv8Rb3Wn6Yc5Hs1Jd0GfAeUiOo";
    (0..length)
        .map(|at| char::from(letters[(at * 17 + at / 37) % letters.len()]))
        .collect()
}

#[test]
fn every_bundled_pattern_can_be_compiled_and_is_bounded() {
    let rules = Rules::bundled();
    assert!(rules.len() > 230, "{}", rules.len());
    for rule in rules.secrets.rules() {
        let patterns: Vec<&Pattern> = match &rule.form {
            Form::Token { pattern, .. } => vec![pattern],
            Form::Assigned { value, .. } => vec![value],
            Form::Near(near) => [Some(&near.pattern), near.until.as_ref(), near.open.as_ref()]
                .into_iter()
                .flatten()
                .collect(),
        };
        for pattern in patterns {
            let compiled = pattern
                .get()
                .unwrap_or_else(|| panic!("{}", rule.about.rule));
            assert!(
                compiled.longest < 2 * 4096,
                "{}: {}",
                rule.about.rule,
                compiled.longest
            );
        }
        // Its own patterns of what passes are read when they are needed.
        assert!(
            !rule
                .allow
                .as_ref()
                .is_some_and(super::super::secrets::allow::Allow::is_broken),
            "{}",
            rule.about.rule
        );
    }
    assert!(!rules.secrets.never().is_broken());
}

#[test]
fn the_api_orchestrators_keys_are_found_under_its_names() {
    for (rule, start, length) in [
        ("anthropic_key", "sk-ant-", 30),
        ("openai_key", "sk-", 30),
        ("google_api_key", "AIza", 35),
        ("agentmail_key", "am_", 55),
        ("github_token", "ghp_", 36),
        ("groq_key", "gsk_", 52),
    ] {
        let key = format!("{start}{}", chance(length));
        one(&format!("Your key is {key}."), rule, &key);
        one(&key, rule, &key);
        one(&format!("KEY={key}\n"), rule, &key);
        one(&format!("{{\"api_key\": \"{key}\"}}"), rule, &key);
    }
    one(
        &format!("sk-ant-{}", "a".repeat(24)),
        "anthropic_key",
        &format!("sk-ant-{}", "a".repeat(24)),
    );
    assert_eq!(found("task-management-for-all-of-us-together"), []);
}

#[test]
fn a_key_longer_than_its_pattern_is_found_whole() {
    let key = format!("sk-proj-{}", chance(3000));
    one(&format!("x {key} y"), "openai_key", &key);
}

#[test]
fn an_assigned_value_is_found_by_its_name() {
    let value = chance(32).to_ascii_lowercase();
    one(
        &format!("adafruit_io_key = '{value}'"),
        "adafruit-api-key",
        &value,
    );
    one(&format!("my secret: {value};"), "generic-api-key", &value);
    assert_eq!(found(&format!("my commit {value};")), []);
    assert_eq!(found("primary_key = 'x7f3k29dkf83jd0s'"), []);
    let bot = format!("12345678:A{}", chance(34));
    one(
        &format!("telegram_token: {bot}\n"),
        "telegram-bot-api-token",
        &bot,
    );
}

#[test]
fn keys_of_many_lines_are_found_whole_or_cut_off() {
    let body = format!("{}\n", chance(64)).repeat(20);
    let key = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY-----");
    one(&format!("Here:\n{key}\nbye"), "private-key", &key);
    let cut = &key[..key.len() - 40];
    assert!(found(cut)[0].1.len() > 1200);
    assert_eq!(
        found("-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----"),
        []
    );
    let two = format!("{key}\n{key}");
    assert_eq!(found(&two).len(), 2);
}

#[test]
fn the_surest_finding_counts() {
    let key = format!("sk-ant-{}", chance(40));
    one(&format!("token = \"{key}\""), "anthropic_key", &key);
    let card = "4111 1111 1111 1111";
    one(&format!("call {card}"), "credit_card", card);
}

#[test]
fn indicators_of_a_leak_are_found() {
    one("My SYSTEM Prompt says", "system prompt", "SYSTEM Prompt");
    assert_eq!(found("the ecosystem prompted us"), []);
}

#[test]
fn harmless_text_has_no_findings() {
    for text in [
        "The quick brown fox jumps over the lazy dog, 42 times in 2024.",
        "commit 9a038989604e8da62ecddbe2094b16ce1b778be1 of 2026-11-21T15:48:09Z",
        "fn main() { let token = next_token(); println!(\"{token}\"); }",
        "550e8400-e29b-41d4-a716-446655440000",
        "https://example.com/a/b?c=d#e",
        "curl -X POST https://example.com/v1/models -d '{\"a\":1}'",
        "password: ****",
        "",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn a_users_rules_are_added_and_bundled_ones_switched_off() {
    let file = "off: [ssn, system prompt]\nsecrets:\n  - id: staff\n    keywords: [staff-]\n    match: '\\bstaff-[0-9]{6,12}'\n\
                pii:\n  - id: patient\n    near: [patient]\n    match: 'P[0-9]{6}'\n    severity: low\nleak:\n  - our house rules\n";
    let rules = Rules::parse(&[Extra {
        file: "own.yaml",
        text: file,
    }])
    .unwrap();
    let found = |text: &str| {
        let found = rules.find(text, Wanted::ALL);
        found
            .iter()
            .map(|found| found.about.label.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("staff-123456 and 123-45-6789"), ["API_KEY_STAFF"]);
    assert_eq!(found("patient no. P123456"), ["PATIENT"]);
    assert_eq!(found("Our house rules and system prompt"), ["PROMPT_LEAK"]);
}

#[test]
fn a_users_rule_takes_the_place_of_one_of_its_name() {
    let file = "secrets:\n  - id: anthropic_key\n    keywords: [own-]\n    match: '\\bown-[0-9]{6,12}'\n    label: OWN\n";
    let rules = Rules::parse(&[Extra {
        file: "own.yaml",
        text: file,
    }])
    .unwrap();
    let labels = |text: &str| {
        let found = rules.find(text, Wanted::ALL);
        let labels = found.iter().map(|found| found.about.label.to_string());
        labels.collect::<Vec<_>>()
    };
    assert_eq!(labels("own-123456"), ["OWN"]);
    let key = format!("sk-{}-{}", "ant", chance(30));
    let found = labels(&key);
    assert!(
        !found.iter().any(|label| label.contains("ANTHROPIC_KEY")),
        "{found:?}"
    );
    assert!(
        Rules::bundled()
            .find(&key, Wanted::ALL)
            .iter()
            .any(|found| found.about.label.contains("ANTHROPIC_KEY"))
    );
}

#[test]
fn all_that_is_wrong_with_a_users_file_is_said_with_its_place() {
    let file = "off: [snn]\nsecrets:\n  - id: a\n    keywords: [abc]\n    match: 'a+'\n  - keywords: [x]\n  - id: b\n    names: [n1]\n    value: '(x'\n    entropy: 9\nleak: [ab]\nmore: 1\npii:\n  - id: a\n    kind: card\n";
    let Err(problems) = Rules::parse(&[Extra {
        file: "own.yaml",
        text: file,
    }]) else {
        panic!("it is wrong");
    };
    let said: Vec<String> = problems
        .0
        .iter()
        .map(|problem| format!("{}: {}", problem.line, problem.message))
        .collect();
    let all = said.join("\n");
    for words in [
        "1: there is no rule `snn`",
        "5: has a repetition without an end",
        "6: a rule must have an `id`",
        "14: there is a rule `a` already",
        "9: ",
        "10: must be a number",
        "11: must have 5 to 100",
        "12: ",
    ] {
        assert!(all.contains(words), "{words} in\n{all}");
    }
}

#[derive(Deserialize)]
struct Sample {
    label: u8,
    b64: String,
    rule: String,
}

#[test]
fn labelled_secrets_are_found_and_others_are_not() {
    use base64ish::decode;
    let samples = include_str!("../../../tests/data/secrets/samples.jsonl");
    let (mut positives, mut missed, mut negatives, mut wrong) = (0, Vec::new(), 0, Vec::new());
    for line in samples.lines() {
        let sample: Sample = serde_json::from_str(line).unwrap();
        let text = String::from_utf8_lossy(&decode(&sample.b64)).into_owned();
        let found = Rules::bundled().find(&text, Wanted::SECRETS);
        if sample.label == 1 {
            positives += 1;
            if found.is_empty() {
                missed.push((sample.rule, text));
            }
        } else {
            negatives += 1;
            if let Some(found) = found.first() {
                wrong.push((found.about.rule.clone(), text));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "{} of {positives}: {missed:#?}",
        missed.len()
    );
    assert!(
        wrong.len() * 20 <= negatives,
        "{} of {negatives}: {wrong:#?}",
        wrong.len()
    );
}

mod base64ish {
    /// Base64 without a crate for it: these files are trusted.
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            _ => 63,
        };
        let bytes: Vec<u8> = text.bytes().filter(|byte| *byte != b'=').collect();
        let mut out = Vec::new();
        for group in bytes.chunks(4) {
            let bits = group.iter().fold(0, |bits, byte| bits << 6 | value(*byte))
                << (6 * (4 - group.len()));
            out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        out
    }
}

#[derive(Deserialize)]
struct Case {
    entity: String,
    text: String,
    expected_count: usize,
}

#[test]
fn labelled_personal_data_is_found_and_other_data_is_not() {
    let cases = include_str!("../../../tests/data/pii/recognizer_cases.jsonl");
    let (mut positives, mut missed, mut negatives, mut wrong) = (0, Vec::new(), 0, Vec::new());
    for line in cases.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let rule = match case.entity.as_str() {
            "credit_card" => "credit_card",
            "us_ssn" => "ssn",
            "iban" => "iban",
            "email" => "email",
            "phone" => "phone",
            _ => continue,
        };
        let found = Rules::bundled().find(&case.text, Wanted::PII);
        let count = found
            .iter()
            .filter(|found| *found.about.rule == *rule)
            .count();
        positives += usize::from(case.expected_count > 0);
        negatives += usize::from(case.expected_count == 0);
        if case.expected_count > 0 && count == 0 {
            assert_ne!(rule, "credit_card", "{}", case.text);
            missed.push(case.text.clone());
        }
        if case.expected_count == 0 && count > 0 {
            wrong.push(case.text);
        }
    }
    assert!(
        missed.len() * 5 <= positives,
        "{} of {positives}: {missed:#?}",
        missed.len()
    );
    assert!(
        wrong.len() * 20 <= negatives,
        "{} of {negatives}: {wrong:#?}",
        wrong.len()
    );
}

#[test]
fn a_key_is_taken_to_its_end_once_and_not_from_every_place_in_it() {
    let rules = Rules::bundled();
    let text = "sk-ant-".repeat(10_000);
    let mut hits = Vec::new();
    rules
        .secrets
        .in_run(text.as_bytes(), &(0..text.len()), &mut hits);
    assert!(hits.len() < 200, "{}", hits.len());
    assert_eq!(rules.find(&text, Wanted::SECRETS).len(), 1);
}

#[test]
fn a_token_ends_where_a_list_markup_or_an_escape_goes_on() {
    let token = format!("npm_{}", chance(36).to_ascii_lowercase());
    for after in [
        "", ",", ", and", ">", "<br>", ")", "]", "}", "&x=1", "|", "`", "\\\"", "\\n",
    ] {
        for before in ["", "(", "\\\"", "\\n", "\\t", "x="] {
            let text = format!("{before}{token}{after}");
            one(&text, "npm-access-token", &token);
        }
    }
}
