//! The values of a line: texts that are lent, times, numbers that ECS has as text, words of a closed set.

use std::{borrow::Cow, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::{loose::Loose, words::Words};
use crate::finding::Time;

/// A text that the finding or the line lends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    pub(super) fn arc(self) -> Arc<str> {
        self.0.into()
    }

    pub(super) fn string(self) -> String {
        self.0.into_owned()
    }

    pub(super) fn own(self) -> Cow<'static, str> {
        Cow::Owned(self.0.into_owned())
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Text<'a> {
    fn from(text: &'a String) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Arc<str>> for Text<'a> {
    fn from(text: &'a Arc<str>) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a Cow<'static, str>> for Text<'a> {
    fn from(text: &'a Cow<'static, str>) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl<'de: 'a, 'a> Loose<'de> for Text<'a> {
    fn text(text: &str) -> Option<Self> {
        Some(Self(Cow::Owned(text.to_owned())))
    }

    fn borrowed(text: &'de str) -> Option<Self> {
        Some(text.into())
    }
}

/// One word of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: Words> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.word())
    }
}

impl<T: Words> Loose<'_> for Word<T> {
    fn text(text: &str) -> Option<Self> {
        T::ALL.iter().find(|value| value.word() == text).copied().map(Self)
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::ALL.iter().map(|value| value.word()).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

macro_rules! as_text {
    ($(#[$doc:meta])* $name:ident($inner:ty), $schema:tt, $show:expr, $read:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub $inner);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let show: fn(&$inner, S) -> Result<S::Ok, S::Error> = $show;
                show(&self.0, serializer)
            }
        }

        impl<'de> Loose<'de> for $name {
            fn text(text: &str) -> Option<Self> {
                let read: fn(&str) -> Option<$inner> = $read;
                read(text).map(Self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

as_text!(
    /// RFC 3339 in UTC with nanoseconds.
    Timestamp(Time),
    { "type": "string", "format": "date-time" },
    |time, serializer| show_time(*time, serializer),
    |text| {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Time)
    }
);

as_text!(
    /// A number that ECS has as a keyword.
    Id(u32),
    { "type": "string", "pattern": "^[0-9]+$" },
    |id, serializer| show_number(*id, serializer),
    |text| text.parse().ok()
);

as_text!(
    /// 64 hex digits.
    Sha256([u8; 32]),
    { "type": "string", "pattern": "^[0-9a-f]{64}$" },
    |hash, serializer| serializer.serialize_str(&hex::encode(hash)),
    |text| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok()?;
        Some(hash)
    }
);

/// `2026-11-21T21:18:44.000000005Z`: each record has two or three, and the formatting machinery takes longer than all
/// else of a line.
fn show_time<S: Serializer>(time: Time, serializer: S) -> Result<S::Ok, S::Error> {
    let Ok(exact) = jiff::Timestamp::from_nanosecond(time.0.into()) else { return serializer.collect_str(&time) };
    let date = jiff::tz::Offset::UTC.to_datetime(exact);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    let parts = [
        (0..4, date.year().unsigned_abs().into()),
        (5..7, date.month().unsigned_abs().into()),
        (8..10, date.day().unsigned_abs().into()),
        (11..13, date.hour().unsigned_abs().into()),
        (14..16, date.minute().unsigned_abs().into()),
        (17..19, date.second().unsigned_abs().into()),
        (20..29, date.subsec_nanosecond().unsigned_abs()),
    ];
    for (range, number) in parts {
        digits(text.get_mut(range).unwrap_or_default(), number);
    }
    serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
}

fn show_number<S: Serializer>(number: u32, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = [0; 10];
    let length = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let text = text.get_mut(..length).unwrap_or_default();
    digits(text, number);
    serializer.serialize_str(std::str::from_utf8(text).unwrap_or_default())
}

/// Fills all of it, from the end.
fn digits(text: &mut [u8], mut number: u32) {
    for byte in text.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
