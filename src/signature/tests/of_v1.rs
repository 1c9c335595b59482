use super::super::Signer;
use super::super::titan::verify;
use super::super::v1::{self, Asked, Flaw, Form, Seal};
use super::{asked, check, key, pieces, seal, signed};
use bytes::Bytes;
use std::sync::Arc;

#[test]
fn a_whole_answer_is_bound_to_everything_about_it() {
    let body = b"{\"a\":1}";
    let (out, header) = signed(Form::Whole, false, seal(Form::Whole), &[body], false);
    let header = header.unwrap();
    assert_eq!(out, body);
    let right = |asked: &Asked, status, header: &str, body: &[u8]| {
        check(asked, status, Form::Whole, Some(header), body)
    };
    let stamp = right(&asked(), 200, &header, body).unwrap();
    assert_eq!(
        (stamp.millis, stamp.key.as_str()),
        (1_700_000_000_123, "k1")
    );
    let unsure = Asked {
        nonce: None,
        body: None,
        ..asked()
    };
    assert!(right(&unsure, 200, &header, body).is_ok());
    assert_eq!(right(&asked(), 201, &header, body), Err(Flaw::Mac));
    assert_eq!(right(&asked(), 200, &header, b"{\"a\":2}"), Err(Flaw::Body));
    for other in [
        Asked {
            method: "GET".into(),
            ..asked()
        },
        Asked {
            path: "/v1/completions".into(),
            ..asked()
        },
        Asked {
            request_id: "req_2".into(),
            ..asked()
        },
    ] {
        assert_eq!(right(&other, 200, &header, body), Err(Flaw::Mac));
    }
    assert_eq!(
        right(
            &Asked {
                nonce: Some("n-2".into()),
                ..asked()
            },
            200,
            &header,
            body
        ),
        Err(Flaw::Nonce)
    );
    assert_eq!(
        right(
            &Asked {
                body: Some(v1::digest(b"x")),
                ..asked()
            },
            200,
            &header,
            body
        ),
        Err(Flaw::Request)
    );
    assert_eq!(
        check(&asked(), 200, Form::Whole, None, body),
        Err(Flaw::Unsigned)
    );
    assert_eq!(
        check(&asked(), 200, Form::Stream, Some(&header), body),
        Err(Flaw::CutOff)
    );
    assert_eq!(
        right(&asked(), 200, &header.replace("key=k1", "key=k2"), body),
        Err(Flaw::UnknownKey("k2".into()))
    );
    for (from, to) in [
        ("v1 ", "v2 "),
        (" t=", " t=0"),
        ("mac=", "mac= "),
        ("nonce=n-1", "nonce="),
    ] {
        assert_eq!(
            right(&asked(), 200, &header.replace(from, to), body),
            Err(Flaw::Unreadable),
            "{from}"
        );
    }
    assert_eq!(
        right(&asked(), 200, &header.to_uppercase(), body),
        Err(Flaw::Unreadable)
    );
    assert_eq!(
        right(
            &unsure,
            200,
            &header.replace("nonce=n-1", "nonce=n-2"),
            body
        ),
        Err(Flaw::Mac)
    );
    assert_eq!(
        right(&unsure, 200, &header.replace("t=17", "t=18"), body),
        Err(Flaw::Mac)
    );
}

#[test]
fn a_refusal_before_the_body_was_read_says_that_it_is_not_bound_to_one() {
    let early = Asked {
        body: None,
        ..asked()
    };
    let seal = Some(Seal::new(key(), Arc::new(early.clone()), Form::Whole, 401));
    let (out, header) = signed(Form::Whole, false, seal, &[b"no"], false);
    assert_eq!(
        check(&asked(), 401, Form::Whole, header.as_deref(), &out),
        Err(v1::Flaw::Unbound)
    );
    assert!(check(&early, 401, Form::Whole, header.as_deref(), &out).is_ok());
}

#[test]
fn a_stream_ends_with_its_signature_and_a_shorter_one_has_none() {
    for text in [
        "data: a\n\ndata: [DONE]\n\n",
        "data: a\r\n\r\n",
        "data: a\n",
        "data: a",
        "",
        "d",
    ] {
        for size in [1, 3, 100] {
            let (out, header) = signed(
                Form::Stream,
                false,
                seal(Form::Stream),
                &pieces(text.as_bytes(), size),
                false,
            );
            assert_eq!(header, None);
            assert!(out.starts_with(text.as_bytes()));
            assert!(
                check(&asked(), 200, Form::Stream, None, &out).is_ok(),
                "{text:?}"
            );
            for end in 0..out.len() {
                assert!(check(&asked(), 200, Form::Stream, None, &out[..end]).is_err());
            }
            let more = [&out[..], b": x\n\n"].concat();
            assert_eq!(
                check(&asked(), 200, Form::Stream, None, &more),
                Err(v1::Flaw::CutOff)
            );
        }
    }
}

#[test]
fn nothing_follows_the_last_line() {
    let mut signer = Signer::new(Form::Stream, Some(key()), seal(Form::Stream), false);
    let first = signer.push(Bytes::from_static(
        b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
    ));
    let closing = signer.finish(1);
    assert!(
        signer
            .push(Bytes::from_static(b"data: late\n\n"))
            .is_empty()
    );
    assert_eq!(signer.finish(2).last, Bytes::new());
    let all = [&first[..], &closing.last].concat();
    assert!(check(&asked(), 200, Form::Stream, None, &all).is_ok());
    assert!(verify(&[key()], true, &all).is_ok());
}
