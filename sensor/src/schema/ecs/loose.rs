//! How every field of a line is read: what fits is taken, and what does not is absent.
//!
//! A field of another shape, as a newer sensor or a hostile writer may put it, does not hinder the rest of the line.

use std::{fmt, marker::PhantomData, net::IpAddr};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use uuid::Uuid;

/// A value that is read if it has the right shape.
pub(super) trait Loose<'de>: Sized {
    fn text(_: &str) -> Option<Self> {
        None
    }

    fn borrowed(text: &'de str) -> Option<Self> {
        Self::text(text)
    }

    fn number(_: u64) -> Option<Self> {
        None
    }

    fn boolean(_: bool) -> Option<Self> {
        None
    }

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

struct Seed<T>(PhantomData<T>);

impl<'de, T: Loose<'de>> DeserializeSeed<'de> for Seed<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Loose<'de>> Visitor<'de> for Seed<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::text(text))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(T::borrowed(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(T::boolean(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::object(object)
    }
}

/// How every field of a line is read.
pub(super) fn loose<'de, D: Deserializer<'de>, T: Loose<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Seed(PhantomData).deserialize(deserializer)
}

macro_rules! number {
    ($($type:ty),*) => {$(
        impl<'de> Loose<'de> for $type {
            fn number(number: u64) -> Option<Self> {
                number.try_into().ok()
            }
        }
    )*};
}

number!(u8, u16, u32, u64);

impl Loose<'_> for bool {
    fn boolean(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Loose<'_> for IpAddr {
    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Loose<'_> for Uuid {
    fn text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// What few lines have is behind a pointer: a line of a process is small.
impl<'de, T: Loose<'de>> Loose<'de> for Box<T> {
    fn object<A: MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
        Ok(T::object(object)?.map(Box::new))
    }
}

impl<'de, T: Loose<'de>> Loose<'de> for Vec<T> {
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut values = Self::new();
        while let Some(value) = list.next_element_seed(Seed(PhantomData))? {
            values.extend(value);
        }
        Ok(Some(values))
    }
}

/// Reads an object through its derived implementation.
pub(super) fn object<'de, A: MapAccess<'de>, T: Deserialize<'de>>(object: A) -> Result<Option<T>, A::Error> {
    T::deserialize(serde::de::value::MapAccessDeserializer::new(object)).map(Some)
}
