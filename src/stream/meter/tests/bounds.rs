//! Answers without end, without sense, or too large.

use proptest::prelude::*;

use super::*;
use crate::stream::sse::EVENT_LIMIT;

#[test]
fn an_oversize_event_passes_unread_and_is_counted_by_its_size() {
    let large = chunk(&format!("{{\"content\":\"{}\"}}", "x ".repeat(EVENT_LIMIT)));
    let usage = usage_chunk(r#"{"prompt_tokens":3}"#);
    let text = format!("{large}{usage}data: [DONE]\n\n");
    let expected = (large.len() as u64 - "data: \n\n".len() as u64).div_ceil(4);
    for step in [text.len(), 1 << 16, 1000] {
        for (strip, insert) in [(false, false), (true, true)] {
            let pieces: Vec<_> = text.as_bytes().chunks(step).collect();
            let (reading, out) = run(
                AnswerKind::EventStream,
                options(strip, insert),
                &pieces,
                Some(NOTE),
            );
            assert_eq!(reading.own_output, expected, "{step}");
            assert!(reading.usage.is_some() && reading.done);
            let rest = if strip {
                "{\"note\":1}\n\ndata: [DONE]\n\n".to_owned()
            } else {
                text[large.len() + 6..].to_owned()
            };
            assert!(out == format!("{large}data: {rest}"), "{step} {strip}");
        }
    }
}

#[test]
fn without_options_nothing_is_ever_held() {
    let mut meter = Meter::new(AnswerKind::EventStream, options(false, false));
    for piece in ["da", "ta: {", "x\n", "\ndata: [DON", "E]\n\n"] {
        assert_eq!(meter.push(Bytes::from(piece)), piece);
    }
    assert!(!meter.at_done() && meter.reading().done);
    assert_eq!(meter.finish(), Finish::nothing());
}

#[test]
fn endless_lines_and_events_do_not_grow_memory() {
    for unit in ["x", "data: x\n", ": x\n", "\u{FEFF}", "data: {\"a\":["] {
        let piece = Bytes::from(unit.repeat((64 << 10) / unit.len()));
        let mut meter = Meter::new(AnswerKind::EventStream, options(true, true));
        let mut out = 0;
        let mut most = 0;
        for _ in 0..200 {
            out += meter.push(piece.clone()).len();
            let Framing::Events(events) = &meter.framing else {
                panic!()
            };
            most = events.kept();
        }
        assert!(most <= 64 << 10, "{unit:?} keeps {most}");
        let finish = meter.finish();
        let held = finish.before.len() + finish.after.len();
        assert_eq!(out + held, piece.len() * 200);
    }
}

#[test]
fn a_done_that_nobody_answers_does_not_hold_the_rest_for_ever() {
    let mut meter = Meter::new(AnswerKind::EventStream, options(false, true));
    assert!(meter.push(Bytes::from("data: [DONE]\n\n")).is_empty());
    assert!(meter.at_done());
    let piece = Bytes::from(vec![b'x'; 20 << 10]);
    assert_eq!(meter.push(piece.clone()).len(), piece.len() + 14);
    assert!(!meter.at_done());
    assert_eq!(meter.push(piece.clone()).len(), piece.len());
    assert_eq!(meter.finish().with(Some(NOTE)), Bytes::new());
}

#[test]
fn a_huge_json_answer_passes_and_is_counted_by_its_size() {
    let piece = Bytes::from(vec![b' '; 1 << 20]);
    let mut meter = Meter::new(AnswerKind::Json, options(false, true));
    assert_eq!(meter.push(Bytes::from("{\"a\":1")), "{\"a\":1");
    for _ in 0..17 {
        assert_eq!(meter.push(piece.clone()).len(), piece.len());
    }
    assert_eq!(meter.push(Bytes::from("}")).len(), 0);
    assert_eq!(meter.finish().with(Some(b"\"m\":1")), "}");
    assert_eq!(meter.reading().own_output, (17 << 18) + 2);
    assert!(!meter.reading().done);
}

/// Pieces of streams, more often meaningful than not.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "data: ",
        "data:",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        "\r\n\r\n",
        "[DONE]",
        ":",
        "event: x\n",
        "\u{FEFF}",
        "data: [DONE]\n\n",
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"cost\":0.5}}",
        "{\"choices\":[{\"delta\":{\"content\":\"a b\"}}]}",
        "{",
        "}",
        "\"",
        "\\",
        "[",
        "]",
        "é",
        "usage",
        ",",
    ])
    .prop_map(|text| text.as_bytes().to_vec());
    let scrap = prop_oneof![8 => known, 1 => proptest::collection::vec(any::<u8>(), 0..12)];
    proptest::collection::vec(scrap, 0..40).prop_map(|scraps| scraps.concat())
}

proptest! {
    #[test]
    fn whatever_arrives_passes_unchanged_and_is_read_alike(
        body in scraps(), step in 1_usize..40, json: bool, strip: bool, insert: bool,
    ) {
        let kind = if json { AnswerKind::Json } else { AnswerKind::EventStream };
        let pieces: Vec<&[u8]> = body.chunks(step).collect();
        let raw = |options: MeterOptions, pieces: &[&[u8]], last: Option<&[u8]>| {
            let mut meter = Meter::new(kind, options);
            let mut out = Vec::new();
            for piece in pieces {
                out.extend(meter.push(Bytes::copy_from_slice(piece)));
                if meter.at_done() {
                    out.extend(meter.finish().with(last));
                }
            }
            out.extend(meter.finish().with(last));
            (meter.reading().clone(), out)
        };
        let (whole, untouched) = raw(options(false, false), &[&body], None);
        prop_assert_eq!(&untouched, &body);
        let (cut, untouched) = raw(options(false, false), &pieces, None);
        prop_assert_eq!(&untouched, &body);
        prop_assert_eq!(&cut, &whole);
        // Nothing put in, nothing taken out: nothing changed.
        prop_assert_eq!(&raw(options(false, insert), &pieces, None).1, &body);
        let last: &[u8] = if json { b"\"m\":1" } else { NOTE };
        let one = raw(options(strip, insert), &[&body], Some(last));
        let many = raw(options(strip, insert), &pieces, Some(last));
        prop_assert_eq!(one, many);
    }
}
