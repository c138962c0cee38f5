//! `sensor`: the audit trail of every SSH session and every deploy on a Linux host, from eBPF, with no change to any
//! application.
//!
//! # The map of the house
//!
//! ```text
//! kernel probes -> ring buffer -> decode -> enrich -> correlate -> filter, budget, number -> render -> sink
//!                        events                     findings                               lines
//! ```
//!
//! Layers; imports go down only, siblings do not import each other (`tests/tests/layers.rs` keeps it so):
//!
//! | layer | modules | what they do |
//! |---|---|---|
//! | 6 | `cli` | arguments as typed to arguments as meant; exit codes |
//! | 5 | `pipeline` | the order of the stages |
//! | 4 | `render`, `sink` | findings to lines, lines to their place |
//! | 3 | `enrich`, `correlate`, `review` | pure: events and a time in, findings out; and findings back into deploys |
//! | 2a | `inspect` | above 2: processes without rights that read users' files; questions in, answers out |
//! | 2 | `decode`, `kernel`, `host`, `deploy` | bytes to events; the only user of aya; /proc and files; deploy tools as data |
//! | 2 | `schema` | findings to lines of ECS and back, without loss |
//! | 1a | `finding` | above 1: what leaves correlation, typed |
//! | 1 | `event`, `config`, `stats`, `bounded`, `privileges`, `shell` | plain data; what a thread gives up; shell text as words |
//! | 0 | crate `sensor-common` | the kernel/user ABI |
//!
//! Where a change goes (`docs::contributing` has the steps):
//!
//! | change | files |
//! |---|---|
//! | a probe | `sensor-common` (its record), `sensor-ebpf`, `kernel/load.rs`, `decode/wire.rs`, `event/stream.rs`, `correlate/machines.rs` |
//! | a record | `finding` (action, kind), `schema/ecs` (words, write, read) and `schema/sample.rs`, the machine of `correlate` that finds it, `render/table.rs`: the compiler names each of them |
//! | a field | its struct in `finding`, and in `schema/ecs` its name, write and read; `docs/fields.md` is generated |
//! | a format | a file in `render`, a variant of `pipeline::Format`, a value of `--format` in `cli/args.rs` |
//! | another place for lines | `sink/output.rs` (what a write is), `sink/mod.rs` (how it is opened), a key in `config.rs` |
//! | a deploy tool, a redaction rule | a table: `deploy/tools`, `decode/redact` |
//!
//! The middle is pure, so a recorded stream replays into the same records anywhere. `unsafe` is fenced: a few lines in
//! `kernel`, and `inspect/fork.rs`.
#![deny(unsafe_code)]

pub mod bounded;
pub mod cli;
pub mod config;
pub mod correlate;
pub mod decode;
pub mod deploy;
pub mod enrich;
pub mod event;
pub mod finding;
pub mod host;
pub mod inspect;
pub mod kernel;
pub mod pipeline;
pub mod privileges;
pub mod render;
pub mod review;
pub mod schema;
mod shell;
pub mod sink;
pub mod stats;

/// The reference pages.
pub mod docs {
    #[doc = include_str!("../docs/contributing.md")]
    pub mod contributing {}
    #[doc = include_str!("../docs/coverage.md")]
    pub mod coverage {}
    #[doc = include_str!("../docs/deploys.md")]
    pub mod deploys {}
    #[doc = include_str!("../docs/fields.md")]
    pub mod fields {}
    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
    #[doc = include_str!("../docs/records.md")]
    pub mod records {}
}
