//! Money as integers: nano-dollars for amounts, pico-dollars per token for prices.
//!
//! Decides how text becomes money and how money becomes text, and where rounding happens: once,
//! upwards, when a sum of parts becomes an amount. It knows nothing of budgets or of models.
//!
//! Decimal text is read digit by digit, so `2.5e-06` is exactly 2,500,000 pico-dollars; no float
//! takes part.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Nano-dollars in a dollar.
pub const NANOS_PER_USD: i64 = 1_000_000_000;

/// The largest amount that any counter may reach: 2^53 nano-dollars (about nine million dollars),
/// the largest integer that every store Weir writes to keeps exactly.
pub const MAX_AMOUNT: Nanos = Nanos(1 << 53);

/// An amount of money in nano-dollars (10^-9 USD). May be negative: a remaining budget can be.
///
/// Arithmetic saturates at the ends of `i64`; amounts that come from outside are checked against
/// [`MAX_AMOUNT`] where they enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub i64);

impl Nanos {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Whole dollars.
    pub const fn usd(dollars: i64) -> Self {
        Self(dollars.saturating_mul(NANOS_PER_USD))
    }

    /// Reads decimal text such as `12`, `-0.5` or `1.25e-05` as dollars, rounded up to the next
    /// nano-dollar.
    ///
    /// # Errors
    /// [`MoneyError`] when the text is no finite decimal number or its size exceeds [`MAX_AMOUNT`].
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        let scaled = parse_scaled(text, 9)?;
        i64::try_from(scaled)
            .ok()
            .filter(|n| n.unsigned_abs() <= MAX_AMOUNT.0.unsigned_abs())
            .map(Self)
            .ok_or(MoneyError::TooLarge)
    }

    /// Dollars with six decimals, rounded half away from zero: the precision that `_execwall`
    /// metadata and the spend API have always had. A float only because JSON numbers are; every
    /// amount up to [`MAX_AMOUNT`] prints its six decimals exactly.
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 2^53 / 1000, exact in an f64"
    )]
    pub fn usd_6dp(self) -> f64 {
        let micros = (self.0.saturating_abs().saturating_add(500) / 1000) * self.0.signum();
        micros as f64 / 1e6
    }

    /// Dollars as an exact JSON number with as many decimals as it takes (at most nine).
    pub fn usd_exact(self) -> Box<serde_json::value::RawValue> {
        serde_json::value::RawValue::from_string(self.to_string()).unwrap_or_default()
    }

    /// Dollars as the nearest `f64`, for gauges, ratios and JSON (where it prints all nine decimals
    /// up to a million dollars); never for sums.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^53, exact in an f64")]
    pub fn as_usd_f64(self) -> f64 {
        self.0 as f64 / NANOS_PER_USD as f64
    }

    /// The larger of this amount and zero.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        self.max(Self::ZERO)
    }
}

impl fmt::Display for Nanos {
    /// Exact dollars: `1.5`, `-0.000000001`, `50.0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(i128::from(self.0.unsigned_abs()), 9, self.0 < 0))
    }
}

impl Add for Nanos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl Sub for Nanos {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl SubAssign for Nanos {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl Neg for Nanos {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}
impl Sum for Nanos {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

/// A price in pico-dollars (10^-12 USD) per token: $1 per million tokens is 1,000,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicosPerToken(pub u64);

impl PicosPerToken {
    /// Reads decimal dollars per token, for example `2.5e-06`, rounded up to a pico-dollar.
    ///
    /// # Errors
    /// [`MoneyError`] when the text is no finite decimal number, is negative, or does not fit.
    pub fn parse_usd(text: &str) -> Result<Self, MoneyError> {
        let scaled = parse_scaled(text, 12)?;
        if scaled < 0 {
            return Err(MoneyError::Negative);
        }
        u64::try_from(scaled)
            .map(Self)
            .map_err(|_| MoneyError::TooLarge)
    }

