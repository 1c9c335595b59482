//! How often the configuration was read again, and what came of it.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// What came of reading the files again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// They held something else, which is in force.
    Applied,
    /// They held something that is not sound; what was in force still is.
    Refused,
    /// They held what is in force.
    Unchanged,
}

impl Reload {
    /// Every result.
    const ALL: [Self; 3] = [Self::Applied, Self::Refused, Self::Unchanged];

    /// The name in answers and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The metrics of reloads.
pub(super) struct Reloads {
    all: IntCounterVec,
    failures: IntCounter,
    successful: IntGauge,
    at: IntGauge,
}

impl Reloads {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let reloads = Self {
            all: IntCounterVec::new(
                Opts::new(
                    "weir_config_reloads_total",
                    "Reloads since the start, by result: applied, refused, unchanged.",
                ),
                &["result"],
            )?,
            failures: IntCounter::new(
                "weir_config_reload_failures_total",
                "Reloads refused because the files were not valid.",
            )?,
            successful: IntGauge::new(
                "weir_config_last_reload_successful",
                "1 while what the files held last is in force, 0 once it was refused.",
            )?,
            at: IntGauge::new(
                "weir_config_last_reload_success_timestamp_seconds",
                "When the files were last read and found sound, the start included.",
            )?,
        };
        registry.register(Box::new(reloads.all.clone()))?;
        registry.register(Box::new(reloads.failures.clone()))?;
        registry.register(Box::new(reloads.successful.clone()))?;
        registry.register(Box::new(reloads.at.clone()))?;
        for result in Reload::ALL {
            // A series that begins with its first event shows no increase for it.
            reloads.all.with_label_values(&[result.name()]).inc_by(0);
        }
        Ok(reloads)
    }

    /// The files were read and found sound.
    pub(super) fn configured(&self) {
        self.successful.set(1);
        self.at.set(jiff::Timestamp::now().as_second());
    }

    pub(super) fn reloaded(&self, result: Reload) {
        self.all.with_label_values(&[result.name()]).inc();
        if result == Reload::Refused {
            self.failures.inc();
            self.successful.set(0);
        } else {
            self.configured();
        }
    }
}
