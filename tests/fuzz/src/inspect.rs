//! What the processes of the inspector say to each other: a worker that was taken over writes what it likes.
//!
//! Each input is decoded as each kind of message. What decodes has to come back from its encoding, or an answer would
//! not mean what its sender said.

use sensor::inspect::message::{self, WorkerAnswer};

pub fn run(data: &[u8]) {
    message::decode_each(data);
    if let Ok(answer) = message::decode::<WorkerAnswer>(data) {
        let Ok(bytes) = message::encode(&answer) else { return };
        assert_eq!(message::decode::<WorkerAnswer>(&bytes), Ok(answer));
    }
}
