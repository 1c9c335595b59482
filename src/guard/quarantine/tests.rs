use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const START: u64 = 1_800_000_000_000;

fn cells() -> Cells {
    Cells::new(QuarantineRules::default())
}

fn who() -> Who {
    Who::of_caller("somebody")
}

fn strike(cells: &Cells, at: u64) -> Struck {
    let id = fastrand::u64(..);
    cells.strike(&who(), Strike { at, id }).0
}

#[test]
fn the_third_strike_of_a_day_leads_to_an_hour_after_which_it_works_again() {
    let cells = cells();
    assert_eq!(strike(&cells, START), Struck::Counted(1));
    assert_eq!(strike(&cells, START + HOUR), Struck::Counted(2));
    assert_eq!(cells.check(&who(), START + HOUR), None);
    let third = START + 23 * HOUR;
    let whole = Quarantined::Temporary { remaining: HOUR };
    assert_eq!(strike(&cells, third), Struck::Quarantined(whole));
    let later = cells.check(&who(), third + 20 * MINUTE);
    assert_eq!(later.and_then(Quarantined::remaining), Some(40 * MINUTE));
    let last = cells.check(&who(), third + HOUR - 1);
    assert_eq!(last, Some(Quarantined::Temporary { remaining: 1 }));
    assert_eq!(cells.check(&who(), third + HOUR), None);
}

#[test]
fn a_strike_counts_for_a_day_and_no_longer() {
    let cells = cells();
    strike(&cells, START);
    strike(&cells, START + 12 * HOUR);
    assert_eq!(strike(&cells, START + 24 * HOUR), Struck::Counted(2));
    let fourth = strike(&cells, START + 25 * HOUR);
    assert!(matches!(fourth, Struck::Quarantined(_)));
}

#[test]
fn ten_strikes_of_a_day_are_for_good_until_somebody_lifts_it() {
    let cells = cells();
    for number in 0..9 {
        let struck = strike(&cells, START + number * 2 * HOUR);
        assert_ne!(struck, Struck::Quarantined(Quarantined::Permanent));
    }
    let tenth = strike(&cells, START + 19 * HOUR);
    assert_eq!(tenth, Struck::Quarantined(Quarantined::Permanent));
    let year = START + 365 * 24 * HOUR;
    cells.sweep(year);
    assert_eq!(cells.check(&who(), year), Some(Quarantined::Permanent));
    // The one for a while is another matter.
    cells.lift(&who(), Lift::Temporary, year);
    assert_eq!(cells.check(&who(), year), Some(Quarantined::Permanent));
    let (before, _) = cells.lift(&who(), Lift::Permanent, year);
    assert_eq!(before, Some(Quarantined::Permanent));
    assert_eq!(cells.check(&who(), year), None);
    assert_eq!(strike(&cells, year + 1), Struck::Counted(1));
}

#[test]
fn the_same_text_strikes_once_for_as_long_as_that_counts() {
    let cells = cells();
    let say = |id: u64, at: u64| cells.strike(&who(), Strike { at, id }).0;
    for minute in 0..50 {
        assert_eq!(say(7, START + minute * MINUTE), Struck::Counted(1));
    }
    assert!(cells.has_struck(&who(), 7, START + HOUR));
    assert!(!cells.has_struck(&who(), 8, START + HOUR));
    assert!(!cells.has_struck(&Who::of_caller("other"), 7, START + HOUR));
    assert_eq!(say(8, START + HOUR), Struck::Counted(2));
    // Lifting forgives the strike; the text is still the same one.
    cells.lift(&who(), Lift::Temporary, START + 2 * HOUR);
    assert_eq!(say(8, START + 3 * HOUR), Struck::Counted(0));
    // A day later it is as if it were new.
    let day = START + 24 * HOUR;
    assert!(!cells.has_struck(&who(), 7, day));
    assert_eq!(say(7, day), Struck::Counted(1));
    assert_eq!(say(9, day), Struck::Counted(2));
    let third = Struck::Quarantined(Quarantined::Temporary { remaining: HOUR });
    assert_eq!(say(10, day), third);
}

#[test]
fn one_text_that_two_gateways_saw_is_one_strike() {
    let rules = QuarantineRules::default();
    let saw = |at: u64| Record::new([Strike { at, id: 7 }], 0, 0, 0);
    let mut record = saw(START);
    record.merge(&saw(START + MINUTE));
    record.merge(&saw(START));
    assert_eq!(record.count(&rules, START + HOUR), 1);
    // The later one: a strike of the next day must not be hidden behind one of the day before.
    record.merge(&saw(START + 25 * HOUR));
    assert_eq!(record.count(&rules, START + 26 * HOUR), 1);
}

