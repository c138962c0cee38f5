//! A finding as a line of ECS 8.17, and back.
//!
//! In: `Origin`, `Stamp` and a finding, which the line borrows. Out: `Line`, whose serde form is the contract of
//! records, in the order of its fields; and from the bytes of a line the three again. Where the strings of ECS are:
//! `words` (closed sets, and what each action means), `fields` (names, order and documentation), `write` and `read`.

pub mod fields;
mod list;
mod loose;
mod read;
mod read_kind;
pub mod reference;
mod related;
mod value;
mod words;
mod write;
mod write_kind;

pub use list::{FieldNames, Texts, WordList};
pub use value::{Id, Sha256, Text, Timestamp, Word};
pub use words::{Meaning, Words, meaning};

use fields::{
    Auditd, Container, Deploy, Destination, Ecs, Error, Event, File, Host, Network, Process, Related, Sensor, Source,
    Ssh, User, objects,
};

/// What the names of fields are from.
pub const VERSION: &str = "8.17.0";

objects! {
    /// One record: an object a line.
    Line<'a> {
        /// When it happened, by the kernel's clock and the host's time then. Never absent.
        #[serde(rename = "@timestamp")]
        pub timestamp: Option<Timestamp>,
        pub ecs: Option<Ecs<'a>>,
        pub event: Option<Event<'a>>,
        pub host: Option<Host<'a>>,
        pub sensor: Option<Sensor<'a>>,
        pub process: Option<Process<'a>>,
        pub user: Option<User<'a>>,
        pub auditd: Option<Auditd>,
        pub container: Option<Box<Container<'a>>>,
        pub source: Option<Source>,
        pub destination: Option<Destination<'a>>,
        pub network: Option<Network<'a>>,
        pub ssh: Option<Ssh<'a>>,
        pub file: Option<Box<File<'a>>>,
        pub deploy: Option<Box<Deploy<'a>>>,
        pub error: Option<Error<'a>>,
        pub related: Option<Box<Related<'a>>>,
    }
}

#[cfg(test)]
mod tests;
