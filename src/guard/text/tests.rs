use super::*;
use crate::json::Limits;
use proptest::prelude::*;

/// The texts with their sources; checks on the way that each place holds its string.
fn read(dialect: Dialect, body: &str) -> Vec<(Source, String)> {
    passages(dialect, body)
        .into_iter()
        .map(|passage| {
            let raw = &body[passage.at.clone()];
            assert_eq!(json::string(raw).as_deref(), Some(passage.text()), "{raw}");
            (passage.source, passage.text().to_owned())
        })
        .collect()
}

fn said(expected: &[(Source, &str)]) -> Vec<(Source, String)> {
    expected
        .iter()
        .map(|(source, text)| (*source, (*text).to_owned()))
        .collect()
}

use Source::{Assistant, System, Tool, User};

#[test]
fn a_chat_is_read_message_by_message_whatever_the_order_of_their_fields() {
    let body = r#"{"model":"a model","messages":[
        {"role":"system","content":"be good"},
        {"content":"hi \"you\"","role":"user"},
        {"role":"user","name":"bob","content":[{"type":"text","text":"part"},{"text":"other","type":"text"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
        {"role":"assistant","content":null,"refusal":"no","tool_calls":[
            {"id":"call_1","type":"function","function":{"name":"f","arguments":"{\"q\":1}"}}]},
        {"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"found"}]},
        {"role":"function","name":"f","content":"old"},
        {"role":"developer","content":"also"}],
        "tools":[{"type":"function","function":{"name":"f","description":"looks","parameters":
            {"type":"object","properties":{"q":{"type":"string","description":"what"}}}}}],
        "user":"me and you","stop":["a b"]}"#;
    assert_eq!(
        read(Dialect::Chat, body),
        said(&[
            (System, "be good"),
            (User, "hi \"you\""),
            (User, "part"),
            (User, "other"),
            (Assistant, "no"),
            (Assistant, "{\"q\":1}"),
            (Tool, "found"),
            (Tool, "old"),
            (System, "also"),
            (System, "looks"),
            (System, "what"),
        ])
    );
}

#[test]
fn messages_blocks_say_who_speaks() {
    let body = r#"{"system":[{"type":"text","text":"sys","cache_control":{"type":"ephemeral"}}],"messages":[
        {"role":"user","content":"one"},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"EqQB=="},
            {"type":"tool_use","id":"toolu_1","name":"run","input":{"role":"user","type":"x","data":"rm","deep":[["in"]]}}]},
        {"role":"user","content":[
            {"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"res"}]},
            {"type":"tool_result","tool_use_id":"toolu_2","content":"plain"},
            {"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"doc"}},
            {"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}},
            {"type":"document","source":{"type":"content","content":[{"type":"text","text":"part"}]}},
            {"type":"search_result","source":"https://x","title":"ti","content":[{"type":"text","text":"hit"}]},
            {"type":"text","text":"two"}]}]}"#;
    assert_eq!(
        read(Dialect::Messages, body),
        said(&[
            (System, "sys"),
            (User, "one"),
            (Assistant, "hm"),
            (Assistant, "user"),
            (Assistant, "x"),
            (Assistant, "rm"),
            (Assistant, "in"),
            (Tool, "res"),
            (Tool, "plain"),
            (Tool, "t"),
            (Tool, "doc"),
            (Tool, "part"),
            (Tool, "https://x"),
            (Tool, "ti"),
            (Tool, "hit"),
            (User, "two"),
        ])
    );
}

#[test]
fn responses_items_say_who_speaks() {
    let body = r#"{"instructions":"ins","input":[
        {"role":"user","content":"one"},
        {"type":"message","role":"developer","content":[{"type":"input_text","text":"dev"}]},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"out","annotations":[]}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"sum"}],"encrypted_content":"gAAA"},
        {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c","output":"res"},
        {"type":"custom_tool_call","call_id":"d","name":"g","input":"free form"},
        {"type":"custom_tool_call_output","call_id":"d","output":[{"type":"input_text","text":"cust"}]},
        {"type":"mcp_call","id":"m","server_label":"s","name":"h","arguments":"{\"a\":2}","output":"theirs"}]}"#;
    assert_eq!(
        read(Dialect::Responses, body),
        said(&[
            (System, "ins"),
            (User, "one"),
            (System, "dev"),
            (Assistant, "out"),
            (Assistant, "sum"),
            (Assistant, "{}"),
            (Tool, "res"),
            (Assistant, "free form"),
            (Tool, "cust"),
            (Assistant, "{\"a\":2}"),
            (Tool, "theirs"),
        ])
    );
    assert_eq!(
        read(Dialect::Responses, r#"{"input":"just this"}"#),
        said(&[(User, "just this")])
    );
}

