//! A client's JSON, read strictly: every value knows where it is.
//!
//! Decides how a mistake is named. The body was checked before ([`crate::json::object`]), so only
//! types are left to check.

use std::fmt;

use crate::dialect::form::{Inexpressible, Json, Text};
use crate::json::{self, Cursor};

/// Why a field is refused that the common form has no place for.
pub(super) const UNSUPPORTED: &str = "is not supported by the provider that serves this model";

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'a, 'p> {
    raw: &'a str,
    parent: Option<&'p Value<'a, 'p>>,
    step: Step<'p>,
}

/// The last step to a place.
#[derive(Clone, Copy)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

type Read<T = ()> = Result<T, Inexpressible>;

impl<'a, 'p> Value<'a, 'p> {
    /// A field of the request itself.
    pub(super) const fn top(key: &'p str, raw: &'a str) -> Self {
        Self {
            raw,
            parent: None,
            step: Step::Key(key),
        }
    }

    /// The text, as it came.
    pub(super) const fn raw(&self) -> &'a str {
        self.raw
    }

    /// The text as JSON that is passed on.
    pub(super) fn json(&self) -> Json<'a> {
        Json(self.raw.into())
    }

    /// The value is refused: `why` follows its path.
    pub(super) fn wrong(&self, why: &'static str) -> Inexpressible {
        Inexpressible::Field(self.to_string(), why)
    }

    /// The value is refused because nothing stands for it elsewhere.
    pub(super) fn unsupported<T>(&self) -> Read<T> {
        Err(self.wrong(UNSUPPORTED))
    }

    /// The value is fine if `harmless`.
    pub(super) fn only_if(&self, harmless: bool) -> Read {
        if harmless { Ok(()) } else { self.unsupported() }
    }

    /// Whether it is an object or an array with nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        let inner = |open, close| self.raw.strip_prefix(open)?.strip_suffix(close);
        inner('[', ']')
            .or_else(|| inner('{', '}'))
            .is_some_and(|inner| inner.trim().is_empty())
    }

    /// Whether it is a string.
    pub(super) fn is_text(&self) -> bool {
        self.raw.starts_with('"')
    }

    /// Whether it is an object.
    pub(super) fn is_object(&self) -> bool {
        self.raw.starts_with('{')
    }

    /// A string.
    pub(super) fn text(&self) -> Read<Text<'a>> {
        json::string(self.raw).ok_or_else(|| self.wrong("must be a string"))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Read<bool> {
        match self.raw {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong("must be true or false")),
        }
    }

    /// A whole number from 0.
    pub(super) fn count(&self) -> Read<u64> {
        self.raw
            .parse()
            .map_err(|_| self.wrong("must be a whole number"))
    }

    /// A number, as it came.
    pub(super) fn number(&self) -> Read<Json<'a>> {
        match self.raw.as_bytes().first() {
            Some(b'0'..=b'9' | b'-') => Ok(self.json()),
            _ => Err(self.wrong("must be a number")),
        }
    }

    /// An object, as it came.
    pub(super) fn object_json(&self) -> Read<Json<'a>> {
        if self.is_object() {
            Ok(self.json())
        } else {
            Err(self.wrong("must be an object"))
        }
    }

    /// Hands every member of an object to `each`, but for those that are null.
    pub(super) fn object(&self, mut each: impl FnMut(&str, &Value<'a, '_>) -> Read) -> Read {
        if !self.is_object() {
            return Err(self.wrong("must be an object"));
        }
        let mut result = Ok(());
        let walked = Cursor::new(self.raw).object(|key, value| {
            let raw = value.skip()?;
            if raw != "null" {
                let member = Value {
                    raw,
                    parent: Some(self),
                    step: Step::Key(key),
                };
                result = each(key, &member);
            }
            result.is_ok().then_some(())
        });
        self.walked(walked, result)
    }

    /// Hands every item of an array to `each`.
    pub(super) fn array(&self, mut each: impl FnMut(usize, &Value<'a, '_>) -> Read) -> Read {
        if !self.raw.starts_with('[') {
            return Err(self.wrong("must be an array"));
        }
        let mut result = Ok(());
        let mut index = 0;
        let walked = Cursor::new(self.raw).array(|item| {
            let item = Value {
                raw: item.skip()?,
                parent: Some(self),
                step: Step::Index(index),
            };
            result = each(index, &item);
            index += 1;
            result.is_ok().then_some(())
        });
        self.walked(walked, result)
    }

    fn walked(&self, walked: Option<()>, result: Read) -> Read {
        result?;
        walked.ok_or_else(|| self.wrong("cannot be read"))
    }

    /// The member `key` of an object, a string by which the others are understood.
    pub(super) fn tag(&self, key: &'static str) -> Read<Text<'a>> {
        self.optional_tag(key)?
            .ok_or_else(|| self.lacks(key, "is required"))
    }

    /// As [`Value::tag`], for a member that need not be there.
    pub(super) fn optional_tag(&self, key: &'static str) -> Read<Option<Text<'a>>> {
        let mut found = None;
        self.object(|name, value| {
            if name == key {
                found = Some(value.text()?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// An object has no other members than these.
    pub(super) fn only(&self, known: &[&str]) -> Read {
        self.object(|key, member| member.only_if(known.contains(&key)))
    }

    /// A member is not as it must be, or missing.
    pub(super) fn lacks(&self, key: &str, why: &'static str) -> Inexpressible {
        let member = Value {
            raw: "null",
            parent: Some(self),
            step: Step::Key(key),
        };
        member.wrong(why)
    }
}

impl fmt::Display for Value<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Key(key) if self.parent.is_none() => f.write_str(key),
            Step::Key(key) => write!(f, ".{key}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}
