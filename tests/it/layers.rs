//! Who may import whom, and which heavy crate lives where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers, from the vocabulary up; a module imports from its own layer and from those above it
/// in this list. `src/lib.rs` shows the same table.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "vocabulary",
        &["money", "usage", "identity", "secret", "refusal", "wire"],
    ),
    (
        "pure decisions",
        &[
            "json",
            "tokens",
            "catalog",
            "budget",
            "balance",
            "limit",
            "settings",
            "policy",
            "auth",
            "surface",
            "stream",
            "dialect",
            "provider",
            "route",
            "bill",
            "answer",
            "event",
            "signature",
            "guard",
            "breaker",
            "trace",
        ],
    ),
    ("stores", &["ledger", "fleet", "feed", "insight", "custody"]),
    ("the running gateway", &["metrics", "classifier", "gateway"]),
    (
        "the outside",
        &[
            "proxy",
            "admin",
            "console",
            "telemetry",
            "otel",
            "webhook",
            "mock",
        ],
    ),
    ("composition", &["app", "cli"]),
];

/// Whether a module knows nothing of tasks and sockets: the layers before the stores.
fn is_pure(module: &str) -> bool {
    let mut pure = LAYERS.iter().take_while(|(layer, _)| *layer != "stores");
    pure.any(|(_, modules)| modules.contains(&module))
}

/// Heavy crates and the only modules that may name them.
const HOMES: &[(&[&str], &[&str])] = &[
    (
        &["pingora", "pingora_core", "pingora_proxy"],
        &["app", "proxy"],
    ),
    (&["notify"], &["app"]),
    (&["nix"], &["app"]),
    (&["axum"], &["admin", "mock"]),
    (&["hyper", "hyper_util"], &["admin", "app"]),
    (&["sqlx", "pgvector"], &["insight"]),
    (
        &[
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry_otlp",
            "opentelemetry_http",
        ],
        &["otel"],
    ),
    (&["prometheus"], &["metrics"]),
    (&["redis"], &["fleet", "feed"]),
    (
        &["reqwest"],
        &["classifier", "console", "insight", "otel", "webhook"],
    ),
    (&["h2", "httparse", "tokio_rustls"], &["mock"]),
];

/// Imports that the layers would allow and sense does not.
const APART: &[(&str, &str)] = &[
    ("proxy", "admin"),
    ("admin", "proxy"),
    ("provider", "policy"),
    ("provider", "ledger"),
    ("surface", "policy"),
    ("proxy", "mock"),
    ("stream", "policy"),
    ("dialect", "policy"),
    ("dialect", "provider"),
];

/// Files in which money or a measurement is a float on its way out, and those of vectors.
const FLOATS: &[&str] = &[
    "event/write.rs",
    "money.rs",
    "answer.rs",
    "insight/embed.rs",
    "insight/embed/model.rs",
    "insight/embed/vector.rs",
    "insight/similar.rs",
    "insight/similar/fill.rs",
    "insight/similar/postgres.rs",
    "insight/similar/sqlite.rs",
    "metrics.rs",
    "metrics/budgets.rs",
    "metrics/models.rs",
    "metrics/process.rs",
    "metrics/titan.rs",
    "otel/measure.rs",
    "otel/spans.rs",
    "json.rs",
    "json/text.rs",
    "guard/secrets/entropy.rs",
    "proxy/execwall.rs",
    "mock/dialect/legacy.rs",
    "mock/dialect/strict.rs",
];

/// A source file without its tests and comments.
struct Source {
    /// Below `src`, with `/`.
    path: String,
    /// The top-level module it belongs to.
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files
        .into_iter()
        .filter_map(|file| {
            let path = file.strip_prefix(&root).ok()?.to_str()?.to_owned();
            let module = path.split(['/', '.']).next()?.to_owned();
            let text = std::fs::read_to_string(&file).ok()?;
            (!is_test(&path)).then(|| Source {
                code: code_of(&text),
                path,
                module,
            })
        })
        .filter(|source| !["lib", "main"].contains(&source.module.as_str()))
        .collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
}

/// Files that only exist under `#[cfg(test)]`.
fn is_test(path: &str) -> bool {
    let test = |part: &str| {
        let name = part.trim_end_matches(".rs");
        name == "tests"
            || name.ends_with("_tests")
            || name.starts_with("tests_of_")
            || name == "contract"
            || name == "scratch"
            || name == "recorded"
    };
    path.split('/').any(test)
}

