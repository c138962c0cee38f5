//! What enters the pure middle: kernel events, decoded and redacted, and what the host was seen to be (processes found
//! at start, names, programs). A recording is this stream and nothing else, so a replay needs neither kernel nor host.
//!
//! Order is meaning: the kernel reserves ring records in causal order, and a fact about the host precedes the first
//! event that needs it.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

pub use super::health::{Counted, Degraded, Drains, Lost, Probe};
use super::{
    config_file::ConfigFile,
    deploy::{Facts, ToolFile},
    host_key::KnownHosts,
    labels::Label,
    ssh::{ConnectionOwner, Packet, Tunnelled},
};
pub use super::{
    file::{FileId, FileStamp},
    ids::{NS_PER_TICK, Path, ProcessId},
};

/// One element of the stream. `time` is CLOCK_BOOTTIME in ns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub time: u64,
    pub what: EventKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// First in every stream.
    Host(Host),
    /// CLOCK_REALTIME - CLOCK_BOOTTIME in ns: at the start and whenever it stepped.
    Clock {
        offset: i64,
    },
    /// A process that was there before the probes.
    ProcessSnapshot(Box<ProcessSnapshot>),
    /// All processes found are in the stream.
    SnapshotComplete,
    /// What an executable file is; precedes the first event that depends on it.
    Program {
        file: FileId,
        role: Role,
    },
    /// The name of a user in a mount namespace, by the host's passwd file.
    User {
        mnt_ns: u32,
        uid: u32,
        name: Arc<str>,
    },
    /// The path of a cgroup.
    Cgroup {
        id: u64,
        path: Arc<str>,
    },
    Fork(Fork),
    Exec(Box<Exec>),
    Exit(Exit),
    Connect(Connect),
    Tcp(TcpChange),
    /// Something was lost before it came here.
    Lost(Lost),
    /// Something cannot be seen, from now on.
    Degraded(Degraded),
    /// The state of each probe, before the events start.
    Probes(Vec<Probe>),
    /// The configuration was read again: what of it concerns the middle.
    Reloaded {
        all: bool,
        limits: Limits,
    },
    /// Time passed without events.
    Tick,
    /// The sensor stops, in good order: what each of its programs in the kernel counted.
    Stop(Vec<Counted>),
    /// A message of an SSH connection.
    Ssh(Box<Packet>),
    /// Who speaks SSH over which connection.
    SshOwner(ConnectionOwner),
    /// Which connection runs through which.
    SshTunnelled(Tunnelled),
    /// What a configuration file of a deploy holds.
    ConfigFile(Box<ConfigFile>),
    /// What the files say of a host key that a client was shown.
    KnownHosts(Box<KnownHosts>),
    /// Labels that commands bear from now on.
    Labels(Vec<Label>),
    /// The definitions of deploy tools that the user added, from now on.
    DeployTools(Vec<ToolFile>),
    /// What is known of a deploy, or of a child of one, before its exec.
    Deploy(Box<Facts>),
    /// A library through which a process may speak SSH is probed since then, boot time in ns.
    LibraryProbed(ProcessId, u64),
    /// As `SshOwner`, of a process whose connections cannot be distinguished from here on.
    SshAmbiguous(ConnectionOwner),
    /// The host's own mount namespace: its passwd file says who a login's user is.
    HostNamespace {
        mnt_ns: u32,
    },
    /// What the passwd file of a mount namespace calls a user, where that file is not the host's: a claim. Empty: it
    /// has no name there (any more).
    ContainerUser {
        mnt_ns: u32,
        uid: u32,
        name: Arc<str>,
    },
    /// How the ring was drained, before the end.
    Drains(Drains),
}

/// Bounds of the tables in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub processes: usize,
    pub sessions: usize,
    pub connections: usize,
}

/// The machine and this run of the sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    pub name: String,
    /// Hash of machine-id.
    pub id: String,
    /// Hash of the kernel's boot id: part of every entity id.
    pub boot: String,
    /// Hash of boot id and start of the daemon.
    pub run: String,
    pub kernel: String,
}

/// A place in a program or library that is probed, by what happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// OpenSSH calls its cipher function.
    CipherCall,
    /// The branch after such a call.
    CipherJump,
    /// A branch after such a call where one probe does for both, with where the arguments are
    /// (`sensor_common::kept::Arguments`, packed).
    CipherDone(u64),
    /// A library calls `EVP_CipherUpdate` or one of its halves.
    UpdateCall,
    /// The same in a library that speaks SSH itself, and so keeps its contexts.
    SpeakerCall,
    /// A library calls `EVP_Cipher`.
    LibraryCall,
    /// The branch after a call in a library.
    LibraryJump,
}

