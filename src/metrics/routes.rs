//! Requests by route. The routes are the surfaces, `local` for what is answered inside the process, and
//! `other` for paths that are nobody's.

use super::{SECONDS, counters, histograms};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};
use std::sync::OnceLock;

/// Every route.
const ROUTES: [&str; 9] = [
    "chat",
    "completions",
    "responses",
    "messages",
    "count_tokens",
    "embeddings",
    "titan",
    "local",
    "other",
];

/// Statuses that are told apart; all others are counted by their class.
const STATUSES: [(u16, &str); 21] = [
    (200, "200"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (0, "none"),
    (2, "2xx"),
    (3, "3xx"),
    (4, "4xx"),
    (5, "5xx"),
    (1, "other"),
];

/// The families, and the series of each route.
pub(super) struct Routes {
    requests: IntCounterVec,
    duration: HistogramVec,
    series: [Series; ROUTES.len()],
}

/// The series of one route, once each was used.
#[derive(Default)]
struct Series {
    answered: [OnceLock<IntCounter>; STATUSES.len()],
    duration: OnceLock<Histogram>,
}

impl Routes {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: counters(
                registry,
                "weir_requests_total",
                "Requests answered, by route and status.",
                &["route", "status"],
            )?,
            duration: histograms(
                registry,
                "weir_request_duration_seconds",
                "From the request's header to the end of its answer, for proxied requests.",
                &["route"],
                SECONDS,
            )?,
            series: Default::default(),
        })
    }

    fn series(&self, route: &str) -> (&'static str, &Series) {
        let mut all = ROUTES.iter().zip(&self.series);
        let last = ROUTES.len() - 1;
        let found = all.find(|(name, _)| **name == route);
        found.map_or((ROUTES[last], &self.series[last]), |(name, series)| {
            (*name, series)
        })
    }

    pub(super) fn answered(&self, route: &'static str, status: u16) {
        let (route, series) = self.series(route);
        let at = place(status);
        let new = || self.requests.with_label_values(&[route, STATUSES[at].1]);
        series.answered[at].get_or_init(new).inc();
    }

    pub(super) fn took(&self, route: &'static str, time: std::time::Duration) {
        let (route, series) = self.series(route);
        let new = || self.duration.with_label_values(&[route]);
        series.duration.get_or_init(new).observe(time.as_secs_f64());
    }
}

/// The place of a status among [`STATUSES`].
fn place(status: u16) -> usize {
    let find = |wanted: u16| STATUSES.iter().position(|(known, _)| *known == wanted);
    let class = if (200..600).contains(&status) {
        status / 100
    } else {
        1
    };
    find(status)
        .filter(|_| status == 0 || status >= 100)
        .or_else(|| find(class))
        .unwrap_or(STATUSES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_label_of_a_closed_set() {
        for (status, label) in [
            (200, "200"),
            (204, "2xx"),
            (302, "3xx"),
            (418, "4xx"),
            (429, "429"),
            (529, "5xx"),
            (0, "none"),
            (2, "other"),
            (101, "other"),
            (600, "other"),
            (u16::MAX, "other"),
        ] {
            assert_eq!(STATUSES[place(status)].1, label, "{status}");
        }
    }

    #[test]
    fn every_surface_is_a_route() {
        use crate::surface::Surface;
        for path in [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/messages",
            "/v1/messages/count_tokens",
            "/v1/embeddings",
            "/proxy/m",
        ] {
            let (surface, _) = Surface::of(path).unwrap();
            assert!(ROUTES.contains(&surface.name()), "{path}");
        }
    }
}
