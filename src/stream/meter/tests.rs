use super::*;

mod bounds;
mod dialects;

const NOTE: &[u8] = b"data: {\"note\":1}\n\n";

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn options(strip_usage_chunk: bool, insert_before_done: bool) -> MeterOptions {
    MeterOptions {
        dialect: crate::wire::Dialect::Chat,
        strip_usage_chunk,
        insert_before_done,
        count: words,
        keep: 0,
    }
}

fn run(
    kind: AnswerKind,
    options: MeterOptions,
    pieces: &[&[u8]],
    last: Option<&[u8]>,
) -> (Reading, String) {
    let mut meter = Meter::new(kind, options);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(meter.push(Bytes::copy_from_slice(piece)));
        if meter.at_done() {
            out.extend(meter.finish().with(last));
        }
    }
    out.extend(meter.finish().with(last));
    (
        meter.reading().clone(),
        String::from_utf8_lossy(&out).into_owned(),
    )
}

fn stream(text: &str) -> Reading {
    run(
        AnswerKind::EventStream,
        options(false, false),
        &[text.as_bytes()],
        None,
    )
    .0
}

fn chunk(delta: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"model\":\"m\",\"created\":5,\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"
    )
}

fn usage_chunk(usage: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{usage}}}\n\n"
    )
}

