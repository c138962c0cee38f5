//! The comparison: the execs of a user's sessions as the audit log has them, against the sensor's records of the same
//! sessions.
//!
//! Sessions are distinguished by what the kernel says (audit session ids, set by PAM at login), so the sensor's own
//! idea of a session is what is tested. Execs are compared as multisets, in both directions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    audit::Exec,
    records::{Record, Records},
};

/// What is compared of an exec: pid, real uid, executable, argv.
type ExecKey = (u32, String, String, Vec<String>);

pub struct Truth {
    execs: Vec<Exec>,
    /// Login uid of the sessions that count.
    login: u32,
    /// sshd's listener.
    listener: u32,
}

impl Truth {
    /// Of everybody's execs those of the sessions of one user, and of the server processes that lead there.
    pub fn new(execs: Vec<Exec>, login: u32, listener: u32) -> Self {
        let execs = execs.into_iter().filter(|exec| exec.login == Some(login) || exec.parent == listener).collect();
        Self { execs, login, listener }
    }

    pub fn execs(&self) -> &[Exec] {
        &self.execs
    }

    /// Audit session ids.
    pub fn sessions(&self) -> BTreeSet<u32> {
        self.execs.iter().filter_map(|exec| exec.session).collect()
    }

    /// Processes of a session that executed a program, the server's own not counted.
    pub fn processes(&self, session: u32) -> usize {
        let own = self.execs.iter().filter(|exec| exec.session == Some(session) && !exec.exe.ends_with("/sshd"));
        own.map(|exec| exec.pid).collect::<BTreeSet<_>>().len()
    }

    /// The records tell the same execs, each in its session; each session starts once, ends once and counts right.
    pub fn assert_told_by(&self, records: &Records) {
        assert!(!self.sessions().is_empty(), "the audit log has no session: there is nothing to compare with");
        let login = self.login.to_string();
        let in_login = |record: &&Record| record.text("user.audit.id") == login;
        let recorded: Vec<&Record> = records.iter().filter(|record| record.is("process-started")).collect();
        for session in self.sessions() {
            let id = session.to_string();
            let own = recorded.iter().copied().filter(in_login).filter(|record| record.text("auditd.session") == id);
            let expected = self.execs.iter().filter(|exec| exec.session == Some(session));
            same(&format!("audit session {id}"), expected, own.clone());
            let ids: BTreeSet<&str> = own.map(Record::session).collect();
            assert_eq!(ids.len(), 1, "audit session {id} is not one SSH session: {ids:?}");
            let ssh = ids.first().copied().unwrap_or_default();
            assert!(!ssh.is_empty(), "audit session {id} is no SSH session");
            self.assert_one_start_and_end(session, &records.session(ssh));
        }
        // At its start a session has the name that logged in; the id that it became shows later.
        let ends: BTreeSet<&str> = records.of("ssh-session-ended").filter(in_login).map(Record::session).collect();
        assert_eq!(ends.len(), self.sessions().len(), "sessions recorded and sessions there were");
        let before = self.execs.iter().filter(|exec| exec.login.is_none() && exec.parent == self.listener);
        let sshd_internal = recorded.iter().copied().filter(|record| {
            record.number("process.parent.pid") == Some(self.listener.into()) && record.get("auditd.session").is_none()
        });
        same("processes before a login", before, sshd_internal);
    }

    fn assert_one_start_and_end(&self, session: u32, records: &Records) {
        let id = session.to_string();
        let other = records.iter().find(|record| !["", &id].contains(&record.text("auditd.session")));
        assert!(other.is_none(), "a record of another login in audit session {id}: {other:?}");
        let at = |action| records.iter().position(|record| record.is(action));
        assert_eq!(records.count("ssh-session-started"), 1, "audit session {id} starts once");
        assert_eq!(records.count("ssh-session-ended"), 1, "audit session {id} ends once");
        assert!(at("ssh-session-started") < at("ssh-session-ended"));
        let end = records.one("ssh-session-ended", |_| true);
        let so_far = records.iter().take_while(|record| !record.is("ssh-session-ended"));
        let late = self.processes(session) - so_far_processes(so_far);
        let counted = end.number("ssh.session.processes").unwrap_or_default() as usize;
        assert_eq!(counted + late, self.processes(session), "ssh.session.processes of audit session {id}");
    }
}

/// Processes that had executed a program, the server's own not counted, when a session ended.
fn so_far_processes<'a>(records: impl Iterator<Item = &'a Record>) -> usize {
    let execs = records.filter(|record| record.is("process-started") && record.text("process.name") != "sshd");
    execs.map(Record::pid).collect::<BTreeSet<_>>().len()
}

fn same<'a>(what: &str, truth: impl Iterator<Item = &'a Exec>, records: impl Iterator<Item = &'a Record>) {
    let mut balance: BTreeMap<ExecKey, i64> = BTreeMap::new();
    for exec in truth {
        let argv = exec.argv.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        *balance.entry((exec.pid, exec.uid.to_string(), exec.exe.clone(), argv)).or_default() += 1;
    }
    for record in records {
        let args = record.list("process.args").into_iter().map(str::to_owned).collect();
        let (uid, exe) = (record.text("user.id").to_owned(), record.text("process.executable").to_owned());
        *balance.entry((record.pid(), uid, exe, args)).or_default() -= 1;
    }
    let missed: Vec<&ExecKey> = balance.iter().filter(|(_, count)| **count > 0).map(|(recorded, _)| recorded).collect();
    let made_up: Vec<&ExecKey> =
        balance.iter().filter(|(_, count)| **count < 0).map(|(recorded, _)| recorded).collect();
    assert!(
        missed.is_empty() && made_up.is_empty(),
        "{what}: execs that the sensor does not record: {missed:#?}\nand that it records but the audit log does not: {made_up:#?}"
    );
}
