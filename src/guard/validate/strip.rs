//! What the API Orchestrator takes out of a message.

use regex::Regex;
use std::sync::LazyLock;

/// How often a message is gone through. What is nested deeper was nested on purpose.
const ROUNDS: usize = 16;

const STRIPPED: [(&str, &str); 6] = [
    ("script", r"(?is)<script\b[^>]*>.*?</script\s*>"),
    ("javascript_protocol", r"(?i)javascript\s*:"),
    ("event_handler", r#"(?i)\bon\w+\s*=\s*(?:"[^"]*"|'[^']*')"#),
    (
        "sql_injection",
        r"(?i)\bunion\s+select\b|'\s*or\s*'1'\s*=\s*'1'?",
    ),
    ("path_traversal", r"\.\./|\.\.\\"),
    ("template_injection", r"\$\{[^}]*\}|\{\{[^}]*\}\}"),
];

static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    STRIPPED
        .iter()
        .map(|(_, pattern)| Regex::new(pattern))
        .collect::<Result<_, _>>()
        .expect("the patterns above are valid")
});

/// A message that nothing is left to take out of.
pub(super) struct Stripped {
    pub(super) text: String,
    found: [bool; STRIPPED.len()],
    /// Whether there was still something after the last round.
    pub(super) endless: bool,
}

impl Stripped {
    pub(super) fn warnings(&self) -> Vec<String> {
        let found = STRIPPED.iter().zip(self.found).filter(|(_, found)| *found);
        found
            .map(|((name, _), _)| format!("Sanitized pattern detected: {name}"))
            .collect()
    }
}

/// Takes everything out, again and again until nothing is found.
pub(super) fn strip(message: &str) -> Stripped {
    let mut stripped = Stripped {
        text: message.to_owned(),
        found: [false; STRIPPED.len()],
        endless: false,
    };
    for _ in 0..ROUNDS {
        if !stripped.round() {
            return stripped;
        }
    }
    stripped.endless = stripped.round();
    stripped
}

impl Stripped {
    /// Whether anything was taken out.
    fn round(&mut self) -> bool {
        let mut any = false;
        for (pattern, found) in PATTERNS.iter().zip(&mut self.found) {
            let without = pattern.replace_all(&self.text, "");
            if let std::borrow::Cow::Owned(without) = without {
                self.text = without;
                *found = true;
                any = true;
            }
        }
        any
    }
}
