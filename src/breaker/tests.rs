mod agents;
mod window;

use super::rules::{Models, Named};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
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

proptest! {
    #[test]
    fn no_text_makes_a_tracker_panic(text in "\\PC{0,40}|[{}\\[\\]\",:0-9a-z]{0,60}") {
        let _ = serde_json::from_str::<Tracker>(&text);
    }
}
