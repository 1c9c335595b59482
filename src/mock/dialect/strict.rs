//! A body as a JSON value in which no name occurs twice, and what readers of it have in common.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Reads a body that has to be an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    let invalid = |error| format!("invalid body: {error}");
    let raw: &RawValue = serde_json::from_slice(body).map_err(invalid)?;
    match value(raw, 0).map_err(invalid)? {
        Value::Object(object) => Ok(object),
        _ => Err("invalid body: not a JSON object".to_owned()),
    }
}

/// How deep a body may be.
const DEPTH: usize = 128;

/// A value in which no name occurs twice.
fn value(raw: &RawValue, depth: usize) -> Result<Value, serde_json::Error> {
    let text = raw.get();
    if depth > DEPTH {
        return Err(serde_json::Error::custom("too deep"));
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            let Fields(fields) = serde_json::from_str(text)?;
            let mut object = Map::new();
            for (name, raw) in fields {
                if object.contains_key(&name) {
                    let twice = format_args!("field `{name}` is there twice");
                    return Err(serde_json::Error::custom(twice));
                }
                object.insert(name, value(raw, depth + 1)?);
            }
            Ok(Value::Object(object))
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(text)?;
            let inner = values.into_iter().map(|raw| value(raw, depth + 1));
            inner.collect()
        }
        _ => serde_json::from_str(text),
    }
}

/// The first name in an object that is not among these, which blanks separate.
pub(super) fn unknown<'v>(object: &'v Map<String, Value>, known: &[&str]) -> Option<&'v str> {
    let is_known = |name: &str| {
        let mut names = known.iter().flat_map(|list| list.split_ascii_whitespace());
        names.any(|known| known == name)
    };
    object
        .keys()
        .map(String::as_str)
        .find(|name| !is_known(name))
}

/// A text in an object; empty when there is none.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A field that is absent, null or of this kind.
pub(super) fn optional<'v, T>(
    object: &'v Map<String, Value>,
    name: &str,
    kind: &str,
    read: impl FnOnce(&'v Value) -> Option<T>,
) -> Result<Option<T>, String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value)
            .map(Some)
            .ok_or_else(|| format!("{name}: should be {kind}")),
    }
}

/// The elements of a list; none when it is no list.
pub(super) fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The fields of an object, in their order, also those that are there twice.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_not_occur_twice_at_any_depth() {
        assert!(object(br#"{"a":{"b":[1,-1,0.5,null,true,"x"]},"b":1}"#).is_ok());
        for body in [r#"{"a":1,"a":2}"#, r#"{"a":[{"b":1,"\u0062":2}]}"#] {
            assert!(object(body.as_bytes()).unwrap_err().contains("twice"));
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(90_000), "]".repeat(90_000));
        assert!(object(deep.as_bytes()).unwrap_err().contains("deep"));
        assert!(object(b"[]").unwrap_err().contains("object"));
    }

    #[test]
    fn an_unknown_name_is_found() {
        let body = object(br#"{"a":1,"c":2}"#).unwrap();
        assert_eq!(unknown(&body, &["a b", "c"]), None);
        assert_eq!(unknown(&body, &["a b"]), Some("c"));
    }
}
