//! Which deploys are asked for. Every criterion given must match; within one, any of its values.

use super::deploy::{Account, Deploy, Outcome};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Begun at or after this time, ns since the epoch.
    pub since: Option<i64>,
    pub services: Vec<String>,
    pub destinations: Vec<String>,
    /// Name or id: who logged in, who acted, the SSH user or the performer.
    pub users: Vec<String>,
    pub tools: Vec<String>,
    pub actions: Vec<String>,
    pub failed: bool,
}

impl Filter {
    pub fn admits(&self, deploy: &Deploy) -> bool {
        let any = |wanted: &[String], value: &Option<String>| {
            wanted.is_empty() || value.as_ref().is_some_and(|value| wanted.contains(value))
        };
        self.since.is_none_or(|since| deploy.time() >= since)
            && any(&self.services, &deploy.service)
            && any(&self.destinations, &deploy.destination)
            && any(&self.tools, &deploy.tool)
            && any(&self.actions, &deploy.action)
            && (!self.failed || deploy.outcome == Outcome::Failure)
            && (self.users.is_empty() || self.users.iter().any(|wanted| is_of(deploy, wanted)))
    }
}

fn is_of(deploy: &Deploy, wanted: &str) -> bool {
    let is = |value: &Option<String>| value.as_deref() == Some(wanted);
    let account = |account: &Option<Account>| account.as_ref().is_some_and(|a| is(&a.id) || is(&a.name));
    is(&deploy.performer)
        || deploy.session.as_ref().is_some_and(|session| is(&session.user))
        || deploy
            .user
            .as_ref()
            .is_some_and(|user| is(&user.id) || is(&user.name) || account(&user.effective) || account(&user.audit))
}
