//! `repeat IN OUT TIMES`: a recording made long, for the benchmark.
//!
//! What was there before the probes comes once; everything after it TIMES times, each time later than the time before,
//! with the processes and sockets that began in it made others (their identity is when they began). What ends in the
//! recording ends in each repetition.

use std::{
    env,
    fs::File,
    io::{BufReader, BufWriter},
    process::ExitCode,
};

use sensor::{
    decode::recording::{Reader, Writer},
    event::stream::{Event, EventKind, NS_PER_TICK, ProcessId, Served, Task},
};

/// The times of one repetition, against those of the recording.
struct Shift {
    /// Whatever began before is the same process in every repetition.
    from: u64,
    by: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [input, output, times] = args.as_slice() else {
        eprintln!("usage: repeat IN OUT TIMES");
        return ExitCode::from(2);
    };
    match repeat(input, output, times) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("repeat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn repeat(input: &str, output: &str, times: &str) -> Result<(), Box<dyn std::error::Error>> {
    let times: u64 = times.parse()?;
    let events: Vec<Event> = Reader::new(BufReader::new(File::open(input)?))?.collect::<Result<_, _>>()?;
    let seeded = events.iter().position(|event| event.what == EventKind::SnapshotComplete).map_or(0, |at| at + 1);
    let (before, after) = events.split_at(seeded);
    let from = after.first().map_or(0, |event| event.time);
    let length = after.last().map_or(0, |event| event.time).saturating_sub(from);
    // Whole ticks, as starts of processes are counted in them; and a second in between.
    let period = (length / NS_PER_TICK + 100) * NS_PER_TICK;
    let mut out = Writer::new(BufWriter::new(File::create(output)?))?;
    for event in before {
        out.write(event)?;
    }
    for round in 0..times {
        let shift = Shift { from, by: round * period };
        for event in after {
            // Only the last one stops.
            if !matches!(event.what, EventKind::Stop(_)) || round + 1 == times {
                out.write(&shift.event(event.clone()))?;
            }
        }
    }
    Ok(out.flush()?)
}

impl Shift {
    fn event(&self, mut event: Event) -> Event {
        event.time += self.by;
        match &mut event.what {
            EventKind::Fork(fork) => {
                self.task(&mut fork.task);
                self.process(&mut fork.creator);
                self.served(&mut fork.served);
            }
            EventKind::Exec(exec) => {
                self.task(&mut exec.task);
                self.served(&mut exec.served);
            }
            EventKind::Exit(exit) => self.task(&mut exit.task),
            EventKind::Connect(connect) => {
                self.task(&mut connect.task);
                connect.socket += self.by;
            }
            EventKind::Tcp(change) => change.socket += self.by,
            _ => {}
        }
        event
    }

    fn task(&self, task: &mut Task) {
        self.process(&mut task.id);
        if let Some(parent) = &mut task.parent {
            self.process(parent);
        }
    }

    fn process(&self, id: &mut ProcessId) {
        if id.start >= self.from / NS_PER_TICK {
            id.start += self.by / NS_PER_TICK;
        }
    }

    fn served(&self, served: &mut Option<Served>) {
        if let Some(served) = served
            && let Some(socket) = &mut served.socket
        {
            *socket += self.by;
        }
    }
}
