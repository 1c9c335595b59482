//! The process environment, captured once.
//!
//! The only place that asks the operating system for variables, the user and the number of cores.
//! Everything else is handed an [`Environment`], and a test builds its own. It has no `Debug`:
//! variables hold secrets.

use super::problem::Problem;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file of variables beside the real ones.
pub const DOTENV: &str = ".env";

/// The largest `.env` file that is read, in bytes.
const LARGEST_DOTENV: u64 = 1 << 20;

/// Variables, from the environment and from `.env`, and what else the machine says.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    user: Option<u32>,
    cores: Option<usize>,
    warnings: Vec<Problem>,
}

impl Environment {
    /// Captures the environment of this process, and the `.env` file in `directory` if there is
    /// one. Variables that are no UTF-8 are left out.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub fn capture(directory: &Path) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let captured = Self {
            variables,
            user: current_user(),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            ..Self::default()
        };
        captured.with_dotenv_file(&directory.join(DOTENV))
    }

    /// An environment of exactly these variables.
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self {
            variables: pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            ..Self::default()
        }
    }

    /// The same with the lines of a `.env` file, over which real variables win.
    #[must_use]
    pub fn with_dotenv(mut self, file: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            match dotenv_line(line) {
                Ok(Some((name, value))) => {
                    self.dotenv.insert(name, value);
                }
                Ok(None) => {}
                Err(reason) => {
                    let mut problem = Problem::of_file(file, reason).warning();
                    (problem.line, problem.column) = (index + 1, 1);
                    self.warnings.push(problem);
                }
            }
        }
        self
    }

    fn with_dotenv_file(mut self, path: &Path) -> Self {
        let unreadable = |reason: String| Problem::of_file(DOTENV, reason).warning();
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return self,
            Ok(found) if found.len() > LARGEST_DOTENV => {
                self.warnings
                    .push(unreadable("is larger than 1 MiB and was not read".into()));
                return self;
            }
            Ok(_) | Err(_) => {}
        }
        match std::fs::read_to_string(path) {
            Ok(text) => self.with_dotenv(DOTENV, &text),
            Err(error) => {
                self.warnings
                    .push(unreadable(format!("cannot be read: {error}")));
                self
            }
        }
    }

    /// The same variables, and `.env` in `directory` as it is now.
    #[must_use]
    pub fn again(&self, directory: &Path) -> Self {
        let captured = Self {
            dotenv: BTreeMap::new(),
            warnings: Vec::new(),
            ..self.clone()
        };
        captured.with_dotenv_file(&directory.join(DOTENV))
    }

    /// The value of a variable, from the environment, else from `.env`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .or_else(|| self.dotenv.get(name))
            .map(String::as_str)
    }

    /// The value of a variable that is set and not empty.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.trim().is_empty())
    }

    /// Whether the value in force comes from `.env`.
    pub fn is_from_dotenv(&self, name: &str) -> bool {
        !self.variables.contains_key(name) && self.dotenv.contains_key(name)
    }

    /// What was wrong with `.env`.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The cores this process may use; 1 when that is not known.
    pub fn cores(&self) -> usize {
        self.cores.unwrap_or(1)
    }

    /// A directory for sockets that no other user may enter: `$XDG_RUNTIME_DIR/weir`, else one in
    /// the temporary directory that carries the user's number.
    pub fn runtime_directory(&self) -> PathBuf {
        match (self.filled("XDG_RUNTIME_DIR"), self.user) {
            (Some(directory), _) if Path::new(directory).is_absolute() => {
                Path::new(directory).join("weir")
            }
            (_, Some(user)) => PathBuf::from(format!("/tmp/weir-{user}")),
            (_, None) => PathBuf::from("/tmp/weir"),
        }
    }
}

/// The number of the user this process runs as, which owns its entry under `/proc`.
fn current_user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self")
        .ok()
        .map(|found| found.uid())
}

