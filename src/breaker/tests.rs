use super::repeat::{Calls, Heard, Seed};
use super::rules::{Models, Named};
use super::spike::What;
use super::window::{By, NAMES, OTHER, SLOTS, Window};
use super::*;
use crate::budget::period::{Period, PeriodKind};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const NOON: i64 = 1_700_000_000_000;

fn spent(at: i64, cost: i64) -> Spent {
    Spent {
        at,
        model: "m".into(),
        user: "u".into(),
        key: "k".into(),
        agent: Some("a".into()),
        input: 10,
        output: 1,
        cost: Nanos(cost),
    }
}

fn day() -> Span {
    Span::Sliding(Duration::from_secs(86_400))
}

fn calendar(kind: PeriodKind, zone: &str) -> Span {
    let zone = TimeZone::get(zone).unwrap();
    Span::Calendar(Period { kind, zone })
}

#[test]
fn a_threshold_belongs_to_its_level() {
    let thresholds = Thresholds::default();
    for (nanos, level) in [
        (Nanos(99_999_999_999), Level::Ok),
        (Nanos::usd(100), Level::Warning),
        (Nanos::usd(250) - Nanos(1), Level::Warning),
        (Nanos::usd(250), Level::Soft),
        (Nanos::usd(500), Level::Hard),
        (Nanos::usd(1000) - Nanos(1), Level::Hard),
        (Nanos::usd(1000), Level::Emergency),
        (Nanos::usd(1_000_000), Level::Emergency),
    ] {
        assert_eq!(thresholds.level(nanos), level, "{nanos}");
    }
    for level in Level::ALL {
        assert_eq!(Level::numbered(level.number()), level);
        assert_eq!(Level::named(level.name()), Some(level));
        let text = serde_json::to_string(&level).unwrap();
        assert_eq!(text, format!("\"{}\"", level.name()));
    }
}

#[test]
fn thresholds_that_are_not_in_order_are_refused_with_both_amounts() {
    let wrong = Thresholds::new([100, 90, 500, 1000].map(Nanos::usd)).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "SOFT ($90.0) must be more than WARNING ($100.0)"
    );
    assert!(Thresholds::new([0, 1, 2, 3].map(Nanos::usd)).is_err());
    assert!(Thresholds::new([1, 1, 2, 3].map(Nanos::usd)).is_err());
}

