//! Before the recording: secrets that tool definitions name are removed, and what a deploy needs to be known of the
//! host is read while its process is there.
//!
//! In: an exec, decoded. Out: the same without those secrets, and before it a fact (`EventKind::Deploy`) with the
//! project's configuration or a hook's safe variables. The middle recognises the deploy again by the same definitions,
//! so a recording replays without the host.

use std::path::PathBuf;

use super::{
    asking::Asking,
    gate::{Gate, Wait},
    purpose::{Asked, Purpose},
};
use crate::{
    decode::redact,
    deploy::{self, Invocation, Tools},
    event::{
        deploy::{Facts, FileState, Kind, ToolFile},
        stream::{self, Args, Event, EventKind, Exec},
    },
    host::config_files::Deploying,
    inspect::{Answer, Invoked, Question, Said, Unknown},
};

/// Deploys looked at in one second. More is a loop, or somebody who wants the sensor busy.
const PER_SECOND: u32 = 20;

pub(super) struct Deploys {
    tools: Tools,
    own: Vec<ToolFile>,
    host_ns: Option<u32>,
    /// Boot time, ns, and how many were looked at since.
    second: (u64, u32),
}

impl Deploys {
    pub(super) fn new(tools: Tools, own: Vec<ToolFile>, host_ns: Option<u32>) -> Self {
        Self { tools, own, host_ns, second: (0, 0) }
    }

    /// New definitions.
    pub(super) fn set_tools(&mut self, tools: Tools, own: Vec<ToolFile>) -> EventKind {
        self.tools = tools;
        self.own.clone_from(&own);
        EventKind::DeployTools(own)
    }

    /// The user's definitions, for the stream.
    pub(super) fn own_tools(&self) -> Option<EventKind> {
        (!self.own.is_empty()).then(|| EventKind::DeployTools(self.own.clone()))
    }

    /// Removes secrets from the arguments of an event, and asks for the facts that it needs.
    pub(super) fn want(
        &mut self,
        event: &mut Event,
        found_in: Option<&stream::Path>,
        gate: &mut Gate,
        asking: &mut Asking,
        waits: &mut Vec<Wait>,
    ) {
        let time = event.time;
        let exec = match &mut event.what {
            EventKind::Exec(exec) if self.may_match(&exec.args, exec.executable.as_ref()) => {
                self.redact(&mut exec.args, exec.executable.as_ref());
                (**exec).clone()
            }
            EventKind::ProcessSnapshot(found) if self.may_match(&found.args, found.executable.as_ref()) => {
                self.redact(&mut found.args, found.executable.as_ref());
                found.as_exec(found_in.cloned())
            }
            _ => return,
        };
        self.ask(Asked { exec, found_in: found_in.cloned(), time }, gate, asking, waits);
    }

    fn may_match(&self, args: &Args, executable: Option<&stream::Path>) -> bool {
        self.tools.may_match(args, executable.map(|path| &*path.bytes))
    }

    fn redact(&self, args: &mut Args, executable: Option<&stream::Path>) {
        let mut list: Vec<Vec<u8>> = args.list.iter().map(|arg| arg.to_vec()).collect();
        if self.tools.redact(&mut list, executable.map(|path| &*path.bytes), redact::MARK) {
            args.list = list.into_iter().map(Into::into).collect();
            args.redacted = true;
        }
    }

    fn ask(&mut self, asked: Asked, gate: &mut Gate, asking: &mut Asking, waits: &mut Vec<Wait>) {
        let argv = deploy::texts(&asked.exec.args);
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let process = asked.exec.task.id;
        let subject = asking.subject(&asked.exec.task);
        let Some(invocation) = self.tools.recognise(&argv, executable(&asked.exec), &[]) else {
            let Some(tool) = self.tools.hook(&argv, executable(&asked.exec)) else { return };
            let (names, tool) = (tool.definition.environment.safe.clone(), tool.name.clone());
            if self.is_flood(asked.time) {
                return;
            }
            let facts = Facts { process, tool, project: None, variables: Vec::new(), working_directory: None };
            let wait = gate.wait();
            waits.push(wait);
            asking.ask(&subject, Question::Variables { names }, Purpose::Variables { facts, wait: Some(wait) });
            return;
        };
        // In a container that the tool runs the files are another root's: the tool's own process there has them.
        if deploy::wanted(&invocation).is_empty() || invocation.container {
            return;
        }
        let wait = gate.wait();
        waits.push(wait);
        let question = Question::Project(Invoked {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            executable: executable(&asked.exec).map(str::to_owned),
            working_directory: folder(&asked.exec).map(PathBuf::from),
            tools: self.own.clone(),
        });
        let skipped = self.is_flood(asked.time);
        let purpose = Purpose::Project { asked: Box::new(asked), wait: Some(wait) };
        if skipped {
            asking.refuse(purpose);
        } else {
            asking.ask(&subject, question, purpose);
        }
    }

