//! A recording that somebody else made: `sensor replay FILE` on a hostile file.

use sensor::{correlate::Scope, decode::recording::Reader, event::stream::Limits, pipeline::Middle};

use crate::middle::Lines;

pub fn run(data: &[u8]) {
    let mut file = b"sensor stream 1\n".to_vec();
    let data = if let Some((0, rest)) = data.split_first() {
        rest
    } else {
        file.extend_from_slice(data);
        &file
    };
    let Ok(reader) = Reader::new(data) else { return };
    let limits = Limits { processes: 64, sessions: 16, connections: 16 };
    let mut middle = Middle::new(limits, Scope { all: true, pids: Vec::new() });
    let mut lines = Lines::default();
    let mut records = Vec::new();
    for event in reader {
        let Ok(event) = event else { return };
        lines.learn(&event);
        middle.observe(event, &mut records);
        for record in records.drain(..) {
            lines.check(&record);
        }
    }
}
