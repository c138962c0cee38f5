//! What the SSH probes saw, as typed events: the protocol's own messages (RFC 4250-4254), with nothing in them that is
//! a secret.
//!
//! Names and texts come from the peer or from a probed process: any bytes. Command lines are redacted before they get
//! here.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use super::ids::ConnectionId;
use super::ids::ProcessId;

/// As the process or, in the clear phase, this host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    In,
    Out,
}

/// A channel of one connection carries another one, which has no socket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tunnelled {
    pub connection: ConnectionId,
    pub carrier: ConnectionId,
    /// The channel, by its number at the receiver of messages in this direction.
    pub recipient: u32,
    pub direction: Direction,
}

impl Direction {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// One message of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    pub connection: ConnectionId,
    /// Who encrypted or decrypted it. Absent in the clear phase: that is read from the socket.
    pub process: Option<ProcessId>,
    /// (local, remote). Only in the clear phase.
    pub endpoints: Option<(SocketAddr, SocketAddr)>,
    pub direction: Direction,
    /// The packet's length came out of the same decryption: its MAC is checked later.
    pub before_mac: bool,
    /// An allowed field was longer than what is copied.
    pub cut: bool,
    pub message: Message,
}

/// A process and the socket over which it speaks SSH; `endpoints` absent: over pipes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionOwner {
    pub process: ProcessId,
    pub connection: ConnectionId,
    pub endpoints: Option<(SocketAddr, SocketAddr)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    // The clear phase.
    /// The identification line after `SSH-2.0-` (or `SSH-1.99-`), without its line end.
    Identification(ByteBuf),
    KexInit(Box<KexInit>),
    /// SSH_MSG_KEXDH_INIT, KEX_ECDH_INIT or KEX_DH_GEX_REQUEST: only a client sends it.
    KexStart,
    /// The host key of the key exchange's reply: only a server sends it.
    HostKey(Key),
    NewKeys,
    /// The clear phase could not be read to its end.
    ClearLost(ClearLoss),

    // Decrypted.
    Disconnect {
        reason: u32,
        description: ByteBuf,
    },
    /// A key exchange inside the encrypted connection.
    Rekey,
    AuthRequest(Box<AuthRequest>),
    AuthFailure {
        /// Comma-separated methods that can continue.
        methods: ByteBuf,
        partial: bool,
    },
    AuthSuccess,
    /// Message 60: acceptance of a key offered without a signature, or a question (keyboard-interactive), by the method
    /// in use.
    AuthAsk,
    /// Message 61: an answer. Its contents never leave the kernel.
    AuthAnswer,
    GlobalRequest {
        name: ByteBuf,
        wants_reply: bool,
        /// Address and port to bind, of `tcpip-forward` and `cancel-tcpip-forward`.
        bind: Option<(ByteBuf, u32)>,
        /// Of `streamlocal-forward@openssh.com`.
        path: Option<ByteBuf>,
    },
    /// The port, if the server chose one.
    RequestSuccess {
        port: Option<u32>,
    },
    RequestFailure,
    ChannelOpen(Box<ChannelOpen>),
    /// `recipient` is the number at the receiver of the message, `sender` that at its sender.
    ChannelConfirmed {
        recipient: u32,
        sender: u32,
    },
    ChannelRefused {
        recipient: u32,
        reason: u32,
        description: ByteBuf,
    },
    /// Bytes of data on this channel in the message's direction so far.
    ChannelEof {
        recipient: u32,
        bytes: u64,
    },
    ChannelClose {
        recipient: u32,
        bytes: u64,
    },
    ChannelRequest {
        recipient: u32,
        wants_reply: bool,
        request: Request,
    },
    ChannelSuccess {
        recipient: u32,
    },
    ChannelFailure {
        recipient: u32,
    },
    /// From here on this direction is compressed and not readable.
    Compressed,
    /// A message that does not hold what its number promises.
    Malformed {
        number: u8,
        what: MalformedWhat,
    },
    /// No message: bytes of data so far of a channel that is open while its connection ends.
    ChannelBytes {
        recipient: u32,
        bytes: u64,
    },
    /// No message: something follows NEWKEYS. The sender went on under the new keys.
    Encrypted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MalformedWhat {
    /// A string is longer than its packet, or the packet ends early.
    Length,
    /// A boolean or name that RFC 4251 does not allow.
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClearLoss {
    /// Segments were missing.
    Gap,
    /// Not SSH, or broken: a packet length or name-list that RFC 4253 does not allow.
    Malformed,
    /// The limit of what is copied was reached.
    Limit,
}

/// SSH_MSG_KEXINIT. Name-lists as they were sent, comma-separated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KexInit {
    pub cookie: [u8; 16],
    pub kex: ByteBuf,
    pub host_key: ByteBuf,
    pub cipher_client: ByteBuf,
    pub cipher_server: ByteBuf,
    pub mac_client: ByteBuf,
    pub mac_server: ByteBuf,
    pub compression_client: ByteBuf,
    pub compression_server: ByteBuf,
}

/// A public key or certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// As in its blob: `ssh-ed25519`, `ssh-rsa-cert-v01@openssh.com`.
    pub kind: ByteBuf,
    /// `SHA256:...` as `ssh-keygen -lf` shows it (of a certificate: of the key in it). Absent: the blob was cut or is
    /// broken.
    pub fingerprint: Option<String>,
    pub certificate: Option<Certificate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub key_id: ByteBuf,
    pub serial: u64,
    pub principals: Vec<ByteBuf>,
    pub ca_fingerprint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthRequest {
    pub user: ByteBuf,
    /// `publickey-hostbound-v00@openssh.com` is recorded as `publickey`.
    pub method: ByteBuf,
    /// Of publickey and hostbased.
    pub key: Option<Key>,
    /// With a signature: an attempt. Without: the key is only offered.
    pub signed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelOpen {
    /// `session`, `direct-tcpip`, `forwarded-tcpip`, `x11`, `auth-agent@openssh.com`...
    pub kind: ByteBuf,
    /// The channel's number at the sender.
    pub sender: u32,
    /// direct-tcpip: host and port to connect to; forwarded-tcpip: address and port that were connected.
    pub destination: Option<(ByteBuf, u32)>,
    pub originator: Option<(ByteBuf, u32)>,
    /// direct- and forwarded-streamlocal.
    pub path: Option<ByteBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Redacted.
    Exec {
        line: ByteBuf,
        redacted: bool,
    },
    Shell,
    Subsystem(ByteBuf),
    Pty,
    /// The name only.
    Env(ByteBuf),
    ExitStatus(u32),
    /// The signal's name without SIG.
    ExitSignal(ByteBuf),
    /// Another request, by its name.
    Other(ByteBuf),
}