    fn is_flood(&mut self, time: u64) -> bool {
        if time.saturating_sub(self.second.0) > 1_000_000_000 {
            self.second = (time, 0);
        }
        self.second.1 += 1;
        self.second.1 > PER_SECOND
    }

    /// An answer about a deploy: its fact, and what is to be hashed for it.
    pub(super) fn project(&self, asked: &Asked, said: Result<Said, Unknown>) -> (Vec<Event>, Option<Deploying>) {
        let argv = deploy::texts(&asked.exec.args);
        let argv: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let Some(mut invocation) = self.tools.recognise(&argv, executable(&asked.exec), &[]) else {
            return (Vec::new(), None);
        };
        if let Some(folder) = folder(&asked.exec) {
            invocation.in_folder(folder);
        }
        let wanted = deploy::wanted(&invocation);
        let project = if let Ok(Said::Answer(Answer::Project(project))) = said {
            project
        } else {
            let skipped = wanted.into_iter().map(|file| (file, Err(FileState::Skipped)));
            Some(Box::new(deploy::read_project(&invocation, skipped.collect())))
        };
        let process = asked.exec.task.id;
        let working_directory = asked.found_in.clone();
        let tool = invocation.tool.name.clone();
        let facts = Facts { process, tool, project, variables: Vec::new(), working_directory };
        if facts.project.is_none() {
            // What has no files here has nothing to say.
            return (Vec::new(), None);
        }
        // What only looks changes nothing, and needs no account of what it read.
        let looks = matches!(invocation.kind, Kind::Inspect | Kind::None);
        let deploying = if looks { None } else { self.deploying(&invocation, &facts, &asked.exec) };
        (vec![Event { time: asked.time, what: EventKind::Deploy(Box::new(facts)) }], deploying)
    }

    /// What is to be hashed for this deploy: nothing, if it has no files here (a `docker login`, anywhere). Its files
    /// are those of tool, service and destination, wherever they are checked out.
    fn deploying(&self, invocation: &Invocation, facts: &Facts, exec: &Exec) -> Option<Deploying> {
        let files = &facts.project.as_ref()?.files;
        if files
            .iter()
            .all(|file| matches!(file.state, FileState::Missing | FileState::Unreadable | FileState::Skipped))
        {
            return None;
        }
        let files = files.iter().map(|file| (file.path.clone(), file.secret)).collect();
        let service = invocation.service(Some(facts));
        let destination = invocation.destination(Some(facts));
        let project = service.map(|service| {
            [Some(facts.tool.to_string()), Some(service), destination]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        });
        Some(Deploying {
            process: facts.process,
            credentials: exec.task.credentials,
            of_host: exec.task.mnt_ns.is_some() && exec.task.mnt_ns == self.host_ns,
            working_directory: folder(exec).map(|folder| folder.as_bytes().to_vec()),
            project,
            files,
        })
    }

    /// An answer about a hook's variables: its fact.
    pub(super) fn variables(time: u64, facts: Facts, said: Result<Said, Unknown>) -> Vec<Event> {
        let Ok(Said::Answer(Answer::Variables(variables))) = said else { return Vec::new() };
        let facts = Facts { variables: safe(variables), ..facts };
        vec![Event { time, what: EventKind::Deploy(Box::new(facts)) }]
    }
}

fn executable(exec: &Exec) -> Option<&str> {
    exec.executable.as_ref().and_then(|path| std::str::from_utf8(&path.bytes).ok())
}

fn folder(exec: &Exec) -> Option<&str> {
    let folder = exec.working_directory.as_ref().filter(|path| !path.cut)?;
    std::str::from_utf8(&folder.bytes).ok()
}

/// Values too go through the filter of command lines: a name is no proof.
fn safe(variables: Vec<(String, String)>) -> Vec<(String, String)> {
    let clean = |(name, value): (String, String)| match redact::redact_line(value.as_bytes()) {
        None => (name, value),
        Some(clean) => (name, String::from_utf8_lossy(&clean).into_owned()),
    };
    variables.into_iter().map(clean).collect()
}
