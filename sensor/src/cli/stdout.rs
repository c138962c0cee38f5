//! Standard output: in which form, how wide, with colours or not.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;

use super::error::Error;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// To standard output. A reader that went away (`| head`) is no error.
pub(super) fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::Io { what: "cannot write".into(), source })
        }
        _ => Ok(()),
    }
}

/// May standard output have colours, and how wide is it?
pub(super) fn terminal() -> (bool, Option<usize>) {
    let terminal = io::stdout().is_terminal();
    let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    (color, if terminal { terminal_width() } else { None })
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
