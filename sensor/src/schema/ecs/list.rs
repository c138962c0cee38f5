//! Lists in a line: of texts, of words, of names of fields. They are lent by the finding when they are written.

use std::{borrow::Cow, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer, de::SeqAccess};

use super::{
    loose::Loose,
    value::{Text, Word},
    words::Words,
};
use crate::finding::{Field, Fields, SshConnectionId};

/// Several texts, as the finding has them.
#[derive(Clone, Debug)]
pub enum Texts<'a> {
    Fixed(&'static [&'static str]),
    Strings(&'a [String]),
    Shared(&'a [Arc<str>]),
    Connections(&'a [SshConnectionId]),
    Own(Vec<Text<'a>>),
}

impl<'a> Texts<'a> {
    pub(super) fn strings(self) -> Vec<String> {
        self.texts().into_iter().map(Text::string).collect()
    }

    /// What was read.
    pub(super) fn texts(self) -> Vec<Text<'a>> {
        match self {
            Self::Own(texts) => texts,
            Self::Fixed(texts) => texts.iter().map(|text| Text::from(*text)).collect(),
            Self::Strings(texts) => texts.iter().map(Text::from).collect(),
            Self::Shared(texts) => texts.iter().map(Text::from).collect(),
            Self::Connections(ids) => ids.iter().map(|id| Text::from(id.as_str())).collect(),
        }
    }
}

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(texts) => texts.serialize(serializer),
            Self::Strings(texts) => texts.serialize(serializer),
            Self::Shared(texts) => texts.serialize(serializer),
            Self::Connections(ids) => serializer.collect_seq(ids.iter().map(SshConnectionId::as_str)),
            Self::Own(texts) => texts.serialize(serializer),
        }
    }
}

impl<'de: 'a, 'a> Loose<'de> for Texts<'a> {
    fn text(text: &str) -> Option<Self> {
        Text::text(text).map(|text| Self::Own(vec![text]))
    }

    fn borrowed(text: &'de str) -> Option<Self> {
        Some(Self::Own(vec![text.into()]))
    }

    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::list(list)?.map(Self::Own))
    }
}

impl JsonSchema for Texts<'_> {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": { "type": "string" } })
    }
}

/// Words of a closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WordList<'a, T: 'static> {
    Lent(&'a [T]),
    Own(Vec<T>),
}

impl<T: Words> WordList<'_, T> {
    pub(super) fn own(self) -> Vec<T> {
        match self {
            Self::Lent(words) => words.to_vec(),
            Self::Own(words) => words,
        }
    }
}

impl<T: Words> Serialize for WordList<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words = match self {
            Self::Lent(words) => words,
            Self::Own(words) => words.as_slice(),
        };
        serializer.collect_seq(words.iter().map(|value| value.word()))
    }
}

impl<'de, T: Words> Loose<'de> for WordList<'_, T> {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        let words: Option<Vec<Word<T>>> = Vec::list(list)?;
        Ok(words.map(|words| Self::Own(words.into_iter().map(|word| word.0).collect())))
    }
}

impl<T: Words> JsonSchema for WordList<'_, T> {
    fn schema_name() -> Cow<'static, str> {
        "Words".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": Word::<T>::json_schema(generator) })
    }
}

/// Names of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldNames(pub Fields);

impl Serialize for FieldNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Words::word))
    }
}

impl<'de> Loose<'de> for FieldNames {
    fn list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        let words: Option<Vec<Word<Field>>> = Vec::list(list)?;
        Ok(words.map(|words| Self(words.into_iter().map(|word| word.0).collect())))
    }
}

impl JsonSchema for FieldNames {
    fn schema_name() -> Cow<'static, str> {
        "FieldNames".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        WordList::<Field>::json_schema(generator)
    }
}
