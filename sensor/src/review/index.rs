//! First reading of the logs: which deploys there are.
//!
//! What enters: lines of all logs, each host's in order. What leaves: deploys, the oldest first, each with what all
//! sides say of it. Only records of deploys are kept, as far as a list needs them, and at most `KEPT_MAX` bytes of
//! them: then the oldest go, and `dropped` counts them.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use super::{
    builder::DeployBuilder,
    deploy::{Deploy, State},
    lines::Broken,
    record::Record,
    sides,
};
use crate::finding::Action;

/// What may be kept, by the size of the lines that it came from.
const KEPT_MAX: usize = 256 << 20;

/// What a line of interest contains, whatever wrote its JSON.
const MARKS: [&str; 3] = ["\"deploy-", "\"sensor-started\"", "\"sensor-stopped\""];

pub struct Index {
    marks: AhoCorasick,
    found: HashMap<Key, DeployBuilder>,
    /// By host id: the newest start or stop of a sensor there.
    sensors: HashMap<String, Sensor>,
    kept: usize,
    kept_max: usize,
    /// Deploys that were too many.
    pub dropped: u64,
}

/// One host's name for a deploy; of a target that has none: its connection or session.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    host: String,
    id: String,
}

struct Sensor {
    time: i64,
    run: Option<String>,
    stopped: bool,
}

impl Index {
    pub fn new() -> Result<Self, aho_corasick::BuildError> {
        Ok(Self {
            marks: AhoCorasick::new(MARKS)?,
            found: HashMap::new(),
            sensors: HashMap::new(),
            kept: 0,
            kept_max: KEPT_MAX,
            dropped: 0,
        })
    }

    /// Would `observe` read it?
    pub fn knows(line: &[u8]) -> bool {
        MARKS.iter().any(|mark| memchr::memmem::find(line, mark.as_bytes()).is_some())
    }

    pub fn observe(&mut self, line: &[u8]) -> Result<(), Broken> {
        if !self.marks.is_match(line) {
            return Ok(());
        }
        let Some(record) = Record::parse(line)? else { return Ok(()) };
        match record.action() {
            Action::SensorStarted | Action::SensorStopped => self.sensor(&record),
            Action::DeployStarted | Action::DeployFinished | Action::DeployStep => self.deploy(&record, line.len()),
            _ => {}
        }
        Ok(())
    }

    fn sensor(&mut self, record: &Record) {
        let host = &record.host.id;
        let known = self.sensors.get(host).is_some_and(|known| known.time > record.time());
        if !known && (self.sensors.len() < 65_536 || self.sensors.contains_key(host)) {
            let stopped = record.action() == Action::SensorStopped;
            let sensor = Sensor { time: record.time(), run: record.run.clone(), stopped };
            self.sensors.insert(host.clone(), sensor);
        }
    }

    fn deploy(&mut self, record: &Record, size: usize) {
        let Some(id) = record.deploy().or_else(|| record.connection()).or_else(|| record.session()) else { return };
        let key = Key { host: record.host.id.clone(), id: id.to_owned() };
        let draft = self.found.entry(key).or_insert_with(|| DeployBuilder {
            deploy: Deploy { id: id.to_owned(), host: record.host.clone(), ..Deploy::default() },
            first: record.time(),
            last: record.time(),
            run: record.run.clone(),
            ..DeployBuilder::default()
        });
        draft.observe(record);
        draft.kept += size;
        self.kept += size;
        if self.kept > self.kept_max {
            self.drop_oldest();
        }
    }

    /// The older half goes: rarely, so that it costs little.
    fn drop_oldest(&mut self) {
        let mut times: Vec<i64> = self.found.values().map(|draft| draft.last).collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or(i64::MAX);
        let before = self.found.len();
        self.found.retain(|_, draft| draft.last > middle);
        self.dropped += (before - self.found.len()) as u64;
        self.kept = self.found.values().map(|draft| draft.kept).sum();
    }

    /// The deploys that were found, the oldest first.
    pub fn deploys(self) -> Vec<Deploy> {
        let sensors = self.sensors;
        let mut drafts: Vec<DeployBuilder> = self.found.into_values().collect();
        for draft in &mut drafts {
            draft.count();
            let goes_on = |sensor: &Sensor| !sensor.stopped && sensor.run == draft.run;
            if draft.ran_here
                && draft.deploy.state != State::Finished
                && sensors.get(&draft.deploy.host.id).is_none_or(goes_on)
            {
                draft.deploy.state = State::Running;
            }
        }
        sides::join(drafts)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::deploy::Outcome, *};

    fn index(lines: &[&str]) -> Index {
        let mut index = Index::new().unwrap();
        for line in lines {
            index.observe(line.as_bytes()).unwrap();
        }
        index
    }

    fn record(second: u32, action: &str, rest: &str) -> String {
        format!(
            r#"{{"@timestamp":"2026-11-21T21:18:{second:02}Z","event":{{"action":"{action}","outcome":"failure"}},
            "host":{{"id":"h","name":"vm"}},"sensor":{{"boot_id":"r1"}}{rest}}}"#
        )
    }

    #[test]
    fn a_deploy_runs_until_its_sensor_does_not() {
        let started = record(1, "deploy-started", r#","deploy":{"id":"d"}"#);
        let stopped = record(2, "sensor-stopped", "");
        let state = |lines: &[&str]| index(lines).deploys().remove(0).state;
        assert_eq!(state(&[&started]), State::Running);
        assert_eq!(state(&[&started, &stopped]), State::EndNotSeen);
        let again = record(3, "sensor-started", "").replace("r1", "r2");
        assert_eq!(state(&[&started, &again]), State::EndNotSeen);
        assert_eq!(state(&[&started, &record(4, "deploy-finished", r#","deploy":{"id":"d"}"#)]), State::Finished);
    }

    #[test]
    fn an_end_without_a_beginning_tells_when_it_began() {
        let end = record(9, "deploy-finished", r#","deploy":{"id":"d","reason":"lock-held"}"#);
        let end = end.replace("\"outcome\"", "\"duration\":2000000000,\"outcome\"");
        let deploy = index(&[&end]).deploys().remove(0);
        assert_eq!(deploy.started.unwrap().to_string(), "2026-11-21T21:18:07.000000000Z");
        assert_eq!((deploy.outcome, deploy.reason.as_deref()), (Outcome::Failure, Some("lock-held")));
    }

    #[test]
    fn too_many_deploys_leave_the_newest() {
        let mut index = Index::new().unwrap();
        index.kept_max = 20_000;
        for second in 0..600_u32 {
            let line = record(second % 60, "deploy-started", &format!(r#","deploy":{{"id":"d{second}"}}"#));
            let line = line.replace("21:18", &format!("21:{:02}", second / 60));
            index.observe(line.as_bytes()).unwrap();
        }
        let dropped = index.dropped;
        let deploys = index.deploys();
        assert_eq!(deploys.len() as u64 + dropped, 600);
        assert!(!deploys.is_empty() && deploys.len() < 200 && deploys.last().unwrap().id == "d599");
    }
}
