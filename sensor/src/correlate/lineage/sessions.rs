//! SSH sessions by lineage: their state, from the connection to its end.
//!
//! sshd forks one process per connection and, before authentication, an unprivileged child that speaks to the network
//! (OpenSSH 10: sshd-auth). That first child exits with 0 after a success and with 255 (or a signal) otherwise: this is
//! how a login is seen without reading the protocol. Servers without such a child (dropbear) are authenticated when
//! they start a command. A session ends when its connection closes or its last server process is gone; processes that
//! survive it keep its id.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

use foldhash::HashMap;

use crate::{
    event::{ids::ProcessId, stream::Served},
    finding::{Account, AdoptedBy, SessionId},
};

/// Names a session in the tables of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::correlate) struct SessionKey(u64);

#[derive(Clone, Debug)]
pub(in crate::correlate) struct Session {
    /// `ssh.session.id`.
    pub id: SessionId,
    /// The process that serves the connection. None: found by its survivors only.
    pub root: Option<ProcessId>,
    /// Its program: it may be gone when the session ends.
    pub name: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
    pub endpoints: Option<(SocketAddr, SocketAddr)>,
    pub socket: Option<u64>,
    pub connected: u64,
    /// Lineage shows that somebody has logged in, since then.
    pub logged_in: Option<u64>,
    /// Its start is recorded.
    pub announced: bool,
    /// Its connection is over.
    pub over: bool,
    pub adopted_by: Option<AdoptedBy>,
    /// Its last server process is gone since then, and the end of its connection is still to come: it has the byte
    /// counts.
    pub closing: Option<u64>,
    /// The unprivileged child before authentication.
    pub net_child: Option<ProcessId>,
    /// The server has no net child: whatever it executes is a command.
    pub unseparated: bool,
    pub user: Option<Account>,
    pub audit_session: Option<u32>,
    pub loginuid: Option<Account>,
    pub commands: u64,
    /// Distinct processes that executed a program, the server's own not counted.
    pub processes: u64,
    /// Server processes alive.
    pub servers: u64,
    /// Other processes alive.
    pub others: u64,
}

/// Sessions that were over last and are kept: what is learnt late is a fraction of a second late.
const REMEMBERED: usize = 64;

/// Sessions with a connection or with living processes.
pub(super) struct Sessions {
    /// In order: where several sessions match, it is always the oldest.
    table: BTreeMap<SessionKey, Session>,
    by_socket: HashMap<u64, SessionKey>,
    next: u64,
    limit: usize,
    refused: u64,
    last_refused: Option<ProcessId>,
    /// Those that were over last, for what is learnt late.
    remembered: VecDeque<(SessionKey, Session)>,
}

impl Sessions {
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(super) fn new(limit: usize) -> Self {
        Self {
            table: BTreeMap::new(),
            by_socket: HashMap::default(),
            next: 0,
            limit: limit.max(1),
            refused: 0,
            last_refused: None,
            remembered: VecDeque::new(),
        }
    }

    /// Opens a session. None if the limit is reached: counted, and its processes are then followed as any other.
    pub(super) fn open(
        &mut self,
        id: SessionId,
        root: Option<ProcessId>,
        served: Option<Served>,
        time: u64,
    ) -> Option<SessionKey> {
        if self.table.len() >= self.limit {
            // Tried at fork and again at exec: one session all the same.
            if root != self.last_refused {
                self.refused += 1;
            }
            self.last_refused = root;
            return None;
        }
        self.next += 1;
        let key = SessionKey(self.next);
        let socket = served.and_then(|served| served.socket);
        if let Some(socket) = socket {
            self.by_socket.insert(socket, key);
        }
        self.table.insert(
            key,
            Session {
                id,
                root,
                name: None,
                executable: None,
                endpoints: served.map(|served| (served.local, served.remote)),
                socket,
                connected: time,
                logged_in: None,
                announced: false,
                over: false,
                adopted_by: None,
                closing: None,
                net_child: None,
                unseparated: false,
                user: None,
                audit_session: None,
                loginuid: None,
                commands: 0,
                processes: 0,
                servers: 0,
                others: 0,
            },
        );
        Some(key)
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.table.get(&key)
    }

    /// The session, also if it was over a moment ago.
    pub(super) fn get_or_remembered(&self, key: SessionKey) -> Option<&Session> {
        self.get(key).or_else(|| self.remembered.iter().find(|(known, _)| *known == key).map(|(_, session)| session))
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.table.get_mut(&key)
    }

    pub(super) fn by_socket(&self, socket: u64) -> Option<SessionKey> {
        self.by_socket.get(&socket).copied()
    }

    /// All, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.table.iter().map(|(key, session)| (*key, session))
    }

    /// Keys of sessions whose connection should have closed since before `time`.
    pub(super) fn overdue(&self, time: u64) -> Vec<SessionKey> {
        self.iter()
            .filter(|(_, session)| !session.over && session.closing.is_some_and(|since| since <= time))
            .map(|(key, _)| key)
            .collect()
    }

    /// Forgets a session that has ended and has no living process. What is forgotten for good is returned.
    pub(super) fn forget_if_over(&mut self, key: SessionKey) -> Option<SessionKey> {
        let session = self.table.get(&key)?;
        if !session.over || session.servers + session.others > 0 {
            return None;
        }
        if let Some(socket) = session.socket {
            self.by_socket.remove(&socket);
        }
        let over = self.table.remove(&key).map(|session| (key, session));
        let gone = (self.remembered.len() >= REMEMBERED).then(|| self.remembered.pop_front()).flatten();
        self.remembered.extend(over);
        gone.map(|(key, _)| key)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Sessions refused since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }
}

impl Session {
    /// Is this the connection that the session is about?
    pub(super) fn serves(&self, served: &Served) -> bool {
        match (self.socket, served.socket) {
            (Some(own), Some(other)) => own == other,
            _ => self.endpoints == Some((served.local, served.remote)),
        }
    }
}
