//! What the thread of configuration files wants to be read, to the inspector; and back.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

use super::{
    asking::{Answered, Asking},
    purpose::Purpose,
};
use crate::{
    host::config_files::look::{Look, Whose},
    inspect::{Answer, Question, Said, Subject},
};

/// Asks for what the thread of configuration files wants, and gives it what has come.
pub(super) fn serve(asking: &mut Asking, wanted: &mut Vec<Look>, answered: Vec<Answered>) {
    for Answered { purpose, said, .. } in answered {
        if let (Purpose::Configuration(look), Ok(Said::Answer(Answer::Configuration(looked)))) = (purpose, said) {
            look.answer(Ok(looked));
        }
    }
    for look in wanted.drain(..) {
        ask_for(asking, look);
    }
}

pub(super) fn ask_for(asking: &mut Asking, look: Look) {
    let files = look.files.clone();
    let (subject, working_directory) = match &look.whose {
        Whose::User(uid) => (asking.of_host(*uid), None),
        Whose::Process { process, credentials, working_directory } => {
            let (process, credentials) = (*process, *credentials);
            let folder = working_directory.as_deref().map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)));
            (Subject { process, credentials, mnt_ns: None, fallback: Vec::new() }, folder)
        }
    };
    let question = Question::Configuration { working_directory, files };
    asking.ask_later(subject, question, Purpose::Configuration(look));
}
