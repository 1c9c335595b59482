//! The sections `metrics` and `otel`: what is measured, and where traces and metrics are sent.
//!
//! Decides which of OpenTelemetry's own variables count: those that most of its users set. Each wins
//! over the key of the file that says the same. Nothing is sent until there is an endpoint.

use super::origin::{Origin, masked};
use super::problem::{Complaint, did_you_mean};
use super::reader::Section;
use super::sections::read::{choice, number};
use super::units;
use crate::secret::Secret;
use crate::trace::{Sampler, WHOLE};
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether the Model Gateway's four families are exposed as well.
    pub titan: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { titan: true }
    }
}

/// Which providers learn of the trace that a request belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagate {
    /// Those in a network of one's own.
    #[default]
    Own,
    /// All.
    All,
    /// None.
    None,
}

/// Where traces and metrics are sent.
#[derive(Clone)]
pub struct Otel {
    /// The collector; without one nothing is sent.
    pub endpoint: Option<String>,
    /// Headers of every request to it, as `name=value,name=value`.
    pub headers: Option<Secret>,
    /// Under which name this process appears.
    pub service_name: String,
    /// What else is said about this process, as `name=value,name=value`.
    pub resource: String,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Whether traces are sent.
    pub traces: bool,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Which providers learn of a trace.
    pub propagate: Propagate,
    /// How long the collector may take.
    pub timeout: Duration,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
    /// Requests that wait to be sent at most.
    pub queue: usize,
}

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn metrics(section: &Section<'_>) -> Metrics {
    Metrics {
        titan: section.or("titan", true, units::flag, ToString::to_string),
    }
}

pub(super) fn otel(section: &Section<'_>) -> Otel {
    let environment = section.reader().environment;
    let endpoint = stated(
        section,
        "endpoint",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        url,
        Clone::clone,
    );
    let on = |key, variable, word| {
        // `none` is how the variable says it; its other words name exporters.
        let said = |text: &str| Ok(!text.trim().eq_ignore_ascii_case(word));
        let named = environment.filled(variable).map(said);
        match named {
            Some(Ok::<_, Complaint>(on)) => {
                let path = section.path_of(key);
                // The key of the file is known, though it does not count.
                let _ = section.get(key);
                section
                    .reader()
                    .fact(path, on.to_string(), Origin::Variable(variable));
                on
            }
            _ => section.or(key, true, units::flag, ToString::to_string),
        }
    };
    let off = environment
        .filled("OTEL_SDK_DISABLED")
        .is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
    let endpoint = endpoint.filter(|_| !off);
    if endpoint.is_some() {
        protocol(section);
    }
    let choices = [
        ("own", Propagate::Own),
        ("all", Propagate::All),
        ("none", Propagate::None),
    ];
    let queue = |text: &str| number(text, 1, 1 << 20);
    Otel {
        endpoint,
        headers: headers(section),
        service_name: stated(
            section,
            "service_name",
            "OTEL_SERVICE_NAME",
            word,
            Clone::clone,
        )
        .unwrap_or_else(|| default(section, "service_name", "weir".to_owned())),
        resource: stated(
            section,
            "resource",
            "OTEL_RESOURCE_ATTRIBUTES",
            pairs,
            Clone::clone,
        )
        .unwrap_or_default(),
        sampler: sampler(section),
        traces: on("traces", "OTEL_TRACES_EXPORTER", "none"),
        metrics: on("metrics", "OTEL_METRICS_EXPORTER", "none"),
        propagate: choice(section, "propagate", &choices, Propagate::default()),
        timeout: time(section, "timeout", "OTEL_EXPORTER_OTLP_TIMEOUT", 10),
        metrics_interval: time(
            section,
            "metrics_interval",
            "OTEL_METRIC_EXPORT_INTERVAL",
            60,
        ),
        queue: stated(
            section,
            "queue",
            "OTEL_BSP_MAX_QUEUE_SIZE",
            queue,
            ToString::to_string,
        )
        .unwrap_or_else(|| default(section, "queue", 2048)),
    }
}

