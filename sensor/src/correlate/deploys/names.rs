//! What the commands of a deploy say of it, one after the other: service, destination, performer, version, and which
//! container is of which role and version.
//!
//! In: classified commands, in their order. Out: the same with role and version filled where a container's name tells
//! them. A container is named after service, role, destination and version; where one ends and the next begins is known
//! from labels, from the project's roles or from the name that the proxy has: without one of these the name is not
//! taken apart.

use std::collections::BTreeSet;

use crate::{
    deploy::{ClassifiedStep, Tool},
    finding::deploy::Claim,
};

/// Values confirmed by acts; a deploy has a version, a service, a destination and a handful of roles.
const CONFIRMED_MAX: usize = 256;
/// Roles of one service; a deploy has a handful.
const PREFIXES_MAX: usize = 64;

/// What an act can confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Confirmed {
    Version,
    Service,
    Destination,
    Role,
    Container,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) service: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) performer: Option<String>,
    pub(super) version: Option<String>,
    pub(super) previous: Option<String>,
    /// Beginnings of containers' names, and their role.
    prefixes: Vec<(String, Option<String>)>,
    /// The new version serves: what is stopped now was the one before.
    served: bool,
    /// The version before was stopped or renamed, with exit status 0.
    replaced: bool,
    /// What commands acted on that ended with 0: field and value.
    confirmed: BTreeSet<(Confirmed, String)>,
}

impl Names {
    /// Containers of these roles.
    pub(super) fn add_roles(&mut self, roles: &[(String, Vec<String>)]) {
        let Some(service) = self.service.clone() else { return };
        for (role, _) in roles {
            let name = [Some(&service), Some(role), self.destination.as_ref()];
            self.add_prefix(name.into_iter().flatten().cloned().collect::<Vec<_>>().join("-"), Some(role.clone()));
        }
    }

    fn add_prefix(&mut self, prefix: String, role: Option<String>) {
        let room = self.prefixes.len() < PREFIXES_MAX;
        match self.prefixes.iter_mut().find(|(known, _)| *known == prefix) {
            Some((_, known)) => *known = known.take().or(role),
            None if room => self.prefixes.push((prefix, role)),
            None => {}
        }
    }

    /// Learns from a command, and completes it.
    pub(super) fn learn(&mut self, step: &mut ClassifiedStep) {
        if step.labelled || self.service.is_none() {
            self.service = step.service.clone().or_else(|| self.service.take());
            self.destination = step.destination.clone().or_else(|| self.destination.take());
        }
        if self.destination.is_none() {
            self.destination.clone_from(&step.destination);
        }
        if self.performer.is_none() {
            self.performer.clone_from(&step.performer);
        }
        if step.labelled
            && let (Some(service), Some(role)) = (&step.service, &step.role)
        {
            let name = [Some(service), Some(role), step.destination.as_ref().or(self.destination.as_ref())];
            self.add_prefix(name.into_iter().flatten().cloned().collect::<Vec<_>>().join("-"), step.role.clone());
        }
        if let Some(prefix) = step.prefix.clone() {
            let role = step.role.clone().or_else(|| self.role_of(&prefix));
            self.add_prefix(prefix, role.clone());
            step.role = step.role.take().or(role);
        }
        if let Some(container) = &step.container
            && let Some((role, version)) = self.split(container)
        {
            step.role = step.role.take().or(role);
            if step.version.is_none() {
                step.version = version.filter(|_| !step.retires);
            }
        }
        if self.version.is_none() && step.kind != "rename" && step.kind != "exec" {
            self.version.clone_from(&step.version);
        }
        // What runs under a name that is wanted was deployed before.
        if step.kind == "rename" && self.previous.is_none() {
            self.previous = step.container.as_ref().and_then(|name| self.split(name)).and_then(|(_, version)| version);
        }
    }

