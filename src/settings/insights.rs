//! The section `insights`: what is kept of finished requests beside the spend log.
//!
//! Decides whether, for how long, and whether prompts and answers are kept. Where they are kept is
//! `stores.postgres`, else a file.

use super::embedding::{self, Embedding};
use super::problem::Complaint;
use super::reader::Section;
use super::sections::read::{choice, file};
use super::units;
use std::path::PathBuf;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Whether prompts and answers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InsightText {
    /// They are not.
    Off,
    /// Without the secrets and the personal data in them.
    #[default]
    Redacted,
    /// As they were said.
    Full,
}

/// What is kept of finished requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsightSettings {
    /// Whether anything is.
    pub enabled: bool,
    /// Whether prompts and answers are.
    pub text: InsightText,
    /// For how long; `None` for ever.
    pub keep: Option<Duration>,
    /// How often new records are looked for.
    pub interval: Duration,
    /// How long a question may take.
    pub timeout: Duration,
    /// The file, where there is no PostgreSQL; `None` for one beside the spend log.
    pub file: Option<PathBuf>,
    /// What texts become vectors with.
    pub embedding: Embedding,
}

impl Default for InsightSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            text: InsightText::default(),
            keep: Some(90 * DAY),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            file: None,
            embedding: Embedding::default(),
        }
    }
}

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> InsightSettings {
    let default = InsightSettings::default();
    let time = |key, default, least: Duration, most: Duration| {
        let bounded = |text: &str| bounded(text, least, most);
        section.or(key, default, bounded, |time| units::show_duration(*time))
    };
    let texts = [
        ("off", Some(InsightText::Off)),
        ("redacted", Some(InsightText::Redacted)),
        ("full", Some(InsightText::Full)),
    ];
    let text = choice(section, "text", &texts, Some(default.text));
    InsightSettings {
        enabled: section.or("enabled", default.enabled, units::flag, ToString::to_string),
        text: text.unwrap_or_default(),
        keep: section.or("keep", default.keep, keep, |keep| {
            keep.map_or_else(|| "forever".to_owned(), units::show_duration)
        }),
        interval: time("interval", default.interval, 50 * MILLISECOND, DAY / 24),
        timeout: time("timeout", default.timeout, 100 * MILLISECOND, DAY / 24),
        file: file(section, "file"),
        embedding: embedding::read(&section.section("embedding")),
    }
}

fn keep(text: &str) -> Result<Option<Duration>, Complaint> {
    if text.trim() == "forever" {
        return Ok(None);
    }
    bounded(text, DAY, 3650 * DAY).map(Some)
}

fn bounded(text: &str, least: Duration, most: Duration) -> Result<Duration, Complaint> {
    let time = units::duration(text)?;
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let (least, most) = (units::show_duration(least), units::show_duration(most));
    Err(Complaint::new(format!(
        "must be between {least} and {most}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::environment::Environment;

    fn of(text: &str) -> Result<InsightSettings, String> {
        let settings = crate::settings::parse("weir.yaml", text, &Environment::default());
        settings
            .map(|settings| settings.insights)
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_quarter_of_a_year_without_texts_is_kept_unless_somebody_says_otherwise() {
        assert_eq!(of("").unwrap(), InsightSettings::default());
        let said = of(
            "insights: {enabled: off, text: full, keep: forever, interval: 250ms, file: a.sqlite}",
        );
        let said = said.unwrap();
        assert!(!said.enabled && said.keep.is_none());
        assert_eq!(
            (said.text, said.interval),
            (InsightText::Full, 250 * MILLISECOND)
        );
        assert_eq!(said.file.unwrap().file_name().unwrap(), "a.sqlite");
        assert_eq!(of("insights: {keep: 2d}").unwrap().keep, Some(2 * DAY));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (text, reason) in [
            ("insights: {text: some}", "must be off or redacted or full"),
            ("insights: {keep: 1h}", "must be between 1d and"),
            ("insights: {interval: 1ms}", "must be between 50ms and"),
            ("insights: {tables: 3}", "tables"),
        ] {
            let problem = of(text).unwrap_err();
            assert!(problem.contains(reason), "{problem}");
        }
    }
}