/// What the variable says, else what the file says; recorded as in force.
fn stated<T>(
    section: &Section<'_>,
    key: &'static str,
    variable: &'static str,
    read: impl Fn(&str) -> Result<T, Complaint>,
    show: impl Fn(&T) -> String,
) -> Option<T> {
    let reader = section.reader();
    let Some(text) = reader.environment.filled(variable) else {
        return section.optional(key, read, show);
    };
    // A key that does not count is no unknown key.
    let _ = section.get(key);
    match read(text) {
        Ok(value) => {
            reader.fact(
                section.path_of(key),
                show(&value),
                Origin::Variable(variable),
            );
            Some(value)
        }
        Err(complaint) => {
            reader.report_variable(variable, complaint);
            None
        }
    }
}

fn default<T: ToString>(section: &Section<'_>, key: &'static str, value: T) -> T {
    let path = section.path_of(key);
    section
        .reader()
        .fact(path, value.to_string(), Origin::Default);
    value
}

/// A time, in milliseconds where the variable has it.
fn time(
    section: &Section<'_>,
    key: &'static str,
    variable: &'static str,
    seconds: u64,
) -> Duration {
    let bounded = |time: Duration| {
        let most = Duration::from_secs(3600);
        let fits = (10 * MILLISECOND..=most).contains(&time);
        fits.then_some(time)
            .ok_or_else(|| Complaint::new("must be between 10ms and 1h"))
    };
    let environment = section.reader().environment;
    let read = |text: &str| match environment.filled(variable) {
        Some(_) => bounded(Duration::from_millis(units::count(text)?)),
        None => bounded(units::duration(text)?),
    };
    let show = |time: &Duration| units::show_duration(*time);
    stated(section, key, variable, read, show).unwrap_or_else(|| {
        let time = Duration::from_secs(seconds);
        let path = section.path_of(key);
        section.reader().fact(path, show(&time), Origin::Default);
        time
    })
}

fn headers(section: &Section<'_>) -> Option<Secret> {
    const VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let reader = section.reader();
    let wrong = |complaint: &Complaint| {
        Complaint::new(complaint.message.clone()).suggesting("name=value,name=value")
    };
    let Some(text) = reader.environment.filled(VARIABLE) else {
        let value = section.get("headers");
        let secret = section.secret("headers")?;
        if let (Err(complaint), Some(value)) = (pairs(secret.expose()), value) {
            value.error(wrong(&complaint));
        }
        return Some(secret);
    };
    let _ = section.get("headers");
    if let Err(complaint) = pairs(text) {
        reader.report_variable(VARIABLE, wrong(&complaint));
    }
    let path = section.path_of("headers");
    reader.fact(path, masked(text), Origin::Variable(VARIABLE));
    Some(Secret::new(text.trim().to_owned()))
}

fn sampler(section: &Section<'_>) -> Sampler {
    const KINDS: [(&str, bool, Option<u32>); 6] = [
        ("parentbased_always_on", true, Some(WHOLE)),
        ("parentbased_always_off", true, Some(0)),
        ("parentbased_traceidratio", true, None),
        ("always_on", false, Some(WHOLE)),
        ("always_off", false, Some(0)),
        ("traceidratio", false, None),
    ];
    let kind = |text: &str| {
        let word = text.trim();
        let found = KINDS.iter().find(|(name, ..)| *name == word);
        found.copied().ok_or_else(|| {
            let names = KINDS.map(|(name, ..)| name);
            Complaint {
                message: format!("must be one of {}", names.join(", ")),
                suggestion: did_you_mean(word, &names),
            }
        })
    };
    let show = |kind: &(&str, bool, Option<u32>)| kind.0.to_owned();
    let kind = stated(section, "sampler", "OTEL_TRACES_SAMPLER", kind, show);
    let (_, parent, share) = kind.unwrap_or_else(|| {
        default(section, "sampler", KINDS[0].0.to_owned());
        KINDS[0]
    });
    let ratio = stated(
        section,
        "ratio",
        "OTEL_TRACES_SAMPLER_ARG",
        units::share,
        |share| units::show_share(*share),
    );
    Sampler {
        parent,
        billionths: share.unwrap_or_else(|| ratio.map_or(WHOLE, |ratio| ratio.0)),
    }
}

/// Whether the collector is to be spoken to in a way that there is.
fn protocol(section: &Section<'_>) {
    const VARIABLE: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
    let reader = section.reader();
    let said = reader.environment.filled(VARIABLE).map(str::trim);
    if said.is_some_and(|text| text != "http/protobuf") {
        let complaint = Complaint::new("must be http/protobuf: there is no other");
        let hint = "the collector's port for it is 4318 by default";
        reader.report_variable(VARIABLE, complaint.suggesting(hint));
    }
}

