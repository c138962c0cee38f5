//! What the sensor wrote, and the contract that every record keeps: checked on everything that any test reads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Deref,
};

use serde_json::Value;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record(pub Value);

/// Records in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Records(pub Vec<Record>);

impl Record {
    /// The field with this dotted name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        name.split('.').try_fold(&self.0, |value, key| value.get(key))
    }

    /// A field that is text; absent is empty.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Value::as_u64)
    }

    /// A field that is a list of texts; absent is empty.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub fn action(&self) -> &str {
        self.text("event.action")
    }

    pub fn is(&self, action: &str) -> bool {
        self.action() == action
    }

    pub fn session(&self) -> &str {
        self.text("ssh.session.id")
    }

    pub fn pid(&self) -> u32 {
        self.number("process.pid").and_then(|pid| pid.try_into().ok()).unwrap_or_default()
    }

    /// What a person needs to recognise it in a list.
    pub fn brief(&self) -> String {
        let (sequence, pid) = (self.number("event.sequence").unwrap_or_default(), self.pid());
        format!("{sequence} {} pid {pid} {:?} session {}", self.action(), self.list("process.args"), self.session())
    }

    /// Of `sensor-stopped`: name, seen, sent, lost and skipped of each program in the kernel.
    pub fn programs(&self) -> Vec<(&str, u64, u64, u64, u64)> {
        let programs = self.get("sensor.programs").and_then(Value::as_array).into_iter().flatten();
        let row = |program: &'_ Value| {
            ["seen", "sent", "lost", "skipped"].map(|count| program.get(count).and_then(Value::as_u64).unwrap_or(0))
        };
        programs
            .map(|program| {
                let [seen, sent, lost, skipped] = row(program);
                (program.get("name").and_then(Value::as_str).unwrap_or_default(), seen, sent, lost, skipped)
            })
            .collect()
    }

    /// Does an argument of the process contain this?
    pub fn args_contain(&self, text: &str) -> bool {
        self.list("process.args").iter().any(|arg| arg.contains(text))
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.0
    }
}

impl Records {
    /// Whole lines only: half a line is a failure.
    pub fn parse(bytes: &[u8]) -> Self {
        assert!(bytes.is_empty() || bytes.last() == Some(&b'\n'), "the last line has no end: {}", tail(bytes));
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let records: Vec<Record> = lines.map(parse_line).collect();
        Self(records)
    }

    pub fn of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Record> {
        self.iter().filter(move |record| record.is(action))
    }

    /// Those of sessions with the sshd on this port, and those of no session: a machine can have other sessions while a
    /// test runs.
    #[must_use]
    pub fn of_server(&self, port: u16) -> Self {
        let with_it = |record: &&Record| {
            record.text("network.protocol") == "ssh"
                && record.number("destination.port") == Some(port.into())
                && record.text("ssh.role") != "client"
        };
        let own: HashSet<&str> = self.iter().filter(with_it).map(Record::session).collect();
        let kept = self.iter().filter(|record| record.session().is_empty() || own.contains(record.session()));
        Self(kept.cloned().collect())
    }

    /// Those that clients on this host have of their connections to this port.
    #[must_use]
    pub fn of_clients(&self, port: u16) -> Self {
        let with_it = |record: &&Record| {
            record.text("ssh.role") == "client" && record.number("destination.port") == Some(port.into())
        };
        Self(self.iter().filter(with_it).cloned().collect())
    }

    /// How many there are of each action.
    #[must_use]
    pub fn actions(&self) -> BTreeMap<&str, usize> {
        let mut actions = BTreeMap::new();
        for record in self.iter() {
            *actions.entry(record.text("event.action")).or_default() += 1;
        }
        actions
    }

    pub fn count(&self, action: &str) -> usize {
        self.of(action).count()
    }

    /// Those of one session.
    #[must_use]
    pub fn session(&self, id: &str) -> Self {
        Self(self.iter().filter(|record| record.session() == id).cloned().collect())
    }

    /// The one record of this action that fits.
    pub fn one(&self, action: &str, fits: impl Fn(&Record) -> bool) -> &Record {
        let all = || self.iter().filter(|record| record.is(action));
        let found: Vec<&Record> = all().filter(|record| fits(record)).collect();
        let shown = || all().map(Record::brief).collect::<Vec<_>>().join("\n");
        assert_eq!(found.len(), 1, "{} fitting records of {action}, one expected, among:\n{}", found.len(), shown());
        found[0]
    }

    /// The one exec with exactly these arguments.
    pub fn exec(&self, args: &[&str]) -> &Record {
        self.one("process-started", |record| record.list("process.args") == args)
    }

    /// The session of that exec.
    #[must_use]
    pub fn session_of(&self, args: &[&str]) -> Self {
        let id = self.exec(args).session().to_owned();
        assert!(!id.is_empty(), "the exec of {args:?} is in no session");
        self.session(&id)
    }

    /// The exit of the process whose exec that was.
    pub fn end_of(&self, exec: &Record) -> &Record {
        let entity = exec.text("process.entity_id");
        self.one("process-ended", |record| record.text("process.entity_id") == entity)
    }

    /// Lost events, by what the records say.
    pub fn lost(&self) -> u64 {
        self.of("sensor-events-lost").filter_map(|record| record.number("sensor.lost.count")).sum()
    }

