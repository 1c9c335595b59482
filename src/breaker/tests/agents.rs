//! Agents that spend far more than they did, and agents that ask the same again and again.

use super::super::repeat::{self, Calls, Heard, Seed};
use super::super::spike::What;
use super::*;

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
