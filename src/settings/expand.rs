//! `${VAR}` in values.
//!
//! Works on values that the YAML reader has already taken apart, never on the file's text, so that
//! a variable can fill in a value but can never add keys or lines to the file.

use super::environment::Environment;

/// A value with its variables filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The text that is in force.
    pub text: String,
    /// The variables it names, in order.
    pub variables: Vec<String>,
    /// Those of them that are not set and have no default; each became nothing.
    pub missing: Vec<String>,
}

/// Fills in `${VAR}` (nothing when unset) and `${VAR:-default}` (the default when unset or empty).
/// `$${` stands for a plain `${`; anything that is no complete reference stays as it is.
pub fn expand(text: &str, environment: &Environment) -> Expanded {
    let mut out = Expanded {
        text: String::with_capacity(text.len()),
        variables: Vec::new(),
        missing: Vec::new(),
    };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.text.push_str(before);
            out.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.text.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some((name, default, after)) = reference(rest) else {
            out.text.push_str("${");
            rest = &rest[2..];
            continue;
        };
        out.variables.push(name.to_owned());
        match (environment.get(name), default) {
            (Some(value), _) if !value.is_empty() => out.text.push_str(value),
            (_, Some(default)) => out.text.push_str(default),
            (Some(_), None) => {}
            (None, None) => out.missing.push(name.to_owned()),
        }
        rest = after;
    }
    out.text.push_str(rest);
    out
}

/// The name, the default and what follows, of a text that begins with `${`.
fn reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inside, after) = text.strip_prefix("${")?.split_once('}')?;
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut bytes = name.bytes();
    let first = bytes.next()?;
    let well_formed = (first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    well_formed.then_some((name, default, after))
}

/// Whether a variable's name says that its value is a secret.
pub fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> (String, Vec<String>) {
        let environment = Environment::of([("A", "one"), ("EMPTY", ""), ("TRICKY", "${A}")]);
        let expanded = expand(text, &environment);
        (expanded.text, expanded.missing)
    }

    #[test]
    fn variables_are_filled_in_once() {
        assert_eq!(of("x ${A} y"), ("x one y".into(), vec![]));
        assert_eq!(of("${TRICKY}"), ("${A}".into(), vec![]));
        assert_eq!(of("${NONE}"), (String::new(), vec!["NONE".into()]));
        assert_eq!(of("${EMPTY}"), (String::new(), vec![]));
        assert_eq!(of("${NONE:-d}${EMPTY:-e}${A:-f}"), ("deone".into(), vec![]));
        assert_eq!(of("${NONE:-}"), (String::new(), vec![]));
    }

    #[test]
    fn what_is_no_reference_stays() {
        for text in ["$A", "${", "${}", "${1A}", "${A B}", "a$", "${A"] {
            assert_eq!(of(text), (text.to_owned(), vec![]));
        }
        assert_eq!(of("$${A}"), ("${A}".into(), vec![]));
    }

    proptest! {
        #[test]
        fn text_without_references_is_untouched(text in "[^$]{0,40}") {
            prop_assert_eq!(of(&text), (text, vec![]));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[${}A:é-]{0,40}") {
            let _ = of(&text);
        }
    }
}
