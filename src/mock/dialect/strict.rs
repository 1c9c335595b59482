//! A body as a JSON value in which no name occurs twice, and what readers of it have in common.

use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A JSON value without repeated names.
struct Strict(Value);

/// Reads a body that has to be an object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice::<Strict>(body) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err("invalid body: not a JSON object".to_owned()),
        Err(error) => Err(format!("invalid body: {error}")),
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

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Strict;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
                let mut values = Vec::new();
                while let Some(Strict(value)) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Strict(Value::Array(values)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
                let mut object = Map::new();
                while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
                    if object.contains_key(&name) {
                        let twice = format_args!("field `{name}` is there twice");
                        return Err(A::Error::custom(twice));
                    }
                    object.insert(name, value);
                }
                Ok(Strict(Value::Object(object)))
            }
        }
        deserializer.deserialize_any(Read)
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
        assert!(object(b"[]").unwrap_err().contains("object"));
    }

    #[test]
    fn an_unknown_name_is_found() {
        let body = object(br#"{"a":1,"c":2}"#).unwrap();
        assert_eq!(unknown(&body, &["a b", "c"]), None);
        assert_eq!(unknown(&body, &["a b"]), Some("c"));
    }
}