    pub fn assert_nothing_lost(&self) {
        // Since 7.0 the kernel can skip both programs of a tracepoint; what is recorded of that is an upper bound
        // (sensor/src/kernel/counters.rs). Every test looks for its own events besides.
        let bound = |record: &&Record| record.text("sensor.lost.kind").ends_with(": skipped by the kernel");
        let lost = self.of("sensor-events-lost").filter(|record| !bound(record));
        let lost: Vec<String> = lost.map(|record| record.0.to_string()).collect();
        assert!(lost.is_empty(), "events were lost: {lost:#?}");
    }

    /// The contract that holds for all records, whatever they tell.
    pub fn assert_contract(&self) {
        let mut sequences: HashMap<&str, u64> = HashMap::new();
        let mut ids = HashSet::new();
        for record in self.iter() {
            let shown = || record.0.to_string();
            assert!(!has_null(&record.0), "null: {}", shown());
            assert_eq!(record.text("ecs.version"), "8.17.0", "{}", shown());
            for name in ["host.name", "host.id", "sensor.version", "sensor.boot_id", "event.kind", "event.outcome"] {
                assert!(!record.text(name).is_empty(), "{name} is absent: {}", shown());
            }
            let (category, kind, dataset) =
                meaning(record.action()).unwrap_or_else(|| panic!("an unknown action: {}", shown()));
            assert_eq!(record.list("event.category"), category, "{}", shown());
            assert_eq!(record.list("event.type"), kind, "{}", shown());
            assert_eq!(record.text("event.dataset"), dataset, "{}", shown());
            let id = record.text("event.id");
            assert!(id.len() == 36 && id.as_bytes()[14] == b'7' && ids.insert(id), "event.id: {}", shown());
            assert!(is_time(record.text("@timestamp")), "@timestamp: {}", shown());
            let sequence = sequences.entry(record.text("sensor.boot_id")).or_default();
            *sequence += 1;
            assert_eq!(record.number("event.sequence"), Some(*sequence), "a gap in event.sequence: {}", shown());
            assert!(record.text("process.command_line").len() <= 4096, "{}", shown());
            for (program, seen, sent, lost, _) in record.programs() {
                assert_eq!(seen, sent + lost, "the account of {program} does not reconcile: {}", shown());
            }
            if record.is("ssh-host-key") {
                let said =
                    ["status", "status_reason"].map(|name| record.get(&format!("ssh.host_key.{name}")).is_some());
                assert!(said[0] != said[1], "a status, or why there is none: {}", shown());
            }
            if let Some(signal) = record.number("process.exit_signal") {
                assert_eq!(record.number("process.exit_code"), Some(128 + signal), "{}", shown());
            }
        }
    }
}

fn parse_line(line: &[u8]) -> Record {
    assert!(line.len() <= 256 << 10, "a record of {} bytes", line.len());
    match serde_json::from_slice(line) {
        Ok(value) => Record(value),
        Err(error) => panic!("not JSON: {error}: {}", tail(line)),
    }
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(500)..]).into_owned()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// RFC 3339 in UTC with nanoseconds.
fn is_time(text: &str) -> bool {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00T00:00:00.000000000Z")
}

/// Category, type and dataset that an action implies.
pub fn meaning(action: &str) -> Option<(&'static [&'static str], &'static [&'static str], &'static str)> {
    Some(match action {
        "ssh-connection" => (&["network", "session"], &["connection", "start"], "sensor.ssh"),

        "ssh-host-key" | "ssh-key-offered" => (&["authentication"], &["info"], "sensor.ssh"),
        "ssh-authentication" => (&["authentication"], &["start"], "sensor.ssh"),
        "ssh-channel-opened" => (&["network"], &["connection", "start"], "sensor.ssh"),
        "ssh-channel-closed" => (&["network"], &["end"], "sensor.ssh"),
        "ssh-forward-requested" => (&["network"], &["info"], "sensor.ssh"),
        "ssh-command-started" => (&["process", "session"], &["start"], "sensor.ssh"),
        "ssh-command-ended" => (&["process", "session"], &["end"], "sensor.ssh"),
        "ssh-protocol-error" => (&["network"], &["error"], "sensor.ssh"),
        "ssh-session-started" => (&["session"], &["start"], "sensor.ssh"),
        "ssh-session-ended" => (&["session"], &["end"], "sensor.ssh"),
        "process-started" => (&["process"], &["start"], "sensor.process"),
        "process-ended" => (&["process"], &["end"], "sensor.process"),
        "connection-opened" => (&["network"], &["connection", "start"], "sensor.network"),
        "connection-closed" => (&["network"], &["connection", "end"], "sensor.network"),
        "connection-failed" => (&["network"], &["connection", "denied"], "sensor.network"),
        "deploy-started" => (&["configuration", "process"], &["start"], "sensor.deploy"),
        "deploy-finished" => (&["configuration", "process"], &["end"], "sensor.deploy"),
        "deploy-step" => (&["process"], &["info"], "sensor.deploy"),
        "deploy-config-changed" => (&["configuration", "file"], &["change"], "sensor.deploy"),
        "sensor-started" => (&["configuration", "process"], &["start"], "sensor.health"),
        "sensor-stopped" => (&["configuration", "process"], &["end"], "sensor.health"),
        "sensor-config-reloaded" => (&["configuration", "process"], &["change"], "sensor.health"),
        "sensor-degraded" | "sensor-events-lost" => (&["configuration"], &["error"], "sensor.health"),
        "sensor-suppressed" => (&["configuration"], &["info"], "sensor.health"),
        _ => return None,
    })
}
