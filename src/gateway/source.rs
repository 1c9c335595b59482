//! Where configurations come from: the files, `.env` and the variables of the process, as one.
//!
//! Decides what is read, that all of it is of one moment, and that it is safe to serve with. When it is
//! read and what becomes of it is [`super::reload`]'s.

use super::Live;
use crate::balance::Endpoints;
use crate::catalog::Catalog;
use crate::policy::audit::audit;
use crate::policy::{self, Policy};
use crate::settings::environment::{DOTENV, Environment};
use crate::settings::file::{Files, Flags};
use crate::settings::fingerprint::Fingerprint;
use crate::settings::problem::{Problem, Problems};
use crate::settings::{self, Settings};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often files that change while they are read are read again.
const TRIES: usize = 5;

/// The files of a process, and what it takes to make sense of them.
pub struct Source {
    flags: Flags,
    files: Files,
    environment: Environment,
    /// Where `.env` is.
    directory: PathBuf,
    /// Outlives configurations.
    endpoints: Arc<Endpoints>,
    begun: Fingerprint,
}

/// What was read, all of it sound.
pub struct Reading {
    /// What can be put in force.
    pub live: Live,
    /// What the process would run with if it was started now.
    pub settings: Settings,
    /// The files it would read then.
    pub files: Files,
    /// What is sound, but probably not meant.
    pub warnings: Vec<Problem>,
}

/// A policy that is sound and safe to serve with.
struct Checked {
    policy: Policy,
    catalog: Catalog,
    remarks: Vec<Problem>,
}

impl Source {
    /// The files that `flags` and `environment` choose. `.env` is in `directory`.
    pub fn new(flags: &Flags, environment: &Environment, directory: &Path) -> Self {
        let mut source = Self {
            flags: flags.clone(),
            files: Files::choose(flags, environment),
            environment: environment.clone(),
            directory: directory.to_owned(),
            endpoints: Arc::default(),
            begun: Fingerprint::default(),
        };
        // Before anything is read: what changes meanwhile is seen as a change.
        source.begun = source.fingerprint(&[]);
        source
    }

    /// The files, whether or not they are there.
    pub fn paths(&self) -> [PathBuf; 4] {
        let Files {
            policy,
            models,
            config,
        } = &self.files;
        [
            policy.path.clone(),
            models.path.clone(),
            config.path.clone(),
            self.directory.join(DOTENV),
        ]
    }

    /// What is known of the endpoints of providers.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.endpoints
    }

    /// The files themselves.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What the files held before they were read first.
    pub(super) fn begun(&self) -> &Fingerprint {
        &self.begun
    }

    /// What the files and `others` hold now.
    pub(super) fn fingerprint(&self, others: &[PathBuf]) -> Fingerprint {
        let own = self.paths();
        Fingerprint::of(own.iter().chain(others).map(PathBuf::as_path))
    }

    /// How the process is to run.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn settings(&self) -> Result<Settings, Problems> {
        settings::load(&self.files, &self.environment)
    }

    /// The configuration to begin with, and what deserves a remark.
    ///
    /// # Errors
    /// Everything that is wrong with it, or not safe to serve with.
    pub fn live(&self, settings: &Settings) -> Result<(Live, Vec<Problem>), Problems> {
        let checked = self.checked(&self.environment, settings)?;
        Ok((
            Live::new(checked.policy, checked.catalog, &self.endpoints),
            checked.remarks,
        ))
    }

    fn checked(&self, environment: &Environment, settings: &Settings) -> Result<Checked, Problems> {
        let policy = policy::load_all(&self.files, environment)?;
        let catalog = Catalog::bundled()
            .with_overrides(&policy.prices)
            .with_ceiling(policy.unpriced_ceiling);
        let now = jiff::Timestamp::now().as_second();
        let mut remarks = policy.warnings.clone();
        remarks.extend(audit(&policy, settings, &catalog, now));
        if remarks.iter().any(Problem::is_error) {
            return Err(Problems(remarks));
        }
        Ok(Checked {
            policy,
            catalog,
            remarks,
        })
    }

    /// Reads everything anew, for a process that runs with `running`, and says what the files and
    /// `others` held.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files, or not safe to serve with.
    pub(super) fn read(
        &self,
        running: &Settings,
        others: &[PathBuf],
    ) -> (Fingerprint, Result<Reading, Problems>) {
        // Contents alone would not tell of files that changed and changed back meanwhile.
        let look = || {
            let stamps: Vec<Option<Stamp>> = self
                .paths()
                .iter()
                .chain(others)
                .map(|path| stamp(path))
                .collect();
            (stamps, self.fingerprint(others))
        };
        let mut before = look();
        for _ in 0..TRIES {
            let read = self.read_once(running);
            let after = look();
            if after == before {
                return (after.1, read);
            }
            before = after;
        }
        let before = before.1;
        let policy = self.files.policy.path.display().to_string();
        let problem = Problem::of_file(&policy, "the files keep changing while they are read");
        (before, Err(problem.into()))
    }

    fn read_once(&self, running: &Settings) -> Result<Reading, Problems> {
        let environment = self.environment.again(&self.directory);
        let settings = settings::load(&self.files, &environment);
        match (settings, self.checked(&environment, running)) {
            (Ok(settings), Ok(checked)) => Ok(Reading {
                live: Live::new(checked.policy, checked.catalog, &self.endpoints),
                files: Files::choose(&self.flags, &environment),
                warnings: [settings.warnings.clone(), checked.remarks].concat(),
                settings,
            }),
            (Ok(settings), Err(problems)) => {
                Err(Problems([settings.warnings, problems.0].concat()))
            }
            (Err(problems), Ok(checked)) => Err(Problems([problems.0, checked.remarks].concat())),
            (Err(problems), Err(more)) => Err(Problems([problems.0, more.0].concat())),
        }
    }
}

