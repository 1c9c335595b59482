use super::*;

fn found(text: &str) -> Vec<(Kind, String)> {
    let mut all = Vec::new();
    find(text.as_bytes(), 0..text.len(), |kind, span| {
        all.push((kind, text[span].to_owned()))
    });
    all
}

#[track_caller]
fn one(text: &str, kind: Kind, value: &str) {
    assert_eq!(found(text), [(kind, value.to_owned())], "{text}");
}

#[track_caller]
fn none(text: &str) {
    assert_eq!(found(text), [], "{text}");
}

#[test]
fn cards_are_known_by_their_check_digit() {
    for card in [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "3782 822463 10005",
        "30569309025904",
        "3056 930902 5904",
        "6011111111111117",
        "3530111333300000",
        "6200000000000005",
        "4222222222222",
        "5019717010103742",
        "4988438843884305",
    ] {
        one(&format!("Card: {card}, thanks"), Kind::Card, card);
        one(card, Kind::Card, card);
    }
    for text in [
        "4111111111111112",
        "4111 1111 1111 1112",
        "1748503543012",
        "x4111111111111111",
        "41111111111111111",
        "0.4111111111111111",
        "0000000000000000",
    ] {
        none(text);
    }
}

#[test]
fn social_security_numbers_have_valid_parts() {
    one("SSN 123-45-6789.", Kind::Ssn, "123-45-6789");
    one("abc 078 05 1123 abc", Kind::Ssn, "078 05 1123");
    one("his ssn is 123456789", Kind::Ssn, "123456789");
    for text in [
        "000-45-6789",
        "666-45-6789",
        "900-45-6789",
        "123-00-6789",
        "123-45-0000",
        "123-45 6789",
        "123456789",
        "693-09.4444",
        "123-45-6789-1",
        "2020-123-45-6789",
    ] {
        none(text);
    }
}

#[test]
fn telephone_numbers_have_a_form() {
    for (text, value) in [
        ("call (415) 555-0132 now", "(415) 555-0132"),
        ("(415)555-0132", "(415)555-0132"),
        ("415-555-0132", "415-555-0132"),
        ("415.555.0132", "415.555.0132"),
        ("1-415-555-0132", "1-415-555-0132"),
        ("+1 (415) 555-0132", "+1 (415) 555-0132"),
        ("+49 30 1234567", "+49 30 1234567"),
        ("+4915123456789", "+4915123456789"),
        ("+55 11 98456 5666.", "+55 11 98456 5666"),
        ("number is 090-1234-5678", "090-1234-5678"),
        ("tel 020 7946 0958", "020 7946 0958"),
        ("phone: 4155550132", "4155550132"),
    ] {
        one(text, Kind::Phone, value);
    }
    for text in [
        "415 555 0132",
        "4155550132",
        "x415-555-0132",
        "115-555-0132",
        "2024-11-21",
        "01-02-2023",
        "192.168.100.200",
        "+1234567",
        "1,234,567,890",
        "10.0.0.1",
        "000-1234-5678",
    ] {
        none(text);
    }
}

#[test]
fn accounts_are_found_among_digits() {
    one(
        "to GB29 NWBK 6016 1331 9268 19, please",
        Kind::Iban,
        "GB29 NWBK 6016 1331 9268 19",
    );
}

#[test]
fn numbers_that_may_go_on_wait() {
    for (text, from) in [
        ("pay 4111", 4),
        ("pay 4111 ", 4),
        ("call +", 5),
        ("call +1", 5),
        ("call (41", 5),
        ("in 2024, ", 9),
        ("no", 2),
        ("a 1 2 3 - ", 10),
    ] {
        assert_eq!(open(text.as_bytes()), from, "{text}");
    }
    let long = "1 ".repeat(100);
    assert_eq!(open(long.as_bytes()), 200 - 2 * MOST);
}
