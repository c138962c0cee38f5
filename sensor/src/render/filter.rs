//! Which records are shown: a predicate over finished records, for `sensor trace` and `sensor replay`.
//!
//! Every criterion given must match; within one, any of its values.

use crate::event::record::{Action, Record};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name or id: login user, real user or SSH user.
    pub users: Vec<String>,
    /// Beginnings of `ssh.session.id`.
    pub sessions: Vec<String>,
    /// Either end of a connection, or where the session came from.
    pub addresses: Vec<String>,
    pub actions: Vec<Action>,
}

impl Filter {
    /// Is the record to be shown? What the sensor says about itself always is.
    pub fn admits(&self, record: &Record) -> bool {
        if record.action.meaning().dataset == "sensor.health" {
            return self.actions.is_empty() || self.actions.contains(&record.action);
        }
        let any =
            |wanted: &[String], matches: &dyn Fn(&str) -> bool| wanted.is_empty() || wanted.iter().any(|w| matches(w));
        (self.actions.is_empty() || self.actions.contains(&record.action))
            && any(&self.users, &|user| is_user(record, user))
            && any(&self.sessions, &|id| record.ssh.as_ref().is_some_and(|ssh| ssh.session.id.starts_with(id)))
            && any(&self.addresses, &|address| has_address(record, address))
    }
}

fn is_user(record: &Record, wanted: &str) -> bool {
    let user = record.user.as_ref();
    let ssh = record.destination.as_ref().and_then(|destination| destination.user.as_ref());
    let own = user.map(|user| (user.id.as_deref(), user.name.as_deref()));
    let audit = user.and_then(|user| user.audit.as_ref()).map(|a| (a.id.as_deref(), a.name.as_deref()));
    let ssh = ssh.map(|account| (account.id.as_deref(), account.name.as_deref()));
    [own, audit, ssh].into_iter().flatten().any(|(id, name)| id == Some(wanted) || name == Some(wanted))
}

fn has_address(record: &Record, wanted: &str) -> bool {
    let entry = record.process.as_ref().and_then(|process| process.entry_leader.as_ref());
    record.source.as_ref().is_some_and(|source| source.ip == wanted)
        || record.destination.as_ref().is_some_and(|destination| destination.ip.as_deref() == Some(wanted))
        || entry.is_some_and(|leader| leader.entry_meta.source.ip == wanted)
}
