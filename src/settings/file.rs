//! Which files are read, and reading them.

use super::environment::Environment;
use super::origin::{Fact, Origin};
use super::problem::{Problem, Problems};
use super::yaml::LARGEST_FILE;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Files named on the command line.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--policy`.
    pub policy: Option<PathBuf>,
    /// `--models`.
    pub models: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// A file and who chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where it is.
    pub path: PathBuf,
    /// Who said so.
    pub origin: Origin,
}

impl Chosen {
    /// Whether it may be missing: nobody asked for it.
    pub fn may_be_missing(&self) -> bool {
        self.origin == Origin::Default
    }

    /// Whether nobody asked for it and it is not there.
    pub fn is_left_out(&self) -> bool {
        self.may_be_missing() && !self.path.exists()
    }

    fn fact(&self, path: &str) -> Fact {
        let missing = if self.is_left_out() { " (none)" } else { "" };
        Fact {
            path: path.into(),
            value: format!("{}{missing}", self.path.display()),
            origin: self.origin.clone(),
        }
    }
}

/// The three files that a user writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Who may spend what; must be there.
    pub policy: Chosen,
    /// Which models exist; may be missing.
    pub models: Chosen,
    /// How the process runs; may be missing.
    pub config: Chosen,
}

impl Files {
    /// A flag wins over a variable, a variable over the default.
    pub fn choose(flags: &Flags, environment: &Environment) -> Self {
        let choose =
            |flag: &Option<PathBuf>, name, variable: Option<&'static str>, default: &str| {
                let set =
                    variable.and_then(|variable| Some((variable, environment.filled(variable)?)));
                match (flag, set) {
                    (Some(path), _) => Chosen {
                        path: path.clone(),
                        origin: Origin::Flag(name),
                    },
                    (None, Some((variable, path))) => Chosen {
                        path: path.into(),
                        origin: Origin::Variable(variable),
                    },
                    (None, None) => Chosen {
                        path: default.into(),
                        origin: Origin::Default,
                    },
                }
            };
        // Where the Model Gateway has its file.
        let other = "config/models.yaml";
        let models = "conf/models.yaml";
        let models = if !Path::new(models).exists() && Path::new(other).exists() {
            other
        } else {
            models
        };
        Self {
            policy: choose(
                &flags.policy,
                "--policy",
                Some("CONFIG_PATH"),
                "./policy.yaml",
            ),
            models: choose(&flags.models, "--models", None, models),
            config: choose(&flags.config, "--config", None, "conf/weir.yaml"),
        }
    }

    /// The files themselves as settings.
    pub fn facts(&self) -> [Fact; 3] {
        [
            self.policy.fact("files.policy"),
            self.models.fact("files.models"),
            self.config.fact("files.config"),
        ]
    }
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read, is larger than [`LARGEST_FILE`], or is no UTF-8.
pub fn read(path: &Path) -> Result<String, Problems> {
    let name = path.display().to_string();
    let problem = |message: String| Problem::of_file(&name, message);
    let cannot = |error: std::io::Error| {
        let found = problem(format!("cannot be read: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                found.suggesting("name the file with a flag or CONFIG_PATH")
            }
            _ => found,
        }
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(LARGEST_FILE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > LARGEST_FILE {
        return Err(problem("is larger than 1 MiB".into()).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        problem(format!("is no UTF-8 in line {line}")).into()
    })
}
