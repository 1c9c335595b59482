//! The section `orchestrator`: the routes of the API Orchestrator and of its injection defence.
//!
//! Decides where they are besides the other routes, what a request on them may be at most, how long callers
//! and sessions are remembered, and where the audit is written. What the guard does on every other route is
//! in the policy.

use super::Listen;
use super::own_address::own_address;
use super::problem::Complaint;
use super::reader::Section;
use super::sections::read::{bytes, file, number, time};
use super::units;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The variable with the port of the listener.
pub const ORCHESTRATOR_PORT: &str = "ORCHESTRATOR_PORT";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// The longest that anything is remembered.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The most strikes of a caller that are remembered: more than any rule counts.
pub const KEPT_STRIKES: usize = 64;

/// When somebody is put into quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRules {
    /// Strikes within the window that lead to a quarantine for a while.
    pub strikes: usize,
    /// How long that is.
    pub hold: Duration,
    /// Strikes within the window that lead to one for good.
    pub permanent: usize,
    /// How long a strike counts.
    pub window: Duration,
    /// Callers that are remembered.
    pub identities: usize,
}

impl Default for QuarantineRules {
    fn default() -> Self {
        Self {
            strikes: 3,
            hold: Duration::from_secs(60 * 60),
            permanent: 10,
            window: Duration::from_secs(24 * 60 * 60),
            identities: 100_000,
        }
    }
}

/// How long sessions and their tokens last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// How long a session is remembered after its last turn.
    pub idle: Duration,
    /// After how long a session gets a new token.
    pub rotation: Duration,
    /// Sessions that are remembered.
    pub most: usize,
}

impl Default for Lasting {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(24 * 60 * 60),
            rotation: Duration::from_secs(24 * 60 * 60),
            most: 100_000,
        }
    }
}

/// The routes of the API Orchestrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orchestrator {
    /// A listener that has these routes and nothing else; `None`: they are with the others only.
    pub listen: Option<SocketAddr>,
    /// What a request may be at most.
    pub limits: MessageLimits,
    /// Output tokens of a request that names none.
    pub max_tokens: u64,
    /// When a caller is put into quarantine.
    pub quarantine: QuarantineRules,
    /// The file of quarantines; beside the spend log if nothing is said.
    pub quarantine_file: Option<PathBuf>,
    /// How long sessions are remembered.
    pub sessions: Lasting,
    /// The audit.
    pub audit: AuditSettings,
}

/// What a request may be at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Characters of a message.
    pub message: usize,
    /// Turns of a conversation.
    pub turns: usize,
    /// Characters of a system prompt.
    pub system: usize,
}

/// Where the audit is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Whether it is.
    pub enabled: bool,
    /// The file; beside the spend log if nothing is said.
    pub file: Option<PathBuf>,
    /// The size at which a new one begins, in bytes.
    pub size: u64,
    /// How long an old one is kept.
    pub retention: Duration,
}

impl Default for Orchestrator {
    fn default() -> Self {
        Self {
            listen: None,
            limits: MessageLimits {
                message: 4000,
                turns: 50,
                system: 2000,
            },
            max_tokens: 2000,
            quarantine: QuarantineRules::default(),
            quarantine_file: None,
            sessions: Lasting::default(),
            audit: AuditSettings {
                enabled: true,
                file: None,
                size: 16 << 20,
                retention: 90 * DAY,
            },
        }
    }
}

