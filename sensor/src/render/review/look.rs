//! How text looks on a terminal: colours, width, zone of times; and text that is nobody's command to it.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    event::{text::printable, time::Time},
    review::deploy::User,
};

/// How deploys are shown.
pub struct Look {
    pub color: bool,
    /// Columns of the terminal; None: as wide as it takes.
    pub width: Option<usize>,
    pub zone: TimeZone,
}

impl Look {
    pub(super) fn paint(&self, style: &str, text: &str) -> String {
        if self.color && !style.is_empty() && !text.is_empty() {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn time(&self, time: Time, format: &str) -> String {
        let time = Timestamp::from_nanosecond(time.0.into()).unwrap_or(Timestamp::UNIX_EPOCH);
        time.to_zoned(self.zone.clone()).strftime(format).to_string()
    }
}

pub(super) fn text(text: &str) -> String {
    printable(text.as_bytes())
}

/// What tells two versions apart: the beginning of a hash, or a name.
pub(super) fn short_version(version: &str) -> &str {
    let is_hash = version.len() >= 20 && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { version.get(..7).unwrap_or(version) } else { version }
}

/// Who logged in, and as whom it acted if that is another: `alice`, `alice>root`.
pub(super) fn who(user: &User) -> Option<String> {
    let name = |id: &Option<String>, name: &Option<String>| name.clone().or_else(|| id.clone());
    let own = name(&user.id, &user.name);
    let login = user.audit.as_ref().and_then(|audit| name(&audit.id, &audit.name)).or_else(|| own.clone());
    let acts = user.effective.as_ref().and_then(|user| name(&user.id, &user.name)).or(own);
    match (login, acts) {
        (Some(login), Some(acts)) if login != acts => Some(format!("{login}>{acts}")),
        (login, acts) => login.or(acts),
    }
}
