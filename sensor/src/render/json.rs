//! Native records: one JSON object a line.
//!
//! In: a finding with its number. Out: its line, by `schema::ecs`; a line that would be too long has less in it.
//! Serialising our own structs into memory cannot fail.

use super::json_text::make_visible;
use crate::{
    event::stream::Host,
    finding::Finding,
    schema::{Origin, Stamp, ecs::Line},
};

/// A longer line is cut by its longest parts: collectors have limits of their own, and cut anywhere (`maxMessageSize`
/// in deploy/rsyslog-sensor.conf).
const RECORD_MAX: usize = 256 << 10;

/// Renders the findings of one run.
#[derive(Default)]
pub struct Json {
    origin: Origin,
}

impl Json {
    pub fn set_host(&mut self, host: &Host) {
        self.origin = Origin {
            host_name: host.name.clone(),
            host_id: host.id.clone(),
            boot_id: host.run.clone(),
            ..Origin::default()
        };
    }

    /// Appends one finding and a newline.
    pub fn render(&self, stamp: &Stamp, finding: &Finding, out: &mut Vec<u8>) {
        let before = out.len();
        self.append(stamp, finding, out);
        let size = out.len() - before;
        if size > RECORD_MAX {
            out.truncate(before);
            let mut less = finding.clone();
            less.shorten(size);
            self.append(stamp, &less, out);
        }
    }

    fn append(&self, stamp: &Stamp, finding: &Finding, out: &mut Vec<u8>) {
        let before = out.len();
        let line = Line::new(&self.origin, stamp, finding);
        match serde_json::to_writer(&mut *out, &line) {
            Ok(()) => {
                make_visible(out, before);
                out.push(b'\n');
            }
            Err(error) => {
                // Only a bug gets here; half a line must not.
                out.truncate(before);
                tracing::error!(%error, action = ?finding.action(), "a finding could not be rendered");
            }
        }
    }
}