/// The code before the file's own tests, without comments.
fn code_of(text: &str) -> String {
    let end = text
        .find("\n#[cfg(test)]\nmod tests {")
        .unwrap_or(text.len());
    let plain = text[..end].lines().map(|line| match line.find("//") {
        // A `//` inside a string is the tail of a URL.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    plain.fold(String::new(), |code, line| code + line + "\n")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether `word` stands in the code by itself.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].bytes().next_back();
        let after = code[at + word.len()..].bytes().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The top-level modules named after `crate::`, those in braces included.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let end = text.bytes().position(|byte| !is_word(byte));
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].bytes().next_back().is_some_and(is_word) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && depth == 0 && !character.is_whitespace() => {
                    found.insert(word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn layer_of(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` is in no layer; add it here and in src/lib.rs"))
}

#[test]
fn no_import_runs_up_the_layers() {
    let mut wrong = Vec::new();
    for source in sources() {
        for import in imports(&source.code) {
            if import == source.module {
                continue;
            }
            if layer_of(&import) > layer_of(&source.module) {
                wrong.push(format!(
                    "{} imports {import}, which is above it",
                    source.path
                ));
            }
            if APART.contains(&(&source.module, &import)) {
                wrong.push(format!(
                    "{} imports {import}, of which it should not know",
                    source.path
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for source in sources() {
        let edges = graph.entry(source.module.clone()).or_default();
        edges.extend(
            imports(&source.code)
                .into_iter()
                .filter(|import| *import != source.module),
        );
    }
    // What imports nothing that is left is taken away until nothing is left.
    while !graph.is_empty() {
        let free: Vec<String> = graph
            .iter()
            .filter(|(_, edges)| edges.iter().all(|edge| !graph.contains_key(edge)))
            .map(|(module, _)| module.clone())
            .collect();
        assert!(!free.is_empty(), "these import each other: {graph:#?}");
        for module in free {
            graph.remove(&module);
        }
    }
}

#[test]
fn the_table_in_the_crates_documentation_is_this_one() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"));
    let text = text.unwrap();
    let documented: Vec<(String, BTreeSet<String>)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .filter_map(|row| row.split_once(" | "))
        .filter(|(layer, _)| *layer != "layer")
        .map(|(layer, modules)| {
            let modules = modules.split("[`").skip(1);
            let modules = modules.filter_map(|text| text.split('`').next());
            (layer.to_owned(), modules.map(str::to_owned).collect())
        })
        .collect();
    let here: Vec<(String, BTreeSet<String>)> = LAYERS
        .iter()
        .map(|(layer, modules)| {
            let modules = modules.iter().map(|&module| module.to_owned());
            ((*layer).to_owned(), modules.collect())
        })
        .collect();
    assert_eq!(documented, here);
    let declared: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect();
    let listed: BTreeSet<String> = here.into_iter().flat_map(|(_, modules)| modules).collect();
    assert_eq!(declared, listed);
}

/// Whether a path begins with `name`, which may end the name of another crate.
fn mentions(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(&path)
        .any(|(at, _)| !code[..at].ends_with(part))
}

#[test]
fn heavy_crates_stay_in_their_homes() {
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module.as_str();
        for (crates, homes) in HOMES {
            for name in *crates {
                let used =
                    names(&source.code, &format!("{name}::")) || mentions(&source.code, name);
                if used && !homes.contains(&module) {
                    wrong.push(format!("{} uses {name}", source.path));
                }
            }
        }
        if is_pure(module) && source.code.contains("tokio::") {
            wrong.push(format!("{} is pure and uses tokio", source.path));
        }
        let reads = ["env::var", "env::vars", "env::var_os"];
        let home = source.path == "settings/environment.rs";
        if !home && reads.iter().any(|call| source.code.contains(call)) {
            wrong.push(format!("{} reads the environment", source.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn floats_are_only_where_json_and_metrics_need_them() {
    let strays: Vec<String> = sources()
        .into_iter()
        .filter(|source| names(&source.code, "f64") || names(&source.code, "f32"))
        .map(|source| source.path)
        .filter(|path| !FLOATS.contains(&path.as_str()))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}
