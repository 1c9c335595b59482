use super::super::content;
use super::super::titan::verify;
use super::super::v1::{Form, Stamp};
use super::{asked, check, events, key, pieces, seal, signed, stream};
use proptest::prelude::*;
use serde_json::json;

fn chunk_text() -> impl Strategy<Value = String> {
    let ending = prop_oneof![Just("\n"), Just("\r\n"), Just("\r")];
    let event = prop_oneof![
        (".{0,8}", any::<bool>()).prop_map(|(text, tool)| {
            let delta = if tool {
                json!({"tool_calls": [{"a": text}]})
            } else {
                json!({"content": text})
            };
            format!(
                "data: {}",
                json!({"id": text, "choices": [{"delta": delta}], "z": {"q": "}"}})
            )
        }),
        Just("data: [DONE]".to_owned()),
        Just(": comment".to_owned()),
        "[a-z:{}\" ]{0,12}",
    ];
    proptest::collection::vec((event, ending), 0..6).prop_map(|events| {
        events
            .into_iter()
            .map(|(event, ending)| format!("{event}{ending}{ending}"))
            .collect()
    })
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_it_comes_out_the_same_and_verifies(text in chunk_text(), size in 1_usize..30) {
        let (whole, cut) = (stream(&text, usize::MAX), stream(&text, size));
        prop_assert_eq!(&whole, &cut);
        let chunks = events(&text).iter().filter(|event| event["choices"].is_array()).count() as u64;
        match verify(&[key()], true, cut.as_bytes()) {
            Ok(checked) => prop_assert_eq!(checked.signatures, chunks),
            Err(flaw) => prop_assert!(chunks == 0, "{}", flaw),
        }
        let both = signed(Form::Stream, true, seal(Form::Stream), &pieces(text.as_bytes(), size), false).0;
        prop_assert!(check(&asked(), 200, Form::Stream, None, &both).is_ok());
        prop_assert!(both.starts_with(cut.as_bytes()));
    }

    #[test]
    fn escapes_are_those_of_an_independent_writer(text in any::<String>()) {
        let inner = serde_json::to_string(&text).unwrap();
        let mut out = String::new();
        content::python(&inner[1..inner.len() - 1], &mut out);
        prop_assert!(out.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        let back: String = serde_json::from_str(&format!("\"{out}\"")).unwrap();
        prop_assert_eq!(back, text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\":,a-z\\\\u0-9 \n]{0,80}", size in 1_usize..20) {
        for bytes in [bytes.as_slice(), text.as_bytes(), format!("data: {{\"choices\":{text}}}\n\n").as_bytes()] {
            for form in [Form::Stream, Form::Whole] {
                let _ = signed(form, true, seal(form), &pieces(bytes, size), true);
            }
            let _ = verify(&[key()], true, bytes);
            let _ = verify(&[key()], false, bytes);
            let _ = check(&asked(), 200, Form::Stream, None, bytes);
        }
        let _ = Stamp::parse(&text);
        let mut out = String::new();
        content::python(&text, &mut out);
    }

    #[test]
    fn one_changed_byte_shows(body in proptest::collection::vec(any::<u8>(), 1..80), at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let (out, header) = signed(Form::Whole, false, seal(Form::Whole), &[&body], false);
        let mut changed = out.clone();
        changed[at.index(body.len())] ^= flip;
        prop_assert!(check(&asked(), 200, Form::Whole, header.as_deref(), &out).is_ok());
        prop_assert!(check(&asked(), 200, Form::Whole, header.as_deref(), &changed).is_err());
    }
}
