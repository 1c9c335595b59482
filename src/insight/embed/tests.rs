//! What is near what, and that nothing breaks.

use super::*;
use proptest::prelude::*;

fn near(left: &str, right: &str) -> f32 {
    embed(left).unwrap().cosine(&embed(right).unwrap())
}

#[test]
fn a_text_is_nearest_to_itself_and_near_what_says_the_same() {
    let asked = "Explain Kubernetes to me.";
    assert!(near(asked, asked) > 0.9999);
    for (same, other) in [
        ("explain kubernetes", "explain photosynthesis"),
        (
            "Can you describe how Kubernetes works?",
            "Can you describe how plants grow?",
        ),
        (
            "explain Kubenretes, please",
            "explain the French Revolution, please",
        ),
        ("Was ist Kubernetes?", "Was ist eine Wärmepumpe?"),
    ] {
        assert!(near(asked, same) > near(asked, other) + 0.2, "{same}");
    }
    let chinese = "请解释机器学习。";
    assert!(near(chinese, "机器学习是什么?") > near(chinese, "请解释量子计算。"));
}

#[test]
fn spelling_and_width_of_letters_make_no_difference() {
    assert_eq!(embed("EXPLAIN Kubernetes!!"), embed("explain\n kubernetes"));
    assert_eq!(embed("ｆｕｌｌ ｗｉｄｔｈ"), embed("full width"));
    assert_eq!(embed("cafe\u{301}"), embed("caf\u{e9}"));
}

/// Whoever changes this changes [`NAME`], too: vectors in stores are of the old kind.
#[test]
fn the_vector_of_a_text_never_changes() {
    let texts = [
        "Explain Kubernetes to me.",
        "Schreibe ein Gedicht über den Herbst, bitte!",
        "请解释机器学习。",
        "fn main() { println!(\"{}\", 1 + 1); }",
    ];
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for byte in texts.iter().flat_map(|text| embed(text).unwrap().bytes()) {
        sum = (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    assert_eq!(format!("{sum:016x}"), "b6311b75ba2277eb");
    assert_eq!(NAME, "weir-ngram-1");
}

#[test]
fn a_text_without_letters_has_no_vector() {
    for text in ["", " \n", "?!…", "\u{200b}", "🙂🙂"] {
        assert_eq!(embed(text), None, "{text:?}");
    }
}

#[test]
fn of_a_long_text_the_beginning_and_the_end_count() {
    let middle = "lorem ipsum ".repeat(100_000);
    let text = format!("kubernetes {middle} photosynthesis");
    let (head, tail) = ends(&text);
    assert!(head.starts_with("kubernetes") && tail.ends_with("photosynthesis"));
    assert!(head.len() + tail.len() <= HEAD + TAIL);
    for text in [
        "x".repeat(1 << 20),
        "字".repeat(350_000),
        // One character that becomes eighteen.
        "\u{fdfa}".repeat(350_000),
        "\u{301}".repeat(500_000) + "a",
    ] {
        assert!(embed(&text).is_some());
    }
}

#[test]
fn the_users_part_of_a_request_is_what_counts() {
    use super::text::of_request;
    for (stored, text) in [
        (r#""plain""#, "plain"),
        (
            r#"[{"role":"system","content":"be brief"},{"role":"user","content":"hello"}]"#,
            "hello",
        ),
        (
            r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"data:"}}]},
                {"role":"assistant","content":"b"},{"role":"user","content":"c"}]"#,
            "a\nc",
        ),
        (r#"[{"role":"system","content":"only this"}]"#, "only this"),
        (r#"["one","two"]"#, "one\ntwo"),
        (
            r#"{"contents":1,"messages":[{"role":"user","content":"x"}]}"#,
            "x",
        ),
        (r#"[{"role":"user","parts":[{"text":"gemini"}]}]"#, "gemini"),
        ("not json", ""),
        ("null", ""),
    ] {
        assert_eq!(of_request(stored), text, "{stored}");
    }
    let deep = format!("{}\"x\"{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(of_request(&deep), "");
}

#[test]
fn bytes_that_are_no_vector_are_like_nothing() {
    let vector = embed("hello").unwrap();
    assert_eq!(
        vector.cosine_stored(&vector.bytes()),
        Some(vector.cosine(&vector))
    );
    assert_eq!(vector.cosine_stored(&[0; 12]), None);
    assert_eq!(vector.cosine_stored(&[0; 1537]), None);
    assert_eq!(vector.cosine_stored(&[0xff; 1536]), None);
}

#[test]
fn numbers_without_a_direction_are_no_vector() {
    for numbers in [
        vec![0.0; 384],
        vec![1.0; 383],
        vec![f32::NAN; 384],
        vec![f32::INFINITY; 384],
    ] {
        assert_eq!(Vector::unit(numbers), None);
    }
    for numbers in [vec![f32::MAX; 384], vec![f32::MIN_POSITIVE; 384]] {
        let vector = Vector::unit(numbers).unwrap();
        assert!((vector.cosine(&vector) - 1.0).abs() < 1e-5);
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_every_vector_has_length_one(text in any::<String>()) {
        if let Some(vector) = embed(&text) {
            let length: f32 = vector.numbers().iter().map(|x| x * x).sum();
            prop_assert!((length - 1.0).abs() < 1e-4);
            prop_assert_eq!(embed(&text), Some(vector));
        }
    }

    #[test]
    fn no_stored_request_panics(text in any::<String>()) {
        super::text::of_request(&text);
    }

    #[test]
    fn eight_bits_a_number_lose_little(left in "[a-z ]{3,80}", right in "[a-z ]{3,80}") {
        if let (Some(left), Some(right)) = (embed(&left), embed(&right)) {
            let (a, b) = (left.quantised(), right.quantised());
            let product = f64::from(vector::dot_quantised(&a.numbers, &b.numbers));
            let near = product * f64::from(a.step) * f64::from(b.step);
            prop_assert!((near - f64::from(left.cosine(&right))).abs() < 0.05);
        }
    }

    #[test]
    fn any_numbers_are_a_vector_or_none(numbers in proptest::collection::vec(any::<f32>(), 384)) {
        if let Some(vector) = Vector::unit(numbers) {
            prop_assert!(vector.numbers().iter().all(|x| x.is_finite()));
        }
    }
}
