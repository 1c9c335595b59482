//! When spend starts over: half-open windows of local time.
//!
//! Decides in which window an instant falls, in a stated time zone. It does not decide what happens
//! at the turn of a window (that is [`crate::budget::account`]).
//!
//! Days, weeks (from Monday) and months follow the local calendar, so a day may have 23 or 25 hours.
//! An hour is an hour of the local clock and ends at a change of the zone's offset at the latest, so
//! the windows of one period always cover time without gap or overlap.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::fmt;
use std::str::FromStr;

/// How long a period is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PeriodKind {
    /// One window for all time.
    #[default]
    None,
    /// The local hour.
    Hourly,
    /// The local day.
    Daily,
    /// The local week, from Monday.
    Weekly,
    /// The local calendar month.
    Monthly,
}

impl PeriodKind {
    /// Every kind, shortest period last but `none` first.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
    ];

    /// The name in policy files and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

impl fmt::Display for PeriodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of none, hourly, daily, weekly, monthly")]
pub struct UnknownPeriod;

impl FromStr for PeriodKind {
    type Err = UnknownPeriod;

    fn from_str(text: &str) -> Result<Self, UnknownPeriod> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or(UnknownPeriod)
    }
}

/// A period in a time zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    /// How long it is.
    pub kind: PeriodKind,
    /// Whose clock decides when it begins.
    pub zone: TimeZone,
}

impl Default for Period {
    fn default() -> Self {
        Self::none()
    }
}

/// One window of a period, in Unix seconds, the end not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Its first second; 0 for [`PeriodKind::None`].
    pub start: i64,
    /// The first second of the next window; `None` for [`PeriodKind::None`].
    pub end: Option<i64>,
}

/// 9999-01-01: later instants count as this one, far within what the calendar can express.
const LATEST: i64 = 253_370_764_800;

impl Period {
    /// The period that never ends.
    pub fn none() -> Self {
        Self {
            kind: PeriodKind::None,
            zone: TimeZone::UTC,
        }
    }

    /// The window around an instant. Instants before 1970 or after 9998 count as the nearest one
    /// inside.
    pub fn window(&self, unix_seconds: i64) -> Window {
        self.find(unix_seconds.clamp(0, LATEST)).unwrap_or_default()
    }

    /// Text that is the same for equal periods, as records keep it: `monthly Europe/Berlin`.
    pub fn tag(&self) -> String {
        if self.kind == PeriodKind::None {
            return self.kind.name().into();
        }
        match self.zone.iana_name() {
            Some(zone) => format!("{} {zone}", self.kind),
            None => format!("{} {:?}", self.kind, self.zone),
        }
    }

