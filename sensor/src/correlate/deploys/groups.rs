//! Deploys by their sessions, on a host that does not see the tool.

use std::{net::IpAddr, sync::Arc};

use super::names::Names;
use crate::{event::ids::ConnectionId, finding::DeployId};

/// Deploys that are open.
const GROUPS_MAX: usize = 256;
/// Deploys by their sessions.
#[derive(Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
}

pub(super) struct Group {
    pub(super) id: DeployId,
    pub(super) tool: Arc<str>,
    pub(super) service: Option<String>,
    pub(super) destination: Option<String>,
    pub(super) version: Option<String>,
    pub(super) peer: Option<IpAddr>,
    pub(super) user: Option<Arc<str>>,
    /// Its connections.
    pub(super) open: Vec<ConnectionId>,
}

impl Groups {
    /// The deploy of a session, or a new one.
    pub(super) fn find(&mut self, wanted: Group) -> DeployId {
        let agrees = |own: &Option<String>, other: &Option<String>| own.is_none() || other.is_none() || own == other;
        let same = self.groups.iter_mut().rev().find(|group| {
            group.tool == wanted.tool
                && (group.peer, &group.user) == (wanted.peer, &wanted.user)
                && (wanted.service.is_none()
                    || (&group.service, &group.destination) == (&wanted.service, &wanted.destination))
                && agrees(&group.version, &wanted.version)
        });
        if let Some(group) = same {
            group.version = group.version.take().or(wanted.version);
            group.open.extend(wanted.open);
            return group.id.clone();
        }
        if self.groups.len() >= GROUPS_MAX {
            self.groups.remove(0);
        }
        let id = wanted.id.clone();
        self.groups.push(wanted);
        id
    }

    /// The deploy continues.
    pub(super) fn learn(&mut self, id: &DeployId, names: &Names) {
        if let Some(group) = self.groups.iter_mut().find(|group| group.id == *id)
            && group.version.is_none()
        {
            group.version.clone_from(&names.version);
        }
    }

    /// A connection is over, and with the last one the deploy.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        for group in &mut self.groups {
            group.open.retain(|open| *open != connection);
        }
        self.groups.retain(|group| !group.open.is_empty());
    }
}