    /// What `tokens` cost at this price.
    pub fn times(self, tokens: u64) -> Picos {
        Picos(u128::from(self.0) * u128::from(tokens))
    }
}

/// A sum of parts in pico-dollars, kept exact until it is rounded up once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picos(pub u128);

impl Picos {
    /// Rounds up to the next nano-dollar, saturating at [`MAX_AMOUNT`].
    pub fn ceil_nanos(self) -> Nanos {
        let nanos = self.0.div_ceil(1000);
        i64::try_from(nanos).map_or(MAX_AMOUNT, |n| Nanos(n).min(MAX_AMOUNT))
    }
}

impl Add for Picos {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}
impl Sum for Picos {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// Why text is no amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a finite decimal number.
    #[error("not a decimal number")]
    NotANumber,
    /// Below zero where that makes no sense.
    #[error("must not be negative")]
    Negative,
    /// Beyond [`MAX_AMOUNT`] or the type's range.
    #[error("too large")]
    TooLarge,
}

/// Decimal text times 10^`scale`, rounded away from zero for positive numbers and towards zero for
/// negative ones (so always up).
fn parse_scaled(text: &str, scale: i32) -> Result<i128, MoneyError> {
    let text = text.trim();
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (
            &unsigned[..at],
            unsigned[at + 1..]
                .parse::<i32>()
                .map_err(|_| MoneyError::NotANumber)?,
        ),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || !digits().all(|b| b.is_ascii_digit()) {
        return Err(MoneyError::NotANumber);
    }
    // The value is digits * 10^(exponent - fraction.len()); keep digits up to 10^-scale.
    let places = i32::try_from(whole.len()).map_err(|_| MoneyError::TooLarge)?;
    let keep = i64::from(places) + i64::from(exponent) + i64::from(scale);
    let mut value: i128 = 0;
    let mut rest = false;
    for (index, digit) in (0_i64..).zip(digits()) {
        let digit = i128::from(digit - b'0');
        if index < keep {
            value = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(digit))
                .ok_or(MoneyError::TooLarge)?;
        } else {
            rest |= digit != 0;
        }
    }
    let written = i64::try_from(whole.len() + fraction.len()).map_err(|_| MoneyError::TooLarge)?;
    if value != 0 {
        for _ in written..keep {
            value = value.checked_mul(10).ok_or(MoneyError::TooLarge)?;
        }
    }
    Ok(match (negative, rest) {
        (false, true) => value + 1,
        (false, false) => value,
        (true, _) => -value,
    })
}

/// `units` of 10^-`places` as decimal text without needless zeros, but always with one decimal.
fn decimal(units: i128, places: usize, negative: bool) -> String {
    let base = 10_i128.pow(u32::try_from(places).unwrap_or(0));
    let fraction = format!("{:0places$}", units % base);
    let fraction = fraction.trim_end_matches('0');
    format!(
        "{}{}.{}",
        if negative { "-" } else { "" },
        units / base,
        if fraction.is_empty() { "0" } else { fraction }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prices_are_read_exactly() {
        assert_eq!(
            PicosPerToken::parse_usd("2.5e-06"),
            Ok(PicosPerToken(2_500_000))
        );
        assert_eq!(
            PicosPerToken::parse_usd("0.0000025"),
            Ok(PicosPerToken(2_500_000))
        );
        assert_eq!(PicosPerToken::parse_usd("1e-13"), Ok(PicosPerToken(1)));
        assert_eq!(PicosPerToken::parse_usd("0"), Ok(PicosPerToken(0)));
        assert_eq!(PicosPerToken::parse_usd("-1e-6"), Err(MoneyError::Negative));
    }

    #[test]
    fn amounts_round_up_and_refuse_nonsense() {
        assert_eq!(Nanos::parse_usd("0.0015"), Ok(Nanos(1_500_000)));
        assert_eq!(Nanos::parse_usd("1.0000000001"), Ok(Nanos(1_000_000_001)));
        assert_eq!(Nanos::parse_usd("-1.0000000001"), Ok(Nanos(-1_000_000_000)));
        assert_eq!(Nanos::parse_usd("1e2"), Ok(Nanos::usd(100)));
        for bad in ["NaN", "", ".", "inf", "1e", "0x1", "1 2", "--1"] {
            assert_eq!(Nanos::parse_usd(bad), Err(MoneyError::NotANumber), "{bad}");
        }
        assert_eq!(Nanos::parse_usd("1e400"), Err(MoneyError::TooLarge));
        assert_eq!(
            Nanos::parse_usd("9007199.254740993"),
            Err(MoneyError::TooLarge)
        );
        assert_eq!(Nanos::parse_usd("0e999"), Ok(Nanos::ZERO));
    }

    #[test]
    fn six_decimals_are_what_the_spend_api_shows() {
        for (nanos, text) in [
            (49_998_500_000, "49.9985"),
            (1_500, "2e-6"),
            (-400, "0.0"),
            (50_000_000_000, "50.0"),
            (-2_000_000, "-0.002"),
        ] {
            let shown = serde_json::to_string(&Nanos(nanos).usd_6dp()).unwrap();
            assert_eq!(shown.parse::<f64>(), text.parse::<f64>(), "{shown}");
        }
        assert_eq!(Nanos(1_500).usd_exact().get(), "0.0000015");
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_own_text(n in -(1_i64 << 53)..=(1_i64 << 53)) {
            prop_assert_eq!(Nanos::parse_usd(&Nanos(n).to_string()), Ok(Nanos(n)));
        }

        #[test]
        fn rounding_up_never_loses_and_adds_less_than_one(p in 0_u128..9_007_199_254_740_992_000) {
            let nanos = u128::from(Picos(p).ceil_nanos().0.unsigned_abs());
            prop_assert!(nanos * 1000 >= p && nanos * 1000 < p + 1000);
        }
    }
}
