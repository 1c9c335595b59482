//! Where a setting in force came from, and how it is shown.

use super::expand::sounds_secret;
use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of a file.
    File {
        /// The file, as it was named.
        file: Arc<str>,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The variables that filled it in.
        variables: Vec<String>,
    },
    /// An environment variable, which overrides the files.
    Variable(&'static str),
    /// A command-line flag, which overrides everything.
    Flag(&'static str),
}

impl Origin {
    /// The variables that filled the value in.
    pub fn variables(&self) -> &[String] {
        match self {
            Self::File { variables, .. } => variables,
            _ => &[],
        }
    }

    /// A value as it may be shown: one that a variable called `…_KEY` filled in is a secret
    /// wherever it was put.
    pub fn cover(&self, shown: String) -> String {
        if self.variables().iter().any(|name| sounds_secret(name)) {
            return masked(&shown);
        }
        shown
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                file,
                line,
                variables,
                ..
            } => {
                write!(f, "{file}:{line}")?;
                for (index, name) in variables.iter().enumerate() {
                    f.write_str(if index == 0 { ", from " } else { " and " })?;
                    write!(f, "${{{name}}}")?;
                }
                Ok(())
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A setting in force. The value of a secret is its length only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its path, such as `limits.body_bytes`.
    pub path: String,
    /// Its value as it would be written.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.value.is_empty() {
            "\"\""
        } else {
            &self.value
        };
        write!(f, "{} = {value}   ({})", self.path, self.origin)
    }
}

/// A secret as it may be shown: whether it is there, and how long it is.
pub fn masked(secret: &str) -> String {
    match secret.chars().count() {
        0 => "not set".to_owned(),
        length => format!("set, {length} characters"),
    }
}