    /// The period that a tag stands for, where its zone has a name.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let (kind, zone) = tag.split_once(' ').unwrap_or((tag, "UTC"));
        Some(Self {
            kind: kind.parse().ok()?,
            zone: TimeZone::get(zone).ok()?,
        })
    }

    fn find(&self, second: i64) -> Option<Window> {
        let local = || {
            Some(
                Timestamp::from_second(second)
                    .ok()?
                    .to_zoned(self.zone.clone()),
            )
        };
        let (first, next) = match self.kind {
            PeriodKind::None => return Some(Window::default()),
            PeriodKind::Hourly => return self.hour(second),
            PeriodKind::Daily => {
                let day = local()?.date();
                (day, day.tomorrow().ok()?)
            }
            PeriodKind::Weekly => {
                let day = local()?.date();
                let since = jiff::Span::new().days(day.weekday().to_monday_zero_offset());
                let monday = day.checked_sub(since).ok()?;
                let week = jiff::Span::new().days(7);
                (monday, monday.checked_add(week).ok()?)
            }
            PeriodKind::Monthly => {
                let day = local()?.date();
                (day.first_of_month(), day.last_of_month().tomorrow().ok()?)
            }
        };
        Some(Window {
            start: self.beginning(first)?,
            end: Some(self.beginning(next)?),
        })
    }

    /// The first second of a local day; the end of the gap when midnight is skipped.
    fn beginning(&self, day: Date) -> Option<i64> {
        let midnight = day.to_zoned(self.zone.clone()).ok()?;
        Some(midnight.timestamp().as_second())
    }

    fn hour(&self, second: i64) -> Option<Window> {
        let instant = Timestamp::from_second(second).ok()?;
        let offset = i64::from(self.zone.to_offset(instant).seconds());
        let start = second - (second + offset).rem_euclid(3600);
        let after = Timestamp::from_second(second + 1).ok()?;
        let before = self.zone.preceding(after).next();
        let next = self.zone.following(instant).next();
        Some(Window {
            start: before.map_or(start, |change| start.max(change.timestamp().as_second())),
            end: Some(next.map_or(start + 3600, |change| {
                change.timestamp().as_second().min(start + 3600)
            })),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ZONES: [&str; 7] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kathmandu",
        "Pacific/Apia",
    ];

    #[test]
    fn a_tag_stands_for_its_period() {
        for kind in PeriodKind::ALL {
            for zone in ZONES {
                let period = period(kind, zone);
                let found = Period::of_tag(&period.tag()).unwrap();
                assert_eq!(found.tag(), period.tag());
                assert_eq!(found.window(1_700_000_000), period.window(1_700_000_000));
            }
        }
        assert_eq!(
            Period::of_tag("daily"),
            Some(period(PeriodKind::Daily, "UTC"))
        );
        for none in ["", "yearly UTC", "daily Nowhere/Else"] {
            assert_eq!(Period::of_tag(none), None, "{none}");
        }
    }

    fn period(kind: PeriodKind, zone: &str) -> Period {
        Period {
            kind,
            zone: TimeZone::get(zone).unwrap(),
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn a_day_that_springs_forward_has_23_hours_and_one_that_falls_back_25() {
        for (zone, short, long) in [
            (
                "Europe/Berlin",
                "2025-03-30T12:00:00Z",
                "2025-10-26T12:00:00Z",
            ),
            (
                "America/New_York",
                "2025-03-09T12:00:00Z",
                "2025-11-02T12:00:00Z",
            ),
        ] {
            let daily = period(PeriodKind::Daily, zone);
            for (day, hours) in [(short, 23), (long, 25)] {
                let window = daily.window(at(day));
                assert_eq!(
                    window.end.unwrap() - window.start,
                    hours * 3600,
                    "{zone} {day}"
                );
            }
        }
    }

    #[test]
    fn months_begin_at_local_midnight() {
        let window =
            period(PeriodKind::Monthly, "Europe/Berlin").window(at("2024-02-29T22:59:59Z"));
        assert_eq!(window.start, at("2024-01-31T23:00:00Z"));
        assert_eq!(window.end, Some(at("2024-02-29T23:00:00Z")));
        let march = period(PeriodKind::Monthly, "Europe/Berlin").window(at("2024-02-29T23:00:00Z"));
        assert_eq!(
            march.end,
            Some(at("2024-03-31T22:00:00Z")),
            "summer time by then"
        );
    }

    #[test]
    fn weeks_begin_on_monday() {
        let window = period(PeriodKind::Weekly, "UTC").window(at("2025-01-01T12:00:00Z"));
        assert_eq!(window.start, at("2024-12-30T00:00:00Z"));
        assert_eq!(window.end, Some(at("2025-01-06T00:00:00Z")));
    }

    #[test]
    fn the_repeated_hour_of_autumn_is_two_windows() {
        let hourly = period(PeriodKind::Hourly, "Europe/Berlin");
        let first = hourly.window(at("2025-10-26T00:30:00Z"));
        let second = hourly.window(at("2025-10-26T01:30:00Z"));
        assert_eq!(first.end, Some(second.start));
        assert_eq!(second.start, at("2025-10-26T01:00:00Z"));
    }

    #[test]
    fn no_period_is_one_window() {
        assert_eq!(
            Period::none().window(at("2025-10-26T00:30:00Z")),
            Window {
                start: 0,
                end: None
            }
        );
        assert_eq!(Period::none().tag(), "none");
        assert_eq!(
            period(PeriodKind::Daily, "Europe/Berlin").tag(),
            "daily Europe/Berlin"
        );
        assert!("fortnightly".parse::<PeriodKind>().is_err());
        assert_eq!("weekly".parse(), Ok(PeriodKind::Weekly));
    }

    #[test]
    fn instants_outside_the_calendar_do_no_harm() {
        for kind in PeriodKind::ALL {
            for second in [i64::MIN, -1, i64::MAX] {
                let window = period(kind, "America/New_York").window(second);
                assert!(window.end.is_none_or(|end| end > window.start));
            }
        }
    }

    proptest! {
        #[test]
        fn windows_cover_time_without_gap_or_overlap(
            second in 86_400_i64..4_102_444_800,
            kind in proptest::sample::select(&PeriodKind::ALL[1..]),
            zone in proptest::sample::select(&ZONES[..]),
        ) {
            let period = period(kind, zone);
            let window = period.window(second);
            let end = window.end.unwrap();
            prop_assert!(window.start <= second && second < end);
            prop_assert_eq!(period.window(window.start), window);
            prop_assert_eq!(period.window(end - 1), window);
            prop_assert_eq!(period.window(end).start, end);
        }
    }
}
