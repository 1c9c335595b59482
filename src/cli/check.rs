//! `weir check`: what is wrong with the files, or what is in force.
//!
//! Problems go to standard error, one by one as compilers write them; the settings in force go to
//! standard output, one a line with where each came from. Secrets appear by their length only.

use super::FileArgs;
use crate::catalog::Catalog;
use crate::policy;
use crate::policy::audit::audit;
use crate::settings;
use crate::settings::environment::Environment;
use crate::settings::file::Files;
use crate::settings::origin::Fact;
use crate::settings::problem::{Problem, Problems};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// What a check found.
#[derive(Debug)]
struct Report {
    problems: Vec<Problem>,
    facts: Vec<Fact>,
}

/// Runs the command. Exit status 2: there are errors.
///
/// # Errors
/// When the report cannot be written.
pub fn run(args: &FileArgs) -> anyhow::Result<ExitCode> {
    let environment = Environment::capture(Path::new("."));
    let flags = args.flags();
    let now = jiff::Timestamp::now().as_second();
    let report = check(&Files::choose(&flags, &environment), &environment, now);

    let mut err = std::io::stderr().lock();
    for problem in &report.problems {
        writeln!(err, "{problem}")?;
    }
    let errors = report
        .problems
        .iter()
        .filter(|problem| problem.is_error())
        .count();
    let warnings = report.problems.len() - errors;
    if errors > 0 {
        writeln!(
            err,
            "{}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        )?;
        return Ok(ExitCode::from(2));
    }
    let mut out = std::io::stdout().lock();
    for fact in &report.facts {
        writeln!(out, "{fact}")?;
    }
    out.flush()?;
    writeln!(err, "no errors, {}", counted(warnings, "warning"))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Reads all three files, so that the problems of all are seen at once.
fn check(files: &Files, environment: &Environment, now: i64) -> Report {
    let mut report = Report {
        problems: Vec::new(),
        facts: files.facts().to_vec(),
    };
    let settings = report.take(settings::load(files, environment), |read| {
        (&read.warnings, &read.facts)
    });
    let policy = report.take(policy::load_all(files, environment), |read| {
        (&read.warnings, &read.facts)
    });
    if settings.is_none() {
        report
            .problems
            .extend(environment.warnings().iter().cloned());
    }
    if let (Some(settings), Some(policy)) = (settings, policy) {
        let found = audit(&policy, &settings, &Catalog::bundled(), now);
        report.problems.extend(found);
    }
    report
}

impl Report {
    /// Takes over the problems, or the facts and warnings, of a file.
    fn take<T>(
        &mut self,
        read: Result<T, Problems>,
        of: impl Fn(&T) -> (&Vec<Problem>, &Vec<Fact>),
    ) -> Option<T> {
        match read {
            Ok(read) => {
                let (warnings, facts) = of(&read);
                self.problems.extend_from_slice(warnings);
                self.facts.extend_from_slice(facts);
                Some(read)
            }
            Err(problems) => {
                self.problems.extend(problems.0);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::file::Flags;
    use crate::settings::origin::Origin;
    use std::path::PathBuf;

    /// The report on the files that come with Weir.
    fn shipped(variables: &[(&str, &str)]) -> Report {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let flags = Flags {
            policy: Some(root.join("policy.yaml")),
            models: Some(root.join("conf/models.yaml")),
            config: Some(root.join("conf/weir.yaml")),
        };
        let environment = Environment::of(variables.iter().copied());
        check(
            &Files::choose(&flags, &environment),
            &environment,
            1_700_000_000,
        )
    }

    fn text(report: &Report) -> String {
        let problems = report.problems.iter().map(ToString::to_string);
        problems
            .chain(report.facts.iter().map(ToString::to_string))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_shipped_files_are_sound_and_only_say_what_is_left_to_do() {
        let report = shipped(&[
            ("OPENROUTER_API_KEY", "sk-or-v1-sesame"),
            ("OPENAI_API_KEY", "sk-sesame-openai"),
            ("ADMIN_TOKEN", "sesame-sesame-sesame"),
            ("ADAPTER_PORT", "9999"),
        ]);
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains("no keys are configured"));
        let text = text(&report);
        assert!(!text.contains("sesame"), "{text}");
        for line in [
            "limits.body_bytes = 32MiB   (",
            "listen.http = 0.0.0.0:9999   (environment variable ADAPTER_PORT)",
            "admin.token = set, 20 characters   (",
            "cost_routing.agents.agent-1.budget_total = $50.00   (",
            "cost_routing.bound = strict   (default)",
            "models.gpt-4o.engine = gpt-4o   (",
            "defaults.vitals = gpt-4o   (",
            "providers.openai.api_key = set, 16 characters   (environment variable OPENAI_API_KEY)",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn the_problems_of_all_files_are_reported_together() {
        let missing = || Some(PathBuf::from("no/such/file.yaml"));
        let flags = Flags {
            policy: missing(),
            models: missing(),
            config: missing(),
        };
        let environment = Environment::default().with_dotenv(".env", "no pair");
        let report = check(&Files::choose(&flags, &environment), &environment, 0);
        assert_eq!(
            report
                .problems
                .iter()
                .filter(|problem| problem.is_error())
                .count(),
            3
        );
        assert!(text(&report).contains(".env:1:1: warning"));
        assert_eq!(report.facts[0].origin, Origin::Flag("--policy"));
    }
}
