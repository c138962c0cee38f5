//! What a test of sessions needs, started in the order in which it must be: the audit log before sshd (a process is
//! audited if it was forked under the rule), the sensor before the sessions. Dropped in the order of the fields.

use std::process::Command;

use crate::{
    Account, Audit, Folder, Machine, Record, Records, Running, Sensor, Sshd, running::Ended, truth::Truth, wait,
};

pub struct Stage {
    pub sshd: Sshd,
    pub sensor: Sensor,
    pub account: Account,
    audit: Option<Audit>,
    pub folder: Folder,
    _machine: Machine,
}

impl Stage {
    /// Without the audit log. `config` follows `[output]`.
    pub fn new(name: &str, config: &str) -> Self {
        Self::set(name, config, false)
    }

    /// With the audit log to compare with.
    pub fn audited(name: &str) -> Self {
        Self::set(name, "", true)
    }

    fn set(name: &str, config: &str, audited: bool) -> Self {
        let machine = Machine::take();
        let folder = Folder::new(name);
        let account = Account::create("sensor-test");
        let audit = audited.then(Audit::start);
        let sensor = Sensor::run(&folder, config);
        let sshd = Sshd::start(&folder);
        Self { sshd, sensor, account, audit, folder, _machine: machine }
    }

    /// Runs a command in a session, to its end.
    pub fn session(&self, command: &str) -> Ended {
        self.sshd.session(&self.account.name, command)
    }

    /// `ssh OPTIONS user@test`; the command follows.
    pub fn ssh(&self, options: &[&str]) -> Command {
        self.sshd.ssh(&self.account.name, options)
    }

    /// A session that stays open, from where it says `ready`.
    pub fn open_session(&self, command: &str) -> Running {
        self.sshd.open_session(&self.account.name, command)
    }

    /// Waits for a record of this stage's sessions, or of none.
    pub fn until(&self, what: &str, fits: impl Fn(&Record) -> bool) -> Record {
        let find = |records: Records| records.iter().find(|record| fits(record)).cloned();
        wait::until(what, || find(self.sensor.records().of_server(self.sshd.port)))
    }

    /// Waits for the end of so many sessions.
    pub fn until_sessions_end(&self, count: usize) {
        self.sensor.until_sessions_end(self.sshd.port, count);
    }

    /// Stops the sensor: what it wrote of this stage's sessions and of none, with nothing lost.
    pub fn records(&mut self) -> Records {
        let records = self.sensor.stop();
        records.assert_nothing_lost();
        records.of_server(self.sshd.port)
    }

    /// Stops the sensor: what it wrote, and what the audit log says of the user's sessions; both tell the same execs.
    pub fn compare(&mut self) -> (Records, Truth) {
        let execs = self.audit.as_ref().expect("a stage with audit").take();
        let records = self.sensor.stop();
        records.assert_nothing_lost();
        let truth = Truth::new(execs, self.account.uid, self.sshd.pid());
        truth.assert_told_by(&records);
        (records.of_server(self.sshd.port), truth)
    }
}
