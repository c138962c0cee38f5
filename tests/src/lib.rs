//! Harness of the tests on a real kernel: `tests/*.rs` beside it say what `sensor` does, this starts what they need and
//! provides the truth that they compare with.
//!
//! | module | what it is |
//! |---|---|
//! | `machine` | the machine, one test at a time; root, or a failure that says so |
//! | `folder`, `running`, `wait` | a temporary folder, a process, an event awaited: gone when dropped |
//! | `account`, `sshd` | a user to log in as, Debian's real sshd on a free port, and its clients |
//! | `nat` | two networks and a router between them that translates addresses |
//! | `lab` | an sshd that takes every kind of login, and clients that try them |
//! | `attempts` | attempts to log in, as each side's records and logs tell them |
//! | `clients` | applications that speak SSH from inside: Paramiko and Net::SSH |
//! | `container` | a container without a runtime, with a root of its own |
//! | `kernel_maps` | what a sensor has in the kernel: entries of maps, probes |
//! | `secrets` | secrets that a test plants, and the search for them |
//! | `project` | a project with its hosts, and a `kamal` that deploys it |
//! | `terminal` | a session with a terminal, typed into line by line |
//! | `sensor` | the program under test: `sensor run` or `sensor trace`, and what it wrote |
//! | `records` | what it wrote, and the contract that every record keeps |
//! | `hostile` | an ordinary user who attacks the sensor, and what must hold meanwhile |
//! | `deploy_log` | logs of deploys, made by hand |
//! | `audit` | the independent truth: the kernel's own audit log of every exec |
//! | `truth` | the comparison of the two, session by session |
//! | `stage` | all of these for one test, in the order in which they must start and end |
//!
//! Needs root, a kernel with BTF, sshd and ssh; the tests that compare with the audit log also `auditctl`. What is
//! missing fails a test, with a sentence.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this is test code: what fails here fails the test, and says so"
)]

pub mod account;
pub mod attempts;
pub mod audit;
pub mod clients;
pub mod container;
pub mod deploy_log;
pub mod folder;
pub mod hostile;
pub mod kernel_maps;
pub mod lab;
pub mod machine;
pub mod nat;
pub mod project;
pub mod records;
pub mod running;
pub mod secrets;
pub mod sensor;
pub mod sshd;
pub mod stage;
pub mod terminal;
pub mod truth;
pub mod wait;

pub use account::Account;
pub use audit::Audit;
pub use container::Container;
pub use folder::Folder;
pub use machine::Machine;
pub use records::{Record, Records};
pub use running::{Ended, Running};
pub use sensor::{Sensor, Trace};
pub use sshd::Sshd;
pub use stage::Stage;