#[test]
fn untouched_pieces_are_not_copied() {
    let text = format!(
        "{}{}data: [DONE]\n\n",
        chunk(r#"{"content":"a"}"#),
        usage_chunk(r#"{"prompt_tokens":1}"#)
    );
    for (strip, insert) in [(false, false), (true, false), (false, true)] {
        let piece = Bytes::from(chunk(r#"{"content":"a"}"#));
        let mut meter = Meter::new(AnswerKind::EventStream, options(strip, insert));
        assert_eq!(meter.push(piece.clone()).as_ptr(), piece.as_ptr());
    }
    let piece = Bytes::from(text);
    let mut meter = Meter::new(AnswerKind::EventStream, options(false, true));
    let passed = meter.push(piece.clone());
    assert!(meter.at_done());
    assert_eq!(
        (passed.as_ptr(), passed.len()),
        (piece.as_ptr(), piece.len() - "data: [DONE]\n\n".len())
    );
}

#[test]
fn the_usage_chunk_is_taken_out_and_still_read() {
    let usage = usage_chunk(r#"{"prompt_tokens":3,"completion_tokens":4,"cost":0.5}"#);
    let content = chunk(r#"{"content":"hi"}"#);
    let text = format!("{content}: PING\n\n: note\nevent: x\nid: 7\n{usage}data: [DONE]\n\n");
    let (reading, out) = run(
        AnswerKind::EventStream,
        options(true, false),
        &[text.as_bytes()],
        None,
    );
    assert_eq!(
        out,
        format!("{content}: PING\n\n: note\n\ndata: [DONE]\n\n")
    );
    assert_eq!(reading.usage.map(|usage| usage.total()), Some(7));
    assert_eq!(reading.cost, Some(Nanos(500_000_000)));
}

#[test]
fn a_chunk_that_says_more_than_usage_stays() {
    for text in [
        usage_chunk("null"),
        "data: {\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n"
            .to_owned(),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"error\":{\"message\":\"x\"}}\n\n"
            .to_owned(),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"moderation\":{}}\n\n".to_owned(),
        "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n".to_owned(),
        "data: {\"usage\":{\"prompt_tokens\":1}}\n\n".to_owned(),
    ] {
        let (_, out) = run(
            AnswerKind::EventStream,
            options(true, true),
            &[text.as_bytes()],
            None,
        );
        assert_eq!(out, text);
    }
}

#[test]
fn something_goes_before_done_whatever_the_line_ends_and_the_cuts() {
    let content = chunk(r#"{"content":"hi"}"#);
    for ends in ["\n", "\r\n", "\r"] {
        let text = format!("{content}: c\n\ndata: [DONE]\n\n: after\n\n").replace('\n', ends);
        let expected = format!(
            "{}{}{}",
            format!("{content}: c\n\n").replace('\n', ends),
            std::str::from_utf8(NOTE).unwrap(),
            "data: [DONE]\n\n: after\n\n".replace('\n', ends)
        );
        for cut in 0..text.len() {
            let (one, two) = text.as_bytes().split_at(cut);
            let (_, out) = run(
                AnswerKind::EventStream,
                options(true, true),
                &[one, two],
                Some(NOTE),
            );
            assert_eq!(out, expected, "{ends:?} {cut}");
        }
    }
}

#[test]
fn something_goes_to_the_end_of_a_stream_without_done() {
    let content = chunk(r#"{"content":"hi"}"#);
    let note = std::str::from_utf8(NOTE).unwrap();
    let whole = content.trim_end();
    for (text, with, without) in [
        (content.clone(), format!("{content}{note}"), content.clone()),
        (
            format!("{whole}\n"),
            format!("{content}{note}"),
            format!("{whole}\n"),
        ),
        (
            whole.to_owned(),
            format!("{content}{note}"),
            whole.to_owned(),
        ),
        (
            format!("{content}data: {{\"cho"),
            format!("{content}{note}"),
            format!("{content}data: {{\"cho"),
        ),
        (
            format!("{content}data: [DONE]"),
            format!("{content}{note}data: [DONE]"),
            format!("{content}data: [DONE]"),
        ),
        (String::new(), note.to_owned(), String::new()),
        (
            format!("{content}: PROCESSING\n\n"),
            format!("{content}: PROCESSING\n\n{note}"),
            format!("{content}: PROCESSING\n\n"),
        ),
    ] {
        let run = |last| {
            run(
                AnswerKind::EventStream,
                options(true, true),
                &[text.as_bytes()],
                last,
            )
            .1
        };
        assert_eq!(run(Some(NOTE)), with, "{text}");
        assert_eq!(run(None), without, "{text}");
    }
    let cut = usage_chunk(r#"{"prompt_tokens":1}"#);
    let (reading, out) = run(
        AnswerKind::EventStream,
        options(true, true),
        &[cut.trim_end().as_bytes()],
        Some(NOTE),
    );
    assert_eq!((out.as_bytes(), reading.usage.is_some()), (NOTE, true));
}

#[test]
fn errors_in_mid_stream_are_recognised() {
    let text = concat!(
        "data: {\"id\":\"g\",\"model\":\"m\",\"error\":{\"code\":502,\"message\":\"Provider \\u0064isconnected\"},",
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}],",
        "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"cost\":0.002}}\n\n"
    );
    let reading = stream(text);
    assert_eq!(reading.error.as_deref(), Some("Provider disconnected"));
    assert_eq!(reading.cost, Some(Nanos(2_000_000)));
    assert!(!reading.saw_content && !reading.done);
    for (text, message) in [
        ("data: {\"error\":\"plain\"}\n\n", Some("plain")),
        ("data: {\"error\":{\"code\":1}}\n\n", Some("error")),
        ("data: {\"error\":null}\n\n", None),
        (
            "data: {\"choices\":[{\"finish_reason\":\"error\"}]}\n\n",
            Some("error"),
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"message\":\"m\"}\n\n",
            Some("m"),
        ),
        (
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"message\":\"f\"}}}\n\n",
            Some("f"),
        ),
    ] {
        assert_eq!(stream(text).error.as_deref(), message, "{text}");
    }
    let long = format!(
        "data: {{\"error\":{{\"message\":\"{}\"}}}}\n\n",
        "é".repeat(1000)
    );
    assert_eq!(stream(&long).error.unwrap().len(), 300);
}

#[test]
fn the_last_usage_that_can_be_true_counts() {
    let text = [
        usage_chunk(r#"{"prompt_tokens":1,"completion_tokens":1,"cost":9}"#),
        usage_chunk(r#"{"prompt_tokens":2,"completion_tokens":20,"total_tokens":22}"#),
        usage_chunk("null"),
        usage_chunk(r#"{"prompt_tokens":-2,"completion_tokens":0,"cost":0}"#),
    ];
    let reading = stream(&text[..3].concat());
    assert_eq!(
        (reading.usage.unwrap().output, reading.total_tokens),
        (20, Some(22))
    );
    // A usage is taken whole: the first one's price does not belong to the second.
    assert_eq!((reading.cost, reading.usage_invalid), (None, false));
    let reading = stream(&text.concat());
    assert_eq!((reading.usage.unwrap().output, reading.cost), (20, None));
    assert!(reading.usage_invalid);
}

#[test]
fn all_that_is_generated_is_counted() {
    for (delta, tokens) in [
        (r#"{"content":"one two"}"#, 2),
        (
            r#"{"content":[{"type":"text","text":"one two"},{"type":"thinking","thinking":[{"text":"three"}]}]}"#,
            3,
        ),
        (
            r#"{"reasoning":"one two","reasoning_content":"one two"}"#,
            2,
        ),
        (r#"{"reasoning":"one","reasoning_content":"two"}"#, 1),
        (
            r#"{"reasoning":"one","reasoning_details":[{"text":"one"}]}"#,
            1,
        ),
        (
            r#"{"reasoning":null,"reasoning_details":[{"type":"reasoning.text","text":"one"}]}"#,
            1,
        ),
        (r#"{"refusal":"no"}"#, 1),
        (
            r#"{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{ \"a\" }"}}]}"#,
            4,
        ),
        (
            r#"{"tool_calls":[{"custom":{"name":"f","input":"a b"}}]}"#,
            3,
        ),
        (r#"{"function_call":{"name":"f","arguments":"x"}}"#, 2),
        (r#"{"audio":{"data":"zzz zzz","transcript":"one two"}}"#, 2),
        (
            r#"{"role":"assistant","content":null,"tool_calls":null,"audio":null,"x":{"content":"no"}}"#,
            0,
        ),
        (
            r#"{"content":7,"reasoning":[],"refusal":{},"tool_calls":{},"function_call":1}"#,
            0,
        ),
    ] {
        let reading = stream(&chunk(delta));
        assert_eq!(
            (reading.own_output, reading.saw_content),
            (tokens, tokens > 0),
            "{delta}"
        );
    }
    let legacy = "data: {\"choices\":[{\"text\":\"one\"},{\"text\":\"two\",\"index\":1}]}\n\n";
    assert_eq!(stream(legacy).own_output, 2);
    for (event, tokens) in [
        (
            r#"{"type":"response.output_text.delta","delta":"one two"}"#,
            2,
        ),
        (
            r#"{"delta":"one","type":"response.function_call_arguments.delta"}"#,
            1,
        ),
        (
            r#"{"type":"response.reasoning_summary_text.delta","delta":"one"}"#,
            1,
        ),
        (r#"{"type":"response.audio.delta","delta":"UklGR"}"#, 0),
        (
            r#"{"type":"response.output_text.done","text":"one two"}"#,
            0,
        ),
    ] {
        assert_eq!(
            stream(&format!("data: {event}\n\n")).own_output,
            tokens,
            "{event}"
        );
    }
}

#[test]
fn words_cut_by_chunks_are_counted_once() {
    let text: String = ["Hel", "lo wor", "ld"]
        .map(|part| chunk(&format!("{{\"content\":\"{part}\"}}")))
        .concat();
    assert_eq!(stream(&text).own_output, 2);
}

#[test]
fn events_follow_the_standard() {
    let reading = stream(
        "\u{FEFF}data:{\"id\":\ndata: \"x\",\ndata\ndata:\"model\":\"m\"}\nretry: 1\nnonsense\n\n",
    );
    assert_eq!(
        (reading.id.as_deref(), reading.model.as_deref()),
        (Some("x"), Some("m"))
    );
    assert_eq!(
        stream("data: {\"id\":\"x\"}\r\rdata: [DONE]\r\r")
            .id
            .as_deref(),
        Some("x")
    );
    assert_eq!(stream(" data: {\"id\":\"x\"}\n\n").id, None);
    assert_eq!(stream("datax: {\"id\":\"x\"}\n\n").id, None);
    assert_eq!(stream("data: [DONE]\n\ndata: {\"id\":\"x\"}\n\n").id, None);
    assert_eq!(
        stream("data:\n\n\n\n:\n\n"),
        Reading {
            bytes: 12,
            ..Reading::default()
        }
        .clone()
    );
}

#[test]
fn what_cannot_be_read_is_counted_by_its_size() {
    assert_eq!(stream("data: no json at all\n\n").own_output, 4);
    let (reading, out) = run(
        AnswerKind::EventStream,
        options(true, true),
        &[b"data: \xFF\xFF\xFF\xFF\xFF\n\n"],
        None,
    );
    assert_eq!((reading.own_output, out.chars().count()), (2, 13));
    // A half of a surrogate pair, as some providers send it.
    assert_eq!(stream(&chunk(r#"{"content":"\ud83d"}"#)).own_output, 1);
}

#[test]
fn a_member_goes_before_the_closing_brace() {
    for (body, with) in [
        ("{\"a\":{}}\n", "{\"a\":{},\"m\":1}\n"),
        ("\n  { } ", "\n  { \"m\":1} "),
        ("{\"a\":\"}\"}", "{\"a\":\"}\",\"m\":1}"),
        ("{\"a\":{}", "{\"a\":{}"),
        ("[{}]", "[{}]"),
        ("{}{}", "{}{}"),
        ("", ""),
        ("<html>}", "<html>}"),
    ] {
        for cut in 0..=body.len() {
            let (one, two) = body.as_bytes().split_at(cut);
            let run = |last| run(AnswerKind::Json, options(true, true), &[one, two], last).1;
            assert_eq!(run(Some(b"\"m\":1")), with, "{cut}");
            assert_eq!(run(None), body);
        }
    }
}

#[test]
fn a_json_answer_is_read_at_its_end() {
    let body = concat!(
        "\n\n{\"id\":\"g\",\"model\":\"m\",\"created\":7,\"choices\":[{\"message\":{\"content\":\"one two\"}},",
        "{\"index\":1,\"message\":{\"content\":\"three\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}"
    );
    let reading = run(
        AnswerKind::Json,
        options(false, false),
        &[body.as_bytes()],
        None,
    )
    .0;
    assert_eq!(
        (reading.own_output, reading.created, reading.done),
        (3, Some(7), true)
    );
    assert_eq!(reading.usage.map(|usage| usage.total()), Some(3));
    let broken = run(
        AnswerKind::Json,
        options(false, false),
        &[b"{\"usage\":{\"prompt_tokens\":1}"],
        None,
    )
    .0;
    assert_eq!(
        (broken.usage, broken.done, broken.own_output),
        (None, false, 7)
    );
}
