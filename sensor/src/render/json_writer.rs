//! JSON of records, written at the speed of a copy.
//!
//! In: a value that serde describes: structs, maps with text keys, lists, text, integers, truth values. Out: the bytes
//! that serde_json writes with `Visible`. serde_json looks at each byte of each text and of each field's name; most of
//! what a record holds is plain ASCII, which one pass without branches proves, and names of fields are ours. What is
//! not plain takes serde_json's way. Anything else (fractions, bytes, enums with contents) is an error.

use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple},
};

use super::json_text::Visible;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("records hold no {0}")]
    Kind(&'static str),
    #[error("{0}")]
    Other(String),
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}

/// Appends the value's JSON; what an error leaves behind is for the caller to cut off.
pub fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    value.serialize(Writer { out })
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

/// Does the text stand in JSON as it is, before every viewer? Without branches: it is vectorized.
fn is_plain(text: &[u8]) -> bool {
    let odd = |byte: u8| u8::from(byte.wrapping_sub(0x20) >= 0x5f) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    text.iter().fold(0, |any, byte| any | odd(*byte)) == 0
}

impl Writer<'_> {
    fn text(&mut self, text: &str) -> Result<(), Error> {
        if !is_plain(text.as_bytes()) {
            let mut careful = serde_json::Serializer::with_formatter(&mut *self.out, Visible);
            return text.serialize(&mut careful).map_err(serde::ser::Error::custom);
        }
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "as the trait wants it")]
    fn number(&mut self, number: impl itoa::Integer) -> Result<(), Error> {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }
}

/// A list, an object or a struct that is being written.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
    end: u8,
}

impl<'a> Parts<'a> {
    fn begin(out: &'a mut Vec<u8>, begin: u8, end: u8) -> Self {
        out.push(begin);
        Self { out, first: true, end }
    }

    fn next(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(Writer { out: self.out })
    }

    #[allow(clippy::unnecessary_wraps, reason = "as the traits want it")]
    fn close(self) -> Result<(), Error> {
        self.out.push(self.end);
        Ok(())
    }
}

impl SerializeSeq for Parts<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.next();
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeTuple for Parts<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Error;

    /// What is no text would be no JSON: maps in records have text keys.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.next();
        self.value(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeStruct for Parts<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.next();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.value(value)
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

macro_rules! numbers {
    ($($name:ident($type:ty)),*) => {$(
        fn $name(mut self, number: $type) -> Result<(), Error> {
            self.number(number)
        }
    )*};
}

macro_rules! never {
    ($($name:ident($($argument:ty),*) -> $ok:ty, $what:literal;)*) => {$(
        fn $name(self, $(_: $argument),*) -> Result<$ok, Error> {
            Err(Error::Kind($what))
        }
    )*};
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Impossible<(), Error>;

    numbers!(
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64)
    );

    never! {
        serialize_f32(f32) -> (), "fractions";
        serialize_f64(f64) -> (), "fractions";
        serialize_char(char) -> (), "single characters";
        serialize_bytes(&[u8]) -> (), "bytes";
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct, "tuples with a name";
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant, "enums with contents";
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant, "enums with contents";
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_str(mut self, text: &str) -> Result<(), Error> {
        self.text(text)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(mut self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.text(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::Kind("enums with contents"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(Parts::begin(self.out, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Error> {
        Ok(Parts::begin(self.out, b'[', b']'))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(Parts::begin(self.out, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        Ok(Parts::begin(self.out, b'{', b'}'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::hidden::tests::{KINDS, TEXT},
        finding::Action,
        schema::{Origin, Stamp, ecs::Line, sample},
    };

    fn is_as_serde_json<T: Serialize>(value: &T) {
        let (mut own, mut theirs) = (Vec::new(), Vec::new());
        write(value, &mut own).unwrap();
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut theirs, Visible)).unwrap();
        assert_eq!(String::from_utf8(own).unwrap(), String::from_utf8(theirs).unwrap());
    }

    #[test]
    fn every_record_is_what_serde_json_writes() {
        let texts = KINDS.iter().map(|(_, text)| *text).chain(["", "plain", "\"", "\\", "\n", "\u{1f}", "~", TEXT]);
        for text in texts {
            for action in Action::ALL {
                is_as_serde_json(&Line::new(&Origin::default(), &Stamp::default(), &sample::finding(*action, text)));
            }
        }
    }

    #[test]
    fn every_byte_of_ascii_is_what_serde_json_writes() {
        for byte in 0..=0x7f_u8 {
            for text in [String::from(char::from(byte)), format!("a long text before it {}", char::from(byte))] {
                is_as_serde_json(&text);
            }
        }
    }

    #[test]
    fn values_of_all_kinds_are_what_serde_json_writes() {
        let map = std::collections::BTreeMap::from([("a\u{202e}", vec![Some(i64::MIN), None]), ("b", vec![])]);
        is_as_serde_json(&map);
        is_as_serde_json(&(u64::MAX, true, (), [0_u8; 0], "x"));
        assert!(matches!(write(&1.5, &mut Vec::new()), Err(Error::Kind("fractions"))));
    }
}
