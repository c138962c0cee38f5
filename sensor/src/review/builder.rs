//! One host's view of a deploy, put together record by record.
//!
//! What enters: fields of records of one deploy on one host, in the order of the log. What leaves: the deploy as that
//! host saw it, with its steps counted once.

use std::collections::BTreeMap;

use super::{
    deploy::{Deploy, Failing, NAMES_MAX, Outcome, State, add_all},
    fields::Fields,
};
use crate::event::record::Time;

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
    pub(super) fn observe(&mut self, fields: &Fields) {
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
