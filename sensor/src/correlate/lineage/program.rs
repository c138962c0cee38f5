//! What a process runs, as the text of records.
//!
//! In: an exec, or a process found in /proc, with paths and argv as bytes. Out: the name and the path of the
//! executable, argv, `args[0]` where it is another name, the application. The name is the executable's, since the
//! caller of execve chooses `args[0]`. Bytes that are no text are escaped and long text is cut, and both are noted for
//! the record.

use std::sync::Arc;

use super::{application::application, machine::Lineage};
use crate::{
    event::{
        executed::{self, base_name},
        stream::{Args, Exec, Path, ProcessSnapshot},
        text::{escape, fit_json, fit_json_list},
    },
    finding::{Application, Field, Fields},
};

/// `process.command_line` is cut here; `process.args` holds what there is.
const COMMAND_LINE_MAX: usize = 4096;
/// The 32 KiB of argv that are recorded, as ordinary text in ordinary pieces; escapes of control characters would be
/// six times as much.
const ARGS_JSON_MAX: usize = 48 << 10;

/// What a process runs, as text, with what had to be said about it.
#[derive(Default)]
pub(in crate::correlate) struct Program {
    pub name: Option<Arc<str>>,
    /// `process.title`.
    pub title: Option<Arc<str>>,
    pub executable: Option<Arc<str>>,
    pub args: Vec<String>,
    pub command_line: Option<Arc<str>>,
    pub working_directory: Option<Arc<str>>,
    /// Known of every process: what speaks SSH shows later.
    pub application: Option<Arc<Application>>,
    pub escaped: Fields,
    pub truncated: Fields,
}

impl Lineage {
    /// The text of an exec.
    pub(in crate::correlate) fn program(&self, exec: &Exec) -> Program {
        let mut program = Program::default();
        let known = self.processes.get(exec.task.id);
        let watched = known.is_some_and(|p| p.watched) || self.scope.pids.contains(&exec.task.id.tgid);
        let session = known.is_some_and(|p| p.session.is_some());
        let deploy = known.is_some_and(|p| p.marks.deploy.is_some());
        let emitted = self.scope.in_scope(session, deploy, watched);
        if let Some(path) = &exec.executable {
            let text = program.path(path, Field::ProcessExecutable);
            program.name = Some(base_name(&text).into());
            program.executable = Some(text.into());
        }
        let folder = exec.working_directory.as_ref().filter(|path| !path.cut).map(|path| escape(&path.bytes).0);
        program.application = application(program.executable.as_deref(), &exec.args.list, folder.as_deref());
        if !emitted {
            return program; // seen as somebody's parent at most
        }
        if let Some(path) = &exec.working_directory {
            program.working_directory = Some(program.path(path, Field::ProcessWorkingDirectory).into());
        }
        program.args(&exec.args);
        program.title(exec.executable.as_ref(), &exec.args);
        program
    }
}

impl Program {
    /// The text of a process found in /proc; its arguments only if they are emitted.
    pub(super) fn found(found: &ProcessSnapshot, with_args: bool) -> Self {
        let mut program = Self::default();
        program.executable = found.executable.as_ref().map(|path| program.path(path, Field::ProcessExecutable).into());
        let comm = String::from_utf8_lossy(&found.task.comm);
        program.name = Some(program.executable.as_deref().map_or(comm.as_ref(), base_name).into());
        program.application = application(program.executable.as_deref(), &found.args.list, None);
        if with_args {
            program.args(&found.args);
            program.title(found.executable.as_ref(), &found.args);
        }
        program
    }

    fn text(&mut self, bytes: &[u8], field: Field) -> String {
        let (text, escaped) = escape(bytes);
        if escaped {
            self.escaped.add(field);
        }
        text.into_owned()
    }

    fn path(&mut self, path: &Path, field: Field) -> String {
        if path.cut {
            self.truncated.add(field);
        }
        self.text(&path.bytes, field)
    }

    /// After `args`: a field is escaped as that one is.
    fn title(&mut self, executable: Option<&Path>, args: &Args) {
        let differs = executable.zip(args.list.first()).and_then(|(path, first)| executed::title(&path.bytes, first));
        let Some(bytes) = differs else { return };
        let (text, escaped) = escape(bytes);
        if escaped {
            self.escaped.add(Field::ProcessTitle);
        }
        self.title = Some(text.into());
    }

    fn args(&mut self, args: &Args) {
        self.args = args.list.iter().map(|arg| self.text(arg, Field::ProcessArgs)).collect();
        if self.escaped.contains(Field::ProcessArgs) {
            // A field is escaped or it is not: a backslash in an argument that had no need of it must come back too.
            for (text, bytes) in self.args.iter_mut().zip(&args.list) {
                if std::str::from_utf8(bytes).is_ok() {
                    *text = text.replace('\\', "\\\\");
                }
            }
        }
        if fit_json_list(&mut self.args, ARGS_JSON_MAX) || args.cut {
            self.truncated.add(Field::ProcessArgs);
        }
        if self.args.is_empty() {
            return;
        }
        let mut line = self.args.join(" ");
        let long = line.len() > COMMAND_LINE_MAX;
        line.truncate(line.floor_char_boundary(COMMAND_LINE_MAX));
        if fit_json(&mut line, 2 * COMMAND_LINE_MAX) || long {
            self.truncated.add(Field::ProcessCommandLine);
        }
        if self.escaped.contains(Field::ProcessArgs) {
            self.escaped.add(Field::ProcessCommandLine);
        }
        self.command_line = Some(line.into());
    }
}
