use super::*;

#[test]
fn both_dialects_are_read() {
    let chat = read(
        r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
            "prompt_tokens_details":{"cached_tokens":10,"cache_write_tokens":20,"audio_tokens":3},
            "completion_tokens_details":{"reasoning_tokens":7,"audio_tokens":2},
            "cost":0.00123,"is_byok":true,"cost_details":{"upstream_inference_cost":1e-2}}"#,
    );
    let usage = Usage {
        input: 100,
        cache_read: 10,
        cache_write: 20,
        cache_write_1h: 0,
        audio_input: 3,
        output: 50,
        reasoning: 7,
        audio_output: 2,
        searches: 0,
    };
    assert_eq!(
        chat,
        Ok(Some(Stated {
            usage: Some(usage),
            total: Some(150),
            cost: Some(Nanos(1_230_000)),
            upstream_cost: Some(Nanos(10_000_000)),
            byok: true,
        }))
    );
    let responses = read(
        r#"{"input_tokens":5,"input_tokens_details":{"cached_tokens":1},"output_tokens":6,
            "output_tokens_details":{"reasoning_tokens":4},"total_tokens":11}"#,
    );
    let usage = Usage {
        input: 5,
        cache_read: 1,
        output: 6,
        reasoning: 4,
        ..Usage::default()
    };
    assert_eq!(responses.unwrap().unwrap().usage, Some(usage));
}

#[test]
fn one_absurd_number_spoils_the_usage() {
    for bad in [
        "-1",
        "1.5",
        "1e3",
        "100000001",
        "\"7\"",
        "true",
        "[]",
        "18446744073709551616",
        "+1",
        "1.0",
    ] {
        for raw in [
            format!(r#"{{"prompt_tokens":{bad},"completion_tokens":1}}"#),
            format!(r#"{{"prompt_tokens":1,"output_tokens":{bad},"cost":1}}"#),
            format!(r#"{{"prompt_tokens":1,"prompt_tokens_details":{{"cached_tokens":{bad}}}}}"#),
            format!(r#"{{"prompt_tokens":1,"total_tokens":{bad}}}"#),
            format!(r#"{{"prompt_tokens":1,"completion_tokens_details":{bad}}}"#),
        ] {
            assert_eq!(read(&raw), Err(()), "{raw}");
        }
    }
    for raw in ["[]", "7", "\"x\"", "true", "{\"prompt_tokens\":1"] {
        assert_eq!(read(raw), Err(()), "{raw}");
    }
}

#[test]
fn null_is_missing_and_zero_is_not() {
    assert_eq!(read("null"), Ok(None));
    assert_eq!(read("{}"), Ok(Some(Stated::default())));
    let zero = read(
        r#"{"prompt_tokens":0,"completion_tokens":null,"prompt_tokens_details":null,"cost":0}"#,
    );
    let zero = zero.unwrap().unwrap();
    assert_eq!(
        (zero.usage, zero.cost),
        (Some(Usage::default()), Some(Nanos::ZERO))
    );
}

#[test]
fn a_price_that_is_no_price_is_ignored_alone() {
    for bad in ["-0.1", "\"0.1\"", "NaN", "1e400", "10001", "null", "{}"] {
        let stated = read(&format!(r#"{{"prompt_tokens":3,"cost":{bad}}}"#))
            .unwrap()
            .unwrap();
        assert_eq!(
            (stated.cost, stated.usage.map(|usage| usage.input)),
            (None, Some(3)),
            "{bad}"
        );
    }
}

#[test]
fn parts_beside_their_whole_are_added_to_it() {
    let of = |raw| read(raw).unwrap().unwrap().usage.unwrap();
    let grok = of(
        r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":330,
            "completion_tokens_details":{"reasoning_tokens":300}}"#,
    );
    assert_eq!((grok.output, grok.reasoning), (320, 300));
    let inside = of(
        r#"{"prompt_tokens":10,"completion_tokens":20,"total_tokens":30,
            "completion_tokens_details":{"reasoning_tokens":15}}"#,
    );
    assert_eq!(inside.output, 20);
    let cached = of(r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":90}}"#);
    assert_eq!((cached.input, cached.cache_read), (100, 90));
    let elsewhere = of(r#"{"prompt_tokens":64,"num_cached_tokens":32}"#);
    assert_eq!((elsewhere.input, elsewhere.cache_read), (64, 32));
}

#[test]
fn what_only_the_total_names_is_output() {
    let of = |raw| read(raw).unwrap().unwrap().usage.unwrap();
    let google = of(r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109}"#);
    assert_eq!(
        (google.input, google.output, google.reasoning),
        (35, 74, 62)
    );
    for plain in [
        r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":47}"#,
        r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":3}"#,
        r#"{"prompt_tokens":35,"completion_tokens":12}"#,
        r#"{"prompt_tokens":35,"completion_tokens":12,"total_tokens":109,
            "completion_tokens_details":{"reasoning_tokens":0}}"#,
    ] {
        assert_eq!((of(plain).output, of(plain).reasoning), (12, 0), "{plain}");
    }
}
