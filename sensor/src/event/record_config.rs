//! The fields of a record about a configuration file of a deploy: `file.*` and `deploy.config.*`.

use std::sync::Arc;

use serde::Serialize;
use serde_with::skip_serializing_none;

#[derive(Clone, Debug, Serialize)]
pub struct ConfigChange {
    pub file: File,
    pub deploy: ConfigOf,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize)]
pub struct File {
    pub path: String,
    /// Absent where it is gone.
    pub hash: Option<FileHash>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FileHash {
    pub sha256: String,
}

/// The part of `deploy` that is about configuration.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigOf {
    /// The deploy at which it differed, or in which it was changed.
    pub id: Option<Arc<str>>,
    pub config: ConfigFields,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConfigFields {
    pub previous_sha256: Option<String>,
    /// It holds secrets: both hashes are HMAC-SHA256 under a key of this host.
    pub keyed: Option<bool>,
    /// It is there no more.
    pub removed: Option<bool>,
}
