//! What a finding says of itself: how its text was treated, and how sure it is.
//!
//! Absent is the ordinary case, so the whole costs a few bytes in each finding: fields are named by a bit set.

/// A field whose text comes from outside of the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Field {
    ProcessExecutable,
    ProcessWorkingDirectory,
    ProcessArgs,
    ProcessCommandLine,
    ProcessTitle,
    ClientSoftware,
    ServerSoftware,
    AuthMethod,
    LoginUser,
    ChannelType,
    CommandLine,
    DeployStepLine,
    FilePath,
    /// The whole of it was too long: fields that made it so are absent.
    Record,
}

impl Field {
    /// In the order in which they are named.
    pub const ALL: [Self; 14] = [
        Self::ProcessExecutable,
        Self::ProcessWorkingDirectory,
        Self::ProcessArgs,
        Self::ProcessCommandLine,
        Self::ProcessTitle,
        Self::ClientSoftware,
        Self::ServerSoftware,
        Self::AuthMethod,
        Self::LoginUser,
        Self::ChannelType,
        Self::CommandLine,
        Self::DeployStepLine,
        Self::FilePath,
        Self::Record,
    ];
}

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fields(u16);

impl Fields {
    pub fn add(&mut self, field: Field) {
        self.0 |= 1 << field as u16;
    }

    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u16) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.contains(*field))
    }
}

impl From<Field> for Fields {
    fn from(field: Field) -> Self {
        Self::from_iter([field])
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut set = Self::default();
        fields.into_iter().for_each(|field| set.add(field));
        set
    }
}

impl Extend<Field> for Fields {
    fn extend<I: IntoIterator<Item = Field>>(&mut self, fields: I) {
        fields.into_iter().for_each(|field| self.add(field));
    }
}

/// By what a session that was open before the sensor is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptedBy {
    /// Its serving process holds the connection.
    Connection,
    /// The kernel's audit session id of its processes.
    AuditSession,
    /// SSH_CONNECTION in the environment of its processes.
    SshConnection,
}

/// Where lineage cannot follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// The act of this program continues in another daemon.
    Delegated,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub struct Quality {
    pub adopted_by: Option<AdoptedBy>,
    pub lineage: Option<Lineage>,
    /// It follows from what was before and what is now; the act itself was not seen.
    pub inferred: bool,
    /// Its integrity was never confirmed: the connection ended right after it.
    pub unconfirmed: bool,
    /// Fields with `[REDACTED]` in them.
    pub redacted: Fields,
    /// Fields whose bytes are no UTF-8: stray bytes are `\xHH`, backslashes are doubled.
    pub escaped: Fields,
    /// Fields that were cut.
    pub truncated: Fields,
    /// True size of what was cut, bytes.
    pub original_size: Option<u32>,
    /// About the SSH server's own process. No format writes it: the table hides such lines.
    pub sshd_internal: bool,
}

impl Quality {
    /// What was redacted, escaped or cut in a part of the finding.
    pub fn add_fields(&mut self, part: &Self) {
        self.redacted.extend(part.redacted.iter());
        self.escaped.extend(part.escaped.iter());
        self.truncated.extend(part.truncated.iter());
    }
}