#[test]
fn lifting_a_quarantine_for_a_while_forgives_nothing_for_good() {
    let cells = cells();
    let mut at = START;
    for _ in 0..3 {
        for _ in 0..3 {
            at += MINUTE;
            strike(&cells, at);
        }
        at += SECOND;
        assert!(cells.check(&who(), at).is_some());
        cells.lift(&who(), Lift::Temporary, at);
        assert_eq!(cells.check(&who(), at), None);
    }
    let tenth = strike(&cells, at + MINUTE);
    assert_eq!(tenth, Struck::Quarantined(Quarantined::Permanent));
}

#[test]
fn keys_and_names_of_callers_never_meet_and_neither_is_kept() {
    let key = Who::of_key(&KeyId::new("sk-secret").unwrap());
    let caller = Who::of_caller("sk-secret");
    assert_ne!(key, caller);
    for who in [key, caller] {
        assert_eq!(Who::parse(&who.to_text()), Some(who));
        assert!(!who.to_text().contains("secret") && !format!("{who:?}").contains("secret"));
        assert!(who.to_text().starts_with(&who.masked()));
    }
    assert_eq!(Who::parse("key:12"), None);
    assert_eq!(Who::parse(&format!("user:{}", "0".repeat(64))), None);
    assert_eq!(Who::parse(&format!("key:{}", "é".repeat(32))), None);
}

#[test]
fn what_is_over_is_forgotten() {
    let cells = cells();
    strike(&cells, START);
    assert!(!cells.is_quiet());
    cells.sweep(START + 24 * HOUR);
    assert!(cells.record(&who()).is_some());
    cells.sweep(START + 25 * HOUR);
    assert!(cells.is_quiet() && cells.all(START + 25 * HOUR).is_empty());
}

#[test]
fn new_names_push_out_neither_keys_nor_those_in_quarantine() {
    let cells = Cells::new(QuarantineRules {
        identities: 64,
        ..QuarantineRules::default()
    });
    let key = Who::of_key(&KeyId::new("k").unwrap());
    let held = Who::of_caller("held");
    cells.strike(&key, Strike { at: START, id: 1 });
    for id in 0..3 {
        cells.strike(&held, Strike { at: START, id });
    }
    for number in 0..5_000 {
        let at = START + 1 + number;
        let who = Who::of_caller(&format!("caller {number}"));
        let (struck, _) = cells.strike(&who, Strike { at, id: number });
        assert_eq!(struck, Struck::Counted(1));
    }
    assert!(cells.all(START + 5_000).len() <= 64);
    assert!(cells.record(&key).is_some());
    assert!(cells.check(&held, START + 5_000).is_some());
}

#[test]
fn a_clock_that_is_set_back_makes_no_quarantine_longer() {
    let cells = cells();
    for _ in 0..3 {
        strike(&cells, START);
    }
    let before = cells.check(&who(), START - 48 * HOUR);
    assert_eq!(before.and_then(Quarantined::remaining), Some(HOUR));
}

fn record() -> impl Strategy<Value = Record> {
    let time = || prop_oneof![Just(0), START..START + 30 * HOUR];
    let strike = (START..START + 30 * HOUR, 0_u64..50).prop_map(|(at, id)| Strike { at, id });
    let strikes = prop::collection::vec(strike, 0..12);
    (strikes, time(), time(), time()).prop_map(|(s, l, p, q)| Record::new(s, l, p, q))
}

proptest! {
    #[test]
    fn records_are_put_together_in_any_order_with_the_same_result(
        a in record(), b in record(), c in record(),
    ) {
        let join = |records: [&Record; 4]| {
            let mut all = Record::default();
            for record in records {
                all.merge(record);
            }
            all
        };
        let one = join([&a, &b, &c, &a]);
        prop_assert_eq!(&one, &join([&c, &b, &a, &b]));
        let mut again = one.clone();
        prop_assert!(!again.merge(&a));
    }

    #[test]
    fn no_text_is_read_as_a_caller_that_would_be_written_differently(text in ".{0,80}") {
        if let Some(who) = Who::parse(&text) {
            prop_assert_eq!(who.to_text(), text.to_lowercase());
        }
    }
}