#[test]
fn at_ok_the_threshold_is_that_of_the_first_level() {
    let standing = Standing::default();
    assert_eq!(standing.threshold(), Nanos::usd(100));
    let hard = Standing {
        level: Level::Hard,
        ..standing
    };
    assert_eq!(hard.threshold(), Nanos::usd(500));
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

#[test]
fn what_is_known_survives_as_text() {
    let (rules, mut tracker) = (Rules::default(), Tracker::default());
    for minute in 0..30 {
        let at = NOON + minute * 60_000;
        tracker.spent(&rules, &spent(at, 1_000_000_007), at);
    }
    tracker
        .window_mut()
        .hear(day().slot(NOON), "other", Nanos(3));
    let change = BTreeMap::from([(Level::Soft, Nanos::usd(300))]);
    tracker.limit(tracker.limited(&rules, &change).unwrap());
    let text = serde_json::to_string(&tracker).unwrap();
    let mut again: Tracker = serde_json::from_str(&text).unwrap();
    let now = NOON + HOUR;
    assert_eq!(again.standing(&rules, now), tracker.standing(&rules, now));
    assert_eq!(again.recent().count(), super::tracker::RECENT);
    assert_eq!(
        again.standing(&rules, now).thresholds.of(Level::Soft),
        Some(Nanos::usd(300))
    );
}

#[test]
fn a_limit_set_by_hand_holds_until_the_policy_says_another_number() {
    let (rules, mut tracker) = (Rules::default(), Tracker::default());
    let change = BTreeMap::from([(Level::Soft, Nanos::usd(300))]);
    tracker.limit(tracker.limited(&rules, &change).unwrap());
    assert_eq!(
        tracker.thresholds(&rules).of(Level::Soft),
        Some(Nanos::usd(300))
    );
    let wrong = BTreeMap::from([(Level::Soft, Nanos::usd(500))]);
    assert!(tracker.limited(&rules, &wrong).is_err());
    // Both at once are in order again.
    let both = BTreeMap::from([
        (Level::Soft, Nanos::usd(600)),
        (Level::Hard, Nanos::usd(700)),
    ]);
    assert!(tracker.limited(&rules, &both).is_ok());
    let other = Rules {
        thresholds: Thresholds::new([100, 260, 500, 1000].map(Nanos::usd)).unwrap(),
        ..Rules::default()
    };
    assert_eq!(
        tracker.thresholds(&other).of(Level::Soft),
        Some(Nanos::usd(260))
    );
    // What was set would be above the policy's next level: then none of it holds.
    let lower = Rules {
        thresholds: Thresholds::new([100, 250, 280, 1000].map(Nanos::usd)).unwrap(),
        ..Rules::default()
    };
    assert_eq!(
        tracker.thresholds(&lower).of(Level::Soft),
        Some(Nanos::usd(250))
    );
}

fn place(rules: &Rules, level: Level, name: &str, engine: &str, trusted: bool) -> String {
    let named = Named {
        name,
        engine,
        trusted,
    };
    match rules.place(level, named) {
        Place::Stays => "stays".into(),
        Place::Taken(to) => to.into(),
        Place::Gone => "gone".into(),
    }
}

#[test]
fn levels_replace_dear_models_then_all_but_the_economy_model_then_everything() {
    let rules = Rules::default();
    let with_economy = Rules {
        economy: Models {
            to: Some("anthropic/claude-haiku-4-5".into()),
            ..Rules::default().economy
        },
        ..Rules::default()
    };
    let sonnet = "anthropic/claude-sonnet-4-5";
    for (level, model, expected, economical) in [
        (Level::Warning, "anthropic/claude-opus-4", "stays", "stays"),
        (Level::Soft, "anthropic/Claude-OPUS-4", sonnet, sonnet),
        (Level::Soft, "openai/gpt-4o", "stays", "stays"),
        (Level::Hard, "anthropic/claude-haiku-4-5", "stays", "stays"),
        (
            Level::Hard,
            "openai/gpt-4o",
            "gone",
            "anthropic/claude-haiku-4-5",
        ),
        (
            Level::Emergency,
            "anthropic/claude-haiku-4-5",
            "gone",
            "gone",
        ),
    ] {
        assert_eq!(
            place(&rules, level, model, model, false),
            expected,
            "{model}"
        );
        let got = place(&with_economy, level, model, model, false);
        assert_eq!(got, economical, "{model}");
    }
    // Whoever names a model cannot make it cheap by that; whoever describes one can.
    assert_eq!(
        place(
            &rules,
            Level::Hard,
            "haiku/claude-opus",
            "claude-opus",
            false
        ),
        "gone"
    );
    assert_eq!(
        place(&rules, Level::Hard, "our-haiku", "deployment-7", true),
        "stays"
    );
    assert_eq!(
        place(&rules, Level::Soft, "best", "claude-opus-4", true),
        sonnet
    );
}

/// A minute of an agent's past every other minute, and the time after it.
fn busy(tracker: &mut Tracker, rules: &Rules, minutes: i64, cost: i64) -> i64 {
    for minute in 0..minutes {
        let at = NOON + minute * 120_000;
        assert_eq!(tracker.spent(rules, &spent(at, cost), at), None);
    }
    NOON + minutes * 120_000
}

#[test]
fn an_agent_that_spends_far_more_than_it_did_is_told_once_in_a_while() {
    let (rules, mut tracker) = (Rules::default(), Tracker::default());
    let now = busy(&mut tracker, &rules, 20, 500_000_000);
    assert_eq!(tracker.spent(&rules, &spent(now, 2_500_000_000), now), None);
    let spike = tracker.spent(&rules, &spent(now + 1, 1), now + 1).unwrap();
    assert_eq!((spike.what, &*spike.agent), (What::Dollars, "a"));
    assert_eq!((spike.rate, spike.limit), (2_500_000_001, 2_500_000_000));
    let more = spent(now + 2, 9_000_000_000);
    assert_eq!(tracker.spent(&rules, &more, now + 2), None, "it was told");
    let later = now + 301_000;
    let again = tracker.spent(&rules, &spent(later, 9_000_000_000), later);
    assert!(again.is_some());
}

#[test]
fn the_first_requests_of_an_agent_are_no_spike_and_neither_is_little_money() {
    let (rules, mut tracker) = (Rules::default(), Tracker::default());
    let now = busy(&mut tracker, &rules, 9, 1);
    assert_eq!(
        tracker.spent(&rules, &spent(now, 900_000_000_000), now),
        None,
        "nobody knows what is usual"
    );
    let mut tracker = Tracker::default();
    let now = busy(&mut tracker, &rules, 30, 1);
    assert_eq!(
        tracker.spent(&rules, &spent(now, 999_999_999), now),
        None,
        "below the floor"
    );
    assert!(tracker.spent(&rules, &spent(now, 2), now).is_some());
}

#[test]
fn an_agent_whose_minutes_always_differ_is_judged_by_how_much_they_do() {
    let (rules, mut tracker) = (Rules::default(), Tracker::default());
    for minute in 0..40 {
        let at = NOON + minute * 120_000;
        let dollars = 1 + minute % 7;
        let found = tracker.spent(&rules, &spent(at, dollars * 1_000_000_000), at);
        assert_eq!(found, None, "{minute}");
    }
    let now = NOON + 40 * 120_000;
    assert_eq!(
        tracker.spent(&rules, &spent(now, 20_000_000_000), now),
        None,
        "median 4, distance 2: usual is up to 10, five times that is a spike"
    );
    assert!(
        tracker
            .spent(&rules, &spent(now, 31_000_000_000), now)
            .is_some()
    );
}

#[test]
fn tokens_make_a_spike_too_and_an_agent_that_is_not_watched_none() {
    let (mut rules, mut tracker) = (Rules::default(), Tracker::default());
    let now = busy(&mut tracker, &rules, 20, 1);
    let many = Spent {
        input: 600_000,
        ..spent(now, 0)
    };
    let spike = tracker.clone().spent(&rules, &many, now).unwrap();
    assert_eq!(spike.what, What::Tokens);
    rules.spikes.action = Action::Off;
    assert_eq!(tracker.spent(&rules, &many, now), None);
}

#[test]
fn the_same_call_is_refused_for_a_while_once_it_came_too_often() {
    let rules = repeat::Rules {
        action: Action::Refuse,
        times: 3,
        within: Duration::from_secs(60),
        cool_down: Duration::from_secs(10),
    };
    let mut calls = Calls::default();
    let heard = [0, 1000, 2000, 3000, 13_000, 14_000].map(|now| calls.hear(&rules, 7, now));
    assert_eq!(
        heard,
        [
            Heard::New,
            Heard::New,
            Heard::Again { times: 3 },
            Heard::Refused(9000),
            Heard::New,
            Heard::New,
        ]
    );
    assert_eq!(calls.hear(&rules, 8, 3000), Heard::New, "another call");
    // Spread over more than the time, it is none.
    let mut calls = Calls::default();
    for minute in 0..20 {
        assert_eq!(calls.hear(&rules, 7, minute * 31_000), Heard::New);
    }
}

#[test]
fn what_is_only_observed_is_told_once_in_a_while() {
    let rules = repeat::Rules {
        times: 2,
        ..repeat::Rules::default()
    };
    let mut calls = Calls::default();
    let told = (0..120_u64).filter(|second| {
        let heard = calls.hear(&rules, 1, second * 1000);
        matches!(heard, Heard::Again { .. })
    });
    assert_eq!(told.count(), 2);
}

#[test]
fn very_many_different_calls_do_not_take_more_memory() {
    let (rules, mut calls) = (repeat::Rules::default(), Calls::default());
    for call in 0..100_000 {
        assert_eq!(calls.hear(&rules, call, 1), Heard::New);
        assert!(calls.len() <= 2 * 1024 + 1);
    }
    assert!(!calls.is_empty());
}

#[test]
fn digests_differ_with_every_byte_the_agent_and_the_process() {
    let seed = Seed::new([1, 2]);
    let body: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let mut all = vec![
        seed.digest("a", &body),
        seed.digest("b", &body),
        seed.digest("a", &body[..999]),
        seed.digest("", &body),
        Seed::new([3, 2]).digest("a", &body),
        seed.digest("ab", b"c"),
        seed.digest("a", b"bc"),
        seed.digest("a", b"bc\0"),
        seed.digest("a", b""),
    ];
    for at in 0..body.len() {
        let mut other = body.clone();
        other[at] ^= 1;
        all.push(seed.digest("a", &other));
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
    assert_eq!(
        seed.digest("a", &body),
        Seed::new([1, 2]).digest("a", &body)
    );
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

    #[test]
    fn no_text_makes_a_tracker_panic(text in "\\PC{0,40}|[{}\\[\\]\",:0-9a-z]{0,60}") {
        let _ = serde_json::from_str::<Tracker>(&text);
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
