use super::*;
use crate::policy::changes::between;
use crate::policy::{Policy, parse};
use crate::settings::environment::Environment;
use crate::settings::problem::Problems;

const LONG: &str = "sesame-0123456789abcdef0123456789";
const OTHER: &str = "other-0123456789abcdef0123456789a";

fn read_with(signatures: &str, variables: &[(&str, &str)]) -> Result<Policy, Problems> {
    let environment = Environment::of(variables.iter().copied());
    let text =
        format!("cost_routing: {{signatures: {signatures}, agents: {{a: {{budget_total: 1}}}}}}");
    parse("policy.yaml", &text, &environment)
}

fn ids(policy: &Policy) -> Vec<&str> {
    policy.signatures.keys.iter().map(|key| key.id()).collect()
}

#[test]
fn the_model_gateways_variable_is_a_key() {
    let policy = read_with("{}", &[(VARIABLE, LONG)]).unwrap();
    assert_eq!(ids(&policy), ["default"]);
    let signatures = &policy.signatures;
    assert!(signatures.titan(Surface::Titan).is_some());
    assert!(signatures.titan(Surface::Chat).is_none());
    assert!(signatures.v1(Surface::Titan, false).is_none());
    assert!(signatures.v1(Surface::Embeddings, true).is_some());
    let shown = format!("{policy:?} {signatures:?} {:?}", policy.facts);
    assert!(!shown.contains("sesame"), "{shown}");
}

#[test]
fn nothing_is_signed_without_a_key() {
    let policy = read_with("{}", &[]).unwrap();
    assert_eq!(policy.signatures, Signatures::default());
    assert!(policy.signatures.titan(Surface::Titan).is_none());
    assert!(policy.signatures.v1(Surface::Titan, true).is_none());
}

#[test]
fn the_first_key_signs_and_the_variables_comes_last() {
    let keys =
        "{titan: all, v1: all, keys: [{id: new, secret: '${NEW}'}, {id: old, secret: '${OLD}'}]}";
    let policy = read_with(keys, &[("NEW", LONG), ("OLD", OTHER), (VARIABLE, LONG)]).unwrap();
    assert_eq!(ids(&policy), ["new", "old", "default"]);
    let signatures = &policy.signatures;
    for surface in [Surface::Chat, Surface::Completions, Surface::Titan] {
        assert_eq!(signatures.titan(surface).unwrap().id(), "new");
    }
    assert!(signatures.titan(Surface::Messages).is_none());
    assert_eq!(
        signatures.v1(Surface::Responses, false).unwrap().id(),
        "new"
    );
    let off = read_with("{titan: off, v1: off}", &[(VARIABLE, LONG)]).unwrap();
    assert!(off.signatures.titan(Surface::Titan).is_none());
    assert!(off.signatures.v1(Surface::Titan, true).is_none());
    let proxy = read_with("{v1: proxy}", &[(VARIABLE, LONG)])
        .unwrap()
        .signatures;
    assert!(proxy.v1(Surface::Titan, false).is_some());
    assert!(proxy.v1(Surface::Chat, false).is_none());
    assert!(proxy.v1(Surface::Chat, true).is_some());
}

#[test]
fn what_would_not_protect_is_an_error_that_says_so() {
    let short = "sesame-of-23-characters";
    for (signatures, variables, part) in [
        (
            "{}",
            vec![(VARIABLE, short)],
            "needs at least 32 bytes; this one has 23",
        ),
        (
            "{keys: [{id: a, secret: sesame}]}",
            vec![],
            "needs at least 32 bytes; this one has 6",
        ),
        ("{keys: [{id: a, secret: '${UNSET}'}]}", vec![], "is empty"),
        ("{keys: [{id: a}]}", vec![], "`secret` is missing"),
        (
            "{keys: [{id: 'a b', secret: '${S}'}]}",
            vec![("S", LONG)],
            "letters, digits",
        ),
        (
            "{keys: [{id: a, secret: '${S}'}, {id: a, secret: '${S}'}]}",
            vec![("S", LONG)],
            "given to two keys",
        ),
        ("{titan: all}", vec![], "there is no key"),
        ("{v1: proxy}", vec![], "set HMAC_SECRET"),
        (
            "{titan: asked}",
            vec![(VARIABLE, LONG)],
            "must be one of off, proxy, all",
        ),
        (
            "{v1: prox}",
            vec![(VARIABLE, LONG)],
            "did you mean `proxy`?",
        ),
        ("{version: 1}", vec![], "unknown key"),
    ] {
        let shown = read_with(signatures, &variables).unwrap_err().to_string();
        assert!(shown.contains(part), "{signatures}: {shown}");
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

#[test]
fn a_rotation_is_said_without_the_secrets() {
    let of = |keys: &str| {
        let text = format!("{{keys: [{keys}]}}");
        read_with(&text, &[("A", LONG), ("B", OTHER)]).unwrap()
    };
    let (old, both) = (
        of("{id: a, secret: '${A}'}"),
        of("{id: b, secret: '${B}'}, {id: a, secret: '${A}'}"),
    );
    assert_eq!(
        between(&old, &both),
        ["signing key `b` added", "answers are signed with key `b`"]
    );
    assert_eq!(
        between(&both, &of("{id: b, secret: '${B}'}")),
        ["signing key `a` removed"]
    );
    assert_eq!(
        between(&old, &of("{id: a, secret: '${B}'}")),
        ["signing key `a` replaced"]
    );
    assert_eq!(between(&old, &old), Vec::<String>::new());
}
