//! `weir prices`: makes price tables and shows what applies to a model.
//!
//! Reads and writes files and prints; what a table keeps and which price applies is decided in
//! [`crate::catalog`].

use crate::catalog::refresh::{self, Report};
use crate::catalog::{Catalog, Header, Match, ModelPrice, Rates};
use crate::money::PicosPerToken;
use crate::usage::ServiceTier;
use anyhow::Context as _;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// `weir prices ...`
#[derive(Debug, clap::Args)]
pub struct PricesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a price table from litellm's price file or from OpenRouter's list of models.
    Refresh(RefreshArgs),
    /// Show what applies to a model.
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct RefreshArgs {
    /// litellm's model_prices_and_context_window.json, or a saved answer of OpenRouter's
    /// GET /api/v1/models.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Where the table is written. OpenRouter's list is merged into the table that is there, or
    /// into the bundled one.
    #[arg(long, value_name = "FILE", default_value = "conf/prices/table.json")]
    out: PathBuf,
    /// The version that bills are marked with. Without it: litellm, or the old one +openrouter.
    #[arg(long, value_name = "TEXT", default_value = "")]
    version: String,
    /// The day the prices are of, YYYY-MM-DD.
    #[arg(long, value_name = "DATE", default_value = "")]
    date: String,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The model, as a client writes it.
    model: String,
    /// A table of your own instead of the bundled one.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

/// Runs the command. Exit status 1: `show` found no price.
///
/// # Errors
/// What cannot be read, written or understood, with the file, the entry and the field.
pub fn run(args: PricesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Refresh(args) => {
            let said = refresh(&args)?;
            print(&said)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Show(args) => {
            let catalog = open(args.table.as_deref())?;
            match catalog.resolve(&args.model) {
                Some(found) => {
                    print(&describe(&args.model, found, &catalog))?;
                    Ok(ExitCode::SUCCESS)
                }
                None => {
                    print(&format!(
                        "{}: no price in {}\n",
                        args.model,
                        catalog.version()
                    ))?;
                    Ok(ExitCode::FAILURE)
                }
            }
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("standard output")
}

fn open(table: Option<&Path>) -> anyhow::Result<Catalog> {
    match table {
        None => Ok(Catalog::clone(&Catalog::bundled())),
        Some(path) => Catalog::from_file(path).with_context(|| path.display().to_string()),
    }
}

fn refresh(args: &RefreshArgs) -> anyhow::Result<String> {
    let input =
        std::fs::read_to_string(&args.from).with_context(|| args.from.display().to_string())?;
    let base = match std::fs::read_to_string(&args.out) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => refresh::bundled().to_owned(),
        Err(error) => return Err(error).with_context(|| args.out.display().to_string()),
    };
    let header = Header {
        version: args.version.clone(),
        date: args.date.clone(),
        ..Header::default()
    };
    let (table, report) = refresh::refresh(&input, &base, &header)
        .with_context(|| args.from.display().to_string())?;
    // Nothing is written that could not be read back.
    let catalog = Catalog::from_text(&table).context("the table made of it")?;
    write(&args.out, &table).with_context(|| args.out.display().to_string())?;
    Ok(summary(&report, &args.out, &catalog))
}

/// Replaces the file as a whole, so that no reader sees half a table.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

fn summary(report: &Report, out: &Path, catalog: &Catalog) -> String {
    let mut text = format!(
        "{}: {} models ({} from the input), version {}\n",
        out.display(),
        report.total,
        report.taken,
        catalog.version()
    );
    for (why, models) in &report.left_out {
        let some = models
            .iter()
            .take(3)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let more = if models.len() > 3 { ", ..." } else { "" };
        let _ = writeln!(text, "left out {:>4}: {why} ({some}{more})", models.len());
    }
    for (field, entries) in &report.unused {
        let _ = writeln!(text, "not used, in {entries} entries: {field}");
    }
    text
}

fn describe(model: &str, found: Match<'_>, catalog: &Catalog) -> String {
    let price = found.price;
    let mut text = format!("{model}\n  entry    {}\n", price.name);
    if !price.provider.is_empty() {
        let _ = writeln!(text, "  provider {}", price.provider);
    }
    let _ = writeln!(text, "  table    {}", catalog.version());
    let limit = |tokens: Option<u64>| tokens.map_or("not known".to_owned(), |n| n.to_string());
    let _ = writeln!(
        text,
        "  limits   input {}, output {}",
        limit(price.max_input),
        limit(price.max_output)
    );
    let fees = [
        ("per request", price.per_request),
        ("per web search", price.search),
        ("per input image", price.image),
    ];
    for (what, fee) in fees.iter().filter(|(_, fee)| fee.0 != 0) {
        let _ = writeln!(text, "  fee      ${fee} {what}");
    }
    if found.online {
        let _ = writeln!(text, "  online   a web search comes on top");
    }
    let _ = writeln!(text, "USD per million tokens");
    for (tier, title) in tiers(price) {
        rates(&mut text, &title, price.rates_for(0, tier));
        let long = match tier {
            ServiceTier::Default => &price.long,
            ServiceTier::Priority => price.priority.as_ref().map_or(&price.long, |t| &t.long),
            ServiceTier::Flex => price.flex.as_ref().map_or(&price.long, |t| &t.long),
        };
        for (above, set) in long {
            rates(
                &mut text,
                &format!("{title}, above {above} input tokens"),
                set,
            );
        }
    }
    text
}

fn tiers(price: &ModelPrice) -> Vec<(ServiceTier, String)> {
    let mut tiers = vec![(ServiceTier::Default, "standard".to_owned())];
    if price.flex.is_some() {
        tiers.push((ServiceTier::Flex, "flex".to_owned()));
    }
    if price.priority.is_some() {
        tiers.push((ServiceTier::Priority, "priority".to_owned()));
    }
    tiers
}

fn rates(text: &mut String, title: &str, rates: &Rates) {
    let _ = writeln!(text, "  {title}");
    for (name, rate, usual) in [
        ("input", rates.input, None),
        ("output", rates.output, None),
        ("cache read", rates.cache_read, Some(rates.input)),
        ("cache write", rates.cache_write, Some(rates.input)),
        (
            "cache write 1h",
            rates.cache_write_1h,
            Some(rates.cache_write),
        ),
        ("reasoning", rates.reasoning, Some(rates.output)),
        ("audio input", rates.audio_input, Some(rates.input)),
        ("audio output", rates.audio_output, Some(rates.output)),
        ("image input", rates.image_input, Some(rates.input)),
    ] {
        if usual != Some(rate) {
            let _ = writeln!(text, "    {name:<15}{}", per_million(rate));
        }
    }
}

/// A price per token as dollars per million tokens: pico-dollars per token are millionths of that.
fn per_million(rate: PicosPerToken) -> String {
    let fraction = format!("{:06}", rate.0 % 1_000_000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}", rate.0 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("weir-prices-{}", fastrand::u64(..));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn args(from: PathBuf, out: PathBuf) -> RefreshArgs {
        RefreshArgs {
            from,
            out,
            version: "mine-1".to_owned(),
            date: String::new(),
        }
    }

    #[test]
    fn a_refreshed_table_is_one_that_show_can_read() {
        let folder = Folder::new();
        let input = r#"{"m":{"mode":"chat","input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05,"max_tokens":9},
            "voice":{"mode":"audio_speech"}}"#;
        let out = folder.0.join("table.json");
        let said = refresh(&args(folder.file("prices.json", input), out.clone())).unwrap();
        assert!(
            said.contains("1 models (1 from the input), version mine-1"),
            "{said}"
        );
        assert!(
            said.contains("left out    1: mode audio_speech (voice)"),
            "{said}"
        );
        let catalog = open(Some(&out)).unwrap();
        let shown = describe("m:online", catalog.resolve("m:online").unwrap(), &catalog);
        for line in [
            "  entry    m",
            "  table    mine-1",
            "  limits   input not known, output 9",
            "  online   a web search comes on top",
            "    input          2.5",
            "    output         10",
        ] {
            assert!(shown.lines().any(|l| l == line), "{line} in {shown}");
        }
    }

    #[test]
    fn a_malformed_file_is_named_and_leaves_the_table_alone() {
        let folder = Folder::new();
        let out = folder.file("table.json", "untouched");
        let from = folder.file(
            "prices.json",
            r#"{"m":{"mode":"chat","input_cost_per_token":"x"}}"#,
        );
        let error = refresh(&args(from.clone(), out.clone())).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.starts_with(&from.display().to_string()), "{said}");
        assert!(
            said.contains("entry `m`, field `input_cost_per_token`"),
            "{said}"
        );
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "untouched");
        let missing = folder.0.join("nowhere.json");
        let said = format!("{:#}", open(Some(&missing)).unwrap_err());
        assert!(
            said.contains("nowhere.json") && said.matches("No such file").count() == 1,
            "{said}"
        );
    }

    #[test]
    fn rates_are_shown_exactly_per_million() {
        assert_eq!(per_million(PicosPerToken(0)), "0");
        assert_eq!(per_million(PicosPerToken(2_500_000)), "2.5");
        assert_eq!(per_million(PicosPerToken(7)), "0.000007");
    }
}