/// What a program does for SSH, by what its file contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// sshd before 9.8 (listener and sessions), or the listener since; dropbear.
    Server,
    /// sshd-session of OpenSSH 9.8 and later: monitor and user's process.
    ServerSession,
    /// sshd-auth of OpenSSH 10: the process before authentication.
    ServerAuth,
    Other,
    /// OpenSSH's ssh. (Last: recordings number them.)
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub gid: u32,
    pub egid: u32,
}

/// Names that `enrich` adds; never recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Names {
    pub user: Option<Arc<str>>,
    pub effective: Option<Arc<str>>,
    pub audit: Option<Arc<str>>,
    /// What a container calls the real user: a claim.
    pub container: Option<Arc<str>>,
    pub cgroup: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub id: ProcessId,
    pub tid: u32,
    pub parent: Option<ProcessId>,
    /// tgid of the POSIX session's leader.
    pub sid: Option<u32>,
    pub credentials: Option<Credentials>,
    /// Absent where no login set one.
    pub loginuid: Option<u32>,
    pub audit_session: Option<u32>,
    pub mnt_ns: Option<u32>,
    pub pid_ns: Option<u32>,
    pub cgroup: Option<u64>,
    #[serde(with = "serde_bytes")]
    pub comm: Vec<u8>,
    #[serde(skip)]
    pub names: Names,
}

/// The connection that a process was found to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Unique per socket and run; absent for sockets found in /proc.
    pub socket: Option<u64>,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// argv, redacted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Args {
    pub list: Vec<serde_bytes::ByteBuf>,
    /// Its true size in bytes, NULs included.
    pub total: u32,
    /// Some of it did not get here.
    pub cut: bool,
    pub redacted: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessSnapshot {
    pub task: Task,
    pub file: Option<FileId>,
    pub role: Role,
    pub executable: Option<Path>,
    pub args: Args,
    pub served: Option<Served>,
    /// SSH_CONNECTION of its initial environment, where it matters (orphans): client and server endpoint.
    pub ssh_connection: Option<(SocketAddr, SocketAddr)>,
}

impl ProcessSnapshot {
    /// The exec by which it became what it is.
    pub fn as_exec(&self, working_directory: Option<Path>) -> Exec {
        Exec {
            task: self.task.clone(),
            file: self.file,
            role: Some(self.role),
            executable: self.executable.clone(),
            working_directory,
            args: self.args.clone(),
            argc: self.args.list.len() as u32,
            served: self.served,
            thread: None,
            stamp: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fork {
    /// The child.
    pub task: Task,
    /// Who called fork; with CLONE_PARENT not the parent.
    pub creator: ProcessId,
    pub served: Option<Served>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    pub task: Task,
    pub file: Option<FileId>,
    /// Filled by `enrich` from the facts about programs.
    #[serde(skip)]
    pub role: Option<Role>,
    pub executable: Option<Path>,
    pub working_directory: Option<Path>,
    pub args: Args,
    pub argc: u32,
    pub served: Option<Served>,
    /// The exec was called by another thread than the leader: the id that this thread had.
    pub thread: Option<u32>,
    /// Which content the file had, by its inode. Live only: a replay has no file to compare it with.
    #[serde(skip)]
    pub stamp: Option<FileStamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub task: Task,
    pub status: Status,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Code(u8),
    Signal { number: u8, core: bool },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connect {
    pub task: Task,
    pub socket: u64,
    pub remote: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpChange {
    pub socket: u64,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub old: TcpState,
    pub new: TcpState,
    /// errno, if one was set.
    pub error: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// States of net/tcp_states.h that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpState {
    Established,
    SynSent,
    Close,
    Other(u8),
}

impl Status {
    /// From the status word of wait(2).
    pub fn from_wait(status: u32) -> Self {
        match (status & 0x7f) as u8 {
            0 => Self::Code((status >> 8) as u8),
            number => Self::Signal { number, core: status & 0x80 != 0 },
        }
    }

    /// As a shell shows it: 128+n for a signal.
    pub fn exit_code(self) -> u16 {
        match self {
            Self::Code(code) => code.into(),
            Self::Signal { number, .. } => 128 + u16::from(number),
        }
    }
}

impl Role {
    /// Part of an SSH server?
    pub fn is_server(self) -> bool {
        matches!(self, Self::Server | Self::ServerSession | Self::ServerAuth)
    }
}

impl TcpState {
    pub fn from_kernel(state: u8) -> Self {
        match state {
            1 => Self::Established,
            2 => Self::SynSent,
            7 => Self::Close,
            other => Self::Other(other),
        }
    }
}
