//! Values with units: durations, sizes, amounts, shares, switches.
//!
//! Decides how each is written and shown. Everything is read digit by digit; no float takes part.

use super::problem::Complaint;
use crate::budget::tier::{Threshold, WHOLE};
use crate::money::{MoneyError, Nanos, PicosPerToken};
use std::time::Duration;

/// Plain decimal digits of a number as YAML writes it: `$`, `USD` and `_` between digits taken off.
///
/// # Errors
/// When the text is no finite decimal number, or one that two YAML readers read differently.
pub fn decimal_text(text: &str) -> Result<String, Complaint> {
    let not_a_number = || Complaint::new("must be a decimal number");
    let bare = text.trim();
    let bare = bare.strip_suffix("USD").unwrap_or(bare).trim_end();
    let (sign, rest) = match bare.as_bytes().first() {
        Some(b'-') => ("-", &bare[1..]),
        Some(b'+') => ("", &bare[1..]),
        _ => ("", bare),
    };
    let rest = rest.strip_prefix('$').unwrap_or(rest).trim_start();
    if ["inf", "infinity", "nan"]
        .contains(&rest.trim_start_matches('.').to_ascii_lowercase().as_str())
    {
        return Err(Complaint::new("must be a finite number"));
    }
    if rest.contains(',') {
        return Err(not_a_number().suggesting("write it without commas"));
    }
    let bytes = rest.as_bytes();
    let digit = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_digit)
    };
    let underscores_between_digits = (0..bytes.len())
        .filter(|&at| bytes[at] == b'_')
        .all(|at| digit(at.checked_sub(1)) && digit(Some(at + 1)));
    if !underscores_between_digits {
        return Err(not_a_number());
    }
    let digits = format!("{sign}{}", rest.replace('_', ""));
    let whole: String = digits
        .trim_start_matches('-')
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    if whole.len() > 1 && whole.starts_with('0') && !digits.contains(['.', 'e', 'E']) {
        return Err(
            Complaint::new("has a leading zero, which some YAML readers take for octal")
                .suggesting("write it without the leading zero"),
        );
    }
    Ok(digits)
}

fn money_complaint(error: MoneyError) -> Complaint {
    match error {
        MoneyError::NotANumber => Complaint::new("must be a decimal number"),
        MoneyError::Negative => Complaint::new("must not be negative"),
        MoneyError::TooLarge => Complaint::new("is too large (at most 9,007,199 USD)"),
    }
}

/// An amount in dollars, zero or more: `50`, `50.00`, `$50`, `1_000`.
///
/// # Errors
/// When it is no decimal number, negative, or too large.
pub fn money(text: &str) -> Result<Nanos, Complaint> {
    let digits = decimal_text(text)?;
    let amount = Nanos::parse_usd(&digits).map_err(money_complaint)?;
    if digits.starts_with('-') && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        return Err(money_complaint(MoneyError::Negative));
    }
    Ok(amount)
}

/// A price in dollars per token, as the Model Gateway writes it: `0.0000025`, `2.5e-06`.
///
/// # Errors
/// When it is no decimal number, negative, or too large.
pub fn price_per_token(text: &str) -> Result<PicosPerToken, Complaint> {
    PicosPerToken::parse_usd(&decimal_text(text)?).map_err(|error| match error {
        MoneyError::TooLarge => Complaint::new("is too large"),
        other => money_complaint(other),
    })
}

/// A price in dollars per million tokens: `3.00` is 3,000,000 pico-dollars per token.
///
/// # Errors
/// When it is no decimal number, negative, or too large.
pub fn price_per_million(text: &str) -> Result<PicosPerToken, Complaint> {
    let digits = decimal_text(text)?;
    let shifted = match digits.find(['e', 'E']) {
        Some(at) => {
            let exponent: i32 = digits[at + 1..]
                .parse()
                .map_err(|_| money_complaint(MoneyError::NotANumber))?;
            format!("{}e{}", &digits[..at], exponent.saturating_sub(6))
        }
        None => format!("{digits}e-6"),
    };
    price_per_token(&shifted)
}

