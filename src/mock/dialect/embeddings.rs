//! Embeddings: vectors that depend on nothing but their texts.

use sha2::{Digest as _, Sha256};

use crate::mock::announced::Announced;
use crate::mock::api::Place;
use crate::mock::behaviour::Behaviour;
use crate::mock::request::Asked;
use crate::mock::shape::quoted;
use crate::mock::usage::{Counts, Usage};

/// The body of the answer, and what it announces.
pub(super) fn answer(
    asked: &Asked<'_>,
    place: &Place,
    behaviour: &Behaviour,
    model: &str,
) -> (Vec<u8>, Option<Announced>) {
    let vectors: Vec<String> = asked
        .embed
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = if asked.base64 {
                quoted(&base64(&steps(text, asked.dimensions)))
            } else {
                floats(&steps(text, asked.dimensions))
            };
            format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
        })
        .collect();
    let counts = Counts {
        input: behaviour.tokens_in.unwrap_or(asked.prompt_tokens),
        ..Counts::default()
    };
    let usage = Usage::new(
        behaviour.usage,
        counts,
        &behaviour.cost,
        place.charges(behaviour.dialect),
        model,
        counts.input,
    );
    let says = usage.announced().map(|says| Announced {
        completion_tokens: 0,
        ..says
    });
    let usage = usage.member("usage", |numbers| {
        let tokens = numbers.text(numbers.input);
        let cost = numbers.cost_text.as_ref();
        let cost = cost.map_or_else(String::new, |cost| format!(r#","cost":{cost}"#));
        format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}{cost}}}"#)
    });
    let model = quoted(model);
    let vectors = vectors.join(",");
    let body = format!(r#"{{"object":"list","data":[{vectors}],"model":{model}{usage}}}"#);
    (body.into_bytes(), says)
}

/// The vector of a text, in steps of a 128th.
fn steps(text: &str, dimensions: usize) -> Vec<i8> {
    let mut steps = Vec::with_capacity(dimensions);
    let mut round = 0_u64;
    while steps.len() < dimensions {
        let mut hash = Sha256::new();
        hash.update(round.to_le_bytes());
        hash.update(text.as_bytes());
        let left = dimensions - steps.len();
        steps.extend(
            hash.finalize()
                .iter()
                .take(left)
                .map(|byte| byte.cast_signed()),
        );
        round += 1;
    }
    steps
}

/// The numbers as JSON: a 128th has seven decimals.
fn floats(steps: &[i8]) -> String {
    let floats: Vec<String> = steps
        .iter()
        .map(|step| {
            let sign = if *step < 0 { "-" } else { "" };
            let decimals = u32::from(step.unsigned_abs()) * 78_125;
            format!(
                "{sign}{}.{:07}",
                decimals / 10_000_000,
                decimals % 10_000_000
            )
        })
        .collect();
    format!("[{}]", floats.join(","))
}

/// The bits of a 32-bit float that is so many 128ths.
fn bits(step: i8) -> u32 {
    let sign = u32::from(step < 0) << 31;
    let size = u32::from(step.unsigned_abs());
    let Some(highest) = size.checked_ilog2() else {
        return sign;
    };
    let exponent = 127 - 7 + highest;
    let mantissa = (size << (23 - highest)) & 0x007f_ffff;
    sign | exponent << 23 | mantissa
}

/// The numbers as little-endian 32-bit floats, in base64.
fn base64(steps: &[i8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = steps
        .iter()
        .flat_map(|step| bits(*step).to_le_bytes())
        .collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4_usize {
            let digit = (bits >> (18 - 6 * index)) & 63;
            let digit = usize::try_from(digit).unwrap_or(0);
            text.push(if index > three.len() {
                '='
            } else {
                char::from(ALPHABET[digit])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_floats_in_little_endian() {
        assert_eq!(base64(&[64, -128]), "AAAAPwAAgL8=");
        assert_eq!(base64(&[64]), "AAAAPw==");
        assert_eq!(base64(&[64, 64, 64]), "AAAAPwAAAD8AAAA/");
        assert_eq!(floats(&[64, -128, 0]), "[0.5000000,-1.0000000,0.0000000]");
    }

    #[test]
    fn the_bits_are_those_of_the_float() {
        for step in i8::MIN..=i8::MAX {
            assert_eq!(bits(step), (f32::from(step) / 128.0).to_bits(), "{step}");
        }
    }

    #[test]
    fn a_vector_depends_on_its_text_and_is_as_long_as_asked() {
        assert_eq!(steps("a", 8), steps("a", 8));
        assert_ne!(steps("a", 8), steps("b", 8));
        assert_eq!(steps("a", 40)[..8], steps("a", 8));
        assert_eq!(steps("a", 40).len(), 40);
    }
}
