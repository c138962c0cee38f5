//! First reading of the logs: which deploys there are.
//!
//! What enters: lines of all logs, each host's in order. What leaves: deploys, the oldest first, each with what all
//! sides say of it. Only records of deploys are kept, as far as a list needs them, and at most `KEPT_MAX` bytes of
//! them: then the oldest go, and `dropped` counts them.

use std::collections::{BTreeMap, HashMap};

use aho_corasick::AhoCorasick;

use super::{
    deploy::{Deploy, Failing, Host, NAMES_MAX, Outcome, State, add_all},
    fields::Fields,
    lines::Broken,
    sides,
};
use crate::event::record::Time;

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

/// One host's view of a deploy, while it is read.
#[derive(Default)]
pub(super) struct DeployBuilder {
    pub deploy: Deploy,
    /// The deploy tool ran here: its start or end is known.
    pub ran_here: bool,
    /// Steps by connection and end: those that came here and those that went out. Of a deploy tool's own host: also the
    /// session in which it was started.
    pub served: BTreeMap<String, Count>,
    sent: BTreeMap<String, Count>,
    pub first: i64,
    pub last: i64,
    run: Option<String>,
    /// Steps of no connection.
    local: Count,
    kept: usize,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    steps: u64,
    failed: u64,
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
        let fields = Fields::parse(line)?;
        match fields.action() {
            "sensor-started" | "sensor-stopped" => self.sensor(&fields),
            "deploy-started" | "deploy-finished" | "deploy-step" => self.deploy(&fields, line.len()),
            _ => {}
        }
        Ok(())
    }

    fn sensor(&mut self, fields: &Fields) {
        let known = self.sensors.get(&fields.host.id).is_some_and(|known| known.time > fields.time);
        if !known && (self.sensors.len() < 65_536 || self.sensors.contains_key(&fields.host.id)) {
            let stopped = fields.action() == "sensor-stopped";
            let sensor = Sensor { time: fields.time, run: fields.sensor.boot_id.clone(), stopped };
            self.sensors.insert(fields.host.id.clone(), sensor);
        }
    }

    fn deploy(&mut self, fields: &Fields, size: usize) {
        let named = fields.deploy.id.clone();
        let Some(id) =
            named.clone().or_else(|| fields.ssh.connection.id.clone()).or_else(|| fields.ssh.session.id.clone())
        else {
            return;
        };
        let key = Key { host: fields.host.id.clone(), id: id.clone() };
        let draft = self.found.entry(key).or_insert_with(|| DeployBuilder {
            deploy: Deploy { id, host: Host::from(&fields.host), ..Deploy::default() },
            first: fields.time,
            last: fields.time,
            run: fields.sensor.boot_id.clone(),
            ..DeployBuilder::default()
        });
        draft.observe(fields);
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

impl DeployBuilder {
    fn observe(&mut self, fields: &Fields) {
        self.first = self.first.min(fields.time);
        self.last = self.last.max(fields.time);
        self.deploy.learn(fields);
        match fields.action() {
            "deploy-started" => self.started(fields),
            "deploy-finished" => self.finished(fields),
            _ => self.step(fields),
        }
    }

    fn started(&mut self, fields: &Fields) {
        self.ran_here = true;
        let before = self.deploy.started.map_or(fields.time, |time| time.0);
        self.deploy.started = Some(Time(before.min(fields.time)));
        if fields.sensor.inferred == Some(true) {
            self.deploy.inferred = Some(true);
            // The sensor was started anew meanwhile: its end will be told by this one.
            self.run.clone_from(&fields.sensor.boot_id);
        }
        self.tool(fields);
    }

    fn finished(&mut self, fields: &Fields) {
        self.ran_here = true;
        self.tool(fields);
        let deploy = &mut self.deploy;
        deploy.state = State::Finished;
        deploy.outcome = Outcome::from(fields.event.outcome.as_str());
        deploy.ended = Some(Time(fields.time));
        deploy.duration = fields.event.duration;
        if let (None, Some(duration)) = (deploy.started, deploy.duration) {
            deploy.started = Some(Time(fields.time.saturating_sub_unsigned(duration)));
        }
        deploy.exit_code = fields.process.exit_code;
        deploy.error.clone_from(&fields.error.message);
        if let Some(steps) = fields.deploy.steps.get() {
            deploy.steps = *steps;
        }
        let step = &fields.deploy.step;
        deploy.failing = step.line.clone().map(|line| Failing { line, host: step.host.clone() });
    }

    fn tool(&mut self, fields: &Fields) {
        self.deploy.learn_who(fields);
        let process = &fields.process;
        let deploy = &mut self.deploy;
        for (known, new) in [
            (&mut deploy.entity, &process.entity_id),
            (&mut deploy.command_line, &process.command_line),
            (&mut deploy.working_directory, &process.working_directory),
        ] {
            if known.is_none() {
                known.clone_from(new);
            }
        }
    }

    fn step(&mut self, fields: &Fields) {
        let deploy = &mut self.deploy;
        add_all(&mut deploy.hosts, fields.deploy.step.host.as_slice());
        add_all(&mut deploy.roles, fields.deploy.step.role.as_slice());
        let ends = if fields.is_server() { &mut self.served } else { &mut self.sent };
        let count = match &fields.ssh.connection.id {
            Some(connection) if ends.len() < NAMES_MAX => ends.entry(connection.clone()).or_default(),
            _ => &mut self.local,
        };
        count.steps += 1;
        count.failed += u64::from(fields.has_failed());
        match &fields.ssh.connection.id {
            // Who logged in to do it. The deploy tool's own record tells of its user.
            Some(_) if fields.is_server() && !self.ran_here => self.deploy.learn_who(fields),
            Some(connection) if !fields.is_server() => {
                add_all(&mut self.deploy.connections, std::slice::from_ref(connection));
            }
            _ => {}
        }
    }

    /// Everything is read: how many steps there were. On a host that is deployer and target at once a command has two
    /// ends, and is one step.
    fn count(&mut self) {
        let mut total = self.local;
        let mut add = |count: Count| {
            total.steps += count.steps;
            total.failed += count.failed;
        };
        for (id, served) in &self.served {
            let sent = self.sent.get(id).copied().unwrap_or_default();
            add(Count { steps: served.steps.max(sent.steps), failed: served.failed.max(sent.failed) });
        }
        for (_, sent) in self.sent.iter().filter(|(id, _)| !self.served.contains_key(*id)) {
            add(*sent);
        }
        self.deploy.failed_steps = total.failed;
        // A sensor that was started meanwhile has counted its own.
        if self.deploy.steps == 0 || self.deploy.inferred.is_some() {
            self.deploy.steps = total.steps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