/// Which file it is, and when it was changed last: seconds and nanoseconds.
type Stamp = (u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.ctime(), about.ctime_nsec()))
}

/// What a process keeps for as long as it runs, whatever the files say later.
pub(super) struct Fixed {
    /// Files read at start, by the setting that names them.
    files: Vec<(&'static str, PathBuf)>,
    print: Fingerprint,
    spend_log: PathBuf,
    ca_file: Option<PathBuf>,
}

impl Fixed {
    pub(super) fn new(settings: &Settings, policy: &Policy) -> Self {
        let tls = settings.listen.tls.as_ref();
        let redis = settings.stores.redis.as_ref();
        let redis = redis.and_then(|redis| redis.tls.as_ref());
        let ca_file = ca_file(settings, policy);
        let trusted = match &settings.upstream.ca_file {
            Some(_) => "upstream.ca_file",
            None => POLICY_CA,
        };
        let files: Vec<(&'static str, PathBuf)> = [
            ("listen.tls.cert", tls.map(|tls| tls.cert.clone())),
            ("listen.tls.key", tls.map(|tls| tls.key.clone())),
            (trusted, ca_file.clone()),
            (
                "stores.redis.tls.ca_file",
                redis.and_then(|tls| tls.ca_file.clone()),
            ),
        ]
        .into_iter()
        .filter_map(|(setting, path)| Some((setting, path?)))
        .collect();
        Self {
            print: Fingerprint::of(files.iter().map(|(_, path)| path.as_path())),
            files,
            spend_log: policy.spend_log.clone(),
            ca_file,
        }
    }

    pub(super) fn print(&self) -> &Fingerprint {
        &self.print
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|(_, path)| path.clone()).collect()
    }

    /// Puts into a configuration what it cannot change.
    pub(super) fn keep(&self, live: &mut Live) {
        live.policy.spend_log.clone_from(&self.spend_log);
    }

    /// What the files say that only another process would do, by the paths of the settings.
    pub(super) fn needs_restart(
        &self,
        source: &Source,
        running: &Settings,
        reading: &Reading,
        print: &Fingerprint,
    ) -> Vec<String> {
        let mut needed = settings::restart::needed(running, &reading.settings);
        let policy = &reading.live.policy;
        if policy.spend_log != self.spend_log {
            needed.push("cost_routing.spend_log".into());
        }
        if running.upstream.ca_file.is_none() && policy.upstream.ca_file != self.ca_file {
            needed.push(POLICY_CA.into());
        }
        let (chosen, known) = (&reading.files, source.files());
        for (setting, chosen, known) in [
            ("files.policy", &chosen.policy, &known.policy),
            ("files.models", &chosen.models, &known.models),
            ("files.config", &chosen.config, &known.config),
        ] {
            if chosen.path != known.path {
                needed.push(setting.into());
            }
        }
        let changed = self
            .files
            .iter()
            .filter(|(_, path)| !print.agrees_on(&self.print, path));
        needed.extend(changed.map(|(setting, path)| {
            format!("{setting} (the content of {} has changed)", path.display())
        }));
        needed
    }
}

const POLICY_CA: &str = "cost_routing.openrouter.ca_file";

/// The certificates that providers are trusted by: the settings' win over the policy's.
pub fn ca_file(settings: &Settings, policy: &Policy) -> Option<PathBuf> {
    let own = settings.upstream.ca_file.clone();
    own.or_else(|| policy.upstream.ca_file.clone())
}
