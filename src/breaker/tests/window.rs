//! What a window counts, and when it forgets.

use super::super::window::{By, NAMES, OTHER, SLOTS, Window};
use super::*;
use crate::budget::period::{Period, PeriodKind};
use jiff::tz::TimeZone;
use std::sync::Arc;

fn calendar(kind: PeriodKind, zone: &str) -> Span {
    let zone = TimeZone::get(zone).unwrap();
    Span::Calendar(Period { kind, zone })
}

#[test]
fn what_was_spent_leaves_a_sliding_window_while_more_is_spent() {
    // A service that is never idle for a day.
    let (span, mut window) = (day(), Window::default());
    for hour in 0..72 {
        let now = NOON + hour * HOUR;
        assert!(window.add(&span, &spent(now, 10), now));
        let hours = (hour + 1).min(25);
        assert!(window.total().0 <= hours * 10, "{hour}: {}", window.total());
        assert!(window.total().0 >= (hour + 1).min(24) * 10, "{hour}");
    }
    let slot = DAY / i64::from(SLOTS);
    window.advance(&span, NOON + 71 * HOUR + DAY + slot);
    assert_eq!(window.total(), Nanos::ZERO);
    assert!(window.by(By::Model).is_empty());
}

#[test]
fn a_calendar_window_begins_with_its_period_in_its_zone() {
    let (span, mut window) = (
        calendar(PeriodKind::Daily, "America/New_York"),
        Window::default(),
    );
    // 2023-11-15 04:59:59 UTC is the last second of the day before, there.
    let midnight = 1_700_024_400_000;
    window.add(&span, &spent(midnight - 1000, 5), midnight - 1000);
    window.advance(&span, midnight - 1);
    assert_eq!(window.total(), Nanos(5));
    window.advance(&span, midnight);
    assert_eq!(window.total(), Nanos::ZERO);
    assert!(
        !window.add(&span, &spent(midnight - 1, 7), midnight + 5),
        "it came late and belongs to the day before"
    );
}

#[test]
fn a_window_that_begins_anew_counts_what_is_spent_later_only() {
    let (span, mut window) = (day(), Window::default());
    window.add(&span, &spent(NOON, 5), NOON);
    window.hear(span.slot(NOON), "other", Nanos(3));
    assert_eq!(window.total(), Nanos(8));
    window.reset(NOON);
    assert_eq!((window.total(), window.after()), (Nanos::ZERO, NOON));
    assert!(!window.add(&span, &spent(NOON, 5), NOON + 1));
    assert!(window.add(&span, &spent(NOON + 1, 4), NOON + 1));
    window.reset(NOON - 5);
    assert_eq!(
        window.after(),
        NOON,
        "an older reset changes nothing of that"
    );
}

#[test]
fn what_others_say_counts_once_and_never_becomes_less() {
    let (span, mut window) = (day(), Window::default());
    let slot = span.slot(NOON);
    window.hear(slot, "a", Nanos(5));
    window.hear(slot, "b", Nanos(2));
    window.hear(slot, "a", Nanos(4));
    window.hear(slot, "a", Nanos(6));
    assert_eq!(window.total(), Nanos(8));
    assert_eq!(window.own().cost, 0);
    window.advance(&span, NOON + 2 * DAY);
    assert_eq!(window.total(), Nanos::ZERO);
}

#[test]
fn a_clock_that_is_ahead_keeps_nothing_for_longer() {
    let (span, mut window) = (day(), Window::default());
    window.add(&span, &spent(NOON + 10 * DAY, 5), NOON);
    window.advance(&span, NOON + DAY + HOUR);
    assert_eq!(window.total(), Nanos::ZERO);
}

#[test]
fn invented_names_are_not_told_apart_without_end_and_the_sum_stays_exact() {
    let (span, mut window) = (day(), Window::default());
    for number in 0..2 * NAMES {
        let one = Spent {
            model: format!("m{number}").into(),
            ..spent(NOON, 1)
        };
        window.add(&span, &one, NOON);
    }
    let models = window.by(By::Model);
    assert_eq!(models.len(), NAMES + 1);
    assert_eq!(&*models[0].0, OTHER);
    let sum: Nanos = models.iter().map(|(_, cost)| *cost).sum();
    assert_eq!((sum, window.total()), (Nanos(512), Nanos(512)));
    assert_eq!(window.tokens(), (5120, 512));
    window.advance(&span, NOON + 2 * DAY);
    assert!(By::ALL.iter().all(|by| window.by(*by).is_empty()));
}

/// What is in the window by simply adding up.
fn naive(span: &Span, all: &[(i64, i64)], now: i64) -> i64 {
    let first = span.first(now);
    let slot = |at: i64, counted: i64| span.slot(at.min(counted));
    all.iter()
        .filter(|(at, _)| slot(*at, now) >= first)
        .map(|(_, cost)| *cost)
        .sum()
}

proptest! {
    #[test]
    fn a_window_is_what_adding_up_says_and_never_below_zero(
        steps in proptest::collection::vec((0..DAY / 3, 0_i64..1_000_000_000, 0..5_i64), 1..80),
        seconds in 10_u64..200_000,
        daily in any::<bool>(),
    ) {
        let span = if daily {
            calendar(PeriodKind::Daily, "Europe/Berlin")
        } else {
            Span::Sliding(Duration::from_secs(seconds))
        };
        let (mut window, mut now, mut all) = (Window::default(), NOON, Vec::new());
        for (step, cost, late) in steps {
            now += step;
            let at = now - late * 1000;
            if window.add(&span, &spent(at, cost), now) {
                all.push((at, cost));
            }
            prop_assert_eq!(window.total().0, naive(&span, &all, now));
            prop_assert!(window.total().0 >= 0);
            let by: i64 = window.by(By::User).iter().map(|(_, cost)| cost.0).sum();
            prop_assert_eq!(by, window.total().0);
        }
    }

    #[test]
    fn slots_cover_the_window_without_gap(now in 0..4 * NOON, seconds in 1_u64..2_678_400) {
        let span = Span::Sliding(Duration::from_secs(seconds));
        let first = span.first(now);
        let slots = span.slots(first, now);
        prop_assert_eq!(slots.first(), Some(&span.slot(now)));
        prop_assert_eq!(slots.last(), Some(&first));
        prop_assert!(slots.len() <= usize::try_from(SLOTS).unwrap() + 2);
        for pair in slots.windows(2) {
            prop_assert_eq!(span.slot(pair[0] - 1), pair[1]);
        }
    }
}

#[test]
fn names_in_a_window_are_shared_not_copied() {
    let (span, mut window) = (day(), Window::default());
    let model: Arc<str> = "m".into();
    for at in 0..3 {
        let one = Spent {
            model: Arc::clone(&model),
            ..spent(NOON + at * HOUR, 1)
        };
        window.add(&span, &one, NOON + at * HOUR);
    }
    assert_eq!(Arc::strong_count(&model), 1 + 1 + 3);
}
