//! How an answer is to be made, as Google is told.

use serde_json::{Value, json};

use super::request_tests::{of, sent, sent_to, turn, writing};
use super::tests::text;
use super::write_request;
use crate::dialect::form::{
    Conversation, Effort, Feature, Format, Inexpressible, Json, Reasoning, Role, Text, Writing,
};

fn config(conversation: Conversation<'_>) -> Value {
    sent(&Conversation {
        turns: vec![turn(Role::User, [text("hi")])],
        ..conversation
    })["generationConfig"]
        .clone()
}

#[test]
fn sampling_limits_and_form_have_googles_names() {
    let number = |raw: &'static str| Some(Json(raw.into()));
    let stop: Vec<Text<'_>> = ["a", "b", "c", "d", "\n"].map(Text::Borrowed).to_vec();
    let all = Conversation {
        max_tokens: Some(77),
        temperature: number("0.50"),
        top_p: number("1e-1"),
        top_k: Some(40),
        frequency_penalty: number("-1"),
        presence_penalty: number("2"),
        seed: number("7"),
        stop: stop.clone(),
        format: Some(Format::Schema {
            name: "n".into(),
            description: None,
            schema: Json(r#"{"type":"object"}"#.into()),
            strict: None,
        }),
        ..Conversation::default()
    };
    assert_eq!(
        config(all),
        json!({
            "maxOutputTokens": 77, "temperature": 0.5, "topP": 0.1, "topK": 40,
            "frequencyPenalty": -1, "presencePenalty": 2, "seed": 7,
            "stopSequences": ["a", "b", "c", "d", "\n"],
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
        })
    );
    assert_eq!(config(Conversation::default()), Value::Null);
    let format = |format| {
        config(Conversation {
            format: Some(format),
            ..Conversation::default()
        })
    };
    assert_eq!(format(Format::Text), Value::Null);
    assert_eq!(
        format(Format::Object),
        json!({"responseMimeType": "application/json"})
    );

    let mut many = of(vec![]);
    many.stop = stop;
    many.stop.push("e".into());
    assert_eq!(
        sent_to("gemini-2.5-pro", &many),
        Err(Inexpressible::Feature(Feature::Stop))
    );
    let bounded = Writing {
        max_tokens: Some(5),
        ..writing("gemini-2.5-pro")
    };
    let asked = Conversation {
        max_tokens: Some(500),
        ..Conversation::default()
    };
    let body = write_request(&asked, &bounded).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["generationConfig"]["maxOutputTokens"], 5);
}

#[test]
fn an_amount_of_reasoning_is_a_number_or_a_word() {
    let thinking = |model: &str, max_tokens, reasoning| {
        let conversation = Conversation {
            max_tokens,
            reasoning: Some(reasoning),
            ..Conversation::default()
        };
        let body = sent_to(model, &conversation).unwrap();
        body["generationConfig"]["thinkingConfig"].clone()
    };
    let effort = |effort| Reasoning {
        effort: Some(effort),
        ..Reasoning::default()
    };
    for (word, number, level) in [
        (Effort::None, 0, "low"),
        (Effort::Minimal, 1024, "low"),
        (Effort::Low, 1999, "low"),
        (Effort::Medium, 4999, "medium"),
        (Effort::High, 7999, "high"),
        (Effort::Highest, 9499, "high"),
    ] {
        assert_eq!(
            thinking("gemini-2.5-pro", Some(9999), effort(word)),
            json!({"thinkingBudget": number})
        );
        assert_eq!(
            thinking("gemini-3.1-pro-preview", Some(9999), effort(word)),
            json!({"thinkingLevel": level})
        );
    }
    assert_eq!(
        thinking("gemini-3-flash-preview", None, effort(Effort::Minimal)),
        json!({"thinkingLevel": "minimal"})
    );
    assert_eq!(
        thinking("gemini-2.5-flash", None, effort(Effort::Medium)),
        json!({"thinkingBudget": 2048})
    );
    assert_eq!(
        thinking("gemini-2.5-flash", Some(u64::MAX), effort(Effort::High)),
        json!({"thinkingBudget": 24_576})
    );
    let budget = Reasoning {
        effort: Some(Effort::Low),
        budget: Some(31_999),
        shown: Some(true),
    };
    assert_eq!(
        thinking("gemini-2.5-pro", None, budget),
        json!({"thinkingBudget": 31_999, "includeThoughts": true})
    );
    assert_eq!(
        thinking("gemini-2.5-pro", None, Reasoning::default()),
        Value::Null
    );
}
