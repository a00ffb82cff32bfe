//! Objects whose members are found in one pass and converted when they are needed.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer as _, MapAccess, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;

use super::{JsonError, from_str, objects::Objects};

/// The maximum number of members that are remembered. Objects with more are parsed again by each
/// operation, so that a small body cannot cause a large allocation.
const MAX_MEMBERS: usize = 32;

/// The members of an object, whose values are raw JSON. Borrows from the text.
///
/// All operations have the results and errors that parsing the text itself would have.
#[derive(Clone, Debug)]
pub(crate) struct Members<'a> {
    text: &'a str,
    /// `None`: the text is not an object, has duplicate keys, or has more than [`MAX_MEMBERS`].
    list: Option<Vec<Member<'a>>>,
}

type Member<'a> = (Cow<'a, str>, &'a RawValue);

impl<'a> Members<'a> {
    /// The members of `{}`.
    pub(crate) const NONE: Self = Self { text: "{}", list: Some(Vec::new()) };

    /// Finds the members of an object.
    pub(crate) fn new(object: &'a RawValue) -> Self {
        let text = object.get();
        let list = list(text).ok();
        Self { text, list }
    }

    /// Returns the value of a member. `None`: it is absent or `null`, occurs more than once, or the
    /// text cannot be parsed.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = match &self.list {
            Some(list) => list.iter().find(|(key, _)| key == name).map(|(_, value)| *value),
            None => find(self.text, name).ok().flatten(),
        };
        found.filter(|value| value.get() != "null")
    }

    /// Converts the object to a struct.
    pub(crate) fn read<T: Deserialize<'a>>(&self) -> Result<T, JsonError> {
        if let Some(list) = &self.list
            && let Ok(read) = T::deserialize(Listed(list))
        {
            return Ok(read);
        }
        // To determine the path of the error.
        from_str(self.text)
    }
}

fn list(text: &str) -> serde_json::Result<Vec<Member<'_>>> {
    serde_json::Deserializer::from_str(text).deserialize_map(ListVisitor)
}

/// Finds the value of one member.
fn find<'a>(text: &'a str, name: &str) -> serde_json::Result<Option<&'a RawValue>> {
    serde_json::Deserializer::from_str(text).deserialize_map(FindVisitor(name))
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list: Self::Value = Vec::new();
        while let Some((Key(key), value)) = entries.next_entry()? {
            if list.len() == MAX_MEMBERS || list.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom("too many members, or a duplicate key"));
            }
            list.push((key, value));
        }
        Ok(list)
    }
}

struct FindVisitor<'n>(&'n str);

impl<'de> Visitor<'de> for FindVisitor<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Key(key)) = entries.next_key()? {
            if key != self.0 {
                entries.next_value::<IgnoredAny>()?;
            } else if found.replace(entries.next_value()?).is_some() {
                return Err(A::Error::custom("a duplicate key"));
            }
        }
        Ok(found)
    }
}

/// Deserializes a struct from members.
struct Listed<'l, 'a>(&'l [Member<'a>]);

impl<'de> Deserializer<'de> for Listed<'_, 'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_map(ListedAccess { rest: self.0.iter(), fields: None, value: None })
    }

    /// Skips members that the struct does not have.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        let fields = Some(fields);
        visitor.visit_map(ListedAccess { rest: self.0.iter(), fields, value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct ListedAccess<'l, 'a> {
    rest: std::slice::Iter<'l, Member<'a>>,
    /// The fields of the struct. `None`: all members are wanted.
    fields: Option<&'static [&'static str]>,
    value: Option<&'a RawValue>,
}

impl<'de> MapAccess<'de> for ListedAccess<'_, 'de> {
    type Error = serde_json::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> serde_json::Result<Option<S::Value>> {
        let fields = self.fields;
        let wanted = |key: &str| fields.is_none_or(|fields| fields.contains(&key));
        let Some((key, value)) = self.rest.find(|(key, _)| wanted(key)) else {
            return Ok(None);
        };
        self.value = Some(value);
        let key: StrDeserializer<'_, Self::Error> = (**key).into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> serde_json::Result<S::Value> {
        let value =
            self.value.take().ok_or_else(|| Self::Error::custom("a value without a key"))?;
        let mut json = serde_json::Deserializer::from_str(value.get());
        seed.deserialize(Objects(&mut json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sample<'a> {
        first_name: String,
        #[serde(borrow)]
        raw: Option<&'a str>,
        inner: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        flag: bool,
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    /// More members than [`MAX_MEMBERS`].
    fn many() -> String {
        (0..=MAX_MEMBERS).fold(String::new(), |many, n| many + &format!(r#""{n}":1,"#))
    }

    #[test]
    fn members_are_read_like_their_text() {
        let many = many();
        for text in [
            r#"{"firstName":"a"}"#,
            r#"{"first\u004eame":"a","raw":"b","inner":{"flag":true},"other":[[1]]}"#,
            r#"{"firstName":"a","raw":null,"inner":null}"#,
            r#"{"firstName":"a","other":1,"other":2}"#,
            &format!(r#"{{{many}"firstName":"a"}}"#),
            // Errors.
            "{}",
            "[]",
            "7",
            r#"["a",null,null]"#,
            r#"{"firstName":7}"#,
            r#"{"firstName":"a","firstName":"b"}"#,
            r#"{"firstName":"a","inner":{"flag":1}}"#,
            r#"{"firstName":"a","inner":[true]}"#,
            r#"{"firstName":"\ud800"}"#,
            r#"{"firstName":"a","\ud800":1}"#,
            r#"{"firstName":"a","raw":"\u0061"}"#,
        ] {
            let text = raw(text);
            let members = Members::new(&text);
            assert_eq!(members.read::<Sample<'_>>(), from_str(text.get()), "{text}");
        }
        assert!(Members::NONE.read::<Sample<'_>>().is_err());
    }

    #[test]
    fn a_member_is_found_if_it_occurs_once() {
        let many = many();
        for (text, expected) in [
            (r#"{"a":1,"name":{"b": 2}}"#, Some(r#"{"b": 2}"#)),
            (r#"{"n\u0061me":1}"#, Some("1")),
            (r#"{"name":1,"a":1,"a":1}"#, Some("1")),
            (&format!(r#"{{{many}"name":"a"}}"#), Some(r#""a""#)),
            (r#"{"name":null}"#, None),
            (r#"{"name":1,"name":1}"#, None),
            (r#"{"name":1,"\ud800":1}"#, None),
            ("{}", None),
            ("[1]", None),
        ] {
            let text = raw(text);
            let found = Members::new(&text).get("name").map(RawValue::get);
            assert_eq!(found, expected, "{text}");
        }
    }
}
