//! Numbers of payment cards: by Luhn's check digit, and by what the brands give out.

/// Whether the check digit is right.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            if place % 2 == 0 {
                return digit;
            }
            if digit > 4 { 2 * digit - 9 } else { 2 * digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The brands: the first digits, from and to, and the lengths, from and to.
const BRANDS: &[(u32, u32, usize, usize)] = &[
    // Visa.
    (4, 4, 13, 13),
    (4, 4, 16, 16),
    (4, 4, 19, 19),
    // Mastercard.
    (51, 55, 16, 16),
    (2221, 2720, 16, 16),
    // American Express.
    (34, 34, 15, 15),
    (37, 37, 15, 15),
    // Diners Club.
    (300, 305, 14, 19),
    (309, 309, 14, 19),
    (36, 36, 14, 19),
    (38, 39, 14, 19),
    // Discover, UnionPay, JCB.
    (6011, 6011, 16, 19),
    (644, 659, 16, 19),
    (62, 62, 16, 19),
    (81, 81, 16, 19),
    (3528, 3589, 16, 19),
    (2131, 2131, 15, 15),
    (1800, 1800, 15, 15),
    // Maestro, Dankort, RuPay, Mir, Troy, UATP.
    (5018, 5020, 12, 19),
    (5038, 5038, 12, 19),
    (5893, 5893, 12, 19),
    (6304, 6304, 12, 19),
    (6759, 6763, 12, 19),
    (50, 50, 16, 16),
    (56, 58, 16, 16),
    (60, 61, 16, 16),
    (63, 63, 16, 16),
    (66, 69, 16, 16),
    (2200, 2204, 16, 19),
    (9792, 9792, 16, 16),
    (1, 1, 15, 15),
];

/// Whether a brand gives out such numbers.
pub(super) fn is_branded(digits: &[u8]) -> bool {
    BRANDS.iter().any(|(from, to, shortest, longest)| {
        let places = from.ilog10() as usize + 1;
        let first = digits
            .iter()
            .take(places)
            .fold(0, |number, digit| number * 10 + u32::from(*digit));
        (*from..=*to).contains(&first) && (*shortest..=*longest).contains(&digits.len())
    })
}

/// Whether digits without anything between them are a card: sixteen need no known brand.
pub(super) fn is_card(digits: &[u8]) -> bool {
    let unknown = digits.len() == 16 && matches!(digits[0], 2..=6 | 8 | 9);
    (unknown || is_branded(digits))
        && luhn(digits)
        && !digits.iter().all(|digit| *digit == digits[0])
}