#[test]
fn prompts_and_inputs_are_the_callers() {
    assert_eq!(
        read(Dialect::Completions, r#"{"prompt":["a","b"],"suffix":"c"}"#),
        said(&[(User, "a"), (User, "b"), (User, "c")])
    );
    assert_eq!(
        read(
            Dialect::Embeddings,
            r#"{"input":"a","encoding_format":"float"}"#
        ),
        said(&[(User, "a")])
    );
}

#[test]
fn a_gemini_request_is_read_by_its_roles() {
    let body = r#"{"systemInstruction":{"parts":[{"text":"sys"}]},"contents":[
        {"role":"user","parts":[{"text":"hi"}]},
        {"role":"model","parts":[{"functionCall":{"name":"f","args":{"q":"what"}}}]},
        {"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":"res"}}}]}]}"#;
    assert_eq!(
        read(Dialect::Gemini, body),
        said(&[
            (System, "sys"),
            (User, "hi"),
            (Assistant, "what"),
            (Tool, "res"),
        ])
    );
}

#[test]
fn what_a_caller_says_is_the_callers_whatever_it_is_called() {
    let body = r#"{"messages":[{"r\u006fle":" User ","content":"one"},
        {"role":"user","type":"function_call","content":"two"},
        {"role":"user","content":[{"type":"thinking","thinking":"three"},{"type":"x_call","text":"four"}],"refusal":"five"},
        {"role":"user","content":[{"type":"tool_result","content":"theirs"}]},
        {"role":"assistant","content":[{"type":"thinking","thinking":"hm"}]}]}"#;
    assert_eq!(
        read(Dialect::Chat, body),
        said(&[
            (User, "one"),
            (User, "two"),
            (User, "three"),
            (User, "four"),
            (User, "five"),
            (Tool, "theirs"),
            (Assistant, "hm"),
        ])
    );
}

#[test]
fn what_a_provider_keeps_is_there_and_nobody_said_it() {
    let body = r#"{"prompt":"a","metadata":{"user_id":"g h","id":"b","deep":[{"note":"c d"}]},"user":"e f"}"#;
    assert_eq!(
        read(Dialect::Completions, body),
        said(&[(User, "a"), (System, "b"), (System, "c d")])
    );
}

#[test]
fn numbers_of_tokens_are_noticed_where_a_text_could_be() {
    let numbers = has_token_numbers;
    for body in [
        r#"{"prompt":[1,2]}"#,
        r#"{"prompt":["a",[1]]}"#,
        r#"{"p\u0072ompt":[[1]]}"#,
    ] {
        assert!(numbers(Dialect::Completions, body), "{body}");
        assert!(!numbers(Dialect::Chat, body), "{body}");
    }
    assert!(numbers(Dialect::Embeddings, r#"{"input":[[7]]}"#));
    for body in [
        r#"{"prompt":["a","b"],"logit_bias":[1]}"#,
        r#"{"prompt":"a"}"#,
        "{}",
        "[",
    ] {
        assert!(!numbers(Dialect::Completions, body), "{body}");
    }
}

#[test]
fn what_stands_in_unknown_places_is_text_that_nobody_vouches_for() {
    let body = r#"{"messages":[{"role":"oracle","content":{"hidden":["a",{"type":"novelty","x":"b c"}]}}],
        "documents":[{"title":"a title","text":"some text","id":"x"}],"new_field":"two words","other":"word"}"#;
    assert_eq!(
        read(Dialect::Chat, body),
        said(&[
            (Tool, "a"),
            (Tool, "b c"),
            (Tool, "a title"),
            (Tool, "some text"),
            (Tool, "two words"),
        ])
    );
}

#[test]
fn escapes_are_undone_where_there_are_any() {
    let found = passages(Dialect::Completions, r#"{"prompt":["plain","es\tcaped"]}"#);
    assert_eq!(found[0].text(), "plain");
    assert_eq!(found[1].text(), "es\tcaped");
    assert_ne!(
        found[1].name(),
        Passage::plain(User, found[1].text()).name()
    );
}

#[test]
fn deep_and_broken_bodies_end_the_walk() {
    let deep = format!("{{\"messages\":{}", "[".repeat(100_000));
    assert!(passages(Dialect::Chat, &deep).is_empty());
    let cut = r#"{"messages":[{"role":"user","content":"here"},{"role":"user","content":"the"#;
    assert_eq!(passages(Dialect::Chat, cut).len(), 1);
    assert!(passages(Dialect::Completions, "").is_empty());
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in "[\\[\\]{}\":,\\\\a-z0é ]{0,300}|\\PC{0,300}") {
        for dialect in Dialect::ALL {
            let _ = passages(dialect, &body);
        }
    }

    #[test]
    fn every_text_of_a_message_is_found_at_its_place(text in "\\PC{1,40}", role in "user|tool|system|assistant") {
        let body = serde_json::json!({"messages": [{"role": role, "content": [{"type": "text", "text": text}]}]}).to_string();
        prop_assert!(json::object(body.as_bytes(), Limits::default()).is_ok());
        let found = passages(Dialect::Chat, &body);
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].text(), text.as_str());
        let raw = &body[found[0].at.clone()];
        prop_assert_eq!(json::string(raw).unwrap().into_owned(), text);
        prop_assert_eq!(found[0].source, place::of_role(&role));
    }
}
