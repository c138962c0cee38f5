//! What stands where a secret was. Text that holds it already is left as it is.

/// In the place of a secret.
pub const MARK: &[u8] = b"[REDACTED]";
