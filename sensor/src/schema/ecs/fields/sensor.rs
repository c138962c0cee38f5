//! `sensor.*`: what a record says of itself, and of the sensor that wrote it.

use super::objects;
use crate::{
    finding::{Action, AdoptedBy, Lineage, health::Limit},
    schema::ecs::{
        list::{FieldNames, Texts},
        value::{Text, Word},
    },
};

objects! {
    /// The sensor, and what the record says of itself.
    Sensor<'a> {
        /// The version of the sensor that wrote the record.
        pub version: Option<Text<'a>>,
        /// A hash of the kernel's boot id and of the start of the sensor: makes `event.sequence` unique.
        pub boot_id: Option<Text<'a>>,
        /// By what a session that was open before the sensor is known. Absent for others.
        pub adopted_by: Option<Word<AdoptedBy>>,
        /// `delegated`: the act of this program continues in a daemon (docker, systemd-run, at...), where lineage
        /// cannot follow. Absent for others.
        pub lineage: Option<Word<Lineage>>,
        /// It follows from what was before and what is now; the act itself was not seen. Absent otherwise.
        pub inferred: Option<bool>,
        /// The connection ended right after a packet whose integrity its cipher checks after decrypting: a peer on the
        /// wire could have forged it. Absent otherwise.
        pub unconfirmed: Option<bool>,
        /// Fields in which a secret was replaced by `[REDACTED]`.
        pub redacted: Option<FieldNames>,
        /// Fields whose bytes are no UTF-8: each stray byte is `\xHH`, backslashes are doubled.
        pub escaped: Option<FieldNames>,
        /// Fields that were cut. `record`: all of it was too long, and the longest fields are absent.
        pub truncated: Option<FieldNames>,
        /// The true size of what was cut, bytes.
        pub original_size: Option<u32>,
        /// Each probe, when the sensor starts.
        pub probes: Option<Vec<Probe<'a>>>,
        /// What each eBPF program counted, when the sensor stops.
        pub programs: Option<Vec<Program<'a>>>,
        pub drain: Option<Box<Drain>>,
        pub degraded: Option<Box<Degraded<'a>>>,
        pub lost: Option<Box<Lost<'a>>>,
        pub suppressed: Option<Box<Suppressed<'a>>>,
        pub records: Option<Box<Records<'a>>>,
    }

    /// A probe.
    Probe<'a> {
        /// What it watches.
        pub name: Option<Text<'a>>,
        /// Where: a tracepoint, a cgroup hook, a program or library.
        pub target: Option<Text<'a>>,
        /// `attached` or `missing`.
        pub state: Option<Text<'a>>,
        /// Why it is missing. Absent for others.
        pub why: Option<Text<'a>>,
    }

    /// What one eBPF program counted over the run.
    Program<'a> {
        /// The program.
        pub name: Option<Text<'a>>,
        /// Events that it saw: `sent` + `lost`, always.
        pub seen: Option<u64>,
        /// Events that it sent to the sensor.
        pub sent: Option<u64>,
        /// Events that it could not send.
        pub lost: Option<u64>,
        /// Of `seen`: by the second program of a tracepoint, since the kernel had skipped the first.
        pub fallback_handled: Option<u64>,
        /// Events for which the kernel skipped both programs. Absent where the kernel does not count.
        pub skipped: Option<u64>,
    }

    /// How the ring buffer was drained over the run.
    Drain {
        /// Drains.
        pub drains: Option<u64>,
        /// Drains that came over 50 ms after their first event.
        pub late: Option<u64>,
        /// The longest that an event was in the ring, ns.
        pub latency_max_ns: Option<u64>,
    }

    /// What cannot be seen.
    Degraded<'a> {
        /// What is concerned.
        pub what: Option<Text<'a>>,
        /// Why.
        pub why: Option<Text<'a>>,
        /// What is missing in the records for it.
        pub effect: Option<Text<'a>>,
    }

    /// What was lost, between `event.start` and `event.end`.
    Lost<'a> {
        /// Where: `kernel`, `queue`, `decode`, `correlate`, `sink`.
        pub stage: Option<Text<'a>>,
        /// What.
        pub kind: Option<Text<'a>>,
        /// How many.
        pub count: Option<u64>,
        /// Of records: the `event.sequence` of those that are missing. Where there are too many ranges, neighbours are
        /// merged: `count` is exact. Absent for other losses.
        pub sequence: Option<Vec<Range>>,
    }

    /// Numbers of records.
    Range {
        /// The first.
        pub first: Option<u64>,
        /// The last.
        pub last: Option<u64>,
    }

    /// What was held back of a session (or of a user outside of sessions) over a limit.
    Suppressed<'a> {
        /// How many records.
        pub count: Option<u64>,
        /// The key of the configuration that sets the limit.
        pub limit: Option<Word<Limit>>,
        /// How many of each action.
        pub actions: Option<Vec<ActionCount>>,
        /// The first 16 executables that differ, of processes. Absent where there were none.
        pub executables: Option<Texts<'a>>,
    }

    /// Records of an action.
    ActionCount {
        /// As `event.action`.
        pub action: Option<Word<Action>>,
        /// How many.
        pub count: Option<u64>,
    }

    /// The account of records: those that were made are `written` and `lost`; `suppressed` ones were not made.
    Records<'a> {
        /// Records that were written, this one not counted.
        pub written: Option<u64>,
        /// Records that were held back over a limit.
        pub suppressed: Option<u64>,
        /// Records that were lost, by kind. Absent where none was.
        pub lost: Option<Vec<KindCount<'a>>>,
    }

    /// Losses of a kind.
    KindCount<'a> {
        /// What.
        pub kind: Option<Text<'a>>,
        /// How many.
        pub count: Option<u64>,
    }
}
