//! The section `limits` of agents, keys and models.

use crate::limit::Limits;
use crate::settings::problem::Complaint;
use crate::settings::reader::Section;
use crate::settings::units;

/// The largest number that a limit may have; more is no limit.
const MOST: u64 = 1_000_000_000_000;

/// The sizes of a request that a limit may name, in bytes.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 30;

/// Reads the section `limits` of `outer`; none when it is absent.
pub(super) fn read(outer: &Section<'_>) -> Limits {
    let Some(value) = outer.get("limits") else {
        return Limits::default();
    };
    let section = value.section();
    let number = |key| section.optional(key, number, ToString::to_string);
    Limits {
        requests_per_minute: number("requests_per_minute"),
        tokens_per_minute: number("tokens_per_minute"),
        concurrent_requests: number("concurrent_requests"),
        request_bytes: section.optional("request_bytes", size, |size| {
            units::show_size(u64::try_from(*size).unwrap_or(u64::MAX))
        }),
    }
}

fn number(text: &str) -> Result<u64, Complaint> {
    match units::count(text)? {
        0 => Err(
            Complaint::new("must be at least 1: nothing would be served")
                .suggesting("leave it out for no limit"),
        ),
        number if number > MOST => {
            Err(Complaint::new("is too large").suggesting("leave it out for no limit"))
        }
        number => Ok(number),
    }
}

fn size(text: &str) -> Result<usize, Complaint> {
    let size = units::size(text)?;
    usize::try_from(size)
        .ok()
        .filter(|_| SIZES.contains(&size))
        .ok_or_else(|| {
            Complaint::new(format!(
                "must be between {} and {}",
                units::show_size(*SIZES.start()),
                units::show_size(*SIZES.end())
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::environment::Environment;
    use crate::settings::reader::Reader;

    fn of(text: &str) -> Result<Limits, String> {
        let environment = Environment::default();
        let reader = Reader::new("x.yaml", &environment);
        let node = reader.parse(text).unwrap();
        let limits = read(&reader.root(&node));
        reader
            .finish()
            .map(|_| limits)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_limit_that_is_left_out_is_none() {
        assert!(of("{}").unwrap().is_none());
        assert!(of("limits: {}").unwrap().is_none());
        let all = "limits: {requests_per_minute: 60, tokens_per_minute: 100_000, concurrent_requests: 4, request_bytes: 1MiB}";
        assert_eq!(
            of(all),
            Ok(Limits {
                requests_per_minute: Some(60),
                tokens_per_minute: Some(100_000),
                concurrent_requests: Some(4),
                request_bytes: Some(1 << 20),
            })
        );
    }

    #[test]
    fn a_limit_of_nothing_or_of_no_number_is_refused() {
        for (text, part) in [
            ("limits: {requests_per_minute: 0}", "at least 1"),
            ("limits: {tokens_per_minute: -5}", "whole number"),
            ("limits: {concurrent_requests: 1e3}", "whole number"),
            (
                "limits: {tokens_per_minute: 9_000_000_000_000}",
                "too large",
            ),
            ("limits: {request_bytes: 10}", "between 1KiB and 1GiB"),
            (
                "limits: {request_per_minute: 5}",
                "did you mean `requests_per_minute`?",
            ),
            ("limits: 5", "must be a mapping"),
        ] {
            let problems = of(text).unwrap_err();
            assert!(problems.contains(part), "{text}: {problems}");
        }
    }
}