/// One line of a `.env` file: a pair, nothing, or why it is neither.
fn dotenv_line(line: &str) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line
        .strip_prefix("export")
        .filter(|rest| rest.starts_with([' ', '\t']))
        .unwrap_or(line);
    let (name, value) = line
        .split_once('=')
        .ok_or("is no NAME=VALUE line and was ignored")?;
    let name = name.trim();
    let well_formed = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if name.is_empty() || !well_formed || name.as_bytes()[0].is_ascii_digit() {
        return Err("has no usable variable name and was ignored");
    }
    let value = value.trim();
    let value = match value.chars().next() {
        Some('\'') => {
            let (inside, _) = value[1..]
                .split_once('\'')
                .ok_or("has an unclosed quote and was ignored")?;
            inside.to_owned()
        }
        Some('"') => double_quoted(&value[1..]).ok_or("has an unclosed quote and was ignored")?,
        Some('#') => String::new(),
        _ => {
            let end = value
                .find(" #")
                .or_else(|| value.find("\t#"))
                .unwrap_or(value.len());
            value[..end].trim_end().to_owned()
        }
    };
    Ok(Some((name.to_owned(), value)))
}

/// The text up to the closing double quote, escapes undone; `None` when there is no such quote.
fn double_quoted(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some(out),
            '\\' => match characters.next()? {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                escaped @ ('"' | '\\' | '$' | '\'') => out.push(escaped),
                other => out.extend(['\\', other]),
            },
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dotenv_lines_are_read_as_shells_and_tools_write_them() {
        let text = "# comment\n\nA=1\nexport B = two words # why\nC='# not a comment'\nD=\"a\\\"b\\n\" # x\nE=\nF=a#b\nexporter=x\n";
        let environment = Environment::default().with_dotenv(".env", text);
        let get = |name| environment.get(name);
        assert_eq!(get("A"), Some("1"));
        assert_eq!(get("B"), Some("two words"));
        assert_eq!(get("C"), Some("# not a comment"));
        assert_eq!(get("D"), Some("a\"b\n"));
        assert_eq!((get("E"), environment.filled("E")), (Some(""), None));
        assert_eq!(get("F"), Some("a#b"));
        assert_eq!(get("exporter"), Some("x"));
        assert!(environment.warnings().is_empty());
    }

    #[test]
    fn a_real_variable_wins_over_the_file() {
        let environment = Environment::of([("A", "real")]).with_dotenv(".env", "A=file\nB=file");
        assert_eq!(
            (environment.get("A"), environment.is_from_dotenv("A")),
            (Some("real"), false)
        );
        assert_eq!(
            (environment.get("B"), environment.is_from_dotenv("B")),
            (Some("file"), true)
        );
    }

    #[test]
    fn the_file_is_read_again_and_the_variables_are_not() {
        let before = Environment {
            cores: Some(3),
            ..Environment::of([("A", "real")]).with_dotenv(".env", "A=file\nB=file\nno pair")
        };
        let now = before.again(Path::new("/nowhere/at/all"));
        assert_eq!((now.get("A"), now.get("B")), (Some("real"), None));
        assert_eq!((now.cores(), now.warnings()), (3, &[][..]));
    }

    #[test]
    fn a_bad_line_is_a_warning_with_its_number_and_without_its_text() {
        let environment =
            Environment::default().with_dotenv(".env", "A=1\nsk-secret\nB=\"open\n1X=2");
        let shown: Vec<String> = environment
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown.len(), 3);
        assert!(shown[0].starts_with(".env:2:1: warning:"));
        assert!(!shown.concat().contains("secret"));
    }

    #[test]
    fn the_runtime_directory_is_the_users_own() {
        let of = |value: &str| Environment {
            user: Some(7),
            ..Environment::of([("XDG_RUNTIME_DIR", value)])
        };
        assert_eq!(
            of("/run/user/7").runtime_directory(),
            Path::new("/run/user/7/weir")
        );
        assert_eq!(of("").runtime_directory(), Path::new("/tmp/weir-7"));
        assert_eq!(of("relative").runtime_directory(), Path::new("/tmp/weir-7"));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "(?s).{0,80}|[A-Z='\"\\\\# \n]{0,80}") {
            let _ = Environment::default().with_dotenv(".env", &text);
        }
    }
}