    /// A command over a connection ended with 0: what it acted on is more than a claim.
    fn confirm(&mut self, step: &ClassifiedStep) {
        self.replaced |= step.kind == "rename" && self.previous.is_some();
        if !step.confirms {
            return;
        }
        let labelled = |value: &Option<String>| value.clone().filter(|_| step.labelled);
        let found = [
            (Confirmed::Version, step.acts_on.clone()),
            (Confirmed::Service, labelled(&step.service)),
            (Confirmed::Destination, labelled(&step.destination)),
            (Confirmed::Role, step.role.clone()),
            (Confirmed::Container, step.container.clone().or_else(|| step.prefix.clone())),
        ];
        for (field, value) in found {
            if let Some(value) = value.filter(|_| self.confirmed.len() < CONFIRMED_MAX) {
                self.confirmed.insert((field, value));
            }
        }
    }

    /// A command over a connection ended with 0.
    pub(super) fn succeeded(&mut self, step: &ClassifiedStep, tool: &Tool) {
        self.confirm(step);
        self.served |= tool.definition.outcome.proof.contains(&step.kind);
        if step.retires {
            self.retired(step);
        }
    }

    /// Does an act of this deploy speak for this value?
    pub(super) fn is_confirmed(&self, claim: Claim, value: &str) -> bool {
        if claim == Claim::PreviousVersion {
            return self.replaced && self.previous.as_deref() == Some(value);
        }
        let named = |name: &str| match claim {
            // SERVICE-ROLE-DESTINATION-VERSION
            Claim::Version => name.strip_suffix(value).is_some_and(|rest| rest.ends_with('-')),
            Claim::Service => name.strip_prefix(value).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
            Claim::Destination => format!("{name}-").contains(&format!("-{value}-")),
            _ => false,
        };
        let own = match claim {
            Claim::Version => Some(Confirmed::Version),
            Claim::Service => Some(Confirmed::Service),
            Claim::Destination => Some(Confirmed::Destination),
            Claim::Roles => Some(Confirmed::Role),
            _ => None,
        };
        let confirms = |(of, known): &(Confirmed, String)| {
            Some(*of) == own && known == value || *of == Confirmed::Container && named(known)
        };
        self.confirmed.iter().any(confirms)
    }

    /// A container was stopped: the version before, if the new one serves.
    fn retired(&mut self, step: &ClassifiedStep) {
        let version = step.container.as_ref().and_then(|name| self.split(name)).and_then(|(_, version)| version);
        let Some(version) = version.filter(|_| self.served) else { return };
        let version = version.split("_replaced_").next().unwrap_or_default().to_owned();
        if !version.is_empty() {
            self.previous = Some(version);
            self.replaced = true;
        }
    }

