//! Secrets and personal data at every split, in five encodings.

#[path = "../../../../tests/it/campaign/screen/spoken.rs"]
mod spoken;
#[path = "../../../../tests/it/campaign/screen/values.rs"]
mod values;

use super::*;
use proptest::prelude::*;
use spoken::{APIS, Api, ENCODINGS, Encoding};
use values::{KINDS, value};

/// What leaves of a stream, which comes in pieces of this size.
fn left(api: Api, stream: &str, size: usize) -> String {
    let dialect = match api {
        Api::Chat => Dialect::Chat,
        Api::Messages => Dialect::Messages,
        Api::Responses => Dialect::Responses,
    };
    let kind = AnswerKind::EventStream;
    let mut screen = Screen::new(dialect, kind, Rules::bundled(), enforced());
    let mut left = Vec::new();
    for part in stream.as_bytes().chunks(size) {
        left.extend_from_slice(&screen.push(Bytes::copy_from_slice(part)));
    }
    left.extend_from_slice(&screen.finish());
    String::from_utf8(left).unwrap()
}

/// Some splits of one value of each kind; the campaign has a thousand values and every split.
#[test]
fn no_value_leaves_whole_however_its_text_is_cut() {
    for number in 0..KINDS {
        let value = value(number);
        let text = format!("It is {value} or so.");
        let check = |at: usize, api: Api, encoding: Encoding, size: usize| {
            let stream = spoken::stream(api, &text, &[at], encoding);
            let left = left(api, &stream, size);
            spoken::must_be_without(&value, &text, &left, &(api, encoding, at, size));
        };
        for (nth, encoding) in ENCODINGS.into_iter().enumerate() {
            let step = if encoding == Encoding::Plain { 2 } else { 17 };
            for at in (number % step..text.len()).step_by(step) {
                check(at, APIS[(number + nth) % APIS.len()], encoding, 4096);
            }
        }
        check(9, APIS[number % 3], ENCODINGS[number % 5], 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_stream_makes_it_panic(
        pieces in proptest::collection::vec("(data: |\\{\"choices\":\\[\\{\"delta\":\\{\"content\":\"|sk-ant-|\\\\u00|[a-z0-9é\"{}\\[\\]:,]{0,6}|\n|\r\n){0,4}", 0..20),
    ) {
        let mut screen = super::screen(AnswerKind::EventStream, enforced());
        for piece in pieces {
            let _ = screen.push(Bytes::from(piece));
        }
        let _ = screen.finish();
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        words in proptest::collection::vec("( |[a-z]{1,8}|sk-ant-[a-z0-9]{24}|[0-9]{1,4}|4111 1111 1111 1111|\\.|=|\"|é){1,3}", 1..12),
        sizes in proptest::collection::vec(1_usize..60, 1..8),
    ) {
        let all: String = words.iter().map(|word| content(word)).collect();
        let run = |sizes: &[usize]| {
            let mut screen = super::screen(AnswerKind::EventStream, enforced());
            let mut left = Vec::new();
            let mut rest = Bytes::from(all.clone());
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let piece = rest.split_to((*size).min(rest.len()));
                left.extend_from_slice(&screen.push(piece));
            }
            left.extend_from_slice(&screen.finish());
            String::from_utf8(left).unwrap()
        };
        let whole = run(&[usize::MAX]);
        prop_assert_eq!(&run(&sizes), &whole);
        if !whole.contains("[REDACTED_") {
            prop_assert_eq!(whole, all);
        }
    }
}
