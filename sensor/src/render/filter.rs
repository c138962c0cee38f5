//! Which records are shown: a predicate over findings, for `sensor trace` and `sensor replay`.
//!
//! Every criterion given must match; within one, any of its values.

use std::net::IpAddr;

use crate::finding::{Account, Action, Family, Finding};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name or id: login user, real user or SSH user.
    pub users: Vec<String>,
    /// Beginnings of `ssh.session.id`.
    pub sessions: Vec<String>,
    /// Either end of a connection, or where the session came from.
    pub addresses: Vec<IpAddr>,
    pub actions: Vec<Action>,
}

impl Filter {
    /// Is the finding to be shown? What the sensor says about itself always is.
    pub fn admits(&self, finding: &Finding) -> bool {
        let action = finding.action();
        if !self.actions.is_empty() && !self.actions.contains(&action) {
            return false;
        }
        if action.family() == Family::Health {
            return true;
        }
        let session = finding.subject.ssh.as_ref().and_then(|ssh| ssh.session.as_ref());
        let any =
            |wanted: &[String], matches: &dyn Fn(&str) -> bool| wanted.is_empty() || wanted.iter().any(|w| matches(w));
        any(&self.users, &|user| is_user(finding, user))
            && any(&self.sessions, &|id| session.is_some_and(|session| session.id.starts_with(id)))
            && (self.addresses.is_empty() || self.addresses.iter().any(|address| has_address(finding, *address)))
    }
}

fn is_user(finding: &Finding, wanted: &str) -> bool {
    let user = finding.subject.user.as_ref();
    let login = finding.subject.flow.as_ref().and_then(|flow| flow.destination.login.as_ref());
    let is = |account: &Account| {
        account.name.as_deref() == Some(wanted) || account.id.is_some_and(|id| wanted.parse() == Ok(id))
    };
    user.map(|user| &user.real).is_some_and(is)
        || user.and_then(|user| user.audit.as_ref()).is_some_and(is)
        || login.is_some_and(is)
}

fn has_address(finding: &Finding, wanted: IpAddr) -> bool {
    let is = |ip: IpAddr| ip.to_canonical() == wanted.to_canonical();
    let flow = finding.subject.flow.as_ref();
    let entry = finding.subject.process.as_ref().and_then(|process| process.entry_leader.as_ref());
    flow.and_then(|flow| flow.source.as_ref()).is_some_and(|source| is(source.ip))
        || flow.and_then(|flow| flow.destination.ip).is_some_and(is)
        || entry.is_some_and(|leader| is(leader.source))
}