/// A share between 0 and 1, inclusive.
///
/// # Errors
/// When it is no decimal number or outside 0..=1.
pub fn share(text: &str) -> Result<Threshold, Complaint> {
    let outside = Complaint::new("must be between 0 and 1");
    if let Some(percent) = text.trim().strip_suffix('%') {
        return Err(outside.suggesting(format!("write {} % as a share of 1", percent.trim())));
    }
    let amount = match money(text) {
        Ok(amount) => amount,
        Err(complaint) if complaint.message.contains("negative") => return Err(outside),
        Err(complaint) => return Err(complaint),
    };
    match u32::try_from(amount.0)
        .ok()
        .filter(|billionths| *billionths <= WHOLE)
    {
        Some(billionths) => Ok(Threshold(billionths)),
        None if amount <= Nanos::usd(100) => {
            let part = Nanos(amount.0 / 100);
            Err(outside.suggesting(format!("write {part} for {} %", text.trim())))
        }
        None => Err(outside),
    }
}

/// `true`/`false`, and the other spellings YAML has for them.
///
/// # Errors
/// When it is neither.
pub fn flag(text: &str) -> Result<bool, Complaint> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => Err(Complaint::new("must be true or false")),
    }
}

/// A whole number, zero or more: `16384`, `16_384`.
///
/// # Errors
/// When it is no whole number.
pub fn count(text: &str) -> Result<u64, Complaint> {
    let digits = decimal_text(text)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Complaint::new("must be a whole number, zero or more"));
    }
    digits.parse().map_err(|_| Complaint::new("is too large"))
}

/// A number followed by letters, apart: `1.5h` is (`1.5`, `h`).
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text
        .find(|c: char| c.is_ascii_alphabetic() || c == 'µ')
        .unwrap_or(text.len());
    (text[..at].trim(), text[at..].trim())
}

/// A duration: `60s`, `5ms`, `1.5h`; a plain number is seconds.
///
/// # Errors
/// When it is no duration, or longer than ten years.
pub fn duration(text: &str) -> Result<Duration, Complaint> {
    const LONGEST: u128 = 10 * 366 * 86_400 * 1_000_000_000;
    let wrong = || {
        Complaint::new("must be a duration")
            .suggesting("such as 500ms, 60s, 5m or 2h; a plain number is seconds")
    };
    let (number, unit) = split_unit(text);
    let nanos_per_unit: u128 = match unit {
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "" | "s" | "sec" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        _ => return Err(wrong()),
    };
    let number = decimal_text(number)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0
        || fraction.len() > 9
        || !digits(whole)
        || !digits(fraction)
    {
        return Err(wrong());
    }
    let scaled: u128 = format!("{whole}{fraction:0<9}")
        .parse()
        .map_err(|_| wrong())?;
    let nanos = scaled
        .checked_mul(nanos_per_unit)
        .map(|nanos| nanos / 1_000_000_000)
        .filter(|nanos| *nanos <= LONGEST)
        .ok_or_else(|| Complaint::new("is too long"))?;
    u64::try_from(nanos)
        .map(Duration::from_nanos)
        .map_err(|_| Complaint::new("is too long"))
}

/// A duration as it would be written: `60s`, `5ms`.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        1.. if nanos.is_multiple_of(86_400_000_000_000) => {
            format!("{}d", nanos / 86_400_000_000_000)
        }
        _ if nanos.is_multiple_of(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
        _ if nanos.is_multiple_of(1_000_000) => format!("{}ms", nanos / 1_000_000),
        _ => format!("{}us", nanos / 1_000),
    }
}

/// A size in bytes: `64KiB`, `32MiB`, `1GiB`, `10MB`; a plain number is bytes.
///
/// # Errors
/// When it is no size.
pub fn size(text: &str) -> Result<u64, Complaint> {
    let wrong = || {
        Complaint::new("must be a size")
            .suggesting("such as 64KiB, 32MiB or 1GiB; a plain number is bytes")
    };
    let (number, unit) = split_unit(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number = count(number).map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| Complaint::new("is too large"))
}