    /// Role and version of a container.
    fn split(&self, container: &str) -> Option<(Option<String>, Option<String>)> {
        let fits = |(prefix, _): &&(String, Option<String>)| {
            container.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let (prefix, role) = self.prefixes.iter().filter(fits).max_by_key(|(prefix, _)| prefix.len())?;
        let version = container.strip_prefix(prefix.as_str())?.strip_prefix('-');
        Some((role.clone(), version.map(str::to_owned).filter(|version| !version.is_empty())))
    }

    /// `service-role-destination`, where the other two are known.
    fn role_of(&self, prefix: &str) -> Option<String> {
        if let Some((_, role)) = self.prefixes.iter().find(|(known, _)| known == prefix) {
            return role.clone();
        }
        let rest = prefix.strip_prefix(self.service.as_deref()?)?.strip_prefix('-')?;
        let role = match &self.destination {
            Some(destination) => rest.strip_suffix(destination.as_str())?.strip_suffix('-')?,
            None => rest,
        };
        (!role.is_empty()).then(|| role.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::{Tools, classify};

    fn learn(names: &mut Names, lines: &[&str]) -> Vec<(Option<String>, Option<String>)> {
        let tools = Tools::new(&[]).unwrap();
        let tool = tools.iter().find(|tool| &*tool.name == "kamal").unwrap();
        lines
            .iter()
            .map(|line| {
                let mut step = classify(tool, line);
                names.learn(&mut step);
                if step.retires {
                    names.retired(&step);
                }
                names.served |= step.kind == "switch";
                (step.role, step.version)
            })
            .collect()
    }

    #[allow(clippy::unnecessary_wraps, reason = "what it is compared with")]
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn containers_are_taken_apart_by_labels_and_the_version_before_is_what_is_stopped() {
        let mut names = Names::default();
        let found = learn(
            &mut names,
            &[
                "docker ps --filter label=service=my-app --filter label=destination=pre-prod --filter label=role=web-api --quiet",
                "docker container ls --all --filter 'name=^my-app-web-api-pre-prod-v2-rc1$' --quiet",
                "docker container ls --all --filter 'name=^my-app-web-api-pre-prod-v0$' --quiet | xargs docker stop",
                "docker exec kamal-proxy kamal-proxy deploy my-app-web-api-pre-prod --target=x",
                "docker container ls --all --filter 'name=^my-app-web-api-pre-prod-v1$' --quiet | xargs docker stop",
            ],
        );
        assert_eq!(found[1], (some("web-api"), some("v2-rc1")));
        assert_eq!((names.service.as_deref(), names.destination.as_deref()), (Some("my-app"), Some("pre-prod")));
        // v0 was stopped before the new version served: it was stale.
        assert_eq!(names.previous.as_deref(), Some("v1"));
        assert_eq!(names.version.as_deref(), Some("v2-rc1"));
    }

    #[test]
    fn the_same_version_again_replaces_itself() {
        let mut names = Names { service: some("a"), ..Names::default() };
        names.add_roles(&[("web".into(), vec![])]);
        learn(
            &mut names,
            &[
                "docker rename a-web-5f9 a-web-5f9_replaced_00aa",
                "docker exec kamal-proxy kamal-proxy deploy a-web --target=x",
                "docker container ls --all --filter 'name=^a-web-5f9_replaced_00aa$' --quiet | xargs docker stop",
            ],
        );
        assert_eq!(names.previous.as_deref(), Some("5f9"));
    }

    #[test]
    fn a_command_that_acts_confirms_what_it_names_and_one_that_looks_does_not() {
        let tools = Tools::new(&[]).unwrap();
        let tool = tools.iter().find(|tool| &*tool.name == "kamal").unwrap();
        let confirms = |line: &str, field: Claim, value: &str| {
            let mut names = Names::default();
            names.confirm(&classify(tool, line));
            names.is_confirmed(field, value)
        };
        let run = r#"docker run --detach --name a-web-prod-v1 --env KAMAL_VERSION="v9" --label service="a" --label role="web" r/acme/a:v1"#;
        for (field, value, is) in [
            (Claim::Version, "v1", true),
            (Claim::Version, "1", false),
            (Claim::Version, "v9", false),
            (Claim::Service, "a", true),
            (Claim::Destination, "prod", true),
            (Claim::Destination, "pro", false),
            (Claim::Roles, "web", true),
            (Claim::Performer, "a", false),
        ] {
            assert_eq!(confirms(run, field, value), is, "{field:?} {value}");
        }
        assert!(confirms("docker pull r/acme/a:v1", Claim::Version, "v1"));
        assert!(!confirms("docker pull r/acme/a:v1", Claim::Service, "a"));
        for looks in [
            "docker container ls --all --filter 'name=^a-web-prod-v1$' --quiet",
            r#"/usr/bin/env mkdir -p .kamal && echo "[t] [p] Booted app version v1" >> .kamal/a-audit.log"#,
        ] {
            assert!(!confirms(looks, Claim::Version, "v1"), "{looks}");
        }
    }

    #[test]
    fn a_name_that_nothing_explains_is_left_whole() {
        let mut names = Names::default();
        assert_eq!(learn(&mut names, &["docker container ls --all --filter 'name=^a-b-c-d$' --quiet"]), [(None, None)]);
    }
}
