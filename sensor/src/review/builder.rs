//! One host's view of a deploy, put together record by record.
//!
//! What enters: records of one deploy on one host, in the order of the log. What leaves: the deploy as that
//! host saw it, with its steps counted once.

use std::collections::BTreeMap;

use super::{
    deploy::{Deploy, NAMES_MAX, State, add_all},
    record::Record,
};
use crate::finding::{Action, Time};

/// One host's view of a deploy, while it is read.
#[derive(Default)]
pub(super) struct DeployBuilder {
    pub deploy: Deploy,
    /// The deploy tool ran here: its start or end is known.
    pub ran_here: bool,
    /// Steps by connection and end: those that came here and those that went out. Of a deploy tool's own host: also the
    /// session in which it was started.
    pub served: BTreeMap<String, Count>,
    pub(super) sent: BTreeMap<String, Count>,
    pub first: i64,
    pub last: i64,
    pub(super) run: Option<String>,
    /// Steps of no connection.
    pub(super) local: Count,
    pub(super) kept: usize,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) steps: u64,
    pub(super) failed: u64,
}

impl DeployBuilder {
    pub(super) fn observe(&mut self, record: &Record) {
        self.first = self.first.min(record.time());
        self.last = self.last.max(record.time());
        self.deploy.learn(record);
        match record.action() {
            Action::DeployStarted => self.started(record),
            Action::DeployFinished => self.finished(record),
            _ => self.step(record),
        }
    }

    fn started(&mut self, record: &Record) {
        self.ran_here = true;
        let before = self.deploy.started.map_or(record.time(), |time| time.0);
        self.deploy.started = Some(Time(before.min(record.time())));
        if record.finding.quality.inferred {
            self.deploy.inferred = Some(true);
            // The sensor was started anew meanwhile: its end will be told by this one.
            self.run.clone_from(&record.run);
        }
        self.tool(record);
    }

    fn finished(&mut self, record: &Record) {
        self.ran_here = true;
        self.tool(record);
        let deploy = &mut self.deploy;
        deploy.state = State::Finished;
        deploy.outcome = record.outcome();
        deploy.ended = Some(record.finding.time);
        deploy.duration = record.finding.duration;
        if let (None, Some(duration)) = (deploy.started, deploy.duration) {
            deploy.started = Some(Time(record.time().saturating_sub_unsigned(duration)));
        }
        let Some(finish) = record.finish() else { return };
        deploy.exit_code = finish.exit.map(|exit| exit.code.into());
        deploy.error = finish.message.as_deref().map(str::to_owned);
        deploy.steps = finish.steps.unwrap_or(deploy.steps);
    }

    fn tool(&mut self, record: &Record) {
        self.deploy.learn_who(record);
        let Some(process) = record.process() else { return };
        let deploy = &mut self.deploy;
        for (known, new) in [
            (&mut deploy.entity, Some(process.entity_id.as_str())),
            (&mut deploy.command_line, process.command_line.as_deref()),
            (&mut deploy.working_directory, process.working_directory.as_deref()),
        ] {
            if known.is_none() {
                *known = new.map(str::to_owned);
            }
        }
    }

    fn step(&mut self, record: &Record) {
        let deploy = &mut self.deploy;
        if let Some(step) = record.step() {
            add_all(&mut deploy.hosts, step.host.as_slice());
            add_all(&mut deploy.roles, step.role.as_slice());
        }
        let ends = if record.is_server() { &mut self.served } else { &mut self.sent };
        let count = match record.connection() {
            Some(connection) if ends.len() < NAMES_MAX => ends.entry(connection.to_owned()).or_default(),
            _ => &mut self.local,
        };
        count.steps += 1;
        count.failed += u64::from(record.has_failed());
        match record.connection() {
            // Who logged in to do it. The deploy tool's own record tells of its user.
            Some(_) if record.is_server() && !self.ran_here => self.deploy.learn_who(record),
            Some(connection) if !record.is_server() => {
                add_all(&mut self.deploy.connections, &[connection.to_owned()]);
            }
            _ => {}
        }
    }

    /// Everything is read: how many steps there were. On a host that is deployer and target at once a command has two
    /// ends, and is one step.
    pub(super) fn count(&mut self) {
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