/// A size as it would be written: `32MiB`.
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// An amount as it would be written: `$50.00`.
pub fn show_money(amount: Nanos) -> String {
    let text = amount.to_string();
    match text.split_once('.') {
        Some((_, cents)) if cents.len() < 2 => format!("${text}0"),
        _ => format!("${text}"),
    }
}

/// A price per million tokens as it would be written: `$3.00`.
pub fn show_per_million(price: PicosPerToken) -> String {
    let fraction = format!("{:06}", price.0 % 1_000_000);
    format!(
        "${}.{:0<2}",
        price.0 / 1_000_000,
        fraction.trim_end_matches('0')
    )
}

/// A price per token as it would be written: `$0.0000025`.
pub fn show_per_token(price: PicosPerToken) -> String {
    let fraction = format!("{:012}", price.0 % 1_000_000_000_000);
    let whole = price.0 / 1_000_000_000_000;
    format!("${whole}.{:0<2}", fraction.trim_end_matches('0'))
}

/// A share as it would be written: `0.8`.
pub fn show_share(share: Threshold) -> String {
    Nanos(i64::from(share.0)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_exactly_in_every_spelling() {
        for text in [
            "50", "50.00", "$50", " $50.0 ", "50 USD", "5e1", "0_50.0", "+50",
        ] {
            assert_eq!(money(text), Ok(Nanos::usd(50)), "{text}");
        }
        assert_eq!(money("50.10"), Ok(Nanos(50_100_000_000)));
        assert_eq!(money("1_000"), Ok(Nanos::usd(1000)));
        assert_eq!(money(".5"), Ok(Nanos(500_000_000)));
        for bad in [
            "-1", "-$0.01", ".nan", "NaN", ".inf", "-.inf", "", "$", "1,000", "0x10", "010",
            "1__0", "_1", "9007200",
        ] {
            assert!(money(bad).is_err(), "{bad}");
        }
        assert_eq!(money("-0.0"), Ok(Nanos::ZERO));
    }

    #[test]
    fn prices_per_million_and_per_token_agree() {
        assert_eq!(price_per_million("3.00"), price_per_token("0.000003"));
        assert_eq!(price_per_million("$0.25"), Ok(PicosPerToken(250_000)));
        assert_eq!(price_per_million("2.5e-1"), Ok(PicosPerToken(250_000)));
        assert_eq!(price_per_million("0"), Ok(PicosPerToken(0)));
        assert!(price_per_million("-1").is_err());
        assert!(price_per_million("1e99999999999").is_err());
    }

    #[test]
    fn shares_are_between_zero_and_one() {
        assert_eq!(share("0.80"), Ok(Threshold(800_000_000)));
        assert_eq!(share("0"), Ok(Threshold(0)));
        assert_eq!(share("1.0"), Ok(Threshold(WHOLE)));
        for bad in ["1.01", "-0.1", "80", "80%", "nan", "x"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        assert_eq!(
            share("80").unwrap_err().suggestion.as_deref(),
            Some("write 0.8 for 80 %")
        );
    }

    #[test]
    fn durations_and_sizes_carry_their_units() {
        assert_eq!(duration("60"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("1.5h"), Ok(Duration::from_secs(5400)));
        for bad in [
            "",
            "s",
            "-1s",
            "5 parsecs",
            "1e3s",
            "99999999999999999999s",
            "inf",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("10 MB"), Ok(10_000_000));
        assert_eq!(size("7"), Ok(7));
        assert!(size("1.5MiB").is_err() && size("1TB").is_err() && size("99999999999GiB").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in 0_i64..=(1 << 53), millis in 0_u64..100_000_000, bytes in 0_u64..(1 << 50)) {
            prop_assert_eq!(money(&show_money(Nanos(nanos))), Ok(Nanos(nanos)));
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
            let price = PicosPerToken(bytes);
            prop_assert_eq!(price_per_million(&show_per_million(price)), Ok(price));
            prop_assert_eq!(price_per_token(&show_per_token(price)), Ok(price));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC{0,24}|[-+$._0-9eE%a-z]{0,24}") {
            let _ = (money(&text), share(&text), duration(&text), size(&text), count(&text), flag(&text));
            let _ = (price_per_million(&text), price_per_token(&text));
        }
    }
}