/// The base address of the collector, without a `/` at its end.
fn url(text: &str) -> Result<String, Complaint> {
    let wrong = |message: &str| Complaint::new(message).suggesting("such as http://localhost:4318");
    let text = text.trim().trim_end_matches('/');
    let uri: http::Uri = text.parse().map_err(|_| wrong("must be a URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("must begin with http:// or https://"));
    }
    let authority = uri.authority().map(http::uri::Authority::as_str);
    if authority.is_none_or(|authority| authority.contains('@')) || uri.query().is_some() {
        return Err(wrong(
            "must be an address without a user or a query; `headers` take a key",
        ));
    }
    Ok(text.to_owned())
}

fn word(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(Complaint::new("must be a name"));
    }
    Ok(text.to_owned())
}

/// A list of `name=value`.
fn pairs(text: &str) -> Result<String, Complaint> {
    let text = text.trim();
    let mut all = text.split(',').filter(|pair| !pair.trim().is_empty());
    let named = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(name, _)| !name.trim().is_empty())
    };
    if !all.all(named) || text.chars().any(char::is_control) {
        return Err(Complaint::new(
            "must be a list such as name=value,name=value",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::environment::Environment;
    use crate::settings::{Settings, parse};

    fn of(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = Environment::of(variables.iter().copied());
        parse("weir.yaml", text, &environment).map_err(|problems| problems.to_string())
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        let settings = of("", &[]).unwrap();
        assert!(settings.otel.endpoint.is_none() && settings.metrics.titan);
        assert_eq!(settings.otel.propagate, Propagate::Own);
        assert_eq!(settings.otel.sampler, Sampler::ALL);
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let settings = of("", &[endpoint]).unwrap();
        assert_eq!(settings.otel.endpoint.as_deref(), Some("http://c:4318"));
        let off = of("", &[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap();
        assert!(off.otel.endpoint.is_none());
    }

    #[test]
    fn the_variables_win_over_the_file() {
        let file = "otel: {endpoint: \"http://file:1\", service_name: file, sampler: always_on, \
                    headers: \"a=b\", metrics_interval: 5s, traces: true, ratio: 0.5}";
        let settings = of(file, &[]).unwrap();
        assert_eq!(settings.otel.service_name, "file");
        assert_eq!(settings.otel.metrics_interval, Duration::from_secs(5));
        assert!(!settings.otel.sampler.parent && settings.otel.traces);
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://var/otlp"),
            ("OTEL_SERVICE_NAME", "var"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1500"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ];
        let otel = of(file, &variables).unwrap().otel;
        assert_eq!(otel.endpoint.as_deref(), Some("https://var/otlp"));
        assert_eq!((otel.service_name.as_str(), otel.traces), ("var", false));
        assert_eq!(otel.sampler.billionths, WHOLE / 4);
        assert_eq!(otel.metrics_interval, Duration::from_millis(1500));
        let headers = otel.headers.unwrap();
        assert_eq!(headers.expose(), "api-key=hush");
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_says_so() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for (text, variables, words) in [
            ("otel: {endpoint: \"c:4318\"}", &[][..], "http://"),
            ("otel: {endpoint: \"http://user:pw@c\"}", &[], "headers"),
            ("otel: {sampler: always}", &[], "always_on"),
            ("otel: {propagate: some}", &[], "own or all or none"),
            ("otel: {headers: nothing}", &[], "name=value"),
            (
                "",
                &[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "http/protobuf",
            ),
            ("", &[("OTEL_TRACES_SAMPLER_ARG", "2")], "between 0 and 1"),
            ("otel: {endpont: x}", &[], "endpoint"),
        ] {
            let problems = of(text, variables).err().unwrap();
            assert!(problems.contains(words), "{text}: {problems}");
        }
    }

    #[test]
    fn no_fact_shows_a_header() {
        let settings = of("otel: {headers: \"api-key=hush-hush\"}", &[]).unwrap();
        let shown: String = settings
            .facts
            .iter()
            .map(|fact| fact.value.as_str())
            .collect();
        assert!(!shown.contains("hush"));
    }
}