/// Reads the section. `taken` are the addresses of other listeners.
pub(super) fn read(section: &Section<'_>, listen: &Listen, taken: &[SocketAddr]) -> Orchestrator {
    let default = Orchestrator::default();
    let most = |section: &Section<'_>, key, default, most| {
        let read = |text: &str| number(text, 1, most);
        section.or(key, default, read, ToString::to_string)
    };
    let limits = section.section("limits");
    let quarantine = section.section("quarantine");
    let sessions = section.section("sessions");
    let audit = section.section("audit");
    let limit = &default.limits;
    let rules = &default.quarantine;
    let lasting = &default.sessions;
    let tokens = usize::try_from(default.max_tokens).unwrap_or(usize::MAX);
    let size = usize::try_from(default.audit.size).unwrap_or(usize::MAX);
    let to_u64 = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Orchestrator {
        listen: own_address(section, "listen", ORCHESTRATOR_PORT, listen, taken),
        limits: MessageLimits {
            message: most(&limits, "message_characters", limit.message, 100_000_000),
            turns: most(&limits, "turns", limit.turns, 1_000_000),
            system: most(&limits, "system_characters", limit.system, 100_000_000),
        },
        max_tokens: to_u64(most(section, "max_tokens", tokens, 10_000_000)),
        quarantine: QuarantineRules {
            strikes: most(&quarantine, "strikes", rules.strikes, KEPT_STRIKES),
            hold: time(&quarantine, "hold", rules.hold, SECOND),
            permanent: most(
                &quarantine,
                "permanent_strikes",
                rules.permanent,
                KEPT_STRIKES,
            ),
            window: time(&quarantine, "window", rules.window, MINUTE),
            identities: most(&quarantine, "identities", rules.identities, 10_000_000),
        },
        quarantine_file: file(&quarantine, "file"),
        sessions: Lasting {
            idle: long(&sessions, "idle", lasting.idle),
            rotation: long(&sessions, "rotation", lasting.rotation),
            most: most(&sessions, "most", lasting.most, 10_000_000),
        },
        audit: AuditSettings {
            enabled: audit.or(
                "enabled",
                default.audit.enabled,
                units::flag,
                ToString::to_string,
            ),
            file: file(&audit, "file"),
            size: to_u64(bytes(&audit, "size", size, 4 << 10, 1 << 30)),
            retention: long(&audit, "retention", default.audit.retention),
        },
    }
}

/// A time that may be more than a day.
fn long(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    let read = |text: &str| {
        let time = units::duration(text)?;
        if (MINUTE..=LONGEST).contains(&time) {
            return Ok(time);
        }
        Err(Complaint::new("must be between 1m and ten years"))
    };
    section.or(key, default, read, |time| units::show_duration(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::settings::environment::Environment;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = Environment::of(variables.iter().copied());
        let settings = crate::settings::parse("weir.yaml", text, &environment);
        settings.map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_limits_are_those_of_the_original_until_somebody_says_otherwise() {
        let settings = read("", &[]).unwrap().orchestrator;
        assert_eq!(settings, Orchestrator::default());
        let limits = [4000, 50, 2000];
        let found = &settings.limits;
        assert_eq!([found.message, found.turns, found.system], limits);
        let text = "orchestrator: {limits: {system_characters: 40000}, quarantine: {strikes: 5, hold: 10m}, sessions: {rotation: 7d}, audit: {size: 1MiB, retention: 30d}}";
        let settings = read(text, &[]).unwrap().orchestrator;
        assert_eq!(settings.limits.system, 40_000);
        assert_eq!(settings.quarantine.hold, 10 * MINUTE);
        assert_eq!(settings.sessions.rotation, 7 * DAY);
        assert_eq!(settings.audit.retention, 30 * DAY);
        let wrong =
            "orchestrator: {quarantine: {strikes: 0, permanent_strikes: 65}, sessions: {idle: 1s}}";
        let said = read(wrong, &[]).err().unwrap();
        for path in [
            "quarantine.strikes",
            "quarantine.permanent_strikes",
            "sessions.idle",
        ] {
            assert!(said.contains(path), "{said}");
        }
    }

    #[test]
    fn the_listener_is_there_when_its_port_is_named_and_is_no_other_one() {
        let port = [(ORCHESTRATOR_PORT, "3005")];
        let at = |text: &str, variables| read(text, variables).unwrap().orchestrator.listen;
        assert_eq!(at("", &[]), None);
        assert_eq!(at("", &port), "0.0.0.0:3005".parse().ok());
        let stated = "orchestrator: {listen: '127.0.0.1:4000'}";
        assert_eq!(at(stated, &[]), "127.0.0.1:4000".parse().ok());
        assert_eq!(at(stated, &port), "127.0.0.1:3005".parse().ok());
        assert_eq!(read(stated, &[]).unwrap().addresses().count(), 2);
        for text in [
            "listen: {http: '0.0.0.0:3005'}",
            "events: {websocket: '0.0.0.0:3005'}",
        ] {
            assert!(read(text, &port).is_err(), "{text}");
        }
        assert!(read("", &[(ORCHESTRATOR_PORT, "70000")]).is_err());
    }
}
