//! Waiting for what must come: looks again every few milliseconds and fails, by name, when it has not come in
//! `PATIENCE`.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Nothing here takes longer on a machine that works. *Measured*: ten logins at once in an emulated guest, on a machine
/// that others used, more than a minute.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Returns what `look` finds.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("{what}: not within {} s", PATIENCE.as_secs()))
}

/// Returns what `look` finds before the time is over, if anything.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
