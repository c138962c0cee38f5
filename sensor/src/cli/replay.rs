//! `sensor replay`: a recorded stream through the same stages.

use std::{fs::File, io::BufReader};

use super::{args::ReplayArgs, error::Error, trace};
use crate::{decode::recording::Reader, pipeline, sink::stderr};

pub(super) fn run(args: &ReplayArgs) -> Result<(), Error> {
    let path = args.file.display().to_string();
    let file = File::open(&args.file).map_err(|source| Error::Io { what: format!("cannot open {path}"), source })?;
    let failed = |source| Error::Recording { path: path.clone(), source };
    let reader = Reader::new(BufReader::with_capacity(256 << 10, file)).map_err(failed)?;
    let writer = trace::writer(&args.show, false)?;
    let stats = pipeline::replay(reader, trace::middle(&args.show), writer).map_err(failed)?;
    let (written, filtered) = (stats.written, stats.filtered);
    stderr::say(&format!("{written} records shown ({filtered} filtered out), from {} events", stats.taken));
    Ok(())
}
